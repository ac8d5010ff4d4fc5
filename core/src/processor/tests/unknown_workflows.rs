//! Runs of workflows that are not registered with the owner of their shard.

use super::*;

fn terminate(reason: &str) -> Message {
    Message::Terminate { reason: reason.to_owned(), parent: None }
}

#[test]
fn start_of_an_unknown_workflow_stays_in_the_inbox_and_its_row_says_what_the_run_waits_for() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Elsewhere>(1, 0);
    fixture.signal(run, 1);
    fixture.run();
    assert_eq!((fixture.log.len(), fixture.inbox.len(), fixture.processor.live_runs()), (0, 2, 0));
    assert_eq!(fixture.rows[&run].state, OpenState::Pending);
    expect![
        "a worker that knows workflow `elsewhere`: worker `fixture`, which owns its shard, does not; programs with different workflows need a queue each"
    ]
    .assert_eq(fixture.rows[&run].waiting_on.as_deref().unwrap_or_default());
}

#[test]
fn pending_run_of_an_unknown_workflow_is_terminated_in_one_group() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Elsewhere>(1, 5);
    let signal = fixture.signal(run, 1);
    fixture.run();
    let appends = fixture.appends;
    fixture.submit(run, &terminate("wrong queue"));
    fixture.run();
    expect![[r#"
        1 run.started elsewhere 5
        2 run.terminated: wrong queue
    "#]]
    .assert_eq(&fixture.history(run));
    assert!(fixture.closed.contains(&run) && fixture.rows.is_empty() && fixture.inbox.is_empty());
    assert_eq!((fixture.appends, fixture.undelivered.as_slice()), (appends + 1, [signal].as_slice()));
}

#[test]
fn run_that_another_program_began_is_terminated_and_lists_undelivered_messages() {
    // Given a run that a program with its workflow began
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.run();
    // When a program without it takes over, and a signal and then a termination arrive
    fixture.has_no_workflows = true;
    fixture.take_over(0);
    let signal = fixture.signal(run, 3);
    fixture.run();
    assert_eq!((fixture.processor.live_runs(), fixture.inbox.len()), (0, 1), "the signal is for the code");
    assert!(fixture.rows[&run].waiting_on.as_ref().is_some_and(|on| on.contains("knows workflow `waits`")));
    fixture.submit(run, &terminate("no code left"));
    fixture.run();
    // Then the run is over, and its signal was too late
    expect![[r#"
        1 run.started waits 0
        2 run.adopted lease 2
        3 run.terminated: no code left
    "#]]
    .assert_eq(&fixture.history(run));
    assert_eq!(fixture.undelivered, [signal]);
    assert!(fixture.rows.is_empty() && fixture.inbox.is_empty());
}

#[test]
fn run_of_an_unknown_workflow_resumes_at_a_worker_that_has_it() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.run();
    fixture.has_no_workflows = true;
    fixture.take_over(0);
    fixture.signal(run, 3);
    fixture.run();
    fixture.has_no_workflows = false;
    fixture.take_over(0);
    fixture.signal(run, 0);
    fixture.run();
    assert!(fixture.history(run).ends_with("run.completed 3\n"), "{}", fixture.history(run));
}

#[test]
fn step_of_an_unknown_workflow_is_begun_by_the_next_worker_that_has_it() {
    // Given a run whose owner dies while it executes a step, of which the log says nothing
    let mut fixture = Fixture::new();
    let run = fixture.start::<Steps>(1, 7);
    fixture.run();
    assert_eq!(fixture.steps.len(), 1);

    // When an owner without the workflow and then one that has it take over
    fixture.has_no_workflows = true;
    fixture.take_over(0);
    fixture.run();
    assert_eq!(fixture.rows[&run].state, OpenState::Busy, "only its code knows that it waits for nothing");
    fixture.has_no_workflows = false;
    fixture.take_over(0);
    fixture.run();

    // Then the step is executed again
    assert_eq!(fixture.steps.len(), 1);
}

#[test]
fn next_append_says_that_a_shard_needs_the_workflow_of_its_run_once_for_each_claim() {
    // Given an owner that begins two runs of a workflow
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.start::<Waits>(2, 0);
    fixture.run();
    let need = Need { shard: fixture.shard, workflow: Waits::NAME.into() };
    assert_eq!(fixture.needs, std::slice::from_ref(&need));

    // When the next one does not know it and meets one of them, then it need not say so, because the claim did
    fixture.has_no_workflows = true;
    fixture.take_over(0);
    fixture.signal(run, 0);
    fixture.run();
    assert_eq!(fixture.needs, std::slice::from_ref(&need));

    // And after a claim which lacks it, it says so again
    fixture.needs.clear();
    fixture.take_over(0);
    fixture.run();
    assert_eq!(fixture.needs, [need]);
}
