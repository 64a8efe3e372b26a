//! The order in which nodes are taken for a demand, the same under every policy.

use std::num::NonZeroU64;

use super::node_table::{Demand, Node};
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

/// What comes before the score in a rank: a node of a higher tier ranks higher whatever the scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tier(u64);

impl Tier {
    /// Of nodes that are free: the highest, but for demands of nothing.
    pub const FREE: Tier = Tier(FREE);

    /// The tier of a node for a demand; `None` where it is not feasible or takes no placements.
    #[inline]
    pub fn of(demand: &Demand, node: Node<'_>) -> Option<Tier> {
        if node.is_draining() {
            return None;
        }
        if demand.is_empty() {
            return Some(Tier(FREE | few_queued(node)));
        }
        match node.fit(demand) {
            Fit::Infeasible => None,
            Fit::Free => Some(Tier::FREE),
            Fit::Queues => Some(Tier(few_queued(node))),
        }
    }
}

impl Rank {
    /// Ranks `node` for the demand; `None` where it is not feasible or takes no placements.
    #[inline]
    pub fn of(policy: &Policy, scoring: &Scoring<'_>, node: Node<'_>) -> Option<Rank> {
        Some(Self::new(Tier::of(scoring.demand, node)?, policy.score(scoring, node)))
    }

    /// The rank of a free node with this score.
    pub fn free(score: f32) -> Rank {
        Self::new(Tier::FREE, score)
    }

    /// The rank of a node of a tier with this score.
    #[inline]
    pub fn new(tier: Tier, score: f32) -> Rank {
        debug_assert!(!score.is_nan());
        // The lowest score that is not NaN has bits that are not all 0.
        Rank(NonZeroU64::new(tier.0 | u64::from(ascending_bits(score))).unwrap_or(NonZeroU64::MIN))
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

    /// What comes before the score.
    #[inline]
    pub fn tier(self) -> Tier {
        Tier(self.0.get() >> 32 << 32)
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
