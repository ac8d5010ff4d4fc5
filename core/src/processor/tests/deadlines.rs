//! Deadlines fire in time, from memory and from the store.

use super::*;

#[test]
fn parked_runs_are_found_by_their_deadlines() {
    let mut fixture = Fixture::new();
    let near = fixture.start::<Sleeps>(1, 2);
    let far = fixture.start::<Sleeps>(2, 60);
    fixture.run();
    assert_eq!(fixture.processor.live_runs(), 0, "no deadline is near before the first heartbeat");
    fixture.heartbeat(4 * SECOND);
    assert_eq!(fixture.processor.live_runs(), 1, "the near one is loaded");
    // A run that parks with a deadline before the horizon of the last query stays in memory.
    let nearer = fixture.start::<Sleeps>(3, 3);
    fixture.run();
    assert_eq!(fixture.processor.live_runs(), 2);
    fixture.pass(3 * SECOND);
    assert_eq!(fixture.rows.keys().copied().collect::<Vec<_>>(), [far]);
    fixture.pass(56 * SECOND);
    fixture.heartbeat(4 * SECOND);
    fixture.pass(SECOND);
    expect![[r#"
        1 run.started sleeps 2
        2 timer.started #1 until 2s
        3 timer.fired #1
        4 run.completed 2
        1 run.started sleeps 60
        2 timer.started #1 until 1m
        3 timer.fired #1
        4 run.completed 60
        1 run.started sleeps 3
        2 timer.started #1 until 3s
        3 timer.fired #1
        4 run.completed 3
    "#]]
    .assert_eq(&(fixture.history(near) + &fixture.history(far) + &fixture.history(nearer)));
}

#[test]
fn near_deadline_fires_in_time_before_the_first_heartbeat() {
    let mut fixture = Fixture::new();
    fixture.config.horizon = 4 * SECOND;
    fixture.take_over(0);
    let near = fixture.start::<Sleeps>(1, 2);
    let far = fixture.start::<Sleeps>(2, 60);
    fixture.run();
    assert_eq!(fixture.processor.live_runs(), 1, "the far one has left memory");
    fixture.pass(2 * SECOND);
    assert_eq!(fixture.rows.keys().copied().collect::<Vec<_>>(), [far]);
    assert!(fixture.history(near).contains("run.completed"));
}

#[test]
fn retry_does_not_begin_after_the_activitys_time_is_over() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<RetriesInTime>(1, 0);
    fixture.run();
    fixture.end(run, 1, Err(broken()));
    // No processor serves the shard until both deadlines have passed.
    fixture.now = fixture.now.saturating_add(10 * SECOND);
    fixture.take_over(1);
    fixture.heartbeat(SECOND);
    assert_eq!(fixture.attempts_begun, 1, "only the one before its worker died");
    assert!(fixture.history(run).contains("run.failed"), "{}", fixture.history(run));
}

#[test]
fn retry_waits_as_a_deadline_and_begins_again_after_a_takeover() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Retries>(1, 0);
    fixture.run();
    fixture.end(run, 1, Err(broken()));
    assert_eq!((fixture.processor.live_runs(), fixture.rows[&run].state), (0, OpenState::Parked));
    fixture.take_over(1);
    fixture.heartbeat(SECOND);
    fixture.pass(SECOND);
    assert_eq!(fixture.attempts[&(run, call(1))].attempt, 2);
    // The retry was handed to the executor and the process dies: the retry is still due.
    fixture.take_over(1);
    assert!(fixture.attempts.is_empty());
    fixture.heartbeat(SECOND);
    assert_eq!(fixture.attempts[&(run, call(1))].attempt, 2);
    fixture.end(run, 1, Ok(1));
    expect![[r#"
        1 run.started retries 0
        2 activity.scheduled #1 retried 0
        3 activity.attempt-failed #1 attempt 1: it broke (broken), again at 0.954936s
        4 run.adopted lease 3
        5 activity.completed #1 1
        6 run.completed 1
    "#]]
    .assert_eq(&fixture.history(run));
}
