//! What a client knows of its nodes, to check placements against.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::scheduler::amount::Amount;
use crate::wire::NodeId;

/// Resources that demands and nodes differ in. Nodes have one more, named after their address.
const NAMES: [&[u8]; RESOURCES] = [b"CPU", b"GPU", b"memory", b"object_store_memory"];
pub const RESOURCES: usize = 4;
pub const CPU: usize = 0;

/// An amount of each.
pub type Amounts = [Amount; RESOURCES];

const MIB: f64 = (1 << 20) as f64;
pub const GIB: f64 = 1024.0 * MIB;

/// The number of each node.
pub type NodeNumbers = HashMap<NodeId, usize, RandomState>;

/// One node.
#[derive(Debug)]
pub struct NodeBooks {
    pub id: NodeId,
    pub address: Vec<u8>,
    pub total: Amounts,
    /// What runs there.
    pub used: Amounts,
    /// What the server was told last, if the node is there.
    pub reported: Option<Report>,
    /// Placements that the server has answered since, and that are not released.
    pub reserved: Amounts,
}

/// What a server was told of a node.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub available: Amounts,
    pub total: Amounts,
}

impl NodeBooks {
    /// Whether the node could ever take the demand. An amount of zero is none, also where the node has less.
    pub fn is_feasible(&self, demand: &Amounts) -> bool {
        self.reported.is_some_and(|Report { total, .. }| {
            (0..RESOURCES).all(|k| demand[k] == Amount::ZERO || total[k] >= demand[k])
        })
    }

    /// Whether the node can take the demand now.
    pub fn is_free(&self, demand: &Amounts) -> bool {
        self.is_feasible(demand)
            && self.reported.is_some_and(|Report { available, .. }| {
                (0..RESOURCES)
                    .all(|k| demand[k] == Amount::ZERO || available[k].saturating_sub(self.reserved[k]) >= demand[k])
            })
    }

    /// Enters a report, which what was placed before is not subtracted from.
    pub fn report(&mut self, available: Amounts, total: Amounts) {
        self.reported = Some(Report { available, total });
        self.reserved = Amounts::default();
    }
}

/// The `i`-th kind of task. All differ, and one in eight asks for a GPU.
pub fn shape(i: usize) -> Amounts {
    let cpus = [1.0, 2.0, 0.5, 4.0][i % 4];
    let gpus = if i % 8 == 7 { 1.0 } else { 0.0 };
    [cpus, gpus, (i / 4) as f64 * MIB, 0.0].map(Amount::from_f64)
}

/// The resources with an amount that is not zero: Ray leaves out what is used up or not asked for.
pub fn present<'k>(amounts: &Amounts) -> impl Iterator<Item = (&'k [u8], Amount)> + use<'k> {
    NAMES.into_iter().zip(*amounts).filter(|(_, amount)| *amount != Amount::ZERO)
}

/// Adds a demand.
pub fn add(to: &mut Amounts, demand: &Amounts) {
    to.iter_mut().zip(demand).for_each(|(to, amount)| *to = to.saturating_add(*amount));
}

/// Takes a demand away.
pub fn subtract(from: &mut Amounts, demand: &Amounts) {
    from.iter_mut().zip(demand).for_each(|(from, amount)| *from = from.saturating_sub(*amount));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_does_not_matter() {
        let of = |cpus: f64, gpus: f64| [cpus, gpus, 0.0, 0.0].map(Amount::from_f64);
        let mut node = NodeBooks {
            id: NodeId(1),
            address: Vec::new(),
            total: of(4.0, 1.0),
            used: Amounts::default(),
            reported: None,
            reserved: Amounts::default(),
        };
        assert!(!node.is_feasible(&of(0.0, 0.0)) && !node.is_free(&of(0.0, 0.0)), "it is not there");
        // More GPUs are taken than there are, where tasks queue.
        node.report(of(2.0, -1.0), of(2.0, -1.0));
        for (demand, fits) in [(of(0.5, 0.0), true), (of(3.0, 0.0), false), (of(0.0, 1.0), false), (of(0.0, 0.0), true)]
        {
            assert_eq!((node.is_feasible(&demand), node.is_free(&demand)), (fits, fits), "{demand:?}");
        }
    }

    #[test]
    fn shapes_differ() {
        let shapes: Vec<Amounts> = (0..256).map(shape).collect();
        assert!((1..256).all(|i| !shapes[..i].contains(&shapes[i])));
    }
}
