//! What commands show: tables, JSON, progress.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{CommandError, try_print};

/// Steps of a progress bar.
pub const PROGRESS_STEPS: u64 = 1000;

/// Prints the table, and writes the JSON to the file where one is given; `-` is standard output, where the JSON then
/// stands alone.
pub fn show(table: &str, file: Option<&str>, json: impl FnOnce() -> Value) -> Result<(), CommandError> {
    match file {
        None => print_result(table.trim_end())?,
        Some("-") => {
            _ = write!(std::io::stderr(), "{table}");
            print_result(&format!("{:#}", json()))?;
        }
        Some(path) => {
            print_result(table.trim_end())?;
            File::create(path)
                .and_then(|mut file| writeln!(file, "{:#}", json()))
                .map_err(|error| CommandError::failure(format!("cannot write {path}"), error))?;
        }
    }
    Ok(())
}

/// Prints what a run was made for. A reader who goes away has seen enough; else it is a failure to lose it.
fn print_result(result: &str) -> Result<(), CommandError> {
    match try_print(result) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CommandError::failure("cannot write to standard output", error))
        }
        _ => Ok(()),
    }
}

/// Says before a long run whether its results can be written to a file afterwards. What the file has stays there until then.
pub fn check_writable(path: &Path) -> Result<(), CommandError> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    opened.map(drop).map_err(|error| CommandError::failure(format!("cannot write {}", path.display()), error))
}

/// A bar on a terminal, nothing elsewhere.
pub fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(PROGRESS_STEPS);
    match ProgressStyle::with_template("{bar:40} {percent:>3} %  {elapsed}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
