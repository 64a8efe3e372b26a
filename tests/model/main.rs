//! The scheduler against a naive second implementation of what the protocol says, driven by the same messages.

mod cluster;
mod private;
mod shared;
mod world;
