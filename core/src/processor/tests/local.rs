//! Starts by clients of the same process, which bypass the inbox, and starts that were submitted to it after all.

use crate::data::attributes::Attributes;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::oneshot::{self, Receiver};

use super::*;
use crate::store::append::ClosedStatus;
use crate::store::switchboard::LocalStart;
use crate::store::watch::Notice;

/// A local start, as its client sees it.
pub(super) struct LocalRun {
    run: RunId,
    pub(super) accepted: Receiver<()>,
    closed: Receiver<Notice>,
}

/// A start of a workflow with that name, and what its client sees of it.
pub(super) fn local_start(run: RunId, workflow: &'static str, input: u32) -> (LocalStart, LocalRun) {
    let (accepted, is_accepted) = oneshot::channel();
    let (closed, is_closed) = oneshot::channel();
    let start = LocalStart {
        run,
        workflow: Name::from_static(workflow),
        input: payload(&input),
        start_at: None,
        retry: RetryPolicy::none(),
        deadline: None,
        grace_until: None,
        accepted,
        closed,
        trace: None,
        attributes: Attributes::default(),
    };
    (start, LocalRun { run, accepted: is_accepted, closed: is_closed })
}

impl Fixture {
    fn start_local<W: Workflow<Input = u32>>(&mut self, number: u64, input: u32) -> LocalRun {
        let (start, local) = local_start(run_id(number), W::NAME, input);
        self.processor.start_local(start, self.now);
        local
    }

    /// Submits a start that a processor may have begun.
    pub(super) fn submit_repeated<W: Workflow<Input = u32>>(&mut self, run: RunId, input: u32) {
        let (workflow, input) = (Name::from_static(W::NAME), payload(&input));
        let start = Message::Start {
            workflow,
            input,
            key: None,
            start_at: None,
            repeated: Flag(true),
            parent: None,
            retry: RetryPolicy::none(),
            deadline: None,
            grace_until: None,
            trace: None,
            attributes: Attributes::default(),
        };
        self.submit(run, &start);
    }
}

#[test]
fn local_start_is_accepted_at_its_commit_and_notified_of_its_end() {
    let mut fixture = Fixture::new();
    let mut local = fixture.start_local::<Works>(1, 5);
    assert!(local.accepted.try_recv().is_err(), "nothing is committed");
    fixture.run();
    local.accepted.try_recv().expect("it is in the log");
    assert_eq!(fixture.rows[&local.run].state, OpenState::Busy);
    fixture.end(local.run, 1, Ok(6));
    let closed = local.closed.try_recv().ok().and_then(Notice::closed).expect("it is over");
    assert_eq!((closed.run, closed.status, &*closed.workflow), (local.run, ClosedStatus::Completed, "works"));
    assert!(fixture.rows.is_empty() && fixture.inbox.is_empty());
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 activity.completed #1 6
        4 run.completed 6
    "#]]
    .assert_eq(&fixture.history(local.run));
}

#[test]
fn local_start_that_cannot_begin_here_is_dropped() {
    let mut fixture = Fixture::new();
    // Given a start in a shard of another processor
    let run = RunId::new(BORN, ShardId::new(fixture.shard.get() + 1).unwrap(), 1);
    let (start, mut local) = local_start(run, Works::NAME, 1);
    fixture.processor.start_local(start, fixture.now);
    assert_eq!(local.accepted.try_recv(), Err(TryRecvError::Closed));
    // Or a start of an unknown workflow
    let (start, mut local) = local_start(run_id(2), "of another worker", 1);
    fixture.processor.start_local(start, fixture.now);
    assert_eq!(local.accepted.try_recv(), Err(TryRecvError::Closed));
    fixture.run();
    assert_eq!((fixture.appends, fixture.processor.live_runs()), (0, 0));
}

#[test]
fn local_start_does_not_begin_after_its_client_gave_up() {
    let mut fixture = Fixture::new();
    let run = run_id(1);
    let (start, local) = local_start(run, Works::NAME, 1);
    drop(local.accepted);
    fixture.processor.start_local(start, fixture.now);
    fixture.run();
    assert!(!fixture.log.contains_key(&run));
}

#[test]
fn repeated_start_of_a_run_that_was_never_logged_begins_it() {
    let mut fixture = Fixture::new();
    let run = run_id(1);
    fixture.submit_repeated::<Works>(run, 5);
    fixture.rows.insert(run, OpenRow { state: OpenState::Pending, ..OpenRow::default() });
    fixture.run();
    fixture.end(run, 1, Ok(6));
    assert!(fixture.rows.is_empty() && fixture.inbox.is_empty() && fixture.undelivered.is_empty());
    assert!(fixture.history(run).ends_with("4 run.completed 6\n"), "{}", fixture.history(run));
}

#[test]
fn repeated_start_and_later_messages_reach_a_run_in_order() {
    let mut fixture = Fixture::new();
    let run = run_id(1);
    fixture.submit_repeated::<Waits>(run, 0);
    fixture.rows.insert(run, OpenRow { state: OpenState::Pending, ..OpenRow::default() });
    fixture.signal(run, 7);
    fixture.signal(run, 0);
    fixture.run();
    expect![[r#"
        1 run.started waits 0
        2 signal.received go 7
        3 signal.received go 0
        4 run.completed 7
    "#]]
    .assert_eq(&fixture.history(run));
}

#[test]
fn repeated_start_of_a_run_in_the_log_changes_nothing() {
    for park in [false, true] {
        // Given a run that waits for a signal in memory or out of it, or is busy
        let mut fixture = Fixture::new();
        let run = if park {
            fixture.start_local::<Waits>(1, 0).run
        } else {
            fixture.start_local::<Works>(1, 0).run
        };
        fixture.run();
        let history = fixture.history(run);
        // When its start is submitted again
        fixture.submit_repeated::<Waits>(run, 0);
        fixture.run();
        // Then it is consumed
        assert_eq!(fixture.history(run), history);
        assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
    }
}

#[test]
fn repeated_start_of_a_run_that_is_over_is_given_up() {
    let mut fixture = Fixture::new();
    let run = fixture.start_local::<Works>(1, 5).run;
    fixture.run();
    fixture.end(run, 1, Ok(6));
    let history = fixture.history(run);
    fixture.submit_repeated::<Works>(run, 5);
    fixture.run();
    assert_eq!(fixture.history(run), history);
    assert!(fixture.inbox.is_empty());
    assert_eq!(fixture.undelivered.len(), 1);
}

#[test]
fn local_start_opens_the_run_even_if_its_pending_row_exists() {
    // Given a processor that was delayed so long that the client submitted the start as well
    let mut fixture = Fixture::new();
    let local = fixture.start_local::<Works>(1, 5);
    fixture.submit_repeated::<Works>(local.run, 5);
    fixture.rows.insert(local.run, OpenRow { state: OpenState::Pending, ..OpenRow::default() });
    fixture.run();
    fixture.end(local.run, 1, Ok(6));
    assert!(fixture.inbox.is_empty() && fixture.rows.is_empty());
    assert_eq!(fixture.log[&local.run].iter().map(|frame| frame.count).sum::<u32>(), 4);
}

#[test]
fn local_run_that_ends_while_busy_runs_are_listed_stays_over() {
    let mut fixture = Fixture::new();
    // Given a run that begins while the busy runs of its shard are being listed
    let local = fixture.start_local::<Works>(1, 5);
    let append = fixture.processor.cut().expect("the start");
    fixture.append(&append);
    fixture.take_effects();
    let Some(StoreRead::List(asked)) = fixture.processor.next_read() else { panic!("recovery comes first") };
    let found = fixture.unparked(&asked);
    assert_eq!(found.runs, [local.run], "it is busy in the list's snapshot");
    // When it is listed while it is in memory, or after it ended
    for ends_before in [false, true] {
        if ends_before {
            fixture.end(local.run, 1, Ok(6));
        }
        fixture.processor.listed(asked.clone(), &found);
        fixture.run();
    }
    // Then it is not recovered
    assert_eq!((fixture.attempts_begun, fixture.processor.live_runs()), (1, 0));
    assert!(fixture.closed.contains(&local.run));
}
