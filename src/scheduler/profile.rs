//! What demands and nodes look like, as far as a view has seen: what the policies that learn go by.
//!
//! A profile is a snapshot. Demands are counted all the time, and now and then a new profile is made of the counts, a
//! [part](Draft) in each decision: once there are four times as many decisions as at the time before, and at least every
//! [`REFRESH_INTERVAL`]. If it differs enough from the old, scores are brought up to it little by little (see
//! [`RankCache`](super::rank_cache::RankCache)).

mod draft;
mod kinds;

pub use self::draft::Draft;
use self::kinds::Kinds;
use super::amount::Amount;
use super::node_table::{Demand, Node, NodeTable};
use super::policy::NodeTerm;
use super::resource_names::ResourceId;
use super::units::Units;
use crate::prefetch::load;

/// Resources that a profile looks at, at most: those that matter are far fewer.
pub const RESOURCES_MAX: usize = 8;

/// Decisions after which a new profile is made once there are many.
pub const REFRESH_INTERVAL: u64 = 500;

/// Kinds of tasks that a profile looks at, at most: as many as there are classes.
pub const KINDS_MAX: usize = 256;

/// The place of the scarcest resource in a profile.
const SCARCEST: usize = 0;

/// A profile that differs by less is not worth new scores.
const DIFFERENCE_MIN: f32 = 0.1;
const PROSPECT_DIFFERENCE_MIN: f32 = 0.25;

/// One value for each resource of a profile; 0 beyond them.
pub type Vector = [f32; RESOURCES_MAX];

/// What a demand asks for of the resources of a profile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// How much of each; 0 beyond them.
    amounts: [Amount; RESOURCES_MAX],
    /// The same in units.
    units: Vector,
    /// Whether it asks for something, and for these alone.
    is_all: bool,
}

/// What a profile says of a node, whatever the demand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outlook {
    /// What is free there of each resource; less than nothing is nothing.
    amounts: [Amount; RESOURCES_MAX],
    /// The same in units.
    pub free: Vector,
    /// The policy's part of a score.
    pub term: NodeTerm,
    /// Whether the node is free for whatever the free amounts are enough for.
    is_plain: bool,
}

impl Outlook {
    /// Sets what is free on a node of the resources of a profile; beyond them nothing was free before.
    #[inline]
    pub fn set_free(&mut self, profile: &Profile, node: Node<'_>) {
        self.is_plain = !node.is_draining() && !node.has_units_apart();
        let places = self.amounts.iter_mut().zip(&mut self.free);
        for ((amount, units), resource) in places.zip(&profile.resources) {
            let cell = node.cell(resource.id);
            let free = cell.free();
            *amount = free.max(Amount::ZERO);
            *units = amount.units() as f32;
            self.is_plain &= free <= cell.total;
        }
    }

    /// Follows a placement of what is asked for on the node, which was free for it. Returns whether that tells what is free: where it
    /// does not, it has to be [set](Self::set_free) anew.
    #[inline]
    pub fn follow_placement(&mut self, asked: &Asked, node: Node<'_>) -> bool {
        if !self.is_plain {
            return false;
        }
        self.is_plain = !node.has_units_apart();
        for (amount, asked) in self.amounts.iter_mut().zip(&asked.amounts) {
            *amount = Amount::from_units(amount.units() - asked.units());
        }
        for (units, amount) in self.free.iter_mut().zip(&self.amounts) {
            *units = amount.units() as f32;
        }
        true
    }

    /// Whether the node is known to be free for a demand. Where it is not known, it may be.
    #[inline]
    pub fn is_free_for(&self, asked: &Asked) -> bool {
        // Neither is negative, so that the sign of the difference tells, and all signs are looked at together.
        let mut differences = 0;
        for (free, asked) in self.amounts.iter().zip(&asked.amounts) {
            differences |= free.units() - asked.units();
        }
        self.is_plain && asked.is_all && differences >= 0
    }

    /// What would be free with a demand placed there. Floats round what is beyond 2^24 multiples of 1/10,000, such as bytes: a few
    /// of those may seem to be left, or to lack, where none do. Exact amounts have not filled more in replays.
    #[inline]
    pub fn free_after(&self, asked: &Asked) -> Vector {
        let mut after = self.free;
        for (after, asked) in after.iter_mut().zip(&asked.units) {
            let left = *after - asked;
            *after = if left > 0.0 { left } else { 0.0 };
        }
        after
    }
}

/// A resource that matters.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Resource {
    id: ResourceId,
    /// How scarce it is: `D / C`, relative to the scarcest resource, which has 1.
    scarcity: f32,
    /// `D`: what tasks that ask for the scarcest resource ask for of this one, on average, in units.
    typical: f32,
    /// `C`: what all nodes have of it together, in units.
    capacity: f32,
    /// 1 / the most that any node has of it, in units.
    largest_inverse: f32,
}

/// What each formula multiplies free amounts with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Factors {
    /// `1 / D`, how many typical tasks it is enough for; 0 where they do not ask for it.
    tasks: Vector,
    /// Where they do not ask for it, it is enough for infinitely many; else 0.
    unasked: Vector,
    /// `N s / C`.
    stranded: Vector,
    /// `s / m`.
    scarce_free: Vector,
}

/// A snapshot of what demands and nodes look like.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// The scarcest first, then the others that were asked for, then those that were not.
    resources: Vec<Resource>,
    factors: Factors,
    nodes: f32,
    /// 1 / what an average node has of the scarcest resource, in units.
    node_share: f32,
    /// What a typical task takes, as [`Profile::stranded`] counts it: `N Σ_k s_k D_k / C_k`.
    typical_stranded: f32,
    /// All kinds, by how often they are asked for. What does not ask for the scarcest resource counts as
    /// `unrelated`.
    all: Kinds,
    unrelated: f32,
    /// The kinds that ask for most of the scarcest resource, by how much of it each asks for in all.
    common: Kinds,
    prospect: f32,
}

/// How often a demand was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Count<'a> {
    pub demand: &'a Demand,
    pub count: u64,
}

impl Profile {
    /// Makes a profile of a table's nodes and the demands that were counted.
    pub fn new<'a>(table: &NodeTable, counts: impl Iterator<Item = Count<'a>> + Clone) -> Self {
        Draft::default().complete(table, counts)
    }

    /// Loads what scores look at.
    #[inline]
    pub fn prefetch(&self) {
        load(self.factors);
        load(self.prospect);
        load((self.resources.len(), self.common.len()));
    }

    /// Loads what scores look at and [`Profile::prefetch`] has found.
    #[inline]
    pub fn prefetch_lists(&self) {
        load(self.resources.first().copied());
        self.common.prefetch();
    }

    /// Whether there is nothing to go by.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// How many kinds of tasks a score looks at, at most.
    pub fn kinds(&self) -> usize {
        self.common.len().max(self.all.len()).max(kinds::LANES)
    }

    /// Whether it differs from another enough to be worth new scores.
    pub fn differs(&self, other: &Profile) -> bool {
        let far = |one: f32, other: f32| (one - other).abs() > DIFFERENCE_MIN * one.abs().max(other.abs());
        let ids = |profile: &Profile| profile.resources.iter().map(|resource| resource.id).collect::<Vec<_>>();
        if ids(self) != ids(other) || far(self.nodes, other.nodes) {
            return true;
        }
        if (self.prospect - other.prospect).abs() > PROSPECT_DIFFERENCE_MIN {
            return true;
        }
        self.resources.iter().zip(&other.resources).any(|(one, other)| {
            far(one.scarcity, other.scarcity)
                || far(one.typical, other.typical)
                || far(one.capacity, other.capacity)
                || one.largest_inverse != other.largest_inverse
        }) || self.common.differs(&other.common)
            || self.all.differs(&other.all)
    }

    /// What a demand asks for of each resource.
    pub fn asked(&self, demand: &Demand) -> Asked {
        let mut asked = Asked::default();
        let places = asked.amounts.iter_mut().zip(&mut asked.units);
        let mut count = 0;
        for ((amount, units), resource) in places.zip(&self.resources) {
            *amount = demand.amount(resource.id);
            *units = amount.units() as f32;
            count += usize::from(*amount != Amount::ZERO);
        }
        asked.is_all = count > 0 && count == demand.entries().len();
        asked
    }

    /// What is free of the units of the scarcest resource on a node, with a demand placed there or as it is, if it comes in units
    /// and not all of them are whole: else the sum says the same.
    #[inline]
    pub fn scarcest_units(&self, node: Node<'_>, placed: Option<&Demand>) -> Option<Units> {
        let scarcest = self.resources.first()?;
        let mut units = node.units(scarcest.id)?;
        let amount = placed.map_or(Amount::ZERO, |demand| demand.amount(scarcest.id));
        if units.can_host(amount) {
            units.take(amount);
        }
        (!units.are_whole()).then_some(units)
    }

    /// Stranded resources of a node where `free` is free: `N Σ_k s_k (f_k - D_k t) / C_k` with `t = min_k f_k / D_k`,
    /// what the average task that asks for the scarcest resource could never use there.
    #[inline]
    pub fn stranded(&self, free: &Vector) -> f32 {
        sum(&product(&self.factors.stranded, free)) - self.usable(free)
    }

    /// What such tasks could use there, counted alike: `N Σ_k s_k D_k t / C_k`.
    #[inline]
    pub fn usable(&self, free: &Vector) -> f32 {
        let Factors { tasks, unasked, .. } = &self.factors;
        let mut enough_for = product(tasks, free);
        for (enough_for, unasked) in enough_for.iter_mut().zip(unasked) {
            *enough_for += unasked;
        }
        let least = least(&enough_for);
        let tasks = if least.is_finite() { least } else { 0.0 };
        tasks * self.typical_stranded
    }

    /// How likely it is, from 0 to 1, that a node is whole again that is kept from small tasks: 0 where no task has left, or the
    /// cluster is full.
    #[inline]
    pub fn prospect(&self) -> f32 {
        self.prospect
    }

    /// Scarce resources that are free: `Σ_k s_k f_k / m_k`.
    #[inline]
    pub fn scarce_free(&self, free: &Vector) -> f32 {
        sum(&product(&self.factors.scarce_free, free))
    }

    /// Fragmentation of a node where `free` is free: `f_q` of the scarcest resource q times the share of demands
    /// that cannot use it there, because they do not fit or do not ask for q. Where q comes in units, a demand that fits cannot
    /// use those units [of which it takes more](Units::unusable). It is counted in what an average node has of q, and so
    /// compares with what else is counted in nodes, whichever resource q is.
    #[inline]
    pub fn fragmentation(&self, free: &Vector, units: Option<&Units>) -> f32 {
        let scarcest_free = free[SCARCEST];
        if scarcest_free == 0.0 {
            return 0.0;
        }
        let unusable = match units {
            None => scarcest_free * self.all.unfit(free),
            Some(units) => self.all.unusable(free, units),
        };
        (scarcest_free * self.unrelated + unusable) * self.node_share
    }

    /// As [`Profile::fragmentation`] of sums, of the common kinds alone, each with the weight of its demand for q.
    #[inline]
    pub fn common_fragmentation(&self, free: &Vector) -> f32 {
        let scarcest_free = free[SCARCEST];
        if scarcest_free == 0.0 { 0.0 } else { scarcest_free * self.node_share * self.common.unfit(free) }
    }
}

/// A free amount in units; what is beyond is not free.
#[inline]
fn units_of(free: Amount) -> f32 {
    free.units().max(0) as f32
}

/// Products, all at once: loops of a fixed length become vector instructions.
#[inline]
fn product(one: &Vector, other: &Vector) -> Vector {
    let mut product = Vector::default();
    for place in 0..RESOURCES_MAX {
        product[place] = one[place] * other[place];
    }
    product
}

/// All values as one: both halves at once, then neighbours.
#[inline]
fn folded(values: &Vector, fold: impl Fn(f32, f32) -> f32) -> f32 {
    let mut four = [0.0; RESOURCES_MAX / 2];
    for place in 0..four.len() {
        four[place] = fold(values[place], values[place + four.len()]);
    }
    fold(fold(four[0], four[1]), fold(four[2], four[3]))
}

#[inline]
fn sum(values: &Vector) -> f32 {
    folded(values, |one, other| one + other)
}

#[inline]
fn least(values: &Vector) -> f32 {
    folded(values, |one, other| if one < other { one } else { other })
}

impl Resource {
    fn of(table: &NodeTable, id: ResourceId) -> Self {
        let capacity = table.capacity(id) as f32;
        Self { id, scarcity: 0.0, typical: 0.0, capacity, largest_inverse: table.largest_inverse(id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::node_table::Placements;
    use crate::scheduler::policy::Policy;
    use crate::scheduler::rank::Tier;
    use crate::scheduler::units::UnitResources;
    use crate::wire::NodeId;

    #[test]
    fn a_node_that_is_known_to_be_free_is_free() {
        type List<'a> = &'a [(&'a str, f64)];
        fn on_wire<'a>(list: List<'a>) -> impl Iterator<Item = (&'a [u8], Amount)> + Clone {
            list.iter().map(|&(name, value)| (name.as_bytes(), Amount::from_f64(value)))
        }
        // Available, in total, placed, whether draining, asked for, whether the node is known to be free for that.
        let cases: [(List, List, List, bool, List, bool); 9] = [
            (&[("CPU", 4.0)], &[("CPU", 4.0)], &[], false, &[("CPU", 4.0)], true),
            (&[("CPU", 4.0)], &[("CPU", 4.0)], &[], false, &[("CPU", 4.0001)], false),
            (&[("CPU", 4.0)], &[("CPU", 4.0)], &[("CPU", 1.0)], false, &[("CPU", 4.0)], false),
            (&[("CPU", 4.0)], &[("CPU", 4.0)], &[("CPU", 1.0)], false, &[("CPU", 3.0)], true),
            (&[("CPU", 4.0)], &[("CPU", 4.0)], &[], true, &[("CPU", 1.0)], false),
            // What is available is more than there is.
            (&[("CPU", 4.0)], &[("CPU", 2.0)], &[], false, &[("CPU", 1.0)], false),
            // Half of each of two units is free: no whole one.
            (&[("GPU", 2.0)], &[("GPU", 2.0)], &[("GPU", 0.6), ("GPU", 0.6)], false, &[("GPU", 0.5)], false),
            // A resource that is not in the profile, and nothing at all.
            (&[("CPU", 4.0), ("x", 1.0)], &[("CPU", 4.0), ("x", 1.0)], &[], false, &[("CPU", 1.0), ("x", 1.0)], false),
            (&[("CPU", 4.0)], &[("CPU", 4.0)], &[], false, &[], false),
        ];
        for (case, (available, total, placed, is_draining, asked, is_known)) in cases.into_iter().enumerate() {
            let policy = Policy::default();
            let mut table = NodeTable::new(policy, UnitResources::named(["GPU"]));
            assert_eq!(table.update(NodeId(1), on_wire(available), on_wire(total), Placements::Dropped), Ok(0));
            // The profile has seen a task that asks for the first resource alone.
            let mut demand = Demand::default();
            assert_eq!(table.resolve(on_wire(&total[..1]), &mut demand), Ok(()));
            let mut profile = Profile::new(&table, [Count { demand: &demand, count: 1 }].into_iter());
            profile.resources.truncate(1);
            for placed in placed {
                assert_eq!(table.resolve(on_wire(&[*placed]), &mut demand), Ok(()));
                table.place(0, &demand);
            }
            assert!(table.set_draining(NodeId(1), is_draining));
            assert_eq!(table.resolve(on_wire(asked), &mut demand), Ok(()));
            let node = table.node(0).expect("it is there");
            let outlook = policy.outlook(&profile, node);
            assert_eq!(outlook.is_free_for(&profile.asked(&demand)), is_known, "case {case}");
            assert!(!is_known || Tier::of(&demand, node) == Some(Tier::FREE), "case {case}");
        }
    }

    #[test]
    fn whole_nodes_have_a_prospect_where_tasks_leave_and_there_is_room() {
        // How many of 100 CPUs are allocated, how many were asked for, what is expected.
        let cases: [(u64, u64, f32); 9] = [
            (0, 10, 1.0),
            // Nothing has left, or hardly anything.
            (50, 50, 0.0),
            (90, 100, 0.0),
            (65, 100, 1.0),
            (80, 100, 0.4),
            // More than is remembered.
            (50, 10, 1.0),
            // The cluster fills up.
            (93, 1_000, 1.0),
            (95, 1_000, 0.5),
            (99, 1_000, 0.0),
        ];
        for (allocated, asked, expected) in cases {
            let mut table = NodeTable::new(Policy::default(), UnitResources::default());
            let reported = table.report(NodeId(1), [(&b"CPU"[..], Amount::from_f64(100.0))].into_iter());
            assert!(reported.is_ok());
            let mut demand = Demand::default();
            let known = table.resolve([(&b"CPU"[..], Amount::WHOLE)].into_iter(), &mut demand);
            assert_eq!(known, Ok(()));
            (0..allocated).for_each(|_| table.place(0, &demand));
            table.settle();
            let count = Count { demand: &demand, count: asked };
            let prospect = Profile::new(&table, [count].into_iter()).prospect();
            assert!((prospect - expected).abs() < 1e-3, "{allocated} of {asked}: {prospect}");
        }
    }
}
