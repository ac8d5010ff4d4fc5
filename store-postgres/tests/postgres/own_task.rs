//! A transaction settles its own task: whoever deletes the task's row decides, and nobody waits for a transaction that has
//! it locked.

use std::time::Duration;

use bytes::Bytes;
use pgworkflows_core::RunId;
use pgworkflows_core::id::{EventSeq, ExecutorId, MessageId};
use pgworkflows_core::store::{
    ClaimTasks, Heartbeat, NewTask, OpenState, ReturnTasks, ReturnedTask, Session, SettleTasks, Settled,
    TaskClaim, TaskId, Withdrawal,
};
use sqlx::types::Uuid;
use sqlx::{PgConnection, Postgres, Transaction};

use crate::support::*;

/// A run with tasks, all of which one executor has.
struct Tasks {
    world: World,
    writer: Writer,
    run: RunId,
    executor: Executor,
    claims: Vec<TaskClaim>,
}

struct Executor {
    session: Box<dyn Session>,
    id: ExecutorId,
}

impl Executor {
    async fn new(world: &World, ttl: Duration) -> Self {
        let mut session = world.session().await;
        let id = session.claim_tasks(&request(None, Some(ttl), 0)).await.unwrap().executor;
        Self { session, id }
    }

    async fn claim(&mut self, count: u32) -> Vec<TaskClaim> {
        let claimed = self.session.claim_tasks(&request(Some(self.id), None, count)).await.unwrap();
        claimed.tasks.into_iter().map(|task| task.claim).collect()
    }

    /// Renews the lease, and returns the tasks that it has.
    async fn renew(&mut self) -> Vec<TaskClaim> {
        let renewed = self.session.claim_tasks(&request(Some(self.id), Some(TTL), 0)).await.unwrap();
        renewed.held.unwrap()
    }

    async fn settle(&mut self, claims: &[TaskClaim]) -> Vec<Settled> {
        let outcome = |claim: &TaskClaim| (*claim, Bytes::from(format!("outcome of {}", claim.task.seq)));
        let settle = SettleTasks { executor: self.id, outcomes: claims.iter().map(outcome).collect() };
        self.session.settle_tasks(&settle).await.unwrap()
    }

    async fn end(&mut self, claim: TaskClaim) {
        let task = ReturnedTask { claim, begun: true, pause: Duration::ZERO, problem: None };
        let ends = ReturnTasks { executor: self.id, tasks: vec![task], ends: true };
        self.session.return_tasks(&ends).await.unwrap();
    }
}

fn request(executor: Option<ExecutorId>, renew: Option<Duration>, count: u32) -> ClaimTasks {
    ClaimTasks {
        executor,
        renewals: 0,
        worker: "executor".to_owned(),
        renew,
        queues: vec![("bank".into(), count)],
        activities: vec!["pay".into()],
        bytes: usize::MAX,
    }
}

fn new_task(run: RunId, seq: u32) -> NewTask {
    NewTask {
        id: TaskId { run, seq: EventSeq::new(seq) },
        queue: "bank".into(),
        activity: "pay".into(),
        losses_max: 4,
        message: MessageId::from_u128(run.as_u128() ^ u128::from(seq) << 32),
        body: Bytes::from_static(b"pay"),
        lost: Bytes::from(format!("loss of {seq}")),
        executor: None,
    }
}

impl Tasks {
    async fn new(count: u32) -> Self {
        Self::with_lease(count, TTL).await
    }

    async fn with_lease(count: u32, ttl: Duration) -> Self {
        let world = World::new().await;
        let mut writer = world.writer().await;
        let run = world.run(0);
        let body = Bytes::from_static(b"events");
        let mut batch = writer.batch().opened(run, OpenState::Parked, None).frame(run, 1, count, body);
        batch.append.tasks = (1..=count).map(|seq| new_task(run, seq)).collect();
        writer.append(batch).await.unwrap();
        let mut executor = Executor::new(&world, ttl).await;
        let claims = executor.claim(count).await;
        assert_eq!(claims.len(), count as usize);
        world.execute("create table writes (seq int)").await;
        Self { world, writer, run, executor, claims }
    }

    /// A transaction of the user's that has written something.
    async fn writes(&self, claim: TaskClaim) -> Transaction<'static, Postgres> {
        let mut transaction = self.world.begin().await;
        execute(&mut transaction, format!("select pgworkflows.begin_own_task('{}', null)", claim.task.seq))
            .await;
        execute(&mut transaction, format!("insert into writes values ({})", claim.task.seq)).await;
        transaction
    }

    async fn settles(&self, transaction: &mut PgConnection, claim: TaskClaim) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar("select pgworkflows.settle_own_task($1, $2, $3, $4, $5, $6)")
            .bind(claim.task.seq.to_string())
            .bind(self.executor.id.get().cast_signed())
            .bind(Uuid::from_u128(claim.task.run.as_u128()))
            .bind(claim.task.seq.get().cast_signed())
            .bind(claim.number.cast_signed())
            .bind(format!("committed {}", claim.task.seq).into_bytes())
            .fetch_one(transaction)
            .await
    }

    /// A transaction that has settled its task and is about to commit.
    async fn about_to_commit(&self, claim: TaskClaim) -> Transaction<'static, Postgres> {
        let mut transaction = self.writes(claim).await;
        assert!(self.settles(&mut transaction, claim).await.unwrap());
        transaction
    }

    async fn withdraw(&mut self, claims: &[TaskClaim], tells: bool) -> Vec<TaskId> {
        let withdrawal = |claim: &TaskClaim| {
            let text = format!("no outcome of {}", claim.task.seq);
            Withdrawal { task: claim.task, tells: tells.then(|| text.into_bytes().into()) }
        };
        let withdrawals: Vec<_> = claims.iter().map(withdrawal).collect();
        self.writer.session.withdraw_tasks(&withdrawals).await.unwrap()
    }

    async fn told(&mut self) -> Vec<String> {
        self.writer.read_texts(100).await
    }

    async fn written(&self) -> Vec<i32> {
        let read = sqlx::query_scalar("select seq from writes order by seq");
        read.fetch_all(&mut self.world.connection().await).await.unwrap()
    }

    /// The heartbeat of another process, which fences executors.
    async fn beat(&mut self) {
        let heartbeat = Heartbeat { queue: "default".to_owned(), leases: vec![] };
        self.writer.session.heartbeat(&heartbeat).await.unwrap();
    }
}

#[tokio::test]
async fn transaction_that_is_about_to_commit_holds_up_nobody_and_wins() {
    // Given a transaction that is paused before its commit, and two other tasks of the same run and executor
    let mut tasks = Tasks::new(3).await;
    let [first, second, third] = tasks.claims[..] else { unreachable!() };
    let transaction = tasks.about_to_commit(first).await;
    // Then appends of its run go on, and the executor renews its lease and settles others
    tasks.writer.append_event(tasks.run, 4).await.unwrap();
    assert_eq!(tasks.executor.renew().await, [first, second, third]);
    assert_eq!(tasks.executor.settle(&[first, second]).await, [Settled::Locked, Settled::Told]);
    // And neither a timeout nor a cancellation can tell yet whether it commits
    for tells in [true, false] {
        assert_eq!(tasks.withdraw(&[first, third], tells).await, [first.task]);
    }
    assert_eq!(tasks.told().await, ["outcome of 2", "no outcome of 3"]);
    // When it commits, then its outcome counts, and whatever else was asked comes too late
    transaction.commit().await.unwrap();
    assert_eq!(tasks.executor.settle(&[first]).await, [Settled::Late]);
    assert_eq!(tasks.withdraw(&[first], true).await, []);
    assert_eq!(tasks.told().await, ["committed 1"]);
    assert_eq!(tasks.written().await, [1]);
    assert_eq!(tasks.world.count("tasks").await, 0);
}

#[tokio::test]
async fn transaction_that_is_rolled_back_leaves_its_task_to_whoever_asked() {
    let mut tasks = Tasks::new(2).await;
    let [first, second] = tasks.claims[..] else { unreachable!() };
    let (one, other) = (tasks.about_to_commit(first).await, tasks.about_to_commit(second).await);
    assert_eq!(tasks.executor.settle(&[first]).await, [Settled::Locked]);
    assert_eq!(tasks.withdraw(&[second], true).await, [second.task]);
    one.rollback().await.unwrap();
    other.rollback().await.unwrap();
    assert_eq!(tasks.executor.settle(&[first]).await, [Settled::Told]);
    assert_eq!(tasks.withdraw(&[second], true).await, []);
    assert_eq!(tasks.told().await, ["outcome of 1", "no outcome of 2"]);
    assert_eq!(tasks.written().await, [0; 0]);
}

#[tokio::test]
async fn fenced_executor_stays_until_its_transactions_are_over_and_one_that_commits_wins() {
    // Given an executor whose lease runs out while transactions of two of its tasks are about to commit
    let mut tasks = Tasks::with_lease(3, SHORT_TTL).await;
    let [first, second, third] = tasks.claims[..] else { unreachable!() };
    let (commits, rolls_back) = (tasks.about_to_commit(first).await, tasks.about_to_commit(second).await);
    tokio::time::sleep(2 * SHORT_TTL).await;
    // When it is fenced, then only the third of its tasks is free
    tasks.beat().await;
    let mut other = Executor::new(&tasks.world, TTL).await;
    assert_eq!(other.claim(9).await, [TaskClaim { number: 2, ..third }]);
    assert_eq!(tasks.world.count("executors").await, 2);
    // When one transaction commits, then it wins, although its executor is fenced
    commits.commit().await.unwrap();
    assert_eq!(tasks.told().await, ["committed 1"]);
    tasks.beat().await;
    assert_eq!(other.claim(9).await, []);
    // When the other is rolled back, then its task is free, and the fenced executor goes
    rolls_back.rollback().await.unwrap();
    tasks.beat().await;
    assert_eq!(other.claim(9).await, [TaskClaim { number: 2, ..second }]);
    assert_eq!(tasks.world.count("executors").await, 1);
    assert_eq!(tasks.written().await, [1]);
}

#[tokio::test]
async fn executor_that_ends_leaves_the_task_of_an_open_transaction() {
    let mut tasks = Tasks::new(1).await;
    let claim = tasks.claims[0];
    let transaction = tasks.about_to_commit(claim).await;
    tasks.executor.end(claim).await;
    // It is lost once its transaction is over.
    let mut other = Executor::new(&tasks.world, TTL).await;
    assert_eq!(other.claim(9).await, []);
    transaction.rollback().await.unwrap();
    tasks.beat().await;
    assert_eq!(other.claim(9).await, [TaskClaim { number: 2, ..claim }]);
}

#[tokio::test]
async fn transaction_whose_task_is_gone_must_roll_back() {
    // Given transactions that have written, and have not settled their tasks
    let mut tasks = Tasks::with_lease(4, SHORT_TTL).await;
    let [settled, withdrawn, expired, fenced] = tasks.claims[..] else { unreachable!() };
    let mut open = Vec::new();
    for claim in tasks.claims.clone() {
        open.push((claim, tasks.writes(claim).await));
    }
    // When their tasks are settled as failed, withdrawn, told to be over, or freed with their executor
    assert_eq!(tasks.executor.settle(&[settled]).await, [Settled::Told]);
    assert_eq!(tasks.withdraw(&[withdrawn], false).await, []);
    assert_eq!(tasks.withdraw(&[expired], true).await, []);
    tokio::time::sleep(2 * SHORT_TTL).await;
    tasks.beat().await;
    // Then none of them may commit, whether or not somebody has claimed the task since
    for (claim, mut transaction) in open {
        assert!(!tasks.settles(&mut transaction, claim).await.unwrap(), "{claim:?}");
    }
    let mut other = Executor::new(&tasks.world, TTL).await;
    assert_eq!(other.claim(9).await, [TaskClaim { number: 2, ..fenced }]);
    let mut late = tasks.writes(fenced).await;
    assert!(!tasks.settles(&mut late, fenced).await.unwrap());
    assert_eq!(tasks.told().await, ["outcome of 1", "no outcome of 3"]);
}

#[tokio::test]
async fn transaction_whose_run_is_over_must_roll_back() {
    let mut tasks = Tasks::new(1).await;
    let batch = tasks.writer.batch().event(tasks.run, 2).closed(tasks.run);
    tasks.writer.append(batch).await.unwrap();
    let claim = tasks.claims[0];
    let mut transaction = tasks.writes(claim).await;
    assert!(!tasks.settles(&mut transaction, claim).await.unwrap());
    transaction.rollback().await.unwrap();
    // And a renewal deletes its task, which nobody has withdrawn
    assert_eq!(tasks.executor.renew().await, []);
    assert_eq!(tasks.world.count("tasks").await, 0);
}

#[tokio::test]
async fn transaction_that_the_user_has_ended_is_refused() {
    let tasks = Tasks::new(1).await;
    let claim = tasks.claims[0];
    for ending in ["commit", "rollback", "commit; begin", "rollback; begin"] {
        let mut transaction = tasks.writes(claim).await;
        execute(&mut transaction, ending).await;
        let error = tasks.settles(&mut transaction, claim).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "PW005", "{ending}");
    }
    // A savepoint does not end it.
    let mut transaction = tasks.writes(claim).await;
    execute(&mut transaction, "savepoint one; insert into writes values (9); rollback to one").await;
    assert!(tasks.settles(&mut transaction, claim).await.unwrap());
}

#[tokio::test]
async fn server_ends_a_transaction_that_pauses_for_longer_than_it_may_take() {
    // Given a transaction that settled its task, may take 200 ms, and is never continued
    let mut tasks = Tasks::new(1).await;
    let claim = tasks.claims[0];
    let mut stopped = tasks.world.begin().await;
    execute(&mut stopped, format!("select pgworkflows.begin_own_task('{}', 200)", claim.task.seq)).await;
    assert!(tasks.settles(&mut stopped, claim).await.unwrap());
    // Then its task is free of it, by the server alone
    while tasks.executor.settle(&[claim]).await == [Settled::Locked] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(tasks.told().await, ["outcome of 1"]);
    // And a statement is ended, too
    for (limit, expected) in [
        ("0", "2s"),
        ("100", "100ms"),
        ("2s", "2s"),
        ("90s", "2s"),
        ("5min", "2s"),
        ("3h", "2s"),
        ("7d", "2s"),
    ] {
        let mut transaction = tasks.world.begin().await;
        let set = format!("set statement_timeout = '{limit}'; select pgworkflows.begin_own_task('1', 2000)");
        execute(&mut transaction, set).await;
        let shown = sqlx::query_scalar("select current_setting('statement_timeout')");
        let shown: String = shown.fetch_one(&mut *transaction).await.unwrap();
        assert_eq!(shown, expected, "{limit}: a shorter limit stays");
    }
    let mut busy = tasks.world.begin().await;
    execute(&mut busy, "select pgworkflows.begin_own_task('1', 50)").await;
    let error = sqlx::query("select pg_sleep(60)").execute(&mut *busy).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "57014");
}

#[tokio::test]
async fn transactions_of_all_isolation_levels_settle_their_tasks() {
    let mut tasks = Tasks::new(3).await;
    for (claim, level) in
        tasks.claims.clone().into_iter().zip(["read committed", "repeatable read", "serializable"])
    {
        let mut transaction = tasks.world.begin().await;
        execute(&mut transaction, format!("set transaction isolation level {level}")).await;
        execute(&mut transaction, format!("select pgworkflows.begin_own_task('{}', 60000)", claim.task.seq))
            .await;
        assert!(tasks.settles(&mut transaction, claim).await.unwrap());
        transaction.commit().await.unwrap();
    }
    assert_eq!(tasks.told().await, ["committed 1", "committed 2", "committed 3"]);
}

#[tokio::test]
async fn renewals_find_every_task_of_a_run_that_is_over() {
    // Given more open runs with tasks than a renewal looks at, and one after them that is over
    let mut tasks = Tasks::new(1).await;
    let mut batch = tasks.writer.batch();
    let mut runs: Vec<RunId> = (0..150).map(|number| tasks.world.run(number % 4)).collect();
    runs.sort_unstable();
    for run in &runs {
        batch = batch.opened(*run, OpenState::Parked, None).event(*run, 1);
        batch.append.tasks.push(NewTask { queue: "nobody".into(), ..new_task(*run, 1) });
    }
    tasks.writer.append(batch).await.unwrap();
    let over = *runs.last().unwrap();
    let batch = tasks.writer.batch().event(over, 2).closed(over);
    tasks.writer.append(batch).await.unwrap();
    for count in [151, 150, 150] {
        tasks.executor.renew().await;
        assert_eq!(tasks.world.count("tasks").await, count);
    }
}
