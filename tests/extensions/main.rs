//! The protocol's extensions as clients see them, against a real server process.

#[path = "../common/mod.rs"]
mod common;

mod connections;
mod decisions;
mod killed;
mod replies;
mod token;
