//! Gangs of demands, placed together or not at all.

use super::View;
use crate::scheduler::cells::Slot;
use crate::scheduler::gang::{self, GangError, Strategy};
use crate::scheduler::node_table::{Demand, Node};
use crate::wire::NodeId;
use crate::wire::resources::Resources;

/// Why a gang is not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GangUnplaced {
    /// There are no nodes.
    NoNodes,
    Gang(GangError),
}

impl View {
    /// Places demands together, and gives each with its slot to `placed`. Returns the node of each in their order.
    ///
    /// # Errors
    /// When they do not all fit; nothing is changed then.
    pub fn schedule_gang<'d>(
        &mut self,
        demands: impl Iterator<Item = Resources<'d>>,
        strategy: Strategy,
        strict: bool,
        mut placed: impl FnMut(Slot, &Demand),
    ) -> Result<Vec<NodeId>, GangUnplaced> {
        self.settle();
        let mut resolved = Vec::with_capacity(demands.size_hint().0);
        for resources in demands {
            let mut demand = Demand::default();
            let known = self.table.resolve(resources, &mut demand);
            known.map_err(|_| match self.table.is_empty() {
                true => GangUnplaced::NoNodes,
                false => GangUnplaced::Gang(GangError::Infeasible),
            })?;
            resolved.push(demand);
        }
        if resolved.is_empty() {
            return Ok(Vec::new());
        }
        if self.table.is_empty() {
            return Err(GangUnplaced::NoNodes);
        }
        self.looked_at(self.table.slot_count());
        let plan = gang::plan(&self.table, self.cache.profile(), &resolved, strategy, strict);
        let plan = plan.map_err(GangUnplaced::Gang)?;
        let mut nodes = vec![NodeId::NIL; resolved.len()];
        for gang::Placement { demand, slot } in plan {
            self.table.place(slot, &resolved[demand]);
            placed(slot, &resolved[demand]);
            nodes[demand] = self.table.node(slot).map_or(NodeId::NIL, Node::id);
        }
        Ok(nodes)
    }
}
