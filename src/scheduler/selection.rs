//! How the policies choose that do not simply take the highest rank.

use fastrand::Rng;

use super::cells::Slot;
use super::policy::{HYBRID_AVOIDED, Parameters, Selection};
use super::rank::Rank;
use super::rank_tree::RankTree;

/// Slots tried at random before the free ones are counted.
const TRIES: usize = 32;

/// What such policies remember between decisions.
#[derive(Clone, Debug)]
pub struct Selector {
    random: Rng,
    last: Slot,
    hybrid_top: f32,
    /// The free nodes of a decision; kept for its memory.
    free: Vec<(Rank, Slot)>,
}

impl Selector {
    /// A selector that starts with the first slot and the seed of the parameters.
    pub fn new(parameters: &Parameters) -> Self {
        Self {
            random: Rng::with_seed(parameters.seed),
            last: Slot::MAX,
            hybrid_top: parameters.hybrid_top,
            free: Vec::new(),
        }
    }

    /// Chooses a free slot. `ranks` has the rank of every slot, and at least one that
    /// is free; `highest` is the highest of them.
    pub fn choose(&mut self, selection: Selection, ranks: &RankTree, highest: (Rank, Slot)) -> (Rank, Slot) {
        let chosen = match selection {
            Selection::Highest => Some(highest),
            Selection::Next => self.next(ranks),
            Selection::Random => self.any(ranks),
            Selection::RandomPair => match (self.any(ranks), self.any(ranks)) {
                (Some(one), Some(other)) => Some(better(one, other)),
                _ => None,
            },
            Selection::RandomOfTop => self.any_of_top(ranks, highest.0),
        };
        let chosen = chosen.unwrap_or(highest);
        self.last = chosen.1;
        chosen
    }

    fn next(&self, ranks: &RankTree) -> Option<(Rank, Slot)> {
        let count = ranks.len();
        let start = (self.last as usize).saturating_add(1);
        (start..count).chain(0..start.min(count)).find_map(|slot| free(ranks, slot))
    }

    fn any(&mut self, ranks: &RankTree) -> Option<(Rank, Slot)> {
        for _ in 0..TRIES {
            let slot = self.random.usize(0..ranks.len());
            if let Some(found) = free(ranks, slot) {
                return Some(found);
            }
        }
        self.free.clear();
        self.free.extend((0..ranks.len()).filter_map(|slot| free(ranks, slot)));
        self.random.choice(&self.free).copied()
    }

    fn any_of_top(&mut self, ranks: &RankTree, highest: Rank) -> Option<(Rank, Slot)> {
        let lowest_score = highest.score() - HYBRID_AVOIDED / 2.0;
        let nodes = ranks.len() as f32;
        self.free.clear();
        let candidates = (0..ranks.len()).filter_map(|slot| free(ranks, slot));
        self.free.extend(candidates.filter(|(rank, _)| rank.score() > lowest_score));
        self.free.sort_unstable_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
        let top = ((nodes * self.hybrid_top) as usize).clamp(1, self.free.len().max(1));
        self.random.choice(self.free.get(..top)?).copied()
    }
}

fn free(ranks: &RankTree, slot: usize) -> Option<(Rank, Slot)> {
    ranks.get(slot).filter(|rank| rank.is_free()).map(|rank| (rank, slot as Slot))
}

fn better(one: (Rank, Slot), other: (Rank, Slot)) -> (Rank, Slot) {
    if other.0 > one.0 || other.0 == one.0 && other.1 < one.1 { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranks of free nodes by score; `None` is not feasible.
    fn ranks(scores: &[Option<f32>]) -> RankTree {
        let mut ranks = RankTree::default();
        ranks.fill(scores.iter().map(|score| score.map(Rank::free)));
        ranks
    }

    fn choices(selection: Selection, parameters: Parameters, scores: &[Option<f32>]) -> Vec<Slot> {
        let mut ranks = ranks(scores);
        let highest = ranks.highest().unwrap();
        let mut selector = Selector::new(&parameters);
        (0..200).map(|_| selector.choose(selection, &ranks, highest).1).collect()
    }

    fn distinct(mut slots: Vec<Slot>) -> Vec<Slot> {
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    #[test]
    fn round_robin_goes_from_slot_to_slot() {
        let scores = [Some(0.0), None, Some(0.0), Some(0.0)];
        assert_eq!(choices(Selection::Next, Parameters::default(), &scores)[..5], [0, 2, 3, 0, 2]);
    }

    #[test]
    fn random_takes_every_free_node_and_no_other() {
        let scores = [None, Some(0.0), None, Some(0.0), Some(0.0)];
        assert_eq!(distinct(choices(Selection::Random, Parameters::default(), &scores)), [1, 3, 4]);
        let mut rare = vec![None; 5_000];
        rare[4_321] = Some(0.0);
        assert_eq!(distinct(choices(Selection::Random, Parameters::default(), &rare)), [4_321]);
    }

    #[test]
    fn the_better_of_a_random_pair_is_taken() {
        let slots = choices(Selection::RandomPair, Parameters::default(), &[Some(0.1), Some(0.9), Some(0.5)]);
        let count = |slot| slots.iter().filter(|&&other| other == slot).count();
        assert!(count(1) > count(2) && count(2) > count(0), "{slots:?}");
    }

    #[test]
    fn hybrid_takes_any_of_the_top() {
        let of_top = |hybrid_top| Parameters { hybrid_top, ..Parameters::default() };
        let scores = [Some(-0.9), Some(0.0), Some(0.0), Some(-0.6), Some(-0.0 - HYBRID_AVOIDED)];
        assert_eq!(distinct(choices(Selection::RandomOfTop, of_top(0.0), &scores)), [1]);
        assert_eq!(distinct(choices(Selection::RandomOfTop, of_top(0.4), &scores)), [1, 2]);
        assert_eq!(distinct(choices(Selection::RandomOfTop, of_top(0.6), &scores)), [1, 2, 3]);
        assert_eq!(distinct(choices(Selection::RandomOfTop, of_top(1.0), &scores)), [0, 1, 2, 3]);
    }

    #[test]
    fn the_same_seed_gives_the_same_choices() {
        let scores: Vec<_> = (0..100).map(|score| Some(score as f32)).collect();
        let run = |seed| choices(Selection::Random, Parameters { seed, ..Parameters::default() }, &scores);
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }
}
