//! What is known of a resource besides the cells.

use super::{Cell, Overwritten};
use crate::scheduler::amount::Amount;
use crate::scheduler::policy::Share;

/// Tells reports apart. Were one taken for another after a round of all numbers, it would only not be overwritten.
pub type ReportNumber = u16;

/// What the name of a resource says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind(u8);

impl Kind {
    const MEMORY: u8 = 1;
    const UNIT: u8 = 2;

    /// Whether it is memory, and whether it comes in units, such as devices.
    pub fn new(is_memory: bool, is_unit: bool) -> Self {
        Self((u8::from(is_memory) * Self::MEMORY) | (u8::from(is_unit) * Self::UNIT))
    }

    #[inline]
    pub fn is_memory(self) -> bool {
        self.0 & Self::MEMORY != 0
    }

    #[inline]
    pub fn is_unit(self) -> bool {
        self.0 & Self::UNIT != 0
    }
}

/// What is known of a resource besides the cells.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Facts {
    pub kind: Kind,
    /// The last report in which it was overwritten.
    overwritten_in: ReportNumber,
    /// See [`Share`].
    pub largest_inverse: f32,
    /// The most that any node has reported in total since the resource is known.
    largest: Amount,
}

impl Facts {
    #[inline]
    pub fn new(kind: Kind, overwritten_in: ReportNumber, largest: Amount) -> Self {
        let largest_inverse = if largest > Amount::ZERO { inverse(largest) } else { 0.0 };
        Self { kind, overwritten_in, largest_inverse, largest }
    }

    /// What a node has, with what all nodes' shares have in common.
    #[inline]
    pub fn share(&self, cell: Cell) -> Share {
        Share { cell, largest_inverse: self.largest_inverse, is_memory: self.kind.is_memory() }
    }

    /// A node has so much in total. Returns whether none had as much.
    #[inline]
    pub fn grow(&mut self, total: Amount) -> bool {
        let has_grown = total > self.largest;
        if has_grown {
            (self.largest, self.largest_inverse) = (total, inverse(total));
        }
        has_grown
    }

    /// A cell is to be overwritten with an amount: what that changes. `None` where the cell is empty, or one was overwritten
    /// in this report already.
    #[inline]
    pub fn overwrite(&mut self, cell: Cell, amount: Amount, report: ReportNumber) -> Option<Overwritten> {
        if cell.is_empty() || self.overwritten_in == report {
            return None;
        }
        self.overwritten_in = report;
        Some(match cell == Cell::reported(amount) {
            true => Overwritten::Same,
            false if amount > self.largest => Overwritten::Largest,
            false => Overwritten::Changed,
        })
    }
}

#[inline]
fn inverse(largest: Amount) -> f32 {
    1.0 / largest.units() as f32
}
