//! Ranks by a newer profile.

use std::rc::Rc;

use super::ClassIndex;
use super::class::{Class, ranked_per_decision};
use super::ranker::{Outlooks, Ranker};
use crate::scheduler::cells::Slot;
use crate::scheduler::changes::Position;
use crate::scheduler::node_table::{Demand, NodeTable};
use crate::scheduler::policy::Scoring;
use crate::scheduler::profile::Profile;
use crate::scheduler::rank_tree::RankTree;

/// Slots that are ranked by a new profile in a decision, at most: a few microseconds' worth.
const RENEWED_PER_DECISION: usize = 112;

/// Ranks of a class by a newer profile. They take the place of the older ones when they are complete. Until then the
/// older serve, so that no decision has to wait for a new profile, and nodes are compared by one profile only.
#[derive(Debug, Default)]
pub struct Renewal {
    /// Whose ranks they will be. Between two renewals of classes only the memory is kept.
    class: Option<ClassIndex>,
    ranks: RankTree,
    profile: Rc<Profile>,
    /// How often the class was asked when they were begun.
    count: u64,
    /// Slots below are ranked.
    done: usize,
}

impl Renewal {
    /// Whose ranks are renewed, if any are.
    #[inline]
    pub fn class(&self) -> Option<ClassIndex> {
        self.class
    }

    /// Begins the ranks of a class, which was asked so often, by a profile.
    pub fn begin(&mut self, class: ClassIndex, count: u64, profile: &Rc<Profile>) {
        self.class = Some(class);
        self.count = count;
        self.profile.clone_from(profile);
        self.done = 0;
    }

    /// Gives the ranks up that were begun.
    pub fn stop(&mut self) {
        self.class = None;
    }

    /// Brings the ranks that there are up to date with the nodes that have changed since, which are not too many.
    pub fn catch_up(&mut self, table: &NodeTable, outlooks: &mut Outlooks, demand: &Demand, since: Position) {
        let scoring = Scoring { demand, profile: &self.profile, asked: &self.profile.asked(demand) };
        let mut ranker = Ranker::new(table, scoring, outlooks);
        let changed = table.changes().since(since).into_iter().flatten();
        for slot in changed.filter(|slot| (*slot as usize) < self.done) {
            self.ranks.set(slot, ranker.rank(slot));
        }
    }

    /// Ranks some more slots for the class, and gives the ranks to it once all are ranked.
    #[cold]
    pub fn proceed(&mut self, table: &NodeTable, outlooks: &mut Outlooks, class: &mut Class) {
        let slot_count = table.slot_count();
        if !self.ranks.extend_to(slot_count) {
            self.ranks.reset(slot_count);
            self.done = 0;
        }
        let end = slot_count.min(self.done + RENEWED_PER_DECISION.min(ranked_per_decision(&self.profile)));
        let scoring =
            Scoring { demand: &class.demand, profile: &self.profile, asked: &self.profile.asked(&class.demand) };
        let mut ranker = Ranker::new(table, scoring, outlooks);
        // What the tree still has of a class before is overwritten to its end.
        self.ranks.set_range(self.done, (self.done..end).map(|slot| ranker.rank(slot as Slot)));
        self.done = end;
        if end == slot_count {
            class.take_ranks(&mut self.ranks, &self.profile, self.count);
            self.class = None;
        }
    }
}
