//! The cached ranks and a look at every node choose the same node, whatever happens to nodes in between.
//!
//! A dry run looks at every node. The policies that learn are left out: the ranks that they cache may be by an older
//! profile than a dry run's.

use external_scheduler::scheduler::amount::Amount;
use external_scheduler::scheduler::policy::{DEFINITIONS, Parameters, Policy};
use external_scheduler::scheduler::units::{UNIT_RESOURCES, UnitResources};
use external_scheduler::scheduler::view::{Hints, View, ViewOptions};
use external_scheduler::wire::NodeId;
use external_scheduler::wire::resources::{self, Meaning, Resources};

/// Random steps, over all policies.
const STEPS: usize = 1_000_000;

/// Enough for resources to change between rare and common.
const NODES: i64 = 12;

const NAMES: [&str; 6] = ["CPU", "GPU", "memory", "node:10.0.0.1", "CPU_group_ab12", "bundle_group_0_ab12"];

/// A list of resources on the wire, with amounts in steps that make exact fits and ties common.
fn random_list(random: &mut fastrand::Rng, names_max: usize) -> Vec<u8> {
    let mut list = Vec::new();
    for _ in 0..random.usize(0..=names_max) {
        let amount = if random.u8(0..3) == 0 { random.i64(0..40) * 1_000 } else { random.i64(0..9) * 10_000 };
        resources::append(&mut list, NAMES[random.usize(0..NAMES.len())].as_bytes(), Amount::from_units(amount));
    }
    list
}

fn parse(list: &[u8]) -> Resources<'_> {
    Resources::parse(list, Meaning::Demand).expect("it is well-formed")
}

fn drive(policy: Policy, steps: usize, random: &mut fastrand::Rng) {
    let unit_resources = UnitResources::named(UNIT_RESOURCES);
    let options = ViewOptions { strict: false, nodes_max: 1_000, policy, unit_resources, ..ViewOptions::default() };
    let mut view = View::new(&options);
    let mut placed: Vec<(NodeId, Vec<u8>)> = Vec::new();
    for _ in 0..steps {
        let node = NodeId(random.i64(0..NODES));
        match random.u8(0..100) {
            0..12 => view.report(node, parse(&random_list(random, 5)), &options).expect("there is room"),
            12..18 => {
                let (available, total) = (random_list(random, 5), random_list(random, 5));
                view.update(node, parse(&available), parse(&total), &options).expect("there is room");
            }
            18..20 => {
                let (available, total) = (random_list(random, 5), random_list(random, 5));
                view.replace(node, parse(&available), parse(&total), &options).expect("there is room");
            }
            20..24 => view.remove(node),
            24..26 => _ = view.drain(node, random.bool()),
            26..45 if !placed.is_empty() => {
                let (node, demand) = placed.swap_remove(random.usize(0..placed.len()));
                // It may be gone with its node, or with a report.
                _ = view.release(node, parse(&demand), 1);
            }
            _ => {
                let demand = random_list(random, 2);
                let hints = Hints { dry_run: true, ..Hints::default() };
                let scanned = view.schedule_with_hints(parse(&demand), &hints).map(|placement| placement.node);
                let cached = view.schedule(parse(&demand), &options).map(|placement| placement.node);
                assert_eq!(cached, scanned, "{} places {:?}", policy.name(), parse(&demand).collect::<Vec<_>>());
                placed.extend(cached.ok().map(|node| (node, demand)));
            }
        }
    }
}

#[test]
fn the_cache_and_a_scan_choose_the_same_node() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let policies = DEFINITIONS.iter().filter_map(|definition| {
        let parameters = Parameters { seed, ..Parameters::default() };
        Policy::named(definition.name, parameters).filter(|policy| !policy.learns())
    });
    let policies: Vec<Policy> = policies.collect();
    for &policy in &policies {
        drive(policy, STEPS / policies.len(), &mut random);
    }
}
