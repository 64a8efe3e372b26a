//! Cached ranks: which node is first for a demand, without looking at every node.
//!
//! Workloads have few distinct demands and repeat them thousands of times. Each distinct demand is a *class*, for
//! which the rank of every node is kept in a flat array, with the greatest rank of each block of nodes in
//! another. A decision ranks again only the nodes that have changed since the class was last asked, and then looks at
//! one rank a block and at one block.

use std::collections::HashMap;

use super::cells::Slot;
use super::changes::Position;
use super::node_table::{Demand, NodeTable};
use super::policy::{Policy, Rank};

/// Slots whose greatest rank is kept together. Blocks are looked at one after the other and so is one block's inside,
/// which is least for the square root of the nodes: of some thousands.
const BLOCK: usize = 64;

/// Classes of a view at most; the one asked longest ago makes room.
const CLASSES_MAX: usize = 256;

/// What a node has that is not feasible. Every rank is greater.
const INFEASIBLE: u64 = 0;

#[derive(Debug)]
struct Class {
    demand: Demand,
    /// By slot, the bits of its rank.
    ranks: Vec<u64>,
    /// By block, the greatest of its ranks.
    blocks: Vec<u64>,
    /// Changes up to here are in the ranks.
    seen: Position,
    /// When it was asked last, in decisions of the cache.
    asked_at: u64,
}

/// The classes of a view.
#[derive(Debug, Default)]
pub struct RankCache {
    classes: Vec<Class>,
    by_demand: HashMap<Demand, usize>,
    decisions: u64,
}

impl RankCache {
    /// The node that ranks first for a demand, ties to the lower slot; `None` where none is feasible.
    #[inline]
    pub fn first(&mut self, table: &NodeTable, policy: &impl Policy, demand: &Demand) -> Option<(Rank, Slot)> {
        self.decisions += 1;
        let index = match self.by_demand.get(demand) {
            Some(&index) => index,
            None => self.insert(demand),
        };
        let class = &mut self.classes[index];
        class.asked_at = self.decisions;
        class.catch_up(table, policy);
        class.first()
    }

    #[cold]
    fn insert(&mut self, demand: &Demand) -> usize {
        let class = Class { demand: demand.clone(), ranks: Vec::new(), blocks: Vec::new(), seen: 0, asked_at: 0 };
        let index = if self.classes.len() < CLASSES_MAX {
            self.classes.push(class);
            self.classes.len() - 1
        } else {
            let oldest = self.classes.iter().enumerate().min_by_key(|(_, class)| class.asked_at);
            let index = oldest.map_or(0, |(index, _)| index);
            let old = std::mem::replace(&mut self.classes[index], class);
            self.by_demand.remove(&old.demand);
            index
        };
        self.by_demand.insert(demand.clone(), index);
        index
    }
}

impl Class {
    #[inline]
    fn catch_up(&mut self, table: &NodeTable, policy: &impl Policy) {
        let changes = table.changes();
        // A slot that the ranks do not have yet has changed, too; the ranks grow with the changes that are remembered.
        match changes.since(self.seen).filter(|_| self.ranks.len() >= table.slot_count()) {
            Some(slots) => {
                for slot in slots {
                    self.set(slot, rank_bits(table, policy, &self.demand, slot));
                }
            }
            None => self.rank_all(table, policy),
        }
        self.seen = changes.end();
    }

    fn rank_all(&mut self, table: &NodeTable, policy: &impl Policy) {
        self.ranks.clear();
        self.ranks.extend((0..table.slot_count() as Slot).map(|slot| rank_bits(table, policy, &self.demand, slot)));
        self.ranks.resize(self.ranks.len().next_multiple_of(BLOCK), INFEASIBLE);
        self.blocks.clear();
        self.blocks.extend(self.ranks.chunks_exact(BLOCK).map(greatest));
    }

    #[inline]
    fn set(&mut self, slot: Slot, rank: u64) {
        let slot = slot as usize;
        let old = std::mem::replace(&mut self.ranks[slot], rank);
        let block = slot / BLOCK;
        if rank >= self.blocks[block] {
            self.blocks[block] = rank;
        } else if old == self.blocks[block] {
            self.blocks[block] = greatest(&self.ranks[block * BLOCK..(block + 1) * BLOCK]);
        }
    }

    #[inline]
    fn first(&self) -> Option<(Rank, Slot)> {
        let rank = greatest(&self.blocks);
        if rank == INFEASIBLE {
            return None;
        }
        let block = self.blocks.iter().position(|&block| block == rank)?;
        let start = block * BLOCK;
        let slot = start + self.ranks[start..start + BLOCK].iter().position(|&other| other == rank)?;
        Some((Rank::from_bits(rank), slot as Slot))
    }
}

#[inline]
fn greatest(ranks: &[u64]) -> u64 {
    ranks.iter().copied().fold(INFEASIBLE, u64::max)
}

#[inline]
fn rank_bits(table: &NodeTable, policy: &impl Policy, demand: &Demand, slot: Slot) -> u64 {
    table.node(slot).and_then(|node| Rank::of(policy, demand, node)).map_or(INFEASIBLE, Rank::bits)
}
