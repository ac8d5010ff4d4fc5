//! The processor without I/O: start messages in, appends out, until all runs are over; in runs per second.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pgworkflows::prelude::*;
use pgworkflows_benches::definitions::{Activities, Double, FanOut};
use pgworkflows_core::bench::{ProcessorFixture, StartMessages};

const RUNS: u64 = 1_000;

const SUM: View<u64> = View::new("sum");

/// The activities of [`Activities`], each of which is followed by the value of a view.
struct Publishing;

impl Workflow for Publishing {
    const NAME: &'static str = "publishing";
    type Input = u32;
    type Output = u64;

    async fn run(ctx: Context, count: u32) -> WorkflowResult<u64> {
        let mut sum = 0;
        for number in 0..count {
            sum += ctx.activity::<Double>(u64::from(number)).await?;
            ctx.publish(SUM, &sum);
        }
        Ok(sum)
    }
}

fn processor(criterion: &mut Criterion) {
    complete::<Activities>(criterion, "activities", 1);
    complete::<Activities>(criterion, "activities", 5);
    complete::<Publishing>(criterion, "activities-and-views", 5);
    complete::<FanOut>(criterion, "fan-out", 20);
}

fn complete<W: Workflow<Input = u32>>(criterion: &mut Criterion, name: &str, size: u32) {
    let mut group = criterion.benchmark_group("processor");
    let starts = StartMessages::of::<W>(&size, RUNS).expect("an input");
    group.throughput(Throughput::Elements(RUNS));
    group.bench_function(BenchmarkId::new(name, size), |bencher| {
        let fresh = || (ProcessorFixture::new::<W, Double>(Double).expect("a processor"), starts.clone());
        bencher.iter_batched(
            fresh,
            |(mut processor, starts)| {
                let written = processor.complete(starts);
                assert_eq!(written.closed as u64, RUNS, "a run was not completed");
                processor
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, processor);
criterion_main!(benches);
