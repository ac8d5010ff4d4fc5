//! A fan-out replayed by code that awaits plain futures, and by code with a branch for each item. What differs is the cost of
//! the branches, because both make the same calls and read the same history.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures::future::join_all;
use pgworkflows::prelude::*;
use pgworkflows_benches::definitions::{Double, FanOut};
use pgworkflows_benches::histories::{Kind, record};
use pgworkflows_core::bench::{Code, Decoded};

/// The futures of all activities, in `join_all` of the crate `futures`.
struct PlainFutures;

impl Workflow for PlainFutures {
    const NAME: &'static str = FanOut::NAME;
    type Input = u32;
    type Output = u64;

    async fn run(ctx: Context, width: u32) -> WorkflowResult<u64> {
        let calls = (0..u64::from(width)).map(|number| ctx.activity::<Double>(number));
        let results: WorkflowResult<Vec<u64>> = join_all(calls).await.into_iter().collect();
        Ok(results?.into_iter().sum())
    }
}

/// The same with `when_all`.
struct WhenAll;

impl Workflow for WhenAll {
    const NAME: &'static str = FanOut::NAME;
    type Input = u32;
    type Output = u64;

    async fn run(ctx: Context, width: u32) -> WorkflowResult<u64> {
        let calls = (0..u64::from(width)).map(|number| ctx.activity::<Double>(number));
        Ok(ctx.when_all(calls).await?.into_iter().sum())
    }
}

/// The same with `for_each`, without a limit.
struct ForEach;

impl Workflow for ForEach {
    const NAME: &'static str = FanOut::NAME;
    type Input = u32;
    type Output = u64;

    async fn run(ctx: Context, width: u32) -> WorkflowResult<u64> {
        let doubled = ctx.for_each(0..u64::from(width), |number| ctx.activity::<Double>(number)).await?;
        Ok(doubled.into_iter().sum())
    }
}

fn branches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("branches");
    group.sample_size(20);
    for width in [100, 1_000, 10_000] {
        let history = record(Kind::FanOut, 2 * width).expect("a history");
        let history = Decoded::new(&history).expect("a history that can be read");
        let ways = [
            ("plain-futures", Code::of::<PlainFutures>()),
            ("when-all", Code::of::<WhenAll>()),
            ("for-each", Code::of::<ForEach>()),
        ];
        group.throughput(Throughput::Elements(width.into()));
        for (way, code) in ways {
            let code = code.expect("a workflow");
            code.replay_decoded(&history).expect("code that follows the history");
            group.bench_function(BenchmarkId::new(way, width), |bencher| {
                bencher.iter(|| code.replay_decoded(&history));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, branches);
criterion_main!(benches);
