//! A shutdown ends in time, whatever the store and the workflows do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::pending;
use pgworkflows_core::store::{Build, Claim, Store};
use pgworkflows_core::worker::Health;
use pgworkflows_core::{Client, Worker};
use pgworkflows_memory::{Fault, MemoryStore};
use tokio::sync::oneshot;

use crate::faults::Kind;
use crate::fixture::{Fixture, Greet, Hello, workflow};
use crate::limits;
use crate::logs;
use crate::stuck::blocks_until;

const GRACE: Duration = Duration::from_secs(2);

fn never_answer(_: Kind) -> Fault {
    Fault::Delay(Box::pin(pending()))
}

#[tokio::test(start_paused = true)]
async fn shutdown_without_a_network_takes_the_grace_and_the_stated_bound() {
    // Given a worker with an append in flight when the network drops all packets
    let fixture = Fixture::virtual_time();
    let worker = fixture.worker("black").shutdown_grace(GRACE).build().unwrap();
    let script = async {
        fixture.pass(Duration::from_secs(1)).await;
        fixture.faults.begin(|kind| if kind == Kind::Append { never_answer(kind) } else { Fault::Proceed });
        let start = fixture.client.start::<Greet>("Ada".to_owned()).key("k");
        start.await.unwrap();
        fixture.pass(Duration::from_secs(1)).await;
        fixture.faults.begin(never_answer);
    };
    let mut stopped_at = Duration::ZERO;
    let shutdown = async {
        script.await;
        stopped_at = fixture.now();
    };
    // When it is calls to stop
    fixture.end(worker.run_on_this_thread(shutdown)).await.unwrap();
    // Then it ends when the grace and the bound are over
    let took = fixture.now() - stopped_at;
    let bound = GRACE + limits::SHUTDOWN_HANDOVER;
    assert!((bound..bound + Duration::from_millis(50)).contains(&took), "{took:?}");
    assert_eq!(logs::lines(&["WARN", "black", "could not hand over within 7s", "processor=0"]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_with_an_unanswered_append_releases_the_lease_and_counts_no_death() {
    // Given a worker with an append that is never answered
    let fixture = Fixture::virtual_time();
    let worker = fixture.worker("unanswered").shutdown_grace(GRACE).build().unwrap();
    let script = async {
        fixture.pass(Duration::from_secs(1)).await;
        fixture.faults.begin(|kind| if kind == Kind::Append { never_answer(kind) } else { Fault::Proceed });
        fixture.client.start::<Greet>("Ada".to_owned()).key("k").await.unwrap();
        fixture.pass(Duration::from_secs(1)).await;
    };
    let stop_at = Duration::from_secs(2);
    // When it is told to stop
    fixture.end(worker.run_on_this_thread(script)).await.unwrap();
    // Then it ends soon after the grace, and its shards are free at once, without a death
    let bound = GRACE + limits::SHUTDOWN_HANDOVER;
    assert!(fixture.now() - stop_at < bound - Duration::from_secs(1), "{:?}", fixture.now());
    let mut session = fixture.store.session().await.unwrap();
    let (queue, worker) = ("default".to_owned(), "next".to_owned());
    let claim = Claim { queue, lease: None, worker, build: Build::default(), ttl: GRACE, limit: u16::MAX };
    let claimed = session.claim(&claim).await.unwrap();
    assert!(!claimed.shards.is_empty());
    assert!(claimed.shards.iter().all(|shard| shard.deaths == 0 && shard.former.is_none()));
    assert_eq!(logs::lines(&["WARN", "worker=unanswered", "the last append is still unanswered"]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_whose_release_is_never_answered_takes_no_longer_than_the_stated_bound() {
    let fixture = Fixture::virtual_time();
    let worker = fixture.worker("unreleased").shutdown_grace(GRACE).build().unwrap();
    fixture.faults.begin(|kind| if kind == Kind::Release { never_answer(kind) } else { Fault::Proceed });
    let stop_at = Duration::from_secs(1);
    fixture.end(worker.run_on_this_thread(fixture.pass(stop_at))).await.unwrap();
    let took = fixture.now() - stop_at;
    assert!(took <= limits::SHUTDOWN_HANDOVER + Duration::from_millis(50), "{took:?}");
    assert_eq!(logs::lines(&["WARN", "unreleased", "could not be released in 5s"]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_is_immediate_while_the_worker_waits_for_its_store() {
    // Given a store that does not answer the first requests
    for unanswered in [Kind::Queue, Kind::Claim, Kind::Session] {
        let fixture = Fixture::virtual_time();
        fixture
            .faults
            .begin(move |kind| if kind == unanswered { never_answer(kind) } else { Fault::Proceed });
        let worker = fixture.worker("early").build().unwrap();
        // When the worker is calls to stop, then it stops at once
        fixture.end(worker.run_on_this_thread(fixture.pass(GRACE))).await.unwrap();
        assert!(fixture.now() < GRACE + Duration::from_millis(50), "{unanswered:?}: {:?}", fixture.now());
    }
}

#[tokio::test]
async fn shutdown_leaves_a_workflow_that_never_yields_behind_and_names_it() {
    // Given a workflow that never yields, on its own thread; time runs twenty times as fast
    static ENTERED: AtomicBool = AtomicBool::new(false);
    static END: AtomicBool = AtomicBool::new(false);

    workflow!(Loop, "loop", |_, (): ()| -> () {
        ENTERED.store(true, Ordering::SeqCst);
        blocks_until(&END);
        Ok(())
    });

    let fixture = Fixture::new(20);
    let worker = fixture.worker("endless").workflow::<Loop>().shutdown_grace(GRACE);
    let worker = worker.lease_ttl(Duration::from_secs(3600)).build().unwrap();
    let run = fixture.client.start::<Loop>(()).key("k").await.unwrap();
    let entered = async {
        while !ENTERED.load(Ordering::SeqCst) {
            fixture.pass(Duration::from_millis(100)).await;
        }
    };
    // When the worker is calls to stop, then it ends, although the workflow does not
    fixture.end(worker.run_until(entered)).await.unwrap();
    assert!(!END.swap(true, Ordering::SeqCst));
    let id = run.run_id().to_string();
    let named = logs::lines(&["ERROR", "endless", &id, "loop", "has not yielded 7s after the shutdown"]);
    assert_eq!(named.len(), 1, "{named:?}");
}

#[tokio::test]
async fn worker_runs_while_a_future_is_under_way_and_gives_its_output() {
    // Given a worker and its client in one program
    let store = MemoryStore::new();
    let worker = || Worker::builder(store.clone()).processors(1).workflow::<Greet>().activity(Hello);
    let client = Client::new(store.clone());
    // When the client is done, then the worker has stopped
    let greeting = worker().build().unwrap();
    let health = greeting.health();
    let greet = async { client.start::<Greet>("Ada".to_owned()).await?.result().await };
    assert_eq!(greeting.run_while(greet).await.unwrap().unwrap(), "Hello, Ada!");
    assert_eq!(health.check(), Health::Stopped);
    // And a worker that cannot begin says why, and drops the future
    let (alive, dropped) = oneshot::channel::<()>();
    let never = async move {
        pending::<()>().await;
        drop(alive);
    };
    let error = worker().queue_shards(7).build().unwrap().run_while(never).await.unwrap_err();
    assert!(error.is_misconfigured(), "{error}");
    dropped.await.unwrap_err();
}
