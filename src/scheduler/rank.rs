//! The order in which nodes are taken for a demand, the same under every policy.

use std::num::NonZeroU64;

use super::node_table::Node;
use super::policy::{Policy, Scoring};

/// The order in which nodes are taken for a demand, the greatest first; ties go to the lower slot.
///
/// Free nodes come before all others, by the policy's score. The others, where the task has to queue, come by the
/// fewest placements queued, then by the score. A demand of nothing is free everywhere and goes by the fewest
/// placements queued, so that such tasks do not pile up on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(NonZeroU64);

/// Bit 63: free. Bits 32 to 62: how many fewer than the most are queued. Bits 0 to 31: the score.
const FREE: u64 = 1 << 63;
const QUEUED_MAX: u32 = u32::MAX >> 1;

impl Rank {
    /// Ranks `node` for the demand; `None` where it is not feasible or takes no placements.
    #[inline]
    pub fn of(policy: &Policy, scoring: &Scoring<'_>, node: Node<'_>) -> Option<Rank> {
        if node.is_draining() {
            return None;
        }
        let demand = scoring.demand;
        let free = if demand.is_empty() {
            FREE | few_queued(node)
        } else {
            match node.fit(demand) {
                Fit::Infeasible => return None,
                Fit::Free => FREE,
                Fit::Queues => few_queued(node),
            }
        };
        Some(Self::new(free, policy.score(scoring, node)))
    }

    /// The rank of a free node with this score.
    pub fn free(score: f32) -> Rank {
        Self::new(FREE, score)
    }

    #[inline]
    fn new(upper: u64, score: f32) -> Rank {
        debug_assert!(!score.is_nan());
        // The lowest score that is not NaN has bits that are not all 0.
        Rank(NonZeroU64::new(upper | u64::from(ascending_bits(score))).unwrap_or(NonZeroU64::MIN))
    }

    /// The rank as a number above 0 that compares as the ranks do.
    #[inline]
    pub fn bits(self) -> u64 {
        self.0.get()
    }

    /// The rank of a number that [`Rank::bits`] gave; `None` of 0.
    #[inline]
    pub fn from_bits(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }

    /// The policy's score.
    #[inline]
    pub fn score(self) -> f32 {
        let bits = self.0.get() as u32;
        f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits })
    }

    /// Whether the node is free for the demand, so that the task need not queue there.
    #[inline]
    pub fn is_free(self) -> bool {
        self.0.get() & FREE != 0
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
        assert_eq!(scores.map(|score| Rank::free(score).score()), scores);
    }
}
