//! Ranks of single nodes.

use std::ops::Range;
use std::rc::Rc;

use crate::prefetch::load;
use crate::scheduler::cells::Slot;
use crate::scheduler::changes::Position;
use crate::scheduler::node_table::{Node, NodeTable};
use crate::scheduler::policy::Scoring;
use crate::scheduler::profile::{Asked, Outlook, Profile};
use crate::scheduler::rank::{Rank, Tier};

/// Nodes whose outlooks are kept for each class, and at least in all, a power of two each: more than change between two times that
/// a demand is asked for.
const OUTLOOKS_PER_CLASS: usize = 4;
const OUTLOOKS_MIN: usize = 64;

/// The newest profile and what it says of the nodes that were looked at last: a node that has changed is ranked for every
/// class.
#[derive(Debug, Default)]
pub struct Outlooks {
    profile: Rc<Profile>,
    /// The outlook of a slot is at its remainder, if it is there.
    kept: Vec<Dated>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Dated {
    slot: Slot,
    /// The latest change of the slot that the outlook is by. No slot has one at 0.
    date: Position,
    outlook: Outlook,
}

impl Dated {
    /// Makes it the outlook of a node as it is now.
    #[inline(never)]
    fn renew(&mut self, table: &NodeTable, node: Node<'_>, profile: &Profile) {
        (self.slot, self.date) = (node.slot(), table.changes().latest(node.slot()));
        self.outlook.set_free(profile, node);
        self.outlook.term = table.policy().outlook_term(profile, &self.outlook, node);
    }
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
        self.kept.clear();
    }

    /// Loads where outlooks are, and what they have in common.
    #[inline]
    pub fn prefetch(&self) {
        load(self.kept.len());
        load(Rc::as_ptr(&self.profile));
    }

    /// Loads the outlook of a slot.
    #[inline]
    pub fn prefetch_slot(&self, slot: Slot) {
        if let Some(dated) = self.kept.get(slot as usize & self.kept.len().wrapping_sub(1)) {
            load(*dated);
        }
    }

    #[inline]
    fn of(&mut self, table: &NodeTable, node: Node<'_>) -> &Outlook {
        let slot = node.slot();
        let place = slot as usize & (self.kept.len() - 1);
        let dated = &mut self.kept[place];
        let date = table.changes().latest(slot);
        if (dated.slot, dated.date) != (slot, date) {
            dated.renew(table, node, &self.profile);
        }
        &dated.outlook
    }

    /// The outlook of a node, if it is kept, follows a placement of what is asked for, which it was free for. `before` was the latest
    /// change of the node until then.
    #[inline]
    pub fn follow_placement(&mut self, table: &NodeTable, node: Node<'_>, before: Position, asked: &Asked) {
        let slot = node.slot();
        let place = slot as usize & self.kept.len().wrapping_sub(1);
        let Some(dated) = self.kept.get_mut(place).filter(|dated| (dated.slot, dated.date) == (slot, before)) else {
            return;
        };
        if dated.outlook.follow_placement(asked, node) {
            dated.date = table.changes().latest(slot);
            dated.outlook.term = table.policy().outlook_term(&self.profile, &dated.outlook, node);
        }
    }

    /// Makes room for the outlooks of a table with so many slots, which there are so many classes for. Without room no slot is ranked.
    #[inline]
    pub fn make_room(&mut self, slots: usize, classes: usize) {
        let wanted = slots.min(OUTLOOKS_MIN.max(OUTLOOKS_PER_CLASS * classes));
        if self.kept.len() < wanted {
            self.grow(wanted);
        }
    }

    #[cold]
    fn grow(&mut self, wanted: usize) {
        self.kept.clear();
        self.kept.resize_with(wanted.next_power_of_two(), Dated::default);
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
    pub fn new(table: &'a NodeTable, scoring: Scoring<'a>, outlooks: &'a mut Outlooks) -> Self {
        let is_newest = table.policy().learns() && std::ptr::eq(scoring.profile, &*outlooks.profile);
        Self { table, scoring, outlooks: is_newest.then_some(outlooks) }
    }

    /// The rank of a slot.
    #[inline(always)]
    pub fn rank(&mut self, slot: Slot) -> Option<Rank> {
        let node = self.table.node(slot)?;
        let (policy, scoring) = (self.table.policy(), &self.scoring);
        let Some(outlooks) = &mut self.outlooks else { return Rank::of(policy, scoring, node) };
        let outlook = outlooks.of(self.table, node);
        let tier = match outlook.is_free_for(scoring.asked) {
            true => Tier::FREE,
            false => Tier::of(scoring.demand, node)?,
        };
        Some(Rank::new(tier, policy.score_by(scoring, outlook, node)))
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
