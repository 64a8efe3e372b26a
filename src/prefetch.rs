//! Prefetching: what requests will need is loaded into the processor's cache before any of them is executed.
//!
//! Of a thousand views hardly anything is still in the cache when the next request for each comes, and a decision would wait for
//! memory a dozen times, one load after the other, since each says where the next one goes. Loads for different views need not wait
//! for each other. So they are made a [`Step`] at a time, for several connections each, and wait together.
//!
//! These are plain loads. With prefetch instructions, which are unsafe to use, no more requests were answered.

use std::hint::black_box;

/// A step of the way from a connection to the ranks of its demand: each begins at what those before have loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The view itself.
    View,
    /// Where the class of the demand is, which nodes have changed last, and what all ranks have in common.
    Demand,
    /// The class, and these nodes.
    Class,
    /// Their ranks.
    Ranks,
}

impl Step {
    /// All steps in their order.
    pub const ALL: [Step; 4] = [Self::View, Self::Demand, Self::Class, Self::Ranks];
}

/// Loads a value that is needed later.
#[inline]
pub fn load<T: Copy>(value: T) {
    black_box(value);
}
