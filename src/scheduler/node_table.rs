//! The nodes of a view: what each one has, what is reserved on it, and how many placements it has queued.

mod demand;
mod limits;
mod node;
mod placements;
mod report;
mod update;

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::amount::Amount;
use super::cells::{Cell, Cells, Slot};
use super::changes::{Changes, Position};
use super::policy::{NodeTerm, Policy};
use super::resource_names::{ResourceId, ResourceNames};
use super::room;
use super::units::{UnitResources, Units};
use crate::prefetch::load;
use crate::wire::NodeId;

pub use demand::{Demand, UnknownResource};
pub use limits::{Full, NAMES_MAX, TableLimits};
pub use node::Node;
pub use update::Placements;

/// Places of a report whose names are remembered for the next.
const ORDER_MAX: usize = 64;

/// Nodes below which no resource may be common enough to be a column, so that all have to be looked at.
const SMALL_TABLE: usize = 64;

/// A placement that is to be released is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPlaced;

#[derive(Debug)]
struct NodeEntry {
    /// Of the node that is there, or was last.
    id: NodeId,
    /// Whether the slot is neither vacant nor about to be.
    is_there: bool,
    /// Takes no new placements.
    draining: bool,
    /// Whether units of its resources are not as the sums of what is free say.
    has_units_apart: bool,
    /// Placements since the last report.
    queued: u32,
}

impl NodeEntry {
    /// The entry of a node without placements.
    fn of(id: NodeId) -> Self {
        Self { id, is_there: true, draining: false, has_units_apart: false, queued: 0 }
    }
}

/// The unit resources of a node whose units are not as [`Units::of_sum`] reads them.
type UnitsApart = Vec<(ResourceId, Units)>;

/// The nodes of a view.
#[derive(Debug)]
pub struct NodeTable {
    /// Whose node terms are kept.
    policy: Policy,
    unit_resources: UnitResources,
    limits: TableLimits,
    names: ResourceNames,
    cells: Cells,
    nodes: Vec<NodeEntry>,
    /// See [`Node::term`]. By slot, as far as they are settled; none where the policy has no node term.
    terms: Vec<NodeTerm>,
    /// Of the nodes that have units apart.
    units_apart: HashMap<Slot, UnitsApart, RandomState>,
    /// The slots of nodes, by the hash of their ids, which are in the entries alone.
    slots: HashTable<Slot>,
    hasher: RandomState,
    /// The slot of a node that was removed, but not yet from `slots` and `cells`: see [`NodeTable::remove`].
    leaving: Option<Slot>,
    /// The slot left last is taken first: a node removed and added again right away takes its slot back.
    vacant: Vec<Slot>,
    changes: Changes,
    /// Changes up to here are in the node terms.
    settled: Position,
    /// The names of the last report in their order: reports often have the same.
    last_order: Vec<ResourceId>,
    /// The report that is being applied; kept for its memory.
    report: Vec<(ResourceId, Amount)>,
}

impl NodeTable {
    /// A table without nodes that keeps the node terms of a policy, and the units of some resources apart.
    pub fn new(policy: Policy, unit_resources: UnitResources) -> Self {
        Self {
            policy,
            unit_resources,
            limits: TableLimits::default(),
            names: ResourceNames::default(),
            cells: Cells::default(),
            nodes: Vec::new(),
            terms: Vec::new(),
            units_apart: HashMap::default(),
            slots: HashTable::new(),
            hasher: RandomState::default(),
            leaving: None,
            vacant: Vec::new(),
            changes: Changes::default(),
            settled: 0,
            last_order: Vec::new(),
            report: Vec::new(),
        }
    }

    /// The table with other limits than the usual.
    pub fn with_limits(self, limits: TableLimits) -> Self {
        Self { limits, ..self }
    }

    /// How much the table takes.
    #[inline]
    pub fn limits(&self) -> TableLimits {
        self.limits
    }

    /// The policy whose node terms are kept.
    #[inline]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.slots.len() - usize::from(self.leaving.is_some())
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the node is there.
    pub fn contains(&self, node: NodeId) -> bool {
        self.slot_of(node).is_some()
    }

    /// The node in a slot; `None` where the slot is vacant.
    #[inline]
    pub fn node(&self, slot: Slot) -> Option<Node<'_>> {
        self.nodes[slot as usize].is_there.then_some(Node { table: self, slot })
    }

    /// The node term of a slot; any where it is vacant.
    #[inline]
    pub fn term(&self, slot: Slot) -> NodeTerm {
        self.terms.get(slot as usize).copied().unwrap_or_default()
    }

    /// What the node in a slot has of a resource; nothing where the slot is vacant.
    #[inline]
    pub fn cell(&self, slot: Slot, id: ResourceId) -> Cell {
        self.cells.get(slot, id)
    }

    /// Every node, by ascending slot.
    #[inline]
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        (0..self.nodes.len() as Slot).filter_map(|slot| self.node(slot))
    }

    /// Carries out a removal and brings the node terms up to date, before names are resolved and nodes ranked. Nodes
    /// change several times between two decisions, and their terms once.
    #[inline]
    pub fn settle(&mut self) {
        self.finish_removal();
        if self.policy.has_node_term() {
            self.settle_terms();
        }
        self.changes.set_read();
        #[cfg(debug_assertions)]
        for slot in 0..self.slot_count() as Slot {
            assert_eq!(self.term(slot), self.policy.node_term(&self.cells, slot));
        }
    }

    #[inline]
    fn settle_terms(&mut self) {
        room::extend_to(&mut self.terms, self.nodes.len());
        let term = |slot: Slot| self.policy.node_term(&self.cells, slot);
        match self.changes.since(self.settled) {
            Some(slots) => slots.for_each(|slot| self.terms[slot as usize] = term(slot)),
            None => (0..).zip(&mut self.terms).for_each(|(slot, kept)| *kept = term(slot)),
        }
        self.settled = self.changes.end();
    }

    /// Loads where what decisions need of it is.
    #[inline]
    pub fn prefetch(&self) {
        load(self.leaving);
        load(self.settled);
        load(self.policy.learns());
        load(self.names.generation());
        load(self.nodes.len());
        load(self.changes.end());
        self.cells.prefetch();
    }

    /// Loads what ranks look at of a node.
    #[inline]
    pub fn prefetch_node(&self, slot: Slot) {
        if let Some(node) = self.nodes.get(slot as usize) {
            load(node.queued);
            self.cells.prefetch_row(slot);
        }
    }

    /// Loads where the cells of the resources of a demand are.
    #[inline]
    pub fn prefetch_demand(&self, demand: &Demand) {
        demand.entries.iter().for_each(|&(id, _)| self.cells.prefetch_resource(id));
    }

    /// Number of slots, vacant or not.
    #[inline]
    pub fn slot_count(&self) -> usize {
        self.nodes.len()
    }

    /// Which slots have changed.
    #[inline]
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Says that somebody knows the nodes as they are now: what changes later is another change.
    #[inline]
    pub fn set_read(&mut self) {
        self.changes.set_read();
    }

    /// The names of resources.
    #[inline]
    pub fn names(&self) -> &ResourceNames {
        &self.names
    }

    /// The resources that several nodes may have.
    pub fn common_resources(&self) -> impl Iterator<Item = ResourceId> + '_ {
        let is_small = self.nodes.len() < SMALL_TABLE;
        let rare = is_small.then(|| self.names.iter().filter(|&id| self.cells.sparse_slots(id).is_some()));
        self.cells.columns().chain(rare.into_iter().flatten())
    }

    /// Number of nodes that have a resource.
    #[inline]
    pub fn holders(&self, id: ResourceId) -> usize {
        self.cells.holders(id)
    }

    /// Whether a resource comes in units, such as devices.
    pub fn is_unit(&self, id: ResourceId) -> bool {
        self.cells.is_unit(id)
    }

    /// The sum of what all nodes have of a resource in total, in units.
    #[inline]
    pub fn capacity(&self, id: ResourceId) -> f64 {
        self.cells.capacity(id)
    }

    /// 1 / the most that any node has reported of a resource in total, in units; 0 where none was positive.
    #[inline]
    pub fn largest_inverse(&self, id: ResourceId) -> f32 {
        self.cells.largest_inverse(id)
    }

    /// The nodes that alone may be feasible for a demand, by ascending slot, where the demand has a rare resource.
    #[inline]
    pub fn rare_candidates(&self, demand: &Demand) -> Option<impl ExactSizeIterator<Item = Slot> + '_> {
        let sparse = demand.entries.iter().filter_map(|&(id, _)| self.cells.sparse_slots(id));
        sparse.min_by_key(|slots| slots.len()).map(|slots| slots.iter().copied())
    }

    /// Sets whether a node takes no new placements. Returns whether it is there.
    pub fn set_draining(&mut self, node: NodeId, draining: bool) -> bool {
        let Some(slot) = self.slot_of(node) else { return false };
        self.nodes[slot as usize].draining = draining;
        self.changes.mark(slot);
        true
    }

    /// The slot of a node.
    pub fn slot_of(&self, node: NodeId) -> Option<Slot> {
        self.slot_in_use(node).filter(|&slot| self.nodes[slot as usize].is_there)
    }

    /// The slot of a node that is there or leaving.
    #[inline]
    fn slot_in_use(&self, node: NodeId) -> Option<Slot> {
        let is_of_node = |slot: &Slot| self.nodes[*slot as usize].id == node;
        self.slots.find(self.hasher.hash_one(node), is_of_node).copied()
    }

    /// Checks the whole state against a plain recomputation, in debug builds.
    fn check(&self) {
        #[cfg(debug_assertions)]
        {
            self.cells.check();
            assert_eq!(self.slots.len() + self.vacant.len(), self.nodes.len());
            for (slot, node) in self.nodes.iter().enumerate() {
                let (mut is_vacant, mut is_unreserved) = (true, true);
                self.cells.for_each(slot as Slot, |share| {
                    is_vacant &= share.cell == Cell::default();
                    is_unreserved &= share.cell.reserved == Amount::ZERO;
                });
                let slot = slot as Slot;
                if node.is_there || self.leaving == Some(slot) {
                    assert!(!(node.is_there && self.leaving == Some(slot)));
                    assert_eq!(self.slot_in_use(node.id), Some(slot));
                } else {
                    assert!(is_vacant && self.vacant.contains(&slot));
                }
                assert!(is_unreserved || node.queued > 0);
                assert_eq!(node.has_units_apart, self.units_apart.contains_key(&slot));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryLimit;
    use crate::scheduler::policy::Parameters;

    type Report<'a> = &'a [(&'a str, i64)];

    fn report(table: &mut NodeTable, node: i64, report: Report) {
        let resources = report.iter().map(|&(name, value)| (name.as_bytes(), Amount::from_f64(value as f64)));
        assert_eq!(table.report(NodeId(node), resources), Ok(()));
    }

    #[test]
    fn only_a_report_that_differs_is_a_change() {
        const BEFORE: Report = &[("CPU", 4), ("memory", 8), ("node:a", 1)];
        let cases: [(Report, bool); 8] = [
            (BEFORE, false),
            (&[("node:a", 1), ("memory", 8), ("CPU", 4)], false),
            (&[("CPU", 3), ("memory", 8), ("node:a", 1)], true),
            (&[("CPU", 4), ("memory", 8)], true),
            (&[("CPU", 4), ("memory", 8), ("node:b", 1)], true),
            (&[("CPU", 4), ("memory", 8), ("node:a", 0)], true),
            (&[("CPU", 4), ("memory", 8), ("memory", 8)], true),
            (&[], true),
        ];
        for (after, is_change) in cases {
            for is_removed_before in [false, true] {
                let policy = Policy::named("best-fit", Parameters::default()).expect("a policy of that name");
                let mut table = NodeTable::new(policy, UnitResources::default());
                report(&mut table, 1, BEFORE);
                report(&mut table, 2, BEFORE);
                table.settle();
                let start = table.changes().end();
                if is_removed_before {
                    assert!(table.remove(NodeId(2)));
                    assert_eq!((table.len(), table.contains(NodeId(2)), table.nodes().count()), (1, false, 1));
                }
                report(&mut table, 2, after);
                table.settle();
                assert_eq!(table.changes().since(start).map(|slots| slots.count()), Some(usize::from(is_change)));
                let node = table.node(1).expect("the node has its slot back");
                for name in ["CPU", "memory", "node:a", "node:b"] {
                    let last = after.iter().rev().find(|(other, _)| *other == name);
                    let amount = Amount::from_f64(last.map_or(0, |(_, value)| *value) as f64);
                    assert_eq!(node.cell_of(name.as_bytes()), Cell::reported(amount), "{name} of {after:?}");
                }
            }
        }
    }

    #[test]
    fn a_full_table_keeps_what_it_has_and_leaves_the_rest_out() {
        let limits = TableLimits { names_max: 4, ..TableLimits::default() };
        let mut table = NodeTable::new(Policy::default(), UnitResources::default()).with_limits(limits);
        report(&mut table, 1, &[("a", 1), ("b", 1)]);
        let on_wire = |report: Report<'static>| {
            report.iter().map(|&(name, value)| (name.as_bytes(), Amount::from_f64(value as f64)))
        };
        let too_many: Report = &[("c", 1), ("d", 1), ("a", 2), ("e", 1)];
        assert_eq!(table.report(NodeId(2), on_wire(too_many)), Err(Full::Names));
        let has = |table: &NodeTable, slot: Slot, name: &str| {
            table.node(slot).expect("it is there").cell_of(name.as_bytes()).total != Amount::ZERO
        };
        assert_eq!(["a", "b", "c", "d", "e"].map(|name| has(&table, 1, name)), [true, false, true, true, false]);
        // An update is all or nothing.
        let cells = table.node(0).expect("it is there").cells();
        for (available, total) in [(too_many, &[][..]), (&[("a", 7)], too_many)] {
            let updated = table.update(NodeId(1), on_wire(available), on_wire(total), Placements::Kept);
            assert_eq!(updated, Err(Full::Names));
            assert_eq!(table.node(0).expect("it is there").cells(), cells);
        }
        assert!(table.update(NodeId(3), on_wire(too_many), on_wire(&[]), Placements::Kept).is_err());
        assert_eq!(table.len(), 2, "the node of an update that is not taken is not there");
        // Names that are used no longer make room, few as they are.
        for round in 0..10 {
            let name = format!("x{round}");
            let one = Amount::from_f64(1.0);
            assert_eq!(table.report(NodeId(2), [(name.as_bytes(), one)].into_iter()), Ok(()));
            let name = format!("y{round}");
            let available = [(&b"a"[..], one), (name.as_bytes(), one)].into_iter();
            let updated = table.update(NodeId(2), available, [].into_iter(), Placements::Dropped);
            assert_eq!(updated, Ok(1), "{round}");
        }
    }

    #[test]
    fn near_the_limit_of_memory_a_node_gets_no_more_resources_than_it_has() {
        let limits = TableLimits { memory: MemoryLimit::new(|| 1, 1), ..TableLimits::default() };
        let mut table = NodeTable::new(Policy::default(), UnitResources::default());
        report(&mut table, 1, &[("a", 1), ("b", 1)]);
        let mut table = table.with_limits(limits);
        report(&mut table, 1, &[("a", 2), ("b", 2)]);
        report(&mut table, 1, &[("c", 3), ("b", 3)]);
        let (one, names) = (Amount::from_f64(1.0), [&b"a"[..], b"b", b"c"]);
        let three = names.map(|name| (name, one)).into_iter();
        assert_eq!(table.report(NodeId(1), three.clone()), Err(Full::Memory));
        assert_eq!(table.update(NodeId(1), three, [].into_iter(), Placements::Kept), Err(Full::Memory));
        let held = names.map(|name| table.node(0).expect("it is there").cell_of(name).total);
        assert_eq!(held, [one, one, Amount::ZERO]);
    }

    #[test]
    fn a_draining_node_that_is_removed_and_reported_as_before_has_changed() {
        let mut table = NodeTable::new(Policy::default(), UnitResources::default());
        report(&mut table, 1, &[("CPU", 4)]);
        assert!(table.set_draining(NodeId(1), true));
        table.settle();
        let start = table.changes().end();
        table.remove(NodeId(1));
        report(&mut table, 1, &[("CPU", 4)]);
        table.settle();
        assert!(!table.node(0).expect("it is back").is_draining());
        assert_eq!(table.changes().since(start).map(|slots| slots.count()), Some(1));
    }

    #[test]
    fn many_placements_are_released_as_one_after_the_other() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..200 {
            let mut tables = [(); 2].map(|()| {
                let mut table = NodeTable::new(Policy::default(), UnitResources::named(["GPU"]));
                report(&mut table, 1, &[("GPU", 3), ("CPU", 8)]);
                table
            });
            let mut placed: Vec<(Demand, u32)> = Vec::new();
            for _ in 0..random.usize(1..6) {
                let mut demand = Demand::default();
                let gpu = Amount::from_units(random.i64(1..25) * 1_000);
                let known = tables[0].resolve([(&b"GPU"[..], gpu), (b"CPU", Amount::WHOLE)].into_iter(), &mut demand);
                assert_eq!(known, Ok(()));
                let count = random.u32(1..5);
                tables.iter_mut().for_each(|table| (0..count).for_each(|_| table.place(0, &demand)));
                placed.push((demand, count));
            }
            while !placed.is_empty() {
                let (demand, count) = placed.swap_remove(random.usize(0..placed.len()));
                assert_eq!(tables[0].release(0, &demand, count), Ok(()));
                (0..count).for_each(|_| assert_eq!(tables[1].release(0, &demand, 1), Ok(())));
                let [one, other] = &tables;
                let [one, other] = [one, other].map(|table| table.node(0).expect("it is there"));
                let gpu = one.id_of(b"GPU").expect("it has them");
                assert_eq!((one.cells(), one.queued()), (other.cells(), other.queued()));
                assert_eq!(one.units(gpu), other.units(gpu));
            }
        }
    }

    #[test]
    fn a_removal_takes_effect_at_the_latest_when_nodes_are_ranked() {
        let mut table = NodeTable::new(Policy::default(), UnitResources::default());
        (0..3).for_each(|node| report(&mut table, node, &[("CPU", 4)]));
        table.remove(NodeId(0));
        assert!(!table.remove(NodeId(0)), "it has gone");
        table.remove(NodeId(1));
        report(&mut table, 3, &[("CPU", 1)]);
        table.remove(NodeId(3));
        table.settle();
        let cpu = table.names().get(b"CPU").expect("a node has it");
        assert_eq!((table.len(), table.holders(cpu), table.capacity(cpu)), (1, 1, 40_000.0));
        report(&mut table, 4, &[]);
        assert_eq!(table.node(1).map(Node::id), Some(NodeId(4)), "the slot left last is taken first");
    }
}
