//! A shutdown ends in time, whatever the store and the workflows do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::limits;
use futures::future::pending;
use pgworkflows::prelude::*;
use pgworkflows_memory::Fault;

use crate::faults::Kind;
use crate::fixture::{Bed, Greet};
use crate::logs;
use crate::stuck::blocks_until;

const GRACE: Duration = Duration::from_secs(2);

fn swallow_everything(_: Kind) -> Fault {
    Fault::Delay(Box::pin(pending()))
}

#[tokio::test(start_paused = true)]
async fn shutdown_under_a_network_that_swallows_everything_takes_the_grace_and_the_stated_bound() {
    // Given a worker with an append under way when the network becomes a black hole
    logs::listen();
    let bed = Bed::virtual_time();
    let worker = bed.worker("black").shutdown_grace(GRACE).build().unwrap();
    let script = async {
        bed.pass(Duration::from_secs(1)).await;
        bed.faults.begin(|kind| if kind == Kind::Append { swallow_everything(kind) } else { Fault::Proceed });
        let start = bed.client.start::<Greet>("Ada".to_owned()).key("k");
        start.await.unwrap();
        bed.pass(Duration::from_secs(1)).await;
        bed.faults.begin(swallow_everything);
    };
    let mut told_at = Duration::ZERO;
    let shutdown = async {
        script.await;
        told_at = bed.now();
    };
    // When it is told to stop
    bed.end(worker.run_on_this_thread(shutdown)).await.unwrap();
    // Then it ends when the grace and the bound are over
    let took = bed.now() - told_at;
    let bound = GRACE + limits::SHUTDOWN_HANDOVER;
    assert!((bound..bound + Duration::from_millis(50)).contains(&took), "{took:?}");
    assert_eq!(logs::lines(&["WARN", "black", "could not hand over within 7s", "processor=0"]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_whose_release_is_never_answered_takes_no_longer_than_the_stated_bound() {
    logs::listen();
    let bed = Bed::virtual_time();
    let worker = bed.worker("unreleased").shutdown_grace(GRACE).build().unwrap();
    bed.faults.begin(|kind| if kind == Kind::Release { swallow_everything(kind) } else { Fault::Proceed });
    let stop_at = Duration::from_secs(1);
    bed.end(worker.run_on_this_thread(bed.pass(stop_at))).await.unwrap();
    let took = bed.now() - stop_at;
    assert!(took <= limits::SHUTDOWN_HANDOVER + Duration::from_millis(50), "{took:?}");
    assert_eq!(logs::lines(&["WARN", "unreleased", "could not be released in 5s"]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_is_heard_while_the_worker_waits_for_its_store_or_rests_after_losses() {
    // Given a store that does not answer the first question, or lets no lease be
    logs::listen();
    for deaf in [Kind::Queue, Kind::Claim, Kind::Session] {
        let bed = Bed::virtual_time();
        bed.faults.begin(move |kind| if kind == deaf { swallow_everything(kind) } else { Fault::Proceed });
        let worker = bed.worker("early").build().unwrap();
        // When the worker is told to stop, then it does so at once
        bed.end(worker.run_on_this_thread(bed.pass(GRACE))).await.unwrap();
        assert!(bed.now() < GRACE + Duration::from_millis(50), "{deaf:?}: {:?}", bed.now());
    }
}

#[tokio::test]
async fn shutdown_leaves_a_workflow_that_never_yields_behind_and_names_it() {
    // Given a workflow that never yields, on a thread of its own; time goes twenty times as fast
    static ENTERED: AtomicBool = AtomicBool::new(false);
    static END: AtomicBool = AtomicBool::new(false);

    enum Loop {}
    impl Workflow for Loop {
        const NAME: &'static str = "loop";
        type Input = ();
        type Output = ();

        async fn run(_: Context, (): ()) -> WorkflowResult<()> {
            ENTERED.store(true, Ordering::SeqCst);
            blocks_until(&END);
            Ok(())
        }
    }

    logs::listen();
    let bed = Bed::new(20);
    let worker = bed.worker("endless").workflow::<Loop>().shutdown_grace(GRACE);
    let worker = worker.lease_ttl(Duration::from_secs(3600)).build().unwrap();
    let run = bed.client.start::<Loop>(()).key("k").await.unwrap();
    let entered = async {
        while !ENTERED.load(Ordering::SeqCst) {
            bed.pass(Duration::from_millis(100)).await;
        }
    };
    // When the worker is told to stop, then it ends, although the workflow does not
    bed.end(worker.run_until(entered)).await.unwrap();
    assert!(!END.swap(true, Ordering::SeqCst));
    let id = run.run_id().to_string();
    let named = logs::lines(&["ERROR", "endless", &id, "loop", "has not yielded 7s after the shutdown"]);
    assert_eq!(named.len(), 1, "{named:?}");
}
