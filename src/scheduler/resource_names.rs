//! Names of resources and their dense ids.
//!
//! Names come and go for as long as a cluster lives (each placement group brings several), so an id goes
//! back to the pool when no node has the resource any more. It does so late: a raylet reports a change as
//! remove + add, and with one node in the view every name would be forgotten and learned again each time.

use std::fmt;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

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

#[derive(Debug, Default)]
struct Entry {
    /// Empty where the id is free.
    name: Box<[u8]>,
    /// See [`end_of`].
    end: u64,
    /// Whether the id is in `unused`, where it may stay after it has come to use again.
    listed_unused: bool,
}

/// The names of one view's resources.
#[derive(Debug, Default)]
pub struct ResourceNames {
    /// The known ids, by the hash of their names, which are in the entries alone.
    ids: HashTable<ResourceId>,
    hasher: RandomState,
    entries: Vec<Entry>,
    free: Vec<ResourceId>,
    unused: Vec<ResourceId>,
    /// How often names were forgotten.
    generation: u64,
}

impl ResourceNames {
    /// The id of a name that is known.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<ResourceId> {
        let is_name = |id: &ResourceId| *self.entries[id.index()].name == *name;
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
            self.entries.push(Entry::default());
            // A name takes at least 10 bytes of a frame and far more memory than that: 2^32 do not fit.
            ResourceId(u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 names"))
        });
        let Self { ids, hasher, entries, .. } = self;
        let entry = &mut entries[id.index()];
        (entry.name, entry.end) = (name.into(), end_of(name));
        ids.insert_unique(hasher.hash_one(name), id, |other| hasher.hash_one(&*entries[other.index()].name));
        id
    }

    /// Whether an id, known or free, is that of a name.
    #[inline]
    pub fn is_name(&self, id: ResourceId, name: &[u8]) -> bool {
        // A free id has the empty name, which no resource has.
        // What is left to compare is nothing for most names.
        let Entry { name: known, end, .. } = &self.entries[id.index()];
        known.len() == name.len() && *end == end_of(name) && (name.len() <= 8 || **known == *name)
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
        EscapedName(&self.entries[id.index()].name)
    }

    /// The id of an index, if it is known.
    pub fn id_at(&self, index: usize) -> Option<ResourceId> {
        let is_known = !self.entries.get(index)?.name.is_empty();
        is_known.then_some(ResourceId(index as u32))
    }

    /// Number of ids, known and free: every id's index is below.
    #[inline]
    pub fn id_count(&self) -> usize {
        self.entries.len()
    }

    /// As long as this stays the same, so do the ids of names that are known.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// No node has the resource any more. It may come to use again.
    #[inline]
    pub fn release(&mut self, id: ResourceId) {
        if !std::mem::replace(&mut self.entries[id.index()].listed_unused, true) {
            self.unused.push(id);
        }
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
        for id in self.unused.drain(..) {
            let entry = &mut self.entries[id.index()];
            entry.listed_unused = false;
            if !is_used(id) {
                let hash = self.hasher.hash_one(&*std::mem::take(&mut entry.name));
                if let Ok(known) = self.ids.find_entry(hash, |other| *other == id) {
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

/// The last eight bytes of a name, and all of a shorter one: names of up to eight bytes and of the same length that
/// have the same end are the same.
#[inline]
fn end_of(name: &[u8]) -> u64 {
    if let Some(last) = name.last_chunk() {
        return u64::from_le_bytes(*last);
    }
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
    }
    match *name {
        [] => 0,
        [first, .., last] => u64::from(first) << 16 | u64::from(name[1]) << 8 | u64::from(last),
        [only] => u64::from(only),
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
        assert!(names.entries.len() <= UNUSED_MAX + 3, "{} ids", names.entries.len());
        assert!(names.ids.len() <= UNUSED_MAX + 3, "{} names", names.ids.len());
    }

    #[test]
    fn a_name_is_told_from_those_that_differ_in_a_byte() {
        for length in 1..20 {
            let name: Vec<u8> = (b'a'..).take(length).collect();
            let mut names = ResourceNames::default();
            let id = names.intern(&name);
            assert!(names.is_name(id, &name));
            assert!(!names.is_name(id, &name[1..]) && !names.is_name(id, &[&name[..], b"a"].concat()));
            for place in 0..length {
                let mut other = name.clone();
                other[place] ^= 1;
                assert!(!names.is_name(id, &other), "{length} bytes, the one at {place}");
            }
        }
    }

    #[test]
    fn names_are_shown_escaped() {
        assert_eq!(EscapedName(b"a\n\xff\"").to_string(), "a\\n\\xff\\\"");
    }
}
