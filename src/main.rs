//! The command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    external_scheduler::commands::main()
}
