//! The corpus of the fuzz targets, run through their checks: `fuzz/README.md`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[allow(dead_code)]
#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Runs every file of a target's corpus.
#[track_caller]
fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&directory).expect("the target has a corpus") {
        let path = entry.expect("an entry").path();
        let bytes = fs::read(&path).expect("a file");
        assert!(catch_unwind(AssertUnwindSafe(|| check(&bytes))).is_ok(), "{} fails: see above", path.display());
        count += 1;
    }
    assert!(count > 0, "{} has {count} files", directory.display());
}

#[test]
fn frames() {
    replay("frames", targets::frames::check);
}

#[test]
fn requests() {
    replay("requests", targets::requests::check);
}

#[test]
fn replies() {
    replay("replies", targets::replies::check);
}

#[test]
fn connection() {
    replay("connection", targets::connection::check);
}

#[test]
fn scheduler() {
    replay("scheduler", targets::scheduler::check);
}
