//! The cached ranks and a look at every node choose the same node, whatever happens to nodes in between.
//!
//! A dry run looks at every node. Under the policies that learn, the ranks that are cached may be by an older profile than a dry
//! run's, so only what does not depend on the profile is compared: whether the node is free, and why there is none.

use external_scheduler::scheduler::amount::Amount;
use external_scheduler::scheduler::policy::{DEFINITIONS, Parameters, Policy};
use external_scheduler::scheduler::units::{UNIT_RESOURCES, UnitResources};
use external_scheduler::scheduler::view::{Hints, Placement, View, ViewOptions};
use external_scheduler::wire::NodeId;
use external_scheduler::wire::resources::{self, Meaning, Resources};

/// Random steps, over all policies.
const STEPS: usize = 1_000_000;

/// Enough for resources to change between rare and common.
const FEW_NODES: i64 = 12;

/// Too many for a new demand to be ranked at once.
const MANY_NODES: i64 = 3_000;
const STEPS_WITH_MANY: usize = 60_000;

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

/// A few nodes, if any, of which some may not be there.
fn random_nodes(random: &mut fastrand::Rng, nodes: i64) -> Vec<NodeId> {
    (0..random.usize(0..4)).map(|_| NodeId(random.i64(0..nodes))).collect()
}

/// Takes steps of every kind in a view of one policy. Returns where the demands were placed.
fn drive(policy: Policy, nodes: i64, steps: usize, random: &mut fastrand::Rng) -> Vec<Option<NodeId>> {
    let unit_resources = UnitResources::named(UNIT_RESOURCES);
    let options =
        ViewOptions { strict: false, nodes_max: nodes as usize, policy, unit_resources, ..ViewOptions::default() };
    let mut view = View::new(&options);
    let mut placed: Vec<(NodeId, Vec<u8>)> = Vec::new();
    let mut placements = Vec::new();
    if nodes == MANY_NODES {
        for node in 0..nodes {
            view.report(NodeId(node), parse(&random_list(random, 5)), &options).expect("there is room");
        }
    }
    for _ in 0..steps {
        let node = NodeId(random.i64(0..nodes));
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
                let (preferred, avoided) = (random_nodes(random, nodes), random_nodes(random, nodes));
                let hints = match random.u8(0..4) {
                    0 => Hints { strict: random.bool(), preferred: &preferred, avoided: &avoided, ..Hints::default() },
                    1 => Hints { preferred: &preferred, ..Hints::default() },
                    _ => Hints::default(),
                };
                let of_placement = |placement: Placement| (placement.node, placement.is_free);
                let dry_run = Hints { dry_run: true, ..hints };
                let scanned = view.schedule_with_hints(parse(&demand), &dry_run).map(of_placement);
                let has_hints = hints.strict || !hints.preferred.is_empty() || !hints.avoided.is_empty();
                let cached = match random.bool() && !has_hints {
                    true => view.schedule(parse(&demand), &options),
                    false => view.schedule_with_hints(parse(&demand), &hints),
                };
                let cached = cached.map(of_placement);
                let list = || parse(&demand).collect::<Vec<_>>();
                match policy.learns() {
                    false => assert_eq!(cached, scanned, "{} places {:?}", policy.name(), list()),
                    true => assert_eq!(
                        cached.map(|(_, is_free)| is_free),
                        scanned.map(|(_, is_free)| is_free),
                        "{} places {:?}",
                        policy.name(),
                        list()
                    ),
                }
                placements.push(cached.ok().map(|(node, _)| node));
                placed.extend(cached.ok().map(|(node, _)| (node, demand)));
            }
        }
    }
    placements
}

/// Drives every policy with its share of some steps.
fn drive_all(nodes: i64, steps: usize) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for definition in &DEFINITIONS {
        let parameters = Parameters { seed, ..Parameters::default() };
        let policy = Policy::named(definition.name, parameters).expect("it has that name");
        drive(policy, nodes, steps / DEFINITIONS.len(), &mut random);
    }
}

#[test]
fn the_cache_and_a_scan_choose_the_same_node() {
    drive_all(FEW_NODES, STEPS);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "debug builds check every node after every step")]
fn a_demand_that_is_not_ranked_to_its_end_goes_where_a_scan_puts_it() {
    drive_all(MANY_NODES, STEPS_WITH_MANY);
}

#[test]
fn the_same_steps_give_the_same_placements() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    for definition in &DEFINITIONS {
        let policy = Policy::named(definition.name, Parameters::default()).expect("it has that name");
        let run = || drive(policy, FEW_NODES, 3_000, &mut fastrand::Rng::with_seed(seed));
        assert!(run() == run(), "{}", definition.name);
    }
}
