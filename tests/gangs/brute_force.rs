//! Every way to place a few demands on a few nodes.

use crate::model::{Amounts, ModelNode};

/// A set of demands, a bit for each.
type Set = usize;

/// For each node, which sets of the demands it takes.
pub struct BruteForce {
    fits: Vec<Vec<bool>>,
    demand_count: usize,
}

impl BruteForce {
    /// Tries all sets on all nodes, in all orders.
    pub fn new(nodes: &[ModelNode], demands: &[Amounts]) -> Self {
        let feasible = |node: &ModelNode, set: Set| {
            let mut members = demands.iter().enumerate().filter(|(index, _)| set >> index & 1 == 1);
            members.all(|(_, demand)| node.total.iter().zip(demand).all(|(total, amount)| total >= amount))
        };
        let sets = 0..1 << demands.len();
        let fits =
            nodes.iter().map(|node| sets.clone().map(|set| feasible(node, set) && takes(node, demands, set)).collect());
        Self { fits: fits.collect(), demand_count: demands.len() }
    }

    fn all(&self) -> Set {
        (1 << self.demand_count) - 1
    }

    /// Whether one node takes all.
    pub fn strict_pack(&self) -> bool {
        self.fits.iter().any(|fits| fits[self.all()])
    }

    /// Whether different nodes take them.
    pub fn strict_spread(&self) -> bool {
        self.node_counts().is_some_and(|(_, most)| most == self.demand_count)
    }

    /// The fewest and the most nodes that all demands can lie on; `None` where they cannot.
    pub fn node_counts(&self) -> Option<(usize, usize)> {
        let mut by_set: Vec<Option<(usize, usize)>> = vec![None; self.all() + 1];
        by_set[0] = Some((0, 0));
        for fits in &self.fits {
            for set in (0..=self.all()).rev() {
                // Every part of the set but the empty one, as what this node takes.
                let mut part = set;
                while part > 0 {
                    if let (true, Some((fewest, most))) = (fits[part], by_set[set & !part]) {
                        let (old_fewest, old_most) = by_set[set].unwrap_or((usize::MAX, 0));
                        by_set[set] = Some((old_fewest.min(fewest + 1), old_most.max(most + 1)));
                    }
                    part = (part - 1) & set;
                }
            }
        }
        by_set[self.all()]
    }
}

/// Whether a node takes a set of demands in some order.
fn takes(node: &ModelNode, demands: &[Amounts], set: Set) -> bool {
    let members = (0..demands.len()).filter(|index| set >> index & 1 == 1);
    set == 0
        || members.into_iter().any(|index| {
            let mut node = node.clone();
            node.take(&demands[index]) && takes(&node, demands, set & !(1 << index))
        })
}
