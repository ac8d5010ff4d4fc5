//! Workers with a small budget of memory: whatever arrives, what they keep stays within it and a stated rest, and every run
//! ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use pgworkflows::prelude::*;
use pgworkflows::worker::WorkerMonitor;
use pgworkflows_memory::Fault;

use crate::faults::Kind;
use crate::fixture::{Fixture, workflow};
use crate::logs;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The size of large inputs and results.
const LARGE: usize = 60 * KIB;

// A workflow with a large input, which it hands to an activity.
workflow!(Stores, "stores", |ctx, text: String| -> usize { ctx.activity::<Weigh>(text).await });
// A workflow with a large result of an activity.
workflow!(Fetches, "fetches", |ctx, number: usize| -> usize {
    Ok(ctx.activity::<Fetch>(number).await?.len())
});
// A workflow that starts another one in an activity, and waits for its result.
workflow!(Delegates, "delegates", |ctx, number: usize| -> usize {
    let signal = pgworkflows::workflow::Signal::<usize>::new("answer");
    let (first, timer) = (ctx.wait_for(signal).await?, ctx.sleep(Duration::from_secs(60)));
    timer.await?;
    let weighed = ctx.activity::<Weigh>("x".repeat(number)).queue("scales").await?;
    Ok(first + weighed)
});

/// Notes how much memory is in use while it is executed.
#[derive(Clone, Debug, Default)]
struct Weigh(Arc<Scales>);

/// Returns a large result.
#[derive(Clone, Debug, Default)]
struct Fetch(Arc<Scales>);

#[derive(Debug, Default)]
struct Scales {
    monitor: std::sync::OnceLock<WorkerMonitor>,
    most: AtomicUsize,
}

impl Scales {
    fn note(&self) {
        let used = self.monitor.get().map_or(0, WorkerMonitor::memory_bytes);
        self.most.fetch_max(used, Ordering::Relaxed);
    }

    /// Notes the use of memory again and again.
    async fn watch(&self, fixture: &Fixture) {
        loop {
            self.note();
            fixture.pass(Duration::from_millis(1)).await;
        }
    }
}

#[async_trait]
impl Activity for Weigh {
    const NAME: &'static str = "weigh";
    type Input = String;
    type Output = usize;

    async fn execute(&self, _ctx: ActivityContext, text: String) -> ActivityResult<usize> {
        self.0.note();
        Ok(text.len())
    }
}

#[async_trait]
impl Activity for Fetch {
    const NAME: &'static str = "fetch";
    type Input = usize;
    type Output = String;

    async fn execute(&self, _ctx: ActivityContext, number: usize) -> ActivityResult<String> {
        self.0.note();
        Ok("x".repeat(number))
    }
}

/// Runs a worker with a budget until the test is over. Returns the most memory that was in use.
async fn most_memory(fixture: &Fixture, name: &str, budget: usize, test: impl Future<Output = ()>) -> usize {
    let scales = Arc::new(Scales::default());
    let (weigh, fetch) = (Weigh(Arc::clone(&scales)), Fetch(Arc::clone(&scales)));
    let worker = fixture.worker(name).memory_max(budget).activities_max(64).activity_queue("scales", 4);
    let worker = worker.workflow::<Stores>().workflow::<Fetches>().workflow::<Delegates>();
    let worker = worker.activity(weigh).activity(fetch).build().unwrap();
    let monitor = worker.monitor();
    assert_eq!((monitor.memory_bytes(), monitor.memory_max()), (0, budget));
    scales.monitor.set(monitor.clone()).unwrap();
    let script = async {
        tokio::select! {
            () = test => {}
            () = scales.watch(fixture) => {}
        }
    };
    fixture.end(worker.run_on_this_thread(script)).await.unwrap();
    assert_eq!(monitor.memory_bytes(), 0, "everything is given back");
    scales.most.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn large_starts_that_wait_in_the_inbox_begin_as_memory_becomes_free() {
    // Given starts of twelve times the budget, of which half have no key, so that they may skip the inbox
    let fixture = Fixture::virtual_time();
    let text = "x".repeat(LARGE);
    let start = |number: usize| {
        let start = fixture.client.start::<Stores>(text.clone());
        if number.is_multiple_of(2) { start.key(format!("{number}")) } else { start }
    };
    let waiting = try_join_all((0..400).map(|number| start(number).into_future())).await.unwrap();
    // When a worker begins, and as many come then
    let most = most_memory(&fixture, "large starts", 4 * MIB, async {
        let others = try_join_all((400..800).map(|number| start(number).into_future())).await.unwrap();
        let results = join_all(waiting.iter().chain(&others).map(|run| run.result().into_future())).await;
        assert!(results.iter().all(|result| result.as_ref().is_ok_and(|length| *length == LARGE)));
    })
    .await;
    // Then all of them end in the budget and the room for one run, and the log says what happens
    assert!(most > MIB && most <= 5 * MIB, "{most} bytes");
    let lines = logs::lines(&["WARN", "worker=large starts", "starts wait in the inbox", "memory_max"]);
    assert!(!lines.is_empty(), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn large_results_of_all_activities_at_once_are_taken_in_as_there_is_room() {
    // Given many more activities than slots, whose results are several times the budget, and a slow store
    let fixture = Fixture::virtual_time();
    let slowed = fixture.clone();
    fixture.faults.begin(move |kind| match kind {
        Kind::Append => Fault::Delay(slowed.sleep(Duration::from_millis(100))),
        _ => Fault::Proceed,
    });
    let most = most_memory(&fixture, "large results", 4 * MIB, async {
        let starts = (0..600).map(|_| fixture.client.start::<Fetches>(LARGE).into_future());
        let runs = try_join_all(starts).await.unwrap();
        let results = join_all(runs.iter().map(|run| run.result().into_future())).await;
        assert!(results.iter().all(|result| result.as_ref().is_ok_and(|length| *length == LARGE)));
    })
    .await;
    assert!(most > MIB && most <= 5 * MIB, "{most} bytes");
}

#[tokio::test(start_paused = true)]
async fn runs_that_wait_for_messages_timers_tasks_and_activities_all_end_in_the_smallest_memory() {
    // Given runs that are each larger than half of the budget, and many small ones
    let fixture = Fixture::virtual_time();
    let most = most_memory(&fixture, "smallest", MIB, async {
        let text = "x".repeat(500 * KIB);
        let large = (0..10).map(|_| fixture.client.start::<Stores>(text.clone()).into_future());
        let small = (0..500).map(|_| fixture.client.start::<Delegates>(1_000).into_future());
        let (large, small) = futures::join!(try_join_all(large), try_join_all(small));
        let (large, small) = (large.unwrap(), small.unwrap());
        let signal = pgworkflows::workflow::Signal::<usize>::new("answer");
        try_join_all(small.iter().map(|run| run.signal(signal, 7).into_future())).await.unwrap();
        let large = join_all(large.iter().map(|run| run.result().into_future())).await;
        assert!(large.iter().all(|result| result.as_ref().is_ok_and(|length| *length == text.len())));
        let small = join_all(small.iter().map(|run| run.result().into_future())).await;
        assert!(small.iter().all(|result| result.as_ref().is_ok_and(|sum| *sum == 1_007)));
    })
    .await;
    // Then they stay within the budget and what the largest run takes
    assert!(most <= 6 * MIB, "{most} bytes");
}
