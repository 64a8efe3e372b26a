//! A simulated cluster: what the decision benches drive.

use external_scheduler::scheduler::amount::Amount;
use external_scheduler::scheduler::policy::{Parameters, Policy};
use external_scheduler::scheduler::view::{View, ViewOptions};
use external_scheduler::wire::NodeId;
use external_scheduler::wire::resources::{self, Meaning, Resources};

/// What follows a placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Nothing: nodes are so large that they never fill.
    None,
    /// Its node is removed and added with what is left of it.
    RemoveAndAdd,
    /// Its node is reported again, in place.
    InPlace,
}

/// A cluster and what runs on it.
pub struct Scenario {
    view: View,
    options: ViewOptions,
    update: Update,
    demands: Vec<Vec<u8>>,
    step: usize,
    /// The report that is sent next.
    report: Vec<u8>,
    /// Where in the report the amounts are that change.
    value_places: [usize; 4],
    /// What is reported of nodes of each size, over and over.
    values: [Vec<[f64; 4]>; SIZES],
    /// The digits in the name that is a node's own.
    digits: Vec<[u8; DIGITS]>,
    reports: usize,
}

/// Sizes of nodes, and reports of each that differ: made in advance, since a decision is not to be charged with them.
const SIZES: usize = 4;
const REPORTS: usize = 1 << 10;

/// Digits that tell nodes apart.
const DIGITS: usize = 5;

impl Scenario {
    /// `names` is the number of resources of a node.
    pub fn new(policy: &str, nodes: usize, classes: usize, names: usize, update: Update) -> Self {
        let policy = Policy::named(policy, Parameters::default()).expect("a policy of that name");
        let options = ViewOptions { strict: false, nodes_max: 1 << 20, policy, ..ViewOptions::default() };
        let demand = |class: usize| {
            let mut bytes = Vec::new();
            resources::append(&mut bytes, b"CPU", Amount::from_f64(1.0 + (class % 16) as f64 / 4.0));
            resources::append(&mut bytes, b"memory", Amount::from_f64(1e9 + (class / 16) as f64 * 1e6));
            bytes
        };
        let mut scenario = Self {
            view: View::new(&options),
            options,
            update,
            demands: (0..classes).map(demand).collect(),
            step: 0,
            report: Vec::new(),
            value_places: [0; 4],
            values: values(if update == Update::None { 1e6 } else { 1.0 }),
            digits: (0..nodes)
                .map(|node| [4, 3, 2, 1, 0].map(|power| b'0' + (node / 10usize.pow(power) % 10) as u8))
                .collect(),
            reports: 0,
        };
        for (place, name) in scenario.value_places.iter_mut().zip(["CPU", "GPU", "memory", "object_store_memory"]) {
            resources::append(&mut scenario.report, name.as_bytes(), Amount::WHOLE);
            *place = scenario.report.len() - 8;
        }
        for name in 5..names {
            resources::append(&mut scenario.report, format!("custom_{name}").as_bytes(), Amount::WHOLE);
        }
        resources::append(&mut scenario.report, b"node:10.00000", Amount::WHOLE);
        (0..nodes).for_each(|node| scenario.report(node));
        scenario
    }

    /// Decisions for each demand until all nodes are ranked for it, which is not what is measured, or as many as take
    /// a second or so.
    pub fn warm_up(&mut self) {
        let for_each_demand = 4 + self.digits.len() / 100;
        (0..(for_each_demand * self.demands.len()).min(50_000)).for_each(|_| self.decide());
    }

    /// One decision and the update that follows. A function of its own, for a profiler to tell what is in it.
    #[inline(never)]
    pub fn decide(&mut self) {
        self.step += 1;
        let demand = &self.demands[self.step % self.demands.len()];
        let demand = Resources::parse(demand, Meaning::Demand).expect("it is well-formed");
        let node = self.view.schedule(demand, &self.options).expect("nodes are large enough").node;
        if self.update == Update::RemoveAndAdd {
            self.view.remove(node);
        }
        if self.update != Update::None {
            self.report(node.0 as usize);
        }
    }

    /// Reports a node.
    fn report(&mut self, node: usize) {
        self.reports += 1;
        let values = self.values[node % SIZES][self.reports % REPORTS];
        for (place, value) in self.value_places.into_iter().zip(values) {
            self.report[place..][..8].copy_from_slice(&f64::to_le_bytes(value));
        }
        // The last name is "node:10.", the digits, and before the amount a 0.
        let digits = self.report.len() - 9 - DIGITS;
        self.report[digits..][..DIGITS].copy_from_slice(&self.digits[node]);
        let resources = Resources::parse(&self.report, Meaning::Report).expect("it is well-formed");
        self.view.report(NodeId(node as i64), resources, &self.options).expect("below the limit");
    }
}

/// What nodes of 32 to 128 CPUs report: a tenth to nine tenths of them unused, as tasks come and go.
fn values(scale: f64) -> [Vec<[f64; 4]>; SIZES] {
    let mut random = fastrand::Rng::with_seed(1);
    std::array::from_fn(|size| {
        let cpus = 32.0 * (1 + size) as f64 * scale;
        let mut report = || {
            let left = (cpus * (0.1 + 0.8 * random.f64())).round();
            let gib = f64::from(1 << 30);
            [left, 8.0, 4.0 * left * gib, cpus * gib]
        };
        (0..REPORTS).map(|_| report()).collect()
    })
}
