//! Which nodes have changed, in order, so that whatever is derived from nodes can catch up.

use super::cells::Slot;

/// A position in the sequence of changes.
pub type Position = u64;

/// Changes that are remembered at least. A reader that is further behind starts over.
const REMEMBERED_MIN: usize = 64;

/// Remembers the latest changes: as many as there are nodes, about, since a reader that missed more is better off
/// starting over.
///
/// Invariant: the change at position `p` in `end - ring.len()..end` is `ring[p % ring.len()]`.
#[derive(Debug, Default)]
pub struct Changes {
    ring: Vec<Slot>,
    end: Position,
    /// For each slot the position behind its latest change.
    latest: Vec<Position>,
    /// Readers that have not read up to here start over.
    valid_from: Position,
    /// How far any reader has read.
    read: Position,
}

impl Changes {
    /// The position behind the latest change.
    #[inline]
    pub fn end(&self) -> Position {
        self.end
    }

    /// The position behind the latest change of a slot that has changed. Between two of its changes that some reader has read it
    /// differs.
    #[inline]
    pub fn latest(&self, slot: Slot) -> Position {
        self.latest[slot as usize]
    }

    /// Says that readers read up to the end.
    #[inline]
    pub fn set_read(&mut self) {
        self.read = self.end;
    }

    /// A slot has changed.
    #[inline]
    pub fn mark(&mut self, slot: Slot) {
        // A node that is placed on, removed and added before anybody looks has changed once.
        if self.end > self.read && self.latest.get(slot as usize) == Some(&self.end) {
            return;
        }
        if self.latest.len() <= slot as usize {
            self.grow(slot as usize + 1);
        }
        let mask = self.ring.len() - 1;
        self.ring[self.end as usize & mask] = slot;
        self.end += 1;
        self.latest[slot as usize] = self.end;
    }

    /// Every slot has changed.
    pub fn mark_all(&mut self) {
        self.end += 1;
        self.valid_from = self.end;
    }

    /// The slots that have changed since `position`, each once; `None` if that is too long ago, and anything may
    /// have changed.
    #[inline]
    pub fn since(&self, position: Position) -> Option<impl Iterator<Item = Slot> + '_> {
        if position < self.valid_from || self.end - position > self.ring.len() as u64 {
            return None;
        }
        let mask = self.ring.len().saturating_sub(1);
        Some((position..self.end).filter_map(move |change| {
            let slot = self.ring[change as usize & mask];
            (self.latest[slot as usize] == change + 1).then_some(slot)
        }))
    }

    #[cold]
    fn grow(&mut self, slots: usize) {
        self.latest.resize(slots, 0);
        let remembered = slots.next_power_of_two().max(REMEMBERED_MIN);
        if remembered > self.ring.len() {
            // What the ring holds would be at other places in the new one. Growth is rare.
            self.ring = vec![0; remembered];
            self.mark_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(changes: &Changes, position: Position) -> Option<Vec<Slot>> {
        changes.since(position).map(Iterator::collect)
    }

    #[test]
    fn each_changed_slot_is_given_once() {
        let mut changes = Changes::default();
        changes.mark(2);
        let start = changes.end();
        assert_eq!(since(&changes, start), Some(vec![]));
        [0, 1, 0, 0].into_iter().for_each(|slot| changes.mark(slot));
        assert_eq!(since(&changes, start), Some(vec![1, 0]));
        assert_eq!(since(&changes, start + 2), Some(vec![0]));
    }

    #[test]
    fn a_slot_that_changes_again_before_anybody_reads_has_changed_once() {
        let mut changes = Changes::default();
        changes.mark(1);
        changes.mark(1);
        assert_eq!(changes.end() - 1, changes.valid_from);
        changes.set_read();
        let start = changes.end();
        changes.mark(1);
        assert_eq!(since(&changes, start), Some(vec![1]));
    }

    #[test]
    fn a_reader_that_is_too_far_behind_starts_over() {
        let mut changes = Changes::default();
        changes.mark(0);
        let start = changes.end();
        let mark = |changes: &mut Changes| {
            changes.set_read();
            changes.mark(0);
        };
        (0..REMEMBERED_MIN).for_each(|_| mark(&mut changes));
        assert_eq!(since(&changes, start), Some(vec![0]));
        mark(&mut changes);
        assert_eq!(since(&changes, start), None);
    }

    #[test]
    fn a_change_of_everything_makes_every_reader_start_over() {
        let mut changes = Changes::default();
        changes.mark(0);
        let start = changes.end();
        changes.mark_all();
        assert_eq!(since(&changes, start), None);
        assert_eq!(since(&changes, changes.end()), Some(vec![]));
        let start = changes.end();
        changes.mark(REMEMBERED_MIN as Slot);
        assert_eq!(since(&changes, start), None, "the ring has grown");
    }
}
