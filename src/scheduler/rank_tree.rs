//! The highest of many ranks, kept up to date as single ranks change.
//!
//! A tree of maxima in which each entry stands for eight of the level below, which share a cache line. A change
//! touches one line a level and stops where the maximum stays the same; the highest rank is found by
//! going down one line a level.

use std::iter;

use super::cells::Slot;
use super::rank::Rank;
use crate::prefetch::load;

/// Entries that one entry of the next level stands for: 64 bytes.
const FAN_OUT: usize = 8;

/// The bits of a node that is not feasible. Those of every rank are greater.
const INFEASIBLE: u64 = 0;

/// Ranks by slot. All start as not feasible.
///
/// Invariant: entry `i` of a level is the greatest of group `i` of the level below, and the highest level has one group.
#[derive(Debug, Default)]
pub struct RankTree {
    /// Of all levels, one after the other, the lowest first.
    groups: Vec<[u64; FAN_OUT]>,
    /// How many of them are of the lowest.
    lowest_groups: usize,
    slots: usize,
    /// The highest rank and the lowest slot that has it, while it is known: one that rises stays the highest.
    highest: Option<(Rank, Slot)>,
}

impl RankTree {
    /// Number of slots.
    #[inline]
    pub fn len(&self) -> usize {
        self.slots
    }

    /// Whether there are no slots.
    pub fn is_empty(&self) -> bool {
        self.slots == 0
    }

    /// Adds slots at the end, none of them feasible, if there is room. Returns whether there was.
    #[inline]
    pub fn extend_to(&mut self, slots: usize) -> bool {
        let has_room = slots <= self.lowest_groups * FAN_OUT;
        if has_room {
            self.slots = self.slots.max(slots);
        }
        has_room
    }

    /// Sets the ranks of all slots.
    pub fn fill(&mut self, ranks: impl ExactSizeIterator<Item = Option<Rank>>) {
        self.reset(ranks.len());
        self.set_range(0, ranks);
    }

    /// Sets the ranks of neighbouring slots, the first of them `start`.
    pub fn set_range(&mut self, start: usize, ranks: impl ExactSizeIterator<Item = Option<Rank>>) {
        self.highest = None;
        let (mut first, mut end) = (start, start + ranks.len());
        for (slot, rank) in (start..).zip(ranks) {
            self.groups[slot / FAN_OUT][slot % FAN_OUT] = rank.map_or(INFEASIBLE, Rank::bits);
        }
        for (below, level) in self.levels() {
            (first, end) = (first / FAN_OUT, end.div_ceil(FAN_OUT));
            for group in first..end {
                self.groups[level + group / FAN_OUT][group % FAN_OUT] = greatest(&self.groups[below + group]);
            }
        }
    }

    /// Makes so many slots, none of them feasible. Where there were fewer, leaves room for a quarter more, so that slots that
    /// come one by one cost little; most tables are complete before they are ranked first.
    pub fn reset(&mut self, slots: usize) {
        let has_grown = (1..slots).contains(&self.slots);
        let room = if has_grown { slots / 4 } else { 0 };
        self.slots = slots;
        self.highest = None;
        self.lowest_groups = (slots + room).div_ceil(FAN_OUT).max(1);
        let end = self.levels().last().map_or(1, |(_, highest)| highest + 1);
        self.groups.clear();
        self.groups.resize(end, [INFEASIBLE; FAN_OUT]);
    }

    /// The first groups of each two levels that are one above the other, the lower level's first.
    #[inline]
    fn levels(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (mut start, mut groups) = (0, self.lowest_groups);
        iter::from_fn(move || {
            let below = start;
            (groups > 1).then(|| {
                start += groups;
                groups = groups.div_ceil(FAN_OUT);
                (below, start)
            })
        })
    }

    /// Sets the rank of a slot.
    #[inline(always)]
    pub fn set(&mut self, slot: Slot, rank: Option<Rank>) {
        self.set_highest(slot, rank);
        let mut index = slot as usize;
        let mut bits = rank.map_or(INFEASIBLE, Rank::bits);
        let mut old = std::mem::replace(&mut self.groups[index / FAN_OUT][index % FAN_OUT], bits);
        for (below, level) in self.levels() {
            index /= FAN_OUT;
            let greatest_before = self.groups[level + index / FAN_OUT][index % FAN_OUT];
            if bits < greatest_before {
                if old < greatest_before {
                    return;
                }
                bits = greatest(&self.groups[below + index]);
            }
            if bits == greatest_before {
                return;
            }
            self.groups[level + index / FAN_OUT][index % FAN_OUT] = bits;
            old = greatest_before;
        }
    }

    /// Loads what is known of the ranks, and where they are.
    #[inline]
    pub fn prefetch(&self) {
        load(self.highest);
        load(self.groups.len());
    }

    /// Loads what [`RankTree::set`] looks at for a slot.
    #[inline]
    pub fn prefetch_slot(&self, slot: Slot) {
        let mut index = slot as usize;
        for level in [0].into_iter().chain(self.levels().map(|(_, level)| level)) {
            index /= FAN_OUT;
            load(self.groups.get(level + index).map(|group| group[0]));
        }
    }

    /// The rank of a slot.
    #[inline]
    pub fn get(&self, slot: usize) -> Option<Rank> {
        Rank::from_bits(self.groups[slot / FAN_OUT][slot % FAN_OUT])
    }

    /// Follows the highest rank while a slot gets another.
    #[inline]
    fn set_highest(&mut self, slot: Slot, rank: Option<Rank>) {
        let Some((highest, highest_slot)) = self.highest else { return };
        match rank {
            Some(rank) if rank > highest || rank == highest && slot <= highest_slot => {
                self.highest = Some((rank, slot))
            }
            _ if slot == highest_slot => self.highest = None,
            _ => {}
        }
    }

    /// The highest rank, and the lowest slot that has it.
    #[inline]
    pub fn highest(&mut self) -> Option<(Rank, Slot)> {
        if self.highest.is_none() {
            self.highest = self.find_highest();
        }
        self.highest
    }

    fn find_highest(&self) -> Option<(Rank, Slot)> {
        let bits = greatest(self.groups.last()?);
        let rank = Rank::from_bits(bits)?;
        let (mut index, mut end) = (0, self.groups.len());
        // The slots that a group stands for, of the highest level first.
        let mut span = FAN_OUT;
        while self.lowest_groups * FAN_OUT > span {
            span *= FAN_OUT;
        }
        while end > 0 {
            end -= (self.lowest_groups * FAN_OUT).div_ceil(span);
            let group = &self.groups[end + index];
            index = index * FAN_OUT + group.iter().position(|&entry| entry == bits)?;
            span /= FAN_OUT;
        }
        Some((rank, index as Slot))
    }
}

#[inline]
fn greatest(group: &[u64; FAN_OUT]) -> u64 {
    group.iter().copied().fold(INFEASIBLE, u64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_highest_and_the_lowest_slot_that_has_it() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for slots in [1, 7, 8, 9, 64, 65, 512, 513, 600] {
            // Few different scores, so that ties are common.
            let mut rank = || (random.u8(0..4) > 0).then(|| Rank::free(f32::from(random.i8(-3..3))));
            let mut model: Vec<Option<Rank>> = (0..slots).map(|_| rank()).collect();
            let mut tree = RankTree::default();
            tree.fill(model.iter().copied());
            for step in 0..2_000 {
                let highest = model.iter().copied().max().flatten();
                let slot = model.iter().position(|&other| other == highest);
                assert_eq!(tree.highest(), highest.zip(slot).map(|(rank, slot)| (rank, slot as Slot)));
                let slot = step * 7 % slots;
                model[slot] = rank();
                tree.set(slot as Slot, model[slot]);
                assert_eq!(tree.get(slot), model[slot]);
                // Else the highest that is known after a single change is looked at.
                if step % 3 > 0 {
                    continue;
                }
                let range = slot..slots.min(slot + step % 20);
                model[range.clone()].fill_with(&mut rank);
                tree.set_range(slot, model[range].iter().copied());
            }
        }
    }

    #[test]
    fn nothing_is_feasible_in_an_empty_tree() {
        let mut tree = RankTree::default();
        assert_eq!(tree.highest(), None);
        tree.fill([].into_iter());
        assert_eq!((tree.highest(), tree.len()), (None, 0));
    }

    #[test]
    fn slots_are_added_while_there_is_room() {
        let mut tree = RankTree::default();
        assert!(!tree.extend_to(1));
        tree.reset(80);
        assert!(tree.extend_to(80) && !tree.extend_to(81));
        tree.fill([None; 100].into_iter());
        assert!(tree.extend_to(125));
        tree.set(124, Some(Rank::free(1.0)));
        assert_eq!(tree.highest(), Some((Rank::free(1.0), 124)));
        assert!(!tree.extend_to(200));
        assert_eq!(tree.len(), 125);
    }
}
