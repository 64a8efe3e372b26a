//! Runs of the load generator, and their reports.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::{Ended, run};

/// A run takes two cores for itself; several at once would starve each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs the load generator, for a short while with a few nodes where nothing else is said.
pub fn bench(arguments: &[&str]) -> Ended {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let short = [["--duration", "200ms"], ["--warmup", "50ms"], ["-n", "20"]];
    let short = short.iter().filter(|[name, _]| !arguments.contains(name)).flatten();
    run(&["bench"].iter().chain(short).chain(arguments).copied().collect::<Vec<_>>())
}

/// Runs it, which must go well, and returns its report.
pub fn report(arguments: &[&str]) -> Value {
    let ended = bench(&[arguments, &["--json", "-"]].concat());
    ended.assert_code(0, &format!("{arguments:?}"));
    json(&ended)
}

/// The report of a run that ends with a number of requests, however long a busy machine takes for them. All are measured.
pub fn counted_report(arguments: &[&str]) -> Value {
    report(&[&["--requests", "50", "--duration", "60s", "--warmup", "0"], arguments].concat())
}

/// The JSON that it printed.
pub fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("standard output is JSON alone: {error}\n{}", ended.stdout))
}

/// A number of a report.
#[track_caller]
pub fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is a number in {value:#}"))
}

/// Checks what every report of a run without errors has.
#[track_caller]
pub fn assert_complete(report: &Value) {
    let latency = &report["latency_ns"];
    let values = ["p50", "p90", "p99", "p99_9", "p99_99", "max"].map(|key| number(latency, key));
    assert!(values.is_sorted() && values[0] > 0.0, "{latency:#}");
    let mean = number(latency, "mean");
    assert!(mean > 0.0 && mean <= values[5], "{latency:#}");
    assert!(number(report, "requests_per_second") > 0.0, "{report:#}");
    assert!(number(report, "requests") > 0.0, "{report:#}");
    assert_eq!(report["errors"], 0, "{report:#}");
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    let seconds = number(report, "seconds");
    let rate = number(report, "requests") / seconds;
    assert!((rate / number(report, "requests_per_second") - 1.0).abs() < 1e-3, "{report:#}");
}
