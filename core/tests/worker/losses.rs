//! Leases that are lost again and again: back-off, a count in the log, and an end where nothing helps.

use std::time::Duration;

use crate::limits;
use futures::future::pending;
use pgworkflows::store::StoreError;
use pgworkflows::worker::{Health, HealthReason};
use pgworkflows_memory::Fault;

use crate::faults::Kind;
use crate::fixture::{Bed, Greet};
use crate::logs;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn store_that_answers_what_cannot_be_ends_the_worker_after_the_stated_tries() {
    // Given a store whose reads answer nonsense
    logs::listen();
    let bed = Bed::virtual_time();
    bed.faults.begin(|kind| match kind {
        Kind::Read => Fault::Refuse(StoreError::corrupt("a page of nonsense")),
        _ => Fault::Proceed,
    });
    let run = bed.client.start::<Greet>("Ada".to_owned()).key("k").await.unwrap();
    let worker = bed.worker("corrupt").build().unwrap();
    let health = worker.health();

    // When a worker serves it
    let error = bed.end(worker.run_on_this_thread(pending())).await.unwrap_err();

    // Then it ends after the stated number of tries, with ever longer pauses between them
    assert!(error.is_gave_up() && error.to_string().contains("a page of nonsense"), "{error}");
    assert_eq!(bed.faults.asked(Kind::Claim), limits::SETBACKS_MAX as usize);
    assert!(bed.now() > Duration::from_secs(25), "{:?}", bed.now());
    let Health::Unhealthy { reasons } = health.check() else { panic!("{health:?}") };
    assert!(
        matches!(&reasons[..], [HealthReason::GaveUp { why }] if *why == error.to_string()),
        "{reasons:?}"
    );
    // Then the log counts, and says how long each lease was served
    let lost = logs::lines(&["corrupt", "lost again and again", "in_a_row=9", "served=", "processor=0"]);
    assert!(matches!(&lost[..], [line] if line.starts_with("ERROR")), "{lost:?}");
    // Then its runs are free for another worker at once
    bed.faults.end();
    let gave_up_at = bed.now();
    let script = async { assert_eq!(run.result().await.unwrap(), "Hello, Ada!") };
    let sound = bed.worker("sound").build().unwrap();
    bed.end(sound.run_on_this_thread(script)).await.unwrap();
    assert!(bed.now() < gave_up_at + limits::LEASE_TTL / 2);
}

#[tokio::test(start_paused = true)]
async fn leases_that_others_take_again_and_again_are_claimed_with_growing_pauses() {
    // Given a store that fences every lease at its first append
    logs::listen();
    let bed = Bed::virtual_time();
    bed.faults.begin(|kind| match kind {
        Kind::Append => Fault::Refuse(StoreError::fenced("somebody else was quicker")),
        _ => Fault::Proceed,
    });
    let run = bed.client.start::<Greet>("Ada".to_owned()).key("k").await.unwrap();
    let worker = bed.worker("fenced").build().unwrap();
    let health = worker.health();
    let script = async {
        // When an hour has passed
        bed.pass(HOUR).await;

        // Then it has claimed a few hundred leases, not millions, and says so
        let claims = bed.faults.asked(Kind::Claim);
        assert!((100..500).contains(&claims), "{claims} claims in an hour");
        let Health::Unhealthy { reasons } = health.check() else { panic!("{health:?}") };
        let [HealthReason::LeaseLost { processor: 0, in_a_row, why }] = &reasons[..] else {
            panic!("{reasons:?}")
        };
        assert!(*in_a_row >= 100 && why.contains("somebody else was quicker"), "{reasons:?}");

        // When the store is mended, then the run ends, and a lease that is held makes all well again
        bed.faults.end();
        assert_eq!(run.result().await.unwrap(), "Hello, Ada!");
        bed.pass(limits::LEASE_SERVED_WELL).await;
        assert_eq!(health.check(), Health::Healthy);
    };
    bed.end(worker.run_on_this_thread(script)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn outage_is_waited_out_however_long_it_is_and_its_end_is_not_slept_through() {
    // Given a worker at work, and then no store for an hour
    logs::listen();
    let bed = Bed::virtual_time();
    let worker = bed.worker("outage").build().unwrap();
    let health = worker.health();
    assert_eq!(health.check(), Health::Starting);
    let script = async {
        bed.pass(Duration::from_secs(1)).await;
        assert_eq!(health.check(), Health::Healthy);
        bed.faults.begin(|_| Fault::Lose);
        bed.pass(HOUR).await;

        // Then its health and its log say so, the log every 30 seconds
        let Health::Unhealthy { reasons } = health.check() else { panic!("{health:?}") };
        let [HealthReason::StoreUnreachable { lasting }] = &reasons[..] else { panic!("{reasons:?}") };
        assert!(*lasting > HOUR - limits::LEASE_TTL, "{lasting:?}");
        let errors = logs::lines(&["ERROR", "outage", "no lease could be claimed", "lasting=", "tries="]);
        assert!((100..=120).contains(&errors.len()), "{} errors in an hour", errors.len());

        // When it is back
        bed.faults.end();
        let run = bed.client.start::<Greet>("Ada".to_owned()).await.unwrap();

        // Then it is served at once, as if nothing had happened
        let back_at = bed.now();
        assert_eq!(run.result().await.unwrap(), "Hello, Ada!");
        assert!(bed.now() < back_at + Duration::from_secs(10));
        bed.pass(limits::TICK_INTERVAL * 2).await;
        assert_eq!(health.check(), Health::Healthy);
    };
    bed.end(worker.run_on_this_thread(script)).await.unwrap();
    assert_eq!(health.check(), Health::Stopped);
}

#[tokio::test(start_paused = true)]
async fn outages_in_a_row_are_no_losses_in_a_row() {
    // Given outages, each longer than a lease, with a few seconds between them
    logs::listen();
    let bed = Bed::virtual_time();
    let worker = bed.worker("flapping").build().unwrap();
    let health = worker.health();
    let script = async {
        for _ in 0..10 {
            bed.faults.begin(|_| Fault::Lose);
            bed.pass(limits::LEASE_TTL * 2).await;
            bed.faults.end();
            bed.pass(limits::TICK_INTERVAL * 3).await;
            // Then the worker is well a moment after each
            assert_eq!(health.check(), Health::Healthy);
        }
        assert!(!logs::lines(&["flapping", "the lease is lost, for the store does not answer"]).is_empty());
    };
    bed.end(worker.run_on_this_thread(script)).await.unwrap();
}
