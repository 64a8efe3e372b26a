//! A view: one table of nodes, and the placements made on it.

mod explain;
mod gang;
mod hints;

pub use self::explain::{Closest, Explanation, Missing, Shortage, TooMuchToExplain, Verdict};
pub use self::gang::GangUnplaced;
pub use self::hints::Hints;

use super::amount::Amount;
use super::cells::Slot;
use super::node_table::{Demand, Full, Node, NodeTable, Placements, TableLimits, UnknownResource};
use super::policy::{Policy, Scoring, Selection};
use super::rank::Rank;
use super::rank_cache::{ClassIndex, RankCache};
use super::selection::Selector;
use super::units::{UNIT_RESOURCES, UnitResources};
use crate::prefetch::Step;
use crate::wire::NodeId;
use crate::wire::resources::Resources;

/// Nodes of a view at most, where nothing else is said: ten times the largest clusters that Ray is tested with.
pub const NODES_MAX: usize = 100_000;

/// How a view behaves.
#[derive(Clone, Debug)]
pub struct ViewOptions {
    /// Only free nodes count; else a task may queue on a feasible one.
    pub strict: bool,
    /// Nodes at most.
    pub nodes_max: usize,
    /// Which of the nodes that fit is taken.
    pub policy: Policy,
    /// Resources that come in units, such as devices: see [`units`](super::units).
    pub unit_resources: UnitResources,
    /// Other limits.
    pub limits: TableLimits,
}

impl Default for ViewOptions {
    fn default() -> Self {
        Self {
            strict: false,
            nodes_max: NODES_MAX,
            policy: Policy::default(),
            unit_resources: UnitResources::named(UNIT_RESOURCES),
            limits: TableLimits::default(),
        }
    }
}

/// A demand that was placed.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    pub slot: Slot,
    pub node: NodeId,
    /// Whether the node was free for it; else it queues there.
    pub is_free: bool,
    pub demand: &'a Demand,
}

/// Why a demand is not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// No node could ever take it.
    Infeasible,
    /// Nodes could take it, but none is free for it; only where that is asked for.
    NothingFree,
    /// There are no nodes.
    NoNodes,
}

/// Where a demand is to be placed.
#[derive(Clone, Copy, Debug)]
struct Decision {
    rank: Rank,
    slot: Slot,
    /// The class of the demand; without one it is the demand at hand.
    class: Option<ClassIndex>,
}

/// More placements are to be released than are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverRelease {
    /// How many are held.
    pub held: u32,
}

/// A demand for a rare resource looks at the nodes that have it one by one, if there are so few.
const SCAN_MAX: usize = 32;

/// Resources of the largest demand whose ranks are kept; no real task comes near.
const CACHED_ENTRIES_MAX: usize = 64;

/// A table of nodes that demands are placed on. The same sequence of calls always gives the same placements.
#[derive(Debug)]
pub struct View {
    table: NodeTable,
    cache: RankCache,
    selector: Selector,
    /// The demand that is being placed; kept for its memory.
    demand: Demand,
}

impl View {
    /// A view without nodes.
    pub fn new(options: &ViewOptions) -> Self {
        Self {
            table: NodeTable::new(options.policy, options.unit_resources.clone()).with_limits(options.limits),
            cache: RankCache::default(),
            selector: Selector::new(options.policy.parameters()),
            demand: Demand::default(),
        }
    }

    /// Sets what a node has and drops its placements; adds the node if it is not there.
    ///
    /// # Errors
    /// When it is not there and the view is full; nothing is changed then. When it has more resources than there is room
    /// for; those are left out then.
    pub fn report<'k>(
        &mut self,
        node: NodeId,
        resources: impl Iterator<Item = (&'k [u8], Amount)> + Clone,
        options: &ViewOptions,
    ) -> Result<(), Full> {
        self.check_room(node, options)?;
        self.table.report(node, resources)
    }

    /// Sets what a node has and what of it is available, and keeps its placements; adds the node if it is not there.
    /// Returns its slot.
    ///
    /// # Errors
    /// When it is not there and the view is full, or it has more resources than there is room for; nothing is changed then.
    pub fn update<'k>(
        &mut self,
        node: NodeId,
        available: impl Iterator<Item = (&'k [u8], Amount)>,
        total: impl Iterator<Item = (&'k [u8], Amount)>,
        options: &ViewOptions,
    ) -> Result<Slot, Full> {
        self.check_room(node, options)?;
        self.table.update(node, available, total, Placements::Kept)
    }

    /// Sets what a node has and what of it is available, and drops its placements; adds the node if it is not there.
    ///
    /// # Errors
    /// When it is not there and the view is full, or it has more resources than there is room for; nothing is changed then.
    pub fn replace<'k>(
        &mut self,
        node: NodeId,
        available: impl Iterator<Item = (&'k [u8], Amount)>,
        total: impl Iterator<Item = (&'k [u8], Amount)>,
        options: &ViewOptions,
    ) -> Result<(), Full> {
        self.check_room(node, options)?;
        self.table.update(node, available, total, Placements::Dropped).map(|_| ())
    }

    /// Whether there may be no room for so many resources of a node.
    #[inline]
    pub fn is_tight(&self, resources: usize) -> bool {
        let limits = self.table.limits();
        self.table.names().len() + resources > limits.names_max || limits.memory.is_near()
    }

    fn check_room(&self, node: NodeId, options: &ViewOptions) -> Result<(), Full> {
        let full = if self.table.len() >= options.nodes_max {
            Full::Nodes
        } else if options.limits.memory.is_near() {
            Full::Memory
        } else {
            return Ok(());
        };
        if self.table.contains(node) { Ok(()) } else { Err(full) }
    }

    /// Removes a node and its placements; it is no error if it is not there.
    pub fn remove(&mut self, node: NodeId) {
        self.table.remove(node);
    }

    /// Sets whether a node takes no new placements. Returns whether it is there.
    pub fn drain(&mut self, node: NodeId, on: bool) -> bool {
        self.table.set_draining(node, on)
    }

    /// Places a demand on a node that the policy chooses and remembers it there until the node is reported anew or
    /// it is released.
    ///
    /// # Errors
    /// Where no node is feasible, or, strict, none is free; nothing is changed then.
    #[inline]
    pub fn schedule(&mut self, resources: Resources<'_>, options: &ViewOptions) -> Result<Placement<'_>, Unplaced> {
        let decision = self.decide(resources)?;
        self.commit(decision, options.strict)
    }

    /// As [`View::schedule`] for a list of resources that was placed before, byte for byte, and so need not be read again; `None` where
    /// it is not known.
    #[inline]
    pub fn schedule_again(&mut self, list: &[u8], options: &ViewOptions) -> Option<Result<Placement<'_>, Unplaced>> {
        self.table.settle();
        let class = self.cache.recall(list, self.table.names().generation())?;
        Some(match self.decide_for(class) {
            Ok(decision) => self.commit(decision, options.strict),
            Err(unplaced) => Err(unplaced),
        })
    }

    /// Loads what [`View::schedule_again`] will need for a list of resources, as far as a step of the way goes.
    #[inline]
    pub fn prefetch(&mut self, step: Step, list: &[u8]) {
        if step == Step::View {
            self.table.prefetch();
        }
        self.cache.prefetch(step, list, &self.table);
    }

    /// Decides by the cache of ranks where there is a rank for the demand.
    fn decide(&mut self, resources: Resources<'_>) -> Result<Decision, Unplaced> {
        self.table.settle();
        let names_generation = self.table.names().generation();
        if let Some(class) = self.cache.recall(resources.as_bytes(), names_generation) {
            return self.decide_for(class);
        }
        self.table.resolve(resources, &mut self.demand).map_err(|_| self.why_infeasible())?;
        let is_cached = self.demand.entries().len() <= CACHED_ENTRIES_MAX && !self.table.limits().memory.is_reached();
        if self.is_rare() || !is_cached {
            let candidates = self.table.rare_candidates(&self.demand).map(|candidates| candidates.len());
            self.looked_at(candidates.unwrap_or(self.table.slot_count()));
            return self.decide_once();
        }
        let slots = self.table.slot_count();
        let class = self.cache.remember(resources.as_bytes(), names_generation, &self.demand, slots);
        self.decide_for(class)
    }

    /// Decides by the ranks for a demand.
    ///
    /// It is always inlined where a request is executed, as is what it calls there: calls cost a tenth of the time that a pipelined
    /// request takes in the scheduler.
    #[inline(always)]
    fn decide_for(&mut self, class: ClassIndex) -> Result<Decision, Unplaced> {
        let Some(highest) = self.cache.highest(class, &self.table) else { return Err(self.why_infeasible()) };
        let demand = self.cache.demand(class);
        self.check_highest(highest, demand);
        let selection = self.table.policy().selection();
        let (rank, slot) = match selection {
            Selection::Highest => highest,
            _ if demand.is_empty() || !highest.0.is_free() => highest,
            _ => self.selector.choose(selection, self.cache.ranks(class), highest),
        };
        Ok(Decision { rank, slot, class: Some(class) })
    }

    /// So many nodes were looked at, one by one.
    pub fn looked_at(&mut self, nodes: usize) {
        self.cache.add_looked_at(nodes);
    }

    /// How many nodes were looked at since this was last asked: what the requests have cost.
    #[inline]
    pub fn take_looked_at(&mut self) -> usize {
        self.cache.take_looked_at()
    }

    /// Carries a decision out.
    #[inline(always)]
    fn commit(&mut self, decision: Decision, strict: bool) -> Result<Placement<'_>, Unplaced> {
        let is_free = decision.rank.is_free();
        if strict && !is_free {
            return Err(Unplaced::NothingFree);
        }
        let Decision { slot, class, .. } = decision;
        let before = self.table.changes().latest(slot);
        let demand = class.map_or(&self.demand, |class| self.cache.demand(class));
        self.table.place(slot, demand);
        let Some(node) = self.table.node(slot) else { return Err(Unplaced::Infeasible) };
        let id = node.id();
        if let Some(class) = class.filter(|_| is_free) {
            self.cache.follow_placement(class, &self.table, node, before);
            self.table.set_read();
        }
        let demand = class.map_or(&self.demand, |class| self.cache.demand(class));
        Ok(Placement { slot, node: id, is_free, demand })
    }

    #[cold]
    fn why_infeasible(&self) -> Unplaced {
        if self.table.is_empty() { Unplaced::NoNodes } else { Unplaced::Infeasible }
    }

    /// Ends placements of a demand on a node, as far as the sum of what is reserved there can tell them.
    ///
    /// # Errors
    /// When less is reserved or queued there; nothing is changed then.
    pub fn release(&mut self, node: NodeId, resources: Resources<'_>, count: u32) -> Result<(), OverRelease> {
        let resolved = self.resolve(resources);
        match self.table.slot_of(node).filter(|_| resolved.is_ok()) {
            Some(slot) => {
                let held = self.table.placements_of(slot, &self.demand);
                self.table.release(slot, &self.demand, count).map_err(|_| OverRelease { held })
            }
            None if count == 0 => Ok(()),
            None => Err(OverRelease { held: 0 }),
        }
    }

    /// The table, to release what was placed by name of its owner.
    pub(super) fn table_mut(&mut self) -> &mut NodeTable {
        &mut self.table
    }

    /// Makes what a list of resources asks for the [demand at hand](Self::demand).
    ///
    /// # Errors
    /// When it asks for a resource that no node has.
    pub(super) fn resolve(&mut self, resources: Resources<'_>) -> Result<(), UnknownResource> {
        self.table.settle();
        self.table.resolve(resources, &mut self.demand)
    }

    /// The demand that was resolved last.
    pub(super) fn demand(&self) -> &Demand {
        &self.demand
    }

    /// Brings the table up to date, for whoever [looks](Self::table) at it.
    pub fn settle(&mut self) {
        self.table.settle();
    }

    /// The table of nodes.
    pub fn table(&self) -> &NodeTable {
        &self.table
    }

    /// The nodes of the view.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.table.nodes()
    }

    /// Whether the demand at hand is best met by looking at the few nodes that have a rare resource. In a small view
    /// every resource is rare, and the policies that learn have to see the demands for them.
    fn is_rare(&self) -> bool {
        let nodes = self.table.len();
        self.table.policy().selection() == Selection::Highest
            && self.table.rare_candidates(&self.demand).is_some_and(|candidates| {
                candidates.len() <= SCAN_MAX && (!self.table.policy().learns() || 2 * candidates.len() <= nodes)
            })
    }

    /// Decides on the demand at hand without the cache.
    fn decide_once(&self) -> Result<Decision, Unplaced> {
        let highest = match self.table.rare_candidates(&self.demand) {
            Some(slots) => self.highest_of(&self.demand, slots),
            None => self.highest_of(&self.demand, 0..self.table.slot_count() as Slot),
        };
        let (rank, slot) = highest.ok_or_else(|| self.why_infeasible())?;
        self.check_highest((rank, slot), &self.demand);
        Ok(Decision { rank, slot, class: None })
    }

    /// In debug builds, checks that the shortcuts have found the same node as a look at every node. With a policy that
    /// learns some ranks may still be those of an older profile.
    fn check_highest(&self, highest: (Rank, Slot), demand: &Demand) {
        let slots = 0..self.table.slot_count() as Slot;
        if !self.table.policy().learns() {
            debug_assert_eq!(Some(highest), self.highest_of(demand, slots));
        }
    }

    /// The slot with the highest rank of some that ascend, ranked one by one.
    fn highest_of(&self, demand: &Demand, slots: impl Iterator<Item = Slot>) -> Option<(Rank, Slot)> {
        let (table, profile) = (&self.table, self.cache.profile());
        let scoring = Scoring { demand, profile, asked: &profile.asked(demand) };
        let ranked = slots.filter_map(|slot| Some((Rank::of(table.policy(), &scoring, table.node(slot)?)?, slot)));
        ranked.reduce(|best, other| if other.0 > best.0 { other } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::gang::Strategy;
    use crate::scheduler::policy::{DEFINITIONS, Parameters};
    use crate::scheduler::rank::Tier;
    use crate::wire::resources::{self, Meaning};

    const NAMES: [&str; 10] = ["CPU", "GPU", "memory", "a", "b", "c", "d", "e", "f", "g"];

    /// Amounts that fit often, and those at the ends of the range.
    const AMOUNTS: [i64; 10] = [0, 1, 4_000, 6_000, 10_000, 40_000, 80_000, i64::MAX / 2, i64::MAX - 1, i64::MAX];
    const NEGATIVE: [i64; 3] = [-1, i64::MIN / 2, i64::MIN];

    fn list(random: &mut fastrand::Rng, length_max: usize, amounts: &[i64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..random.usize(0..=length_max) {
            let names = if random.bool() { &NAMES[..3] } else { &NAMES };
            let name = names[random.usize(0..names.len())];
            let units = amounts[random.usize(0..amounts.len())];
            resources::append(&mut bytes, name.as_bytes(), Amount::from_units(units));
        }
        bytes
    }

    fn parsed(list: &[u8], meaning: Meaning) -> Resources<'_> {
        Resources::parse(list, meaning).expect("it was written here")
    }

    /// Schedules a demand, and checks by a look at every node that none was of a higher tier.
    fn schedule(view: &mut View, demand: &[u8], options: &ViewOptions) {
        let known = view.resolve(parsed(demand, Meaning::Demand));
        let tier = |slot| known.ok().and_then(|()| Tier::of(&view.demand, view.table.node(slot)?));
        let tiers: Vec<Option<Tier>> = (0..view.table.slot_count() as Slot).map(tier).collect();
        let placed = match view.schedule_again(demand, options) {
            Some(placed) => placed,
            None => view.schedule(parsed(demand, Meaning::Demand), options),
        };
        let tier = placed.ok().map(|placement| tiers[placement.slot as usize]);
        assert_eq!(tier.flatten(), tiers.iter().copied().max().flatten());
    }

    #[test]
    fn a_node_that_a_gang_is_placed_on_has_changed_once() {
        let options = ViewOptions::default();
        let mut view = View::new(&options);
        let mut cpu = Vec::new();
        resources::append(&mut cpu, b"CPU", Amount::WHOLE);
        let mut cpus = Vec::new();
        resources::append(&mut cpus, b"CPU", Amount::WHOLE.times(9));
        assert_eq!(view.report(NodeId(1), parsed(&cpus, Meaning::Report), &options), Ok(()));
        view.settle();
        let before = view.table.changes().end();
        let gang = [(); 4].map(|()| parsed(&cpu, Meaning::Demand));
        assert!(view.schedule_gang(gang.into_iter(), Strategy::Pack, true, |_, _| {}).is_ok());
        assert_eq!(view.table.changes().end(), before + 1);
        // But what follows a decision is another change.
        assert!(view.schedule(parsed(&cpu, Meaning::Demand), &options).is_ok());
        assert_eq!(view.release(NodeId(1), parsed(&cpu, Meaning::Demand), 1), Ok(()));
        assert_eq!(view.table.changes().end(), before + 3);
    }

    /// Nothing overflows, and debug builds check each rank against what the node is like.
    #[test]
    fn a_demand_goes_to_a_node_of_the_highest_tier_whatever_amounts_there_are_and_whatever_has_happened() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for (definition, nodes) in DEFINITIONS.iter().flat_map(|definition| [(definition, 3), (definition, 40)]) {
            let policy = Policy::named(definition.name, Parameters::default()).expect("a policy of that name");
            let options = ViewOptions { policy, ..ViewOptions::default() };
            let mut view = View::new(&options);
            let reported = [&AMOUNTS[..], &NEGATIVE].concat();
            let demands: Vec<Vec<u8>> = (0..20).map(|_| list(&mut random, 3, &AMOUNTS)).collect();
            for _ in 0..if policy.learns() { 3_000 } else { 300 } {
                let node = NodeId(random.i64(0..nodes));
                let [available, total] = [(); 2].map(|()| list(&mut random, 8, &reported));
                let [available, total] = [&available, &total].map(|list| parsed(list, Meaning::Report));
                let [demand, other] = [(); 2].map(|()| &demands[random.usize(0..demands.len())]);
                match random.u8(0..40) {
                    0..3 => assert_eq!(view.report(node, total, &options), Ok(())),
                    3 => assert_eq!(view.replace(node, available, total, &options), Ok(())),
                    4 => assert!(view.update(node, available, total, &options).is_ok()),
                    5 => view.remove(node),
                    6 => _ = view.drain(node, random.bool()),
                    7..10 => _ = view.release(node, parsed(demand, Meaning::Demand), random.u32(0..3)),
                    10 => {
                        let gang = [demand, other].map(|demand| parsed(demand, Meaning::Demand));
                        _ = view.schedule_gang(gang.into_iter(), Strategy::Pack, random.bool(), |_, _| {});
                    }
                    _ => schedule(&mut view, demand, &options),
                }
            }
        }
    }
}
