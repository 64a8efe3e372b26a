//! What every node has of every resource: one [`Cell`] each.
//!
//! Resources that many nodes have (CPU, memory) are *columns*: their cells are a flat array of rows, one row
//! a node, which a scan walks from end to end. All others (a node's own address, the names of a placement
//! group) are *sparse*: a sorted list of the nodes that have them, which is one node at most for nearly all names. So ten
//! thousand rare names make no row wider, and what is looked for under a rare name is looked for only where it exists.

mod cell;
mod columns;
mod facts;
mod held;
mod rows;
mod sparse;

pub use self::cell::Cell;
pub use self::facts::Kind;

use self::columns::Column;
use self::facts::{Facts, ReportNumber};
use self::held::Held;
use self::rows::Rows;
use self::sparse::Sparse;
use super::amount::Amount;
use super::policy::Share;
use super::resource_names::ResourceId;
use super::room;
use crate::prefetch::load;

/// Index of a node in its view's table. A slot is used again after its node has gone.
pub type Slot = u32;

#[derive(Debug)]
enum Resource {
    /// It has this column.
    Column(u8),
    Sparse(Sparse),
}

/// There are as many as nodes, and more.
const _: () = assert!(size_of::<Resource>() == 16);

impl Default for Resource {
    fn default() -> Self {
        Self::Sparse(Sparse::new(Kind::default()))
    }
}

/// What has changed with a cell that was overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwritten {
    /// Nothing.
    Same,
    /// The cell.
    Changed,
    /// The cell, to more than any node has had: see [`Cells::grow`].
    Largest,
}

/// The cells of a table of nodes.
#[derive(Debug, Default)]
pub struct Cells {
    /// By id.
    resources: Vec<Resource>,
    columns: Vec<Column>,
    /// The cells of the columns.
    rows: Rows,
    held: Held,
    /// The number of the report that was begun last.
    report: ReportNumber,
}

impl Cells {
    /// Number of rows.
    pub fn slot_count(&self) -> usize {
        self.held.slot_count()
    }

    /// Adds an empty row at the end.
    pub fn push_row(&mut self) {
        self.held.push_slot();
        self.rows.push();
    }

    /// A resource becomes known.
    pub fn know(&mut self, resource: ResourceId, kind: Kind) {
        room::extend_to(&mut self.resources, resource.index() + 1);
        self.resources[resource.index()] = Resource::Sparse(Sparse::new(kind));
    }

    /// The resources that many nodes have.
    pub fn columns(&self) -> impl Iterator<Item = ResourceId> + '_ {
        self.columns.iter().filter_map(|column| column.id)
    }

    #[inline]
    fn facts(&self, resource: ResourceId) -> Facts {
        match &self.resources[resource.index()] {
            Resource::Column(column) => self.columns[usize::from(*column)].facts,
            Resource::Sparse(sparse) => sparse.facts(),
        }
    }

    /// Whether a resource comes in units.
    #[inline]
    pub fn is_unit(&self, resource: ResourceId) -> bool {
        self.facts(resource).kind.is_unit()
    }

    /// Number of nodes that have the resource.
    #[inline]
    pub fn holders(&self, resource: ResourceId) -> usize {
        match &self.resources[resource.index()] {
            Resource::Column(column) => self.columns[usize::from(*column)].holders as usize,
            Resource::Sparse(sparse) => sparse.slots().len(),
        }
    }

    /// Loads where the cells are.
    #[inline]
    pub fn prefetch(&self) {
        load(self.resources.len());
        self.rows.prefetch();
    }

    /// Loads a node's cells of the columns.
    #[inline]
    pub fn prefetch_row(&self, slot: Slot) {
        self.rows.prefetch_row(slot);
    }

    /// Loads where the cells of a resource are.
    #[inline]
    pub fn prefetch_resource(&self, resource: ResourceId) {
        load(matches!(self.resources.get(resource.index()), Some(Resource::Column(_))));
    }

    /// Number of resources that a node has.
    #[inline]
    pub fn held_count(&self, slot: Slot) -> usize {
        self.held.count(slot)
    }

    /// The sparse resources that a node has.
    #[inline]
    pub fn held_sparse(&self, slot: Slot) -> &[ResourceId] {
        self.held.sparse(slot)
    }

    /// The slots that alone have a sparse resource, or `None` where it is a column.
    #[inline]
    pub fn sparse_slots(&self, resource: ResourceId) -> Option<&[Slot]> {
        match &self.resources[resource.index()] {
            Resource::Column(_) => None,
            Resource::Sparse(sparse) => Some(sparse.slots()),
        }
    }

    /// The cell of a resource on a node; an empty one where the node lacks it.
    #[inline]
    pub fn get(&self, slot: Slot, resource: ResourceId) -> Cell {
        match &self.resources[resource.index()] {
            Resource::Column(column) => self.rows.get(slot, usize::from(*column)),
            Resource::Sparse(sparse) => sparse.get(slot),
        }
    }

    /// The sum of what all nodes have of a resource in total, in units.
    pub fn capacity(&self, resource: ResourceId) -> f64 {
        let capacity = match &self.resources[resource.index()] {
            Resource::Column(column) => self.columns[usize::from(*column)].capacity,
            Resource::Sparse(sparse) => sparse.capacity(),
        };
        capacity as f64
    }

    /// 1 / the largest total that any node has reported of a resource, in units; 0 where none was positive.
    #[inline]
    pub fn largest_inverse(&self, resource: ResourceId) -> f32 {
        self.facts(resource).largest_inverse
    }

    /// Calls `visit` for every resource that a node has; some cells may be empty.
    #[inline]
    pub fn for_each(&self, slot: Slot, mut visit: impl FnMut(Share)) {
        let row = self.rows.row(slot).zip(&self.columns);
        row.for_each(|(cell, column)| visit(column.facts.share(cell)));
        for &id in self.held_sparse(slot) {
            visit(self.share(slot, id));
        }
    }

    /// Calls `visit` for every resource that a node has.
    pub fn for_each_held(&self, slot: Slot, mut visit: impl FnMut(ResourceId, Cell)) {
        for id in self.columns().chain(self.held_sparse(slot).iter().copied()) {
            let cell = self.get(slot, id);
            if !cell.is_empty() {
                visit(id, cell);
            }
        }
    }

    /// What a node has of a resource, with the scale of that.
    #[inline]
    pub fn share(&self, slot: Slot, id: ResourceId) -> Share {
        self.facts(id).share(self.get(slot, id))
    }

    /// Adds to what is reserved of a resource that the node has. Returns which kind that is.
    #[inline]
    pub fn reserve(&mut self, slot: Slot, resource: ResourceId, amount: Amount) -> Kind {
        let (reserved, kind) = self.reserved_mut(slot, resource);
        *reserved = reserved.saturating_add(amount);
        kind
    }

    /// Takes off what is reserved of a resource that the node has.
    #[inline]
    pub fn unreserve(&mut self, slot: Slot, resource: ResourceId, amount: Amount) {
        let (reserved, _) = self.reserved_mut(slot, resource);
        *reserved = reserved.saturating_sub(amount);
    }

    /// Sets what is reserved of a resource that the node has.
    pub fn set_reserved(&mut self, slot: Slot, resource: ResourceId, amount: Amount) {
        *self.reserved_mut(slot, resource).0 = amount;
    }

    #[inline]
    fn reserved_mut(&mut self, slot: Slot, resource: ResourceId) -> (&mut Amount, Kind) {
        match &mut self.resources[resource.index()] {
            Resource::Column(column) => {
                let column = usize::from(*column);
                (self.rows.reserved_mut(slot, column), self.columns[column].facts.kind)
            }
            Resource::Sparse(sparse) => sparse.reserved_mut(slot),
        }
    }

    /// Begins a report, in which each resource can be [overwritten](Self::overwrite) once.
    #[inline]
    pub fn begin_report(&mut self) {
        self.report = self.report.wrapping_add(1);
    }

    /// Sets what a node has of a resource, total and available alike, with nothing reserved. `None`, and nothing is
    /// done, where that is nothing, or the node lacks the resource, or it was overwritten in this report already.
    #[inline]
    pub fn overwrite(&mut self, slot: Slot, id: ResourceId, amount: Amount) -> Option<Overwritten> {
        if amount == Amount::ZERO {
            return None;
        }
        match &mut self.resources[id.index()] {
            Resource::Column(column) => {
                let (mut place, column) =
                    (self.rows.place(slot, (*column).into()), &mut self.columns[usize::from(*column)]);
                let old = place.get();
                let overwritten = column.facts.overwrite(old, amount, self.report)?;
                if overwritten != Overwritten::Same {
                    place.set_reported(amount);
                    column.capacity += i128::from(amount.units()) - i128::from(old.total.units());
                }
                Some(overwritten)
            }
            Resource::Sparse(sparse) => sparse.overwrite(slot, amount, self.report),
        }
    }

    /// Gives a node a resource that it lacks. `cell` is not empty. Returns whether the largest total of the
    /// resource has grown and others have it too, so that their share of it has changed.
    pub fn insert(&mut self, slot: Slot, id: ResourceId, cell: Cell) -> bool {
        debug_assert!(!cell.is_empty());
        *self.held.count_mut(slot) += 1;
        match &mut self.resources[id.index()] {
            Resource::Column(column) => {
                self.rows.set(slot, usize::from(*column), cell);
                self.columns[usize::from(*column)].join(cell)
            }
            Resource::Sparse(sparse) => {
                self.held.push_sparse(slot, id);
                let shares_changed = sparse.insert(slot, cell);
                self.reconsider_place(id);
                shares_changed
            }
        }
    }

    /// A node has so much of a resource in total. Returns whether none had as much and others have some, so that
    /// their share has changed.
    #[inline]
    pub fn grow(&mut self, id: ResourceId, total: Amount) -> bool {
        match &mut self.resources[id.index()] {
            Resource::Column(column) => self.columns[usize::from(*column)].grow(total),
            Resource::Sparse(sparse) => sparse.grow(total),
        }
    }

    /// Empties a node's row, and calls `emptied` for each resource that no node has any more.
    pub fn clear_row(&mut self, slot: Slot, mut emptied: impl FnMut(ResourceId)) {
        for (place, column) in self.columns.iter_mut().enumerate() {
            let cell = self.rows.get(slot, place);
            if !cell.is_empty() {
                self.rows.set(slot, place, Cell::default());
                if column.leave(cell) {
                    emptied(column.id.expect("a column with cells has a resource"));
                }
            }
        }
        for &id in self.held.sparse(slot) {
            if let Resource::Sparse(sparse) = &mut self.resources[id.index()]
                && sparse.remove(slot)
            {
                emptied(id);
            }
        }
        self.held.clear(slot);
    }

    /// Takes the cell of a resource away where a node has nothing of it any more. Returns whether no other node
    /// has any.
    #[inline]
    pub fn remove_empty(&mut self, slot: Slot, id: ResourceId) -> bool {
        self.get(slot, id).is_empty() && self.remove(slot, id)
    }

    #[cold]
    fn remove(&mut self, slot: Slot, id: ResourceId) -> bool {
        *self.held.count_mut(slot) -= 1;
        match &mut self.resources[id.index()] {
            Resource::Column(column) => self.columns[usize::from(*column)].leave(Cell::default()),
            Resource::Sparse(sparse) => {
                self.held.remove_sparse(slot, id);
                sparse.remove(slot)
            }
        }
    }

    /// Forgets a resource that no node has, before its id gets another name.
    pub fn forget(&mut self, id: ResourceId) {
        debug_assert_eq!(self.holders(id), 0);
        if let Resource::Column(column) = std::mem::take(&mut self.resources[id.index()]) {
            self.columns[usize::from(column)] = Column::default();
        }
    }

    /// Checks everything that is derived against a plain recomputation.
    #[cfg(any(debug_assertions, test))]
    pub fn check(&self) {
        for (place, column) in self.columns.iter().enumerate() {
            let cells = (0..self.slot_count() as Slot).map(|slot| self.rows.get(slot, place));
            let held = cells.filter(|cell| !cell.is_empty());
            let (mut holders, mut capacity) = (0, 0);
            held.for_each(|cell| {
                holders += 1;
                capacity += i128::from(cell.total.units());
                assert!(cell.reserved >= Amount::ZERO);
            });
            assert_eq!((column.holders, column.capacity), (holders, capacity));
            assert!(column.id.is_some() || *column == Column::default());
        }
        let mut listed = 0;
        for (index, resource) in self.resources.iter().enumerate() {
            match resource {
                Resource::Column(place) => {
                    assert_eq!(self.columns[usize::from(*place)].id.map(ResourceId::index), Some(index));
                }
                Resource::Sparse(sparse) => {
                    assert!(sparse.slots().is_sorted_by(|a, b| a < b));
                    assert!(sparse.iter().all(|(slot, cell)| !cell.is_empty() && cell == sparse.get(slot)));
                    listed += sparse.slots().len();
                }
            }
        }
        for slot in 0..self.slot_count() as Slot {
            let sparse = self.held_sparse(slot);
            assert!(sparse.iter().all(|&id| !self.get(slot, id).is_empty()));
            listed -= sparse.len();
            let mut count = 0;
            self.for_each(slot, |share| count += usize::from(!share.cell.is_empty()));
            assert_eq!(count, self.held_count(slot));
        }
        assert_eq!(listed, 0, "each sparse cell is listed once with its slot");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::resource_names::ResourceNames;

    /// `cargo test --release` goes through all 10^8.
    const PAIRS: u32 = if cfg!(debug_assertions) { 1_000_000 } else { 100_000_000 };

    #[test]
    fn amounts_stay_exact_however_often_they_are_reserved_and_released() {
        let mut names = ResourceNames::default();
        let cpu = names.intern(b"CPU");
        let mut cells = Cells::default();
        cells.know(cpu, Kind::default());
        cells.push_row();
        cells.insert(0, cpu, Cell::reported(Amount::WHOLE));
        let tenth = Amount::from_f64(0.1);
        (0..9).for_each(|_| _ = cells.reserve(0, cpu, tenth));
        for _ in 0..PAIRS {
            cells.reserve(0, cpu, std::hint::black_box(tenth));
            cells.unreserve(0, cpu, std::hint::black_box(tenth));
        }
        cells.reserve(0, cpu, tenth);
        assert_eq!(cells.get(0, cpu).free(), Amount::ZERO);
    }
}
