//! Bare appends of whole one-activity runs, on one connection, in runs per second: what a store could do if everything
//! above it cost nothing.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pgworkflows_benches::appends::Lane;
use pgworkflows_benches::ground::{Ground, StoreKind};

/// Runs per append: what a processor has gathered while the append before was in flight.
const BATCHES: [usize; 3] = [1, 50, 500];

fn append(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for (name, kind) in [("memory", StoreKind::Memory), ("postgres", StoreKind::Postgres)] {
        let ground = runtime.block_on(Ground::open(kind, None, "append")).expect("a store");
        let mut lane = runtime.block_on(Lane::open(&ground.store)).expect("a lease");
        let mut group = criterion.benchmark_group("append");
        for runs in BATCHES {
            // Short, since nothing that is appended goes away again.
            group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
            group.throughput(Throughput::Elements(runs as u64)).sample_size(10);
            group.bench_function(BenchmarkId::new(name, runs), |bencher| {
                bencher.iter_custom(|times| {
                    let began = Instant::now();
                    for _ in 0..times {
                        runtime.block_on(lane.append_runs(runs)).expect("an append");
                    }
                    began.elapsed()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, append);
criterion_main!(benches);
