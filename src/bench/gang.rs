//! Demands that are placed together, and what may come of them.

use super::books::{Amounts, NodeBooks, NodeNumbers, add};
use super::workload::{WrongReply, list, parsed};
use crate::wire::NodeId;
use crate::wire::extension::reply::{self, Answer};
use crate::wire::extension::{Demands, Extension, Strategy, append_list};
use crate::wire::resources::Meaning;

/// Demands of a gang: one for each GPU of a machine.
pub const GANG_LENGTH: usize = 8;

/// A gang, small enough to be kept with its request: the seed of its demands.
#[derive(Clone, Copy, Debug)]
pub struct Gang {
    seed: u64,
    strategy: Strategy,
}

impl Gang {
    /// A gang under one of the strategies.
    pub fn random(random: &mut fastrand::Rng) -> Self {
        let strategy = random.choice(Strategy::ALL).unwrap_or(Strategy::Each);
        Self { seed: random.u64(..), strategy }
    }

    fn demands(self, shapes: &[Amounts]) -> [Amounts; GANG_LENGTH] {
        let mut random = fastrand::Rng::with_seed(self.seed);
        std::array::from_fn(|_| shapes[random.usize(0..shapes.len())])
    }

    /// Appends the frame of its request. Free nodes alone count, so that the books tell what is right.
    pub fn append(self, shapes: &[Amounts], out: &mut Vec<u8>) {
        let mut lists = Vec::new();
        for demand in &self.demands(shapes) {
            append_list(&mut lists, parsed(&list(demand, None), Meaning::Demand));
        }
        let (demands, _) = Demands::parse(GANG_LENGTH as u16, &lists).expect("they were written here");
        Extension::ScheduleMany { strategy: self.strategy, strict: true, demands }.append(out);
    }

    /// Checks the message of the reply and enters the placements in the books. Without numbers of nodes, which
    /// the echo does not know, only its kind is checked.
    pub fn check(
        self,
        message: &[u8],
        shapes: &[Amounts],
        books: &mut [NodeBooks],
        numbers: Option<&NodeNumbers>,
    ) -> Result<(), WrongReply> {
        let demands = self.demands(shapes);
        match Answer::parse(message) {
            Some(Answer::Done { body }) => {
                let nodes = reply::parse_nodes(body, GANG_LENGTH).ok_or(WrongReply::Kind)?;
                numbers.map_or(Ok(()), |numbers| self.check_nodes(nodes, &demands, books, numbers))
            }
            Some(Answer::NotPlaced(_)) if !self.fits_for_sure(&demands, books) => Ok(()),
            Some(Answer::NotPlaced(_)) => Err(WrongReply::RefusedThoughFeasible),
            _ => Err(WrongReply::Kind),
        }
    }

    fn check_nodes(
        self,
        nodes: impl Iterator<Item = NodeId>,
        demands: &[Amounts; GANG_LENGTH],
        books: &mut [NodeBooks],
        numbers: &NodeNumbers,
    ) -> Result<(), WrongReply> {
        let mut taken = Vec::with_capacity(GANG_LENGTH);
        for (id, demand) in nodes.zip(demands) {
            if id == NodeId::NIL && self.strategy == Strategy::Each {
                if books.iter().any(|node| node.is_free(demand)) {
                    return Err(WrongReply::RefusedThoughFeasible);
                }
                continue;
            }
            let &number = numbers.get(&id).ok_or(WrongReply::UnknownNode)?;
            if !books[number].is_free(demand) {
                return Err(WrongReply::DoesNotFit);
            }
            add(&mut books[number].reserved, demand);
            taken.push(number);
        }
        taken.sort_unstable();
        taken.dedup();
        match (self.strategy, taken.len()) {
            (Strategy::StrictPack, 1) | (Strategy::StrictSpread, GANG_LENGTH) => Ok(()),
            (Strategy::StrictPack | Strategy::StrictSpread, _) => Err(WrongReply::BreaksStrategy),
            _ => Ok(()),
        }
    }

    /// Whether the gang can be placed, as far as this is told without a search.
    fn fits_for_sure(self, demands: &[Amounts; GANG_LENGTH], books: &[NodeBooks]) -> bool {
        if self.strategy == Strategy::StrictSpread {
            // Each finds one that none of the others has taken.
            let free = |demand| books.iter().filter(|node| node.is_free(demand)).count();
            return demands.iter().all(|demand| free(demand) >= GANG_LENGTH);
        }
        let mut sum = Amounts::default();
        demands.iter().for_each(|demand| add(&mut sum, demand));
        books.iter().any(|node| node.is_free(&sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::books::shape;
    use crate::scheduler::amount::Amount;
    use crate::wire::extension::reply::{NotPlaced, append_nodes, append_not_placed};
    use crate::wire::frame::PREFIX_LENGTH;

    const NODES: i64 = 9;

    fn books(cpus: f64) -> (Vec<NodeBooks>, NodeNumbers) {
        let total = [cpus, 0.0, 0.0, 0.0].map(Amount::from_f64);
        let node = |id| {
            let mut node = NodeBooks {
                id: NodeId(id),
                address: Vec::new(),
                total,
                used: Amounts::default(),
                reported: None,
                reserved: Amounts::default(),
            };
            node.report(total, total);
            node
        };
        ((0..NODES).map(node).collect(), (0..NODES).map(|id| (NodeId(id), id as usize)).collect())
    }

    #[test]
    fn replies_are_checked_by_strategy() {
        use Strategy::{Each, Pack, Spread, StrictPack, StrictSpread};
        let (same, different) = ([3; GANG_LENGTH], std::array::from_fn(|number| number as i64));
        let mut with_nil = different;
        with_nil[5] = -1;
        let mut unknown = different;
        unknown[7] = NODES;
        // Eight times one CPU, on nodes of so many.
        let cases = [
            (8.0, Pack, same, Ok(())),
            (8.0, StrictPack, same, Ok(())),
            (8.0, StrictPack, different, Err(WrongReply::BreaksStrategy)),
            (8.0, StrictSpread, different, Ok(())),
            (8.0, StrictSpread, same, Err(WrongReply::BreaksStrategy)),
            (7.0, Each, same, Err(WrongReply::DoesNotFit)),
            (7.0, Spread, different, Ok(())),
            (1.0, Each, with_nil, Err(WrongReply::RefusedThoughFeasible)),
            (1.0, Spread, with_nil, Err(WrongReply::UnknownNode)),
            (1.0, Each, unknown, Err(WrongReply::UnknownNode)),
            (0.0, Each, [-1; GANG_LENGTH], Ok(())),
        ];
        for (cpus, strategy, nodes, expected) in cases {
            let (mut books, numbers) = books(cpus);
            let mut frame = Vec::new();
            append_nodes(&mut frame, nodes.map(NodeId));
            let checked =
                Gang { seed: 1, strategy }.check(&frame[PREFIX_LENGTH..], &[shape(0)], &mut books, Some(&numbers));
            assert_eq!(checked, expected, "{cpus} {strategy:?} {nodes:?}");
        }
    }

    #[test]
    fn a_refusal_is_right_only_where_nothing_fits() {
        use Strategy::{Pack, StrictPack, StrictSpread};
        let mut frame = Vec::new();
        append_not_placed(&mut frame, NotPlaced::NothingFree);
        for (cpus, strategy, is_right) in
            [(8.0, Pack, false), (8.0, StrictPack, false), (7.0, StrictPack, true), (1.0, StrictSpread, false)]
        {
            let (mut books, numbers) = books(cpus);
            let checked =
                Gang { seed: 1, strategy }.check(&frame[PREFIX_LENGTH..], &[shape(0)], &mut books, Some(&numbers));
            assert_eq!(checked.is_ok(), is_right, "{cpus} {strategy:?}");
        }
    }
}
