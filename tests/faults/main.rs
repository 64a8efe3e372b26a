//! Faults: what goes wrong around a server, and what it does then. Each test names its fault; what is expected is written
//! beside it. Times are shortened by the options that set them.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod output;
mod quotas;
mod slow;
mod strangers;
mod systemd;
