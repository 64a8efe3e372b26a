//! Names of resources and their dense ids.
//!
//! Names come and go for as long as a cluster lives (each placement group brings several), so an id goes
//! back to the pool when no node has the resource any more. It does so late: a raylet reports a change as
//! remove + add, and with one node in the view every name would be forgotten and learned again each time.

mod name;

use std::collections::BTreeSet;
use std::fmt;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use self::name::Name;
use super::room;

/// Index of a resource in one view. Valid as long as a node of the view has the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(u32);

impl ResourceId {
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names without a node that are remembered before all of them are forgotten at once.
const UNUSED_MAX: usize = 256;

/// The names of one view's resources.
#[derive(Debug, Default)]
pub struct ResourceNames {
    /// The known ids, by the hash of their names, which are kept once.
    ids: HashTable<ResourceId>,
    hasher: RandomState,
    /// By id; the empty name, which no resource has, where the id is free.
    names: Vec<Name>,
    free: Vec<ResourceId>,
    /// Released, and perhaps in use again.
    unused: BTreeSet<ResourceId>,
    /// How often names were forgotten.
    generation: u64,
}

impl ResourceNames {
    /// The id of a name that is known.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<ResourceId> {
        let is_name = |id: &ResourceId| self.names[id.index()].is(name);
        self.ids.find(self.hasher.hash_one(name), is_name).copied()
    }

    /// The id of a name, which becomes known.
    #[inline]
    pub fn intern(&mut self, name: &[u8]) -> ResourceId {
        match self.get(name) {
            Some(id) => id,
            None => self.insert(name),
        }
    }

    #[cold]
    fn insert(&mut self, name: &[u8]) -> ResourceId {
        let id = self.free.pop().unwrap_or_else(|| {
            room::push(&mut self.names, Name::default());
            // A name takes at least 10 bytes of a frame and far more memory than that: 2^32 do not fit.
            ResourceId(u32::try_from(self.names.len() - 1).expect("fewer than 2^32 names"))
        });
        let Self { ids, hasher, names, .. } = self;
        names[id.index()] = name.into();
        ids.insert_unique(hasher.hash_one(name), id, |other| hasher.hash_one(names[other.index()].as_bytes()));
        id
    }

    /// Whether an id, known or free, is that of a name.
    #[inline]
    pub fn is_name(&self, id: ResourceId, name: &[u8]) -> bool {
        self.names[id.index()].is(name)
    }

    /// Number of names that are known.
    #[inline]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether no name is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of an id that is known.
    pub fn name(&self, id: ResourceId) -> EscapedName<'_> {
        EscapedName(self.names[id.index()].as_bytes())
    }

    /// The id of an index, if it is known.
    pub fn id_at(&self, index: usize) -> Option<ResourceId> {
        let is_known = !self.names.get(index)?.as_bytes().is_empty();
        is_known.then_some(ResourceId(index as u32))
    }

    /// Number of ids, known and free: every id's index is below.
    #[inline]
    pub fn id_count(&self) -> usize {
        self.names.len()
    }

    /// As long as this stays the same, so do the ids of names that are known.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// No node has the resource any more. It may come to use again.
    #[inline]
    pub fn release(&mut self, id: ResourceId) {
        self.unused.insert(id);
    }

    /// Forgets the released names once they have become too many, unless `is_used` says otherwise.
    #[inline]
    pub fn forget_unused(&mut self, is_used: impl FnMut(ResourceId) -> bool) {
        if self.unused.len() > UNUSED_MAX {
            self.forget(is_used);
        }
    }

    /// Forgets the released names although they are few, unless `is_used` says otherwise.
    pub fn forget_all_unused(&mut self, is_used: impl FnMut(ResourceId) -> bool) {
        if !self.unused.is_empty() {
            self.forget(is_used);
        }
    }

    #[cold]
    fn forget(&mut self, mut is_used: impl FnMut(ResourceId) -> bool) {
        self.generation += 1;
        for id in std::mem::take(&mut self.unused) {
            if !is_used(id) {
                let name = std::mem::take(&mut self.names[id.index()]);
                if let Ok(known) = self.ids.find_entry(self.hasher.hash_one(name.as_bytes()), |other| *other == id) {
                    known.remove();
                }
                self.free.push(id);
            }
        }
    }

    /// Every known id.
    pub fn iter(&self) -> impl Iterator<Item = ResourceId> + '_ {
        self.ids.iter().copied()
    }
}

/// A name as it is shown: printable ASCII as it is, everything else escaped.
#[derive(Clone, Copy)]
pub struct EscapedName<'a>(pub &'a [u8]);

impl fmt::Display for EscapedName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_id_while_it_is_used_and_a_while_longer() {
        let mut names = ResourceNames::default();
        let cpu = names.intern(b"CPU");
        assert_eq!((names.intern(b"CPU"), names.get(b"GPU")), (cpu, None));
        names.release(cpu);
        names.forget_unused(|_| false);
        assert_eq!(names.get(b"CPU"), Some(cpu));
    }

    #[test]
    fn names_that_come_and_go_leave_no_ids_behind() {
        let mut names = ResourceNames::default();
        let cpu = names.intern(b"CPU");
        names.release(cpu);
        for group in 0..100_000 {
            let id = names.intern(format!("CPU_group_{group}").as_bytes());
            names.release(id);
            names.forget_unused(|id| id == cpu);
        }
        assert_eq!(names.get(b"CPU"), Some(cpu));
        assert!(names.names.len() <= UNUSED_MAX + 3, "{} ids", names.names.len());
        assert!(names.ids.len() <= UNUSED_MAX + 3, "{} names", names.ids.len());
    }

    #[test]
    fn names_are_shown_escaped() {
        assert_eq!(EscapedName(b"a\n\xff\"").to_string(), "a\\n\\xff\\\"");
    }
}
