//! Assertions: what they accept, and what they say if they fail.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pgworkflows_testkit::{Error, Mock, TestRun, expect};

use crate::definitions::{APPROVED, Charge, HOUR, Order, Reserve, assert_says, orders};

/// The message of a failed assertion.
fn failure(assertion: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(assertion)).expect_err("the assertion should not hold");
    *panic.downcast::<String>().expect("a message")
}

async fn waiting() -> Result<TestRun<Order>, Error> {
    orders().build().start::<Order>("book".to_owned()).await
}

#[tokio::test]
async fn history_is_a_short_text_that_is_the_same_every_time() -> Result<(), Error> {
    let declined = pgworkflows_core::activity::ActivityError::new("card-declined", "no funds");
    let mock = Mock::<Charge>::fail_times(1, declined).then(|cents| Ok(format!("charged {cents}")));
    let env = orders().mock_with(mock).build();
    let run = env.start::<Order>("book".to_owned()).key("order:1").await?;
    env.advance(HOUR).await;
    run.signal(APPROVED, true).await?;
    run.result().await?;
    run.assert_history(expect![[r#"
        1  0s               run.started order "book" key "order:1"
        2  0s               activity.scheduled #1 reserve "book"
        3  0s               activity.completed #1 reserve 4
        4  1h               signal.received approved true
        5  1h               activity.scheduled #3 charge 4
        6  1h               activity.attempt-failed #3 charge attempt 1: no funds (card-declined), again at 1h52m29.899471s
        7  1h52m29.899471s  activity.completed #3 charge "charged 4"
        8  1h52m29.899471s  run.completed "charged 4"
    "#]]);
    Ok(())
}

#[tokio::test]
async fn signal_that_follows_a_start_is_the_second_event() -> Result<(), Error> {
    let run = orders().build().start::<Order>("book".to_owned()).with_signal(APPROVED, true).await?;
    assert_eq!(run.result().await?, "charged 4");
    let history = run.history();
    let events = history.events()?;
    let names: Vec<_> = events.iter().map(|event| event.event.name()).collect();
    assert!(names.starts_with(&["run.started", "activity.scheduled", "signal.received"]), "{names:?}");
    Ok(())
}

#[tokio::test]
async fn cancelled_run_and_its_history() -> Result<(), Error> {
    let run = waiting().await?;
    run.cancel().await?;
    assert!(run.result().await.unwrap_err().is_run_cancelled());
    run.assert_cancelled();
    run.assert_history(expect![[r#"
        1  0s  run.started order "book"
        2  0s  activity.scheduled #1 reserve "book"
        3  0s  activity.completed #1 reserve 4
        4  0s  cancel.requested
        5  0s  run.cancelled
    "#]]);
    Ok(())
}

#[tokio::test]
async fn waiting_on_something_else_is_shown_with_the_history_and_source_lines() -> Result<(), Error> {
    let run = waiting().await?;
    run.assert_waiting_on(APPROVED);
    let message = failure(|| run.assert_waiting_on_activity::<Charge>());
    assert_says(
        &message,
        &[
            "workflow `order` does not wait for activity `charge`: it waits for signal `approved` at",
            "definitions.rs:",
            "1  0s  run.started order \"book\"",
            "activity.scheduled #1 reserve \"book\"",
        ],
    );
    let scheduled = message.lines().find(|line| line.contains("activity.scheduled")).expect("it is there");
    assert!(scheduled.contains("definitions.rs:"), "{scheduled}");
    Ok(())
}

#[tokio::test]
async fn unexpected_result_is_shown() -> Result<(), Error> {
    let run = waiting().await?;
    let early = failure(|| run.assert_completed("charged 4"));
    assert!(early.contains("it is not over"), "{early}");
    run.signal(APPROVED, true).await?;
    run.assert_completed("charged 4");
    let other = failure(|| run.assert_completed("charged 5"));
    assert!(other.contains("completed with \"charged 4\" instead of \"charged 5\""), "{other}");
    let failed = failure(|| run.assert_failed("rejected"));
    assert!(failed.contains("it ended with run.completed \"charged 4\""), "{failed}");
    Ok(())
}

#[tokio::test]
async fn failure_is_recognised_by_its_type() -> Result<(), Error> {
    let run = waiting().await?;
    run.signal(APPROVED, false).await?;
    run.assert_failed("rejected");
    let other = failure(|| run.assert_failed("card-declined"));
    assert!(
        other.contains(
            "has not failed with `card-declined`: it ended with run.failed: nobody wants it (rejected)"
        ),
        "{other}"
    );
    Ok(())
}

#[tokio::test]
async fn failed_assertion_points_to_the_test() -> Result<(), Error> {
    let run = waiting().await?;
    let (sender, place) = std::sync::mpsc::channel();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = sender.send(panic.location().map(|place| place.file().to_owned()));
    }));
    let panicked = catch_unwind(AssertUnwindSafe(|| run.assert_cancelled()));
    std::panic::set_hook(hook);
    assert!(panicked.is_err());
    let here = |place: Option<String>| place.is_some_and(|file| file.ends_with("assertions.rs"));
    assert!(place.try_iter().any(here), "the panic points elsewhere");
    Ok(())
}

#[tokio::test]
async fn run_that_waits_for_a_signal_does_not_wait_for_an_activity() -> Result<(), Error> {
    let run = waiting().await?;
    run.assert_waiting_on(APPROVED);
    let message = failure(|| run.assert_waiting_on_activity::<Reserve>());
    assert!(message.contains("does not wait for activity `reserve`"), "{message}");
    Ok(())
}
