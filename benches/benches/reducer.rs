//! The reducer: events folded to what the log says of a run, without any code of a workflow, in events per second.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pgworkflows_benches::histories::{Kind, record};
use pgworkflows_core::bench::Decoded;

fn reducer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reducer");
    for kind in Kind::ALL {
        for size in [100, 10_000] {
            let history = record(kind, size).expect("a history");
            let decoded = Decoded::new(&history).expect("a history that can be read");
            group.throughput(Throughput::Elements(decoded.len() as u64));
            group.bench_function(BenchmarkId::new(kind.name(), size), |bencher| {
                bencher.iter(|| decoded.fold());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, reducer);
criterion_main!(benches);
