//! What a node has of one resource.

use crate::scheduler::amount::Amount;

/// What a node has of one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// What the node has, used or not.
    pub total: Amount,
    /// What was last reported as unused.
    pub available: Amount,
    /// The sum of the placements made since.
    pub reserved: Amount,
}

impl Cell {
    /// What a node has that reports `amount`, total and available alike.
    #[inline]
    pub fn reported(amount: Amount) -> Self {
        Self { total: amount, available: amount, reserved: Amount::ZERO }
    }

    /// What is neither used nor reserved.
    #[inline]
    pub fn free(&self) -> Amount {
        self.available.saturating_sub(self.reserved)
    }

    /// Whether it says nothing more than the absence of the resource does.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.total == Amount::ZERO && self.available == Amount::ZERO && self.reserved == Amount::ZERO
    }
}
