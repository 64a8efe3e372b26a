//! What it costs to pass bytes through a ring buffer.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use external_scheduler::ring::{Pool, Ring};

fn rings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    let mut pool = Pool::default();
    let frame = [7; 40];

    group.throughput(Throughput::Elements(1));
    group.bench_function("one frame, storage from the pool and back", |bencher| {
        let mut ring = Ring::default();
        bencher.iter(|| {
            ring.append(&frame, &mut pool).expect("memory");
            ring.consume(frame.len());
            ring.rest(&mut pool);
        });
    });

    const BATCH: u64 = 32;
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("a batch, with part of a frame always left over", |bencher| {
        let mut ring = Ring::default();
        ring.append(&frame[..20], &mut pool).expect("memory");
        bencher.iter(|| {
            for _ in 0..BATCH {
                ring.append(&frame, &mut pool).expect("memory");
            }
            for _ in 0..BATCH {
                ring.consume(frame.len());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, rings);
criterion_main!(benches);
