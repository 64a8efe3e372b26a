//! What it costs to find a frame in a buffer and to turn it into a request.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use external_scheduler::scheduler::amount::Amount;
use external_scheduler::wire::NodeId;
use external_scheduler::wire::frame::{self, Frame};
use external_scheduler::wire::request::{self, Request};

fn frames(criterion: &mut Criterion) {
    let one = Amount::from_f64(1.0);
    let mut schedule = Vec::new();
    request::append_schedule(&mut schedule, [(&b"CPU"[..], one), (b"memory", one)]);
    let mut add = Vec::new();
    let names = [&b"CPU"[..], b"GPU", b"memory", b"object_store_memory", b"node:10.0.0.1"];
    request::append_add_node(&mut add, NodeId(7), names.map(|name| (name, one)));

    let mut group = criterion.benchmark_group("frame");
    group.throughput(Throughput::Elements(1));
    for (name, bytes) in [("schedule", &schedule), ("add", &add)] {
        group.bench_function(format!("split/{name}"), |bencher| {
            bencher.iter(|| frame::split(black_box(bytes), 1 << 20));
        });
        group.bench_function(format!("parse/{name}"), |bencher| {
            bencher.iter(|| match frame::split(black_box(bytes), 1 << 20) {
                Ok(Frame::Complete { message, .. }) => Request::parse(message).map(|request| {
                    black_box(request);
                }),
                other => panic!("{other:?}"),
            });
        });
    }
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
