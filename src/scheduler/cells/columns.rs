//! Which resources are columns, as more and fewer nodes have them.

use super::facts::Facts;
use super::{Cell, Cells, Kind, Resource, Slot, Sparse};
use crate::scheduler::amount::Amount;
use crate::scheduler::resource_names::ResourceId;

/// Columns at most. A sorted list of as many nodes as a column is for is far slower to change, so this is well above the
/// number of resources that many nodes of one cluster have in common.
const COLUMNS_MAX: usize = 64;

/// Rows get wider by so many columns at a time, which copies them all.
const COLUMNS_STEP: usize = 2;

/// A resource becomes a column when at least so many nodes have it, and one node in so many of all.
const COLUMN_HOLDERS_MIN: usize = 8;
const COLUMN_NODES_PER_HOLDER: usize = 16;

/// A resource that many nodes have, but for the cells.
#[derive(Debug, Default, PartialEq)]
pub struct Column {
    /// Which it is, if any.
    pub id: Option<ResourceId>,
    pub facts: Facts,
    /// Number of nodes that have it.
    pub holders: u32,
    /// The sum of the totals, which may be more than an amount can be.
    pub capacity: i128,
}

impl Column {
    /// A node that lacked it has it. Returns whether the largest total has grown and others have it too.
    pub fn join(&mut self, cell: Cell) -> bool {
        self.holders += 1;
        self.capacity += i128::from(cell.total.units());
        self.grow(cell.total)
    }

    /// See [`Cells::grow`].
    #[inline]
    pub fn grow(&mut self, total: Amount) -> bool {
        self.facts.grow(total) && self.holders > 1
    }

    /// A node that had it loses it. Returns whether it was the last.
    pub fn leave(&mut self, cell: Cell) -> bool {
        self.holders -= 1;
        self.capacity -= i128::from(cell.total.units());
        self.holders == 0
    }
}

impl Cells {
    /// Makes a sparse resource a column once enough nodes have it.
    #[inline]
    pub(super) fn reconsider_place(&mut self, id: ResourceId) {
        let holders = self.holders(id);
        if holders >= COLUMN_HOLDERS_MIN && holders * COLUMN_NODES_PER_HOLDER >= self.slot_count() {
            self.make_column(id);
        }
    }

    #[cold]
    fn make_column(&mut self, id: ResourceId) {
        let Some(place) = self.find_column(self.holders(id)) else { return };
        let resource = std::mem::replace(&mut self.resources[id.index()], Resource::Column(place as u8));
        let Resource::Sparse(sparse) = resource else { return };
        let (facts, capacity, holders) = (sparse.facts(), sparse.capacity(), sparse.slots().len() as u32);
        self.columns[place] = Column { id: Some(id), facts, holders, capacity };
        for (slot, cell) in sparse.iter() {
            self.rows.set(slot, place, cell);
            self.held.remove_sparse(slot, id);
        }
    }

    /// A column without cells: a free one, a new one, or that of a resource with less than half the holders.
    fn find_column(&mut self, holders: usize) -> Option<usize> {
        if let Some(place) = self.columns.iter().position(|column| column.id.is_none()) {
            return Some(place);
        }
        let width = self.columns.len();
        if width < COLUMNS_MAX {
            self.columns.resize_with(width + COLUMNS_STEP, Column::default);
            self.rows.widen(self.held.slot_count(), width + COLUMNS_STEP);
            return Some(width);
        }
        let (place, column) = self.columns.iter().enumerate().min_by_key(|(_, column)| column.holders)?;
        if column.holders as usize * 2 >= holders {
            return None;
        }
        self.make_sparse(place);
        Some(place)
    }

    fn make_sparse(&mut self, place: usize) {
        let column = std::mem::take(&mut self.columns[place]);
        let Some(id) = column.id else { return };
        let mut sparse = Sparse::new(Kind::default());
        let holders = sparse.list();
        holders.facts = column.facts;
        for slot in 0..self.held.slot_count() as Slot {
            let cell = self.rows.get(slot, place);
            if !cell.is_empty() {
                self.rows.set(slot, place, Cell::default());
                holders.push(slot, cell);
                self.held.push_sparse(slot, id);
            }
        }
        self.resources[id.index()] = Resource::Sparse(sparse);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::resource_names::ResourceNames;

    #[test]
    fn a_resource_is_a_column_while_enough_nodes_have_it_and_rows_stay_narrow() {
        let mut names = ResourceNames::default();
        let mut cells = Cells::default();
        let cell = Cell::reported(Amount::WHOLE);
        let cpu = names.intern(b"CPU");
        cells.know(cpu, Kind::default());
        for slot in 0..1_000 {
            let own = names.intern(format!("node:{slot}").as_bytes());
            cells.know(own, Kind::default());
            cells.push_row();
            cells.insert(slot, cpu, cell);
            cells.insert(slot, own, cell);
        }
        cells.check();
        assert!(cells.sparse_slots(cpu).is_none());
        assert_eq!(cells.columns.len(), COLUMNS_STEP);
        (0..1_000).for_each(|slot| cells.clear_row(slot, |_| {}));
        assert_eq!(cells.holders(cpu), 0);
        cells.check();
    }
}
