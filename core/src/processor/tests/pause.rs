//! Runs that a client pauses: which attempts begin, what their rows say, and which messages count.

use super::*;

impl Fixture {
    fn pause(&mut self, run: RunId) {
        self.submit(run, &Message::Pause { reason: None });
        self.run();
    }
}

#[test]
fn no_attempt_begins_during_a_pause_whoever_owns_the_run() {
    // Given an attempt in back-off
    let mut fixture = Fixture::new();
    let run = fixture.start::<Retries>(1, 0);
    fixture.run();
    fixture.end(run, 1, Err(broken()));
    fixture.pause(run);
    // When its time is over, and its owner is another one
    fixture.pass(8 * SECOND);
    fixture.take_over(0);
    fixture.heartbeat(8 * SECOND);
    fixture.pass(8 * SECOND);
    fixture.submit(run, &Message::Retry {});
    fixture.run();
    // Then it has not begun, and nothing keeps the run in memory
    assert!(fixture.attempts.is_empty());
    assert_eq!((fixture.rows[&run].state, fixture.rows[&run].wake_at), (OpenState::Paused, None));
    assert_eq!(fixture.processor.live_runs(), 0);
    // And it begins when the run is resumed
    fixture.submit(run, &Message::Resume {});
    fixture.run();
    assert_eq!(fixture.attempts[&(run, call(1))].attempt, 2);
}

#[test]
fn timer_of_a_paused_run_fires_in_time_and_its_code_learns_of_it_later() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Sleeps>(1, 2);
    fixture.run();
    fixture.pause(run);
    assert!(fixture.rows[&run].wake_at.is_some(), "its deadline is found by a query");
    fixture.heartbeat(4 * SECOND);
    fixture.pass(2 * SECOND);
    fixture.submit(run, &Message::Resume {});
    fixture.run();
    expect![[r#"
        1 run.started sleeps 2
        2 timer.started #1 until 2s
        3 run.paused
        4 timer.fired #1
        5 run.unpaused
        6 run.resumed 1 released
        7 run.completed 2
    "#]]
    .assert_eq(&fixture.history(run));
}

#[test]
fn request_to_resume_that_is_read_again_ends_no_later_pause() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.run();
    let id = MessageId::from_u128(77);
    fixture.pause(run);
    fixture.submit_again(run, &Message::Resume {}, id);
    fixture.run();
    fixture.pause(run);
    fixture.submit_again(run, &Message::Resume {}, id);
    fixture.run();
    assert_eq!((fixture.rows[&run].state, fixture.inbox.len()), (OpenState::Paused, 0));
}

#[test]
fn pause_and_resume_are_taken_in_their_order_by_a_run_that_is_loaded_for_them() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.run();
    fixture.take_over(0);
    for message in [Message::Pause { reason: None }, Message::Resume {}, Message::Pause { reason: None }] {
        fixture.submit(run, &message);
    }
    fixture.run();
    assert_eq!(fixture.history(run).matches("paused").count(), 3, "{}", fixture.history(run));
    assert_eq!(fixture.rows[&run].state, OpenState::Paused);
}
