//! When a run is in memory, and when it leaves.

use super::*;

#[test]
fn run_is_in_memory_only_while_something_is_in_flight() {
    let mut desk = Desk::new();
    let run = desk.start::<Works>(1, 5);
    desk.run();
    assert_eq!(desk.processor.live_runs(), 1);
    assert_eq!(desk.rows[&run].state, OpenState::Busy);
    desk.end(run, 1, Ok(6));
    assert_eq!(desk.processor.live_runs(), 0);
    assert!(desk.rows.is_empty() && desk.inbox.is_empty());
    let waits = desk.start::<Waits>(2, 0);
    desk.run();
    assert_eq!((desk.processor.live_runs(), desk.rows[&waits].state), (0, OpenState::Parked));
    assert!(desk.rows[&waits].waiting_on.as_ref().is_some_and(|on| on.starts_with("signal `go` at")));
    desk.signal(waits, 7);
    desk.signal(waits, 0);
    desk.run();
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
    .assert_eq(&(desk.history(run) + &desk.history(waits)));
}

#[test]
fn stalled_run_leaves_memory_and_goes_on_with_code_that_matches() {
    let mut desk = Desk::new();
    let run = desk.start::<Waits>(1, 0);
    desk.run();
    deploy_broken_build(true);
    desk.signal(run, 1);
    desk.run();
    assert_eq!((desk.processor.live_runs(), desk.rows[&run].state), (0, OpenState::Stalled));
    desk.signal(run, 2);
    desk.run();
    deploy_broken_build(false);
    desk.take_over(0);
    assert_eq!((desk.processor.live_runs(), desk.rows[&run].state), (0, OpenState::Parked));
    desk.signal(run, 0);
    desk.run();
    expect![[r#"
        1 run.started waits 0
        2 run.stalled: the workflow panicked: this build is broken; deploy code that does not, and the run resumes
        3 signal.received go 1
        4 signal.received go 2
        5 run.adopted lease 2
        6 run.resumed 2 released
        7 signal.received go 0
        8 run.completed 3
    "#]].assert_eq(&desk.history(run));
}

#[test]
fn long_history_stalls_the_run_until_the_limit_is_raised() {
    let mut desk = Desk::new();
    desk.config.history_events_max = 4;
    desk.take_over(0);
    let run = desk.start::<Waits>(1, 0);
    for number in 1..=3 {
        desk.signal(run, number);
    }
    desk.run();
    // Neither a message nor another owner makes it go on.
    desk.signal(run, 4);
    desk.run();
    desk.take_over(0);
    assert_eq!(desk.rows[&run].state, OpenState::Stalled);
    desk.config.history_events_max = 100;
    desk.take_over(0);
    desk.signal(run, 0);
    desk.run();
    expect![[r#"
        1 run.started waits 0
        2 signal.received go 1
        3 signal.received go 2
        4 signal.received go 3
        5 run.stalled: the history has 4 events, and the limit is 4; raise the limit (`history_events` of the worker's builder), and the run goes on
        6 signal.received go 4
        7 run.adopted lease 4
        8 run.resumed 1 released
        9 signal.received go 0
        10 run.completed 10
    "#]].assert_eq(&desk.history(run));
}
