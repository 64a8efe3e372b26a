//! What the protocol says of nodes and placements, in the plainest way.

use std::collections::{BTreeMap, BTreeSet};

use external_scheduler::scheduler::amount::Amount;
use external_scheduler::scheduler::view::View;
use external_scheduler::wire::NodeId;
use external_scheduler::wire::extension::Strategy;
use serde_json::{Map, Value};

/// A list of resources: names with amounts in multiples of 1/10,000, in the order of the list.
pub type Amounts = Vec<(String, i64)>;

/// A node as the protocol describes it: amounts by name, in multiples of 1/10,000.
#[derive(Clone, Debug, Default)]
pub struct ModelNode {
    pub total: BTreeMap<String, i64>,
    pub available: BTreeMap<String, i64>,
    pub reserved: BTreeMap<String, i64>,
    pub queued: u32,
    pub draining: bool,
    /// What is free of each GPU; `None` where they are not told apart.
    gpus: Option<Vec<i64>>,
}

/// What a task asks for: positive amounts.
pub type Demand = BTreeMap<String, i64>;

/// What a list asks for: the last amount of each name counts, and zero is no demand.
pub fn demand_of(list: &Amounts) -> Demand {
    let mut demand: Demand = list.iter().cloned().collect();
    demand.retain(|_, amount| *amount > 0);
    demand
}

const GPU: &str = "GPU";
const WHOLE: i64 = 10_000;

impl ModelNode {
    pub fn is_feasible(&self, demand: &Demand) -> bool {
        !self.draining && demand.iter().all(|(name, amount)| self.total.get(name).is_some_and(|total| total >= amount))
    }

    pub fn free(&self, name: &str) -> i64 {
        self.available.get(name).unwrap_or(&0) - self.reserved.get(name).unwrap_or(&0)
    }

    pub fn is_free(&self, demand: &Demand) -> bool {
        self.is_feasible(demand)
            && demand.iter().all(|(name, amount)| self.free(name) >= *amount)
            && demand.get(GPU).is_none_or(|&amount| self.gpus.is_none() || self.gpus_for(amount).is_some())
    }

    /// What a node has: of its GPUs as many whole ones as there can be.
    fn of(resources: &Amounts) -> Self {
        let total: BTreeMap<_, _> = resources.iter().cloned().collect();
        let sum = (*total.get(GPU).unwrap_or(&0)).max(0);
        let gpus = (0..(sum + WHOLE - 1) / WHOLE).map(|gpu| (sum - gpu * WHOLE).min(WHOLE)).collect();
        Self { available: total.clone(), total, gpus: Some(gpus), ..Self::default() }
    }

    /// Reserves a demand, and takes GPUs for it if it need not wait for them.
    pub fn place(&mut self, demand: &Demand) {
        let taken = demand.get(GPU).and_then(|&amount| self.gpus_for(amount)).unwrap_or_default();
        if let Some(gpus) = &mut self.gpus {
            taken.into_iter().for_each(|(gpu, amount)| gpus[gpu] -= amount);
        }
        for (name, amount) in demand {
            *self.reserved.entry(name.clone()).or_default() += amount;
        }
        self.queued += 1;
    }

    /// Which GPUs are taken for an amount, and how much of each: free ones for the whole part, and for what is left the
    /// fullest one that holds it.
    fn gpus_for(&self, amount: i64) -> Option<Vec<(usize, i64)>> {
        let gpus = self.gpus.as_ref()?;
        let mut order: Vec<usize> = (0..gpus.len()).collect();
        order.sort_by_key(|&gpu| gpus[gpu]);
        let free = order.iter().rev().filter(|&&gpu| gpus[gpu] == WHOLE);
        let mut taken: Vec<(usize, i64)> = free.take((amount / WHOLE) as usize).map(|&gpu| (gpu, WHOLE)).collect();
        let part = amount % WHOLE;
        if part > 0 {
            let is_taken = |gpu: usize| taken.iter().any(|&(other, _)| other == gpu);
            let fullest = order.iter().find(|&&gpu| gpus[gpu] >= part && !is_taken(gpu))?;
            taken.push((*fullest, part));
        }
        (taken.iter().map(|&(_, taken)| taken).sum::<i64>() == amount).then_some(taken)
    }
}

/// The nodes in the order of their slots.
#[derive(Debug, Default)]
pub struct Model {
    slots: Vec<Option<(NodeId, ModelNode)>>,
    vacant: Vec<usize>,
    largest: BTreeMap<String, i64>,
}

/// What a decision has to keep to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    pub strict: bool,
    pub is_best_fit: bool,
    pub preferred: &'a [NodeId],
    pub avoided: &'a [NodeId],
}

impl Model {
    pub fn add(&mut self, id: NodeId, resources: &Amounts) {
        self.set(id, ModelNode::of(resources));
    }

    /// Puts a node in its slot, or in the one left last, or in a new one.
    pub fn set(&mut self, id: NodeId, node: ModelNode) {
        for (name, amount) in &node.total {
            let largest = self.largest.entry(name.clone()).or_default();
            *largest = *amount.max(largest);
        }
        let place = self.slots.iter().position(|slot| slot.as_ref().is_some_and(|(other, _)| *other == id));
        match place.or_else(|| self.vacant.pop()) {
            Some(place) => self.slots[place] = Some((id, node)),
            None => self.slots.push(Some((id, node))),
        }
    }

    pub fn remove(&mut self, id: NodeId) {
        if let Some(place) = self.slots.iter().position(|slot| slot.as_ref().is_some_and(|(other, _)| *other == id)) {
            self.slots[place] = None;
            self.vacant.push(place);
        }
    }

    /// The nodes in the order of their slots.
    pub fn nodes(&self) -> impl Iterator<Item = &(NodeId, ModelNode)> {
        self.slots.iter().flatten()
    }

    pub fn node(&self, id: NodeId) -> Option<&ModelNode> {
        self.nodes().find(|(other, _)| *other == id).map(|(_, node)| node)
    }

    pub fn node_mut(&mut self, id: NodeId) -> Option<&mut ModelNode> {
        self.slots.iter_mut().flatten().find(|(other, _)| *other == id).map(|(_, node)| node)
    }

    /// Best fit's score, in double precision.
    fn score(&self, node: &ModelNode) -> f64 {
        let left = |(name, largest): (&String, &i64)| match largest {
            _ if name.ends_with("memory") => 0.0,
            0 => 0.0,
            largest => node.free(name).max(0) as f64 / *largest as f64,
        };
        -self.largest.iter().map(left).sum::<f64>()
    }

    /// Checks a decision. What every policy must do is checked, and which node best fit takes.
    pub fn check(&self, demand: &Demand, decision: Option<NodeId>, rules: Rules) {
        let Rules { strict, is_best_fit, preferred, avoided } = rules;
        let nodes: Vec<&(NodeId, ModelNode)> = self.nodes().filter(|(id, _)| !avoided.contains(id)).collect();
        let free: Vec<_> = nodes.iter().filter(|(_, node)| node.is_free(demand)).copied().collect();
        let preferred: Vec<_> = free.iter().filter(|(id, _)| preferred.contains(id)).copied().collect();
        let candidates: Vec<_> = match () {
            () if !preferred.is_empty() => preferred,
            () if !free.is_empty() || strict => free,
            () => nodes.into_iter().filter(|(_, node)| node.is_feasible(demand)).collect(),
        };
        let Some(id) = decision else {
            assert!(candidates.is_empty(), "{demand:?} was refused, but fits on {candidates:?}");
            return;
        };
        let Some((_, chosen)) = candidates.iter().find(|(other, _)| *other == id) else {
            panic!("{demand:?} was placed on {id}, but only fits on {candidates:?}")
        };
        if demand.is_empty() || !chosen.is_free(demand) {
            let fewest = candidates.iter().map(|(_, node)| node.queued).min();
            assert_eq!(Some(chosen.queued), fewest, "{demand:?} queues where the fewest do");
        } else if is_best_fit {
            let best = candidates.iter().map(|(_, node)| self.score(node)).fold(f64::MIN, f64::max);
            // The scheduler scores in single precision.
            assert!(self.score(chosen) >= best - 1e-5, "{demand:?}: {} is not the best, {best}", self.score(chosen));
        }
    }

    /// Checks a decision and enters it.
    pub fn place(&mut self, demand: &Demand, decision: Option<NodeId>, rules: Rules) {
        self.check(demand, decision, rules);
        if let Some(id) = decision {
            self.node_mut(id).expect("it was found above").place(demand);
        }
    }

    /// Compares the nodes and their sums with what stats say of a view.
    pub fn compare_shown(&self, view: &Value) {
        let nodes = view["nodes"].as_array().expect("stats list nodes");
        let ids: Vec<i64> = nodes.iter().map(|node| node["id"].as_i64().expect("an id")).collect();
        assert_eq!(ids, self.nodes().map(|(id, _)| id.0).collect::<Vec<_>>());
        let mut sums = [(); 3].map(|()| BTreeMap::new());
        for (shown, (id, node)) in nodes.iter().zip(self.nodes()) {
            assert_eq!(shown["queued"], node.queued, "{id}");
            assert_eq!(shown["draining"], node.draining, "{id}");
            let kinds = [&node.total, &node.available, &node.reserved];
            for (sums, amounts) in sums.iter_mut().zip(kinds) {
                amounts.iter().for_each(|(name, amount)| *sums.entry(name.clone()).or_default() += amount);
            }
            compare_amounts(&shown["resources"], kinds, &format!("of {id}"));
        }
        compare_amounts(&view["resources"], sums.each_ref(), "in all");
        let queued: u32 = self.nodes().map(|(_, node)| node.queued).sum();
        assert_eq!(view["placements"], queued);
    }

    /// Counts what explain has counted.
    pub fn check_explanation(&self, shown: &Value, demand: &Demand, strict: bool, has_units: bool) {
        let nodes: Vec<&ModelNode> = self.nodes().map(|(_, node)| node).collect();
        let open: Vec<_> = nodes.iter().filter(|node| !node.draining).collect();
        let count = |is_it: &dyn Fn(&ModelNode) -> bool| open.iter().filter(|node| is_it(node)).count();
        assert_eq!(shown["nodes"], nodes.len());
        assert_eq!(shown["draining"], nodes.len() - open.len());
        assert_eq!(shown["feasible"], count(&|node| node.is_feasible(demand)));
        if has_units {
            return;
        }
        let free = count(&|node| node.is_free(demand));
        assert_eq!(shown["free"], free);
        let verdict = match () {
            () if nodes.is_empty() => "no nodes",
            () if free > 0 => "runs",
            () if shown["feasible"] == 0 => "infeasible",
            () if strict => "nothing free",
            () => "queues",
        };
        assert_eq!(shown["verdict"], verdict);
        assert_eq!(shown["resources"].as_object().map(Map::len), Some(demand.len()));
        for (name, &amount) in demand {
            let total = |node: &ModelNode| *node.total.get(name).unwrap_or(&0);
            let shown = &shown["resources"][name];
            assert_eq!(shown["lacking"], count(&|node| total(node) <= 0), "{name}");
            assert_eq!(shown["too_little_total"], count(&|node| total(node) > 0 && total(node) < amount), "{name}");
            let is_short = |node: &ModelNode| total(node) >= amount && node.free(name) < amount;
            assert_eq!(shown["too_little_free"], count(&is_short), "{name}");
        }
    }

    /// Checks that a gang is placed as its strategy says.
    pub fn check_gang(&self, demands: &[Demand], nodes: &[NodeId], strategy: Strategy, strict: bool) {
        let different = nodes.iter().collect::<BTreeSet<_>>().len();
        match strategy {
            Strategy::StrictPack => assert!(different <= 1),
            Strategy::StrictSpread => assert_eq!(different, nodes.len()),
            Strategy::Each | Strategy::Pack | Strategy::Spread => {}
        }
        let fits = |is_anything_running: bool| {
            nodes.iter().all(|&id| {
                let node = self.node(id).expect("a gang is placed on nodes that are there");
                let here =
                    || demands.iter().zip(nodes).filter(|&(_, &other)| other == id).flat_map(|(demand, _)| demand);
                here().all(|(name, _)| {
                    let sum: i64 = here().filter(|(other, _)| *other == name).map(|(_, amount)| amount).sum();
                    let total = *node.total.get(name).unwrap_or(&0);
                    sum <= if is_anything_running { node.free(name) } else { total }
                }) && demands.iter().zip(nodes).all(|(demand, &other)| other != id || node.is_feasible(demand))
            })
        };
        assert!(
            fits(true) || !strict && fits(false),
            "{strategy:?}, strict {strict}: {demands:?} on {:?}",
            nodes.iter().map(|&id| (id, self.node(id))).collect::<Vec<_>>()
        );
    }

    /// Compares what the scheduler knows of every node, in the order of slots.
    pub fn compare(&self, view: &View, names: &[&str]) {
        let nodes: Vec<&(NodeId, ModelNode)> = self.slots.iter().flatten().collect();
        assert_eq!(
            view.nodes().map(|node| node.id()).collect::<Vec<_>>(),
            nodes.iter().map(|(id, _)| *id).collect::<Vec<_>>()
        );
        for (node, (_, model)) in view.nodes().zip(nodes) {
            assert_eq!(node.queued(), model.queued);
            for &name in names {
                let cell = node.cell_of(name.as_bytes());
                assert_eq!(cell.total.units(), *model.total.get(name).unwrap_or(&0), "{name}");
                assert_eq!(cell.free().units(), model.free(name), "{name}");
            }
        }
    }
}

/// Compares amounts of stats with the total, available and reserved ones that they should be.
fn compare_amounts(shown: &Value, kinds: [&BTreeMap<String, i64>; 3], what: &str) {
    let shown = shown.as_object().expect("resources by name");
    for (kind, amounts) in ["total", "available", "reserved"].into_iter().zip(kinds) {
        for name in amounts.keys().chain(shown.keys()) {
            let amount = Amount::from_units(*amounts.get(name).unwrap_or(&0)).to_f64();
            let shown = shown.get(name).map_or(0.0, |amounts| amounts[kind].as_f64().expect("an amount"));
            // Large amounts are shown as the nearest double.
            assert!((shown - amount).abs() <= amount.abs() * 1e-15, "{kind} {name} {what}: {shown}, not {amount}");
        }
    }
}

pub const NAMES: [&str; 8] =
    ["CPU", "GPU", "memory", "object_store_memory", "node:10.0.0.1", "fpga", "CPU_group_ab12", "bundle_group_0_ab12"];

/// Mostly small amounts in steps that make exact fits, zeros and ties common.
fn amount(random: &mut fastrand::Rng) -> i64 {
    match random.u8(0..10) {
        0 => 0,
        1..=3 => random.i64(0..50) * 1_000,
        _ => random.i64(0..9) * 10_000,
    }
}

pub fn random_resources(random: &mut fastrand::Rng, names_max: usize, lowest: i64) -> Amounts {
    let count = random.usize(0..=names_max);
    // The same name twice is legal: the last one counts.
    (0..count).map(|_| (NAMES[random.usize(0..NAMES.len())].to_owned(), amount(random).max(lowest))).collect()
}

pub fn on_wire(resources: &Amounts) -> impl Iterator<Item = (&[u8], Amount)> {
    resources.iter().map(|(name, amount)| (name.as_bytes(), Amount::from_units(*amount)))
}
