//! Who holds which placements in a shared view.
//!
//! Invariant: what is reserved on a node is the sum of what all owners hold there. Entries without a placement are not kept.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use slab::Slab;

use super::cells::Slot;
use super::node_table::Demand;

/// Index of an owner in its ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerId(u32);

/// Index of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// The number of placements on each node where there are any.
    by_slot: HashMap<Slot, u32, RandomState>,
    placements: u64,
}

/// The placements on a node: how many of each shape each owner holds.
type Placements = HashMap<(OwnerId, ShapeId), u32, RandomState>;

/// The placements of a shared view.
#[derive(Debug, Default)]
pub struct Ledger {
    owners: Slab<Holdings>,
    shapes: Slab<Shape>,
    shape_ids: HashMap<Demand, ShapeId, RandomState>,
    by_slot: Vec<Placements>,
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
        debug_assert_eq!(holdings.placements, 0);
    }

    /// How many placements an owner holds.
    pub fn placements(&self, owner: OwnerId) -> u64 {
        self.owners[owner.0 as usize].placements
    }

    /// An owner gets a placement.
    pub fn place(&mut self, owner: OwnerId, slot: Slot, demand: &Demand) {
        let shape = self.shape(demand);
        self.shapes[shape.0 as usize].placements += 1;
        if self.by_slot.len() <= slot as usize {
            self.by_slot.resize_with(slot as usize + 1, Placements::default);
        }
        *self.by_slot[slot as usize].entry((owner, shape)).or_default() += 1;
        let holdings = &mut self.owners[owner.0 as usize];
        *holdings.by_slot.entry(slot).or_default() += 1;
        holdings.placements += 1;
    }

    /// How many placements of a demand an owner holds on a node.
    pub fn held(&self, owner: OwnerId, slot: Slot, demand: &Demand) -> u32 {
        let held = || self.by_slot.get(slot as usize)?.get(&(owner, *self.shape_ids.get(demand)?)).copied();
        held().unwrap_or(0)
    }

    /// An owner gives back some of the placements of a demand that it holds on a node, which are at least as many.
    pub fn release(&mut self, owner: OwnerId, slot: Slot, demand: &Demand, count: u32) {
        if count > 0 {
            let shape = self.shape_ids[demand];
            self.take(owner, slot, shape, count);
        }
    }

    /// All placements on a node are gone.
    pub fn clear_slot(&mut self, slot: Slot) {
        let Some(placements) = self.by_slot.get(slot as usize) else { return };
        for ((owner, shape), count) in placements.clone() {
            self.take(owner, slot, shape, count);
        }
    }

    /// Takes all placements of an owner on some node away, and gives each demand with its number to `released`. Returns the
    /// node's slot; `None` where the owner holds nothing.
    pub fn clear_some(&mut self, owner: OwnerId, mut released: impl FnMut(Slot, &Demand, u32)) -> Option<Slot> {
        let &slot = self.owners[owner.0 as usize].by_slot.keys().next()?;
        let placements = self.by_slot[slot as usize].iter().filter(|((other, _), _)| *other == owner);
        for (shape, count) in placements.map(|(&(_, shape), &count)| (shape, count)).collect::<Vec<_>>() {
            released(slot, &self.shapes[shape.0 as usize].demand, count);
            self.take(owner, slot, shape, count);
        }
        Some(slot)
    }

    fn take(&mut self, owner: OwnerId, slot: Slot, shape: ShapeId, count: u32) {
        reduce(&mut self.by_slot[slot as usize], (owner, shape), count);
        let holdings = &mut self.owners[owner.0 as usize];
        reduce(&mut holdings.by_slot, slot, count);
        holdings.placements -= u64::from(count);
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

    /// The number of placements on a node by all owners.
    #[cfg(debug_assertions)]
    pub fn placements_on(&self, slot: Slot) -> u32 {
        self.by_slot.get(slot as usize).map_or(0, |placements| placements.values().sum())
    }
}

/// Reduces a count, which goes when nothing is left of it.
fn reduce<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32, RandomState>, key: K, by: u32) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= by;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
