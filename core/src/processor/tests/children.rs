//! Children: their starts and requests leave with the appends of their parents, and their outcomes with their own.

use super::*;
use crate::store::inbox::Submitted;
use crate::workflow::ChildPolicy;

/// The child that a run started by its only call.
pub(super) fn child_of(fixture: &Fixture, parent: RunId) -> RunId {
    let frames = fixture.log.get(&parent).cloned().unwrap_or_default();
    let history = RunHistory { run: parent, frames };
    let mut events = decode(&history);
    let started = events.find_map(|past| match past.expect("it can be decoded").event {
        Event::ChildStarted { child, .. } => Some(child),
        _ => None,
    });
    started.expect("it started a child")
}

/// A run that has started a child, and both.
fn with_child<W: Workflow<Input = u32>>(input: u32) -> (Fixture, RunId, RunId) {
    let (fixture, parent) = Fixture::begun::<W>(input);
    let child = child_of(&fixture, parent);
    (fixture, parent, child)
}

fn cancel(fixture: &mut Fixture, run: RunId) {
    fixture.submit(run, &Message::Cancel { reason: None, parent: None });
    fixture.run();
}

fn terminate(fixture: &mut Fixture, run: RunId) {
    fixture.submit(run, &Message::Terminate { reason: "enough".to_owned(), parent: None });
    fixture.run();
}

/// Answers to the start of a child with a key.
fn answer(fixture: &mut Fixture, answer: Submitted) {
    let start = fixture.child_starts.pop().expect("a child is to be started");
    let submission = start.submission.clone();
    if answer == Submitted::Accepted && !fixture.rows.contains_key(&submission.run) {
        fixture.rows.insert(submission.run, OpenRow { state: OpenState::Pending, ..OpenRow::default() });
        fixture.put(submission.run, submission.body, submission.message);
    }
    fixture.processor.child_submitted(&start, Ok(answer), fixture.now);
    fixture.run();
}

#[test]
fn child_starts_with_its_event_and_its_outcome_reaches_the_parent_once() {
    let (mut fixture, parent, child) = with_child::<Parent>(0);
    expect![[r#"
        1 run.started waits 0
    "#]]
    .assert_eq(&fixture.history(child));

    // When the owner changes while the child runs, and the child ends
    fixture.take_over(0);
    fixture.run();
    fixture.signal(child, 7);
    fixture.signal(child, 0);
    fixture.run();

    // Then the parent has its outcome, and goes on
    expect![[r#"
        1 run.started parent 0
        2 child.started #1 waits 0
        3 run.adopted lease 2
        4 child.completed #1 7
        5 run.completed 7
    "#]]
    .assert_eq(&fixture.history(parent));
    assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
}

#[test]
fn terminated_child_is_a_failure_of_its_parent_that_names_it() {
    let (mut fixture, parent, child) = with_child::<Parent>(0);
    terminate(&mut fixture, child);
    expect![[r#"
        1 run.started parent 0
        2 child.started #1 waits 0
        3 child.failed #1: the child was terminated: enough (child-terminated)
        4 run.failed: child `waits` (run CHILD) failed: the child was terminated: enough (child-terminated)
    "#]]
    .assert_eq(&fixture.history(parent).replace(&child.to_string(), "CHILD"));
}

#[test]
fn cancelled_parent_asks_its_child_and_ends_after_it() {
    let (mut fixture, parent, child) = with_child::<Parent>(0);
    cancel(&mut fixture, parent);
    expect![[r#"
        1 run.started waits 0
        2 cancel.requested: its parent, run PARENT, asked for it
        3 run.cancelled: its parent, run PARENT, asked for it
    "#]]
    .assert_eq(&fixture.history(child).replace(&parent.to_string(), "PARENT"));
    expect![[r#"
        1 run.started parent 0
        2 child.started #1 waits 0
        3 cancel.requested
        4 child.cancel-requested #1
        5 child.failed #1: the child was cancelled (child-cancelled)
        6 run.cancelled
    "#]]
    .assert_eq(&fixture.history(parent));
}

/// The last event of a run.
fn last(fixture: &Fixture, run: RunId) -> String {
    let history = fixture.history(run).replace(&run.to_string(), "RUN");
    history.lines().last().unwrap_or_default().trim().to_owned()
}

#[test]
fn dropped_child_is_asked_terminated_or_left_as_its_policy_says() {
    for (policy, ends) in [
        (ChildPolicy::RequestAndWait, "run.cancelled"),
        (ChildPolicy::Request, "run.cancelled"),
        (ChildPolicy::Terminate, "run.terminated"),
        (ChildPolicy::Leave, "run.started"),
    ] {
        let (mut fixture, parent, child) = with_child::<DropsChild>(policy as u32);
        assert!(last(&fixture, child).contains("run.started"));
        fixture.signal(parent, 0);
        fixture.run();
        assert!(last(&fixture, child).contains(ends), "{policy}: {}", last(&fixture, child));
        assert!(!last(&fixture, parent).contains("run.completed"), "it waits for another signal");
        fixture.signal(parent, 0);
        fixture.run();
        assert!(last(&fixture, parent).contains("run.completed"), "{}", fixture.history(parent));
        assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
    }
}

#[test]
fn parent_that_returns_ends_after_the_child_that_it_holds_unless_the_policy_says_otherwise() {
    // Given a parent that returns while its child, which waits for a signal, is open
    let (mut fixture, parent, child) = with_child::<EndsBefore>(ChildPolicy::RequestAndWait as u32);
    fixture.signal(parent, 5);
    fixture.run();

    // Then it asks the child, which cleans up, and ends after it
    assert!(last(&fixture, parent).contains("run.ending completed 5"), "{}", fixture.history(parent));
    fixture.take_over(0);
    fixture.run();
    fixture.signal(child, 1);
    fixture.run();
    assert!(last(&fixture, child).contains("run.completed"), "{}", fixture.history(child));
    assert!(last(&fixture, parent).contains("run.completed 5"), "{}", fixture.history(parent));

    for (policy, ends) in [
        (ChildPolicy::Request, "cancel.requested"),
        (ChildPolicy::Terminate, "run.terminated"),
        (ChildPolicy::Leave, "run.started"),
    ] {
        let (mut fixture, parent, child) = with_child::<EndsBefore>(policy as u32);
        fixture.signal(parent, 5);
        fixture.run();
        assert!(last(&fixture, parent).contains("run.completed 5"), "{}", fixture.history(parent));
        assert!(last(&fixture, child).contains(ends), "{policy}: {}", last(&fixture, child));
        assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
    }
}

#[test]
fn terminated_parent_carries_out_the_policies_of_its_children() {
    for (policy, ends) in [
        (ChildPolicy::RequestAndWait, "cancel.requested"),
        (ChildPolicy::Request, "cancel.requested"),
        (ChildPolicy::Terminate, "run.terminated"),
        (ChildPolicy::Leave, "run.started"),
    ] {
        let (mut fixture, parent, child) = with_child::<EndsBefore>(policy as u32);
        terminate(&mut fixture, parent);
        assert!(last(&fixture, parent).contains("run.terminated"));
        assert!(last(&fixture, child).contains(ends), "{policy}: {}", last(&fixture, child));

        // The outcome of a child whose parent is over is dropped: the child's history has it.
        terminate(&mut fixture, child);
        assert!(fixture.inbox.is_empty());
        assert_eq!(fixture.undelivered.len(), usize::from(policy == ChildPolicy::Terminate));
    }
}

#[test]
fn child_with_a_key_is_bound_by_the_next_owner_if_its_parents_owner_dies_between() {
    let (mut fixture, parent, child) = with_child::<KeyedParent>(0);
    assert_eq!(fixture.child_starts.len(), 1);
    assert!(!fixture.rows.contains_key(&child), "it is started after the commit");

    // The first owner dies before it sends the start; the second one after, without the answer.
    fixture.child_starts.clear();
    fixture.take_over(1);
    fixture.run();
    let lost = fixture.child_starts.pop().expect("the new owner starts it");
    fixture.rows.insert(child, OpenRow { state: OpenState::Pending, ..OpenRow::default() });
    fixture.put(child, lost.submission.body.clone(), lost.submission.message);
    fixture.take_over(1);
    fixture.run();
    answer(&mut fixture, Submitted::Accepted);
    fixture.processor.child_submitted(&lost, Ok(Submitted::Accepted), fixture.now);
    fixture.run();

    fixture.signal(child, 0);
    fixture.run();
    let history = fixture.history(parent);
    assert_eq!(history.matches("child.bound").count(), 1, "{history}");
    assert!(last(&fixture, parent).contains("run.completed 0"), "{history}");
    assert!(fixture.history(child).contains("key \"k\""), "{}", fixture.history(child));
}

#[test]
fn key_of_another_run_is_a_failure_that_names_that_run() {
    let (mut fixture, parent) = Fixture::begun::<KeyedParent>(0);
    // Its own ancestor, for example.
    answer(&mut fixture, Submitted::KeyConflict(parent));
    expect![[r#"
        1 run.started keyed-parent 0
        2 child.started #1 waits 0 key "k"
        3 child.failed #1: run RUN has the key `k`, and this run did not start it (key-taken)
    "#]]
    .assert_eq(
        &fixture
            .history(parent)
            .replace(&parent.to_string(), "RUN")
            .lines()
            .take(3)
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    );
    assert!(last(&fixture, parent).contains("key-taken"));
}

#[test]
fn parent_is_terminated_after_its_child_is_bound_and_the_child_learns_of_it() {
    let (mut fixture, parent, child) = with_child::<KeyedParent>(0);
    terminate(&mut fixture, parent);
    assert!(last(&fixture, parent).contains("child.started"), "{}", fixture.history(parent));
    answer(&mut fixture, Submitted::Accepted);
    assert!(last(&fixture, parent).contains("run.terminated"), "{}", fixture.history(parent));
    assert!(last(&fixture, child).contains("run.cancelled"), "{}", fixture.history(child));
    assert!(fixture.inbox.is_empty());
}

#[test]
fn termination_that_waits_for_a_child_goes_to_the_successor_if_the_parent_continues() {
    // Given a termination that waits, because it is not known whether a child exists
    let (mut fixture, parent) = Fixture::begun::<ContinuesKeyed>(ChildPolicy::Leave as u32);
    terminate(&mut fixture, parent);
    assert_eq!(fixture.inbox.len(), 1);
    // When the code continues as new before that is known
    fixture.signal(parent, 0);
    fixture.run();
    assert!(last(&fixture, parent).contains("run.continued"), "{}", fixture.history(parent));
    // Then it ends the successor
    let successor = *fixture.log.keys().find(|run| **run != parent).expect("it has begun");
    assert!(last(&fixture, successor).contains("run.terminated"), "{}", fixture.history(successor));
    assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
}

#[test]
fn termination_that_waits_for_a_child_is_not_forgotten_when_the_parent_is_loaded_again() {
    // Given a stalled parent, and a termination that waits for its child
    let (mut fixture, parent) = Fixture::begun::<KeyedParentBeside>(0);
    deploy_broken_build(true);
    fixture.signal(parent, 0);
    fixture.run();
    deploy_broken_build(false);
    assert!(last(&fixture, parent).contains("signal.received"), "{}", fixture.history(parent));
    terminate(&mut fixture, parent);
    // When it is resumed, and so loaded again, and the child is bound
    fixture.submit(parent, &Message::Resume {});
    fixture.run();
    answer(&mut fixture, Submitted::Accepted);
    // Then it is terminated
    assert!(last(&fixture, parent).contains("run.terminated"), "{}", fixture.history(parent));
    assert!(fixture.inbox.is_empty());
}

#[test]
fn outcome_of_a_child_that_continued_is_that_of_its_chain() {
    let (fixture, parent) = Fixture::begun::<ParentOfChain>(3);
    expect![[r#"
        1 run.started parent-of-chain 3
        2 child.started #1 counts-down 3
        3 child.completed #1 7
        4 run.completed 7
    "#]]
    .assert_eq(&fixture.history(parent));
    assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
}

#[test]
fn policy_of_a_child_is_carried_out_when_it_is_bound_to_a_parent_that_has_continued() {
    for (policy, ends) in [
        (ChildPolicy::RequestAndWait, "run.cancelled"),
        (ChildPolicy::Request, "run.cancelled"),
        (ChildPolicy::Terminate, "run.terminated"),
        (ChildPolicy::Leave, "run.started"),
    ] {
        let (mut fixture, parent, child) = with_child::<LeavesKeyed>(policy as u32);
        assert!(last(&fixture, parent).contains("run.continued"), "{}", fixture.history(parent));
        answer(&mut fixture, Submitted::Accepted);
        assert!(last(&fixture, child).contains(ends), "{policy}: {}", fixture.history(child));
        assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
    }
}

#[test]
fn grace_of_a_parent_ends_after_its_child_is_bound_and_the_child_learns_of_it() {
    // Given a parent whose deadline has passed, and whose child has a key and is not bound
    let mut fixture = Fixture::new();
    let parent = fixture.start_limited::<KeyedParent>(1, 0, [SECOND, 2 * SECOND]);
    fixture.run();
    let child = child_of(&fixture, parent);
    fixture.pass(SECOND);
    assert!(last(&fixture, parent).contains("child.cancel-requested"), "{}", fixture.history(parent));

    // When its grace is over, it waits; and so it does in another worker
    fixture.pass(SECOND);
    fixture.child_starts.clear();
    fixture.take_over(1);
    fixture.heartbeat(SECOND);
    fixture.pass(SECOND);
    assert!(last(&fixture, parent).contains("child.cancel-requested"), "{}", fixture.history(parent));

    // Then it ends when the child is bound, which has been asked to cancel itself
    answer(&mut fixture, Submitted::Accepted);
    assert!(last(&fixture, parent).contains("run.timed-out"), "{}", fixture.history(parent));
    assert!(last(&fixture, child).contains("run.cancelled"), "{}", fixture.history(child));
    assert!(fixture.inbox.is_empty());
}

#[test]
fn child_that_is_given_up_before_it_is_bound_is_asked_when_it_is() {
    let (mut fixture, parent, child) = with_child::<KeyedParent>(0);
    cancel(&mut fixture, parent);
    assert!(last(&fixture, parent).contains("child.cancel-requested"));
    answer(&mut fixture, Submitted::Accepted);
    assert!(last(&fixture, child).contains("run.cancelled"), "{}", fixture.history(child));
    assert!(last(&fixture, parent).contains("run.cancelled"), "{}", fixture.history(parent));
}

#[test]
fn child_of_an_unknown_workflow_waits_visibly_and_its_parent_can_be_cancelled() {
    let (mut fixture, parent, child) = with_child::<ParentOfUnknown>(0);
    let row = &fixture.rows[&child];
    assert_eq!(row.state, OpenState::Pending);
    assert!(row.waiting_on.as_ref().is_some_and(|why| why.contains("`elsewhere`")), "{row:?}");
    let waits = fixture.rows[&parent].waits.clone().expect("it waits for its child");
    assert!(waits.contains("\"kind\":\"child\"") && waits.contains(&child.to_string()), "{waits}");

    // The child is asked for nothing any more, but it can be terminated.
    terminate(&mut fixture, child);
    assert!(last(&fixture, parent).contains("child-terminated"), "{}", fixture.history(parent));
}

#[test]
fn outcome_of_a_child_whose_parent_does_not_exist_any_more_is_dropped() {
    // Given a child that was left alone, and whose parent was dropped with its partition
    let (mut fixture, parent, child) = with_child::<EndsBefore>(ChildPolicy::Leave as u32);
    fixture.signal(parent, 5);
    fixture.run();
    fixture.log.remove(&parent);
    fixture.closed.remove(&parent);
    fixture.take_over(0);

    // When it ends, then nothing is left of the message, and its own history has the outcome
    fixture.signal(child, 1);
    fixture.signal(child, 2);
    fixture.run();
    assert!(last(&fixture, child).contains("run.completed 2"), "{}", fixture.history(child));
    assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
}

#[test]
fn child_takes_four_events_two_messages_and_two_commits_after_that_which_starts_it() {
    let mut fixture = Fixture::new();
    // Its child returns at once.
    fixture.start::<ParentOfChain>(1, 0);
    let counts = fixture.run_and_list().into_iter().map(|append| {
        let names: Vec<&str> = events(&append).iter().map(|(_, event)| event.name()).collect();
        (names, append.sent.len(), append.consumed.len(), append.closed.len())
    });
    let counts: Vec<_> = counts.collect();
    assert_eq!(
        counts,
        [
            // The row of the child is written with its start.
            (vec!["run.started", "child.started"], 1, 1, 0),
            (vec!["run.started", "run.completed"], 1, 1, 1),
            (vec!["child.completed", "run.completed"], 0, 1, 1),
        ]
    );
}
