//! What a gang asks for, put in order: its different demands, and the nodes for each.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;

use super::draft::Basis;
use super::{GangError, Placement, Step};
use crate::scheduler::amount::Amount;
use crate::scheduler::cells::Slot;
use crate::scheduler::node_table::{Demand, Node, NodeTable};
use crate::scheduler::policy::Scoring;
use crate::scheduler::profile::Profile;
use crate::scheduler::rank::Rank;
use crate::scheduler::resource_names::ResourceId;

/// Ranks that a plan makes at most, and amounts that its drafts copy at most. A rank costs 30 to 250 ns by the policy,
/// so this is up to a second, the longest that other clients of a server might be kept waiting. It is enough for 400
/// different demands over 10,000 nodes.
const WORK_MAX: usize = 1 << 22;

/// Demands that are alike.
#[derive(Debug)]
pub struct Shape {
    demand: Demand,
    /// The index of each demand in the gang.
    members: Vec<usize>,
    /// The index of each resource in [`Gang::resources`], and how much is asked for.
    pub entries: Vec<(usize, Amount)>,
    /// The largest share of any resource that it asks for, of the most that a node has of it.
    pub size: f32,
    /// The nodes that have it in total, the highest rank first; those where it is free come before all others.
    nodes: Vec<Slot>,
    free_nodes: usize,
}

impl Shape {
    /// How many demands there are.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// The nodes that can take a demand, the highest rank first.
    pub fn nodes(&self, basis: Basis) -> &[Slot] {
        match basis {
            Basis::Free => &self.nodes[..self.free_nodes],
            Basis::Total => &self.nodes,
        }
    }
}

/// A gang over the nodes of a table.
#[derive(Debug)]
pub struct Gang<'a> {
    table: &'a NodeTable,
    profile: &'a Profile,
    /// The largest first.
    shapes: Vec<Shape>,
    /// What is asked for at all; first the resources that come in units.
    resources: Vec<ResourceId>,
    demand_count: usize,
}

impl<'a> Gang<'a> {
    /// Finds the shapes of the demands and ranks the nodes for each.
    ///
    /// # Errors
    /// When that would be too much work.
    pub fn new(table: &'a NodeTable, profile: &'a Profile, demands: &[Demand]) -> Result<Self, GangError> {
        let resources = resources_of(table, demands);
        let shapes = shapes_of(table, demands, &resources);
        let mut gang = Self { table, profile, shapes, resources, demand_count: demands.len() };
        let rank_count: usize = gang.shapes.iter().map(|shape| rank_count(table, &shape.demand)).sum();
        let draft_count = rank_count.min(table.slot_count());
        if rank_count > WORK_MAX || gang.resources.len().saturating_mul(draft_count) > WORK_MAX {
            return Err(GangError::TooMuchWork);
        }
        for index in 0..gang.shapes.len() {
            let ranked = gang.ranked(&gang.shapes[index].demand);
            let shape = &mut gang.shapes[index];
            shape.free_nodes = ranked.partition_point(|(rank, _)| rank.is_free());
            shape.nodes = ranked.into_iter().map(|(_, slot)| slot).collect();
        }
        Ok(gang)
    }

    /// The shapes, the largest first.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// What is asked for at all.
    pub fn resources(&self) -> &[ResourceId] {
        &self.resources
    }

    /// How many demands there are.
    pub fn demand_count(&self) -> usize {
        self.demand_count
    }

    /// How many demands there are of each shape.
    pub fn counts(&self) -> Vec<usize> {
        self.shapes.iter().map(Shape::count).collect()
    }

    /// How many slots the table has.
    pub fn slot_count(&self) -> usize {
        self.table.slot_count()
    }

    /// By resource, how much is asked for in all.
    pub fn sums(&self) -> Vec<Amount> {
        let mut sums = vec![Amount::ZERO; self.resources.len()];
        for shape in &self.shapes {
            for &(resource, amount) in &shape.entries {
                let all = amount.units().saturating_mul(shape.count() as i64);
                sums[resource] = sums[resource].saturating_add(Amount::from_units(all));
            }
        }
        sums
    }

    /// The shapes, those with the fewest nodes first.
    pub fn scarcest_first(&self, basis: Basis) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.shapes.len()).collect();
        order.sort_by_key(|&index| self.shapes[index].nodes(basis).len());
        order
    }

    /// The largest fraction of a unit that a shape asks for, above whole units.
    pub fn largest_fraction(&self, shape: usize) -> Amount {
        let entries = self.shapes[shape].entries.iter();
        let of_units = entries.filter(|&&(resource, _)| self.table.is_unit(self.resources[resource]));
        let fractions = of_units.map(|(_, amount)| Amount::from_units(amount.units() % Amount::WHOLE.units()));
        fractions.max().unwrap_or(Amount::ZERO)
    }

    /// A node of the shapes' lists.
    pub fn node(&self, slot: Slot) -> Node<'a> {
        self.table.node(slot).expect("only nodes that are there are ranked")
    }

    /// The nodes that have all that the gang asks for in total, the highest rank first.
    pub fn nodes_for_all(&self) -> Vec<Slot> {
        let sum = Demand::sum(self.shapes.iter().map(|shape| (&shape.demand, shape.count())));
        self.ranked(&sum).into_iter().map(|(_, slot)| slot).collect()
    }

    /// The placements that steps stand for: the demands of a shape in their order.
    pub fn placements(&self, steps: &[Step]) -> Vec<Placement> {
        debug_assert_eq!(steps.len(), self.demand_count);
        let mut members: Vec<_> = self.shapes.iter().map(|shape| shape.members.iter()).collect();
        let placement = |step: &Step| Some(Placement { demand: *members[step.shape].next()?, slot: step.slot });
        steps.iter().filter_map(placement).collect()
    }

    /// The nodes that take placements and have a demand in total, the highest rank first, ties by slot.
    fn ranked(&self, demand: &Demand) -> Vec<(Rank, Slot)> {
        let scoring = Scoring { demand, profile: self.profile, asked: &self.profile.asked(demand) };
        let rank = |slot| Some((Rank::of(self.table.policy(), &scoring, self.table.node(slot)?)?, slot));
        let mut ranked: Vec<(Rank, Slot)> = match self.table.rare_candidates(demand) {
            Some(slots) => slots.filter_map(rank).collect(),
            None => (0..self.table.slot_count() as Slot).filter_map(rank).collect(),
        };
        ranked.sort_unstable_by_key(|&(rank, slot)| (Reverse(rank), slot));
        ranked
    }
}

/// How many nodes have to be ranked for a demand.
fn rank_count(table: &NodeTable, demand: &Demand) -> usize {
    table.rare_candidates(demand).map_or(table.slot_count(), |slots| slots.len())
}

/// What the demands ask for at all; first the resources that come in units.
fn resources_of(table: &NodeTable, demands: &[Demand]) -> Vec<ResourceId> {
    let ids: BTreeSet<ResourceId> = demands.iter().flat_map(Demand::entries).map(|&(id, _)| id).collect();
    let (mut units, others): (Vec<_>, Vec<_>) = ids.into_iter().partition(|&id| table.is_unit(id));
    units.extend(others);
    units
}

/// The shapes of demands without their nodes, the largest first, ties in the order of the gang.
fn shapes_of(table: &NodeTable, demands: &[Demand], resources: &[ResourceId]) -> Vec<Shape> {
    let places: HashMap<ResourceId, usize, RandomState> = resources.iter().copied().zip(0..).collect();
    let mut shapes: Vec<Shape> = Vec::new();
    let mut known: HashMap<&Demand, usize, RandomState> = HashMap::default();
    for (member, demand) in demands.iter().enumerate() {
        let shape = *known.entry(demand).or_insert_with(|| {
            let entries = demand.entries();
            let share = |&(id, amount): &(ResourceId, Amount)| amount.units() as f32 * table.largest_inverse(id);
            shapes.push(Shape {
                demand: demand.clone(),
                members: Vec::new(),
                entries: entries.iter().map(|&(id, amount)| (places[&id], amount)).collect(),
                size: entries.iter().map(share).fold(0.0, f32::max),
                nodes: Vec::new(),
                free_nodes: 0,
            });
            shapes.len() - 1
        });
        shapes[shape].members.push(member);
    }
    shapes.sort_by(|one, other| other.size.total_cmp(&one.size));
    shapes
}
