//! What a decision costs, by the number of nodes.

use std::sync::LazyLock;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use external_scheduler::scheduler::amount::Amount;
use external_scheduler::scheduler::policy::Policy;
use external_scheduler::scheduler::view::{View, ViewOptions};
use external_scheduler::wire::NodeId;
use external_scheduler::wire::resources::{self, Meaning, Resources};

static OPTIONS: LazyLock<ViewOptions> =
    LazyLock::new(|| ViewOptions { strict: false, nodes_max: 1 << 20, policy: Policy::default() });

const NODES: [i64; 4] = [10, 100, 1_000, 10_000];
const CLASSES: usize = 16;

type Amounts = [(&'static [u8], Amount); 4];

fn node_resources(cpus: f64) -> Amounts {
    let gib = f64::from(1 << 30);
    [("CPU", cpus), ("GPU", 8.0), ("memory", 4.0 * cpus * gib), ("object_store_memory", cpus * gib)]
        .map(|(name, value)| (name.as_bytes(), Amount::from_f64(value)))
}

/// The demand of each class, as it is on the wire.
fn demands() -> Vec<Vec<u8>> {
    let demand = |class| {
        let mut bytes = Vec::new();
        resources::append(&mut bytes, b"CPU", Amount::from_f64(1.0 + class as f64 / 4.0));
        resources::append(&mut bytes, b"memory", Amount::from_f64(1e9));
        bytes
    };
    (0..CLASSES).map(demand).collect()
}

fn schedule(view: &mut View, demand: &[u8]) -> Option<NodeId> {
    view.schedule(Resources::parse(demand, Meaning::Demand).ok()?, &OPTIONS)
}

fn view(nodes: i64, cpus: f64) -> View {
    let mut view = View::new(&OPTIONS);
    for node in 0..nodes {
        let address = format!("node:10.0.0.{node}");
        let address = (address.as_bytes(), Amount::from_f64(1.0));
        let cpus = cpus * (1 + node % 4) as f64;
        view.report(NodeId(node), node_resources(cpus).into_iter().chain([address]), &OPTIONS)
            .expect("below the limit");
    }
    view
}

fn schedules(criterion: &mut Criterion) {
    let demands = demands();
    let mut group = criterion.benchmark_group("schedule");
    group.throughput(Throughput::Elements(1));
    for nodes in NODES {
        group.bench_function(BenchmarkId::new("alone", nodes), |bencher| {
            let mut view = view(nodes, 1e9);
            let mut class = 0;
            bencher.iter(|| {
                class = (class + 1) % CLASSES;
                schedule(&mut view, &demands[class])
            });
        });
        group.bench_function(BenchmarkId::new("then remove and add", nodes), |bencher| {
            let mut view = view(nodes, 64.0);
            let mut class = 0;
            bencher.iter(|| {
                class = (class + 1) % CLASSES;
                let node = schedule(&mut view, &demands[class]).expect("all nodes are feasible");
                view.remove(node);
                let cpus = 32.0 + (node.0 % 32) as f64;
                view.report(node, node_resources(cpus).into_iter(), &OPTIONS)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, schedules);
criterion_main!(benches);
