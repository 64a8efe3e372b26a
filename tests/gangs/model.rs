//! Nodes as plain amounts, and the table under test made of the same.

use std::collections::BTreeSet;

use external_scheduler::scheduler::amount::Amount;
use external_scheduler::scheduler::gang::{self, GangError, Strategy};
use external_scheduler::scheduler::node_table::{Demand, NodeTable};
use external_scheduler::scheduler::policy::{Parameters, Policy};
use external_scheduler::scheduler::profile::Profile;
use external_scheduler::scheduler::units::{UNIT_RESOURCES, UnitResources};
use external_scheduler::wire::NodeId;

/// The resources of the model; the first comes in units.
pub const NAMES: [&str; 3] = ["GPU", "CPU", "memory"];
pub const WHOLE: i64 = 10_000;

/// By resource, in 1/10,000.
pub type Amounts = [i64; NAMES.len()];

/// What a node has left.
#[derive(Clone, Debug)]
pub struct ModelNode {
    pub total: Amounts,
    pub left: Amounts,
    /// What is left of each GPU.
    pub gpus: Vec<i64>,
}

impl ModelNode {
    pub fn new(total: Amounts) -> Self {
        let gpus = (0..(total[0] + WHOLE - 1) / WHOLE).map(|gpu| (total[0] - gpu * WHOLE).min(WHOLE)).collect();
        Self { total, left: total, gpus }
    }

    /// Takes a demand as a node does: whole GPUs, and for the rest the fullest GPU that holds it. Returns whether it
    /// fits; if not, the node is in no defined state.
    #[must_use]
    pub fn take(&mut self, demand: &Amounts) -> bool {
        for (left, amount) in self.left.iter_mut().zip(demand) {
            // A demand of nothing fits where less than nothing is left.
            if *amount > 0 && *left < *amount {
                return false;
            }
            *left -= amount;
        }
        for _ in 0..demand[0] / WHOLE {
            let Some(gpu) = self.gpus.iter_mut().find(|gpu| **gpu == WHOLE) else { return false };
            *gpu = 0;
        }
        let part = demand[0] % WHOLE;
        let fullest = self.gpus.iter_mut().filter(|gpu| part > 0 && **gpu >= part).min();
        match fullest {
            Some(gpu) => *gpu -= part,
            None => return part == 0,
        }
        true
    }
}

/// A cluster, as a model and as a table.
pub struct Cluster {
    pub nodes: Vec<ModelNode>,
    pub table: NodeTable,
}

impl Cluster {
    /// Nodes with these totals, and what runs on them: node and demand, each of which fits.
    pub fn new(policy: &str, totals: &[Amounts], running: &[(usize, Amounts)]) -> Self {
        let policy = Policy::named(policy, Parameters::default()).expect("a policy of that name");
        let mut table = NodeTable::new(policy, UnitResources::named(UNIT_RESOURCES));
        for (node, total) in (0..).zip(totals) {
            table.report(NodeId(node), resources(total)).expect("there is room");
        }
        let nodes = totals.iter().copied().map(ModelNode::new).collect();
        let mut cluster = Self { nodes, table };
        for (node, demand) in running {
            assert!(cluster.nodes[*node].take(demand));
            let demand = cluster.demand(demand).expect("it fits");
            cluster.table.place(*node as u32, &demand);
        }
        cluster.table.settle();
        cluster
    }

    /// A demand; `None` where it asks for what no node has.
    fn demand(&self, amounts: &Amounts) -> Option<Demand> {
        let mut demand = Demand::default();
        self.table.resolve(resources(amounts), &mut demand).ok().map(|()| demand)
    }

    /// Plans a gang, and checks that it can be placed in the order given. Returns the node of each demand.
    pub fn plan(&self, demands: &[Amounts], strategy: Strategy, strict: bool) -> Result<Vec<usize>, GangError> {
        let resolved: Option<Vec<Demand>> = demands.iter().map(|amounts| self.demand(amounts)).collect();
        let resolved = resolved.ok_or(GangError::Infeasible)?;
        let placements = gang::plan(&self.table, &Profile::default(), &resolved, strategy, strict)?;
        let mut nodes = vec![usize::MAX; demands.len()];
        for placement in &placements {
            assert_eq!(std::mem::replace(&mut nodes[placement.demand], placement.slot as usize), usize::MAX);
        }
        assert!(placements.len() == demands.len());
        let fits_into = |mut left: Vec<ModelNode>| {
            placements.iter().all(|placement| left[placement.slot as usize].take(&demands[placement.demand]))
        };
        let totals = self.nodes.iter().map(|node| ModelNode::new(node.total)).collect();
        assert!(fits_into(self.nodes.clone()) || !strict && fits_into(totals), "{demands:?} on {nodes:?}");
        match strategy {
            Strategy::StrictPack => assert!(node_count(&nodes) <= 1),
            Strategy::StrictSpread => assert_eq!(node_count(&nodes), nodes.len()),
            Strategy::Pack | Strategy::Spread => {}
        }
        Ok(nodes)
    }
}

/// How many different nodes there are.
pub fn node_count(nodes: &[usize]) -> usize {
    nodes.iter().collect::<BTreeSet<_>>().len()
}

fn resources(amounts: &Amounts) -> impl Iterator<Item = (&'static [u8], Amount)> + Clone + '_ {
    NAMES.iter().zip(amounts).map(|(name, &amount)| (name.as_bytes(), Amount::from_units(amount)))
}
