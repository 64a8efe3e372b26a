//! Ranks of single nodes.

use std::ops::Range;
use std::rc::Rc;

use crate::scheduler::cells::Slot;
use crate::scheduler::changes::Position;
use crate::scheduler::node_table::{Demand, Node, NodeTable};
use crate::scheduler::policy::Scoring;
use crate::scheduler::profile::{Outlook, Profile};
use crate::scheduler::rank::{Rank, Tier};

/// The newest profile and what it says of nodes, as far as it was asked: a node that has changed is ranked for every class.
#[derive(Debug, Default)]
pub struct Outlooks {
    profile: Rc<Profile>,
    /// Tells the profile from those before.
    serial: u64,
    by_slot: Vec<Dated>,
}

#[derive(Clone, Debug, Default)]
struct Dated {
    /// The serial of the profile and the latest change of the node that it is by.
    date: (u64, Position),
    outlook: Outlook,
}

impl Outlooks {
    /// The newest profile.
    #[inline]
    pub fn profile(&self) -> &Rc<Profile> {
        &self.profile
    }

    /// A new profile takes the place of the one before.
    pub fn start_over(&mut self, profile: Profile) {
        self.profile = Rc::new(profile);
        self.serial += 1;
    }

    #[inline]
    fn of(&mut self, table: &NodeTable, node: Node<'_>) -> &Outlook {
        let slot = node.slot() as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize_with(table.slot_count(), Dated::default);
        }
        let date = (self.serial, table.changes().latest(node.slot()));
        let dated = &mut self.by_slot[slot];
        if dated.date != date {
            *dated = Dated { date, outlook: table.policy().outlook(&self.profile, node) };
        }
        &dated.outlook
    }
}

/// Ranks nodes for a demand.
pub struct Ranker<'a> {
    table: &'a NodeTable,
    scoring: Scoring<'a>,
    /// `None` where the policy goes by no profile, or by one that is not the newest.
    outlooks: Option<&'a mut Outlooks>,
}

impl<'a> Ranker<'a> {
    /// A ranker by a profile.
    #[inline]
    pub fn new(table: &'a NodeTable, demand: &'a Demand, profile: &'a Rc<Profile>, outlooks: &'a mut Outlooks) -> Self {
        let is_newest = table.policy().learns() && Rc::ptr_eq(profile, &outlooks.profile);
        Self { table, scoring: Scoring::new(demand, profile), outlooks: is_newest.then_some(outlooks) }
    }

    /// The rank of a slot.
    #[inline]
    pub fn rank(&mut self, slot: Slot) -> Option<Rank> {
        let node = self.table.node(slot)?;
        let node = match &mut self.outlooks {
            Some(outlooks) => node.with_outlook(outlooks.of(self.table, node)),
            None => node,
        };
        Rank::of(self.table.policy(), &self.scoring, node)
    }

    /// The highest rank of `best` and of slots that ascend and come behind it. Once `scores_max` nodes have been scored, only
    /// those count that are free where those before were not, or have fewer placements queued.
    pub fn highest(
        &mut self,
        slots: Range<Slot>,
        mut best: Option<(Rank, Slot)>,
        mut scores_max: usize,
    ) -> Option<(Rank, Slot)> {
        let (policy, demand) = (self.table.policy(), self.scoring.demand);
        let scores_by_term = policy.scores_by_term() && !demand.is_empty();
        for slot in slots {
            let is_behind = |rank: Rank| best.is_some_and(|(best, _)| rank <= best);
            // Most nodes are told to be behind by this alone.
            if scores_by_term && is_behind(Rank::free(self.table.term(slot)[0])) {
                continue;
            }
            let Some(node) = self.table.node(slot) else { continue };
            let best_tier = best.map(|(rank, _)| rank.tier());
            if scores_max == 0 && best_tier == Some(Tier::FREE) {
                break;
            }
            let Some(tier) = Tier::of(demand, node) else { continue };
            if Some(tier) < best_tier || Some(tier) == best_tier && scores_max == 0 {
                continue;
            }
            scores_max = scores_max.saturating_sub(1);
            let rank = Rank::new(tier, policy.score(&self.scoring, node));
            if !is_behind(rank) {
                best = Some((rank, slot));
            }
        }
        best
    }
}
