//! The codec: events to stored bytes and back, in events per second.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pgworkflows_benches::histories::{Kind, record};
use pgworkflows_core::bench::Decoded;

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    for kind in Kind::ALL {
        let history = record(kind, 1_000).expect("a history");
        let decoded = Decoded::new(&history).expect("a history that can be read");
        group.throughput(Throughput::Elements(decoded.len() as u64));
        group.bench_function(format!("{}/decode", kind.name()), |bencher| {
            bencher.iter(|| Decoded::new(&history));
        });
        group.bench_function(format!("{}/encode", kind.name()), |bencher| bencher.iter(|| decoded.encode()));
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
