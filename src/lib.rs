//! The external scheduler for Ray: decides in microseconds which node runs a task.
//!
//! The modules in the order in which a request meets them: the [`server`]'s loop reads a connection's socket into its
//! [`ring`] buffer, [`prefetch`] brings what comes next into the cache where there are many connections, [`wire`] finds the frames
//! there and turns them into typed requests, [`execute`] runs them against the [`scheduler`], and the reply goes back the same way.
//! [`memory`] limits what all of them allocate, and [`telemetry`] counts what happens.
//! [`client`] is the other side: a library for those who ask.
//! [`mod@bench`] is the load generator that drives all this from outside, [`replay`] compares policies offline on recorded
//! workloads, and [`commands`] is the command line.

#![forbid(unsafe_code)]

pub mod server;

pub mod ring;

pub mod prefetch;

pub mod wire;

pub mod execute;

pub mod scheduler;

pub mod memory;

pub mod telemetry;

pub mod client;

#[expect(clippy::disallowed_methods, reason = "results say at what time of day they were measured")]
pub mod bench;

pub mod replay;

pub mod commands;
