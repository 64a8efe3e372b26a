//! The command line.

#![forbid(unsafe_code)]

use std::alloc::System;
use std::process::ExitCode;

use cap::Cap;

/// The allocator of the system, which counts what it has given. It is not limited: see `external_scheduler::memory`.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

fn main() -> ExitCode {
    external_scheduler::commands::main(|| MEMORY.allocated())
}
