//! What a decision costs by the number of nodes, of classes of demands and of resources: alone, with its node
//! removed and added again, and with its node reported again in place.
//!
//! The time of "then ..." includes parsing the report. All takes some minutes; `cargo bench --bench schedule -- "remove and
//! add/.* 16 classes, 5 names"` takes a part.

mod scenario;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use scenario::{Scenario, Update};

const NODES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
const UPDATES: [(&str, Update); 3] =
    [("alone", Update::None), ("then remove and add", Update::RemoveAndAdd), ("then update", Update::InPlace)];
const CLASSES: [usize; 3] = [1, 16, 256];
const NAMES: [usize; 2] = [5, 25];
const POLICIES: [&str; 2] = ["best-fit", "binpack"];

fn schedules(criterion: &mut Criterion) {
    for (name, update) in UPDATES {
        for policy in POLICIES {
            let mut group = criterion.benchmark_group(format!("schedule {name}/{policy}"));
            group.throughput(Throughput::Elements(1));
            group.sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(600));
            for (classes, names, nodes) in cases() {
                let id = BenchmarkId::from_parameter(format!("{nodes} nodes, {classes} classes, {names} names"));
                let mut scenario = None;
                group.bench_function(id, |bencher| {
                    let scenario = scenario.get_or_insert_with(|| {
                        let mut scenario = Scenario::new(policy, nodes, classes, names, update);
                        scenario.warm_up();
                        scenario
                    });
                    bencher.iter(|| scenario.decide());
                });
            }
            group.finish();
        }
    }
}

fn cases() -> impl Iterator<Item = (usize, usize, usize)> {
    let pairs = CLASSES.into_iter().flat_map(|classes| NAMES.map(|names| (classes, names)));
    pairs.flat_map(|(classes, names)| NODES.map(|nodes| (classes, names, nodes)))
}

criterion_group!(benches, schedules);
criterion_main!(benches);
