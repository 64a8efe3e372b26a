//! Policies: which of the nodes that fit is taken.
//!
//! A policy is one pure function from a demand and a node to a score. Everything else is the same for all
//! of them: [`Rank`] puts free nodes before those where the task has to queue.

use super::node_table::{Demand, Node};

/// Scores the nodes that fit a demand.
pub trait Policy {
    /// How good it is to place `demand` on `node`: the highest score is taken. Never NaN.
    ///
    /// The node is feasible; it is free unless the task would queue there.
    fn score(&self, demand: &Demand, node: Node<'_>) -> f32;
}

/// Best fit: the node with the least left over.
///
/// `score = -Σ_k max(0, free_k) / largest_k` over all resources k that the node has, where `largest_k` is the
/// most that any node has reported of k. What the demand itself takes is the same share on every node where
/// it is free, and left out. A task without GPUs so avoids the nodes that have some while others fit.
///
/// Source: BestFit as in the evaluation of Weng et al., "Beware of Fragmentation", USENIX ATC'23, with equal
/// weights and for any resources.
#[derive(Clone, Copy, Debug, Default)]
pub struct BestFit;

impl Policy for BestFit {
    #[inline]
    fn score(&self, _: &Demand, node: Node<'_>) -> f32 {
        -node.leftover()
    }
}

/// The order in which nodes are taken for a demand, the greatest first; ties go to the lower slot.
///
/// Free nodes come before all others, by the policy's score. The others, where the task has to queue, come by the
/// fewest placements queued, then by the score. A demand of nothing is free everywhere and goes by the fewest
/// placements queued, so that such tasks do not pile up on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u64);

/// Bit 63: free. Bits 32 to 62: how many fewer than the most are queued. Bits 0 to 31: the score.
const FREE: u64 = 1 << 63;
const QUEUED_MAX: u32 = u32::MAX >> 1;

impl Rank {
    /// Ranks `node` for `demand`; `None` where it is not feasible.
    #[inline]
    pub fn of(policy: &impl Policy, demand: &Demand, node: Node<'_>) -> Option<Rank> {
        let free = if demand.is_empty() {
            FREE | few_queued(node)
        } else {
            match node.fit(demand) {
                Fit::Infeasible => return None,
                Fit::Free => FREE,
                Fit::Queues => few_queued(node),
            }
        };
        Some(Rank(free | u64::from(ascending_bits(policy.score(demand, node)))))
    }

    /// The rank as a number above 0 that compares as the ranks do.
    #[inline]
    pub fn bits(self) -> u64 {
        debug_assert_ne!(self.0, 0, "a score is not the least of all floats");
        self.0
    }

    /// The rank of a number that [`Rank::bits`] gave.
    #[inline]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether the node is free for the demand, so that the task need not queue there.
    #[inline]
    pub fn is_free(self) -> bool {
        self.0 & FREE != 0
    }
}

/// How a demand fits on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The node does not have it in total.
    Infeasible,
    /// The node has it, but not unused: the task would queue.
    Queues,
    /// The node has it unused.
    Free,
}

#[inline]
fn few_queued(node: Node<'_>) -> u64 {
    u64::from(QUEUED_MAX - node.queued().min(QUEUED_MAX)) << 32
}

/// Bits that compare as the floats do.
#[inline]
fn ascending_bits(score: f32) -> u32 {
    debug_assert!(!score.is_nan());
    let bits = score.to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_ascend_with_the_score() {
        let scores = [f32::NEG_INFINITY, -1e9, -1.0, -1e-20, 0.0, 1e-20, 0.5, 3.0, f32::INFINITY];
        assert!(scores.map(ascending_bits).is_sorted_by(|a, b| a < b));
    }
}
