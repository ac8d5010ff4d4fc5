//! An unanswered append: a warning at each try at first, later an error at intervals and in the worker's health.

use std::time::Duration;

use futures::future::pending;
use pgworkflows::worker::{Health, HealthReason};
use pgworkflows_memory::Fault;

use crate::faults::Kind;
use crate::fixture::{Fixture, Greet};
use crate::limits;
use crate::logs;

const TEN_MINUTES: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn unanswered_append_becomes_an_error_with_its_duration_tries_and_runs() {
    // Given a store that answers everything except appends, and two runs
    let fixture = Fixture::virtual_time();
    let worker = fixture.worker("mute").build().unwrap();
    let health = worker.health();
    fixture.faults.begin(|kind| if kind == Kind::Append { Fault::Lose } else { Fault::Proceed });
    let first = fixture.client.start::<Greet>("Ada".to_owned()).key("a").await.unwrap();
    let second = fixture.client.start::<Greet>("Bob".to_owned()).key("b").await.unwrap();
    let script = async {
        // When ten minutes have passed
        fixture.pass(TEN_MINUTES).await;

        // Then the lease is still held, the tries of the first 30 seconds were logged as warnings, and later there was an
        // error every 30 seconds
        assert_eq!(fixture.faults.calls(Kind::Claim), 1);
        let warnings = logs::lines(&["WARN", "mute", "an append goes unanswered", "processor=0", "tries="]);
        assert!((10..40).contains(&warnings.len()), "{}", warnings.len());
        let errors = logs::lines(&["ERROR", "mute", "an append goes unanswered", "lasting=", "runs=2"]);
        assert!((15..=20).contains(&errors.len()), "{errors:?}");
        let Health::Unhealthy { reasons } = health.check() else { panic!("{health:?}") };
        let [HealthReason::AppendUnanswered { processor: 0, lasting, tries, runs: 2 }] = &reasons[..] else {
            panic!("{reasons:?}")
        };
        assert!(*lasting > TEN_MINUTES - Duration::from_secs(5) && *tries > 100, "{reasons:?}");

        // When the append is answered, then the worker is healthy, and the log says so
        fixture.faults.end();
        assert_eq!(first.result().await.unwrap(), "Hello, Ada!");
        assert_eq!(second.result().await.unwrap(), "Hello, Bob!");
        assert_eq!(health.check(), Health::Healthy);
        assert_eq!(logs::lines(&["INFO", "mute", "the store answers again", "append"]).len(), 1);
    };
    fixture.end(worker.run_on_this_thread(script)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn append_that_never_ends_is_reported_too() {
    // Given a network that loses an append without an error
    let fixture = Fixture::virtual_time();
    let worker = fixture.worker("hole").shutdown_grace(Duration::ZERO).build().unwrap();
    let health = worker.health();
    fixture.faults.begin(|kind| match kind {
        Kind::Append => Fault::Delay(Box::pin(pending())),
        _ => Fault::Proceed,
    });
    fixture.client.start::<Greet>("Ada".to_owned()).key("a").await.unwrap();
    let script = async {
        // When ten minutes have passed, then the log and the worker's health report an error
        fixture.pass(TEN_MINUTES).await;
        let errors = logs::lines(&["ERROR", "hole", "an append goes unanswered", "tries=1", "runs=1"]);
        assert!((19..=20).contains(&errors.len()), "{errors:?}");
        let Health::Unhealthy { reasons } = health.check() else { panic!("{health:?}") };
        assert!(matches!(reasons[..], [HealthReason::AppendUnanswered { tries: 1, .. }]), "{reasons:?}");
    };
    fixture.end(worker.run_on_this_thread(script)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn short_silence_does_not_affect_the_workers_health() {
    let fixture = Fixture::virtual_time();
    let worker = fixture.worker("short").build().unwrap();
    let health = worker.health();
    let script = async {
        fixture.pass(Duration::from_secs(1)).await;
        fixture.faults.begin(|_| Fault::Lose);
        fixture.pass(limits::UNANSWERED_ERROR / 2).await;
        assert_eq!(health.check(), Health::Healthy);
        assert_eq!(logs::lines(&["ERROR", "short"]), [""; 0]);
    };
    fixture.end(worker.run_on_this_thread(script)).await.unwrap();
}
