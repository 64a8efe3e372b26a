//! Placements on nodes: what is reserved and queued there, and which units are taken.

use super::{Demand, NodeTable, NotPlaced};
use crate::scheduler::amount::Amount;
use crate::scheduler::cells::Slot;
use crate::scheduler::resource_names::ResourceId;
use crate::scheduler::units::Units;

impl NodeTable {
    /// Adds a placement to what is reserved and queued on a feasible node.
    #[inline(always)]
    pub fn place(&mut self, slot: Slot, demand: &Demand) {
        for &(id, amount) in &demand.entries {
            if self.cells.reserve(slot, id, amount).is_unit() {
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
        self.forget_units_apart(slot);
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

    pub(super) fn units_of(&self, slot: Slot, id: ResourceId) -> Units {
        self.units_apart(slot, id).unwrap_or_else(|| Units::of_sum(self.cells.get(slot, id).free()))
    }

    pub(super) fn units_apart(&self, slot: Slot, id: ResourceId) -> Option<Units> {
        let has_apart = self.nodes[slot as usize].has_units_apart;
        let apart = has_apart.then(|| self.units_apart.get(&slot)).flatten()?;
        apart.iter().find(|(other, _)| *other == id).map(|&(_, units)| units)
    }

    /// Remembers the units of a node if the sum does not say the same.
    pub(super) fn set_units(&mut self, slot: Slot, id: ResourceId, units: Units) {
        let is_apart = units != Units::of_sum(self.cells.get(slot, id).free());
        let has_apart = &mut self.nodes[slot as usize].has_units_apart;
        if !is_apart && !*has_apart {
            return;
        }
        *has_apart = true;
        let apart = self.units_apart.entry(slot).or_default();
        apart.retain(|(other, _)| *other != id);
        if is_apart {
            apart.push((id, units));
        }
        if apart.is_empty() {
            self.forget_units_apart(slot);
        }
    }

    /// The units of a node are as the sums of what is free say. Returns whether they were not.
    #[inline]
    pub(super) fn forget_units_apart(&mut self, slot: Slot) -> bool {
        let had_apart = std::mem::take(&mut self.nodes[slot as usize].has_units_apart);
        if had_apart {
            self.units_apart.remove(&slot);
        }
        had_apart
    }
}
