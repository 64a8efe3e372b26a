//! Reports: what nodes say they have, in place of what they said before.

use std::hash::BuildHasher;

use super::demand::keep_last;
use super::{Full, NodeEntry, NodeTable, ORDER_MAX};
use crate::scheduler::amount::Amount;
use crate::scheduler::cells::{Cell, Cells, Kind, Overwritten, Slot};
use crate::scheduler::policy::MEMORY;
use crate::scheduler::resource_names::ResourceId;
use crate::scheduler::room;
use crate::wire::NodeId;

impl NodeTable {
    /// Sets what a node has, total and available alike, in place of what was reported and placed before. The
    /// node is added if it is not there. The last amount given for a resource counts.
    ///
    /// # Errors
    /// When some of the resources are left out, since there are too many.
    pub fn report<'k>(
        &mut self,
        node: NodeId,
        resources: impl Iterator<Item = (&'k [u8], Amount)> + Clone,
    ) -> Result<(), Full> {
        let slot = self.slot_to_report(node);
        let entry = &mut self.nodes[slot as usize];
        let had_placements = std::mem::take(&mut entry.queued) > 0;
        let had_units_apart = self.forget_units_apart(slot);
        let taken = match self.overwrite(slot, resources.clone()) {
            Some(has_changed) => {
                if has_changed || had_placements || had_units_apart {
                    self.changes.mark(slot);
                }
                Ok(())
            }
            None => self.replace(slot, resources),
        };
        self.check();
        taken
    }

    /// Removes a node, its report and its placements. Returns whether it was there.
    ///
    /// A raylet reports a change as remove + add, and much of a report stays the same. So the removal waits for the next
    /// operation: if that reports the node again, its cells are overwritten, or else the removal is carried out.
    pub fn remove(&mut self, node: NodeId) -> bool {
        self.finish_removal();
        let Some(slot) = self.slot_in_use(node) else { return false };
        let entry = &mut self.nodes[slot as usize];
        entry.is_there = false;
        if std::mem::take(&mut entry.draining) {
            // It may come back as it was, but takes placements then.
            self.changes.mark(slot);
        }
        self.leaving = Some(slot);
        true
    }

    /// The slot of a node, which may be new or about to leave.
    #[inline]
    fn slot_to_report(&mut self, node: NodeId) -> Slot {
        if let Some(slot) = self.leaving.take_if(|slot| self.nodes[*slot as usize].id == node) {
            self.nodes[slot as usize].is_there = true;
            return slot;
        }
        self.finish_removal();
        match self.slot_in_use(node) {
            Some(slot) => slot,
            None => self.take_slot(node),
        }
    }

    /// Carries out a removal that has waited.
    #[inline]
    pub(super) fn finish_removal(&mut self) {
        if let Some(slot) = self.leaving.take() {
            let hash = self.hasher.hash_one(self.nodes[slot as usize].id);
            if let Ok(left) = self.slots.find_entry(hash, |other| *other == slot) {
                left.remove();
            }
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
            let id = match self.last_order.get(count) {
                Some(&id) if self.names.is_name(id, name) => id,
                _ => match self.cells.held_sparse(slot).get(sparse_count) {
                    Some(&id) if self.names.is_name(id, name) => {
                        sparse_count += 1;
                        id
                    }
                    _ => self.find(name, count)?,
                },
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

    /// Applies a report in place of all that a node has, as far as there is room.
    fn replace<'k>(&mut self, slot: Slot, resources: impl Iterator<Item = (&'k [u8], Amount)>) -> Result<(), Full> {
        let entries_max = self.entries_max(slot);
        self.clear(slot);
        let mut report = std::mem::take(&mut self.report);
        let mut taken = Ok(());
        for (name, amount) in resources {
            if report.len() >= entries_max {
                taken = Err(Full::Memory);
                break;
            }
            let id = match self.find(name, report.len()) {
                Some(id) => Ok(id),
                None => self.learn(name, &report),
            };
            match id {
                Ok(id) => report.push((id, amount)),
                Err(full) => taken = Err(full),
            }
        }
        report.sort_by_key(|&(id, _)| id);
        report.dedup_by(keep_last);
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
        taken
    }

    /// Resources that a node may have at most by its next report: where memory is short, as many as it has.
    pub(super) fn entries_max(&self, slot: Slot) -> usize {
        if self.limits.memory.is_near() { self.cells.held_count(slot) } else { usize::MAX }
    }

    pub(super) fn take_slot(&mut self, node: NodeId) -> Slot {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            room::push(&mut self.nodes, NodeEntry::of(node));
            self.cells.push_row();
            // The limit on nodes is far below.
            Slot::try_from(self.nodes.len() - 1).expect("fewer than 2^32 nodes")
        });
        let Self { nodes, slots, hasher, .. } = self;
        let entry = &mut nodes[slot as usize];
        (entry.id, entry.is_there) = (node, true);
        slots.insert_unique(hasher.hash_one(node), slot, |other| hasher.hash_one(nodes[*other as usize].id));
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

    /// The id of a new name in a list of which some have been looked up.
    #[cold]
    pub(super) fn learn(&mut self, name: &[u8], looked_up: &[(ResourceId, Amount)]) -> Result<ResourceId, Full> {
        if self.names.len() >= self.limits.names_max {
            self.forget_unused_names_but(looked_up);
            if self.names.len() >= self.limits.names_max {
                return Err(Full::Names);
            }
        }
        let id = self.names.intern(name);
        self.cells.know(id, Kind::new(MEMORY.contains(&name), self.unit_resources.contains(name)));
        Ok(id)
    }

    /// The share that every holder has of a resource has changed.
    #[cold]
    pub(super) fn shares_changed(&mut self, id: ResourceId) {
        match self.cells.sparse_slots(id) {
            Some(slots) => slots.iter().for_each(|&slot| self.changes.mark(slot)),
            None => self.changes.mark_all(),
        }
    }

    /// Empties a slot before it is filled again or left.
    pub(super) fn clear(&mut self, slot: Slot) {
        self.nodes[slot as usize].queued = 0;
        self.forget_units_apart(slot);
        self.cells.clear_row(slot, |id| self.names.release(id));
    }

    pub(super) fn forget_unused_names(&mut self) {
        self.names.forget_unused(|id| !forget_unused(&mut self.cells, id));
    }

    /// Forgets the names that no node has although they are few, but for some that are about to be used.
    fn forget_unused_names_but(&mut self, kept: &[(ResourceId, Amount)]) {
        self.names
            .forget_all_unused(|id| kept.iter().any(|(kept, _)| *kept == id) || !forget_unused(&mut self.cells, id));
    }
}

/// Forgets a resource unless a node has it. Returns whether it is forgotten.
fn forget_unused(cells: &mut Cells, id: ResourceId) -> bool {
    let is_unused = cells.holders(id) == 0;
    if is_unused {
        cells.forget(id);
    }
    is_unused
}
