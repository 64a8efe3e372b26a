//! One demand and the ranks of nodes for it.

use std::rc::Rc;

use super::ranker::{Outlooks, Ranker};
use super::renewal::Renewal;
use crate::prefetch::load;
use crate::scheduler::cells::Slot;
use crate::scheduler::changes::Position;
use crate::scheduler::node_table::{Demand, NodeTable};
use crate::scheduler::policy::{Scoring, Selection};
use crate::scheduler::profile::{Asked, Profile};
use crate::scheduler::rank::Rank;
use crate::scheduler::rank_tree::RankTree;

/// A table of no more slots is ranked in one decision, as fast as a decision is to be at the most.
const RANKED_AT_ONCE: usize = 3 << 9;

/// In a larger one, slots that are ranked in a decision.
const RANKED_PER_DECISION: usize = 1 << 10;

/// A policy that learns compares each slot with kinds of tasks: so many are compared in a decision, where the rest of a rank
/// counts as some.
const COMPARED_PER_DECISION: usize = 1 << 14;
const REST_IN_KINDS: usize = 32;

/// Slots that a decision may rank by a profile besides those that have changed.
pub fn ranked_per_decision(profile: &Profile) -> usize {
    COMPARED_PER_DECISION / (REST_IN_KINDS + profile.kinds())
}

/// A distinct demand.
#[derive(Debug, Default)]
pub struct Class {
    pub demand: Demand,
    /// The lists of resources that are remembered for it, the oldest first.
    pub lists: Vec<Box<[u8]>>,
    /// By slot, its rank by the profile.
    pub ranks: RankTree,
    pub profile: Rc<Profile>,
    /// What the demand asks for of the profile's resources.
    pub asked: Asked,
    /// Slots below are ranked.
    ranked: usize,
    /// Changes up to here are in the ranks.
    seen: Position,
    /// How often it was asked, and how often when its ranks were last made.
    pub count: u64,
    pub count_ranked: u64,
    /// When it was asked last, in decisions of the cache.
    pub asked_at: u64,
}

impl Class {
    /// Makes it the class of a new demand.
    pub fn start_over(&mut self, demand: &Demand, now: u64) {
        self.demand.clone_from(demand);
        self.ranked = 0;
        (self.count, self.count_ranked) = (0, 0);
        self.asked_at = now;
    }

    /// Whether all slots are ranked.
    #[inline]
    pub fn is_complete(&self, table: &NodeTable) -> bool {
        self.ranked == table.slot_count()
    }

    /// Takes ranks of all slots by a newer profile.
    pub fn take_ranks(&mut self, ranks: &mut RankTree, profile: &Rc<Profile>, count: u64) {
        std::mem::swap(&mut self.ranks, ranks);
        self.set_profile(profile);
        self.ranked = self.ranks.len();
        self.count_ranked = count;
    }

    fn set_profile(&mut self, profile: &Rc<Profile>) {
        self.profile.clone_from(profile);
        self.asked = profile.asked(&self.demand);
    }

    /// Loads what is known of the class, and where its ranks are.
    #[inline]
    pub fn prefetch(&self) {
        load(self.demand.entries().len());
        load(Rc::as_ptr(&self.profile));
        load(self.asked);
        load((self.ranked, self.seen));
        load((self.count, self.asked_at));
        self.ranks.prefetch();
    }

    /// Brings the ranks that there are up to date with the nodes, and what there is of newer ones. Returns how many nodes were
    /// ranked.
    #[inline]
    pub fn catch_up(&mut self, table: &NodeTable, outlooks: &mut Outlooks, renewal: Option<&mut Renewal>) -> usize {
        let mut count = 0;
        let changes = table.changes();
        let has_room = self.ranked > 0 && self.ranks.extend_to(table.slot_count());
        match changes.since(self.seen).filter(|_| has_room) {
            Some(slots) => {
                if let Some(renewal) = renewal {
                    renewal.catch_up(table, outlooks, &self.demand, self.seen);
                }
                let scoring = Scoring { demand: &self.demand, profile: &self.profile, asked: &self.asked };
                let mut ranker = Ranker::new(table, scoring, outlooks);
                for slot in slots.filter(|slot| (*slot as usize) < self.ranked) {
                    self.ranks.set(slot, ranker.rank(slot));
                    count += 1;
                }
            }
            None => self.forget_ranks(table, outlooks, renewal),
        }
        self.seen = changes.end();
        self.check(table);
        count
    }

    #[cold]
    fn forget_ranks(&mut self, table: &NodeTable, outlooks: &Outlooks, renewal: Option<&mut Renewal>) {
        self.set_profile(outlooks.profile());
        if let Some(renewal) = renewal {
            renewal.stop();
        }
        self.ranks.reset(table.slot_count());
        self.ranked = 0;
        self.count_ranked = self.count;
    }

    /// In debug builds, checks that the ranks are those that a look at every node would give.
    fn check(&self, table: &NodeTable) {
        if cfg!(debug_assertions) {
            let scoring = Scoring { demand: &self.demand, profile: &self.profile, asked: &self.asked };
            for slot in 0..self.ranked.min(table.slot_count()) {
                let rank = table.node(slot as Slot).and_then(|node| Rank::of(table.policy(), &scoring, node));
                assert_eq!(self.ranks.get(slot), rank, "slot {slot}");
            }
        }
    }

    /// Ranks some more slots, and looks at those that are still not ranked, for the highest rank of all.
    ///
    /// Under a policy that learns, of nodes that are not ranked yet only some are scored, since a score takes long: in a table of
    /// many nodes a new demand so may go to one that is not quite the best.
    #[cold]
    pub fn rank_more(&mut self, table: &NodeTable, outlooks: &mut Outlooks) -> Option<(Rank, Slot)> {
        let policy = table.policy();
        let slot_count = table.slot_count();
        let is_at_once = slot_count <= RANKED_AT_ONCE || policy.selection() != Selection::Highest;
        let count = match policy.learns() {
            _ if is_at_once => slot_count,
            true => ranked_per_decision(&self.profile),
            false => RANKED_PER_DECISION,
        };
        let end = slot_count.min(self.ranked + count);
        let scoring = Scoring { demand: &self.demand, profile: &self.profile, asked: &self.asked };
        let mut ranker = Ranker::new(table, scoring, outlooks);
        self.ranks.set_range(self.ranked, (self.ranked..end).map(|slot| ranker.rank(slot as Slot)));
        self.ranked = end;
        let scores_max = if policy.learns() { 0 } else { usize::MAX };
        ranker.highest(end as Slot..slot_count as Slot, self.ranks.highest(), scores_max)
    }
}
