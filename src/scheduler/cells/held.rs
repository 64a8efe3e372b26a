//! Which resources each node has.

use std::slice;

use smallvec::SmallVec;

use super::Slot;
use crate::scheduler::resource_names::ResourceId;
use crate::scheduler::room;

/// The resources of each node, by slot. Most nodes have one sparse resource: their own address.
#[derive(Debug, Default)]
pub struct Held {
    nodes: Vec<HeldByNode>,
    /// Of those that have or had several. A slot keeps its list, for its memory.
    lists: Vec<SmallVec<[ResourceId; 4]>>,
}

#[derive(Debug, Default)]
struct HeldByNode {
    /// Number of cells that are not empty.
    count: u32,
    /// The sparse resources among them.
    sparse: SparseIds,
}

#[derive(Clone, Copy, Debug, Default)]
enum SparseIds {
    #[default]
    None,
    One(ResourceId),
    /// So many as there are in the list of this index.
    Listed(u32),
}

impl Held {
    /// Number of slots.
    #[inline]
    pub fn slot_count(&self) -> usize {
        self.nodes.len()
    }

    /// Adds a slot whose node has nothing.
    pub fn push_slot(&mut self) {
        room::push(&mut self.nodes, HeldByNode::default());
    }

    /// Number of resources that a node has.
    #[inline]
    pub fn count(&self, slot: Slot) -> usize {
        self.nodes[slot as usize].count as usize
    }

    /// That number, to change.
    #[inline]
    pub fn count_mut(&mut self, slot: Slot) -> &mut u32 {
        &mut self.nodes[slot as usize].count
    }

    /// The sparse resources that a node has.
    #[inline]
    pub fn sparse(&self, slot: Slot) -> &[ResourceId] {
        match &self.nodes[slot as usize].sparse {
            SparseIds::None => &[],
            SparseIds::One(id) => slice::from_ref(id),
            SparseIds::Listed(list) => &self.lists[*list as usize],
        }
    }

    /// Adds to a node's sparse resources.
    pub fn push_sparse(&mut self, slot: Slot, id: ResourceId) {
        let sparse = &mut self.nodes[slot as usize].sparse;
        match *sparse {
            SparseIds::None => *sparse = SparseIds::One(id),
            SparseIds::One(first) => {
                *sparse = SparseIds::Listed(self.lists.len() as u32);
                self.lists.push(SmallVec::from_slice(&[first, id]));
            }
            SparseIds::Listed(list) => self.lists[list as usize].push(id),
        }
    }

    /// Takes one of a node's sparse resources off.
    pub fn remove_sparse(&mut self, slot: Slot, id: ResourceId) {
        let sparse = &mut self.nodes[slot as usize].sparse;
        match *sparse {
            SparseIds::One(other) if other == id => *sparse = SparseIds::None,
            SparseIds::Listed(list) => self.lists[list as usize].retain(|other| *other != id),
            SparseIds::None | SparseIds::One(_) => {}
        }
    }

    /// The node has nothing any more.
    pub fn clear(&mut self, slot: Slot) {
        let node = &mut self.nodes[slot as usize];
        node.count = 0;
        match node.sparse {
            SparseIds::Listed(list) => self.lists[list as usize].clear(),
            SparseIds::None | SparseIds::One(_) => node.sparse = SparseIds::None,
        }
    }
}
