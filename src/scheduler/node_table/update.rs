//! Updates that tell total and available amounts apart and may keep what is reserved.

use super::demand::keep_last;
use super::{Amount, Cell, Full, NodeTable, ResourceId, Slot};
use crate::scheduler::units::Units;
use crate::wire::NodeId;

/// A unit resource of a node before an update.
struct UnitsBefore {
    id: ResourceId,
    free: Amount,
    units: Units,
}

/// Resources and their amounts.
type Listed = Vec<(ResourceId, Amount)>;

/// What becomes of the placements on a node that is updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placements {
    Kept,
    Dropped,
}

impl NodeTable {
    /// Sets what a node has and how much of that is available, in place of what was reported before. The node is added
    /// if it is not there. Of each list, the last amount given for a resource counts. Returns the node's slot.
    ///
    /// # Errors
    /// When there are too many resources; nothing is changed then.
    pub fn update<'k>(
        &mut self,
        node: NodeId,
        available: impl Iterator<Item = (&'k [u8], Amount)>,
        total: impl Iterator<Item = (&'k [u8], Amount)>,
        placements: Placements,
    ) -> Result<Slot, Full> {
        self.finish_removal();
        let (total, available) = self.listed(node, total, available)?;
        let slot = match self.slot_in_use(node) {
            Some(slot) => slot,
            None => self.take_slot(node),
        };
        let entry = &self.nodes[slot as usize];
        let draining = entry.draining;
        let queued = if placements == Placements::Kept { entry.queued } else { 0 };
        // A part of the cell from each source.
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
        cells.extend(total.into_iter().map(|(id, total)| (id, Cell { total, ..Cell::default() })));
        cells.extend(available.into_iter().map(|(id, available)| (id, Cell { available, ..Cell::default() })));
        for (id, cell) in merged(cells) {
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
        Ok(slot)
    }

    /// The resources of two lists for a node, of each list each once, with their amounts. Names become known.
    fn listed<'k>(
        &mut self,
        node: NodeId,
        one: impl Iterator<Item = (&'k [u8], Amount)>,
        other: impl Iterator<Item = (&'k [u8], Amount)>,
    ) -> Result<(Listed, Listed), Full> {
        let mut listed = Vec::new();
        let mut looked_up = self.look_up(one, &mut listed);
        let boundary = listed.len();
        looked_up = looked_up.and_then(|()| self.look_up(other, &mut listed));
        let entries_max = self.slot_in_use(node).map_or(usize::MAX, |slot| self.entries_max(slot));
        let mut second = listed.split_off(boundary);
        for list in [&mut listed, &mut second] {
            list.sort_by_key(|&(id, _)| id);
            list.dedup_by(keep_last);
        }
        if looked_up.is_ok() && listed.len().max(second.len()) > entries_max {
            looked_up = Err(Full::Memory);
        }
        if let Err(full) = looked_up {
            let unused = listed.iter().chain(&second).filter(|&&(id, _)| self.cells.holders(id) == 0);
            unused.for_each(|&(id, _)| self.names.release(id));
            self.forget_unused_names();
            return Err(full);
        }
        Ok((listed, second))
    }

    /// Appends the resources of a list to those that are `looked_up`. Names become known.
    fn look_up<'k>(
        &mut self,
        list: impl Iterator<Item = (&'k [u8], Amount)>,
        looked_up: &mut Listed,
    ) -> Result<(), Full> {
        for (name, amount) in list {
            let id = match self.names.get(name) {
                Some(id) => id,
                None => self.learn(name, looked_up)?,
            };
            looked_up.push((id, amount));
        }
        Ok(())
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

/// Makes one cell of the parts of each resource, of which each is in one part alone.
fn merged(mut parts: Vec<(ResourceId, Cell)>) -> Vec<(ResourceId, Cell)> {
    parts.sort_by_key(|&(id, _)| id);
    parts.dedup_by(|(later_id, later), (id, cell)| {
        let same = later_id == id;
        if same {
            cell.total = cell.total.saturating_add(later.total);
            cell.available = cell.available.saturating_add(later.available);
            cell.reserved = cell.reserved.saturating_add(later.reserved);
        }
        same
    });
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::policy::Policy;
    use crate::scheduler::units::UnitResources;

    /// What a node has of each name: total, available, reserved.
    type Case = (&'static [(&'static str, i64)], &'static [(&'static str, i64)], [(&'static str, [i64; 3]); 3]);

    #[test]
    fn lists_are_told_apart_and_what_is_reserved_is_kept_or_dropped() {
        let cases: [Case; 4] = [
            (&[("CPU", 3)], &[("CPU", 4)], [("CPU", [4, 3, 2]), ("GPU", [0; 3]), ("memory", [0; 3])]),
            (&[("memory", 5)], &[("GPU", 1)], [("CPU", [0, 0, 2]), ("GPU", [1, 0, 0]), ("memory", [0, 5, 0])]),
            (&[], &[], [("CPU", [0, 0, 2]), ("GPU", [0; 3]), ("memory", [0; 3])]),
            (
                &[("CPU", 9), ("CPU", -1), ("memory", 2)],
                &[("memory", 1), ("CPU", 7), ("memory", 0)],
                [("CPU", [7, -1, 2]), ("GPU", [0; 3]), ("memory", [0, 2, 0])],
            ),
        ];
        let on_wire = |list: &'static [(&str, i64)]| {
            list.iter().map(|&(name, value)| (name.as_bytes(), Amount::from_f64(value as f64)))
        };
        for (available, total, expected) in cases {
            for placements in [Placements::Kept, Placements::Dropped] {
                let mut table = NodeTable::new(Policy::default(), UnitResources::named(["GPU"]));
                assert_eq!(table.report(NodeId(1), on_wire(&[("CPU", 4), ("GPU", 2)])), Ok(()));
                let mut demand = crate::scheduler::node_table::Demand::default();
                assert_eq!(table.resolve(on_wire(&[("CPU", 2)]), &mut demand), Ok(()));
                table.place(0, &demand);
                assert_eq!(table.update(NodeId(1), on_wire(available), on_wire(total), placements), Ok(0));
                let node = table.node(0).expect("it is there");
                let is_kept = placements == Placements::Kept;
                assert_eq!(node.queued(), u32::from(is_kept));
                for (name, [total, available, reserved]) in expected {
                    let [total, available, reserved] = [total, available, if is_kept { reserved } else { 0 }]
                        .map(|value| Amount::from_f64(value as f64));
                    assert_eq!(node.cell_of(name.as_bytes()), Cell { total, available, reserved }, "{name}");
                }
                if is_kept {
                    assert_eq!(table.release(0, &demand, 1), Ok(()));
                    assert_eq!(table.node(0).expect("it is there").cell_of(b"CPU").reserved, Amount::ZERO);
                }
            }
        }
    }
}
