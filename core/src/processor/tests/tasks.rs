//! Tasks: an attempt that is handed out is in the log before anybody has it, its outcome is a message, and its run may leave
//! memory meanwhile.

use super::budget::bytes_of_one_run;
use super::*;
use crate::data::outcome::Outcome;
use crate::log::wire::task::decode_task;

impl Fixture {
    /// The only task.
    pub(super) fn task(&self) -> NewTask {
        assert_eq!(self.tasks.len(), 1, "{:?}", self.tasks.keys());
        self.tasks.values().next().expect("there is one").clone()
    }

    /// The executor of a task settles it: its row is gone, and the message is in the inbox.
    pub(super) fn settle(&mut self, task: TaskId, outcome: Outcome) -> InboxNo {
        let new = self.tasks.remove(&task).expect("the task was not withdrawn");
        let attempt = decode_task(task.run, &new.body).expect("the body can be read");
        let committed = Flag(attempt.options.get().transactional && matches!(outcome, Outcome::Completed(_)));
        let message = Message::TaskEnded { id: attempt.id, task: task.seq, outcome, committed };
        self.submit_again(task.run, &message, new.message)
    }

    /// The last executor of a task is lost.
    fn lose(&mut self, task: TaskId) {
        let new = self.tasks.remove(&task).expect("the task was not withdrawn");
        let message = wire::decode_message(&new.lost).expect("the message can be read");
        self.submit_again(task.run, &message, new.message);
    }
}

pub(super) fn completed(value: u32) -> Outcome {
    Outcome::Completed(payload(&value))
}

#[test]
fn attempt_becomes_a_task_with_the_event_that_says_so_and_its_run_is_parked() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Renders>(1, 5);
    fixture.run();
    let task = fixture.task();
    assert_eq!(
        (&*task.queue, &*task.activity, task.losses_max),
        ("gpu", "retried", limits::ATTEMPTS_LOST_MAX - 1)
    );
    assert!(fixture.attempts.is_empty());
    let row = &fixture.rows[&run];
    assert_eq!((row.state, row.wake_at), (OpenState::Parked, None));
    let waiting_on = row.waiting_on.clone().unwrap_or_default();
    assert!(
        waiting_on.starts_with("activity `retried` (a task of activity queue `gpu`) at "),
        "{waiting_on}"
    );

    fixture.settle(task.id, completed(5));
    fixture.run();
    expect![[r#"
        1 run.started renders 5
        2 activity.scheduled #1 retried 5
        3 activity.enqueued #1 attempt 1 queue gpu
        4 activity.completed #1 5
        5 run.completed 5
    "#]]
    .assert_eq(&fixture.history(run));
    assert!(fixture.inbox.is_empty() && fixture.tasks.is_empty());
}

#[test]
fn failed_task_is_retried_as_another_task_at_its_time() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Renders>(1, 5);
    fixture.run();
    let first = fixture.task();
    fixture.settle(first.id, Outcome::Failed(broken()));
    fixture.run();
    // It is a deadline of its run, which is parked until then.
    assert!(fixture.tasks.is_empty());
    assert_eq!(fixture.rows[&run].state, OpenState::Parked);
    assert!(fixture.rows[&run].wake_at.is_some());
    fixture.heartbeat(2 * SECOND);
    fixture.pass(2 * SECOND);
    let second = fixture.task();
    assert_ne!((second.id, second.message), (first.id, first.message));
    assert_eq!(decode_task(run, &second.body).unwrap().attempt, 2);
    fixture.settle(second.id, completed(5));
    fixture.run();
    assert!(fixture.history(run).contains("activity.attempt-failed #1 attempt 1: it broke"));
    assert!(fixture.history(run).trim_end().ends_with("run.completed 5"));
}

#[test]
fn outcome_of_a_task_that_is_not_wanted_any_more_is_dropped() {
    // Given a run that gives its task up
    let mut fixture = Fixture::new();
    let run = fixture.start::<RendersInTime>(1, 5);
    fixture.run();
    let task = fixture.task();
    fixture.heartbeat(6 * SECOND);
    fixture.pass(6 * SECOND);
    // Then the task is withdrawn, and an outcome that was on its way leaves the inbox
    assert!(fixture.tasks.is_empty());
    assert!(fixture.history(run).contains("run.failed"));
    fixture.tasks.insert(task.id, task.clone());
    let events = fixture.history(run);
    fixture.settle(task.id, completed(5));
    fixture.run();
    assert_eq!(fixture.history(run), events);
    assert!(fixture.inbox.is_empty() && fixture.undelivered.is_empty());
}

#[test]
fn outcome_that_names_another_task_of_the_activity_is_dropped() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Renders>(1, 5);
    fixture.run();
    let task = fixture.task();
    let other = TaskId { seq: task.id.seq.next(), ..task.id };
    let message =
        Message::TaskEnded { id: call(1), task: other.seq, outcome: completed(9), committed: Flag(false) };
    fixture.submit_again(run, &message, other.message());
    fixture.run();
    assert_eq!(fixture.task(), task);
    assert!(!fixture.history(run).contains("activity.completed"));
    fixture.settle(task.id, completed(5));
    fixture.run();
    assert!(fixture.history(run).trim_end().ends_with("run.completed 5"));
}

#[test]
fn termination_withdraws_tasks() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Renders>(1, 5);
    fixture.run();
    fixture.submit(run, &Message::Terminate { reason: "enough".to_owned(), parent: None });
    fixture.run();
    assert!(fixture.tasks.is_empty() && fixture.rows.is_empty());
}

#[test]
fn new_owner_executes_no_task_itself_and_takes_its_outcome() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Renders>(1, 5);
    fixture.run();
    let task = fixture.task();
    fixture.take_over(1);
    // It is parked, so nothing is loaded.
    assert_eq!(fixture.processor.live_runs(), 0);
    fixture.settle(task.id, completed(5));
    fixture.run();
    assert!(fixture.attempts.is_empty() && fixture.tasks.is_empty());
    assert!(fixture.history(run).trim_end().ends_with("run.completed 5"));
}

#[test]
fn task_that_is_lost_too_often_fails_its_activity() {
    let mut fixture = Fixture::new();
    let (often, once) = (fixture.start::<Renders>(1, 5), fixture.start::<RendersOnce>(2, 5));
    fixture.run();
    let losses: Vec<u32> = fixture.tasks.values().map(|task| task.losses_max).collect();
    assert_eq!(losses, [limits::ATTEMPTS_LOST_MAX - 1, 0]);
    for task in fixture.tasks.keys().copied().collect::<Vec<_>>() {
        fixture.lose(task);
    }
    fixture.run();
    let history = fixture.history(often);
    assert!(history.contains("died or lost their leases 5 times (attempt-lost)"), "{history}");
    let history = fixture.history(once);
    assert!(history.contains("which may run only once, died or lost its lease (attempt-lost)"), "{history}");
    assert!(history.contains("activity.attempt-lost #1 attempt 1"), "{history}");
}

#[test]
fn activity_that_is_not_registered_becomes_a_task_of_the_own_queue() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<CallsUnknown>(1, 5);
    fixture.run();
    let task = fixture.task();
    assert_eq!((&*task.queue, &*task.activity), ("own", "unknown"));
    fixture.settle(task.id, completed(5));
    fixture.run();
    assert!(fixture.history(run).trim_end().ends_with("run.completed 5"));
}

#[test]
fn compensation_can_be_a_task_and_its_run_is_parked_meanwhile() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<RendersLast>(1, 5);
    fixture.run();
    fixture.end(run, 2, Err(broken()));
    let task = fixture.task();
    assert_eq!(fixture.rows[&run].state, OpenState::Parked);
    fixture.take_over(0);
    fixture.settle(task.id, completed(0));
    fixture.run();
    let history = fixture.history(run);
    assert!(history.contains("compensation.completed #1"), "{history}");
    assert!(history.contains("run.failed"), "{history}");
}

#[test]
fn attempt_without_a_slot_becomes_a_task_unless_it_may_run_only_once() {
    let mut fixture = Fixture::new();
    let (works, once) = (fixture.start::<Works>(1, 5), fixture.start::<WorksOnce>(2, 5));
    fixture.run();
    assert_eq!(fixture.attempts.len(), 2);
    let attempt = |run| Box::new(fixture.attempts[&(run, call(1))].clone());
    let (of_works, of_once) = (attempt(works), attempt(once));
    assert!(!fixture.processor.may_overflow(&of_once), "its start is in the log");
    assert!(fixture.processor.may_overflow(&of_works));
    fixture.processor.overflow(std::slice::from_ref(&of_works), fixture.now);
    assert!(!fixture.processor.may_overflow(&of_works), "it is a task already");
    fixture.run();
    assert_eq!(&*fixture.task().queue, "own");
    let task = fixture.task();
    fixture.settle(task.id, completed(5));
    fixture.run();
    assert!(fixture.history(works).trim_end().ends_with("run.completed 5"));
    fixture.end(once, 1, Ok(5));
    assert!(fixture.history(once).trim_end().ends_with("run.completed 5"));
}

#[test]
fn runs_that_wait_for_tasks_never_fill_the_memory() {
    // Given twice as many runs as fit into memory, all of which wait for tasks
    let mut fixture = Fixture::new();
    fixture.set_budget(10 * bytes_of_one_run());
    fixture.take_over(0);
    let runs: Vec<RunId> = (1..=20).map(|number| fixture.start::<Renders>(number, 5)).collect();
    fixture.run();
    assert_eq!(fixture.tasks.len(), 20);
    // Then half of the memory stays free
    assert!((1..=5).contains(&fixture.processor.live_runs()), "{} runs", fixture.processor.live_runs());
    // And all of them end
    for task in fixture.tasks.keys().copied().collect::<Vec<_>>() {
        fixture.settle(task, completed(5));
        fixture.run();
    }
    assert!(runs.iter().all(|run| fixture.closed.contains(run)));
    assert_eq!(fixture.processor.live_runs(), 0);
}

#[test]
fn task_survives_as_many_losses_as_the_worker_was_told() {
    let mut fixture = Fixture::new();
    fixture.config.attempts_lost_max = 2;
    fixture.take_over(0);
    fixture.start::<Renders>(1, 5);
    fixture.run();
    assert_eq!(fixture.task().losses_max, 1);
}

#[test]
fn transactional_activity_is_always_a_task() {
    // Given an activity that is registered here
    let mut fixture = Fixture::new();
    let run = fixture.start::<Pays>(1, 5);
    fixture.run();
    let task = fixture.task();
    assert_eq!((&*task.queue, &*task.activity), ("own", "pay"));
    assert!(fixture.attempts.is_empty());
    fixture.settle(task.id, completed(5));
    fixture.run();
    assert!(fixture.history(run).trim_end().ends_with("run.completed 5"));
}

#[test]
fn transactional_activity_fails_in_time_only_if_its_task_is_still_there() {
    // Given one whose transaction nobody has begun
    let mut fixture = Fixture::new();
    let run = fixture.start::<Pays>(1, 5);
    fixture.run();
    fixture.heartbeat(6 * SECOND);
    fixture.pass(6 * SECOND);
    // Then its task is withdrawn, which tells the run that it failed
    assert!(fixture.tasks.is_empty());
    let history = fixture.history(run);
    assert!(history.contains("activity.failed #1: no attempt succeeded within 5s"), "{history}");
    assert!(fixture.inbox.is_empty());
}

#[test]
fn transaction_that_commits_after_its_time_counts() {
    // Given one whose transaction is about to commit when the time is over
    let mut fixture = Fixture::new();
    let run = fixture.start::<Pays>(1, 5);
    fixture.run();
    let task = fixture.task();
    fixture.locked.insert(task.id);
    fixture.heartbeat(6 * SECOND);
    fixture.pass(6 * SECOND);
    let history = fixture.history(run);
    assert!(!history.contains("activity.failed"), "{history}");
    // The statement is asked for once, however often the run is worked on.
    fixture.pass(SECOND);
    assert_eq!(fixture.locked_withdrawals.len(), 1);
    // When it commits, then the activity has completed
    fixture.settle(task.id, completed(5));
    fixture.unlock();
    let history = fixture.history(run);
    assert!(history.contains("activity.completed #1 5"), "{history}");
    assert!(history.trim_end().ends_with("run.completed 5"), "{history}");
    assert!(fixture.inbox.is_empty());
}

#[test]
fn timer_fires_before_the_time_at_which_a_transaction_expired_if_the_clock_went_backwards() {
    // Given a transaction whose time is over, and that may still commit
    let mut fixture = Fixture::new();
    let run = fixture.start::<PaysAndSleeps>(1, 5);
    fixture.run();
    let task = fixture.task();
    fixture.locked.insert(task.id);
    fixture.heartbeat(6 * SECOND);
    fixture.pass(6 * SECOND);
    // When the clock goes backwards, and the run starts a timer
    fixture.now = BORN.saturating_add(SECOND);
    fixture.signal(run, 7);
    fixture.run();
    fixture.pass(2 * SECOND);
    // Then it fires
    let history = fixture.history(run);
    assert!(history.contains("timer.fired") && !history.contains("activity.failed"), "{history}");
}

#[test]
fn transaction_that_is_rolled_back_after_its_time_has_failed() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Pays>(1, 5);
    fixture.run();
    let task = fixture.task();
    fixture.locked.insert(task.id);
    fixture.heartbeat(6 * SECOND);
    fixture.pass(6 * SECOND);
    // When its transaction is rolled back
    fixture.unlock();
    let history = fixture.history(run);
    assert!(history.contains("activity.failed #1: no attempt succeeded within 5s"), "{history}");
    assert!(fixture.tasks.is_empty() && fixture.inbox.is_empty());
}

#[test]
fn new_owner_ends_a_transaction_whose_time_is_over() {
    // Given an owner that dies before it could end the task
    let mut fixture = Fixture::new();
    let run = fixture.start::<Pays>(1, 5);
    fixture.run();
    let task = fixture.task();
    fixture.locked.insert(task.id);
    fixture.heartbeat(6 * SECOND);
    fixture.pass(6 * SECOND);
    fixture.locked.clear();
    fixture.locked_withdrawals.clear();
    // Then the next one does
    fixture.take_over(0);
    fixture.heartbeat(6 * SECOND);
    fixture.run();
    let history = fixture.history(run);
    assert!(history.contains("activity.failed #1: no attempt succeeded within 5s"), "{history}");
    assert!(fixture.tasks.is_empty());
}

#[test]
fn transaction_that_committed_although_it_was_cancelled_is_shown() {
    // Given a run that is cancelled while the transaction of its activity commits
    let mut fixture = Fixture::new();
    let (run, over) = (fixture.start::<PaysOrWaits>(1, 5), fixture.start::<Pays>(2, 6));
    fixture.run();
    let tasks: Vec<TaskId> = fixture.tasks.keys().copied().collect();
    fixture.locked.extend(&tasks);
    for run in [run, over] {
        fixture.submit(run, &Message::Cancel { reason: None, parent: None });
    }
    fixture.run();
    for task in tasks {
        fixture.settle(task, completed(5));
    }
    fixture.unlock();
    // Then its history shows that
    let history = fixture.history(run);
    expect![[r#"
        1 run.started pays-or-waits 5
        2 activity.scheduled #1 pay 5
        3 activity.enqueued #1 attempt 1 queue own
        4 cancel.requested
        5 activity.cancelled #1
        6 activity.completed #1 5
    "#]]
    .assert_eq(&history);
    // And its next owner can follow it
    fixture.take_over(1);
    fixture.signal(run, 7);
    fixture.run();
    assert!(fixture.history(run).contains("run.cancelled"), "{}", fixture.history(run));
    // And for a run that was over, people find the message
    assert!(!fixture.history(over).contains("activity.completed"));
    assert_eq!(fixture.undelivered.len(), 1);
}
