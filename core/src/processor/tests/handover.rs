//! Shards that go to another owner.

use super::*;
use crate::data::outcome::Outcome;
use crate::processor::handover::ShardCounts;
use crate::store::tasks::TaskClaim;

impl Fixture {
    /// The processor is told to keep no shard.
    fn hand_over(&mut self) {
        self.processor.keep(0, |_, _| false, self.now);
        self.run();
    }

    /// What the driver does in each turn: the processor learns what is executed.
    fn drain(&mut self) {
        let runs: Vec<RunId> = self.attempts.keys().chain(self.steps.keys()).map(|(run, _)| *run).collect();
        let executed = |shard| runs.iter().filter(|run| run.shard() == shard).count();
        self.processor.end_drains(self.now, executed);
        self.run();
    }

    /// The process has an executor lease: attempts of shards that go become tasks.
    fn hand_out(&mut self) -> Vec<(CommandId, TaskClaim)> {
        let attempts: Vec<_> = self.attempts.keys().copied().collect();
        let tasks = self.processor.hand_out(&attempts, ExecutorId::FIRST, self.now);
        self.processor.end_drains(self.now, |_| 0);
        self.run();
        tasks
    }

    fn counts(&self) -> ShardCounts {
        self.processor.shard_counts()
    }

    /// Claims a second shard, which has no runs.
    fn claim_other(&mut self) -> ShardId {
        let other = ShardId::new(9).expect("9 is a shard");
        self.processor.claimed(&claimed(1, other, Position::FIRST, 0));
        other
    }
}

#[test]
fn shard_waits_for_its_attempts_starts_no_others_and_is_released_with_their_outcomes() {
    // Given a shard that is to go while an attempt is in progress
    let mut fixture = Fixture::new();
    let first = fixture.start::<Works>(1, 5);
    fixture.run();
    fixture.hand_over();
    fixture.drain();
    assert_eq!(fixture.counts(), ShardCounts { owned: 1, going: 1, recovering: false });

    // When another run is started, then it is logged, but its activity does not begin
    let second = fixture.start::<Works>(2, 7);
    fixture.run();
    assert_eq!(fixture.in_flight(), [(first, call(1))]);
    assert_eq!(fixture.open_state(second), OpenState::Busy, "its next owner loads it at once");

    // When the attempt ends, then the shard goes
    fixture.attempts.clear();
    fixture.processor.attempt_ended(first, call(1), 1, Ok(payload(&5)), fixture.now);
    fixture.drain();
    assert_eq!(fixture.released, [fixture.shard]);
    assert_eq!(fixture.counts().owned, 0);
    assert_eq!(fixture.processor.live_runs(), 0);

    // And the next owner begins what had not begun
    fixture.take_over(0);
    assert_eq!(fixture.in_flight(), [(second, call(1))]);
    fixture.end(second, 1, Ok(7));
    assert!(fixture.rows.is_empty());
}

#[test]
fn running_attempt_becomes_a_task_of_its_process_and_the_next_owner_leaves_it_to_that() {
    // Given a shard that is to go while an attempt is in progress, which may run only once
    let mut fixture = Fixture::new();
    let run = fixture.start::<WorksOnce>(1, 5);
    fixture.run();
    fixture.processor.keep(0, |_, _| true, fixture.now);

    // When it is handed out, then the shard goes at once, and the process has the task by its first claim
    let handed_out = fixture.hand_out();
    let [(id, claim)] = handed_out[..] else { panic!("{handed_out:?}") };
    assert_eq!((id, claim.number, claim.task.run), (call(1), 1, run));
    assert_eq!(fixture.handed_out, [HeldTask { executor: ExecutorId::FIRST, claim }]);
    assert_eq!(fixture.tasks[&claim.task].executor, Some(ExecutorId::FIRST));
    assert_eq!((fixture.released.len(), fixture.attempts.len()), (1, 0));

    // And the next owner waits for its outcome
    fixture.take_over(0);
    assert!(fixture.in_flight().is_empty());
    fixture.settle(claim.task, Outcome::Completed(payload(&6)));
    fixture.run();
    expect![[r#"
        1 run.started works-once 5
        2 activity.scheduled #1 once 5
        3 activity.attempt-started #1 attempt 1
        4 activity.enqueued #1 attempt 1 queue own executor 1
        5 run.adopted lease 2
        6 activity.completed #1 6
        7 run.completed 6
    "#]]
    .assert_eq(&fixture.history(run));
}

#[test]
fn attempt_that_outlasts_the_grace_is_cancelled_and_repeated_by_the_next_owner_at_no_charge() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Works>(1, 5);
    fixture.run();
    fixture.hand_over();
    fixture.now = fixture.now.saturating_add(SECOND);
    fixture.drain();
    assert_eq!((fixture.in_flight(), fixture.released.len()), (Vec::new(), 1));
    // Its outcome comes too late.
    fixture.processor.attempt_ended(run, call(1), 1, Ok(payload(&5)), fixture.now);
    fixture.run();

    fixture.take_over(0);
    fixture.end(run, 1, Ok(6));
    expect![[r#"
        1 run.started works 5
        2 activity.scheduled #1 work 5
        3 run.adopted lease 2
        4 activity.completed #1 6
        5 run.completed 6
    "#]]
    .assert_eq(&fixture.history(run));
}

#[test]
fn shard_with_an_attempt_that_may_happen_once_stays_until_the_attempt_ends() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<WorksOnce>(1, 5);
    fixture.run();
    fixture.hand_over();
    assert_eq!(fixture.counts().going, 0);
    fixture.end(run, 1, Ok(5));
    fixture.hand_over();
    fixture.drain();
    assert_eq!(fixture.released, [fixture.shard]);
}

#[test]
fn step_that_is_requested_while_its_shard_goes_is_executed_by_the_next_owner() {
    let mut fixture = Fixture::new();
    let busy = fixture.start::<Works>(1, 5);
    fixture.run();
    fixture.hand_over();
    let run = fixture.start::<Steps>(2, 7);
    fixture.run();
    assert!(fixture.steps.is_empty());
    assert_eq!(fixture.open_state(run), OpenState::Busy);
    fixture.attempts.clear();
    fixture.processor.attempt_ended(busy, call(1), 1, Ok(payload(&5)), fixture.now);
    fixture.drain();
    fixture.take_over(0);
    assert_eq!(fixture.steps.keys().copied().collect::<Vec<_>>(), [(run, call(1))]);
}

#[test]
fn messages_that_were_read_and_not_delivered_are_left_to_the_next_owner() {
    // Given two messages that were read, of which one was delivered, when the shard is released
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.run();
    fixture.processor.keep(0, |_, _| false, fixture.now);
    fixture.processor.end_drains(fixture.now, |_| 0);
    fixture.signal(run, 1);
    fixture.signal(run, 2);
    let read = fixture.processor.next_read().expect("there are messages");
    fixture.answer(read);
    let append = fixture.processor.cut().expect("the shard is released");
    fixture.append(&append);
    fixture.run();
    assert_eq!((fixture.released.len(), fixture.inbox.len()), (1, 2));

    // Then the next owner delivers both in their order
    fixture.take_over(0);
    expect![[r#"
        1 run.started waits 0
        2 run.adopted lease 2
        3 signal.received go 1
        4 signal.received go 2
    "#]]
    .assert_eq(&fixture.history(run));
}

#[test]
fn release_that_was_declined_is_part_of_the_next_append_and_nothing_is_done_meanwhile() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.run();
    fixture.signal(run, 1);
    let read = fixture.processor.next_read().expect("there are messages");
    fixture.answer(read);
    fixture.processor.keep(0, |_, _| false, fixture.now);
    fixture.processor.end_drains(fixture.now, |_| 0);

    // Given an append that loads the run for its signal, or releases the shard, and that fails
    let declined = fixture.processor.cut().expect("the shard is released");
    fixture.processor.declined(Declined::Failed, "the disk is full");
    fixture.signal(run, 2);
    assert!(fixture.processor.next_read().is_none(), "its inbox is not read any more");
    assert!(!fixture.processor.work(&Turn::endless(fixture.now)));

    // Then the next one is the same
    let next = fixture.processor.cut().expect("the shard is still to be released");
    assert_eq!(next, declined);
    fixture.append(&next);
    assert_eq!((fixture.released.len(), fixture.inbox.len()), (1, 2));
    assert!(fixture.processor.cut().is_none());
}

#[test]
fn history_that_was_requested_before_the_shard_left_and_came_back_is_not_used() {
    // Given a run whose history is requested for a message when its shard is released
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.run();
    fixture.signal(run, 1);
    let read = fixture.processor.next_read().expect("there are messages");
    fixture.answer(read);
    fixture.work();
    let load = fixture.processor.next_read().expect("the run is to be loaded");
    let StoreRead::Load(asked) = load else { panic!("{load:?} loads nothing") };
    let stale = fixture.load(&asked);
    fixture.processor.keep(0, |_, _| false, fixture.now);
    fixture.processor.end_drains(fixture.now, |_| 0);
    let append = fixture.processor.cut().expect("the shard is released");
    fixture.append(&append);

    // When another owner continues the run, and the shard comes back before the answer
    let former = std::mem::replace(&mut fixture.processor, {
        let elsewhere = claimed(2, fixture.shard, fixture.next_position, 0);
        Processor::new(fixture.config.clone(), registry(), &elsewhere)
    });
    fixture.unread = fixture.inbox.keys().copied().collect();
    fixture.run();
    fixture.processor = former;
    fixture.processor.claimed(&claimed(1, fixture.shard, fixture.next_position, 0));
    fixture.signal(run, 2);
    fixture.processor.loaded(asked, stale);
    fixture.run();

    // Then the history is read again
    expect![[r#"
        1 run.started waits 0
        2 run.adopted lease 2
        3 signal.received go 1
        4 run.adopted lease 1
        5 signal.received go 2
    "#]]
    .assert_eq(&fixture.history(run));
}

#[test]
fn shard_with_the_least_work_goes_first() {
    let mut fixture = Fixture::new();
    fixture.start::<Works>(1, 5);
    fixture.run();
    let idle = fixture.claim_other();
    fixture.processor.keep(1, |_, _| false, fixture.now);
    fixture.drain();
    assert_eq!(fixture.released, [idle]);
    assert_eq!(fixture.processor.kept_shards().collect::<Vec<_>>(), [fixture.shard]);
    // It is told once more, and keeps what it has.
    fixture.processor.keep(1, |_, _| false, fixture.now);
    assert_eq!(fixture.counts().going, 0);
}

#[test]
fn claim_reads_the_inbox_of_the_claimed_shard_alone() {
    let mut fixture = Fixture::new();
    fixture.run();
    let other = fixture.claim_other();
    let reads = std::iter::from_fn(|| fixture.processor.next_read());
    let shards = |read| match read {
        StoreRead::Inbox(read) => Some(read.shards),
        StoreRead::List(list) => Some(list.shards),
        StoreRead::Due(due) => Some(due.shards),
        StoreRead::Load(_) => None,
    };
    assert!(reads.filter_map(shards).all(|shards| shards == [other]));
}

#[test]
fn shard_that_was_lost_and_claimed_again_is_noticed() {
    // Given a shard that is served
    let fixture = Fixture::new();
    let mut again = claimed(1, fixture.shard, Position::FIRST, 0);
    // When a later claim names it, then it is the same if it was taken by the same claim, and another one otherwise
    assert_eq!(fixture.processor.claimed_again(&again), None);
    again.shards[0].claim = ClaimId::new(2);
    assert_eq!(fixture.processor.claimed_again(&again), Some(fixture.shard));
    // And a shard that is new to the processor is no matter
    let other = claimed(1, ShardId::new(9).expect("9 is a shard"), Position::FIRST, 0);
    assert_eq!(fixture.processor.claimed_again(&other), None);
}
