//! What it costs to plan a gang of 100 demands of four shapes over 1,000 nodes in use, by strategy.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use external_scheduler::scheduler::amount::Amount;
use external_scheduler::scheduler::gang::{self, Strategy};
use external_scheduler::scheduler::node_table::{Demand, NodeTable};
use external_scheduler::scheduler::policy::{Parameters, Policy};
use external_scheduler::scheduler::profile::{Count, Profile};
use external_scheduler::scheduler::units::{UNIT_RESOURCES, UnitResources};
use external_scheduler::wire::NodeId;

const NODES: usize = 1_000;
const DEMANDS: usize = 100;
const STRATEGIES: [Strategy; 4] = [Strategy::Pack, Strategy::Spread, Strategy::StrictPack, Strategy::StrictSpread];
const POLICIES: [&str; 2] = ["best-fit", "binpack"];

/// By name, in wholes.
type Amounts<'a> = &'a [(&'a str, f64)];

fn resources<'a>(amounts: Amounts<'a>) -> impl Iterator<Item = (&'a [u8], Amount)> + Clone {
    amounts.iter().map(|&(name, value)| (name.as_bytes(), Amount::from_f64(value)))
}

fn demand(table: &NodeTable, amounts: Amounts<'_>) -> Demand {
    let mut demand = Demand::default();
    table.resolve(resources(amounts), &mut demand).expect("nodes have all of it");
    demand
}

/// Nodes of 32 to 128 CPUs, a tenth to nine tenths of them free. One of them may be large enough for all of the gang.
fn table(policy: &str, has_large_node: bool) -> NodeTable {
    let policy = Policy::named(policy, Parameters::default()).expect("a policy of that name");
    let mut table = NodeTable::new(policy, UnitResources::named(UNIT_RESOURCES));
    let mut random = fastrand::Rng::with_seed(1);
    for node in 0..NODES {
        let is_large = has_large_node && node == NODES / 2;
        let (cpus, gpus) = if is_large { (1_024.0, 64.0) } else { (32.0 * (1 + node % 4) as f64, 8.0) };
        let total: Amounts = &[("CPU", cpus), ("GPU", gpus), ("memory", 4.0 * cpus)];
        table.report(NodeId(node as i64), resources(total)).expect("there is room");
        let used = (cpus * (0.1 + 0.8 * random.f64())).round();
        if !is_large {
            let running = demand(&table, &[("CPU", used), ("GPU", random.u8(0..=8).into()), ("memory", 3.0 * used)]);
            table.place(node as u32, &running);
        }
    }
    table.settle();
    table
}

fn plans(criterion: &mut Criterion) {
    let shapes: [Amounts; 4] = [
        &[("CPU", 4.0), ("GPU", 1.0), ("memory", 16.0)],
        &[("CPU", 8.0), ("memory", 16.0)],
        &[("CPU", 1.0), ("GPU", 0.25)],
        &[("CPU", 2.0), ("memory", 4.0)],
    ];
    for policy in POLICIES {
        let mut group = criterion.benchmark_group(format!("gang of {DEMANDS} over {NODES} nodes/{policy}"));
        for strategy in STRATEGIES {
            let table = table(policy, strategy == Strategy::StrictPack);
            let demands: Vec<Demand> = (0..DEMANDS).map(|index| demand(&table, shapes[index % shapes.len()])).collect();
            let profile = Profile::new(&table, demands.iter().map(|demand| Count { demand, count: 1 }));
            group.bench_function(BenchmarkId::from_parameter(format!("{strategy:?}")), |bencher| {
                bencher.iter(|| gang::plan(&table, &profile, &demands, strategy, true).expect("it fits"))
            });
        }
        group.finish();
    }
}

criterion_group!(benches, plans);
criterion_main!(benches);
