//! When a run is in memory, and when it leaves memory.

use super::*;

#[test]
fn run_is_in_memory_only_while_something_is_in_flight() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Works>(1, 5);
    fixture.run();
    assert_eq!(fixture.processor.live_runs(), 1);
    assert_eq!(fixture.open_state(run), OpenState::Busy);
    fixture.end(run, 1, Ok(6));
    assert_eq!(fixture.processor.live_runs(), 0);
    assert!(fixture.rows.is_empty() && fixture.inbox.is_empty());
    let waits = fixture.start::<Waits>(2, 0);
    fixture.run();
    assert_eq!((fixture.processor.live_runs(), fixture.rows[&waits].state), (0, OpenState::Parked));
    assert!(fixture.rows[&waits].waiting_on.as_ref().is_some_and(|on| on.starts_with("signal `go` at")));
    fixture.signal(waits, 7);
    fixture.signal(waits, 0);
    fixture.run();
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 activity.completed #1 6
        4 run.completed 6
        1 run.started waits 0
        2 signal.received go 7
        3 signal.received go 0
        4 run.completed 7
    "#]]
    .assert_eq(&(fixture.history(run) + &fixture.history(waits)));
}

#[test]
fn run_with_a_long_history_rests_for_a_while_so_that_no_message_loads_it_again() {
    // Given a parked run, whose history grows by messages that come one by one
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.run();
    for _ in 0..3 * limits::REST_EVENTS_MIN {
        fixture.signal(run, 1);
        fixture.run();
    }
    // Then it was loaded only while it was short
    assert!(fixture.loads <= limits::REST_EVENTS_MIN as usize, "{} loads", fixture.loads);
    assert_eq!((fixture.processor.live_runs(), fixture.rows[&run].state), (1, OpenState::Parked));
    // When no message comes between two heartbeats, then it leaves memory
    fixture.heartbeat(SECOND);
    assert_eq!(fixture.processor.live_runs(), 1);
    fixture.heartbeat(SECOND);
    assert_eq!(fixture.processor.live_runs(), 0);
    fixture.signal(run, 0);
    fixture.run();
    assert!(fixture.rows.is_empty() && fixture.inbox.is_empty());
}

#[test]
fn stalled_run_leaves_memory_and_resumes_with_matching_code() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.run();
    deploy_broken_build(true);
    fixture.signal(run, 1);
    fixture.run();
    assert_eq!((fixture.processor.live_runs(), fixture.rows[&run].state), (0, OpenState::Stalled));
    fixture.signal(run, 2);
    fixture.run();
    deploy_broken_build(false);
    fixture.take_over(0);
    assert_eq!((fixture.processor.live_runs(), fixture.rows[&run].state), (0, OpenState::Parked));
    fixture.signal(run, 0);
    fixture.run();
    expect![[r#"
        1 run.started waits 0
        2 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        3 signal.received go 1
        4 signal.received go 2
        5 run.adopted lease 2
        6 run.resumed 2 released
        7 signal.received go 0
        8 run.completed 3
    "#]].assert_eq(&fixture.history(run));
}

#[test]
fn long_history_stalls_the_run_until_the_limit_is_raised() {
    let mut fixture = Fixture::new();
    fixture.config.history_events_max = 4;
    fixture.take_over(0);
    let run = fixture.start::<Waits>(1, 0);
    for number in 1..=3 {
        fixture.signal(run, number);
    }
    fixture.run();
    // Neither a message nor another owner resumes it.
    fixture.signal(run, 4);
    fixture.run();
    fixture.take_over(0);
    assert_eq!(fixture.rows[&run].state, OpenState::Stalled);
    fixture.config.history_events_max = 100;
    fixture.take_over(0);
    fixture.signal(run, 0);
    fixture.run();
    expect![[r#"
        1 run.started waits 0
        2 signal.received go 1
        3 signal.received go 2
        4 signal.received go 3
        5 run.stalled: the history has 4 events, and the limit is 4; raise the limit (`history_events` of the worker's builder), and the run resumes
        6 signal.received go 4
        7 run.adopted lease 4
        8 run.resumed 1 released
        9 signal.received go 0
        10 run.completed 10
    "#]].assert_eq(&fixture.history(run));
}
