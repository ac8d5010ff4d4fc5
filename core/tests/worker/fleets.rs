//! Workers of one queue that differ: deploys, rollbacks, and programs with different workflows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pgworkflows::client::{QueueInfo, WorkerInfo};
use pgworkflows::worker::WorkerBuilder;
use pgworkflows::{Client, Error, Worker};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fixture::{Fixture, Greet, workflow};
use crate::limits::{HEARTBEAT_INTERVAL, LEASE_TTL};
use crate::logs;

// A workflow that newer code has, and older code lacks.
workflow!(Newer, "newer", |_, name: String| -> String { Ok(name) });

// Another one.
workflow!(Other, "other", |ctx, name: String| -> String {
    ctx.sleep(Duration::from_secs(600)).await?;
    Ok(name)
});

/// A worker that runs beside the test.
struct Running {
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), Error>>,
}

impl Running {
    async fn stop(self) {
        drop(self.stop);
        self.served.await.unwrap().unwrap();
    }

    /// The worker is dropped, as by a crash.
    fn crash(self) {
        self.served.abort();
    }
}

fn run(worker: WorkerBuilder) -> Running {
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = worker.build().unwrap();
    let life = async { worker.run_on_this_thread(async { drop(stopped.await) }).await };
    Running { stop, served: tokio::task::spawn_local(life) }
}

/// The queue, once this holds of it.
async fn until(fixture: &Fixture, what: &str, holds: impl Fn(&QueueInfo) -> bool) -> QueueInfo {
    for _ in 0..600 {
        fixture.pass(Duration::from_millis(200)).await;
        if let Ok(queue) = fixture.client.queue("default").describe().await
            && holds(&queue)
        {
            return queue;
        }
    }
    panic!("it never held: {what}; {:?}", fixture.client.queue("default").describe().await);
}

fn named<'a>(queue: &'a QueueInfo, name: &str) -> Option<&'a WorkerInfo> {
    queue.workers.iter().find(|worker| worker.name == name)
}

fn shards(queue: &QueueInfo, name: &str) -> usize {
    named(queue, name).map_or(0, |worker| worker.shards.len())
}

/// Executes a test with workers beside it.
async fn beside<T>(test: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(test).await
}

#[tokio::test(start_paused = true)]
async fn worker_of_an_older_generation_takes_over_when_no_newer_one_is_live() {
    beside(async {
        let fixture = Fixture::virtual_time();
        // Given a worker of generation 7 with all shards
        let newer = run(fixture.worker("generations-7").generation(7));
        until(&fixture, "it owns all", |queue| queue.free_shards == 0).await;

        // When one of generation 5 joins, as by a rollback, then it gets none, and says so
        let older = run(fixture.worker("generations-5").generation(5));
        let queue = until(&fixture, "it is live", |queue| named(queue, "generations-5").is_some()).await;
        fixture.pass(LEASE_TTL).await;
        let (five, seven) =
            (named(&queue, "generations-5").unwrap(), named(&queue, "generations-7").unwrap());
        assert_eq!((five.generation, five.outdated, five.shards.len()), (5, true, 0));
        assert_eq!((seven.generation, seven.outdated, seven.shards.len()), (7, false, 4));
        assert_eq!(seven.workflows, ["greet"]);
        let warnings =
            logs::lines(&["WARN", "worker=generations-5", "is of a newer generation", "roll back"]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");

        // And when the newer one is killed, then it takes over within the rest of the lease, and one heartbeat
        newer.crash();
        let killed = fixture.now();
        until(&fixture, "the older one owns all", |queue| shards(queue, "generations-5") == 4).await;
        assert!(fixture.now() - killed <= LEASE_TTL + HEARTBEAT_INTERVAL, "{:?}", fixture.now() - killed);
        let told = logs::lines(&["INFO", "worker=generations-5", "claims shards again"]);
        assert_eq!(told.len(), 1, "{told:?}");
        let run = fixture.client.start::<Greet>("Ada".to_owned()).await.unwrap();
        assert_eq!(run.result().await.unwrap(), "Hello, Ada!");
        older.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn greater_number_rolls_back_at_once() {
    beside(async {
        let fixture = Fixture::virtual_time();
        let newer = run(fixture.worker("override-7").generation(7));
        until(&fixture, "it owns all", |queue| queue.free_shards == 0).await;
        let older = run(fixture.worker("override-5").generation(8));
        until(&fixture, "both have their share", |queue| {
            shards(queue, "override-5") == 2 && shards(queue, "override-7") == 2
        })
        .await;
        newer.stop().await;
        until(&fixture, "the old code has all", |queue| shards(queue, "override-5") == 4).await;
        older.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn rolling_deploy_moves_shards_to_the_newer_build_and_never_back() {
    beside(async {
        let fixture = Fixture::virtual_time();
        // Given two workers of the old code, and one of the new
        let old = ["rolling-1", "rolling-2"].map(|name| run(fixture.worker(name).generation(1)));
        until(&fixture, "both have two", |queue| {
            shards(queue, "rolling-1") == 2 && shards(queue, "rolling-2") == 2
        })
        .await;
        let new = run(fixture.worker("rolling-3").generation(2).workflow::<Newer>());
        until(&fixture, "it has its share", |queue| shards(queue, "rolling-3") == 1).await;

        // When one of the old ones stops, then its shards go to the new one, although the other old one has as few
        let [one, two] = old;
        one.stop().await;
        let queue = until(&fixture, "no shard is free", |queue| {
            queue.free_shards == 0 && named(queue, "rolling-1").is_none()
        })
        .await;
        assert_eq!(shards(&queue, "rolling-2") + shards(&queue, "rolling-3"), 4);
        assert!(shards(&queue, "rolling-3") >= 2, "{queue:?}");

        // And runs of a workflow that only the new code knows end, in whichever shard they are
        for number in 0..12 {
            let run =
                fixture.client.start::<Newer>(format!("{number}")).key(format!("{number}")).await.unwrap();
            assert_eq!(run.result().await.unwrap(), format!("{number}"));
        }
        two.stop().await;
        until(&fixture, "the new one has all", |queue| shards(queue, "rolling-3") == 4).await;
        new.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn shard_goes_to_the_worker_that_knows_the_workflows_of_its_runs() {
    beside(async {
        let fixture = Fixture::virtual_time();
        // Given a worker with all shards, and open runs of a workflow that it does not know in some of them
        let greets = run(fixture.worker("knowing-greet"));
        until(&fixture, "it owns all", |queue| queue.free_shards == 0).await;
        let mut runs = Vec::new();
        for key in ["a", "b", "c"] {
            runs.push(fixture.client.start::<Other>("Ada".to_owned()).key(key).await.unwrap());
        }
        let queue = until(&fixture, "they are seen", |queue| {
            queue.unserved.iter().map(|unserved| unserved.shards.len()).sum::<usize>() > 0
        })
        .await;
        assert_eq!(queue.unserved[0].workflows, ["other"]);
        assert!(queue.unserved[0].to_string().contains("`other`"), "{}", queue.unserved[0]);

        // When one comes that knows only that workflow, then it gets these shards, and no others
        let other = run(Worker::builder(fixture.store.clone())
            .name("knowing-other")
            .host(Arc::clone(&fixture.host) as _)
            .processors(1)
            .workflow::<Other>());
        let needing: BTreeSet<_> = runs.iter().map(|run| run.run_id().shard()).collect();
        let queue = until(&fixture, "it has the shards", |queue| {
            named(queue, "knowing-other")
                .is_some_and(|worker| worker.shards.iter().copied().eq(needing.iter().copied()))
        })
        .await;
        assert!(queue.unserved.is_empty(), "{queue:?}");
        for run in &runs {
            assert_eq!(run.result().await.unwrap(), "Ada");
        }
        greets.stop().await;
        other.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn programs_that_share_a_queue_are_told_to_use_two() {
    beside(async {
        let fixture = Fixture::virtual_time();
        // Given one worker that knows two workflows, and open runs of both in each shard
        let both = run(fixture.worker("programs-both").workflow::<Other>());
        until(&fixture, "it owns all", |queue| queue.free_shards == 0).await;
        for number in 0..40 {
            fixture.client.start::<Other>("Ada".to_owned()).key(format!("{number}")).await.unwrap();
            fixture.client.start::<Greet>("Ada".to_owned()).key(format!("{number}")).await.unwrap();
        }
        fixture.pass(HEARTBEAT_INTERVAL).await;
        both.stop().await;

        // When only one comes that knows one of the two, then it serves all shards, and warns
        let greets = run(fixture.worker("programs-greet"));
        let queue = until(&fixture, "it owns all", |queue| shards(queue, "programs-greet") == 4).await;
        let warnings =
            logs::lines(&["WARN", "worker=programs-greet", "other", "need a queue each", "shards=4"]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(queue.unserved.iter().map(|unserved| unserved.shards.len()).sum::<usize>(), 4);
        assert!(queue.unserved[0].to_string().contains("a queue each"), "{}", queue.unserved[0]);
        let run = fixture.client.start::<Greet>("Bob".to_owned()).await.unwrap();
        assert_eq!(run.result().await.unwrap(), "Hello, Bob!");
        greets.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn workflow_that_was_removed_after_its_last_run_is_forgotten() {
    beside(async {
        let fixture = Fixture::virtual_time();
        // Given a worker that executed a workflow
        let before = run(fixture.worker("removed-before").generation(1).workflow::<Newer>());
        let run_of_it = fixture.client.start::<Newer>("Ada".to_owned()).key("k").await.unwrap();
        run_of_it.result().await.unwrap();
        before.stop().await;

        // When a later build comes without it, then nothing is said of it
        let after = run(fixture.worker("removed-after").generation(2));
        let queue = until(&fixture, "it owns all", |queue| shards(queue, "removed-after") == 4).await;
        assert!(queue.unserved.is_empty(), "{queue:?}");
        let warnings = logs::lines(&["WARN", "worker=removed-after"]);
        assert_eq!(warnings, Vec::<String>::new());
        after.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_programs_need_no_configuration() {
    beside(async {
        let fixture = Fixture::virtual_time();
        let host = || Arc::clone(&fixture.host) as _;
        // Given workers of two queues, each with a workflow of its own
        let greets = run(fixture.worker("unconfigured-greet").queue("greetings"));
        let newer = run(Worker::builder(fixture.store.clone())
            .name("unconfigured-newer")
            .queue("novelties")
            .host(host())
            .processors(1)
            .workflow::<Newer>());
        fixture.pass(HEARTBEAT_INTERVAL).await;

        // When a client without a queue starts runs of both, then each is executed
        let client = Client::builder(fixture.store.clone()).host(host()).build().unwrap();
        let run = client.start::<Greet>("Ada".to_owned()).await.unwrap();
        assert_eq!(run.result().await.unwrap(), "Hello, Ada!");
        let run = client.start::<Newer>("Bob".to_owned()).await.unwrap();
        assert_eq!(run.result().await.unwrap(), "Bob");
        greets.stop().await;
        newer.stop().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn worker_that_asks_for_another_number_of_shards_is_told_how_many_there_are() {
    let fixture = Fixture::virtual_time();
    fixture.client.start::<Greet>("Ada".to_owned()).await.unwrap();
    let worker = fixture.worker("other-shards").queue_shards(64).build().unwrap();
    let error = fixture.end(worker.run_on_this_thread(std::future::pending())).await.unwrap_err();
    let expected = "queue `default` has 4 shards, and 64 were asked for: a queue keeps the number that it was created with";
    assert!(error.is_misconfigured() && error.to_string().contains(expected), "{error}");

    // And one that asks for none serves the queue as it is
    let worker = Worker::builder(fixture.store.clone()).host(Arc::clone(&fixture.host) as _);
    let worker = worker.processors(1).build().unwrap();
    fixture.end(worker.run_on_this_thread(fixture.sleep(HEARTBEAT_INTERVAL))).await.unwrap();
}

#[test]
fn generation_out_of_range_is_refused() {
    let store = pgworkflows::MemoryStore::new();
    let error = Worker::builder(store).generation(u64::MAX).build().unwrap_err();
    assert!(error.is_invalid());
    assert!(
        error.to_string().contains("generation is 18446744073709551615; give 0 to 9223372036854775807"),
        "{error}"
    );
}
