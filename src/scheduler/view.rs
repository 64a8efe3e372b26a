//! A view: one table of nodes, and the placements made on it.

use super::amount::Amount;
use super::cells::Slot;
use super::node_table::{Demand, Node, NodeTable};
use super::policy::{Policy, Rank};
use super::rank_cache::RankCache;
use crate::wire::NodeId;
use crate::wire::resources::Resources;

/// How a view behaves.
#[derive(Clone, Copy, Debug)]
pub struct ViewOptions {
    /// Only free nodes count; else a task may queue on a feasible one.
    pub strict: bool,
    /// Nodes at most.
    pub nodes_max: usize,
}

/// A view has as many nodes as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyNodes;

/// A demand for a rare resource looks at the nodes that have it one by one, if there are so few.
const SCAN_MAX: usize = 32;

/// A table of nodes that demands are placed on. The same sequence of calls always gives the same placements.
#[derive(Debug)]
pub struct View<P> {
    table: NodeTable,
    policy: P,
    cache: RankCache,
    /// The demand that is being placed; kept for its memory.
    demand: Demand,
}

impl<P: Policy> View<P> {
    /// A view without nodes.
    pub fn new(policy: P) -> Self {
        Self { table: NodeTable::default(), policy, cache: RankCache::default(), demand: Demand::default() }
    }

    /// Sets what a node has and drops its placements; adds the node if it is not there.
    ///
    /// # Errors
    /// When it is not there and the view is full; nothing is changed then.
    pub fn report<'k>(
        &mut self,
        node: NodeId,
        resources: impl Iterator<Item = (&'k [u8], Amount)>,
        options: &ViewOptions,
    ) -> Result<(), TooManyNodes> {
        if self.table.len() >= options.nodes_max && !self.table.contains(node) {
            return Err(TooManyNodes);
        }
        self.table.report(node, resources);
        Ok(())
    }

    /// Removes a node; it is no error if it is not there.
    pub fn remove(&mut self, node: NodeId) {
        self.table.remove(node);
    }

    /// Places a demand on the node that ranks first and remembers it there until the node is reported anew.
    /// `None` where no node is feasible, or, strict, none is free.
    #[inline]
    pub fn schedule(&mut self, resources: Resources<'_>, options: &ViewOptions) -> Option<NodeId> {
        let names_generation = self.table.names().generation();
        let class = match self.cache.recall(resources.as_bytes(), names_generation) {
            Some(class) => class,
            None => {
                self.table.resolve(resources, &mut self.demand).ok()?;
                if self.table.rare_candidates(&self.demand).is_some_and(|candidates| candidates.len() <= SCAN_MAX) {
                    return self.schedule_rare(options);
                }
                self.cache.remember(resources.as_bytes(), names_generation, &self.demand)
            }
        };
        let first = self.cache.first(class, &self.table, &self.policy);
        let demand = self.cache.demand(class);
        self.check_first(first, demand);
        let (_, slot) = first.filter(|(rank, _)| !options.strict || rank.is_free())?;
        self.table.place(slot, demand);
        self.table.node(slot).map(Node::id)
    }

    /// Places the demand at hand, which few nodes can be feasible for.
    fn schedule_rare(&mut self, options: &ViewOptions) -> Option<NodeId> {
        let slots = self.table.rare_candidates(&self.demand)?;
        let first = first_of(&self.table, &self.policy, &self.demand, slots);
        self.check_first(first, &self.demand);
        let (_, slot) = first.filter(|(rank, _)| !options.strict || rank.is_free())?;
        self.table.place(slot, &self.demand);
        self.table.node(slot).map(Node::id)
    }

    /// The nodes of the view.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.table.nodes()
    }

    /// In debug builds, checks that the shortcuts have found the same node as a look at every node.
    fn check_first(&self, first: Option<(Rank, Slot)>, demand: &Demand) {
        debug_assert_eq!(first, first_of(&self.table, &self.policy, demand, 0..self.table.slot_count() as Slot));
    }
}

/// The slot that ranks first of some that ascend.
fn first_of(
    table: &NodeTable,
    policy: &impl Policy,
    demand: &Demand,
    slots: impl Iterator<Item = Slot>,
) -> Option<(Rank, Slot)> {
    let ranked = slots.filter_map(|slot| Some((Rank::of(policy, demand, table.node(slot)?)?, slot)));
    ranked.reduce(|best, other| if other.0 > best.0 { other } else { best })
}
