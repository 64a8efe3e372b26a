//! Counters. The loop is single-threaded, so they are plain numbers.

use std::fmt;

use crate::execute::Refusal;
use crate::server::close::CloseReason;

/// What happened to requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestCounters {
    /// Nodes added or replaced.
    pub added: u64,
    /// Nodes updated.
    pub updated: u64,
    /// Nodes removed, there or not.
    pub removed: u64,
    /// Placements released.
    pub released: u64,
    /// Demands placed.
    pub placed: u64,
    /// Demands that fitted nowhere.
    pub not_placed: u64,
    /// Requests not carried out, by [`Refusal::index`].
    pub refused: [u64; Refusal::REASONS],
}

impl fmt::Display for RequestCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, updated, removed, placed, not_placed, released, refused } = self;
        let refused: u64 = refused.iter().sum();
        write!(f, "{placed} placed, {not_placed} not placed, {released} released, ")?;
        write!(f, "{added} adds, {updated} updates, {removed} removes, {refused} refused")
    }
}

/// What happened to connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCounters {
    /// Connections accepted, those refused at once included.
    pub accepted: u64,
    /// Times that the operating system had no descriptor or memory for a new connection.
    pub accept_errors: u64,
    /// Connections closed, by [`CloseReason::index`].
    pub closed: [u64; CloseReason::REASONS],
}

impl fmt::Display for ConnectionCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} connections", self.accepted)?;
        for (kind, &count) in CloseReason::KINDS.iter().zip(&self.closed) {
            if count > 0 {
                write!(f, ", {count} {}", kind.name)?;
            }
        }
        Ok(())
    }
}
