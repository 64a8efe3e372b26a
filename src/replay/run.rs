//! Every test, for every policy and seed, one after the other.

use std::ops::RangeInclusive;

use fastrand::Rng;

use super::churn::{Churn, ChurnSummary};
use super::cluster::{Cluster, Decisions};
use super::fill::{Fill, FillSummary};
use super::queue::{Queue, QueueSummary};
use super::trace::Trace;
use crate::scheduler::policy::{Parameters, Policy};
use crate::scheduler::units::UnitResources;

/// Which tests are run, and with which seeds.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A seed decides the order of nodes and tasks, and what policies choose at random.
    pub seeds: RangeInclusive<u64>,
    /// Resources whose units are kept apart.
    pub unit_resources: UnitResources,
    pub fill: Option<Fill>,
    pub churn: Option<Churn>,
    pub queue: Option<Queue>,
}

/// What a policy has shown.
#[derive(Clone, Debug)]
pub struct PolicyResult {
    pub name: &'static str,
    pub fill: Option<FillSummary>,
    pub churn: Option<ChurnSummary>,
    pub queue: Option<QueueSummary>,
    pub decisions: Decisions,
}

impl Plan {
    fn tests(&self) -> usize {
        usize::from(self.fill.is_some()) + usize::from(self.churn.is_some()) + usize::from(self.queue.is_some())
    }

    /// Runs every test for each of the policies, whose own seed is replaced. `progress` is told the part that is done.
    pub fn run(
        &self,
        trace: &Trace,
        policies: &[&'static str],
        parameters: Parameters,
        progress: &mut dyn FnMut(f64),
    ) -> Vec<PolicyResult> {
        let seeds = (self.seeds.end() - self.seeds.start()) as f64 + 1.0;
        let runs = policies.len() as f64 * seeds * self.tests() as f64;
        let mut done = 0.0;
        let mut results = Vec::new();
        for &name in policies {
            let mut result =
                PolicyResult { name, fill: None, churn: None, queue: None, decisions: Decisions::default() };
            for seed in self.seeds.clone() {
                let Some(policy) = Policy::named(name, Parameters { seed, ..parameters }) else { continue };
                self.run_once(trace, policy, &mut result, &mut |test, part| progress((done + test + part) / runs));
                done += self.tests() as f64;
            }
            results.push(result);
        }
        results
    }

    /// Runs every test with one policy and seed. `progress` is told the tests and the part of the next that are done.
    fn run_once(&self, trace: &Trace, policy: Policy, result: &mut PolicyResult, progress: &mut dyn FnMut(f64, f64)) {
        let mut done = 0.0;
        // Forked, so that the policy, which has the same seed, does not see the same random numbers. Every test has the
        // same ones under every policy.
        let start = || {
            let mut random = Rng::with_seed(policy.parameters().seed).fork();
            (Cluster::new(trace, policy, self.unit_resources.clone(), &mut random), random)
        };
        if let Some(fill) = &self.fill {
            let (mut cluster, mut random) = start();
            let run = fill.run(trace, &mut cluster, &mut random, &mut |part| progress(done, part));
            result.fill.get_or_insert_default().add(&run);
            result.decisions.add(cluster.decisions());
            done += 1.0;
        }
        if let Some(churn) = &self.churn {
            let (mut cluster, mut random) = start();
            let run = churn.run(trace, &mut cluster, &mut random, &mut |part| progress(done, part));
            result.churn.get_or_insert_default().add(&run);
            result.decisions.add(cluster.decisions());
            done += 1.0;
        }
        if let Some(queue) = &self.queue {
            let (mut cluster, _) = start();
            let run = queue.run(trace, &mut cluster, &mut |part| progress(done, part));
            result.queue.get_or_insert_default().add(run);
            result.decisions.add(cluster.decisions());
        }
    }
}
