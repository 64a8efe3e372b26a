//! What every node has of every resource: one [`Cell`] each.
//!
//! Resources that many nodes have (CPU, memory) are *columns*: their cells are a flat array of rows, one row
//! a node, which a scan walks from end to end. All others (a node's own address, the names of a placement
//! group) are *sparse*: a sorted list of the nodes that have them. So ten thousand rare names make no row wider, and
//! what is looked for under a rare name is looked for only where it exists.

mod cell;
mod columns;

pub use self::cell::Cell;

use smallvec::SmallVec;

use super::amount::Amount;
use super::policy::Share;
use super::resource_names::ResourceId;

/// Index of a node in its view's table. A slot is used again after its node has gone.
pub type Slot = u32;

#[derive(Debug)]
enum Place {
    /// The cells are in this column of every row.
    Column(usize),
    /// Sorted by slot. No cell is empty. Most lists stay this short: every node has a resource of its own, its address.
    Sparse(SmallVec<[(Slot, Cell); 1]>),
}

impl Place {
    /// The cell of a slot in `rows` of a width, or in the list; `None` where it is not in the list.
    #[inline]
    fn cell_mut<'a>(&'a mut self, rows: &'a mut [Cell], width: usize, slot: Slot) -> Option<&'a mut Cell> {
        match self {
            Self::Column(column) => Some(&mut rows[slot as usize * width + *column]),
            Self::Sparse(holders) => {
                let position = holders.binary_search_by_key(&slot, |holder| holder.0).ok()?;
                Some(&mut holders[position].1)
            }
        }
    }
}

/// What all nodes' shares of a resource have in common: see [`Share`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Scale {
    largest_inverse: f32,
    is_memory: bool,
}

impl Scale {
    #[inline]
    fn share(self, cell: Cell) -> Share {
        Share { cell, largest_inverse: self.largest_inverse, is_memory: self.is_memory }
    }
}

#[derive(Debug)]
struct Resource {
    place: Place,
    /// Number of nodes with a cell that is not empty.
    holders: u32,
    /// The sum of the totals, which may be more than an amount can be.
    capacity: i128,
    /// The most that any node has reported in total since the resource is known.
    largest: Amount,
    scale: Scale,
    /// Whether it comes in units, such as devices.
    is_unit: bool,
    /// The last report in which it was overwritten.
    overwritten_in: u32,
}

impl Default for Resource {
    fn default() -> Self {
        Self {
            place: Place::Sparse(SmallVec::new()),
            holders: 0,
            capacity: 0,
            largest: Amount::ZERO,
            scale: Scale::default(),
            is_unit: false,
            overwritten_in: 0,
        }
    }
}

impl Resource {
    /// A node that had it loses it. Returns whether it was the last.
    fn leave(&mut self, cell: Cell) -> bool {
        self.holders -= 1;
        self.capacity -= i128::from(cell.total.units());
        self.holders == 0
    }
}

/// The resources of a slot's node.
#[derive(Debug, Default)]
struct Held {
    /// Number of cells that are not empty.
    count: usize,
    /// The sparse resources among them. As many fit in place as make the list no larger.
    sparse: SmallVec<[ResourceId; 4]>,
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
    resources: Vec<Resource>,
    /// Which resource each column is for; its length is the width of a row.
    columns: Vec<Option<ResourceId>>,
    /// What the shares of each column's resource have in common.
    column_scales: Vec<Scale>,
    /// Row by row, `columns.len()` cells each.
    rows: Vec<Cell>,
    /// By slot.
    held: Vec<Held>,
    /// Reports that were begun. Were one taken for another after a round of all numbers, it would only not be overwritten.
    reports: u32,
}

impl Cells {
    /// Number of rows.
    pub fn slot_count(&self) -> usize {
        self.held.len()
    }

    /// Adds an empty row at the end.
    pub fn push_row(&mut self) {
        self.held.push(Held::default());
        self.rows.resize(self.slot_count() * self.columns.len(), Cell::default());
    }

    /// Makes room for resources with ids below `id_count`.
    #[inline]
    pub fn know(&mut self, id_count: usize) {
        if self.resources.len() < id_count {
            self.resources.resize_with(id_count, Resource::default);
        }
    }

    /// The resources that many nodes have.
    pub fn columns(&self) -> impl Iterator<Item = ResourceId> + '_ {
        self.columns.iter().copied().flatten()
    }

    /// A resource is memory.
    pub fn set_memory(&mut self, resource: ResourceId) {
        self.resources[resource.index()].scale.is_memory = true;
    }

    /// A resource comes in units.
    pub fn set_unit(&mut self, resource: ResourceId) {
        self.resources[resource.index()].is_unit = true;
    }

    /// Whether a resource comes in units.
    #[inline]
    pub fn is_unit(&self, resource: ResourceId) -> bool {
        self.resources[resource.index()].is_unit
    }

    /// Number of nodes that have the resource.
    #[inline]
    pub fn holders(&self, resource: ResourceId) -> usize {
        self.resources[resource.index()].holders as usize
    }

    /// Number of resources that a node has.
    #[inline]
    pub fn held_count(&self, slot: Slot) -> usize {
        self.held[slot as usize].count
    }

    /// The sparse resources that a node has.
    #[inline]
    pub fn held_sparse(&self, slot: Slot) -> &[ResourceId] {
        &self.held[slot as usize].sparse
    }

    /// The slots that alone can have a sparse resource, or `None` where it is a column.
    pub fn sparse_holders(&self, resource: ResourceId) -> Option<&[(Slot, Cell)]> {
        match &self.resources[resource.index()].place {
            Place::Sparse(holders) => Some(holders.as_slice()),
            Place::Column(_) => None,
        }
    }

    /// The cell of a resource on a node; an empty one where the node lacks it.
    #[inline]
    pub fn get(&self, slot: Slot, resource: ResourceId) -> Cell {
        match &self.resources[resource.index()].place {
            Place::Column(column) => self.rows[slot as usize * self.columns.len() + column],
            Place::Sparse(holders) => match holders.binary_search_by_key(&slot, |holder| holder.0) {
                Ok(position) => holders[position].1,
                Err(_) => Cell::default(),
            },
        }
    }

    /// The sum of what all nodes have of a resource in total, in units.
    #[inline]
    pub fn capacity(&self, resource: ResourceId) -> f64 {
        self.resources[resource.index()].capacity as f64
    }

    /// 1 / the largest total that any node has reported of a resource, in units; 0 where none was positive.
    #[inline]
    pub fn largest_inverse(&self, resource: ResourceId) -> f32 {
        self.resources[resource.index()].scale.largest_inverse
    }

    /// Calls `visit` for every resource that a node has; some cells may be empty.
    #[inline]
    pub fn for_each(&self, slot: Slot, mut visit: impl FnMut(Share)) {
        let start = slot as usize * self.columns.len();
        let columns = self.rows[start..start + self.columns.len()].iter().zip(&self.column_scales);
        columns.for_each(|(&cell, scale)| visit(scale.share(cell)));
        for &id in &self.held[slot as usize].sparse {
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
        self.resources[id.index()].scale.share(self.get(slot, id))
    }

    /// Adds to what is reserved of a resource that the node has.
    #[inline]
    pub fn reserve(&mut self, slot: Slot, resource: ResourceId, amount: Amount) {
        let reserved = self.reserved_mut(slot, resource);
        *reserved = reserved.saturating_add(amount);
    }

    /// Takes off what is reserved of a resource that the node has.
    #[inline]
    pub fn unreserve(&mut self, slot: Slot, resource: ResourceId, amount: Amount) {
        let reserved = self.reserved_mut(slot, resource);
        *reserved = reserved.saturating_sub(amount);
    }

    /// Sets what is reserved of a resource that the node has.
    pub fn set_reserved(&mut self, slot: Slot, resource: ResourceId, amount: Amount) {
        *self.reserved_mut(slot, resource) = amount;
    }

    #[inline]
    fn reserved_mut(&mut self, slot: Slot, resource: ResourceId) -> &mut Amount {
        let place = &mut self.resources[resource.index()].place;
        let cell = place.cell_mut(&mut self.rows, self.columns.len(), slot);
        &mut cell.expect("only a node that has a resource has placements of it").reserved
    }

    /// Begins a report, in which each resource can be [overwritten](Self::overwrite) once.
    #[inline]
    pub fn begin_report(&mut self) {
        self.reports = self.reports.wrapping_add(1);
    }

    /// Sets what a node has of a resource, total and available alike, with nothing reserved. `None`, and nothing is
    /// done, where that is nothing, or the node lacks the resource, or it was overwritten in this report already.
    #[inline]
    pub fn overwrite(&mut self, slot: Slot, id: ResourceId, amount: Amount) -> Option<Overwritten> {
        let resource = &mut self.resources[id.index()];
        let cell = resource.place.cell_mut(&mut self.rows, self.columns.len(), slot)?;
        if amount == Amount::ZERO || cell.is_empty() || resource.overwritten_in == self.reports {
            return None;
        }
        resource.overwritten_in = self.reports;
        let old = std::mem::replace(cell, Cell::reported(amount));
        if *cell == old {
            return Some(Overwritten::Same);
        }
        resource.capacity += i128::from(amount.units()) - i128::from(old.total.units());
        Some(if amount > resource.largest { Overwritten::Largest } else { Overwritten::Changed })
    }

    /// Gives a node a resource that it lacks. `cell` is not empty. Returns whether the largest total of the
    /// resource has grown and others have it too, so that their share of it has changed.
    pub fn insert(&mut self, slot: Slot, id: ResourceId, cell: Cell) -> bool {
        debug_assert!(!cell.is_empty());
        let resource = &mut self.resources[id.index()];
        match &mut resource.place {
            Place::Column(column) => self.rows[slot as usize * self.columns.len() + *column] = cell,
            Place::Sparse(holders) => {
                let position = holders.partition_point(|holder| holder.0 < slot);
                holders.insert(position, (slot, cell));
                self.held[slot as usize].sparse.push(id);
            }
        }
        self.held[slot as usize].count += 1;
        resource.holders += 1;
        resource.capacity += i128::from(cell.total.units());
        let shares_changed = self.grow(id, cell.total);
        self.reconsider_place(id);
        shares_changed
    }

    /// A node has so much of a resource in total. Returns whether none had as much and others have some, so that
    /// their share has changed.
    #[inline]
    pub fn grow(&mut self, id: ResourceId, total: Amount) -> bool {
        let resource = &mut self.resources[id.index()];
        if total <= resource.largest {
            return false;
        }
        resource.largest = total;
        resource.scale.largest_inverse = 1.0 / total.units() as f32;
        if let Place::Column(column) = resource.place {
            self.column_scales[column] = resource.scale;
        }
        resource.holders > 1
    }

    /// Empties a node's row, and calls `emptied` for each resource that no node has any more.
    pub fn clear_row(&mut self, slot: Slot, mut emptied: impl FnMut(ResourceId)) {
        let start = slot as usize * self.columns.len();
        for (cell, id) in self.rows[start..].iter_mut().zip(&self.columns) {
            let cell = std::mem::take(cell);
            if !cell.is_empty() {
                let id = id.expect("a column with cells has a resource");
                if self.resources[id.index()].leave(cell) {
                    emptied(id);
                }
            }
        }
        let held = &mut self.held[slot as usize];
        held.count = 0;
        for id in held.sparse.drain(..) {
            let resource = &mut self.resources[id.index()];
            if let Place::Sparse(holders) = &mut resource.place
                && let Ok(position) = holders.binary_search_by_key(&slot, |holder| holder.0)
            {
                let (_, cell) = holders.remove(position);
                if resource.leave(cell) {
                    emptied(id);
                }
            }
        }
    }

    /// Takes the cell of a resource away where a node has nothing of it any more. Returns whether no other node
    /// has any.
    #[inline]
    pub fn remove_empty(&mut self, slot: Slot, id: ResourceId) -> bool {
        self.get(slot, id).is_empty() && self.remove(slot, id)
    }

    #[cold]
    fn remove(&mut self, slot: Slot, id: ResourceId) -> bool {
        let (resource, held) = (&mut self.resources[id.index()], &mut self.held[slot as usize]);
        if let Place::Sparse(holders) = &mut resource.place {
            holders.retain(|(other, _)| *other != slot);
            held.sparse.retain(|other| *other != id);
        }
        held.count -= 1;
        resource.leave(Cell::default())
    }

    /// Forgets a resource that no node has, before its id gets another name.
    pub fn forget(&mut self, id: ResourceId) {
        let resource = std::mem::take(&mut self.resources[id.index()]);
        debug_assert_eq!(resource.holders, 0);
        if let Place::Column(column) = resource.place {
            self.columns[column] = None;
        }
    }

    /// Checks everything that is derived against a plain recomputation.
    #[cfg(any(debug_assertions, test))]
    pub fn check(&self) {
        let width = self.columns.len();
        assert_eq!(self.rows.len(), width * self.slot_count());
        for (column, id) in self.columns.iter().enumerate() {
            let cells = self.rows.iter().skip(column).step_by(width);
            let holders = cells.filter(|cell| !cell.is_empty()).count();
            match id {
                Some(id) => {
                    let resource = &self.resources[id.index()];
                    assert!(matches!(resource.place, Place::Column(place) if place == column));
                    assert_eq!(self.holders(*id), holders);
                    assert_eq!(self.column_scales[column], resource.scale);
                }
                None => assert_eq!(holders, 0),
            }
        }
        let mut listed = 0;
        for resource in &self.resources {
            if let Place::Sparse(holders) = &resource.place {
                assert!(holders.is_sorted_by(|a, b| a.0 < b.0));
                assert!(holders.iter().all(|(_, cell)| !cell.is_empty()));
                assert_eq!(resource.holders as usize, holders.len());
                listed += holders.len();
            }
        }
        for (slot, held) in (0..).zip(&self.held) {
            assert!(held.sparse.iter().all(|id| !self.get(slot, *id).is_empty()));
            listed -= held.sparse.len();
            let mut count = 0;
            self.for_each(slot, |share| count += usize::from(!share.cell.is_empty()));
            assert_eq!(count, held.count);
        }
        assert_eq!(listed, 0, "each sparse cell is listed once with its slot");
        assert!(self.rows.iter().all(|cell| cell.reserved >= Amount::ZERO));
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
        cells.know(1);
        cells.push_row();
        cells.insert(0, cpu, Cell::reported(Amount::WHOLE));
        let tenth = Amount::from_f64(0.1);
        (0..9).for_each(|_| cells.reserve(0, cpu, tenth));
        for _ in 0..PAIRS {
            cells.reserve(0, cpu, std::hint::black_box(tenth));
            cells.unreserve(0, cpu, std::hint::black_box(tenth));
        }
        cells.reserve(0, cpu, tenth);
        assert_eq!(cells.get(0, cpu).free(), Amount::ZERO);
    }
}
