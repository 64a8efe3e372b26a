//! How much a table takes, and what is said where it is full.

use std::fmt;

use crate::memory::MemoryLimit;

/// Names of resources in a view at most, where nothing else is said: what 8,000 placement groups of eight bundles with three
/// resources have.
pub const NAMES_MAX: usize = 250_000;

/// How much a table takes.
#[derive(Clone, Copy, Debug)]
pub struct TableLimits {
    /// Distinct names of resources at most.
    pub names_max: usize,
    /// What all tables may take.
    pub memory: MemoryLimit,
}

impl Default for TableLimits {
    fn default() -> Self {
        Self { names_max: NAMES_MAX, memory: MemoryLimit::default() }
    }
}

/// Why a report, or a part of it, is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The view has as many nodes as it may have.
    Nodes,
    /// The view knows as many names of resources as it may know.
    Names,
    /// Memory is short: there are no new nodes, and those that are there get no more resources than they have.
    Memory,
}

impl Full {
    /// Number of kinds.
    pub const KINDS: usize = 3;
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nodes => "the view has as many nodes as --max-nodes allows",
            Self::Names => "the view has as many names of resources as --max-names allows",
            Self::Memory => "memory is short (--max-memory)",
        })
    }
}
