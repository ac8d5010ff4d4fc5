//! Deadlines fire in time, from memory and from the store.

use super::*;

#[test]
fn parked_runs_are_found_by_their_deadlines() {
    let mut desk = Desk::new();
    let near = desk.start::<Sleeps>(1, 2);
    let far = desk.start::<Sleeps>(2, 60);
    desk.run();
    assert_eq!(desk.processor.live_runs(), 0, "before the first heartbeat nothing is near");
    desk.tick(4 * SECOND);
    assert_eq!(desk.processor.live_runs(), 1, "the near one is loaded");
    // What parks before the horizon of a query that was sent stays in memory.
    let nearer = desk.start::<Sleeps>(3, 3);
    desk.run();
    assert_eq!(desk.processor.live_runs(), 2);
    desk.pass(3 * SECOND);
    assert_eq!(desk.rows.keys().copied().collect::<Vec<_>>(), [far]);
    desk.pass(56 * SECOND);
    desk.tick(4 * SECOND);
    desk.pass(SECOND);
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
    .assert_eq(&(desk.history(near) + &desk.history(far) + &desk.history(nearer)));
}

#[test]
fn near_deadline_fires_in_time_before_the_first_heartbeat() {
    let mut desk = Desk::new();
    desk.config.horizon = 4 * SECOND;
    desk.take_over(0);
    let near = desk.start::<Sleeps>(1, 2);
    let far = desk.start::<Sleeps>(2, 60);
    desk.run();
    assert_eq!(desk.processor.live_runs(), 1, "the far one has left memory");
    desk.pass(2 * SECOND);
    assert_eq!(desk.rows.keys().copied().collect::<Vec<_>>(), [far]);
    assert!(desk.history(near).contains("run.completed"));
}

#[test]
fn retry_whose_activity_is_out_of_time_does_not_begin() {
    let mut desk = Desk::new();
    let run = desk.start::<RetriesInTime>(1, 0);
    desk.run();
    desk.end(run, 1, Err(broken()));
    // Nobody serves the shard until both deadlines have passed.
    desk.now = desk.now.saturating_add(10 * SECOND);
    desk.take_over(1);
    desk.tick(SECOND);
    assert_eq!(desk.attempts_begun, 1, "the one before its worker was gone");
    assert!(desk.history(run).contains("run.failed"), "{}", desk.history(run));
}

#[test]
fn retry_waits_as_a_deadline_and_begins_again_after_a_takeover() {
    let mut desk = Desk::new();
    let run = desk.start::<Retries>(1, 0);
    desk.run();
    desk.end(run, 1, Err(broken()));
    assert_eq!((desk.processor.live_runs(), desk.rows[&run].state), (0, OpenState::Parked));
    desk.take_over(1);
    desk.tick(SECOND);
    desk.pass(SECOND);
    assert_eq!(desk.attempts[&(run, call(1))].attempt, 2);
    // The retry was handed out, and the process dies: it is due still.
    desk.take_over(1);
    assert!(desk.attempts.is_empty());
    desk.tick(SECOND);
    assert_eq!(desk.attempts[&(run, call(1))].attempt, 2);
    desk.end(run, 1, Ok(1));
    expect![[r#"
        1 run.started retries 0
        2 activity.scheduled #1 retried 0
        3 activity.attempt-failed #1 attempt 1: it broke (broken), again at 0.954936s
        4 run.adopted lease 3
        5 activity.completed #1 1
        6 run.completed 1
    "#]]
    .assert_eq(&desk.history(run));
}
