//! Tasks: an append inserts them, one executor at a time has each, and their runs are told once how they ended.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use bytes::Bytes;
use pgworkflows_core::id::{EventSeq, ExecutorId, MessageId, RunId};
use pgworkflows_core::store::{
    ActivityQueueInfo, Append, ClaimTasks, Heartbeat, NewTask, ReturnedTask, TaskClaim, TaskId, queue_of,
};

use super::executor::{Executor, returned};
use super::fixture::Fixture;
use super::writer::{LONG, QUEUE, Writer, assert_fenced, bodies, parked};

/// A task that the next event of a run enqueues, and that may be lost twice.
pub(super) fn task(run: RunId, seq: u32) -> NewTask {
    NewTask {
        id: TaskId { run, seq: EventSeq::new(seq) },
        queue: "gpu".into(),
        activity: "render".into(),
        losses_max: 2,
        message: MessageId::from_u128(run.as_u128() ^ u128::from(seq) << 32),
        body: Bytes::from(format!("task {seq}")),
        lost: Bytes::from(format!("loss of {seq}")),
        executor: None,
    }
}

pub(super) fn with_tasks(append: &mut Append, tasks: &[NewTask]) {
    append.tasks.extend_from_slice(tasks);
}

/// A writer, and an open run with so many tasks.
pub(super) async fn run_with_tasks(fixture: &Fixture, count: u32) -> (Writer, RunId, Vec<NewTask>) {
    let (mut writer, run) = fixture.writer_and_run().await;
    let tasks: Vec<_> = (1..=count).map(|seq| task(run, seq)).collect();
    let draft = writer.draft().open(run, parked(None)).frame(run, count.max(1));
    writer.write(draft.change(|append| with_tasks(append, &tasks))).await;
    (writer, run, tasks)
}

pub(super) fn ids(claims: &[TaskClaim]) -> Vec<u32> {
    claims.iter().map(|claim| claim.task.seq.get()).collect()
}

/// What the inbox says.
pub(super) async fn told(writer: &mut Writer) -> Vec<Bytes> {
    bodies(&writer.inbox().await)
}

pub async fn tasks_are_claimed_first_in_first_out_with_what_the_append_said(fixture: &Fixture) {
    let (_writer, _, tasks) = run_with_tasks(fixture, 5).await;
    let mut executor = Executor::new(fixture, LONG).await;
    let request = executor.request(2, None);
    let claimed = executor.ask(&request).await;
    assert_eq!((claimed.more, claimed.held), (false, None));
    let expected = |task: &NewTask| (task.id, "gpu".to_owned(), task.body.clone());
    let found = claimed.tasks.iter().map(|task| (task.claim.task, task.queue.to_string(), task.body.clone()));
    assert_eq!(found.collect::<Vec<_>>(), tasks[..2].iter().map(expected).collect::<Vec<_>>());
    assert!(claimed.tasks.iter().all(|task| task.claim.number == 1));
    assert_eq!(ids(&executor.claim(10).await), [3, 4, 5]);
    assert_eq!(ids(&executor.claim(10).await), [0; 0]);
}

pub async fn executor_claims_only_from_its_queues_and_what_it_knows(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    let tasks = [
        task(run, 1),
        NewTask { queue: "cpu".into(), ..task(run, 2) },
        NewTask { activity: "compose".into(), ..task(run, 3) },
    ];
    let draft = writer.draft().open(run, parked(None)).frame(run, 3);
    writer.write(draft.change(|append| with_tasks(append, &tasks))).await;
    let mut executor = Executor::new(fixture, LONG).await;
    assert_eq!(ids(&executor.claim(10).await), [1]);
    let other = ClaimTasks {
        queues: vec![("cpu".into(), 5), ("gpu".into(), 5)],
        activities: vec!["compose".into(), "render".into()],
        ..executor.request(0, None)
    };
    let claimed = executor.ask(&other).await.tasks;
    let queues: Vec<_> =
        claimed.iter().map(|task| (task.claim.task.seq.get(), task.queue.to_string())).collect();
    assert_eq!(queues, [(2, "cpu".to_owned()), (3, "gpu".to_owned())]);
}

pub async fn claim_ends_before_the_task_that_exceeds_its_bytes(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    let large = |seq| NewTask { body: Bytes::from(vec![7; 1000]), ..task(run, seq) };
    let draft = writer.draft().open(run, parked(None)).frame(run, 3);
    writer.write(draft.change(|append| with_tasks(append, &[large(1), large(2), large(3)]))).await;
    let mut executor = Executor::new(fixture, LONG).await;
    for (bytes, count, more) in [(1, 1, true), (2000, 2, false)] {
        let claimed = executor.ask(&ClaimTasks { bytes, ..executor.request(9, None) }).await;
        assert_eq!((claimed.tasks.len(), claimed.more), (count, more));
    }
}

pub async fn task_has_one_executor_at_a_time(fixture: &Fixture) {
    let (_writer, ..) = run_with_tasks(fixture, 4).await;
    let (mut one, mut other) = (Executor::new(fixture, LONG).await, Executor::new(fixture, LONG).await);
    assert_ne!(one.id, other.id);
    assert_eq!(ids(&one.claim(3).await), [1, 2, 3]);
    assert_eq!(ids(&other.claim(3).await), [4]);
}

pub async fn tasks_are_inserted_with_their_append_or_not_at_all(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let insert = |append: &mut Append| with_tasks(append, &[task(run, 2)]);
    writer
        .expect_conflict(writer.draft().event(run).update(fixture.run(2), parked(None)).change(insert))
        .await;
    let mut executor = Executor::new(fixture, LONG).await;
    assert_eq!(ids(&executor.claim(9).await), [0; 0]);
    // When it is applied, and repeated
    let append = writer.write(writer.draft().event(run).change(insert)).await;
    writer.append(&append).await.expect("it was applied");
    // Then it is inserted once
    assert_eq!(ids(&executor.claim(9).await), [2]);
}

pub async fn task_is_inserted_once(fixture: &Fixture) {
    let (mut writer, run, _) = run_with_tasks(fixture, 1).await;
    let again = |append: &mut Append| with_tasks(append, &[task(run, 1)]);
    writer.expect_conflict(writer.draft().event(run).change(again)).await;
}

pub async fn other_tasks_with_the_same_number_are_fenced(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let append =
        writer.write(writer.draft().event(run).change(|append| with_tasks(append, &[task(run, 2)]))).await;
    let changed = [
        vec![],
        vec![NewTask { queue: "cpu".into(), ..task(run, 2) }],
        vec![NewTask { body: Bytes::from_static(b"another"), ..task(run, 2) }],
        vec![NewTask { losses_max: 3, ..task(run, 2) }],
        vec![NewTask { executor: Some(ExecutorId::FIRST), ..task(run, 2) }],
    ];
    for tasks in changed {
        let mut other = Append { tasks, ..append.clone() };
        other.digest = other.content_digest();
        assert_fenced(writer.append(&other).await);
    }
}

pub async fn task_of_a_foreign_shard_is_fenced(fixture: &Fixture) {
    let mut writer = fixture.claim(2, LONG).await;
    let (run, foreign) = (fixture.run(0), fixture.run(2));
    writer.open(run, parked(None)).await;
    writer
        .expect_fenced(writer.draft().event(run).change(|append| with_tasks(append, &[task(foreign, 1)])))
        .await;
}

pub async fn settled_task_tells_its_run_once(fixture: &Fixture) {
    let (mut writer, run, tasks) = run_with_tasks(fixture, 2).await;
    let (mut executor, mut other) = (Executor::new(fixture, LONG).await, Executor::new(fixture, LONG).await);
    let claims = executor.claim(2).await;
    assert_eq!(other.settle(&claims).await, [false, false], "it does not have them");
    assert_eq!(executor.settle(&claims).await, [true, true]);
    assert_eq!(executor.settle(&claims).await, [false, false]);
    let messages = writer.inbox().await;
    assert_eq!(bodies(&messages), ["outcome of 1", "outcome of 2"]);
    let found: Vec<_> = messages.iter().map(|message| (message.run, message.message)).collect();
    assert_eq!(found, [(run, tasks[0].message), (run, tasks[1].message)]);
    assert_eq!(executor.renew().await, []);
}

pub async fn outcome_for_a_run_that_is_over_is_told_nobody(fixture: &Fixture) {
    let (mut writer, run, _) = run_with_tasks(fixture, 1).await;
    let mut executor = Executor::new(fixture, LONG).await;
    let claims = executor.claim(1).await;
    writer.write(writer.draft().event(run).close(run)).await;
    assert_eq!(executor.settle(&claims).await, [true]);
    assert_eq!(told(&mut writer).await, [""; 0]);
}

pub async fn task_of_a_run_that_is_over_is_not_claimed(fixture: &Fixture) {
    let (mut writer, run, _) = run_with_tasks(fixture, 3).await;
    let other = fixture.run(1);
    let draft = writer.draft().event(run).close(run).open(other, parked(None)).event(other);
    writer.write(draft.change(|append| with_tasks(append, &[task(other, 1)]))).await;
    let mut executor = Executor::new(fixture, LONG).await;
    // A claim that finds other tasks first says that there may be more.
    let first = executor.ask(&executor.request(2, None)).await;
    assert!(first.tasks.len() == 1 || first.more);
    let mut claimed: Vec<TaskClaim> = first.tasks.iter().map(|task| task.claim).collect();
    claimed.extend(executor.claim(4).await);
    claimed.extend(executor.claim(4).await);
    assert_eq!(claimed.iter().map(|claim| claim.task.run).collect::<Vec<_>>(), [other]);
    let left = fixture.store.query().activity_queues().await.expect("the store answers");
    assert_eq!(left.iter().map(|queue| (queue.waiting, queue.claimed)).collect::<Vec<_>>(), [(0, 1)]);
}

pub async fn heartbeat_fences_expired_executors_and_frees_their_tasks(fixture: &Fixture) {
    let (mut writer, ..) = run_with_tasks(fixture, 2).await;
    let mut late = Executor::new(fixture, fixture.harness.lease_ttl()).await;
    let claims = late.claim(1).await;
    assert!(writer.renews_lease().await, "a heartbeat before the end changes nothing");
    let mut other = Executor::new(fixture, LONG).await;
    assert_eq!(ids(&other.claim(9).await), [2]);
    fixture.harness.let_lease_expire().await;
    // An expired executor can report until somebody fences it.
    let heartbeat = Heartbeat { queue: QUEUE.to_owned(), leases: vec![] };
    writer.session.heartbeat(&heartbeat).await.expect("the store answers");
    assert_eq!(late.settle(&claims).await, [false]);
    late.give_back(vec![returned(claims[0], false)], false).await;
    assert!(late.is_fenced().await);
    let again = other.claim(9).await;
    assert_eq!(again, [TaskClaim { number: 2, ..claims[0] }]);
    assert_eq!(told(&mut writer).await, [""; 0]);
}

pub async fn renewal_fences_the_expired_executors_of_others_and_keeps_the_own(fixture: &Fixture) {
    let (_writer, ..) = run_with_tasks(fixture, 2).await;
    let ttl = fixture.harness.lease_ttl();
    let (mut late, mut other) = (Executor::new(fixture, ttl).await, Executor::new(fixture, ttl).await);
    let (lost, kept) = (late.claim(1).await, other.claim(1).await);
    fixture.harness.let_lease_expire().await;
    // One that was not fenced in time renews its lease and keeps its tasks.
    assert_eq!(other.renew().await, kept);
    assert!(late.is_fenced().await);
    assert_eq!(ids(&other.claim(9).await), ids(&lost));
}

pub async fn task_that_is_lost_too_often_is_over_and_its_run_is_told(fixture: &Fixture) {
    let (mut writer, _, tasks) = run_with_tasks(fixture, 1).await;
    for losses in 1..=3 {
        let mut executor = Executor::new(fixture, LONG).await;
        let claims = executor.claim(1).await;
        assert_eq!(claims, [TaskClaim { task: tasks[0].id, number: losses }]);
        executor.give_back(vec![], true).await;
        assert!(executor.is_fenced().await);
    }
    let messages = writer.inbox().await;
    assert_eq!(bodies(&messages), ["loss of 1"]);
    assert_eq!(messages[0].message, tasks[0].message);
    let mut executor = Executor::new(fixture, LONG).await;
    assert_eq!(executor.claim(1).await, []);
}

pub async fn task_that_survives_no_loss_is_never_claimed_twice(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    let once = |seq| NewTask { losses_max: 0, ..task(run, seq) };
    let draft = writer.draft().open(run, parked(None)).frame(run, 3);
    writer.write(draft.change(|append| with_tasks(append, &[once(1), once(2), once(3)]))).await;
    // Given one that an executor never began, one that it began, and one that it never reports on
    let mut executor = Executor::new(fixture, fixture.harness.lease_ttl()).await;
    let claims = executor.claim(3).await;
    executor.give_back(vec![returned(claims[0], false), returned(claims[1], true)], false).await;
    assert_eq!(told(&mut writer).await, ["loss of 2"]);
    fixture.harness.let_lease_expire().await;
    // Then only the first is claimed again
    let mut other = Executor::new(fixture, LONG).await;
    assert_eq!(ids(&other.claim(9).await), [1]);
    assert_eq!(told(&mut writer).await, ["loss of 2", "loss of 3"]);
}

pub async fn returned_task_is_free_again_without_a_loss(fixture: &Fixture) {
    let (mut writer, ..) = run_with_tasks(fixture, 1).await;
    let mut executor = Executor::new(fixture, LONG).await;
    for number in 1..=5 {
        let claims = executor.claim(1).await;
        assert_eq!(claims[0].number, number);
        executor.give_back(vec![returned(claims[0], true)], false).await;
    }
    assert_eq!(told(&mut writer).await, [""; 0]);
    // One that rests is claimed by nobody.
    let claims = executor.claim(1).await;
    let problem = Some("it cannot be read".to_owned());
    let rests = ReturnedTask { pause: LONG, problem: problem.clone(), ..returned(claims[0], false) };
    executor.give_back(vec![rests], false).await;
    assert_eq!(executor.claim(1).await, []);
    let queues = fixture.store.query().activity_queues().await.expect("the store answers");
    assert_eq!(queues.into_iter().map(|queue| queue.problem).collect::<Vec<_>>(), [problem]);
}

pub async fn late_report_on_an_earlier_claim_changes_nothing(fixture: &Fixture) {
    let (mut writer, ..) = run_with_tasks(fixture, 1).await;
    let mut executor = Executor::new(fixture, LONG).await;
    let first = executor.claim(1).await;
    executor.give_back(vec![returned(first[0], false)], false).await;
    let second = executor.claim(1).await;
    assert_eq!(executor.settle(&first).await, [false]);
    executor.give_back(vec![returned(first[0], false)], false).await;
    assert_eq!(executor.renew().await, second);
    assert_eq!(executor.settle(&second).await, [true]);
    assert_eq!(told(&mut writer).await, ["outcome of 1"]);
}

pub async fn renewal_says_which_tasks_the_executor_has(fixture: &Fixture) {
    let (_writer, ..) = run_with_tasks(fixture, 4).await;
    let mut executor = Executor::new(fixture, LONG).await;
    let mut claims = executor.claim(2).await;
    // Without those that the same call claims
    let request = executor.request(1, Some(LONG));
    let answer = executor.ask(&request).await;
    assert_eq!(answer.held, Some(claims.clone()));
    claims.extend(answer.tasks.into_iter().map(|task| task.claim));
    assert_eq!(executor.renew().await, claims);
}

pub async fn renewal_that_was_lost_fences_the_executor(fixture: &Fixture) {
    let mut executor = Executor::new(fixture, LONG).await;
    executor.renew().await;
    executor.renewals += 1;
    for renew in [None, Some(LONG)] {
        let request = executor.request(1, renew);
        assert_fenced(executor.session.claim_tasks(&request).await);
    }
    executor.renewals -= 1;
    executor.renew().await;
}

pub async fn activity_queues_are_described(fixture: &Fixture) {
    let (mut writer, run, _) = run_with_tasks(fixture, 3).await;
    let other = NewTask { activity: "compose".into(), ..task(run, 4) };
    writer.write(writer.draft().event(run).change(|append| with_tasks(append, &[other]))).await;
    let mut executor = Executor::new(fixture, LONG).await;
    executor.claim(2).await;
    let mut found = fixture.store.query().activity_queues().await.expect("the store answers");
    for queue in &mut found {
        assert!(queue.waiting_since.take().is_some_and(|since| since >= fixture.queue.now));
    }
    let info = |activity: &str, waiting, claimed, executors| ActivityQueueInfo {
        queue: "gpu".to_owned(),
        activity: activity.to_owned(),
        waiting,
        claimed,
        waiting_since: None,
        executors,
        problem: None,
    };
    assert_eq!(found, [info("compose", 1, 0, 0), info("render", 1, 2, 1)]);
}

pub async fn executor_has_a_task_from_the_beginning_if_the_append_says_so(fixture: &Fixture) {
    // Given an executor whose process executes an attempt already
    let (mut writer, run) = fixture.open_run().await;
    let mut executor = Executor::new(fixture, LONG).await;
    let held = NewTask { executor: Some(executor.id), ..task(run, 2) };
    writer.write(writer.draft().event(run).change(|append| with_tasks(append, &[held]))).await;
    // Then nobody else claims it, and the executor settles it by its first claim
    let mut other = Executor::new(fixture, LONG).await;
    assert_eq!(ids(&other.claim(9).await), [0; 0]);
    let claim = TaskClaim { task: TaskId { run, seq: EventSeq::new(2) }, number: 1 };
    assert_eq!(executor.renew().await, [claim]);
    assert_eq!(executor.settle(&[claim]).await, [true]);
    assert_eq!(told(&mut writer).await, ["outcome of 2"]);
}

pub async fn task_whose_first_executor_is_over_is_lost_as_soon_as_it_is_inserted(fixture: &Fixture) {
    // Given an executor that ended while an append was on its way
    let (mut writer, run) = fixture.open_run().await;
    let mut executor = Executor::new(fixture, LONG).await;
    executor.give_back(Vec::new(), true).await;
    let held = |seq, losses_max| NewTask { executor: Some(executor.id), losses_max, ..task(run, seq) };
    let tasks = [held(2, 2), held(3, 0)];
    writer.write(writer.draft().frame(run, 2).change(|append| with_tasks(append, &tasks))).await;
    // Then the task that may be lost is free, and the run is told of the other one
    let mut other = Executor::new(fixture, LONG).await;
    let claims = other.claim(9).await;
    assert_eq!((ids(&claims), claims[0].number), (vec![2], 2));
    assert_eq!(told(&mut writer).await, ["loss of 3"]);
    // And the loss counts
    other.give_back(Vec::new(), true).await;
    let mut third = Executor::new(fixture, LONG).await;
    assert_eq!(ids(&third.claim(9).await), [2]);
    third.give_back(Vec::new(), true).await;
    assert_eq!(told(&mut writer).await, ["loss of 3", "loss of 2"]);
}

pub async fn queue_of_an_executor_is_served_by_it_alone_and_lost_with_it(fixture: &Fixture) {
    // Given tasks that were sent to one executor, which has begun one of them
    let (mut writer, run) = fixture.writer_and_run().await;
    let mut executor = Executor::new(fixture, LONG).await;
    let sent = |seq| NewTask { queue: queue_of(executor.id), ..task(run, seq) };
    let tasks = [sent(1), sent(2), sent(3)];
    let draft = writer.draft().open(run, parked(None)).frame(run, 3);
    writer.write(draft.change(|append| with_tasks(append, &tasks))).await;
    let own =
        |count| ClaimTasks { queues: vec![(queue_of(executor.id), count)], ..executor.request(0, None) };
    let (one, none) = (own(1), own(0));
    assert_eq!(executor.ask(&one).await.tasks.len(), 1);
    let mut other = Executor::new(fixture, LONG).await;
    assert_eq!(ids(&other.claim(9).await), [0; 0]);

    // When it ends, then none of them is executed by anybody else, although each may be lost twice
    executor.give_back(Vec::new(), true).await;
    assert_eq!(told(&mut writer).await, ["loss of 1", "loss of 2", "loss of 3"]);
    let another = ClaimTasks { executor: Some(other.id), renewals: other.renewals, ..none };
    let another = ClaimTasks { queues: vec![(another.queues[0].0.clone(), 9)], ..another };
    assert_eq!(other.ask(&another).await.tasks, []);

    // And one that is sent there afterwards is lost at once
    let late = NewTask { queue: queue_of(executor.id), ..task(run, 4) };
    writer.write(writer.draft().event(run).change(|append| with_tasks(append, &[late]))).await;
    assert_eq!(told(&mut writer).await.last().unwrap(), "loss of 4");
}
