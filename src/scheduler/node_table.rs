//! The nodes of a view: what each one has, what is reserved on it, and how many placements it has queued.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::amount::Amount;
use super::cells::{Cell, Cells, Slot};
use super::changes::{Changes, Position};
use super::policy::{MEMORY, NodeTerm, Policy, Share};
use super::rank::Fit;
use super::resource_names::{ResourceId, ResourceNames};
use super::units::{UnitResources, Units};
use crate::wire::NodeId;

/// What a task asks for: positive amounts of distinct resources that some node has, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Demand {
    entries: Vec<(ResourceId, Amount)>,
}

impl Demand {
    /// Whether nothing is asked for.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How much is asked for of one resource.
    #[inline]
    pub fn amount(&self, id: ResourceId) -> Amount {
        self.entries.iter().find(|entry| entry.0 == id).map_or(Amount::ZERO, |entry| entry.1)
    }

    /// The resources asked for and how much of each.
    #[inline]
    pub fn entries(&self) -> &[(ResourceId, Amount)] {
        &self.entries
    }
}

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
        self.slots.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether the node is there.
    pub fn contains(&self, node: NodeId) -> bool {
        self.slots.contains_key(&node)
    }

    /// The node in a slot; `None` where the slot is vacant.
    #[inline]
    pub fn node(&self, slot: Slot) -> Option<Node<'_>> {
        self.nodes[slot as usize].id.map(|id| Node { table: self, slot, id })
    }

    /// Every node, by ascending slot.
    #[inline]
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        (0..self.nodes.len() as Slot).filter_map(|slot| self.node(slot))
    }

    /// Brings the node terms up to date, before nodes are ranked. Nodes change several times between two
    /// decisions, and their terms once.
    #[inline]
    pub fn settle(&mut self) {
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
    pub fn report<'k>(&mut self, node: NodeId, resources: impl Iterator<Item = (&'k [u8], Amount)>) {
        let slot = match self.slots.get(&node) {
            Some(&slot) => {
                self.clear(slot);
                slot
            }
            None => self.take_slot(node),
        };
        let mut report = std::mem::take(&mut self.report);
        for (name, amount) in resources {
            let place = report.len();
            let id = match self.last_order.get(place) {
                Some(&id) if self.names.is_name(id, name) => id,
                _ => self.find_or_learn(name, place),
            };
            report.push((id, amount));
        }
        keep_last_of_each(&mut report);
        for &(id, amount) in &report {
            if amount != Amount::ZERO {
                let cell = Cell { total: amount, available: amount, reserved: Amount::ZERO };
                if self.cells.insert(slot, id, cell) {
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
        self.check();
    }

    /// Removes a node, its report and its placements. Returns whether it was there.
    pub fn remove(&mut self, node: NodeId) -> bool {
        let Some(slot) = self.slots.remove(&node) else { return false };
        self.clear(slot);
        self.nodes[slot as usize].id = None;
        self.changes.mark(slot);
        self.vacant.push(slot);
        self.forget_unused_names();
        self.check();
        true
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

    /// Takes a placement off what is reserved and queued on a node.
    ///
    /// # Errors
    /// When the node is not there, or has not so much reserved; nothing is changed then.
    pub fn release(&mut self, node: NodeId, demand: &Demand) -> Result<(), NotPlaced> {
        let &slot = self.slots.get(&node).ok_or(NotPlaced)?;
        let is_reserved = |&(id, amount): &(ResourceId, Amount)| self.cells.get(slot, id).reserved >= amount;
        if self.nodes[slot as usize].queued == 0 || !demand.entries.iter().all(is_reserved) {
            return Err(NotPlaced);
        }
        for &(id, amount) in &demand.entries {
            self.cells.unreserve(slot, id, amount);
            if self.cells.is_unit(id) {
                self.give_units(slot, id, amount);
            }
        }
        self.nodes[slot as usize].queued -= 1;
        self.changes.mark(slot);
        self.check();
        Ok(())
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

    /// Gives units back once a placement is no longer reserved: as much as now is free and was not. Tasks that wait
    /// take the rest.
    fn give_units(&mut self, slot: Slot, id: ResourceId, amount: Amount) {
        let cell = self.cells.get(slot, id);
        let free_before = cell.free().saturating_sub(amount);
        let mut units = self.units_apart(slot, id).unwrap_or_else(|| Units::of_sum(free_before));
        let given = cell.free().saturating_sub(units.sum());
        if cell.reserved == Amount::ZERO {
            units = Units::of_sum(cell.free());
        } else if given > Amount::ZERO {
            units.give(given, cell.total);
        }
        self.set_units(slot, id, units);
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

    fn take_slot(&mut self, node: NodeId) -> Slot {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.nodes.push(NodeEntry::default());
            self.cells.push_row();
            // The limit on nodes is far below.
            Slot::try_from(self.nodes.len() - 1).expect("fewer than 2^32 nodes")
        });
        self.nodes[slot as usize].id = Some(node);
        self.slots.insert(node, slot);
        slot
    }

    /// The id of the name at a place of a report, which becomes known.
    fn find_or_learn(&mut self, name: &[u8], place: usize) -> ResourceId {
        let id = self.names.get(name).unwrap_or_else(|| {
            let id = self.names.intern(name);
            self.cells.know(self.names.id_count());
            if MEMORY.contains(&name) {
                self.cells.set_memory(id);
            }
            if self.unit_resources.contains(name) {
                self.cells.set_unit(id);
            }
            id
        });
        match self.last_order.get_mut(place) {
            Some(last) => *last = id,
            None if place < ORDER_MAX => self.last_order.push(id),
            None => {}
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
                    None => assert!(is_vacant && self.vacant.contains(&(slot as Slot))),
                }
                assert!(is_unreserved || node.queued > 0);
            }
        }
    }
}

/// Sorts by resource and keeps the entry given last of each.
#[inline]
fn keep_last_of_each(entries: &mut Vec<(ResourceId, Amount)>) {
    entries.sort_by_key(|&(id, _)| id);
    entries.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 = later.1;
        }
        same
    });
}

/// One node of a table.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    table: &'a NodeTable,
    slot: Slot,
    id: NodeId,
}

impl<'a> Node<'a> {
    /// Its identifier.
    #[inline]
    pub fn id(self) -> NodeId {
        self.id
    }

    /// Its slot in the table.
    #[inline]
    pub fn slot(self) -> Slot {
        self.slot
    }

    /// Placements since the last report.
    #[inline]
    pub fn queued(self) -> u32 {
        self.table.nodes[self.slot as usize].queued
    }

    /// How the demand fits.
    #[inline]
    pub fn fit(self, demand: &Demand) -> Fit {
        let mut fit = Fit::Free;
        for &(id, amount) in &demand.entries {
            let cell = self.table.cells.get(self.slot, id);
            if cell.total < amount {
                return Fit::Infeasible;
            }
            if cell.free() < amount || !self.can_units_host(id, amount) {
                fit = Fit::Queues;
            }
        }
        fit
    }

    /// Whether the units of a resource can host an amount, if it comes in units and as much is free.
    #[inline]
    fn can_units_host(self, id: ResourceId, amount: Amount) -> bool {
        self.table.nodes[self.slot as usize].units.is_none()
            || self.table.units_apart(self.slot, id).is_none_or(|units| units.can_host(amount))
    }

    /// What is free of each unit of a resource; `None` of a resource that does not come in units.
    #[inline]
    pub fn units(self, id: ResourceId) -> Option<Units> {
        let units = || self.table.units_apart(self.slot, id).unwrap_or_else(|| Units::of_sum(self.cell(id).free()));
        self.table.cells.is_unit(id).then(units)
    }

    /// The part of every score that depends on the node alone.
    #[inline]
    pub fn term(self) -> NodeTerm {
        self.table.nodes[self.slot as usize].term
    }

    /// What it has of a resource.
    #[inline]
    pub fn cell(self, id: ResourceId) -> Cell {
        self.table.cells.get(self.slot, id)
    }

    /// What it has of a resource, with the scale of that.
    #[inline]
    pub fn share(self, id: ResourceId) -> Share {
        self.table.cells.share(self.slot, id)
    }

    /// The id of a name, if any node of the view has or had it.
    #[inline]
    pub fn id_of(self, name: &[u8]) -> Option<ResourceId> {
        self.table.names.get(name)
    }

    /// What it has of the resource of a name.
    pub fn cell_of(self, name: &[u8]) -> Cell {
        self.id_of(name).map_or(Cell::default(), |id| self.cell(id))
    }
}
