//! Starts of this very process, which take no way through the inbox, and those that were submitted after all.

use tokio::sync::oneshot::{self, Receiver};

use super::*;
use crate::store::append::ClosedStatus;
use crate::store::switchboard::LocalStart;
use crate::store::watch::Notice;

/// A start as the client keeps it.
struct Handed {
    run: RunId,
    accepted: Receiver<()>,
    closed: Receiver<Notice>,
}

impl Desk {
    fn hand_over<W: Workflow<Input = u32>>(&mut self, number: u64, input: u32) -> Handed {
        let run = run_id(number);
        let (accepted, is_accepted) = oneshot::channel();
        let (closed, is_closed) = oneshot::channel();
        let (workflow, input) = (Name::from_static(W::NAME), payload(&input));
        let start = LocalStart { run, workflow, input, start_at: None, accepted, closed };
        self.processor.start_local(start, self.now);
        Handed { run, accepted: is_accepted, closed: is_closed }
    }

    /// Submits a start that a processor may have begun.
    fn submit_repeated<W: Workflow<Input = u32>>(&mut self, run: RunId, input: u32) {
        let (workflow, input) = (Name::from_static(W::NAME), payload(&input));
        let start = Message::Start { workflow, input, key: None, start_at: None, repeated: Flag(true) };
        self.submit(run, &start);
    }
}

#[test]
fn local_start_is_accepted_by_its_commit_and_told_of_its_end() {
    let mut desk = Desk::new();
    let mut handed = desk.hand_over::<Works>(1, 5);
    assert!(handed.accepted.try_recv().is_err(), "nothing is committed");
    desk.run();
    handed.accepted.try_recv().expect("it is in the log");
    assert_eq!(desk.rows[&handed.run].state, OpenState::Busy);
    desk.end(handed.run, 1, Ok(6));
    let Notice::Closed(closed) = handed.closed.try_recv().expect("it is over");
    assert_eq!(
        (closed.run, closed.status, &*closed.workflow),
        (handed.run, ClosedStatus::Completed, "works")
    );
    assert!(desk.rows.is_empty() && desk.inbox.is_empty());
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 activity.completed #1 6
        4 run.completed 6
    "#]]
    .assert_eq(&desk.history(handed.run));
}

#[test]
fn local_start_that_cannot_begin_here_is_let_go() {
    let mut desk = Desk::new();
    // Its shard is another's
    let run = RunId::new(BORN, ShardId::new(desk.shard.get() + 1).unwrap(), 1);
    let (accepted, mut is_accepted) = oneshot::channel();
    let (closed, _) = oneshot::channel();
    let workflow = Name::from_static(Works::NAME);
    let start = LocalStart { run, workflow, input: payload(&1), start_at: None, accepted, closed };
    desk.processor.start_local(start, desk.now);
    assert!(is_accepted.try_recv().is_err());
    // Or nobody here knows its workflow
    let (accepted, mut is_accepted) = oneshot::channel();
    let (closed, _) = oneshot::channel();
    let workflow = Name::from_static("of another worker");
    let start = LocalStart { run: run_id(2), workflow, input: payload(&1), start_at: None, accepted, closed };
    desk.processor.start_local(start, desk.now);
    assert!(is_accepted.try_recv().is_err());
    desk.run();
    assert_eq!((desk.appends, desk.processor.live_runs()), (0, 0));
}

#[test]
fn local_start_whose_client_gave_up_does_not_begin() {
    let mut desk = Desk::new();
    let run = run_id(1);
    let (accepted, is_accepted) = oneshot::channel();
    let (closed, _) = oneshot::channel();
    let workflow = Name::from_static(Works::NAME);
    let start = LocalStart { run, workflow, input: payload(&1), start_at: None, accepted, closed };
    drop(is_accepted);
    desk.processor.start_local(start, desk.now);
    desk.run();
    assert!(!desk.log.contains_key(&run));
}

#[test]
fn repeated_start_of_a_run_that_was_never_logged_begins_it() {
    let mut desk = Desk::new();
    let run = run_id(1);
    desk.submit_repeated::<Works>(run, 5);
    desk.rows.insert(run, OpenRow { state: OpenState::Pending, ..OpenRow::default() });
    desk.run();
    desk.end(run, 1, Ok(6));
    assert!(desk.rows.is_empty() && desk.inbox.is_empty() && desk.undelivered.is_empty());
    assert!(desk.history(run).ends_with("4 run.completed 6\n"), "{}", desk.history(run));
}

#[test]
fn repeated_start_and_what_came_behind_it_reach_a_run_in_their_order() {
    let mut desk = Desk::new();
    let run = run_id(1);
    desk.submit_repeated::<Waits>(run, 0);
    desk.rows.insert(run, OpenRow { state: OpenState::Pending, ..OpenRow::default() });
    desk.signal(run, 7);
    desk.signal(run, 0);
    desk.run();
    expect![[r#"
        1 run.started waits 0
        2 signal.received go 7
        3 signal.received go 0
        4 run.completed 7
    "#]]
    .assert_eq(&desk.history(run));
}

#[test]
fn repeated_start_of_a_run_in_the_log_changes_nothing() {
    for park in [false, true] {
        // Given a run that waits for a signal in memory or out of it, or is busy
        let mut desk = Desk::new();
        let run = if park { desk.hand_over::<Waits>(1, 0).run } else { desk.hand_over::<Works>(1, 0).run };
        desk.run();
        let history = desk.history(run);
        // When its start comes once more
        desk.submit_repeated::<Waits>(run, 0);
        desk.run();
        // Then it is consumed
        assert_eq!(desk.history(run), history);
        assert!(desk.inbox.is_empty() && desk.undelivered.is_empty());
    }
}

#[test]
fn repeated_start_of_a_run_that_is_over_is_given_up() {
    let mut desk = Desk::new();
    let run = desk.hand_over::<Works>(1, 5).run;
    desk.run();
    desk.end(run, 1, Ok(6));
    let history = desk.history(run);
    desk.submit_repeated::<Works>(run, 5);
    desk.run();
    assert_eq!(desk.history(run), history);
    assert!(desk.inbox.is_empty());
    assert_eq!(desk.undelivered.len(), 1);
}

#[test]
fn local_start_whose_pending_row_is_there_already_opens_the_run_all_the_same() {
    // Given a processor that was held up so long that the client submitted the start as well
    let mut desk = Desk::new();
    let handed = desk.hand_over::<Works>(1, 5);
    desk.submit_repeated::<Works>(handed.run, 5);
    desk.rows.insert(handed.run, OpenRow { state: OpenState::Pending, ..OpenRow::default() });
    desk.run();
    desk.end(handed.run, 1, Ok(6));
    assert!(desk.inbox.is_empty() && desk.rows.is_empty());
    assert_eq!(desk.log[&handed.run].len(), 4);
}

#[test]
fn local_run_that_ends_while_a_list_of_busy_runs_is_on_its_way_stays_over() {
    let mut desk = Desk::new();
    // Given a run that begins while the busy runs of its shard are being listed
    let handed = desk.hand_over::<Works>(1, 5);
    let append = desk.processor.cut().expect("the start");
    desk.append(&append);
    desk.take_effects();
    let Some(Read::List(asked)) = desk.processor.next_read() else { panic!("recovery comes first") };
    let found = desk.unparked(&asked);
    assert_eq!(found, [handed.run], "the list's snapshot sees it busy");
    // When it is listed while it is in memory, or after it ended
    for ends_before in [false, true] {
        if ends_before {
            desk.end(handed.run, 1, Ok(6));
        }
        desk.processor.listed(asked.clone(), &found);
        desk.run();
    }
    // Then it does not come back
    assert_eq!((desk.attempts_begun, desk.processor.live_runs()), (1, 0));
    assert!(desk.closed.contains(&handed.run));
}
