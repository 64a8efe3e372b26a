//! What a decision costs by the number of nodes, of classes of demands and of resources: alone, with its node
//! removed and added again, and with its node reported again in place.
//!
//! The time of "then ..." includes making and parsing the report.

mod scenario;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use scenario::{Scenario, Update};

const NODES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
const UPDATES: [(&str, Update); 3] =
    [("alone", Update::None), ("then remove and add", Update::RemoveAndAdd), ("then update", Update::InPlace)];
const POLICIES: [&str; 2] = ["best-fit", "binpack"];

fn schedules(criterion: &mut Criterion) {
    for (name, update) in UPDATES {
        for policy in POLICIES {
            let mut group = criterion.benchmark_group(format!("schedule {name}/{policy}"));
            group.throughput(Throughput::Elements(1));
            let by_nodes = NODES.map(|nodes| (nodes, 16, 5));
            let others = [(1_000, 1, 5), (1_000, 256, 5), (1_000, 16, 25)];
            for (nodes, classes, names) in by_nodes.into_iter().chain(others) {
                let id = BenchmarkId::from_parameter(format!("{nodes} nodes, {classes} classes, {names} names"));
                let mut scenario = Scenario::new(policy, nodes, classes, names, update);
                scenario.warm_up();
                group.bench_function(id, |bencher| bencher.iter(|| scenario.decide()));
            }
            group.finish();
        }
    }
}

criterion_group!(benches, schedules);
criterion_main!(benches);
