//! Attempts and steps are executed after their commit, and their outcomes are recorded once.

use super::*;

#[test]
fn nothing_is_executed_before_its_cause_is_committed() {
    let mut fixture = Fixture::new();
    fixture.start::<WorksOnce>(1, 5);
    let read = fixture.processor.next_read();
    fixture.answer(read.expect("recovery comes first"));
    let read = fixture.processor.next_read();
    fixture.answer(read.expect("then the inbox"));
    fixture.work();
    let append = fixture.processor.cut().expect("a start is appended");
    assert!(fixture.processor.cut().is_none(), "one append is in flight");
    assert!(fixture.processor.take_effects().is_empty());
    assert_eq!(events(&append).last().map(|(_, event)| event.name()), Some("activity.attempt-started"));
    fixture.append(&append);
    fixture.run();
    assert_eq!(fixture.attempts.len(), 1);
}

#[test]
fn run_whose_attempt_failed_says_when_the_next_one_begins_and_why() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Retries>(1, 0);
    fixture.run();
    let row = &fixture.rows[&run];
    assert_eq!((&row.waiting_on, &row.waits), (&None, &None), "a first attempt is in progress");
    fixture.end(run, 1, Err(broken()));
    let on = |fixture: &Fixture| fixture.rows[&run].waiting_on.clone().unwrap_or_default();
    assert_eq!(fixture.rows[&run].state, OpenState::Parked);
    assert!(
        on(&fixture).starts_with("activity `retried` (attempt 2 begins at 2023-11-14T22:13:2"),
        "{}",
        on(&fixture)
    );
    assert!(on(&fixture).contains(", after this: it broke"), "{}", on(&fixture));
    fixture.heartbeat(2 * SECOND);
    fixture.pass(2 * SECOND);
    assert!(
        on(&fixture).starts_with("activity `retried` (attempt 2 is under way, after this: it broke"),
        "{}",
        on(&fixture)
    );
}

#[test]
fn waits_of_a_row_have_no_characters_that_a_store_does_not_hold_and_are_bounded() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Retries>(1, 0);
    fixture.run();
    fixture.end(run, 1, Err(Failure::new("broken", format!("it\0 broke \u{1}{}", "🏦".repeat(1_000)))));
    let waits = fixture.rows[&run].waits.clone().unwrap();
    assert!(waits.contains("it broke 🏦") && !waits.contains("\\u00") && waits.len() < 2_000, "{waits}");
}

#[test]
fn step_is_executed_again_after_a_takeover_and_its_outcome_only_once() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Steps>(1, 5);
    fixture.run();
    assert_eq!(fixture.open_state(run), OpenState::Busy);
    fixture.take_over(1);
    assert_eq!(fixture.steps.len(), 1);
    for _ in 0..2 {
        fixture.processor.step_ended(run, call(1), Name::from_static("step"), Ok(payload(&5)), fixture.now);
        fixture.run();
    }
    expect![[r#"
        1 run.started steps 5
        2 run.adopted lease 2
        3 step.completed #1 step 5
        4 run.completed 5
    "#]]
    .assert_eq(&fixture.history(run));
}

#[test]
fn activity_that_may_run_only_once_fails_when_its_worker_dies() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<WorksOnce>(1, 5);
    fixture.run();
    fixture.take_over(1);
    assert!(fixture.attempts.is_empty());
    expect![[r#"
        1 run.started works-once 5
        2 activity.scheduled #1 once 5
        3 activity.attempt-started #1 attempt 1
        4 run.adopted lease 2
        5 activity.failed #1: the process died while it executed `once`, which may run only once (attempt-lost)
        6 run.failed: activity `once` failed: the process died while it executed `once`, which may run only once (attempt-lost)
    "#]].assert_eq(&fixture.history(run));
}

#[test]
fn termination_aborts_attempts_in_progress() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<FansOut>(1, 3);
    fixture.run();
    assert_eq!(fixture.attempts.len(), 3);
    fixture.submit(run, &Message::Terminate { reason: "enough".to_owned(), parent: None });
    fixture.run();
    assert!(fixture.attempts.is_empty() && fixture.rows.is_empty());
    // An outcome that was already reported is ignored.
    fixture.processor.attempt_ended(run, call(1), 1, Ok(payload(&1)), fixture.now);
    fixture.run();
    assert!(fixture.history(run).trim_end().ends_with("run.terminated: enough"));
}

#[test]
fn input_that_the_activity_cannot_read_stalls_its_run_until_code_that_can_takes_over() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Works>(1, 5);
    fixture.run();
    fixture.attempts.clear();
    fixture.processor.attempt_impossible(run, call(1), "it is not a number".to_owned(), fixture.now);
    fixture.run();
    assert_eq!(fixture.rows[&run].state, OpenState::Stalled);
    fixture.take_over(0);
    fixture.end(run, 1, Ok(1));
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 run.stalled: it is not a number
        4 run.adopted lease 2
        5 run.resumed 0 released
        6 activity.completed #1 1
        7 run.completed 1
    "#]]
    .assert_eq(&fixture.history(run));
}

#[test]
fn request_to_retry_begins_the_next_attempt_at_once_and_only_once() {
    // Given an attempt in back-off
    let mut fixture = Fixture::new();
    let run = fixture.start::<Retries>(1, 0);
    fixture.run();
    fixture.end(run, 1, Err(broken()));
    assert!(fixture.attempts.is_empty());
    assert!(fixture.rows[&run].waits.as_deref().is_some_and(|waits| waits.contains("again_at")));
    // When somebody asks for it, twice
    fixture.submit(run, &Message::Retry {});
    fixture.submit(run, &Message::Retry {});
    fixture.run();
    // Then it begins, and the second request finds nothing in back-off
    assert_eq!(fixture.attempts[&(run, call(1))].attempt, 2);
    assert_eq!(fixture.history(run).matches("retry.requested").count(), 1, "{}", fixture.history(run));
    assert!(fixture.inbox.is_empty());
    // When it fails again, then the delay is that of the second attempt
    fixture.end(run, 1, Err(broken()));
    assert!(fixture.attempts.is_empty() && fixture.rows[&run].wake_at > Some(fixture.now));
    fixture.heartbeat(8 * SECOND);
    fixture.pass(8 * SECOND);
    fixture.end(run, 1, Ok(1));
    assert!(fixture.closed.contains(&run), "{}", fixture.history(run));
}

#[test]
fn request_to_retry_outlives_its_owner_at_any_moment() {
    for moment in 0.. {
        // Given an owner that dies after it has taken the request
        let mut fixture = Fixture::new();
        let run = fixture.start::<Retries>(1, 0);
        fixture.run();
        fixture.end(run, 1, Err(broken()));
        fixture.submit(run, &Message::Retry {});
        (0..moment).for_each(|_| fixture.proceed_without_trial());
        let has_begun = !fixture.attempts.is_empty();
        fixture.take_over(0);
        // Then the next one begins the attempt, without waiting
        assert_eq!(fixture.attempts[&(run, call(1))].attempt, 2, "after {moment} steps");
        assert_eq!(fixture.history(run).matches("retry.requested").count(), 1);
        if has_begun {
            break;
        }
    }
}

#[test]
fn request_to_retry_without_a_back_off_changes_nothing() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Retries>(1, 0);
    fixture.run();
    let before = (fixture.history(run), fixture.attempts_begun);
    fixture.submit(run, &Message::Retry {});
    fixture.run();
    assert_eq!((fixture.history(run), fixture.attempts_begun), before);
    assert!(fixture.inbox.is_empty());
}

#[test]
fn request_to_retry_reaches_all_that_is_in_back_off_and_nothing_that_is_under_way() {
    // Given an attempt that failed, and one that is under way
    let mut fixture = Fixture::new();
    let run = fixture.start::<TwoInBackOff>(1, 0);
    fixture.run();
    fixture.end(run, 1, Err(broken()));
    fixture.submit(run, &Message::Retry {});
    fixture.run();
    let attempts = |fixture: &Fixture| -> Vec<_> {
        fixture.attempts.iter().map(|((_, call), attempt)| (*call, attempt.attempt)).collect()
    };
    // Then the one that failed begins again, and the other one is as before
    assert_eq!(attempts(&fixture), [(call(1), 2), (call(2), 1)]);
    // When both have failed at different times, then both begin
    fixture.end(run, 2, Err(broken()));
    fixture.pass(SECOND / 10);
    fixture.end(run, 1, Err(broken()));
    fixture.submit(run, &Message::Retry {});
    fixture.run();
    assert_eq!(attempts(&fixture), [(call(1), 3), (call(2), 2)]);
    fixture.end(run, 2, Ok(1));
    fixture.end(run, 1, Ok(1));
    assert!(fixture.closed.contains(&run), "{}", fixture.history(run));
}

#[test]
fn request_to_retry_of_a_stalled_run_begins_its_attempt_whose_outcome_waits_for_the_code() {
    // Given a run with an attempt in back-off, whose code does not go on
    let mut fixture = Fixture::new();
    let run = fixture.start::<TwoInBackOff>(1, 0);
    fixture.run();
    fixture.end(run, 1, Err(broken()));
    fixture.end(run, 2, Ok(1));
    deploy_broken_build(true);
    fixture.take_over(0);
    // When somebody asks for the attempt, and again after the run has stalled
    for _ in 0..2 {
        fixture.submit(run, &Message::Retry {});
        fixture.run();
    }
    // Then it begins at once and only once, and its outcome is there when the code is mended
    assert_eq!((fixture.open_state(run), fixture.inbox.len()), (OpenState::Stalled, 0));
    assert_eq!(fixture.history(run).matches("retry.requested").count(), 1, "{}", fixture.history(run));
    fixture.end(run, 1, Ok(1));
    deploy_broken_build(false);
    fixture.take_over(0);
    assert!(fixture.closed.contains(&run), "{}", fixture.history(run));
}
