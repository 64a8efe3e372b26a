//! What the integration tests share: processes of the program, and a client that speaks the protocol byte by byte.
//!
//! Nothing of the crate is used here, so that a mistake in how it writes messages cannot hide one in how it reads them.

// Each test crate uses another part.
#![allow(dead_code, unused_imports)]

pub mod bench;
mod client;
pub mod extension;
mod flood;
mod messages;
mod process;
mod server;

use std::time::Duration;

pub use client::Client;
pub use flood::{Flood, flood};
pub use messages::*;
pub use process::{Ended, PROGRAM, Process, program, run};
pub use server::{Server, Transport};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long a wait lasts that must show that something does not happen.
pub const QUIET: Duration = Duration::from_millis(100);

/// Random numbers, and the seed printed so that a failure can be repeated.
pub fn random() -> fastrand::Rng {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    fastrand::Rng::with_seed(seed)
}
