//! The nodes of a view: what each one has, what is reserved on it, and how many placements it has queued.

mod demand;
mod node;
mod update;

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::amount::Amount;
use super::cells::{Cell, Cells, Overwritten, Slot};
use super::changes::{Changes, Position};
use super::policy::{MEMORY, NodeTerm, Policy};
use super::resource_names::{ResourceId, ResourceNames};
use super::units::{UnitResources, Units};
use crate::wire::NodeId;

pub use demand::Demand;
pub use node::Node;
pub use update::Placements;

use demand::keep_last_of_each;

/// Places of a report whose names are remembered for the next.
const ORDER_MAX: usize = 64;

/// Nodes below which no resource may be common enough to be a column, so that all have to be looked at.
const SMALL_TABLE: usize = 64;

/// A demand for a resource that no node of the view has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownResource;

/// A placement that is to be released is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPlaced;

#[derive(Debug, Default)]
struct NodeEntry {
    /// `None` where the slot is vacant.
    id: Option<NodeId>,
    /// Placements since the last report.
    queued: u32,
    /// See [`Node::term`].
    term: NodeTerm,
    /// Takes no new placements.
    draining: bool,
    /// Where the units of its unit resources are not as the sum of what is free says.
    units: Option<Box<UnitsApart>>,
}

/// The unit resources of a node whose units are not as [`Units::of_sum`] reads them.
type UnitsApart = Vec<(ResourceId, Units)>;

/// The nodes of a view.
#[derive(Debug)]
pub struct NodeTable {
    /// Whose node terms are kept.
    policy: Policy,
    unit_resources: UnitResources,
    names: ResourceNames,
    cells: Cells,
    nodes: Vec<NodeEntry>,
    slots: HashMap<NodeId, Slot, RandomState>,
    /// A node that was removed, but not yet from `slots` and `cells`: see [`NodeTable::remove`]. Its entry has no id.
    leaving: Option<(NodeId, Slot)>,
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
            names: ResourceNames::default(),
            cells: Cells::default(),
            nodes: Vec::new(),
            slots: HashMap::default(),
            leaving: None,
            vacant: Vec::new(),
            changes: Changes::default(),
            settled: 0,
            last_order: Vec::new(),
            report: Vec::new(),
        }
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
        let entry = &self.nodes[slot as usize];
        entry.id.map(|id| Node { table: self, slot, id, term: entry.term })
    }

    /// The node in a slot with the node term of any policy; `None` where the slot is vacant.
    pub fn node_under(&self, policy: &Policy, slot: Slot) -> Option<Node<'_>> {
        self.node(slot).map(|node| Node { term: policy.node_term(&self.cells, slot), ..node })
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
        let term = |slot: Slot| self.policy.node_term(&self.cells, slot);
        match self.changes.since(self.settled) {
            Some(slots) => slots.for_each(|slot| self.nodes[slot as usize].term = term(slot)),
            None => (0..).zip(&mut self.nodes).for_each(|(slot, node)| node.term = term(slot)),
        }
        self.settled = self.changes.end();
        self.changes.set_read();
        #[cfg(debug_assertions)]
        for (slot, node) in (0..).zip(&self.nodes) {
            assert_eq!(node.term, self.policy.node_term(&self.cells, slot));
        }
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

    /// The names of resources.
    #[inline]
    pub fn names(&self) -> &ResourceNames {
        &self.names
    }

    /// The resources that several nodes may have.
    pub fn common_resources(&self) -> impl Iterator<Item = ResourceId> + '_ {
        let is_small = self.nodes.len() < SMALL_TABLE;
        let rare = is_small.then(|| self.names.iter().filter(|&id| self.cells.sparse_holders(id).is_some()));
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
        let sparse = demand.entries.iter().filter_map(|&(id, _)| self.cells.sparse_holders(id));
        sparse.min_by_key(|holders| holders.len()).map(|holders| holders.iter().map(|&(slot, _)| slot))
    }

    /// Sets what a node has, total and available alike, in place of what was reported and placed before. The
    /// node is added if it is not there. The last amount given for a resource counts.
    pub fn report<'k>(&mut self, node: NodeId, resources: impl Iterator<Item = (&'k [u8], Amount)> + Clone) {
        let slot = self.slot_to_report(node);
        let entry = &mut self.nodes[slot as usize];
        let had_placements = std::mem::take(&mut entry.queued) > 0;
        let had_units_apart = entry.units.take().is_some();
        match self.overwrite(slot, resources.clone()) {
            Some(has_changed) => {
                if has_changed || had_placements || had_units_apart {
                    self.changes.mark(slot);
                }
            }
            None => self.replace(slot, resources),
        }
        self.check();
    }

    /// Removes a node, its report and its placements. Returns whether it was there.
    ///
    /// A raylet reports a change as remove + add, and much of a report stays the same. So the removal waits for the next
    /// operation: if that reports the node again, its cells are overwritten, or else the removal is carried out.
    pub fn remove(&mut self, node: NodeId) -> bool {
        self.finish_removal();
        let Some(&slot) = self.slots.get(&node) else { return false };
        let entry = &mut self.nodes[slot as usize];
        entry.id = None;
        if std::mem::take(&mut entry.draining) {
            // It may come back as it was, but takes placements then.
            self.changes.mark(slot);
        }
        self.leaving = Some((node, slot));
        true
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
        self.slots.get(&node).copied().filter(|&slot| self.nodes[slot as usize].id.is_some())
    }

    /// Resolves a demand into `demand`, in place of what that held. The last amount given for a resource
    /// counts; an amount of zero is no demand.
    ///
    /// # Errors
    /// When it asks for a resource that no node has.
    #[inline]
    pub fn resolve<'k>(
        &self,
        resources: impl Iterator<Item = (&'k [u8], Amount)>,
        demand: &mut Demand,
    ) -> Result<(), UnknownResource> {
        let entries = &mut demand.entries;
        entries.clear();
        // Only a demand that can hardly be met pays for the set.
        let mut unknown = HashSet::new();
        for (name, amount) in resources {
            match self.names.get(name).filter(|&id| self.cells.holders(id) > 0) {
                Some(id) => entries.push((id, amount)),
                None if amount > Amount::ZERO => _ = unknown.insert(name),
                None => _ = unknown.remove(name),
            }
        }
        if !unknown.is_empty() {
            return Err(UnknownResource);
        }
        keep_last_of_each(entries);
        entries.retain(|&(_, amount)| amount > Amount::ZERO);
        Ok(())
    }

    /// Adds a placement to what is reserved and queued on a feasible node.
    #[inline]
    pub fn place(&mut self, slot: Slot, demand: &Demand) {
        for &(id, amount) in &demand.entries {
            self.cells.reserve(slot, id, amount);
            if self.cells.is_unit(id) {
                self.take_units(slot, id, amount);
            }
        }
        let node = &mut self.nodes[slot as usize];
        node.queued = node.queued.saturating_add(1);
        self.changes.mark(slot);
        self.check();
    }

    /// Takes placements of a demand off what is reserved and queued on the node in a slot.
    ///
    /// # Errors
    /// When not so much is reserved or queued there; nothing is changed then.
    pub fn release(&mut self, slot: Slot, demand: &Demand, count: u32) -> Result<(), NotPlaced> {
        self.finish_removal();
        if self.placements_of(slot, demand) < count {
            return Err(NotPlaced);
        }
        if count == 0 {
            return Ok(());
        }
        for &(id, amount) in &demand.entries {
            self.cells.unreserve(slot, id, amount.times(count));
            if self.cells.is_unit(id) {
                self.give_units(slot, id, amount, count);
            }
            if self.cells.remove_empty(slot, id) {
                self.names.release(id);
            }
        }
        let node = &mut self.nodes[slot as usize];
        node.queued -= count;
        if node.queued == 0 {
            self.clear_reserved(slot);
        }
        self.changes.mark(slot);
        self.check();
        Ok(())
    }

    /// Nothing is placed on a node any more. Something may be reserved all the same where a client has released other
    /// demands than it had placed.
    fn clear_reserved(&mut self, slot: Slot) {
        let mut left = Vec::new();
        self.cells.for_each_held(slot, |id, cell| {
            if cell.reserved != Amount::ZERO {
                left.push((id, cell.reserved));
            }
        });
        for (id, amount) in left {
            self.cells.unreserve(slot, id, amount);
            if self.cells.remove_empty(slot, id) {
                self.names.release(id);
            }
        }
        self.nodes[slot as usize].units = None;
    }

    /// Whether more of a demand may be reserved on a node than an amount can tell.
    #[inline]
    pub fn is_saturated(&self, slot: Slot, demand: &Demand) -> bool {
        demand.entries.iter().any(|&(id, _)| self.cells.get(slot, id).reserved == Amount::MAX)
    }

    /// Takes placements of a demand off a node where more was reserved than an amount can tell: what stays reserved of
    /// each resource is counted by `reserved`.
    #[cold]
    pub fn release_saturated(
        &mut self,
        slot: Slot,
        demand: &Demand,
        count: u32,
        reserved: impl Fn(ResourceId) -> Amount,
    ) {
        self.finish_removal();
        for &(id, _) in &demand.entries {
            self.cells.set_reserved(slot, id, reserved(id));
            if self.cells.is_unit(id) {
                self.set_units(slot, id, Units::of_sum(self.cells.get(slot, id).free()));
            }
            if self.cells.remove_empty(slot, id) {
                self.names.release(id);
            }
        }
        self.nodes[slot as usize].queued -= count;
        self.changes.mark(slot);
        self.check();
    }

    /// How many placements of a demand there may be on a node at most, by what is reserved and queued.
    pub fn placements_of(&self, slot: Slot, demand: &Demand) -> u32 {
        let reserved = demand.entries.iter().map(|&(id, amount)| self.cells.get(slot, id).reserved.count_of(amount));
        reserved.chain([self.nodes[slot as usize].queued]).min().unwrap_or(0)
    }

    /// Takes units for a placement that has been reserved. Where they cannot host it, the task waits, and takes none.
    fn take_units(&mut self, slot: Slot, id: ResourceId, amount: Amount) {
        let free = self.cells.get(slot, id).free();
        let mut units = self.units_apart(slot, id).unwrap_or_else(|| Units::of_sum(free.saturating_add(amount)));
        if units.can_host(amount) {
            units.take(amount);
        }
        self.set_units(slot, id, units);
    }

    /// Gives units back once placements of an amount are no longer reserved: of each as much as then is free and was not.
    /// Tasks that wait take the rest.
    fn give_units(&mut self, slot: Slot, id: ResourceId, amount: Amount, count: u32) {
        let cell = self.cells.get(slot, id);
        let free_before = cell.free().saturating_sub(amount.times(count));
        let mut units = self.units_apart(slot, id).unwrap_or_else(|| Units::of_sum(free_before));
        if cell.reserved == Amount::ZERO {
            units = Units::of_sum(cell.free());
        } else {
            let to_waiting = units.sum().saturating_sub(free_before).count_of(amount);
            for released in to_waiting.saturating_add(1)..=count {
                let free = free_before.saturating_add(amount.times(released));
                let given = free.saturating_sub(units.sum());
                if given > Amount::ZERO {
                    units.give(given, cell.total);
                }
            }
        }
        self.set_units(slot, id, units);
    }

    fn units_of(&self, slot: Slot, id: ResourceId) -> Units {
        self.units_apart(slot, id).unwrap_or_else(|| Units::of_sum(self.cells.get(slot, id).free()))
    }

    fn units_apart(&self, slot: Slot, id: ResourceId) -> Option<Units> {
        let apart = self.nodes[slot as usize].units.as_deref()?;
        apart.iter().find(|(other, _)| *other == id).map(|&(_, units)| units)
    }

    /// Remembers the units of a node if the sum does not say the same.
    fn set_units(&mut self, slot: Slot, id: ResourceId, units: Units) {
        let is_apart = units != Units::of_sum(self.cells.get(slot, id).free());
        let node = &mut self.nodes[slot as usize];
        if !is_apart && node.units.is_none() {
            return;
        }
        let apart = node.units.get_or_insert_default();
        apart.retain(|(other, _)| *other != id);
        if is_apart {
            apart.push((id, units));
        }
        if apart.is_empty() {
            node.units = None;
        }
    }

    /// The slot of a node, which may be new or about to leave.
    #[inline]
    fn slot_to_report(&mut self, node: NodeId) -> Slot {
        if let Some((_, slot)) = self.leaving.take_if(|(leaving, _)| *leaving == node) {
            self.nodes[slot as usize].id = Some(node);
            return slot;
        }
        self.finish_removal();
        match self.slots.get(&node) {
            Some(&slot) => slot,
            None => self.take_slot(node),
        }
    }

    /// Carries out a removal that has waited.
    #[inline]
    fn finish_removal(&mut self) {
        if let Some((node, slot)) = self.leaving.take() {
            self.slots.remove(&node);
            self.clear(slot);
            self.changes.mark(slot);
            self.vacant.push(slot);
            self.forget_unused_names();
            self.check();
        }
    }

    /// Applies a report in place, if it has each of the resources that the node has once and no other. Returns whether
    /// that has changed anything; `None` where it is not such a report, and only a part may have been applied.
    #[inline]
    fn overwrite<'k>(&mut self, slot: Slot, resources: impl Iterator<Item = (&'k [u8], Amount)>) -> Option<bool> {
        self.cells.begin_report();
        let (mut count, mut sparse_count, mut has_changed, mut has_grown) = (0, 0, false, false);
        for (name, amount) in resources {
            let id = match (self.last_order.get(count), self.cells.held_sparse(slot).get(sparse_count)) {
                (Some(&id), _) if self.names.is_name(id, name) => id,
                (_, Some(&id)) if self.names.is_name(id, name) => {
                    sparse_count += 1;
                    id
                }
                _ => self.find(name, count)?,
            };
            match self.cells.overwrite(slot, id, amount)? {
                Overwritten::Same => {}
                Overwritten::Changed => has_changed = true,
                Overwritten::Largest => (has_changed, has_grown) = (true, true),
            }
            count += 1;
        }
        if count != self.cells.held_count(slot) {
            return None;
        }
        if has_grown {
            self.grow(slot);
        }
        Some(has_changed)
    }

    /// A node has more of some resource than any has had. It is told late, since an amount that a later one of the same
    /// report replaces does not count.
    #[cold]
    fn grow(&mut self, slot: Slot) {
        let ids: Vec<ResourceId> = self.cells.columns().chain(self.cells.held_sparse(slot).iter().copied()).collect();
        for id in ids {
            if self.cells.grow(id, self.cells.get(slot, id).total) {
                self.shares_changed(id);
            }
        }
    }

    /// Applies a report in place of all that a node has.
    fn replace<'k>(&mut self, slot: Slot, resources: impl Iterator<Item = (&'k [u8], Amount)>) {
        self.clear(slot);
        let mut report = std::mem::take(&mut self.report);
        for (name, amount) in resources {
            let id = match self.find(name, report.len()) {
                Some(id) => id,
                None => self.learn(name),
            };
            report.push((id, amount));
        }
        keep_last_of_each(&mut report);
        for &(id, amount) in &report {
            if amount != Amount::ZERO {
                if self.cells.insert(slot, id, Cell::reported(amount)) {
                    self.shares_changed(id);
                }
            } else if self.cells.holders(id) == 0 {
                self.names.release(id);
            }
        }
        report.clear();
        self.report = report;
        self.changes.mark(slot);
        self.forget_unused_names();
    }

    fn take_slot(&mut self, node: NodeId) -> Slot {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.nodes.push(NodeEntry::default());
            self.cells.push_row();
            // The limit on nodes is far below.
            Slot::try_from(self.nodes.len() - 1).expect("fewer than 2^32 nodes")
        });
        self.nodes[slot as usize].id = Some(node);
        self.slots.insert(node, slot);
        self.changes.mark(slot);
        slot
    }

    /// The id of the name at a place of a report, if it is known.
    fn find(&mut self, name: &[u8], place: usize) -> Option<ResourceId> {
        let id = self.names.get(name)?;
        match self.last_order.get_mut(place) {
            Some(last) => *last = id,
            None if place < ORDER_MAX => self.last_order.push(id),
            None => {}
        }
        Some(id)
    }

    /// The id of a new name.
    #[cold]
    fn learn(&mut self, name: &[u8]) -> ResourceId {
        let id = self.names.intern(name);
        self.cells.know(self.names.id_count());
        if MEMORY.contains(&name) {
            self.cells.set_memory(id);
        }
        if self.unit_resources.contains(name) {
            self.cells.set_unit(id);
        }
        id
    }

    /// The share that every holder has of a resource has changed.
    #[cold]
    fn shares_changed(&mut self, id: ResourceId) {
        match self.cells.sparse_holders(id) {
            Some(holders) => holders.iter().for_each(|&(slot, _)| self.changes.mark(slot)),
            None => self.changes.mark_all(),
        }
    }

    /// Empties a slot before it is filled again or left.
    fn clear(&mut self, slot: Slot) {
        let node = &mut self.nodes[slot as usize];
        node.queued = 0;
        node.units = None;
        self.cells.clear_row(slot, |id| self.names.release(id));
    }

    fn forget_unused_names(&mut self) {
        self.names.forget_unused(|id| {
            let is_used = self.cells.holders(id) > 0;
            if !is_used {
                self.cells.forget(id);
            }
            is_used
        });
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
                match node.id {
                    Some(id) => assert_eq!(self.slots.get(&id), Some(&(slot as Slot))),
                    None if self.leaving.is_some_and(|(_, leaving)| leaving == slot as Slot) => {}
                    None => assert!(is_vacant && self.vacant.contains(&(slot as Slot))),
                }
                assert!(is_unreserved || node.queued > 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::policy::Parameters;

    type Report<'a> = &'a [(&'a str, i64)];

    fn report(table: &mut NodeTable, node: i64, report: Report) {
        let resources = report.iter().map(|&(name, value)| (name.as_bytes(), Amount::from_f64(value as f64)));
        table.report(NodeId(node), resources);
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
