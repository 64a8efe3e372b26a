//! A profile in the making, a part in each decision.

use std::cmp::Reverse;
use std::ops::Range;

use super::{Count, KINDS_MAX, Profile, RESOURCES_MAX, Resource, SCARCEST, units_of};
use crate::scheduler::amount::Amount;
use crate::scheduler::cells::Slot;
use crate::scheduler::node_table::{Demand, NodeTable};
use crate::scheduler::resource_names::ResourceId;

/// Kinds, or nodes, that a part looks at: a few microseconds' worth. All kinds are looked at in each of four stages.
const LOOKED_AT_PER_PART: usize = 64;

/// Share of the demand for the scarcest resource that the common kinds make up.
const COMMON_SHARE: f32 = 0.95;

/// Nodes that a profile looks at to see how much is allocated, at most.
const SAMPLED_NODES_MAX: usize = 512;

/// Allocated shares of the scarcest resource between which the [prospect](Profile::prospect) goes from all to nothing: a
/// cluster that is fuller hardly ever has a large node to keep whole.
const FULL_FROM: f32 = 0.93;
const FULL_TO: f32 = 0.97;

/// Shares of what was asked for that must have left again for any [prospect](Profile::prospect) and for the whole.
const TURNOVER_FROM: f32 = 0.1;
const TURNOVER_TO: f32 = 0.35;

/// A profile in the making. What was asked for is copied first, so that all stages see the same.
#[derive(Debug, Default)]
pub struct Draft {
    stage: Stage,
    /// Kinds, or nodes, that the stage has looked at.
    done: usize,
    /// The first `kinds` of these count; the others are kept for their memory.
    counted: Vec<Counted>,
    kinds: usize,
    profile: Profile,
    /// Of each resource, what was asked for, as a share of what there is.
    asked: Vec<(ResourceId, f64)>,
    /// How many demands were counted, and how many of them ask for the scarcest resource.
    count: f32,
    count_asking: f32,
    /// The places of kinds that ask for the scarcest resource, with how much of it each asks for in all.
    volumes: Vec<(f32, usize)>,
    /// What was asked for of the scarcest resource, in units.
    scarcest_asked: f64,
    /// What sampled nodes have of the scarcest resource, in units.
    scarcest_free: f32,
    scarcest_total: f32,
}

/// What is made of a kind that was counted.
#[derive(Debug, Default)]
struct Counted {
    demand: Demand,
    count: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Stage {
    /// Copies the kinds, and finds the resources that were asked for.
    #[default]
    Resources,
    /// Finds what a typical task asks for.
    Typical,
    /// Adds all kinds to the profile.
    All,
    /// Adds the common kinds to it.
    Common,
    /// Samples how much is allocated.
    Nodes,
    /// Adds what is left, and is done.
    Rest,
}

impl Draft {
    /// Makes a further part of a profile of a table's nodes and the demands that were counted. Returns the profile once it is made,
    /// and then starts over.
    pub fn proceed<'a>(&mut self, table: &NodeTable, counts: impl Iterator<Item = Count<'a>>) -> Option<Profile> {
        let mut left = LOOKED_AT_PER_PART;
        if self.stage == Stage::Resources {
            left = self.find_resources(table, counts, left);
        }
        while left > 0 {
            let end = match self.stage {
                Stage::Typical | Stage::All => self.kinds,
                Stage::Common => self.volumes.len(),
                Stage::Nodes => table.slot_count().div_ceil(stride(table)),
                Stage::Resources | Stage::Rest => return Some(self.finish(table)),
            };
            let start = self.done;
            self.done = end.min(start + left);
            let part = start..self.done;
            match self.stage {
                Stage::Typical => part.for_each(|place| self.add_typical(place)),
                Stage::All => part.for_each(|place| self.add_to_all(place)),
                Stage::Common => part.for_each(|index| self.add_to_common(index)),
                _ => self.add_nodes(table, part),
            }
            left -= self.done.saturating_sub(start);
            if self.done >= end {
                self.end_stage();
            }
        }
        None
    }

    /// Makes the whole profile, or what is left to make of it.
    pub fn complete<'a>(&mut self, table: &NodeTable, counts: impl Iterator<Item = Count<'a>> + Clone) -> Profile {
        loop {
            if let Some(profile) = self.proceed(table, counts.clone()) {
                return profile;
            }
        }
    }

    /// Copies at most so many kinds, and adds up what they ask for. Returns how many fewer than these there were.
    fn find_resources<'a>(
        &mut self,
        table: &NodeTable,
        counts: impl Iterator<Item = Count<'a>>,
        mut left: usize,
    ) -> usize {
        for Count { demand, count } in counts.take(KINDS_MAX).skip(self.kinds).take(left) {
            left -= 1;
            if self.kinds == self.counted.len() {
                self.counted.push(Counted::default());
            }
            let counted = &mut self.counted[self.kinds];
            counted.demand.clone_from(demand);
            counted.count = count;
            self.kinds += 1;
            self.count += count as f32;
            for &(id, amount) in demand.entries() {
                let capacity = table.capacity(id);
                if capacity <= 0.0 {
                    continue;
                }
                let share = amount.units() as f64 * count as f64 / capacity;
                match self.asked.iter_mut().find(|(other, _)| *other == id) {
                    Some((_, sum)) => *sum += share,
                    None => self.asked.push((id, share)),
                }
            }
        }
        if left > 0 {
            // The scarcest is the one with the greatest demand for what there is; the most asked for stay where there are too
            // many.
            self.asked.sort_by(|one, other| other.1.total_cmp(&one.1));
            self.asked.truncate(RESOURCES_MAX);
            self.profile.nodes = table.len() as f32;
            // Nodes may have left since.
            let asked = self.asked.drain(..).filter(|(id, _)| table.capacity(*id) > 0.0);
            self.profile.resources = asked.map(|(id, _)| Resource::of(table, id)).collect();
            self.stage = if self.profile.resources.is_empty() { Stage::Rest } else { Stage::Typical };
        }
        left
    }

    fn end_stage(&mut self) {
        self.done = 0;
        self.stage = match self.stage {
            Stage::Typical => {
                self.find_scarcity();
                Stage::All
            }
            Stage::All => {
                self.find_common();
                Stage::Common
            }
            Stage::Common => Stage::Nodes,
            _ => Stage::Rest,
        };
    }

    fn scarcest(&self) -> ResourceId {
        self.profile.resources[SCARCEST].id
    }

    fn add_typical(&mut self, place: usize) {
        let Counted { demand, count } = &self.counted[place];
        let asked = demand.amount(self.profile.resources[SCARCEST].id);
        if asked == Amount::ZERO {
            return;
        }
        self.count_asking += *count as f32;
        self.scarcest_asked += *count as f64 * asked.units() as f64;
        for resource in &mut self.profile.resources {
            resource.typical += demand.amount(resource.id).units() as f32 * *count as f32;
        }
    }

    fn find_scarcity(&mut self) {
        let resources = &mut self.profile.resources;
        for resource in resources.iter_mut() {
            resource.typical /= f32::max(self.count_asking, 1.0);
            resource.scarcity = resource.typical / resource.capacity;
        }
        let greatest = resources.iter().map(|resource| resource.scarcity).fold(0.0, f32::max);
        for resource in resources {
            resource.scarcity /= greatest.max(f32::MIN_POSITIVE);
        }
    }

    fn add_to_all(&mut self, place: usize) {
        let Counted { demand, count } = &self.counted[place];
        let asked = demand.amount(self.scarcest());
        let weight = *count as f32 / self.count.max(1.0);
        if asked == Amount::ZERO {
            self.profile.unrelated += weight;
            return;
        }
        self.profile.all.push(place, &self.profile.resources, demand, weight);
        self.volumes.push((asked.units() as f32 * *count as f32, place));
    }

    /// Keeps the volumes of those kinds that ask for most of the scarcest resource.
    fn find_common(&mut self) {
        self.volumes.sort_unstable_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        let total: f32 = self.volumes.iter().map(|(volume, _)| volume).sum();
        let mut sum = 0.0;
        let common = self.volumes.iter().take_while(|(volume, _)| {
            let is_common = sum < COMMON_SHARE * total;
            sum += volume;
            is_common
        });
        self.volumes.truncate(common.count());
        self.volumes.sort_unstable_by_key(|(_, place)| *place);
        // From here on as shares.
        let total: f32 = self.volumes.iter().map(|(volume, _)| volume).sum();
        self.volumes.iter_mut().for_each(|(volume, _)| *volume /= total.max(f32::MIN_POSITIVE));
    }

    fn add_to_common(&mut self, index: usize) {
        let (weight, place) = self.volumes[index];
        self.profile.common.push(place, &self.profile.resources, &self.counted[place].demand, weight);
    }

    /// Adds nodes of the sample; vacant slots have nothing.
    fn add_nodes(&mut self, table: &NodeTable, sample: Range<usize>) {
        let (scarcest, stride) = (self.scarcest(), stride(table));
        for index in sample {
            let cell = table.cell((index * stride) as Slot, scarcest);
            self.scarcest_free += units_of(cell.free());
            self.scarcest_total += units_of(cell.total);
        }
    }

    /// Adds what takes no time, and starts over.
    fn finish(&mut self, table: &NodeTable) -> Profile {
        if let Some(scarcest) = self.profile.resources.first() {
            self.profile.node_share = self.profile.nodes / scarcest.capacity;
            self.find_prospect();
        }
        self.add_unasked(table);
        self.find_factors();
        self.volumes.clear();
        let draft = std::mem::take(self);
        (self.counted, self.volumes) = (draft.counted, draft.volumes);
        draft.profile
    }

    fn find_prospect(&mut self) {
        let total = self.scarcest_total;
        let allocated = if total > 0.0 { (1.0 - self.scarcest_free / total).max(0.0) } else { 0.0 };
        let asked = (self.scarcest_asked / f64::from(self.profile.resources[SCARCEST].capacity)) as f32;
        let turnover = match 1.0 - allocated / asked.max(f32::MIN_POSITIVE) {
            // More is allocated than was asked for, as far as that is remembered.
            turnover if turnover < -TURNOVER_FROM => 1.0,
            turnover => ((turnover - TURNOVER_FROM) / (TURNOVER_TO - TURNOVER_FROM)).clamp(0.0, 1.0),
        };
        let room = ((FULL_TO - allocated) / (FULL_TO - FULL_FROM)).clamp(0.0, 1.0);
        self.profile.prospect = turnover * room;
    }

    /// Adds resources that nobody has asked for yet. They are taken for as scarce as the scarcest, so that tasks keep
    /// away from them as long as they can.
    fn add_unasked(&mut self, table: &NodeTable) {
        let resources = &mut self.profile.resources;
        let is_unasked =
            |id: &ResourceId| table.capacity(*id) > 0.0 && resources.iter().all(|resource| resource.id != *id);
        let mut ids: Vec<ResourceId> = table.common_resources().filter(is_unasked).collect();
        ids.sort_by_key(|id| (Reverse(table.holders(*id)), *id));
        let unasked = ids.into_iter().map(|id| Resource { scarcity: 1.0, ..Resource::of(table, id) });
        resources.extend(unasked);
        resources.truncate(RESOURCES_MAX);
    }

    fn find_factors(&mut self) {
        let Profile { resources, factors, nodes, typical_stranded, .. } = &mut self.profile;
        factors.unasked = [f32::INFINITY; RESOURCES_MAX];
        for (place, resource) in resources.iter().enumerate() {
            if resource.typical > 0.0 {
                (factors.tasks[place], factors.unasked[place]) = (1.0 / resource.typical, 0.0);
            }
            factors.stranded[place] = *nodes * resource.scarcity / resource.capacity;
            factors.scarce_free[place] = resource.scarcity * resource.largest_inverse;
            *typical_stranded += factors.stranded[place] * resource.typical;
        }
    }
}

/// How many slots there are to each node of the sample.
fn stride(table: &NodeTable) -> usize {
    table.slot_count().div_ceil(SAMPLED_NODES_MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::policy::Policy;
    use crate::scheduler::units::UnitResources;
    use crate::wire::NodeId;

    #[test]
    fn a_profile_made_in_parts_is_the_one_made_at_once() {
        const NODES: usize = 2 * SAMPLED_NODES_MAX;
        let mut table = NodeTable::new(Policy::default(), UnitResources::default());
        for node in 0..NODES {
            let resources = [(&b"CPU"[..], Amount::from_f64(64.0)), (&b"GPU"[..], Amount::from_f64((node % 3) as f64))];
            assert!(table.report(NodeId(node as i64), resources.into_iter()).is_ok());
        }
        let demand = |kind: usize| {
            let mut demand = Demand::default();
            let gpus = Amount::from_f64((kind % 4) as f64);
            let resources = [(&b"CPU"[..], Amount::from_f64(1.0 + kind as f64 / 8.0)), (&b"GPU"[..], gpus)];
            assert_eq!(table.resolve(resources.into_iter(), &mut demand), Ok(()));
            demand
        };
        let mut draft = Draft::default();
        // A draft that is used again has the memory of the one before, and nothing else of it.
        for kinds in [KINDS_MAX, 3, 2 * LOOKED_AT_PER_PART, 100] {
            let demands: Vec<Demand> = (0..kinds).map(demand).collect();
            let counts = || (1..).zip(&demands).map(|(count, demand)| Count { demand, count });
            let mut parts = 1;
            let made = loop {
                match draft.proceed(&table, counts()) {
                    Some(profile) => break profile,
                    None => parts += 1,
                }
            };
            assert_eq!(format!("{made:?}"), format!("{:?}", Profile::new(&table, counts())));
            assert!(parts > (2 * kinds + SAMPLED_NODES_MAX) / LOOKED_AT_PER_PART, "{kinds} kinds in {parts} parts");
        }
    }

    #[test]
    fn nodes_that_leave_while_a_profile_is_made_are_not_in_it() {
        let mut table = NodeTable::new(Policy::default(), UnitResources::default());
        let resources = [(&b"CPU"[..], Amount::from_f64(64.0))];
        assert!(table.report(NodeId(1), resources.into_iter()).is_ok());
        let mut demand = Demand::default();
        assert_eq!(table.resolve(resources.into_iter(), &mut demand), Ok(()));
        let counts = || std::iter::repeat_n(Count { demand: &demand, count: 1 }, KINDS_MAX);
        let mut draft = Draft::default();
        assert!(draft.proceed(&table, counts()).is_none());
        assert!(table.remove(NodeId(1)));
        table.settle();
        assert!(draft.complete(&table, counts()).is_empty());
    }
}
