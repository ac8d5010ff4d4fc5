//! Attempts and steps are executed after their commit, and their outcomes are taken once.

use super::*;

#[test]
fn nothing_is_executed_before_its_cause_is_committed() {
    let mut desk = Desk::new();
    desk.start::<WorksOnce>(1, 5);
    let read = desk.processor.next_read();
    desk.answer(read.expect("recovery comes first"));
    let read = desk.processor.next_read();
    desk.answer(read.expect("then the inbox"));
    desk.work();
    let append = desk.processor.cut().expect("a start is appended");
    assert!(desk.processor.cut().is_none(), "one append is in flight");
    assert!(desk.processor.take_effects().is_empty());
    assert_eq!(
        append.events.last().map(|event| event.name.clone()),
        Some(EventName::from_static("activity.attempt-started"))
    );
    desk.append(&append);
    desk.run();
    assert_eq!(desk.attempts.len(), 1);
}

#[test]
fn activity_that_nobody_knows_stays_scheduled_also_after_a_retry() {
    let mut desk = Desk::new();
    let run = desk.start::<AsksTheUnknown>(1, 0);
    desk.run();
    assert!(desk.attempts.is_empty());
    assert_eq!(desk.rows[&run].state, OpenState::Busy);
    let waiting_on = desk.rows[&run].waiting_on.clone().unwrap_or_default();
    assert_eq!(waiting_on, "activity `unknown`, which no worker of its shard has registered");
    // A worker that knew it tried once; its retry is due at one that does not.
    let live = desk.processor.runs.get_mut(run).expect("it is busy");
    let progress = live.run().attempt_ended(desk.now, call(1), 1, Err(broken()));
    desk.processor.recorder().record(run, progress, &[], desk.now);
    desk.pass(10 * SECOND);
    assert!(desk.attempts.is_empty());
    assert_eq!(desk.processor.next_deadline(), None, "its retry does not spin");
}

#[test]
fn run_whose_attempt_failed_says_when_the_next_one_begins_and_after_what() {
    let mut desk = Desk::new();
    let run = desk.start::<Retries>(1, 0);
    desk.run();
    assert_eq!(desk.rows[&run].waiting_on, None, "a first attempt is under way");
    desk.end(run, 1, Err(broken()));
    let on = |desk: &Desk| desk.rows[&run].waiting_on.clone().unwrap_or_default();
    assert_eq!(desk.rows[&run].state, OpenState::Parked);
    assert!(
        on(&desk).starts_with("activity `retried` (attempt 2 begins at 2023-11-14T22:13:2"),
        "{}",
        on(&desk)
    );
    assert!(on(&desk).contains(", after this: it broke"), "{}", on(&desk));
    desk.tick(2 * SECOND);
    desk.pass(2 * SECOND);
    assert!(
        on(&desk).starts_with("activity `retried` (attempt 2 is under way, after this: it broke"),
        "{}",
        on(&desk)
    );
}

#[test]
fn step_is_executed_again_after_a_takeover_and_its_outcome_only_once() {
    let mut desk = Desk::new();
    let run = desk.start::<Steps>(1, 5);
    desk.run();
    assert_eq!(desk.rows[&run].state, OpenState::Busy);
    desk.take_over(1);
    assert_eq!(desk.steps.len(), 1);
    for _ in 0..2 {
        desk.processor.step_ended(run, call(1), Name::from_static("step"), Ok(payload(&5)), desk.now);
        desk.run();
    }
    expect![[r#"
        1 run.started steps 5
        2 run.adopted lease 2
        3 step.completed #1 step 5
        4 run.completed 5
    "#]]
    .assert_eq(&desk.history(run));
}

#[test]
fn activity_that_may_run_only_once_fails_when_its_worker_is_gone() {
    let mut desk = Desk::new();
    let run = desk.start::<WorksOnce>(1, 5);
    desk.run();
    desk.take_over(1);
    assert!(desk.attempts.is_empty());
    expect![[r#"
        1 run.started works-once 5
        2 activity.scheduled #1 once 5
        3 activity.attempt-started #1 attempt 1
        4 run.adopted lease 2
        5 activity.failed #1: the process died while it executed `once`, which may run only once (attempt-lost)
        6 run.failed: activity `once` failed (call-failed): the process died while it executed `once`, which may run only once (attempt-lost)
    "#]].assert_eq(&desk.history(run));
}

#[test]
fn termination_aborts_what_is_under_way() {
    let mut desk = Desk::new();
    let run = desk.start::<FansOut>(1, 3);
    desk.run();
    assert_eq!(desk.attempts.len(), 3);
    desk.submit(run, &Message::Terminate { reason: "enough".to_owned() });
    desk.run();
    assert!(desk.attempts.is_empty() && desk.rows.is_empty());
    // An outcome that was on its way finds nobody.
    desk.processor.attempt_ended(run, call(1), 1, Ok(payload(&1)), desk.now);
    desk.run();
    assert!(desk.history(run).trim_end().ends_with("run.terminated: enough"));
}

#[test]
fn input_that_the_activity_cannot_read_stalls_its_run_until_code_that_can_takes_over() {
    let mut desk = Desk::new();
    let run = desk.start::<Works>(1, 5);
    desk.run();
    desk.attempts.clear();
    desk.processor.attempt_impossible(run, call(1), "it is not a number".to_owned(), desk.now);
    desk.run();
    assert_eq!(desk.rows[&run].state, OpenState::Stalled);
    desk.take_over(0);
    desk.end(run, 1, Ok(1));
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 run.stalled: it is not a number
        4 run.adopted lease 2
        5 run.resumed 0 released
        6 activity.completed #1 1
        7 run.completed 1
    "#]]
    .assert_eq(&desk.history(run));
}
