//! Runs of workflows that the owner of their shard does not know.

use super::*;

fn terminate(reason: &str) -> Message {
    Message::Terminate { reason: reason.to_owned() }
}

#[test]
fn start_of_an_unknown_workflow_stays_in_the_inbox_and_its_row_says_what_the_run_waits_for() {
    let mut desk = Desk::new();
    let run = desk.start::<Elsewhere>(1, 0);
    desk.signal(run, 1);
    desk.run();
    assert_eq!((desk.log.len(), desk.inbox.len(), desk.processor.live_runs()), (0, 2, 0));
    assert_eq!(desk.rows[&run].state, OpenState::Pending);
    expect![
        "a worker that knows workflow `elsewhere`: worker `desk`, which owns its shard, does not; programs with different workflows need a queue each"
    ]
    .assert_eq(desk.rows[&run].waiting_on.as_deref().unwrap_or_default());
}

#[test]
fn pending_run_of_an_unknown_workflow_is_terminated_in_one_group() {
    let mut desk = Desk::new();
    let run = desk.start::<Elsewhere>(1, 5);
    let signal = desk.signal(run, 1);
    desk.run();
    let appends = desk.appends;
    desk.submit(run, &terminate("wrong queue"));
    desk.run();
    expect![[r#"
        1 run.started elsewhere 5
        2 run.terminated: wrong queue
    "#]]
    .assert_eq(&desk.history(run));
    assert!(desk.closed.contains(&run) && desk.rows.is_empty() && desk.inbox.is_empty());
    assert_eq!((desk.appends, desk.undelivered.as_slice()), (appends + 1, [signal].as_slice()));
}

#[test]
fn run_that_another_program_began_is_terminated_and_names_what_it_left() {
    // Given a run that was begun by a program that knows its workflow
    let mut desk = Desk::new();
    let run = desk.start::<Waits>(1, 0);
    desk.run();
    // When one takes over that does not, a signal comes, and then the termination
    desk.knows_nothing = true;
    desk.take_over(0);
    let signal = desk.signal(run, 3);
    desk.run();
    assert_eq!((desk.processor.live_runs(), desk.inbox.len()), (0, 1), "the signal is for the code");
    assert!(desk.rows[&run].waiting_on.as_ref().is_some_and(|on| on.contains("knows workflow `waits`")));
    desk.submit(run, &terminate("no code left"));
    desk.run();
    // Then the run is over, and its signal was too late
    expect![[r#"
        1 run.started waits 0
        2 run.adopted lease 2
        3 run.terminated: no code left
    "#]]
    .assert_eq(&desk.history(run));
    assert_eq!(desk.undelivered, [signal]);
    assert!(desk.rows.is_empty() && desk.inbox.is_empty());
}

#[test]
fn run_of_an_unknown_workflow_goes_on_with_a_worker_that_knows_it() {
    let mut desk = Desk::new();
    let run = desk.start::<Waits>(1, 0);
    desk.run();
    desk.knows_nothing = true;
    desk.take_over(0);
    desk.signal(run, 3);
    desk.run();
    desk.knows_nothing = false;
    desk.take_over(0);
    desk.signal(run, 0);
    desk.run();
    assert!(desk.history(run).ends_with("run.completed 3\n"), "{}", desk.history(run));
}
