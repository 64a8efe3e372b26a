//! The cells of the resources that many nodes have.

use super::{Cell, Slot};
use crate::prefetch::load;
use crate::scheduler::amount::Amount;
use crate::scheduler::room;

/// Cells in a cache line.
const CELLS_PER_LINE: usize = 64 / size_of::<Amounts>();

/// A row of cells a node.
///
/// A node that says of what it has only how much is available, as in version 1, has just that in total. While no node
/// tells the two apart, a cell takes two words.
#[derive(Debug, Default)]
pub struct Rows {
    /// Cells of a row.
    width: usize,
    /// Row by row.
    cells: Vec<Amounts>,
    /// What is available of each cell; empty while that is the total everywhere.
    available: Vec<Amount>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Amounts {
    total: Amount,
    reserved: Amount,
}

impl Rows {
    /// Adds an empty row at the end.
    pub fn push(&mut self) {
        let length = self.cells.len() + self.width;
        room::extend_to(&mut self.cells, length);
        if !self.available.is_empty() {
            room::extend_to(&mut self.available, length);
        }
    }

    /// Adds empty cells at the end of each of so many rows.
    pub fn widen(&mut self, rows: usize, width: usize) {
        fn widened<T: Copy + Default>(cells: &[T], old: usize, rows: usize, new: usize) -> Vec<T> {
            let mut wider = vec![T::default(); rows * new];
            if old > 0 {
                wider.chunks_exact_mut(new).zip(cells.chunks_exact(old)).for_each(|(to, from)| {
                    to[..old].copy_from_slice(from);
                });
            }
            wider
        }
        self.cells = widened(&self.cells, self.width, rows, width);
        if !self.available.is_empty() {
            self.available = widened(&self.available, self.width, rows, width);
        }
        self.width = width;
    }

    /// Loads where the rows are.
    #[inline]
    pub fn prefetch(&self) {
        load(self.width);
        load(self.cells.len());
        load(self.available.len());
    }

    /// Loads a row.
    #[inline]
    pub fn prefetch_row(&self, slot: Slot) {
        let start = slot as usize * self.width;
        let row = self.cells.get(start..start + self.width).unwrap_or_default();
        row.iter().step_by(CELLS_PER_LINE).chain(row.last()).for_each(|cell| load(cell.reserved));
    }

    /// A cell.
    #[inline]
    pub fn get(&self, slot: Slot, column: usize) -> Cell {
        let index = slot as usize * self.width + column;
        self.cells[index].with(self.available.get(index))
    }

    /// The cells of a row.
    #[inline]
    pub fn row(&self, slot: Slot) -> impl Iterator<Item = Cell> {
        let start = slot as usize * self.width;
        let available = self.available.get(start..start + self.width);
        let cells = self.cells[start..start + self.width].iter().enumerate();
        cells.map(move |(column, cell)| cell.with(available.map(|available| &available[column])))
    }

    /// Puts a cell in the place of another.
    #[inline]
    pub fn set(&mut self, slot: Slot, column: usize, cell: Cell) {
        if cell.available != cell.total && self.available.is_empty() {
            self.tell_available_apart();
        }
        self.place(slot, column).set(cell);
    }

    /// The place of a cell.
    #[inline]
    pub fn place(&mut self, slot: Slot, column: usize) -> Place<'_> {
        let index = slot as usize * self.width + column;
        Place { amounts: &mut self.cells[index], available: self.available.get_mut(index) }
    }

    /// What is reserved of a cell.
    #[inline]
    pub fn reserved_mut(&mut self, slot: Slot, column: usize) -> &mut Amount {
        &mut self.cells[slot as usize * self.width + column].reserved
    }

    #[cold]
    fn tell_available_apart(&mut self) {
        self.available = self.cells.iter().map(|cell| cell.total).collect();
    }
}

impl Amounts {
    /// The cell that these are of with what is available, where that is told apart from the total.
    #[inline]
    fn with(self, available: Option<&Amount>) -> Cell {
        let Self { total, reserved } = self;
        Cell { total, available: available.copied().unwrap_or(total), reserved }
    }
}

/// The place of a cell.
pub struct Place<'a> {
    amounts: &'a mut Amounts,
    available: Option<&'a mut Amount>,
}

impl Place<'_> {
    /// The cell that is there.
    #[inline]
    pub fn get(&self) -> Cell {
        self.amounts.with(self.available.as_deref())
    }

    /// Puts what a node has that reports `amount` there.
    #[inline]
    pub fn set_reported(&mut self, amount: Amount) {
        self.set(Cell::reported(amount));
    }

    #[inline]
    fn set(&mut self, Cell { total, available, reserved }: Cell) {
        *self.amounts = Amounts { total, reserved };
        if let Some(place) = &mut self.available {
            **place = available;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_what_they_were_set_to_whether_or_not_some_tell_available_from_total() {
        let amount = Amount::from_units;
        let mut rows = Rows::default();
        rows.push();
        rows.widen(1, 2);
        rows.push();
        let plain = Cell { reserved: amount(1), ..Cell::reported(amount(4)) };
        let apart = Cell { total: amount(7), available: amount(3), reserved: amount(2) };
        rows.set(0, 1, plain);
        assert!(rows.available.is_empty());
        rows.set(1, 0, apart);
        rows.push();
        rows.widen(3, 4);
        let empty = Cell::default();
        let expected = [[empty, plain, empty, empty], [apart, empty, empty, empty], [empty; 4]];
        for (slot, expected) in (0..).zip(expected) {
            assert!(rows.row(slot).eq(expected), "{slot}");
        }
        rows.set(1, 0, plain);
        *rows.reserved_mut(1, 0) = amount(0);
        assert_eq!(rows.get(1, 0), Cell::reported(amount(4)));
    }
}
