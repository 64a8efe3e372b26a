//! One node of a table, as the policies see it.

use super::{Demand, NodeTable};
use crate::scheduler::cells::{Cell, Slot};
use crate::scheduler::policy::{NodeTerm, Policy, Share};
use crate::scheduler::rank::Fit;
use crate::scheduler::resource_names::ResourceId;
use crate::scheduler::units::Units;
use crate::wire::NodeId;

/// One node of a table.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    pub(super) table: &'a NodeTable,
    pub(super) slot: Slot,
}

impl<'a> Node<'a> {
    /// Its identifier.
    #[inline]
    pub fn id(self) -> NodeId {
        self.table.nodes[self.slot as usize].id
    }

    /// Its slot in the table.
    #[inline]
    pub fn slot(self) -> Slot {
        self.slot
    }

    /// Placements since the last report.
    #[inline]
    pub fn queued(self) -> u32 {
        self.table.nodes[self.slot as usize].queued
    }

    /// Whether it takes no new placements.
    #[inline]
    pub fn is_draining(self) -> bool {
        self.table.nodes[self.slot as usize].draining
    }

    /// What it has of each resource.
    pub fn cells(self) -> Vec<(ResourceId, Cell)> {
        let mut cells = Vec::new();
        self.table.cells.for_each_held(self.slot, |id, cell| cells.push((id, cell)));
        cells
    }

    /// How the demand fits.
    #[inline]
    pub fn fit(self, demand: &Demand) -> Fit {
        let mut fit = Fit::Free;
        for &(id, amount) in &demand.entries {
            let cell = self.table.cells.get(self.slot, id);
            if cell.total < amount {
                return Fit::Infeasible;
            }
            if cell.free() < amount {
                fit = Fit::Queues;
            }
        }
        let can_host = !self.has_units_apart() || self.can_units_host(demand);
        if can_host { fit } else { Fit::Queues }
    }

    /// Whether units of its resources are not as the sums of what is free say, so that a demand for units may not fit all the same.
    #[inline]
    pub fn has_units_apart(self) -> bool {
        self.table.nodes[self.slot as usize].has_units_apart
    }

    /// Whether the units of those resources that come in units can host what is asked of them.
    fn can_units_host(self, demand: &Demand) -> bool {
        let mut entries = demand.entries.iter();
        entries.all(|&(id, amount)| self.table.units_apart(self.slot, id).is_none_or(|units| units.can_host(amount)))
    }

    /// What is free of each unit of a resource; `None` of a resource that does not come in units.
    #[inline]
    pub fn units(self, id: ResourceId) -> Option<Units> {
        self.table.cells.is_unit(id).then(|| self.table.units_of(self.slot, id))
    }

    /// The part of every score of a policy that depends on the node alone. The table keeps that of its own policy.
    #[inline]
    pub fn term(self, policy: &Policy) -> NodeTerm {
        match policy.is_same(&self.table.policy) {
            true => self.table.term(self.slot),
            false => policy.node_term(&self.table.cells, self.slot),
        }
    }

    /// What it has of a resource.
    #[inline]
    pub fn cell(self, id: ResourceId) -> Cell {
        self.table.cells.get(self.slot, id)
    }

    /// What it has of a resource, with the scale of that.
    #[inline]
    pub fn share(self, id: ResourceId) -> Share {
        self.table.cells.share(self.slot, id)
    }

    /// The id of a name, if any node of the view has or had it.
    #[inline]
    pub fn id_of(self, name: &[u8]) -> Option<ResourceId> {
        self.table.names.get(name)
    }

    /// What it has of the resource of a name.
    pub fn cell_of(self, name: &[u8]) -> Cell {
        self.id_of(name).map_or(Cell::default(), |id| self.cell(id))
    }
}
