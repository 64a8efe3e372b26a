//! The cluster of a trace under one policy: the server's own core, with the books that figures are made of.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::trace::{ResourceIndex, Trace};
use crate::scheduler::policy::Policy;
use crate::scheduler::units::UnitResources;
use crate::scheduler::view::{View, ViewOptions};
use crate::wire::NodeId;
use crate::wire::resources::Resources;

/// How often the scheduler was asked, and how long its answers took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decisions {
    pub count: u64,
    pub time: Duration,
}

impl Decisions {
    /// Decisions a second; `None` where there were none.
    pub fn per_second(&self) -> Option<f64> {
        (self.count > 0).then(|| self.count as f64 / self.time.as_secs_f64().max(1e-9))
    }

    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.count += other.count;
        self.time = self.time.saturating_add(other.time);
    }
}

/// The nodes of a trace and what is placed there.
#[derive(Debug)]
pub struct Cluster<'a> {
    trace: &'a Trace,
    options: ViewOptions,
    view: View,
    /// What each demand of the trace is to the scheduler.
    demands: Vec<Resources<'a>>,
    /// What is placed, in units of the amount, by resource.
    allocated: Vec<i128>,
    decisions: Decisions,
}

impl<'a> Cluster<'a> {
    /// The nodes of the trace, empty and in random order.
    pub fn new(trace: &'a Trace, policy: Policy, unit_resources: UnitResources, random: &mut Rng) -> Self {
        let options = ViewOptions {
            strict: true,
            nodes_max: trace.nodes.len(),
            policy,
            unit_resources,
            ..ViewOptions::default()
        };
        let mut view = View::new(&options);
        let mut order: Vec<usize> = (0..trace.nodes.len()).collect();
        random.shuffle(&mut order);
        for node in order {
            let amounts = trace.nodes[node].iter();
            let resources = amounts.map(|&(resource, amount)| (trace.resources[resource].as_bytes(), amount));
            let reported = view.report(NodeId(node as i64), resources, &options);
            debug_assert!(reported.is_ok(), "there is room for every node of the trace");
        }
        Self {
            trace,
            options,
            view,
            demands: trace.demands.iter().map(|demand| demand.resources()).collect(),
            allocated: vec![0; trace.resources.len()],
            decisions: Decisions::default(),
        }
    }

    /// Places a demand of the trace; `None` where it fits nowhere now.
    pub fn place(&mut self, demand: usize) -> Option<NodeId> {
        let start = Instant::now();
        let node = self.view.schedule(self.demands[demand], &self.options).ok().map(|placement| placement.node);
        self.decisions.time += start.elapsed();
        self.decisions.count += 1;
        if node.is_some() {
            for &(resource, amount) in &self.trace.demands[demand].amounts {
                self.allocated[resource] += i128::from(amount.units());
            }
        }
        node
    }

    /// Ends a placement of a demand on a node.
    pub fn release(&mut self, node: NodeId, demand: usize) {
        let released = self.view.release(node, self.demands[demand], 1);
        debug_assert!(released.is_ok(), "what is released was placed");
        for &(resource, amount) in &self.trace.demands[demand].amounts {
            self.allocated[resource] -= i128::from(amount.units());
        }
    }

    /// The share of all there is of a resource that is allocated, in percent; 0 where there is nothing.
    pub fn allocated(&self, resource: ResourceIndex) -> f64 {
        percent(self.allocated[resource], self.trace.capacity[resource])
    }

    /// What was asked so far.
    pub fn decisions(&self) -> Decisions {
        self.decisions
    }
}

/// A part of a whole in percent; 0 of nothing.
pub fn percent(part: i128, whole: i128) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * (part as f64 / whole as f64) }
}
