//! Workflows that never yield: another thread serves in the place of theirs, and not for ever.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::limits;
use futures::future::pending;
use pgworkflows::client::RunStatus;
use pgworkflows::prelude::*;
use pgworkflows::worker::{Health, HealthReason};

use crate::fixture::{Bed, Greet};
use crate::logs;

/// How long leases last. Time goes ten times as fast.
const TTL: Duration = Duration::from_secs(8);
const SPEED: u32 = 10;

/// What workflows must not do. It leaves the core to others meanwhile.
#[expect(clippy::disallowed_methods, reason = "it blocks, and is meant to")]
pub(crate) fn blocks_until(end: &AtomicBool) {
    while !end.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test]
async fn other_runs_of_a_processor_go_on_after_one_of_them_took_its_thread() {
    // Given a workflow that does not yield when it is first polled, and a worker with one processor
    static POLLS: AtomicU32 = AtomicU32::new(0);
    static END: AtomicBool = AtomicBool::new(false);

    enum Once {}
    impl Workflow for Once {
        const NAME: &'static str = "once";
        type Input = ();
        type Output = ();

        async fn run(_: Context, (): ()) -> WorkflowResult<()> {
            if POLLS.fetch_add(1, Ordering::SeqCst) == 0 {
                blocks_until(&END);
            }
            Ok(())
        }
    }

    logs::listen();
    let bed = Bed::new(SPEED);
    let worker = bed.worker("taken").workflow::<Once>().lease_ttl(TTL).poll_warn(TTL / 4).build().unwrap();
    let health = worker.health();
    let stuck = bed.client.start::<Once>(()).key("k").await.unwrap();
    let script = async {
        while POLLS.load(Ordering::SeqCst) == 0 {
            bed.pass(TTL / 10).await;
        }
        // When another run is started
        let run = bed.client.start::<Greet>("Ada".to_owned()).key("k").await.unwrap();

        // Then it ends, and so does the other one, since its code yields now
        assert_eq!(run.result().await.unwrap(), "Hello, Ada!");
        stuck.result().await.unwrap();
        let id = stuck.run_id().to_string();
        let said = logs::lines(&["ERROR", "taken", &id, "workflow=once", "left behind", "processor=0"]);
        assert_eq!(said.len(), 1, "{said:?}");
        let Health::Unhealthy { reasons } = health.check() else { panic!("{health:?}") };
        let is_named = |reason: &HealthReason| matches!(reason, HealthReason::NeverYields { run, .. } if *run == stuck.run_id());
        assert!(reasons.iter().any(is_named), "{reasons:?}");

        // When the first poll comes back after all, then its thread ends, and all is well
        END.store(true, Ordering::SeqCst);
        while logs::lines(&["INFO", "taken", "has come back and ended"]).is_empty() {
            bed.pass(TTL / 10).await;
        }
        let Health::Unhealthy { reasons } = health.check() else { return };
        assert!(!reasons.iter().any(is_named), "{reasons:?}");
    };
    bed.end(worker.run_until(script)).await.unwrap();
}

#[tokio::test]
async fn no_more_threads_than_stated_are_left_behind() {
    // Given a workflow that never yields
    static POLLS: AtomicU32 = AtomicU32::new(0);
    static END: AtomicBool = AtomicBool::new(false);

    enum Always {}
    impl Workflow for Always {
        const NAME: &'static str = "always";
        type Input = ();
        type Output = ();

        async fn run(_: Context, (): ()) -> WorkflowResult<()> {
            POLLS.fetch_add(1, Ordering::SeqCst);
            blocks_until(&END);
            Ok(())
        }
    }

    logs::listen();
    let bed = Bed::new(SPEED);
    let worker = bed.worker("eaten").workflow::<Always>().lease_ttl(TTL).shutdown_grace(Duration::ZERO);
    let worker = worker.build().unwrap();
    let run = bed.client.start::<Always>(()).key("k").await.unwrap();
    // When it has taken as many threads as a worker replaces, and the one of its only processor
    let error = bed.end(worker.run_until(pending())).await.unwrap_err();
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

    enum Spins {}
    impl Workflow for Spins {
        const NAME: &'static str = "spins";
        type Input = ();
        type Output = ();

        async fn run(_: Context, (): ()) -> WorkflowResult<()> {
            POLLS.fetch_add(1, Ordering::SeqCst);
            blocks_until(&END);
            Ok(())
        }
    }

    logs::listen();
    let bed = Bed::new(SPEED).with_busy_threads();
    let worker = bed.worker("spun").workflow::<Spins>().lease_ttl(TTL).shutdown_grace(Duration::ZERO);
    let worker = worker.build().unwrap();
    let spins = bed.client.start::<Spins>(()).key("k").await.unwrap();
    let script = async {
        // When it has cost its processor three leases
        while spins.describe().await.unwrap().status != RunStatus::Stalled {
            bed.pass(TTL / 10).await;
        }
        // Then it says why it stands still, other runs go on, and it can be ended
        let waiting_on = spins.describe().await.unwrap().waiting_on.unwrap();
        assert!(waiting_on.contains("the run was set aside: 3 times"), "{waiting_on}");
        let run = bed.client.start::<Greet>("Ada".to_owned()).key("k").await.unwrap();
        assert_eq!(run.result().await.unwrap(), "Hello, Ada!");
        spins.terminate("it spins").await.unwrap();
        assert!(spins.result().await.unwrap_err().is_run_terminated());
        assert_eq!(POLLS.load(Ordering::SeqCst), limits::STRIKES_MAX);
    };
    let ended = bed.end(worker.run_until(script)).await;
    END.store(true, Ordering::SeqCst);
    ended.unwrap();
}

#[tokio::test]
async fn workflow_that_took_all_replacements_leaves_the_other_processors_alone() {
    // Given a workflow that never yields, and a worker with two processors
    static END: AtomicBool = AtomicBool::new(false);

    enum Ever {}
    impl Workflow for Ever {
        const NAME: &'static str = "ever";
        type Input = ();
        type Output = ();

        async fn run(_: Context, (): ()) -> WorkflowResult<()> {
            blocks_until(&END);
            Ok(())
        }
    }

    logs::listen();
    let bed = Bed::new(SPEED);
    let worker = bed.worker("halved").workflow::<Ever>().lease_ttl(TTL).processors(2);
    let worker = worker.shutdown_grace(Duration::ZERO).build().unwrap();
    bed.client.start::<Ever>(()).key("k").await.unwrap();
    let script = async {
        // When it has taken all threads that it may take
        while logs::lines(&["ERROR", "halved", "nobody serves in its place"]).is_empty() {
            bed.pass(TTL / 10).await;
        }
        // Then runs of the other processor go on
        let mut results = Vec::new();
        for number in 0..16 {
            let run = bed.client.start::<Greet>("Ada".to_owned()).key(format!("k{number}")).await.unwrap();
            results.push(Box::pin(async move { run.result().await }));
        }
        let (result, ..) = futures::future::select_all(results).await;
        assert_eq!(result.unwrap(), "Hello, Ada!");
    };
    let ended = bed.end(worker.run_until(script)).await;
    END.store(true, Ordering::SeqCst);
    ended.unwrap();
}
