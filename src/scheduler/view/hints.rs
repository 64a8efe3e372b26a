//! Decisions that a client has a say in.

use std::borrow::Cow;

use super::{Decision, Placement, Unplaced, View};
use crate::scheduler::cells::Slot;
use crate::scheduler::policy::{Policy, Scoring, Selection};
use crate::scheduler::rank::Rank;
use crate::scheduler::rank_tree::RankTree;
use crate::wire::NodeId;
use crate::wire::resources::Resources;

/// What a client wants of one decision. Nodes that are not there do not matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints<'a> {
    /// Place on free nodes only.
    pub strict: bool,
    /// Decide, and change nothing.
    pub dry_run: bool,
    /// The policy of the decision; `None` for the view's.
    pub policy: Option<Policy>,
    /// Nodes that are taken before all others while one of them is free.
    pub preferred: &'a [NodeId],
    /// Nodes that are not taken, also when preferred.
    pub avoided: &'a [NodeId],
}

/// Ranked nodes, by ascending slot.
type Ranked = Vec<(Rank, Slot)>;

impl View {
    /// Places a demand by hints: see [`View::schedule`].
    ///
    /// # Errors
    /// Where no node that is not avoided is feasible, or, strict, none is free; nothing is changed then.
    pub fn schedule_with_hints(
        &mut self,
        resources: Resources<'_>,
        hints: &Hints<'_>,
    ) -> Result<Placement<'_>, Unplaced> {
        let decision = self.decide_with_hints(resources, hints)?;
        match hints.dry_run {
            true => self.describe(decision, hints.strict),
            false => self.commit(decision, hints.strict),
        }
    }

    fn decide_with_hints(&mut self, resources: Resources<'_>, hints: &Hints<'_>) -> Result<Decision, Unplaced> {
        self.resolve(resources).map_err(|_| self.why_infeasible())?;
        let avoided = self.slots_of(hints.avoided);
        let mut preferred = self.slots_of(hints.preferred);
        preferred.retain(|slot| avoided.binary_search(slot).is_err());
        let policy = hints.policy.unwrap_or(*self.table.policy());
        let mut candidates = self.rank(&policy, preferred.into_iter());
        candidates.retain(|(rank, _)| rank.is_free());
        if candidates.is_empty() {
            if hints.policy.is_none() && avoided.is_empty() && !hints.dry_run {
                return self.decide(resources);
            }
            self.looked_at(self.table.slot_count());
            let all = 0..self.table.slot_count() as Slot;
            candidates = self.rank(&policy, all.filter(|slot| avoided.binary_search(slot).is_err()));
        }
        let (rank, slot) = self.choose(&policy, candidates, hints.dry_run).ok_or_else(|| self.why_infeasible())?;
        Ok(Decision { rank, slot, class: None })
    }

    /// The slots of nodes that are there, ascending.
    fn slots_of(&self, nodes: &[NodeId]) -> Vec<Slot> {
        let mut slots: Vec<Slot> = nodes.iter().filter_map(|&node| self.table.slot_of(node)).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// Ranks nodes for the demand at hand by any policy, and leaves out those that are not feasible.
    fn rank(&self, policy: &Policy, slots: impl Iterator<Item = Slot>) -> Ranked {
        let profile = match policy.learns() && !self.table.policy().learns() {
            true => Cow::Owned(self.cache.make_profile(&self.table)),
            false => Cow::Borrowed(self.cache.profile()),
        };
        let scoring = Scoring { demand: &self.demand, profile: &profile, asked: &profile.asked(&self.demand) };
        let rank = |slot| Rank::of(policy, &scoring, self.table.node(slot)?);
        slots.filter_map(|slot| Some((rank(slot)?, slot))).collect()
    }

    /// Chooses among ranked nodes as the policy does.
    fn choose(&mut self, policy: &Policy, ranked: Ranked, dry_run: bool) -> Option<(Rank, Slot)> {
        let highest = ranked.iter().copied().reduce(|best, other| if other.0 > best.0 { other } else { best })?;
        let selection = policy.selection();
        if selection == Selection::Highest || self.demand.is_empty() || !highest.0.is_free() {
            return Some(highest);
        }
        let mut by_slot = vec![None; self.table.slot_count()];
        ranked.into_iter().for_each(|(rank, slot)| by_slot[slot as usize] = Some(rank));
        let mut ranks = RankTree::default();
        ranks.fill(by_slot.into_iter());
        Some(match dry_run {
            true => self.selector.clone().choose(selection, &ranks, highest),
            false => self.selector.choose(selection, &ranks, highest),
        })
    }

    /// What carrying a decision out would do.
    fn describe(&self, decision: Decision, strict: bool) -> Result<Placement<'_>, Unplaced> {
        let (is_free, slot) = (decision.rank.is_free(), decision.slot);
        match self.table.node(slot) {
            _ if strict && !is_free => Err(Unplaced::NothingFree),
            Some(node) => Ok(Placement { slot, node: node.id(), is_free, demand: &self.demand }),
            None => Err(Unplaced::Infeasible),
        }
    }
}
