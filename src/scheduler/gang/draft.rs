//! Drafts: what a node would have left if a plan were carried out.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::shapes::{Gang, Shape};
use crate::scheduler::amount::Amount;
use crate::scheduler::cells::{Cell, Slot};
use crate::scheduler::resource_names::ResourceId;
use crate::scheduler::units::Units;

/// What a plan may use of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// What is free.
    Free,
    /// What it has in total, as if nothing were running.
    Total,
}

impl Basis {
    fn amount(self, cell: Cell) -> Amount {
        match self {
            // A node may say that more is available than it has: it cannot run more than that all the same.
            Basis::Free => cell.free().min(cell.total),
            Basis::Total => cell.total,
        }
    }
}

/// What one node has left of the resources that the gang asks for.
#[derive(Clone, Debug)]
pub struct Draft {
    /// By resource.
    amounts: Vec<Amount>,
    /// By resource, of those that come in units, which are the first.
    units: Vec<Units>,
    /// Demands of the gang that it has taken.
    taken: usize,
}

impl Draft {
    /// A node that has taken nothing yet.
    pub fn new(gang: &Gang<'_>, basis: Basis, slot: Slot) -> Self {
        let node = gang.node(slot);
        let amount = |&id: &ResourceId| basis.amount(node.cell(id));
        let units = |id| match basis {
            Basis::Free => node.units(id),
            Basis::Total => node.units(id).map(|_| Units::of_sum(node.cell(id).total)),
        };
        Self {
            amounts: gang.resources().iter().map(amount).collect(),
            units: gang.resources().iter().map_while(|&id| units(id)).collect(),
            taken: 0,
        }
    }

    /// Whether a demand of the shape fits.
    pub fn fits(&self, shape: &Shape) -> bool {
        let can_host = |resource: usize, amount| self.units.get(resource).is_none_or(|units| units.can_host(amount));
        let mut entries = shape.entries.iter();
        entries.all(|&(resource, amount)| self.amounts[resource] >= amount && can_host(resource, amount))
    }

    /// Takes a demand of the shape, which fits.
    pub fn take(&mut self, shape: &Shape) {
        for &(resource, amount) in &shape.entries {
            self.amounts[resource] = self.amounts[resource].saturating_sub(amount);
            if let Some(units) = self.units.get_mut(resource) {
                units.take(amount);
            }
        }
        self.taken += 1;
    }

    /// Takes a demand of the shape if it fits. Returns whether it does.
    pub fn try_take(&mut self, shape: &Shape) -> bool {
        let fits = self.fits(shape);
        if fits {
            self.take(shape);
        }
        fits
    }

    /// Whether it has as much of every resource.
    pub fn covers(&self, sums: &[Amount]) -> bool {
        self.amounts.iter().zip(sums).all(|(amount, sum)| amount >= sum)
    }

    /// Demands of the gang that it has taken.
    pub fn taken(&self) -> usize {
        self.taken
    }
}

/// The drafts of the nodes that a plan has touched.
pub struct Drafts<'g> {
    gang: &'g Gang<'g>,
    basis: Basis,
    by_slot: HashMap<Slot, Draft, RandomState>,
}

impl<'g> Drafts<'g> {
    /// No node is touched yet.
    pub fn new(gang: &'g Gang<'g>, basis: Basis) -> Self {
        Self { gang, basis, by_slot: HashMap::default() }
    }

    /// The draft of a node.
    pub fn draft(&mut self, slot: Slot) -> &mut Draft {
        self.by_slot.entry(slot).or_insert_with(|| Draft::new(self.gang, self.basis, slot))
    }
}

/// How many demands of a shape the amounts of a node are enough for.
pub fn holds(gang: &Gang<'_>, basis: Basis, slot: Slot, shape: &Shape) -> usize {
    let node = gang.node(slot);
    let holds = |&(resource, demanded): &(usize, Amount)| {
        basis.amount(node.cell(gang.resources()[resource])).units() / demanded.units()
    };
    shape.entries.iter().map(holds).min().map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(0))
}
