//! Version 1 of the protocol as clients see it, against a real server process.

mod common;

#[path = "protocol/connections.rs"]
mod connections;
#[path = "protocol/malformed.rs"]
mod malformed;
#[path = "protocol/nodes.rs"]
mod nodes;
#[path = "protocol/vectors.rs"]
mod vectors;
