//! Resources that few nodes have.

use std::slice;

use smallvec::SmallVec;

use super::facts::{Facts, Kind, ReportNumber};
use super::{Cell, Overwritten, Slot};
use crate::scheduler::amount::Amount;

/// No slot.
const NONE: Slot = Slot::MAX;

/// A resource that few nodes have, and their cells.
#[derive(Debug)]
pub enum Sparse {
    /// No more than one node has it, as much as any has ever had, and all of that is available and not reserved. So it is
    /// with nearly all names: each node has a resource of its own, its address.
    Idle { kind: Kind, overwritten_in: ReportNumber, holder: Slot, amount: Amount },
    /// Anything else, from when it was first so.
    Listed(Box<Holders>),
}

/// Nodes that have a resource.
#[derive(Debug)]
pub struct Holders {
    pub facts: Facts,
    /// Ascending.
    pub slots: SmallVec<[Slot; 2]>,
    /// By the places of the slots. None is empty.
    pub cells: SmallVec<[Cell; 1]>,
}

impl Sparse {
    /// A resource that no node has.
    pub fn new(kind: Kind) -> Self {
        Self::Idle { kind, overwritten_in: 0, holder: NONE, amount: Amount::ZERO }
    }

    /// What is known of it besides the cells.
    #[inline]
    pub fn facts(&self) -> Facts {
        match self {
            Self::Idle { kind, overwritten_in, amount, .. } => Facts::new(*kind, *overwritten_in, *amount),
            Self::Listed(holders) => holders.facts,
        }
    }

    /// The slots of the nodes that have it, ascending.
    #[inline]
    pub fn slots(&self) -> &[Slot] {
        match self {
            Self::Idle { holder: NONE, .. } => &[],
            Self::Idle { holder, .. } => slice::from_ref(holder),
            Self::Listed(holders) => &holders.slots,
        }
    }

    /// The nodes that have it, by slot, and what they have.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (Slot, Cell)> {
        self.slots().iter().enumerate().map(|(place, &slot)| match self {
            Self::Idle { amount, .. } => (slot, Cell::reported(*amount)),
            Self::Listed(holders) => (slot, holders.cells[place]),
        })
    }

    /// The sum of what all nodes have in total.
    pub fn capacity(&self) -> i128 {
        self.iter().map(|(_, cell)| i128::from(cell.total.units())).sum()
    }

    /// A node's cell; an empty one where the node lacks it. A function of its own, since most cells that are looked at are in columns.
    #[inline(never)]
    pub fn get(&self, slot: Slot) -> Cell {
        match self {
            Self::Idle { holder, amount, .. } if *holder == slot => Cell::reported(*amount),
            Self::Idle { .. } => Cell::default(),
            Self::Listed(holders) => holders.place(slot).map_or(Cell::default(), |place| holders.cells[place]),
        }
    }

    /// What is reserved on a node that has it, and of which kind it is.
    #[inline(never)]
    pub fn reserved_mut(&mut self, slot: Slot) -> (&mut Amount, Kind) {
        let holders = self.list();
        let place = holders.place(slot).expect("only a node that has a resource has placements of it");
        (&mut holders.cells[place].reserved, holders.facts.kind)
    }

    /// See [`Cells::overwrite`](super::Cells::overwrite).
    #[inline]
    pub fn overwrite(&mut self, slot: Slot, amount: Amount, report: ReportNumber) -> Option<Overwritten> {
        match self {
            Self::Idle { holder, .. } if *holder != slot => None,
            Self::Idle { amount: same, overwritten_in, .. } if *same == amount => {
                (std::mem::replace(overwritten_in, report) != report).then_some(Overwritten::Same)
            }
            _ => {
                let holders = self.list();
                let place = holders.place(slot)?;
                let cell = &mut holders.cells[place];
                let overwritten = holders.facts.overwrite(*cell, amount, report)?;
                *cell = Cell::reported(amount);
                Some(overwritten)
            }
        }
    }

    /// Gives it to a node that lacks it. Returns whether the largest total has grown and others have it too.
    pub fn insert(&mut self, slot: Slot, cell: Cell) -> bool {
        match self {
            Self::Idle { holder, amount, .. }
                if *holder == NONE && cell == Cell::reported(cell.total) && cell.total >= *amount =>
            {
                (*holder, *amount) = (slot, cell.total);
            }
            _ => self.list().insert(slot, cell),
        }
        self.grow(cell.total)
    }

    /// See [`Cells::grow`](super::Cells::grow).
    pub fn grow(&mut self, total: Amount) -> bool {
        match self {
            Self::Idle { .. } => false,
            Self::Listed(holders) => holders.facts.grow(total) && holders.slots.len() > 1,
        }
    }

    /// A node that has it loses it. Returns whether it was the last.
    pub fn remove(&mut self, slot: Slot) -> bool {
        match self {
            Self::Idle { holder, .. } => *holder = NONE,
            Self::Listed(holders) => holders.remove(slot),
        }
        self.slots().is_empty()
    }

    /// The nodes that have it as a list, which it becomes if it is none.
    #[inline]
    pub fn list(&mut self) -> &mut Holders {
        if let Self::Idle { .. } = self {
            self.make_list();
        }
        let Self::Listed(holders) = self else { unreachable!("it was made a list") };
        holders
    }

    #[cold]
    fn make_list(&mut self) {
        let (slots, cells) = self.iter().unzip();
        *self = Self::Listed(Box::new(Holders { facts: self.facts(), slots, cells }));
    }
}

impl Holders {
    #[inline]
    fn place(&self, slot: Slot) -> Option<usize> {
        self.slots.binary_search(&slot).ok()
    }

    /// Adds a node behind all that have it.
    pub fn push(&mut self, slot: Slot, cell: Cell) {
        self.slots.push(slot);
        self.cells.push(cell);
    }

    fn insert(&mut self, slot: Slot, cell: Cell) {
        let place = self.slots.partition_point(|&other| other < slot);
        self.slots.insert(place, slot);
        self.cells.insert(place, cell);
    }

    fn remove(&mut self, slot: Slot) {
        if let Some(place) = self.place(slot) {
            self.slots.remove(place);
            self.cells.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_idle_as_long_as_one_node_has_all_of_it_available() {
        let one = Cell::reported(Amount::WHOLE);
        let half = Amount::from_f64(0.5);
        let idle = || {
            let mut sparse = Sparse::new(Kind::default());
            assert!(!sparse.insert(7, one));
            sparse
        };
        // What happens to it, and who has what of it then.
        type Case = (fn(&mut Sparse), bool, &'static [(Slot, f64)]);
        let cases: [Case; 8] = [
            (|_| {}, true, &[(7, 1.0)]),
            (|sparse| assert_eq!(sparse.overwrite(7, Amount::WHOLE, 1), Some(Overwritten::Same)), true, &[(7, 1.0)]),
            (|sparse| assert_eq!(sparse.overwrite(8, Amount::WHOLE, 1), None), true, &[(7, 1.0)]),
            (|sparse| assert!(sparse.remove(7)), true, &[]),
            (
                |sparse| assert!(sparse.remove(7) && !sparse.insert(8, Cell::reported(Amount::WHOLE.times(2)))),
                true,
                &[(8, 2.0)],
            ),
            (
                |sparse| assert!(sparse.remove(7) && !sparse.insert(8, Cell::reported(Amount::from_f64(0.5)))),
                false,
                &[(8, 0.5)],
            ),
            (|sparse| assert!(sparse.insert(3, Cell::reported(Amount::WHOLE.times(2)))), false, &[(3, 2.0), (7, 1.0)]),
            (|sparse| *sparse.reserved_mut(7).0 = Amount::from_f64(0.5), false, &[(7, 0.5)]),
        ];
        for (happens, is_idle, expected) in cases {
            let mut sparse = idle();
            happens(&mut sparse);
            assert_eq!(matches!(sparse, Sparse::Idle { .. }), is_idle, "{sparse:?}");
            let free = sparse.iter().map(|(slot, cell)| (slot, cell.free().to_f64()));
            assert_eq!(free.collect::<Vec<_>>(), expected, "{sparse:?}");
            let most = expected.iter().fold(1.0, |most, &(_, amount)| amount.max(most));
            assert_eq!(sparse.facts().largest_inverse, 1.0 / Amount::from_f64(most).units() as f32, "{sparse:?}");
        }
        let mut sparse = idle();
        assert_eq!(sparse.overwrite(7, Amount::WHOLE, 1), Some(Overwritten::Same));
        assert_eq!(sparse.overwrite(7, Amount::WHOLE, 1), None, "once a report");
        assert_eq!(sparse.overwrite(7, half, 2), Some(Overwritten::Changed));
        assert_eq!(sparse.overwrite(7, half, 2), None, "once a report");
        assert_eq!(sparse.overwrite(7, Amount::WHOLE.times(2), 3), Some(Overwritten::Largest));
    }
}
