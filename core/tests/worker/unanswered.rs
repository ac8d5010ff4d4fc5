//! An append that is not answered: first a warning per try, then an error now and then, and the worker's health.

use std::time::Duration;

use crate::limits;
use futures::future::pending;
use pgworkflows::worker::{Health, HealthReason};
use pgworkflows_memory::Fault;

use crate::faults::Kind;
use crate::fixture::{Bed, Greet};
use crate::logs;

const MINUTES: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn append_that_stays_unanswered_becomes_an_error_with_how_long_how_often_and_for_how_many() {
    // Given a store that answers everything but appends, and two runs
    logs::listen();
    let bed = Bed::virtual_time();
    let worker = bed.worker("mute").build().unwrap();
    let health = worker.health();
    bed.faults.begin(|kind| if kind == Kind::Append { Fault::Lose } else { Fault::Proceed });
    let first = bed.client.start::<Greet>("Ada".to_owned()).key("a").await.unwrap();
    let second = bed.client.start::<Greet>("Bob".to_owned()).key("b").await.unwrap();
    let script = async {
        // When ten minutes have passed
        bed.pass(MINUTES).await;

        // Then the lease is still held, the tries of the first 30 seconds are warnings, and after that there is an error
        // every 30 seconds
        assert_eq!(bed.faults.asked(Kind::Claim), 1);
        let warnings = logs::lines(&["WARN", "mute", "an append goes unanswered", "processor=0", "tries="]);
        assert!((10..40).contains(&warnings.len()), "{}", warnings.len());
        let errors = logs::lines(&["ERROR", "mute", "an append goes unanswered", "lasting=", "runs=2"]);
        assert!((15..=20).contains(&errors.len()), "{errors:?}");
        let Health::Unhealthy { reasons } = health.check() else { panic!("{health:?}") };
        let [HealthReason::AppendUnanswered { processor: 0, lasting, tries, runs: 2 }] = &reasons[..] else {
            panic!("{reasons:?}")
        };
        assert!(*lasting > MINUTES - Duration::from_secs(5) && *tries > 100, "{reasons:?}");

        // When the append is answered, then all is well, and the log says that as well
        bed.faults.end();
        assert_eq!(first.result().await.unwrap(), "Hello, Ada!");
        assert_eq!(second.result().await.unwrap(), "Hello, Bob!");
        assert_eq!(health.check(), Health::Healthy);
        assert_eq!(logs::lines(&["INFO", "mute", "the store answers again", "append"]).len(), 1);
    };
    bed.end(worker.run_on_this_thread(script)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn append_that_no_error_ever_ends_is_told_of_as_well() {
    // Given a network that swallows an append
    logs::listen();
    let bed = Bed::virtual_time();
    let worker = bed.worker("hole").shutdown_grace(Duration::ZERO).build().unwrap();
    let health = worker.health();
    bed.faults.begin(|kind| match kind {
        Kind::Append => Fault::Delay(Box::pin(pending())),
        _ => Fault::Proceed,
    });
    bed.client.start::<Greet>("Ada".to_owned()).key("a").await.unwrap();
    let script = async {
        // When ten minutes have passed, then that is an error of the log and of the worker's health
        bed.pass(MINUTES).await;
        let errors = logs::lines(&["ERROR", "hole", "an append goes unanswered", "tries=1", "runs=1"]);
        assert!((19..=20).contains(&errors.len()), "{errors:?}");
        let Health::Unhealthy { reasons } = health.check() else { panic!("{health:?}") };
        assert!(matches!(reasons[..], [HealthReason::AppendUnanswered { tries: 1, .. }]), "{reasons:?}");
    };
    bed.end(worker.run_on_this_thread(script)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn short_silence_is_no_concern_of_the_workers_health() {
    logs::listen();
    let bed = Bed::virtual_time();
    let worker = bed.worker("short").build().unwrap();
    let health = worker.health();
    let script = async {
        bed.pass(Duration::from_secs(1)).await;
        bed.faults.begin(|_| Fault::Lose);
        bed.pass(limits::UNANSWERED_ERROR / 2).await;
        assert_eq!(health.check(), Health::Healthy);
        assert_eq!(logs::lines(&["ERROR", "short"]), [""; 0]);
    };
    bed.end(worker.run_on_this_thread(script)).await.unwrap();
}
