//! Faults: what goes wrong around a server, and what it does then. Each test names its fault; what is expected is written
//! beside it. Times are shortened by the options that set them. What takes time is measured by `scripts/faults`.
//!
//! | fault | where |
//! |---|---|
//! | messages in pieces, at every byte; lengths that cannot be; malformed requests | `protocol/malformed`, `protocol/connections` |
//! | frames announced and never sent, a byte now and then | [`slow`], `scripts/faults` |
//! | names and nodes without end, memory that runs short, buffers for frames that do not come | [`quotas`] |
//! | HTTP, TLS, Redis, SSH; port scans; a thousand broken clients | [`strangers`], `scripts/faults` |
//! | clients that do not read | [`slow`], `protocol/connections`, `scripts/faults` |
//! | a long pipeline; stale events; no descriptors | [`crowds`], `scripts/faults` |
//! | half-closed connections, resets inside a frame and a reply, more than `--max-connections` | `protocol/connections` |
//! | SIGTERM under load, a second signal | `command_line` |
//! | SIGSTOP and SIGCONT | [`slow`], `scripts/faults` |
//! | streams that are closed, full or blocked behind the log | [`output`] |
//! | the wall clock jumps | nothing to test: `clippy.toml` forbids to ask it |
//! | who may connect | [`access`], `extensions/token` |
//! | a service manager that starts, watches and passes sockets | [`systemd`] |

#[path = "../common/mod.rs"]
mod common;

mod access;
mod crowds;
mod output;
mod quotas;
mod slow;
mod strangers;
mod systemd;
