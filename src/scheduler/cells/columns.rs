//! Which resources are columns, as more and fewer nodes have them.

use smallvec::SmallVec;

use super::{Cell, Cells, Place, Scale, Slot};
use crate::scheduler::resource_names::ResourceId;

/// Columns at most. A sorted list of as many nodes as a column is for is far slower to change, so this is well above the
/// number of resources that many nodes of one cluster have in common.
const COLUMNS_MAX: usize = 64;

/// The row gets wider by so many columns at a time.
const COLUMNS_STEP: usize = 4;

/// A resource becomes a column when at least so many nodes have it, and one node in so many of all.
const COLUMN_HOLDERS_MIN: usize = 8;
const COLUMN_NODES_PER_HOLDER: usize = 16;

impl Cells {
    /// Makes a sparse resource a column once enough nodes have it.
    #[inline]
    pub(super) fn reconsider_place(&mut self, id: ResourceId) {
        let holders = self.holders(id);
        if holders >= COLUMN_HOLDERS_MIN
            && holders * COLUMN_NODES_PER_HOLDER >= self.slot_count()
            && matches!(self.resources[id.index()].place, Place::Sparse(_))
        {
            self.make_column(id);
        }
    }

    #[cold]
    fn make_column(&mut self, id: ResourceId) {
        let Some(column) = self.find_column(self.holders(id)) else { return };
        let resource = &mut self.resources[id.index()];
        let Place::Sparse(holders) = std::mem::replace(&mut resource.place, Place::Column(column)) else { return };
        self.columns[column] = Some(id);
        self.column_scales[column] = resource.scale;
        for (slot, cell) in holders {
            self.rows[slot as usize * self.columns.len() + column] = cell;
            self.held[slot as usize].sparse.retain(|other| *other != id);
        }
    }

    /// A column without cells: a free one, a new one, or that of a resource with less than half the holders.
    fn find_column(&mut self, holders: usize) -> Option<usize> {
        if let Some(column) = self.columns.iter().position(Option::is_none) {
            return Some(column);
        }
        if self.columns.len() < COLUMNS_MAX {
            return Some(self.widen());
        }
        let holders_of = |id: &Option<ResourceId>| id.map_or(0, |id| self.holders(id));
        let (column, id) = self.columns.iter().enumerate().min_by_key(|(_, id)| holders_of(id))?;
        if holders_of(id) * 2 >= holders {
            return None;
        }
        let id = (*id)?;
        self.make_sparse(id, column);
        Some(column)
    }

    fn widen(&mut self) -> usize {
        let (old, new) = (self.columns.len(), self.columns.len() + COLUMNS_STEP);
        let mut rows = vec![Cell::default(); self.slot_count() * new];
        if old > 0 {
            rows.chunks_exact_mut(new).zip(self.rows.chunks_exact(old)).for_each(|(to, from)| {
                to[..old].copy_from_slice(from);
            });
        }
        self.rows = rows;
        self.columns.resize(new, None);
        self.column_scales.resize(new, Scale::default());
        old
    }

    fn make_sparse(&mut self, id: ResourceId, column: usize) {
        let width = self.columns.len();
        let mut holders = SmallVec::with_capacity(self.holders(id));
        for (slot, row) in self.rows.chunks_exact_mut(width).enumerate() {
            let cell = std::mem::take(&mut row[column]);
            if !cell.is_empty() {
                holders.push((slot as Slot, cell));
                self.held[slot].sparse.push(id);
            }
        }
        self.resources[id.index()].place = Place::Sparse(holders);
        self.columns[column] = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::amount::Amount;
    use crate::scheduler::resource_names::ResourceNames;

    #[test]
    fn a_resource_is_a_column_while_enough_nodes_have_it_and_rows_stay_narrow() {
        let mut names = ResourceNames::default();
        let mut cells = Cells::default();
        let cell = Cell::reported(Amount::WHOLE);
        let cpu = names.intern(b"CPU");
        for slot in 0..1_000 {
            let own = names.intern(format!("node:{slot}").as_bytes());
            cells.know(names.id_count());
            cells.push_row();
            cells.insert(slot, cpu, cell);
            cells.insert(slot, own, cell);
        }
        cells.check();
        assert!(cells.sparse_holders(cpu).is_none());
        assert_eq!(cells.columns.len(), COLUMNS_STEP);
        (0..1_000).for_each(|slot| cells.clear_row(slot, |_| {}));
        assert_eq!(cells.holders(cpu), 0);
        cells.check();
    }
}
