//! Updates that tell total and available amounts apart and may keep what is reserved.

use super::demand::keep_last_of_each;
use super::{Amount, Cell, NodeTable, ResourceId, Slot};
use crate::scheduler::units::Units;
use crate::wire::NodeId;

/// A unit resource of a node before an update.
struct UnitsBefore {
    id: ResourceId,
    free: Amount,
    units: Units,
}

/// What becomes of the placements on a node that is updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placements {
    Kept,
    Dropped,
}

impl NodeTable {
    /// Sets what a node has and how much of that is available, in place of what was reported before. The node is added if it is not there. Of each list, the last amount given for a resource counts.
    /// Returns the node's slot.
    pub fn update<'k>(
        &mut self,
        node: NodeId,
        available: impl Iterator<Item = (&'k [u8], Amount)>,
        total: impl Iterator<Item = (&'k [u8], Amount)>,
        placements: Placements,
    ) -> Slot {
        self.finish_removal();
        let slot = match self.slots.get(&node) {
            Some(&slot) => slot,
            None => self.take_slot(node),
        };
        let entry = &self.nodes[slot as usize];
        let draining = entry.draining;
        let queued = if placements == Placements::Kept { entry.queued } else { 0 };
        let mut cells: Vec<(ResourceId, Cell)> = Vec::new();
        let mut units = Vec::new();
        self.cells.for_each_held(slot, |id, cell| {
            if placements == Placements::Dropped {
                return;
            }
            if cell.reserved != Amount::ZERO {
                cells.push((id, Cell { reserved: cell.reserved, ..Cell::default() }));
            }
            if self.cells.is_unit(id) {
                units.push(UnitsBefore { id, free: cell.free(), units: self.units_of(slot, id) });
            }
        });
        self.clear(slot);
        for (id, amount) in self.listed(total) {
            cell_of(&mut cells, id).total = amount;
        }
        for (id, amount) in self.listed(available) {
            cell_of(&mut cells, id).available = amount;
        }
        for (id, cell) in cells {
            if !cell.is_empty() {
                if self.cells.insert(slot, id, cell) {
                    self.shares_changed(id);
                }
            } else if self.cells.holders(id) == 0 {
                self.names.release(id);
            }
        }
        let entry = &mut self.nodes[slot as usize];
        (entry.queued, entry.draining) = (queued, draining);
        for before in units {
            self.adjust_units(slot, before);
        }
        self.changes.mark(slot);
        self.forget_unused_names();
        self.check();
        slot
    }

    /// The resources of a list, each once, with their amounts. Names become known.
    fn listed<'k>(&mut self, list: impl Iterator<Item = (&'k [u8], Amount)>) -> Vec<(ResourceId, Amount)> {
        let mut listed: Vec<_> =
            list.map(|(name, amount)| (self.names.get(name).unwrap_or_else(|| self.learn(name)), amount)).collect();
        keep_last_of_each(&mut listed);
        listed
    }

    /// Others have taken or given back as much of a unit resource as is now less or more free.
    fn adjust_units(&mut self, slot: Slot, UnitsBefore { id, free, mut units }: UnitsBefore) {
        let cell = self.cells.get(slot, id);
        let more = cell.free().saturating_sub(free);
        let less = free.saturating_sub(cell.free());
        if cell.reserved == Amount::ZERO {
            units = Units::of_sum(cell.free());
        } else if more > Amount::ZERO {
            let given = cell.free().saturating_sub(units.sum());
            if given > Amount::ZERO {
                units.give(given, cell.total);
            }
        } else if less > Amount::ZERO {
            match units.can_host(less) {
                true => units.take(less),
                false => units = Units::of_sum(cell.free()),
            }
        }
        self.set_units(slot, id, units);
    }
}

/// The cell of a resource in a list, which gets one if it has none.
fn cell_of(cells: &mut Vec<(ResourceId, Cell)>, id: ResourceId) -> &mut Cell {
    let place = cells.iter().position(|(other, _)| *other == id).unwrap_or_else(|| {
        cells.push((id, Cell::default()));
        cells.len() - 1
    });
    &mut cells[place].1
}
