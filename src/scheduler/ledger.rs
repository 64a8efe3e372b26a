//! Who holds which placements in a shared view.
//!
//! Invariant: what is reserved on a node is the sum of what all owners hold there. Entries without a placement are not kept.

use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::RandomState;
use slab::Slab;

use super::amount::Amount;
use super::cells::Slot;
use super::node_table::Demand;
use super::resource_names::ResourceId;

/// Index of an owner in its ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerId(u32);

/// Index of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct ShapeId(u32);

/// A demand that placements were made for.
#[derive(Debug)]
struct Shape {
    demand: Demand,
    placements: u64,
}

/// What an owner holds.
#[derive(Debug, Default)]
struct Holdings {
    /// Its placements of each shape on each node. In order, so that the first is found fast however many there were.
    by_node: BTreeMap<(Slot, ShapeId), u32>,
    placements: u64,
}

/// The placements of a shared view.
#[derive(Debug, Default)]
pub struct Ledger {
    owners: Slab<Holdings>,
    shapes: Slab<Shape>,
    shape_ids: HashMap<Demand, ShapeId, RandomState>,
    /// By slot, who holds what there.
    by_slot: Vec<HashSet<(OwnerId, ShapeId), RandomState>>,
    placements: u64,
}

/// Placements that an owner no longer has.
#[derive(Debug)]
pub struct Taken {
    pub slot: Slot,
    pub demand: Demand,
    pub count: u32,
}

impl Ledger {
    /// A new owner, who holds nothing.
    pub fn add_owner(&mut self) -> OwnerId {
        // Owners are limited to far fewer.
        OwnerId(u32::try_from(self.owners.insert(Holdings::default())).expect("fewer than 2^32 owners"))
    }

    /// Removes an owner who holds nothing.
    pub fn remove_owner(&mut self, owner: OwnerId) {
        let holdings = self.owners.remove(owner.0 as usize);
        debug_assert!(holdings.placements == 0 && holdings.by_node.is_empty());
    }

    /// How many placements an owner holds.
    pub fn placements(&self, owner: OwnerId) -> u64 {
        self.owners[owner.0 as usize].placements
    }

    /// How many placements all owners hold.
    pub fn placements_in_all(&self) -> u64 {
        self.placements
    }

    /// An owner gets a placement.
    pub fn place(&mut self, owner: OwnerId, slot: Slot, demand: &Demand) {
        let shape = self.shape(demand);
        self.shapes[shape.0 as usize].placements += 1;
        let holdings = &mut self.owners[owner.0 as usize];
        holdings.placements += 1;
        self.placements += 1;
        let count = holdings.by_node.entry((slot, shape)).or_default();
        *count += 1;
        if *count == 1 {
            if self.by_slot.len() <= slot as usize {
                self.by_slot.resize_with(slot as usize + 1, HashSet::default);
            }
            self.by_slot[slot as usize].insert((owner, shape));
        }
    }

    /// How many placements of a demand an owner holds on a node.
    pub fn held(&self, owner: OwnerId, slot: Slot, demand: &Demand) -> u32 {
        let shape = self.shape_ids.get(demand);
        let held = shape.and_then(|&shape| self.owners[owner.0 as usize].by_node.get(&(slot, shape)));
        held.copied().unwrap_or(0)
    }

    /// What an owner holds: on which node, of which demand, and how many placements.
    pub fn holdings(&self, owner: OwnerId) -> impl Iterator<Item = (Slot, &Demand, u32)> {
        let by_node = self.owners[owner.0 as usize].by_node.iter();
        by_node.map(|(&(slot, shape), &count)| (slot, &self.shapes[shape.0 as usize].demand, count))
    }

    /// An owner gives back some of the placements of a demand that it holds on a node, which are at least as many.
    pub fn release(&mut self, owner: OwnerId, slot: Slot, demand: &Demand, count: u32) {
        if count > 0 {
            let shape = self.shape_ids[demand];
            self.take(owner, slot, shape, count);
        }
    }

    /// All placements on a node are gone. Returns how many owners and shapes that are.
    pub fn clear_slot(&mut self, slot: Slot) -> usize {
        let Some(held) = self.by_slot.get_mut(slot as usize).map(std::mem::take) else { return 0 };
        for &(owner, shape) in &held {
            let count = self.owners[owner.0 as usize].by_node[&(slot, shape)];
            self.take(owner, slot, shape, count);
        }
        held.len()
    }

    /// Takes all placements of some demand on some node from an owner; `None` where it holds nothing.
    pub fn take_some(&mut self, owner: OwnerId) -> Option<Taken> {
        let (&(slot, shape), &count) = self.owners[owner.0 as usize].by_node.first_key_value()?;
        let demand = self.shapes[shape.0 as usize].demand.clone();
        self.take(owner, slot, shape, count);
        Some(Taken { slot, demand, count })
    }

    fn take(&mut self, owner: OwnerId, slot: Slot, shape: ShapeId, count: u32) {
        let holdings = &mut self.owners[owner.0 as usize];
        holdings.placements -= u64::from(count);
        self.placements -= u64::from(count);
        let held = holdings.by_node.get_mut(&(slot, shape)).expect("it holds what is taken");
        *held -= count;
        if *held == 0 {
            holdings.by_node.remove(&(slot, shape));
            self.by_slot[slot as usize].remove(&(owner, shape));
        }
        let entry = &mut self.shapes[shape.0 as usize];
        entry.placements -= u64::from(count);
        if entry.placements == 0 {
            let entry = self.shapes.remove(shape.0 as usize);
            self.shape_ids.remove(&entry.demand);
        }
    }

    /// The shape of a demand, which is made if there is none.
    fn shape(&mut self, demand: &Demand) -> ShapeId {
        if let Some(&shape) = self.shape_ids.get(demand) {
            return shape;
        }
        let key = self.shapes.insert(Shape { demand: demand.clone(), placements: 0 });
        // Every shape has a placement, and owners and their placements are limited.
        let shape = ShapeId(u32::try_from(key).expect("fewer than 2^32 shapes"));
        self.shape_ids.insert(demand.clone(), shape);
        shape
    }

    /// The sum of what the placements on a node ask for of a resource, or the end of the range.
    pub fn reserved(&self, slot: Slot, id: ResourceId) -> Amount {
        let amounts = self.counts_on(slot).map(|(shape, count)| shape.demand.amount(id).times(count));
        amounts.fold(Amount::ZERO, Amount::saturating_add)
    }

    /// The number of placements on a node by all owners.
    #[cfg(debug_assertions)]
    pub fn placements_on(&self, slot: Slot) -> u32 {
        self.counts_on(slot).map(|(_, count)| count).sum()
    }

    fn counts_on(&self, slot: Slot) -> impl Iterator<Item = (&Shape, u32)> {
        let held = self.by_slot.get(slot as usize).into_iter().flatten();
        held.map(move |&(owner, shape)| {
            (&self.shapes[shape.0 as usize], self.owners[owner.0 as usize].by_node[&(slot, shape)])
        })
    }
}
