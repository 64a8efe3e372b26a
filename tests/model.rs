//! The scheduler against a naive second implementation of what the protocol says, driven by the same messages.

use std::collections::BTreeMap;

use external_scheduler::execute::session::Session;
use external_scheduler::execute::{Answer, LEASE, SchedulerService, ServiceOptions};
use external_scheduler::scheduler::amount::Amount;
use external_scheduler::scheduler::policy::{DEFINITIONS, Parameters, Policy};
use external_scheduler::scheduler::units::{UNIT_RESOURCES, UnitResources};
use external_scheduler::scheduler::view::{View, ViewOptions};
use external_scheduler::telemetry::server::ServerTelemetry;
use external_scheduler::wire::NodeId;
use external_scheduler::wire::frame::PREFIX_LENGTH;
use external_scheduler::wire::reply::Reply;
use external_scheduler::wire::request;
use external_scheduler::wire::resources::{self, Meaning, Resources};

type Amounts = Vec<(&'static str, i64)>;

/// A node as the protocol describes it: amounts by name, in multiples of 1/10,000.
#[derive(Clone, Debug, Default)]
struct ModelNode {
    total: BTreeMap<&'static str, i64>,
    reserved: BTreeMap<&'static str, i64>,
    queued: u32,
    /// What is free of each GPU.
    gpus: Vec<i64>,
}

const GPU: &str = "GPU";
const WHOLE: i64 = 10_000;

impl ModelNode {
    fn is_feasible(&self, demand: &BTreeMap<&str, i64>) -> bool {
        demand.iter().all(|(name, amount)| self.total.get(name).is_some_and(|total| total >= amount))
    }

    fn free(&self, name: &str) -> i64 {
        self.total.get(name).unwrap_or(&0) - self.reserved.get(name).unwrap_or(&0)
    }

    fn is_free(&self, demand: &BTreeMap<&str, i64>) -> bool {
        self.is_feasible(demand)
            && demand.iter().all(|(name, amount)| self.free(name) >= *amount)
            && demand.get(GPU).is_none_or(|&amount| self.gpus_for(amount).is_some())
    }

    /// What a node has: of its GPUs as many whole ones as there can be.
    fn of(resources: &Amounts) -> Self {
        let total: BTreeMap<_, _> = resources.iter().copied().collect();
        let sum = (*total.get(GPU).unwrap_or(&0)).max(0);
        let gpus = (0..(sum + WHOLE - 1) / WHOLE).map(|gpu| (sum - gpu * WHOLE).min(WHOLE)).collect();
        Self { total, gpus, ..Self::default() }
    }

    /// Which GPUs are taken for an amount, and how much of each: free ones for the whole part, and for what is left the
    /// fullest one that holds it.
    fn gpus_for(&self, amount: i64) -> Option<Vec<(usize, i64)>> {
        let mut order: Vec<usize> = (0..self.gpus.len()).collect();
        order.sort_by_key(|&gpu| self.gpus[gpu]);
        let free = order.iter().rev().filter(|&&gpu| self.gpus[gpu] == WHOLE);
        let mut taken: Vec<(usize, i64)> = free.take((amount / WHOLE) as usize).map(|&gpu| (gpu, WHOLE)).collect();
        let part = amount % WHOLE;
        if part > 0 {
            let is_taken = |gpu: usize| taken.iter().any(|&(other, _)| other == gpu);
            let fullest = order.iter().find(|&&gpu| self.gpus[gpu] >= part && !is_taken(gpu))?;
            taken.push((*fullest, part));
        }
        (taken.iter().map(|&(_, taken)| taken).sum::<i64>() == amount).then_some(taken)
    }
}

/// The nodes in the order of their slots.
#[derive(Debug, Default)]
struct Model {
    slots: Vec<Option<(NodeId, ModelNode)>>,
    vacant: Vec<usize>,
    largest: BTreeMap<&'static str, i64>,
}

impl Model {
    fn add(&mut self, id: NodeId, resources: &Amounts) {
        let node = ModelNode::of(resources);
        for (name, amount) in &node.total {
            let largest = self.largest.entry(name).or_default();
            *largest = *amount.max(largest);
        }
        let place = self.slots.iter().position(|slot| slot.as_ref().is_some_and(|(other, _)| *other == id));
        match place.or_else(|| self.vacant.pop()) {
            Some(place) => self.slots[place] = Some((id, node)),
            None => self.slots.push(Some((id, node))),
        }
    }

    fn remove(&mut self, id: NodeId) {
        if let Some(place) = self.slots.iter().position(|slot| slot.as_ref().is_some_and(|(other, _)| *other == id)) {
            self.slots[place] = None;
            self.vacant.push(place);
        }
    }

    /// Best fit's score, in double precision.
    fn score(&self, node: &ModelNode) -> f64 {
        let left = |(name, largest): (&&str, &i64)| match largest {
            _ if name.ends_with("memory") => 0.0,
            0 => 0.0,
            largest => node.free(name).max(0) as f64 / *largest as f64,
        };
        -self.largest.iter().map(left).sum::<f64>()
    }

    /// Checks a decision and enters it. What every policy must do is checked, and which node best fit takes.
    fn place(&mut self, demand: &Amounts, decision: Option<NodeId>, strict: bool, is_best_fit: bool) {
        let mut wanted: BTreeMap<&str, i64> = demand.iter().copied().collect();
        wanted.retain(|_, amount| *amount > 0);
        let nodes: Vec<&(NodeId, ModelNode)> = self.slots.iter().flatten().collect();
        let free: Vec<_> = nodes.iter().filter(|(_, node)| node.is_free(&wanted)).collect();
        let feasible: Vec<_> = nodes.iter().filter(|(_, node)| node.is_feasible(&wanted)).collect();
        let candidates = if !free.is_empty() {
            free
        } else if strict {
            vec![]
        } else {
            feasible
        };
        let Some(id) = decision else {
            assert!(candidates.is_empty(), "{demand:?} was refused, but fits on {candidates:?}");
            return;
        };
        let Some((_, chosen)) = candidates.iter().find(|(other, _)| *other == id) else {
            panic!("{demand:?} was placed on {id}, but only fits on {candidates:?}")
        };
        let is_free = chosen.is_free(&wanted);
        if wanted.is_empty() || !is_free {
            let fewest = candidates.iter().map(|(_, node)| node.queued).min();
            assert_eq!(Some(chosen.queued), fewest, "{demand:?} queues where the fewest do");
        } else if is_best_fit {
            let best = candidates.iter().map(|(_, node)| self.score(node)).fold(f64::MIN, f64::max);
            // The scheduler scores in single precision.
            assert!(self.score(chosen) >= best - 1e-5, "{demand:?}: {} is not the best, {best}", self.score(chosen));
        }
        let (_, node) = self.slots.iter_mut().flatten().find(|(other, _)| *other == id).expect("it was found above");
        for (gpu, amount) in wanted.get(GPU).and_then(|&amount| node.gpus_for(amount)).unwrap_or_default() {
            node.gpus[gpu] -= amount;
        }
        for (name, amount) in wanted {
            *node
                .reserved
                .entry(demand.iter().find(|(other, _)| *other == name).expect("it is there").0)
                .or_default() += amount;
        }
        node.queued += 1;
    }

    /// Compares what the scheduler knows of every node, in the order of slots.
    fn compare(&self, view: &View, names: &[&'static str]) {
        let nodes: Vec<&(NodeId, ModelNode)> = self.slots.iter().flatten().collect();
        assert_eq!(
            view.nodes().map(|node| node.id()).collect::<Vec<_>>(),
            nodes.iter().map(|(id, _)| *id).collect::<Vec<_>>()
        );
        for (node, (_, model)) in view.nodes().zip(nodes) {
            assert_eq!(node.queued(), model.queued);
            for name in names {
                let cell = node.cell_of(name.as_bytes());
                assert_eq!(cell.total.units(), *model.total.get(name).unwrap_or(&0), "{name}");
                assert_eq!(cell.free().units(), model.free(name), "{name}");
            }
        }
    }
}

const NAMES: [&str; 8] =
    ["CPU", "GPU", "memory", "object_store_memory", "node:10.0.0.1", "fpga", "CPU_group_ab12", "bundle_group_0_ab12"];

/// Mostly small amounts in steps that make exact fits, zeros and ties common.
fn amount(random: &mut fastrand::Rng) -> i64 {
    match random.u8(0..10) {
        0 => 0,
        1..=3 => random.i64(0..50) * 1_000,
        _ => random.i64(0..9) * 10_000,
    }
}

fn random_resources(random: &mut fastrand::Rng, names_max: usize, lowest: i64) -> Amounts {
    let count = random.usize(0..=names_max);
    // The same name twice is legal: the last one counts.
    (0..count).map(|_| (NAMES[random.usize(0..NAMES.len())], amount(random).max(lowest))).collect()
}

fn on_wire(resources: &Amounts) -> impl Iterator<Item = (&[u8], Amount)> {
    resources.iter().map(|(name, amount)| (name.as_bytes(), Amount::from_units(*amount)))
}

fn drive(policy: &str, steps: usize, nodes: i64, strict: bool) {
    let seed = fastrand::u64(..);
    println!("policy {policy}, seed {seed}");
    let policy = Policy::named(policy, Parameters { seed, ..Parameters::default() }).expect("a policy of that name");
    let mut random = fastrand::Rng::with_seed(seed);
    let options =
        ViewOptions { strict, nodes_max: 1_000, policy, unit_resources: UnitResources::named(UNIT_RESOURCES) };
    let mut service = SchedulerService::new(ServiceOptions { view: options.clone(), lease: LEASE, token: None });
    let mut session = Session::New;
    let telemetry = ServerTelemetry::default();
    let mut model = Model::default();
    let mut frame = Vec::new();
    for step in 0..steps {
        frame.clear();
        // Any but -1, which no node has.
        let id = NodeId(random.i64(0..nodes) * 2 - 20);
        match random.u8(0..100) {
            0..20 => {
                let mut report = random_resources(&mut random, 6, i64::MIN);
                if random.u8(0..20) == 0 {
                    report.push(("CPU", -10_000));
                }
                request::append_add_node(&mut frame, id, on_wire(&report));
                assert_eq!(
                    service.run(&mut session, &frame[PREFIX_LENGTH..], &telemetry),
                    (Answer::Version1(Reply::Done), None)
                );
                model.add(id, &report);
            }
            20..26 => {
                request::append_remove_node(&mut frame, id);
                assert_eq!(
                    service.run(&mut session, &frame[PREFIX_LENGTH..], &telemetry),
                    (Answer::Version1(Reply::Done), None)
                );
                model.remove(id);
            }
            _ => {
                let demand = random_resources(&mut random, 3, 0);
                request::append_schedule(&mut frame, on_wire(&demand));
                let decision = match service.run(&mut session, &frame[PREFIX_LENGTH..], &telemetry) {
                    (Answer::Version1(Reply::Placed { node }), None) => Some(node),
                    (Answer::Version1(Reply::Refused), None) => None,
                    other => panic!("{other:?}"),
                };
                model.place(&demand, decision, strict, policy.name() == "best-fit");
            }
        }
        if step % 64 == 0 {
            model.compare(session.private_view(&options), &NAMES);
        }
    }
    model.compare(session.private_view(&options), &NAMES);
}

#[test]
fn a_few_nodes_whose_resources_are_all_rare() {
    drive("best-fit", 50_000, 6, false);
}

#[test]
fn nodes_enough_for_columns_and_for_resources_to_change_between_rare_and_common() {
    drive("best-fit", 30_000, 40, false);
}

#[test]
fn more_nodes_than_a_block_of_the_cache() {
    drive("best-fit", 20_000, 200, false);
}

#[test]
fn strict() {
    drive("best-fit", 30_000, 40, true);
}

#[test]
fn every_policy() {
    for definition in &DEFINITIONS {
        drive(definition.name, 5_000, 40, false);
        drive(definition.name, 2_000, 5, true);
    }
}

#[test]
fn names_that_come_and_go_leave_the_scheduler_as_it_was() {
    let options = ViewOptions {
        strict: false,
        nodes_max: 10,
        policy: Policy::default(),
        unit_resources: UnitResources::default(),
    };
    let mut view = View::new(&options);
    let one = Amount::from_f64(1.0);
    for round in 0..5_000 {
        let group = format!("CPU_group_{round}");
        for node in 0..3 {
            let resources = [(b"CPU".as_slice(), one), (group.as_bytes(), one)];
            view.report(NodeId(node), resources.into_iter(), &options).unwrap();
        }
        let mut schedule = |name: &str| {
            let mut bytes = Vec::new();
            resources::append(&mut bytes, name.as_bytes(), one);
            view.schedule(Resources::parse(&bytes, Meaning::Demand).unwrap(), &options)
                .ok()
                .map(|placement| placement.node)
        };
        assert!(schedule(&group).is_some());
        assert_eq!(schedule(&format!("CPU_group_{}", round - 1)), None);
    }
}
