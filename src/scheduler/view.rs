//! A view: one table of nodes, and the placements made on it.

use super::amount::Amount;
use super::cells::Slot;
use super::node_table::{Demand, Node, NodeTable, NotPlaced};
use super::policy::{Policy, Scoring, Selection};
use super::rank::Rank;
use super::rank_cache::RankCache;
use super::selection::Selector;
use super::units::UnitResources;
use crate::wire::NodeId;
use crate::wire::resources::Resources;

/// How a view behaves.
#[derive(Clone, Debug)]
pub struct ViewOptions {
    /// Only free nodes count; else a task may queue on a feasible one.
    pub strict: bool,
    /// Nodes at most.
    pub nodes_max: usize,
    /// Which of the nodes that fit is taken.
    pub policy: Policy,
    /// Resources that come in units, such as devices: see [`units`](super::units).
    pub unit_resources: UnitResources,
}

/// A view has as many nodes as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyNodes;

/// A demand for a rare resource looks at the nodes that have it one by one, if there are so few.
const SCAN_MAX: usize = 32;

/// Resources of the largest demand whose ranks are kept; no real task comes near.
const CACHED_ENTRIES_MAX: usize = 64;

/// A table of nodes that demands are placed on. The same sequence of calls always gives the same placements.
#[derive(Debug)]
pub struct View {
    table: NodeTable,
    cache: RankCache,
    selector: Selector,
    /// The demand that is being placed; kept for its memory.
    demand: Demand,
}

impl View {
    /// A view without nodes.
    pub fn new(options: &ViewOptions) -> Self {
        Self {
            table: NodeTable::new(options.policy, options.unit_resources.clone()),
            cache: RankCache::default(),
            selector: Selector::new(options.policy.parameters()),
            demand: Demand::default(),
        }
    }

    /// Sets what a node has and drops its placements; adds the node if it is not there.
    ///
    /// # Errors
    /// When it is not there and the view is full; nothing is changed then.
    pub fn report<'k>(
        &mut self,
        node: NodeId,
        resources: impl Iterator<Item = (&'k [u8], Amount)> + Clone,
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

    /// Places a demand on a node that the policy chooses and remembers it there until the node is reported anew or
    /// it is released. `None` where no node is feasible, or, strict, none is free.
    #[inline]
    pub fn schedule(&mut self, resources: Resources<'_>, options: &ViewOptions) -> Option<NodeId> {
        self.table.settle();
        let names_generation = self.table.names().generation();
        let class = match self.cache.recall(resources.as_bytes(), names_generation) {
            Some(class) => class,
            None => {
                self.table.resolve(resources, &mut self.demand).ok()?;
                if self.is_rare() || self.demand.entries().len() > CACHED_ENTRIES_MAX {
                    return self.schedule_once(options);
                }
                self.cache.remember(resources.as_bytes(), names_generation, &self.demand, self.table.slot_count())
            }
        };
        let highest = self.cache.highest(class, &self.table)?;
        let demand = self.cache.demand(class);
        self.check_highest(highest, demand);
        let selection = self.table.policy().selection();
        let (rank, slot) = match selection {
            Selection::Highest => highest,
            _ if demand.is_empty() || !highest.0.is_free() => highest,
            _ => self.selector.choose(selection, self.cache.ranks(class), highest),
        };
        if options.strict && !rank.is_free() {
            return None;
        }
        self.table.place(slot, demand);
        self.table.node(slot).map(Node::id)
    }

    /// Ends one placement of a demand on a node.
    ///
    /// # Errors
    /// When the node is not there, or has not so much reserved; nothing is changed then.
    pub fn release(&mut self, node: NodeId, resources: Resources<'_>) -> Result<(), NotPlaced> {
        self.table.settle();
        self.table.resolve(resources, &mut self.demand).map_err(|_| NotPlaced)?;
        self.table.release(node, &self.demand)
    }

    /// The nodes of the view.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.table.nodes()
    }

    /// Whether the demand at hand is best met by looking at the few nodes that have a rare resource. In a small view
    /// every resource is rare, and the policies that learn have to see the demands for them.
    fn is_rare(&self) -> bool {
        let nodes = self.table.len();
        self.table.policy().selection() == Selection::Highest
            && self.table.rare_candidates(&self.demand).is_some_and(|candidates| {
                candidates.len() <= SCAN_MAX && (!self.table.policy().learns() || 2 * candidates.len() <= nodes)
            })
    }

    /// Places the demand at hand without the cache.
    fn schedule_once(&mut self, options: &ViewOptions) -> Option<NodeId> {
        let scoring = self.scoring(&self.demand);
        let highest = match self.table.rare_candidates(&self.demand) {
            Some(slots) => highest_of(&self.table, scoring, slots),
            None => highest_of(&self.table, scoring, 0..self.table.slot_count() as Slot),
        }?;
        self.check_highest(highest, &self.demand);
        let (rank, slot) = highest;
        if options.strict && !rank.is_free() {
            return None;
        }
        self.table.place(slot, &self.demand);
        self.table.node(slot).map(Node::id)
    }

    /// In debug builds, checks that the shortcuts have found the same node as a look at every node. With a policy that
    /// learns some ranks may still be those of an older profile.
    fn check_highest(&self, highest: (Rank, Slot), demand: &Demand) {
        let slots = 0..self.table.slot_count() as Slot;
        if !self.table.policy().learns() {
            debug_assert_eq!(Some(highest), highest_of(&self.table, self.scoring(demand), slots));
        }
    }

    fn scoring<'a>(&'a self, demand: &'a Demand) -> Scoring<'a> {
        Scoring::new(demand, self.cache.profile())
    }
}

/// The slot with the highest rank of some that ascend.
fn highest_of(table: &NodeTable, scoring: Scoring<'_>, slots: impl Iterator<Item = Slot>) -> Option<(Rank, Slot)> {
    let ranked = slots.filter_map(|slot| Some((Rank::of(table.policy(), &scoring, table.node(slot)?)?, slot)));
    ranked.reduce(|best, other| if other.0 > best.0 { other } else { best })
}
