//! Transactional activities in the whole engine: what they write and what the log says of them is the same.

use std::time::Duration;

use pgworkflows_core::client::RunHandle;
use pgworkflows_core::prelude::*;
use pgworkflows_core::worker::WorkerBuilder;
use pgworkflows_core::{Client, Worker};
use pgworkflows_pg_harness::PoolMode;
use pgworkflows_postgres::{Isolation, PostgresStore, Transactional, TransactionalActivity};
use sqlx::postgres::{PgPool, PgTransaction};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::pooler::Pooled;
use crate::support::*;

/// Executes statements in its transaction. In their text, `{attempt}` is the number of the attempt.
struct Execute;

#[async_trait]
impl TransactionalActivity for Execute {
    const NAME: &'static str = "execute";
    type Input = Vec<String>;
    type Output = u32;

    async fn execute(
        &self,
        transaction: &mut PgTransaction<'_>,
        ctx: ActivityContext,
        statements: Vec<String>,
    ) -> ActivityResult<u32> {
        for statement in statements {
            let statement = statement.replace("{attempt}", &ctx.attempt().to_string());
            transaction.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await?;
        }
        Ok(ctx.attempt())
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Pay {
    statements: Vec<String>,
    start_to_close: Option<Duration>,
    schedule_to_close: Option<Duration>,
    attempts: u32,
    waits_for_outcome: bool,
    /// Whether the run goes on after the activity, until it gets a signal.
    goes_on: bool,
}

struct Pays;

const GO: Signal<()> = Signal::new("go");

impl Workflow for Pays {
    const NAME: &'static str = "pays";
    type Input = Pay;
    type Output = u32;

    async fn run(ctx: Context, pay: Pay) -> WorkflowResult<u32> {
        let retry =
            RetryPolicy::exponential().initial(Duration::from_millis(5)).max_attempts(pay.attempts.max(1));
        let mut call = ctx.activity::<Transactional<Execute>>(pay.statements).retry(retry);
        if let Some(limit) = pay.start_to_close {
            call = call.start_to_close(limit);
        }
        if let Some(limit) = pay.schedule_to_close {
            call = call.schedule_to_close(limit);
        }
        if pay.waits_for_outcome {
            call = call.wait_for_outcome();
        }
        let paid = call.await;
        if pay.goes_on {
            ctx.wait_for(GO).await?;
        }
        paid
    }
}

/// A store with a table of the user's, whose commits wait while [`Bank::hold_commits`] has something.
struct Bank {
    world: World,
    client: Client,
}

impl Bank {
    async fn new() -> Self {
        Self::on(World::new().await).await
    }

    async fn on(world: World) -> Self {
        world
            .execute(
                "create table payments (name text);
                 create function wait_for_permission() returns trigger language plpgsql as $$
                 begin
                     perform pg_advisory_xact_lock_shared(7);
                     if new.name = 'refused' then raise exception 'it is refused'; end if;
                     return null;
                 end
                 $$;
                 create constraint trigger at_commit after insert on payments
                     deferrable initially deferred for each row execute function wait_for_permission()",
            )
            .await;
        let client =
            Client::builder(world.store.clone()).poll_interval(Duration::from_millis(50)).build().unwrap();
        Self { world, client }
    }

    /// No transaction that has paid commits until this connection is dropped.
    async fn hold_commits(&self) -> PgConnection {
        let mut connection = self.world.connection().await;
        execute(&mut connection, "select pg_advisory_lock(7)").await;
        connection
    }

    /// Waits until as many transactions are about to commit.
    async fn commits_are_held(&self, count: i64) {
        // Other tests hold commits on the same server.
        let held = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
                    where d.datname = current_database() and l.locktype = 'advisory' and not l.granted";
        let mut connection = self.world.connection().await;
        until(async || {
            let waiting: i64 = sqlx::query_scalar(held).fetch_one(&mut connection).await.unwrap();
            waiting == count
        })
        .await;
    }

    fn builder(&self) -> WorkerBuilder {
        let worker = Worker::builder(self.world.store.clone()).workflow::<Pays>().processors(1);
        worker.heartbeat_interval(Duration::from_millis(50)).lease_ttl(Duration::from_secs(2))
    }

    /// Does something while a worker serves.
    async fn while_served<T>(&self, work: impl Future<Output = T>) -> T {
        let worker = self.builder().activity(self.world.store.transactional(Execute)).build().unwrap();
        served_by(worker, work).await
    }

    async fn start(&self, pay: Pay) -> RunHandle<Pays> {
        self.client.start::<Pays>(pay).await.unwrap()
    }

    /// What was paid.
    async fn paid(&self) -> Vec<String> {
        let read = sqlx::query_scalar("select name from payments order by name");
        read.fetch_all(&mut self.world.connection().await).await.unwrap()
    }
}

async fn served_by<T>(worker: Worker, work: impl Future<Output = T>) -> T {
    let mut done = None;
    worker.run_until(async { done = Some(work.await) }).await.unwrap();
    done.unwrap()
}

/// A payment, after other statements.
fn pay(before: &[&str], name: &str) -> Pay {
    let insert = format!("insert into payments values ('{name}')");
    let statements = before.iter().map(ToString::to_string).chain([insert]).collect();
    Pay { statements, ..Pay::default() }
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    while !holds().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn events(run: &RunHandle<Pays>) -> Vec<String> {
    let history = run.history().await.unwrap();
    history.iter().map(|event| event.event.name().to_owned()).collect()
}

async fn logged(run: &RunHandle<Pays>, name: &str) {
    until(async || events(run).await.iter().any(|event| event == name)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_and_outcome_are_committed_together() {
    let bank = Bank::new().await;
    bank.while_served(async {
        let run = bank.start(pay(&[], "Ada")).await;
        assert_eq!(run.result().await.unwrap(), 1);
        let expected =
            ["run.started", "activity.scheduled", "activity.enqueued", "activity.completed", "run.completed"];
        assert_eq!(events(&run).await, expected);
        // Each waits for a connection, of which there are fewer.
        let runs =
            futures::future::join_all((0..30).map(|number| bank.start(pay(&[], &format!("{number:02}")))))
                .await;
        for run in &runs {
            assert_eq!(run.result().await.unwrap(), 1);
        }
    })
    .await;
    assert_eq!(bank.paid().await.len(), 31);
    assert_eq!(bank.world.count("tasks").await, 0);
    assert_eq!(bank.world.count("inbox").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_attempt_is_rolled_back_and_repeated() {
    let bank = Bank::new().await;
    bank.while_served(async {
        // The first attempt fails after it has written, and the activity fails for good if no other is allowed.
        let fails = &["insert into payments values ('first')", "select 1 / ({attempt} - 1)"];
        let run = bank.start(Pay { attempts: 2, ..pay(fails, "second") }).await;
        assert_eq!(run.result().await.unwrap(), 2);
        let run = bank.start(pay(fails, "third")).await;
        assert!(run.result().await.unwrap_err().to_string().contains("division by zero"));
        // A commit that the database refuses is a failed attempt.
        let run = bank.start(pay(&[], "refused")).await;
        assert!(run.result().await.unwrap_err().to_string().contains("it is refused"));
    })
    .await;
    assert_eq!(bank.paid().await, ["first", "second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn serialization_failures_and_deadlocks_are_failed_attempts() {
    let bank = Bank::new().await;
    bank.world.execute("create table accounts (account int primary key, balance int); insert into accounts values (1, 0), (2, 0)").await;
    let add = |account: u32| format!("update accounts set balance = balance + 1 where account = {account}");
    let wait = "select pg_sleep(0.05)".to_owned();
    let transfer = |from, to| Pay {
        statements: vec![add(from), wait.clone(), add(to)],
        attempts: 100,
        ..Pay::default()
    };
    let transfers =
        |count: usize| (0..count).map(|number| if number % 2 == 0 { transfer(1, 2) } else { transfer(2, 1) });
    // Deadlocks
    bank.while_served(async {
        for run in futures::future::join_all(transfers(6).map(|transfer| bank.start(transfer))).await {
            run.result().await.unwrap();
        }
    })
    .await;
    // Serialization failures
    let serializable = bank.world.store.transactional(Execute).isolation(Isolation::Serializable);
    let worker = bank.builder().activity(serializable).build().unwrap();
    served_by(worker, async {
        for run in futures::future::join_all(transfers(4).map(|transfer| bank.start(transfer))).await {
            run.result().await.unwrap();
        }
    })
    .await;
    let balances: Vec<i32> = sqlx::query_scalar("select balance from accounts")
        .fetch_all(&mut bank.world.connection().await)
        .await
        .unwrap();
    assert_eq!(balances, [10, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn activity_that_ends_its_transaction_itself_fails_and_is_not_repeated() {
    let bank = Bank::new().await;
    bank.while_served(async {
        for ending in ["commit", "rollback", "commit; begin"] {
            let run = bank
                .start(Pay { attempts: 5, ..pay(&["insert into payments values ('early')", ending], "late") })
                .await;
            let error = run.result().await.unwrap_err().to_string();
            assert!(
                error.contains("`execute` ended its transaction itself") && error.contains("savepoints"),
                "{error}"
            );
            assert!(!events(&run).await.contains(&"activity.attempt-failed".to_owned()));
        }
    })
    .await;
    // What is left is what it committed itself, and what it wrote outside of any transaction.
    assert_eq!(bank.paid().await, ["early", "early", "late", "late"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_that_takes_too_long_is_rolled_back() {
    let bank = Bank::new().await;
    bank.while_served(async {
        let hangs = pay(&["insert into payments values ('early')", "select pg_sleep(3600)"], "late");
        let run = bank.start(Pay { start_to_close: Some(Duration::from_millis(200)), ..hangs.clone() }).await;
        let error = run.result().await.unwrap_err().to_string();
        assert!(error.contains("200ms (start_to_close)") || error.contains("statement timeout"), "{error}");
        let run = bank.start(Pay { schedule_to_close: Some(Duration::from_millis(200)), ..hangs }).await;
        let error = run.result().await.unwrap_err().to_string();
        assert!(error.contains("within 200ms of its scheduling (schedule_to_close)"), "{error}");
    })
    .await;
    assert_eq!(bank.paid().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_says_of_a_timeout_is_what_the_table_says() {
    // Given transactions that end at about the time that they may take
    let bank = Bank::new().await;
    bank.while_served(async {
        let mut runs = Vec::new();
        for number in 0..40 {
            let name = format!("{number:02}");
            let waits = format!("select pg_sleep({})", 0.004 * f64::from(number));
            let limit = Some(Duration::from_millis(100));
            let limited = if number % 2 == 0 {
                Pay { start_to_close: limit, ..pay(&[&waits], &name) }
            } else {
                Pay { schedule_to_close: limit, ..pay(&[&waits], &name) }
            };
            runs.push((name, bank.start(limited).await));
        }
        for (name, run) in runs {
            let completed = run.result().await.is_ok();
            // An attempt that may still commit is not reported as failed, so nothing comes later.
            assert_eq!(bank.paid().await.contains(&name), completed, "{name}: {:?}", events(&run).await);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_that_is_committing_when_its_schedule_is_over_counts() {
    let bank = Bank::new().await;
    let held = bank.hold_commits().await;
    bank.while_served(async {
        let limit = Some(Duration::from_millis(500));
        let (paid, refused) = (pay(&[], "Ada"), pay(&[], "refused"));
        let paid = bank.start(Pay { schedule_to_close: limit, ..paid }).await;
        let refused = bank.start(Pay { schedule_to_close: limit, ..refused }).await;
        bank.commits_are_held(2).await;
        // While it is open, nothing is said of it
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        assert_eq!(events(&paid).await.last().unwrap(), "activity.enqueued");
        drop(held);
        assert_eq!(paid.result().await.unwrap(), 1);
        // And one that is rolled back has failed
        let error = refused.result().await.unwrap_err().to_string();
        assert!(error.contains("schedule_to_close") || error.contains("it is refused"), "{error}");
    })
    .await;
    assert_eq!(bank.paid().await, ["Ada"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_transaction_is_rolled_back_or_shown() {
    // Given a transaction in progress, and one that is committing
    let bank = Bank::new().await;
    let held = bank.hold_commits().await;
    bank.while_served(async {
        let open = pay(&["select pg_sleep(3600)"], "open");
        let open = bank.start(Pay { goes_on: true, ..open }).await;
        let committing = bank.start(Pay { goes_on: true, ..pay(&[], "committing") }).await;
        bank.commits_are_held(1).await;
        // When their runs are cancelled, then nobody waits
        for run in [&open, &committing] {
            run.cancel().await.unwrap();
            logged(run, "activity.cancelled").await;
        }
        drop(held);
        // And what happened is shown
        logged(&committing, "activity.completed").await;
        for run in [&open, &committing] {
            run.signal(GO, ()).await.unwrap();
            assert!(run.result().await.unwrap_err().is_run_cancelled());
        }
        let cancelled = [
            "run.started",
            "activity.scheduled",
            "activity.enqueued",
            "cancel.requested",
            "activity.cancelled",
        ];
        let (ended, shown) = (["signal.received", "run.cancelled"], ["activity.completed"]);
        assert_eq!(events(&open).await, [&cancelled[..], &ended].concat());
        assert_eq!(events(&committing).await, [&cancelled[..], &shown, &ended].concat());
        until(async || bank.world.count("tasks").await == 0).await;
    })
    .await;
    assert_eq!(bank.paid().await, ["committing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancellation_waits_for_the_outcome_if_it_is_asked_to() {
    let bank = Bank::new().await;
    let held = bank.hold_commits().await;
    bank.while_served(async {
        let run = bank.start(Pay { waits_for_outcome: true, ..pay(&[], "Ada") }).await;
        bank.commits_are_held(1).await;
        run.cancel().await.unwrap();
        logged(&run, "cancel.requested").await;
        drop(held);
        assert_eq!(run.result().await.unwrap(), 1);
        assert!(!events(&run).await.contains(&"activity.cancelled".to_owned()));
    })
    .await;
    assert_eq!(bank.paid().await, ["Ada"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_that_commits_after_the_end_of_its_run_is_undelivered() {
    let bank = Bank::new().await;
    let held = bank.hold_commits().await;
    bank.while_served(async {
        let run = bank.start(pay(&[], "Ada")).await;
        bank.commits_are_held(1).await;
        run.terminate("enough").await.unwrap();
        assert!(run.result().await.unwrap_err().is_run_terminated());
        drop(held);
        until(async || bank.world.count("undelivered").await == 1).await;
    })
    .await;
    assert_eq!(bank.paid().await, ["Ada"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_whose_connection_is_lost_is_repeated_or_was_committed() {
    let bank = Bank::new().await;
    bank.while_served(async {
        let runs = (0..20).map(|number| {
            let waits = ["select pg_sleep(0.03)"];
            bank.start(Pay { attempts: 1_000, ..pay(&waits, &format!("{number:02}")) })
        });
        let runs = futures::future::join_all(runs).await;
        let mut admin = bank.world.connection().await;
        let lose = async {
            for _ in 0..20 {
                let lost = "select pg_terminate_backend(pid) from pg_stat_activity
                            where pid <> pg_backend_pid() and xact_start is not null and datname = current_database()
                              and query not like '%terminate%'";
                execute(&mut admin, lost).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let results = futures::future::join_all(runs.iter().map(async |run| run.result().await));
        let (results, ()) = futures::future::join(results, lose).await;
        results.into_iter().for_each(|result| _ = result.unwrap());
    })
    .await;
    let expected: Vec<_> = (0..20).map(|number| format!("{number:02}")).collect();
    assert_eq!(bank.paid().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn activity_works_through_both_modes_of_a_pooler() {
    for (mode, pool_size, prepared) in [(PoolMode::Session, 8, true), (PoolMode::Transaction, 2, false)] {
        let Some(pooled) = Pooled::new(mode, pool_size) else { return };
        let store = pooled
            .builder()
            .pool_size(1)
            .transactions_max(2)
            .prepared_statements(prepared)
            .connect()
            .await
            .unwrap();
        let mut admin = PgConnection::connect(pooled.direct_url()).await.unwrap();
        execute(&mut admin, "create table payments (name text)").await;
        let client = Client::builder(store.clone()).poll_interval(Duration::from_millis(50)).build().unwrap();
        let worker = Worker::builder(store.clone()).workflow::<Pays>().activity(store.transactional(Execute));
        served_by(worker.processors(1).build().unwrap(), async {
            let runs = (0..10).map(|number| {
                let client = client.clone();
                async move { client.start::<Pays>(pay(&[], &number.to_string())).await?.result().await }
            });
            futures::future::try_join_all(runs).await.unwrap();
        })
        .await;
        let paid: i64 =
            sqlx::query_scalar("select count(*) from payments").fetch_one(&mut admin).await.unwrap();
        assert_eq!(paid, 10);
        // No limit of a transaction is left for the next user of a pooler's connection.
        let mut other = pooled.connection().await;
        let setting = sqlx::raw_sql("show statement_timeout").fetch_one(&mut other).await.unwrap();
        assert_eq!(sqlx::Row::get::<String, _>(&setting, 0), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn activity_uses_the_pool_of_the_user_for_the_same_database_only() {
    let (bank, other) = (Bank::new().await, World::new().await);
    let in_pool = async |url: &str| {
        let pool = PgPool::connect(url).await.unwrap();
        bank.world.store.transactional(Execute).in_pool(pool).await
    };
    let error = in_pool(other.database.url()).await.unwrap_err();
    assert!(error.is_misconfigured());
    let text = error.to_string();
    assert!(text.contains(other.database.name()) && text.contains(bank.world.database.name()), "{text}");
    // Through its own pool, as another role
    bank.world
        .execute(
            "create role bank login;
             grant usage on schema pgworkflows to bank; grant all on all tables in schema pgworkflows to bank;
             grant execute on all functions in schema pgworkflows to bank; grant all on payments to bank",
        )
        .await;
    let activity = in_pool(&url_as("bank", &bank.world.database)).await.unwrap();
    let worker = bank.builder().activity(activity).build().unwrap();
    served_by(worker, async {
        let by = "insert into payments select current_user";
        let run = bank.start(pay(&[by], "Ada")).await;
        assert_eq!(run.result().await.unwrap(), 1);
    })
    .await;
    assert_eq!(bank.paid().await, ["Ada", "bank"]);
    bank.world.execute("drop owned by bank; drop role bank").await;
}

#[tokio::test]
async fn worker_of_another_store_is_refused_when_it_is_built() {
    let world = World::new().await;
    let other = PostgresStore::connect(world.database.url()).await.unwrap();
    let error =
        Worker::builder(world.store.clone()).activity(other.transactional(Execute)).build().unwrap_err();
    assert!(error.is_misconfigured());
    let text = error.to_string();
    assert!(text.contains("`execute` belongs to another store than the worker's"), "{text}");
    // So is one of a store that has no transactions.
    let memory = Worker::builder(pgworkflows::MemoryStore::new());
    let error = memory.activity(world.store.transactional(Execute)).build().unwrap_err();
    assert!(
        error.is_misconfigured() && error.to_string().contains("`execute` belongs to a PostgreSQL store"),
        "{error}"
    );
    // A store in an `Arc` is the same store.
    let store: std::sync::Arc<dyn pgworkflows_core::store::Store> = std::sync::Arc::new(world.store.clone());
    assert!(Worker::builder(store).activity(world.store.transactional(Execute)).build().is_ok());
}
