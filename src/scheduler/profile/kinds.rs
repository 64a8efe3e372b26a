//! Kinds of tasks, compared with what is free on a node.

use super::{DIFFERENCE_MIN, RESOURCES_MAX, Resource, SCARCEST, Vector, sum, units_of};
use crate::prefetch::load;
use crate::scheduler::amount::Amount;
use crate::scheduler::node_table::Demand;
use crate::scheduler::units::Units;

/// Kinds that are compared at once; as many as a [`Vector`] has values.
pub const LANES: usize = RESOURCES_MAX;

/// Kinds of tasks with a weight each, in groups of lanes: by resource what each kind asks for, so that one resource is
/// compared with several kinds at once. Lanes without a kind have no weight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kinds {
    groups: Vec<Group>,
    /// The most that any of them asks for.
    largest: Vector,
    /// How many resources are in use.
    resources: usize,
    /// Each kind's place among those that were counted, ascending, to tell the same kind in another profile.
    places: Vec<usize>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Group {
    amounts: [[f32; LANES]; RESOURCES_MAX],
    weights: [f32; LANES],
}

impl Kinds {
    /// How many are compared, lanes without a kind among them.
    #[inline]
    pub fn len(&self) -> usize {
        LANES * self.groups.len()
    }

    /// Loads what comparisons look at.
    #[inline]
    pub fn prefetch(&self) {
        for group in &self.groups {
            load((group.amounts[0][0], group.weights[0]));
        }
    }

    /// Adds a kind, which asks for some of these resources.
    pub fn push(&mut self, place: usize, resources: &[Resource], demand: &Demand, weight: f32) {
        let lane = self.places.len() % LANES;
        if lane == 0 {
            self.groups.push(Group::default());
        }
        if let Some(group) = self.groups.last_mut() {
            let places = group.amounts.iter_mut().zip(&mut self.largest);
            for ((amounts, largest), resource) in places.zip(resources) {
                amounts[lane] = demand.amount(resource.id).units() as f32;
                *largest = largest.max(amounts[lane]);
            }
            group.weights[lane] = weight;
        }
        self.places.push(place);
        self.resources = resources.len();
    }

    /// What the kinds cannot use of the units of the scarcest resource, by their weights.
    pub fn unusable(&self, free: &Vector, units: &Units) -> f32 {
        let kinds = self.groups.iter().flat_map(|group| (0..LANES).map(move |lane| (group, lane)));
        let unusable = kinds.map(|(group, lane)| {
            let demanded = Amount::from_units(group.amounts[SCARCEST][lane] as i64);
            let amounts = group.amounts[..self.resources].iter().map(|amounts| amounts[lane]);
            let fits = amounts.zip(free).all(|(amount, free)| amount <= *free) && units.can_host(demanded);
            let unusable = if fits { units_of(units.unusable(demanded)) } else { free[SCARCEST] };
            group.weights[lane] * unusable
        });
        unusable.sum()
    }

    /// The weight of the kinds that do not fit into what is free.
    #[inline]
    pub fn unfit(&self, free: &Vector) -> f32 {
        // A node with room often has it for every kind.
        if is_any_greater(&self.largest, free) { self.sum_unfit(free) } else { 0.0 }
    }

    fn sum_unfit(&self, free: &Vector) -> f32 {
        let mut unfit = [0.0; LANES];
        for group in &self.groups {
            // All bits of a lane are set where the kind lacks something: so the lanes are compared at once.
            let mut lacks = [0; LANES];
            for (amounts, free) in group.amounts[..self.resources].iter().zip(free) {
                for (lacks, amount) in lacks.iter_mut().zip(amounts) {
                    *lacks |= if amount > free { u32::MAX } else { 0 };
                }
            }
            for (unfit, (lacks, weight)) in unfit.iter_mut().zip(lacks.iter().zip(&group.weights)) {
                *unfit += f32::from_bits(lacks & weight.to_bits());
            }
        }
        sum(&unfit)
    }

    fn weight(&self, index: usize) -> f32 {
        self.groups[index / LANES].weights[index % LANES]
    }

    /// Whether the weights of the kinds, together, differ by more than is tolerable.
    pub fn differs(&self, other: &Kinds) -> bool {
        let (mut mine, mut theirs, mut difference) = (0, 0, 0.0);
        while mine < self.places.len() || theirs < other.places.len() {
            let place = |kinds: &Kinds, index: usize| kinds.places.get(index).copied().unwrap_or(usize::MAX);
            let (my_place, their_place) = (place(self, mine), place(other, theirs));
            let (mut my_weight, mut their_weight) = (0.0, 0.0);
            if my_place <= their_place {
                my_weight = self.weight(mine);
                mine += 1;
            }
            if their_place <= my_place {
                their_weight = other.weight(theirs);
                theirs += 1;
            }
            difference += (my_weight - their_weight).abs();
        }
        difference > DIFFERENCE_MIN
    }
}

/// Whether a value is greater than the other's; looks at all of them together.
#[inline]
fn is_any_greater(one: &Vector, other: &Vector) -> bool {
    let mut greater = false;
    for place in 0..RESOURCES_MAX {
        greater |= one[place] > other[place];
    }
    greater
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::node_table::NodeTable;
    use crate::scheduler::policy::Policy;
    use crate::scheduler::units::UnitResources;
    use crate::wire::NodeId;

    #[test]
    fn kinds_that_do_not_fit_are_all_counted() {
        let mut table = NodeTable::new(Policy::default(), UnitResources::default());
        let names: [&[u8]; 2] = [b"CPU", b"GPU"];
        let on_wire = |amounts: [i64; 2]| names.into_iter().zip(amounts.map(Amount::from_units));
        assert_eq!(table.report(NodeId(1), on_wire([10, 10])), Ok(()));
        let resources = names.map(|name| Resource::of(&table, table.names().get(name).expect("it is known")));
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..100 {
            // More than a group.
            let amounts: Vec<[i64; 2]> = (0..LANES + 4).map(|_| [random.i64(0..9), random.i64(0..9)]).collect();
            let mut kinds = Kinds::default();
            for (place, &amounts) in amounts.iter().enumerate() {
                let mut demand = Demand::default();
                assert_eq!(table.resolve(on_wire(amounts), &mut demand), Ok(()));
                kinds.push(place, &resources, &demand, (1 << place) as f32);
            }
            for free in (0..10).flat_map(|cpu| (0..10).map(move |gpu| [cpu, gpu])) {
                let mut vector = Vector::default();
                (vector[0], vector[1]) = (free[0] as f32, free[1] as f32);
                let is_unfit = |place: &usize| amounts[*place][0] > free[0] || amounts[*place][1] > free[1];
                let expected: i64 = (0..amounts.len()).filter(is_unfit).map(|place| 1 << place).sum();
                assert_eq!(kinds.unfit(&vector), expected as f32, "{amounts:?} {free:?}");
            }
        }
    }
}
