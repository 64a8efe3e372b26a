//! What a task asks for.

use std::collections::HashSet;

use smallvec::SmallVec;

use super::NodeTable;
use crate::scheduler::amount::Amount;
use crate::scheduler::resource_names::ResourceId;

/// Most tasks ask for no more resources than fit in place, where they are found without another look at memory.
pub(super) type Entries = SmallVec<[(ResourceId, Amount); 3]>;

/// A demand for a resource that no node of the view has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownResource;

/// What a task asks for: positive amounts of distinct resources that some node has, in the order of their ids.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct Demand {
    pub(super) entries: Entries,
}

impl Clone for Demand {
    fn clone(&self) -> Self {
        Self { entries: self.entries.clone() }
    }

    /// Reuses the memory.
    fn clone_from(&mut self, source: &Self) {
        self.entries.clone_from(&source.entries);
    }
}

impl Demand {
    /// Whether nothing is asked for.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How much is asked for of one resource.
    #[inline]
    pub fn amount(&self, id: ResourceId) -> Amount {
        self.entries.iter().find(|entry| entry.0 == id).map_or(Amount::ZERO, |entry| entry.1)
    }

    /// The resources asked for and how much of each.
    #[inline]
    pub fn entries(&self) -> &[(ResourceId, Amount)] {
        &self.entries
    }

    /// The sum of several demands, so many times each.
    pub fn sum<'d>(demands: impl Iterator<Item = (&'d Demand, usize)>) -> Demand {
        let times = |amount: Amount, count: usize| Amount::from_units(amount.units().saturating_mul(count as i64));
        let mut entries: Entries = demands
            .flat_map(|(demand, count)| demand.entries.iter().map(move |&(id, amount)| (id, times(amount, count))))
            .collect();
        entries.sort_by_key(|&(id, _)| id);
        entries.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = earlier.1.saturating_add(later.1);
            }
            same
        });
        Demand { entries }
    }
}

impl NodeTable {
    /// Resolves a demand into `demand`, in place of what that held. The last amount given for a resource
    /// counts; an amount of zero is no demand.
    ///
    /// # Errors
    /// When it asks for a resource that no node has.
    #[inline]
    pub fn resolve<'k>(
        &self,
        resources: impl Iterator<Item = (&'k [u8], Amount)>,
        demand: &mut Demand,
    ) -> Result<(), UnknownResource> {
        let entries = &mut demand.entries;
        entries.clear();
        // Only a demand that can hardly be met pays for the set.
        let mut unknown = HashSet::new();
        for (name, amount) in resources {
            match self.names.get(name).filter(|&id| self.cells.holders(id) > 0) {
                Some(id) => entries.push((id, amount)),
                None if amount > Amount::ZERO => _ = unknown.insert(name),
                None => _ = unknown.remove(name),
            }
        }
        if !unknown.is_empty() {
            return Err(UnknownResource);
        }
        entries.sort_by_key(|&(id, _)| id);
        entries.dedup_by(keep_last);
        entries.retain(|(_, amount)| *amount > Amount::ZERO);
        Ok(())
    }
}

/// For `dedup_by` of entries that are sorted by resource: of those of one resource the last that was given is kept.
#[inline]
pub(super) fn keep_last(later: &mut (ResourceId, Amount), earlier: &mut (ResourceId, Amount)) -> bool {
    let is_same = later.0 == earlier.0;
    if is_same {
        earlier.1 = later.1;
    }
    is_same
}
