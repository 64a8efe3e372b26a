//! What a placement and a release cost in a shared view of 1,000 nodes with 100 owners, each of which holds 100 placements
//! and releases its oldest for every new one; and what both cost in a view of its own, without the books.

use std::collections::VecDeque;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use external_scheduler::scheduler::amount::Amount;
use external_scheduler::scheduler::policy::{Parameters, Policy};
use external_scheduler::scheduler::shared_view::{MemberId, SharedView};
use external_scheduler::scheduler::view::{View, ViewOptions};
use external_scheduler::wire::NodeId;
use external_scheduler::wire::resources::{self, Meaning, Resources};

const NODES: i64 = 1_000;
const OWNERS: usize = 100;
const PLACEMENTS_PER_OWNER: usize = 100;
/// Different demands.
const CLASSES: usize = 16;
const POLICIES: [&str; 2] = ["best-fit", "binpack"];

fn list(entries: &[(&str, f64)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    entries.iter().for_each(|(name, value)| resources::append(&mut bytes, name.as_bytes(), Amount::from_f64(*value)));
    bytes
}

fn parse(bytes: &[u8], meaning: Meaning) -> Resources<'_> {
    Resources::parse(bytes, meaning).expect("it was written here")
}

fn demands() -> Vec<Vec<u8>> {
    (0..CLASSES).map(|class| list(&[("CPU", 1.0 + class as f64 / 4.0), ("memory", 1e9)])).collect()
}

fn node() -> Vec<u8> {
    list(&[("CPU", 64.0), ("GPU", 8.0), ("memory", 256e9), ("object_store_memory", 64e9)])
}

fn options(policy: &str) -> ViewOptions {
    let policy = Policy::named(policy, Parameters::default()).expect("a policy of that name");
    ViewOptions { strict: false, nodes_max: 1 << 20, policy, ..ViewOptions::default() }
}

fn shared(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("schedule and release in a shared view");
    group.throughput(Throughput::Elements(1));
    let (demands, node) = (demands(), node());
    for policy in POLICIES {
        let options = options(policy);
        let mut view = SharedView::new(&options);
        let members: Vec<MemberId> =
            (0..OWNERS).map(|owner| view.join(&format!("job {owner}")).expect("there is room")).collect();
        for id in 0..NODES {
            let report = || parse(&node, Meaning::Report);
            view.update(members[0], NodeId(id), report(), report(), &options).expect("there is room");
        }
        let mut held = VecDeque::new();
        let mut step = 0;
        let mut place = |view: &mut SharedView, held: &mut VecDeque<_>| {
            let (member, class) = (members[step % OWNERS], (step / 3) % CLASSES);
            step += 1;
            let placement = view.schedule(member, parse(&demands[class], Meaning::Demand), &options);
            held.push_back((member, placement.expect("nodes are large enough").slot, class));
        };
        (0..OWNERS * PLACEMENTS_PER_OWNER).for_each(|_| place(&mut view, &mut held));
        group.bench_function(policy, |bencher| {
            bencher.iter(|| {
                place(&mut view, &mut held);
                let (member, slot, class) = held.pop_front().expect("many are held");
                view.release(member, slot, parse(&demands[class], Meaning::Demand), 1).expect("it is held");
            })
        });
    }
    group.finish();
}

fn private(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("schedule and release in a view of its own");
    group.throughput(Throughput::Elements(1));
    let (demands, node) = (demands(), node());
    for policy in POLICIES {
        let options = options(policy);
        let mut view = View::new(&options);
        for id in 0..NODES {
            view.report(NodeId(id), parse(&node, Meaning::Report), &options).expect("there is room");
        }
        let mut held = VecDeque::new();
        let mut step = 0;
        let mut place = |view: &mut View, held: &mut VecDeque<_>| {
            let class = (step / 3) % CLASSES;
            step += 1;
            let placement = view.schedule(parse(&demands[class], Meaning::Demand), &options);
            held.push_back((placement.expect("nodes are large enough").node, class));
        };
        (0..OWNERS * PLACEMENTS_PER_OWNER).for_each(|_| place(&mut view, &mut held));
        group.bench_function(policy, |bencher| {
            bencher.iter(|| {
                place(&mut view, &mut held);
                let (node, class) = held.pop_front().expect("many are held");
                view.release(node, parse(&demands[class], Meaning::Demand), 1).expect("it is held");
            })
        });
    }
    group.finish();
}

criterion_group!(benches, shared, private);
criterion_main!(benches);
