//! Leases that are lost repeatedly: backoff, a count in the log, and an end if nothing helps.

use std::time::Duration;

use futures::future::pending;
use pgworkflows::store::StoreError;
use pgworkflows::worker::{Health, HealthReason};
use pgworkflows_memory::Fault;

use crate::faults::Kind;
use crate::fixture::{Fixture, Greet};
use crate::limits;
use crate::logs;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn corrupt_answers_end_the_worker_after_the_stated_tries() {
    // Given a store whose reads return corrupt data
    let fixture = Fixture::virtual_time();
    fixture.faults.begin(|kind| match kind {
        Kind::Read => Fault::Refuse(StoreError::corrupt("a page of nonsense")),
        _ => Fault::Proceed,
    });
    let run = fixture.client.start::<Greet>("Ada".to_owned()).key("k").await.unwrap();
    let worker = fixture.worker("corrupt").build().unwrap();
    let health = worker.health();

    // When a worker serves it
    let error = fixture.end(worker.run_on_this_thread(pending())).await.unwrap_err();

    // Then it ends after the stated number of tries, with ever longer pauses between them
    assert!(error.is_gave_up() && error.to_string().contains("a page of nonsense"), "{error}");
    assert_eq!(fixture.faults.calls(Kind::Claim), limits::SETBACKS_MAX as usize);
    assert!(fixture.now() > Duration::from_secs(25), "{:?}", fixture.now());
    let Health::Unhealthy { reasons } = health.check() else { panic!("{health:?}") };
    assert!(
        matches!(&reasons[..], [HealthReason::GaveUp { why }] if *why == error.to_string()),
        "{reasons:?}"
    );
    // Then the log counts the losses, and says how long each lease was held
    let lost = logs::lines(&["corrupt", "lost again and again", "in_a_row=9", "served=", "processor=0"]);
    assert!(matches!(&lost[..], [line] if line.starts_with("ERROR")), "{lost:?}");
    // Then another worker can take its runs over at once
    fixture.faults.end();
    let gave_up_at = fixture.now();
    let script = async { assert_eq!(run.result().await.unwrap(), "Hello, Ada!") };
    let sound = fixture.worker("sound").build().unwrap();
    fixture.end(sound.run_on_this_thread(script)).await.unwrap();
    assert!(fixture.now() < gave_up_at + limits::LEASE_TTL / 2);
}

#[tokio::test(start_paused = true)]
async fn leases_that_are_fenced_repeatedly_are_claimed_with_growing_backoff() {
    // Given a store that fences every lease at its first append
    let fixture = Fixture::virtual_time();
    fixture.faults.begin(|kind| match kind {
        Kind::Append => Fault::Refuse(StoreError::fenced("another worker was faster")),
        _ => Fault::Proceed,
    });
    let run = fixture.client.start::<Greet>("Ada".to_owned()).key("k").await.unwrap();
    let worker = fixture.worker("fenced").build().unwrap();
    let health = worker.health();
    let script = async {
        // When an hour has passed
        fixture.pass(HOUR).await;

        // Then it has claimed a few hundred leases, not millions, and reports that
        let claims = fixture.faults.calls(Kind::Claim);
        assert!((100..500).contains(&claims), "{claims} claims in an hour");
        let Health::Unhealthy { reasons } = health.check() else { panic!("{health:?}") };
        let [HealthReason::LeaseLost { processor: 0, in_a_row, why }] = &reasons[..] else {
            panic!("{reasons:?}")
        };
        assert!(*in_a_row >= 100 && why.contains("another worker was faster"), "{reasons:?}");

        // When the store is repaired, then the run completes, and the worker is healthy after holding a lease
        fixture.faults.end();
        assert_eq!(run.result().await.unwrap(), "Hello, Ada!");
        fixture.pass(limits::LEASE_SERVED_WELL).await;
        assert_eq!(health.check(), Health::Healthy);
    };
    fixture.end(worker.run_on_this_thread(script)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn outage_of_any_length_is_waited_out_and_its_end_is_noticed_at_once() {
    // Given a running worker, and then no store for an hour
    let fixture = Fixture::virtual_time();
    let worker = fixture.worker("outage").build().unwrap();
    let health = worker.health();
    assert_eq!(health.check(), Health::Starting);
    let script = async {
        fixture.pass(Duration::from_secs(1)).await;
        assert_eq!(health.check(), Health::Healthy);
        fixture.faults.begin(|_| Fault::Lose);
        fixture.pass(HOUR).await;

        // Then its health and its log report that, the log every 30 seconds
        let Health::Unhealthy { reasons } = health.check() else { panic!("{health:?}") };
        let [HealthReason::StoreUnreachable { lasting }] = &reasons[..] else { panic!("{reasons:?}") };
        assert!(*lasting > HOUR - limits::LEASE_TTL, "{lasting:?}");
        let errors = logs::lines(&["ERROR", "outage", "no lease could be claimed", "lasting=", "tries="]);
        assert!((100..=120).contains(&errors.len()), "{} errors in an hour", errors.len());

        // When the store is back
        fixture.faults.end();
        let run = fixture.client.start::<Greet>("Ada".to_owned()).await.unwrap();

        // Then the run is executed at once, as if nothing had happened
        let back_at = fixture.now();
        assert_eq!(run.result().await.unwrap(), "Hello, Ada!");
        assert!(fixture.now() < back_at + Duration::from_secs(10));
        fixture.pass(limits::HEARTBEAT_INTERVAL * 2).await;
        assert_eq!(health.check(), Health::Healthy);
    };
    fixture.end(worker.run_on_this_thread(script)).await.unwrap();
    assert_eq!(health.check(), Health::Stopped);
}

#[tokio::test(start_paused = true)]
async fn repeated_outages_do_not_count_as_losses_in_a_row() {
    // Given outages, each longer than a lease, with a few seconds between them
    let fixture = Fixture::virtual_time();
    let worker = fixture.worker("flapping").build().unwrap();
    let health = worker.health();
    let script = async {
        for _ in 0..10 {
            fixture.faults.begin(|_| Fault::Lose);
            fixture.pass(limits::LEASE_TTL * 2).await;
            fixture.faults.end();
            fixture.pass(limits::HEARTBEAT_INTERVAL * 3).await;
            // Then the worker is healthy soon after each outage
            assert_eq!(health.check(), Health::Healthy);
        }
        assert!(
            !logs::lines(&["flapping", "the lease is lost, because the store does not answer"]).is_empty()
        );
    };
    fixture.end(worker.run_on_this_thread(script)).await.unwrap();
}
