//! Replay: from the stored bytes of a history to the run that it brings back.

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pgworkflows::store::{EventRecord, Load, RunHistory, Store};
use pgworkflows::{Client, Worker};
use pgworkflows_benches::{Activities, Double};
use pgworkflows_memory::MemoryStore;

/// Records the history of a run of so many activities.
fn record(activities: u32) -> RunHistory {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let worker = Worker::builder(Arc::clone(&store))
            .workflow::<Activities>()
            .activity(Double)
            .history_events(u32::MAX, u32::MAX)
            .build()
            .expect("a worker");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let worker = tokio::spawn(worker.run_until(async {
            drop(stopped.await);
        }));
        let client = Client::new(Arc::clone(&store));
        let handle = client.start::<Activities>(activities).await.expect("a start");
        handle.result().await.expect("a result");
        drop(stop);
        drop(worker.await);
        let mut session = store.session().await.expect("a session");
        session.load(&Load::Runs(vec![handle.run_id()])).await.expect("a history").remove(0)
    })
}

/// The history without its end, so that what is replayed is a run that goes on.
fn open(history: &RunHistory) -> RunHistory {
    let events: Vec<EventRecord> = history.events[..history.events.len() - 2].to_vec();
    RunHistory { run: history.run, events }
}

fn replay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay");
    for activities in [5, 50, 500, 5_000] {
        let history = open(&record(activities));
        group.throughput(Throughput::Elements(history.events.len() as u64));
        group.bench_with_input(BenchmarkId::new("activities", activities), &history, |bencher, history| {
            bencher.iter(|| pgworkflows::replay::<Activities>(history).expect("a faithful replay"));
        });
    }
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);
