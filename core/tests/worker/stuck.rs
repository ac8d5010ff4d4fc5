//! Workflows that never yield: other threads replace theirs, up to a limit.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures::future::pending;
use pgworkflows::client::RunStatus;
use pgworkflows::worker::{Health, HealthReason};

use crate::fixture::{Fixture, Greet, workflow};
use crate::limits;
use crate::logs;

/// How long leases last. Time runs ten times as fast.
const TTL: Duration = Duration::from_secs(8);
const SPEED: u32 = 10;

/// Blocks the thread, as workflows must not do. It sleeps, so that it does not use up a core.
#[expect(clippy::disallowed_methods, reason = "it blocks, and is meant to")]
pub(crate) fn blocks_until(end: &AtomicBool) {
    while !end.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test]
async fn other_runs_of_a_processor_continue_after_one_blocked_its_thread() {
    // Given a workflow that does not yield when it is first polled, and a worker with one processor
    static POLLS: AtomicU32 = AtomicU32::new(0);
    static END: AtomicBool = AtomicBool::new(false);

    workflow!(Once, "once", |_, (): ()| -> () {
        if POLLS.fetch_add(1, Ordering::SeqCst) == 0 {
            blocks_until(&END);
        }
        Ok(())
    });

    let fixture = Fixture::new(SPEED);
    let worker =
        fixture.worker("taken").workflow::<Once>().lease_ttl(TTL).poll_warn(TTL / 4).build().unwrap();
    let health = worker.health();
    let stuck = fixture.client.start::<Once>(()).key("k").await.unwrap();
    let script = async {
        while POLLS.load(Ordering::SeqCst) == 0 {
            fixture.pass(TTL / 10).await;
        }
        // When another run is started
        let run = fixture.client.start::<Greet>("Ada".to_owned()).key("k").await.unwrap();

        // Then it completes, and so does the first run, because its code yields now
        assert_eq!(run.result().await.unwrap(), "Hello, Ada!");
        stuck.result().await.unwrap();
        let id = stuck.run_id().to_string();
        let said = logs::lines(&["ERROR", "taken", &id, "workflow=once", "left behind", "processor=0"]);
        assert_eq!(said.len(), 1, "{said:?}");
        let Health::Unhealthy { reasons } = health.check() else { panic!("{health:?}") };
        let is_named = |reason: &HealthReason| matches!(reason, HealthReason::NeverYields { run, .. } if *run == stuck.run_id());
        assert!(reasons.iter().any(is_named), "{reasons:?}");

        // When the first poll returns after all, then its thread ends, and the worker is healthy again
        END.store(true, Ordering::SeqCst);
        while logs::lines(&["INFO", "taken", "yielded at last"]).is_empty() {
            fixture.pass(TTL / 10).await;
        }
        let Health::Unhealthy { reasons } = health.check() else { return };
        assert!(!reasons.iter().any(is_named), "{reasons:?}");
    };
    fixture.end(worker.run_until(script)).await.unwrap();
}

#[tokio::test]
async fn no_more_threads_than_stated_are_left_behind() {
    // Given a workflow that never yields
    static POLLS: AtomicU32 = AtomicU32::new(0);
    static END: AtomicBool = AtomicBool::new(false);

    workflow!(Always, "always", |_, (): ()| -> () {
        POLLS.fetch_add(1, Ordering::SeqCst);
        blocks_until(&END);
        Ok(())
    });

    let fixture = Fixture::new(SPEED);
    let worker = fixture.worker("eaten").workflow::<Always>().lease_ttl(TTL).shutdown_grace(Duration::ZERO);
    let worker = worker.build().unwrap();
    let run = fixture.client.start::<Always>(()).key("k").await.unwrap();
    // When it has blocked as many threads as a worker replaces, and one more
    let error = fixture.end(worker.run_until(pending())).await.unwrap_err();
    END.store(true, Ordering::SeqCst);
    // Then the worker ends, and names the run
    let (text, id) = (error.to_string(), run.run_id().to_string());
    assert!(error.is_gave_up() && text.contains(&id) && text.contains("`always`"), "{text}");
    assert_eq!(POLLS.load(Ordering::SeqCst) as usize, limits::THREADS_LEFT_BEHIND_MAX + 1);
    assert_eq!(logs::lines(&["ERROR", "eaten", &id, "another serves in its place"]).len(), 4);
}

#[tokio::test]
async fn workflow_that_works_and_never_yields_is_set_aside_after_three_threads() {
    // Given a workflow that never yields, on threads that count as working
    static POLLS: AtomicU32 = AtomicU32::new(0);
    static END: AtomicBool = AtomicBool::new(false);

    workflow!(Spins, "spins", |_, (): ()| -> () {
        POLLS.fetch_add(1, Ordering::SeqCst);
        blocks_until(&END);
        Ok(())
    });

    let fixture = Fixture::new(SPEED).with_busy_threads();
    let worker = fixture.worker("spun").workflow::<Spins>().lease_ttl(TTL).shutdown_grace(Duration::ZERO);
    let worker = worker.build().unwrap();
    let spins = fixture.client.start::<Spins>(()).key("k").await.unwrap();
    let script = async {
        // When it has cost its processor three leases
        while spins.describe().await.unwrap().status != RunStatus::Stalled {
            fixture.pass(TTL / 10).await;
        }
        // Then it says why it is stalled, other runs continue, and it can be terminated
        let waiting_on = spins.describe().await.unwrap().waiting_on.unwrap();
        assert!(waiting_on.contains("the run was set aside: 3 times"), "{waiting_on}");
        let run = fixture.client.start::<Greet>("Ada".to_owned()).key("k").await.unwrap();
        assert_eq!(run.result().await.unwrap(), "Hello, Ada!");
        spins.terminate("it spins").await.unwrap();
        assert!(spins.result().await.unwrap_err().is_run_terminated());
        assert_eq!(POLLS.load(Ordering::SeqCst), limits::STRIKES_MAX);
    };
    let ended = fixture.end(worker.run_until(script)).await;
    END.store(true, Ordering::SeqCst);
    ended.unwrap();
}

#[tokio::test]
async fn workflow_that_blocked_all_replacements_does_not_affect_other_processors() {
    // Given a workflow that never yields, and a worker with two processors
    static END: AtomicBool = AtomicBool::new(false);

    workflow!(Ever, "ever", |_, (): ()| -> () {
        blocks_until(&END);
        Ok(())
    });

    let fixture = Fixture::new(SPEED);
    let worker = fixture.worker("halved").workflow::<Ever>().lease_ttl(TTL).processors(2);
    let worker = worker.shutdown_grace(Duration::ZERO).build().unwrap();
    fixture.client.start::<Ever>(()).key("k").await.unwrap();
    let script = async {
        // When no more of its threads are replaced
        while logs::lines(&["ERROR", "halved", "nobody serves in its place"]).is_empty() {
            fixture.pass(TTL / 10).await;
        }
        // Then runs of the other processor continue
        let mut results = Vec::new();
        for number in 0..16 {
            let run =
                fixture.client.start::<Greet>("Ada".to_owned()).key(format!("k{number}")).await.unwrap();
            results.push(Box::pin(async move { run.result().await }));
        }
        let (result, ..) = futures::future::select_all(results).await;
        assert_eq!(result.unwrap(), "Hello, Ada!");
    };
    let ended = fixture.end(worker.run_until(script)).await;
    END.store(true, Ordering::SeqCst);
    ended.unwrap();
}
