//! Which nodes have changed, and in which order, so that whatever is derived from nodes can catch up.

use super::cells::Slot;
use super::room;

/// A position in the sequence of changes.
pub type Position = u64;

/// Changes that a reader may be behind at least. One that is further behind than this, and than there are nodes, is better off
/// starting over.
const BEHIND_MIN: u64 = 64;

/// No slot.
const NONE: Slot = Slot::MAX;

/// The latest change of each slot, in a list: a slot that changes goes to its front, so that a reader meets each slot once,
/// and none that it has seen.
///
/// Invariant: along the list from `newest`, `latest` descends.
#[derive(Debug)]
pub struct Changes {
    by_slot: Vec<Change>,
    newest: Slot,
    end: Position,
    /// Readers that have not read up to here start over.
    valid_from: Position,
    /// How far any reader has read.
    read: Position,
}

/// The latest change of a slot.
#[derive(Clone, Copy, Debug)]
struct Change {
    /// The position behind it; 0 of a slot that is not in the list.
    latest: Position,
    newer: Slot,
    older: Slot,
}

impl Default for Change {
    fn default() -> Self {
        Self { latest: 0, newer: NONE, older: NONE }
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self { by_slot: Vec::new(), newest: NONE, end: 0, valid_from: 0, read: 0 }
    }
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
        self.by_slot[slot as usize].latest
    }

    /// Says that readers read up to the end.
    #[inline]
    pub fn set_read(&mut self) {
        self.read = self.end;
    }

    /// A slot has changed.
    #[inline(always)]
    pub fn mark(&mut self, slot: Slot) {
        if slot != self.newest {
            self.move_to_front(slot);
        } else if self.latest(slot) > self.read {
            // A node that is placed on, removed and added before anybody looks has changed once.
            return;
        }
        self.end += 1;
        self.by_slot[slot as usize].latest = self.end;
    }

    #[inline]
    fn move_to_front(&mut self, slot: Slot) {
        if self.by_slot.len() <= slot as usize {
            room::extend_to(&mut self.by_slot, slot as usize + 1);
        }
        let Change { newer, older, .. } = self.by_slot[slot as usize];
        if let Some(change) = self.by_slot.get_mut(newer as usize) {
            change.older = older;
        }
        if let Some(change) = self.by_slot.get_mut(older as usize) {
            change.newer = newer;
        }
        if let Some(change) = self.by_slot.get_mut(self.newest as usize) {
            change.newer = slot;
        }
        let change = &mut self.by_slot[slot as usize];
        (change.newer, change.older) = (NONE, self.newest);
        self.newest = slot;
    }

    /// The slots that have changed, the latest first.
    #[inline]
    pub fn latest_first(&self) -> impl Iterator<Item = Slot> + '_ {
        let mut slot = self.newest;
        std::iter::from_fn(move || {
            let change = self.by_slot.get(slot as usize)?;
            Some(std::mem::replace(&mut slot, change.older))
        })
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
        let behind_max = BEHIND_MIN.max(self.by_slot.len() as u64);
        if position < self.valid_from || self.end - position > behind_max {
            return None;
        }
        Some(self.latest_first().take_while(move |&slot| self.latest(slot) > position))
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
        assert_eq!(since(&changes, start), Some(vec![0, 1]));
        assert_eq!(since(&changes, start + 2), Some(vec![0]));
    }

    #[test]
    fn a_slot_that_changes_again_before_anybody_reads_has_changed_once() {
        let mut changes = Changes::default();
        changes.mark(1);
        changes.mark(1);
        assert_eq!(changes.end(), 1);
        changes.set_read();
        let start = changes.end();
        changes.mark(1);
        assert_eq!(since(&changes, start), Some(vec![1]));
    }

    #[test]
    fn a_slot_that_changes_after_everything_has_has_a_new_date() {
        let mut changes = Changes::default();
        changes.mark(1);
        changes.set_read();
        let before = changes.latest(1);
        changes.mark_all();
        changes.mark(1);
        assert_ne!(changes.latest(1), before);
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
        (0..BEHIND_MIN).for_each(|_| mark(&mut changes));
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
        changes.mark(1_000);
        assert_eq!(since(&changes, changes.end() - 1), Some(vec![1_000]));
    }
}
