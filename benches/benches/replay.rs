//! Replay: from a history to the run that it brings back, in events per second. An activity has two of them.

use std::cell::LazyCell;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pgworkflows::Workflow;
use pgworkflows_benches::definitions::{Activities, FanOut, Naps, Signals};
use pgworkflows_benches::histories::{Kind, record};
use pgworkflows_core::bench::{Code, Decoded};

/// From 10 events to ten times the usual length, and once far beyond the default limit: the cost per event stays the
/// same.
const SIZES: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];

fn replay(criterion: &mut Criterion) {
    for kind in Kind::ALL {
        for size in SIZES {
            match kind {
                Kind::Activities => both_ways::<Activities>(criterion, kind, size),
                Kind::Timers => both_ways::<Naps>(criterion, kind, size),
                Kind::FanOut => both_ways::<FanOut>(criterion, kind, size),
                Kind::Signals => both_ways::<Signals>(criterion, kind, size),
            }
        }
    }
}

/// From the stored bytes, and from events that are decoded already. Histories are recorded only for what is measured.
fn both_ways<W: Workflow>(criterion: &mut Criterion, kind: Kind, size: u32) {
    let code = Code::of::<W>().expect("a workflow");
    let history = LazyCell::new(|| record(kind, size).expect("a history"));
    let decoded = LazyCell::new(|| Decoded::new(&history).expect("a history that can be read"));
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(size.into()));
    if size > 10_000 {
        group.sample_size(10);
    }
    group.bench_function(BenchmarkId::new(format!("{}/bytes", kind.name()), size), |bencher| {
        let history = &*history;
        bencher.iter(|| code.replay(history));
    });
    group.bench_function(BenchmarkId::new(format!("{}/decoded", kind.name()), size), |bencher| {
        let decoded = &*decoded;
        bencher.iter(|| code.replay_decoded(decoded));
    });
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);
