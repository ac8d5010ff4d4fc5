//! Transactional activities: the writes of a user and the outcome of the activity, in one transaction. It must not know how a
//! task is settled.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::{Either, select};
use pgworkflows_core::activity::{
    ActivityContext, ActivityError, ActivityOptions, ActivityResult, OwnTask, RetryPolicy,
};
use pgworkflows_core::store::{Store, StoreError};
use pgworkflows_core::{Activity, Error};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Connection;
use sqlx::postgres::{PgPool, PgTransaction};

use crate::shared::{Shared, with_timeout};
use crate::store::PostgresStore;
use crate::transactions::{self, Connections, Isolation};

/// How long a transaction may stay open, unless the activity's options or the call say otherwise.
const TIME_MAX: std::time::Duration = std::time::Duration::from_secs(60);

/// How often a transaction is attempted, unless the activity's options or the call say otherwise.
const ATTEMPTS_MAX: u32 = 10;

/// An activity that writes to the database of the store, exactly once: what it writes and the outcome of the activity are
/// committed together, or neither is, however often processes die and whatever is lost on the way.
///
/// A workflow calls it as `Transactional<…>`, and a worker registers it with [`PostgresStore::transactional`]:
///
/// ```no_run
/// use pgworkflows::prelude::*;
/// use pgworkflows::sqlx::{self, PgTransaction};
/// use pgworkflows::{PostgresStore, Transactional, TransactionalActivity};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Order {
///     from: i32,
///     to: i32,
///     amount: i64,
/// }
///
/// /// Moves money between two accounts.
/// struct Transfer;
///
/// #[async_trait]
/// impl TransactionalActivity for Transfer {
///     const NAME: &'static str = "transfer";
///     type Input = Order;
///     type Output = ();
///
///     async fn execute(
///         &self,
///         transaction: &mut PgTransaction<'_>,
///         _: ActivityContext,
///         order: Order,
///     ) -> ActivityResult<()> {
///         let mut entries = [(order.from, -order.amount), (order.to, order.amount)];
///         entries.sort(); // Rows are locked in one order, so that no two transfers wait for each other.
///         for (account, amount) in entries {
///             sqlx::query("update accounts set balance = balance + $2 where account = $1")
///                 .bind(account)
///                 .bind(amount)
///                 .execute(&mut **transaction)
///                 .await?;
///         }
///         Ok(())
///     }
/// }
///
/// struct Payment;
///
/// impl Workflow for Payment {
///     const NAME: &'static str = "payment";
///     type Input = Order;
///     type Output = ();
///
///     async fn run(ctx: Context, order: Order) -> WorkflowResult<()> {
///         ctx.activity::<Transactional<Transfer>>(order).await
///     }
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let store = PostgresStore::connect("postgres://app@localhost/app").await?;
/// let transfer = store.transactional(Transfer);
/// Worker::builder(store).workflow::<Payment>().activity(transfer).build()?.run().await
/// # }
/// ```
///
/// # What is promised
///
/// - The transaction commits only if its outcome is recorded, and the outcome is recorded only if the transaction commits.
///   An attempt whose process died, whose connection was lost, or that lost its lease is rolled back and repeated, or it
///   was committed and is not repeated.
/// - An error, a panic, and a failed commit (a deferred constraint, a serialization failure, a deadlock) roll back. They are
///   failed attempts, which the retry policy repeats.
/// - A timeout makes the activity fail only if the transaction can no longer commit. If it is committing at that moment, its
///   outcome counts.
/// - If the run is cancelled or drops the call, the transaction is rolled back, unless it is committing at that moment. Then
///   the history shows `activity.completed` after `activity.cancelled`: nobody waits for it, but it happened.
///   [`wait_for_outcome`](pgworkflows_core::workflow::ActivityFuture::wait_for_outcome) makes a cancellation wait.
///
/// Let transactions lock rows in one order, such as that of their keys: two that wait for each other are a deadlock, which
/// costs PostgreSQL's `deadlock_timeout` (1 s) and one of the attempts.
///
/// Only the database takes part: what an activity does elsewhere, such as a request to another service, is repeated with the
/// attempt. Nothing waits for an open transaction but other transactions that want the rows which it has written. Such an
/// activity is always a task, which any worker of its activity queue executes: of the one that the call names, or of the
/// queue of its run.
///
/// # How long a transaction stays open
///
/// The `start_to_close` of the call bounds it: the server also ends a statement, and a pause between statements, that take
/// longer, in case the process has stopped in the middle. An attempt takes a connection when it has its slot and gives it
/// back when it ends. So send these activities to an activity queue with as many slots as there are connections, if they
/// are many.
#[async_trait]
pub trait TransactionalActivity: Send + Sync + 'static {
    /// The stored name, as that of an [`Activity`].
    const NAME: &'static str;
    /// The input of a call.
    type Input: Serialize + DeserializeOwned + Send + 'static;
    /// The result of a call.
    type Output: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The retry policy and the timeouts of a call that sets none. By default there are 10 attempts, with exponential backoff
    /// from 100 ms on, of 60 seconds each: a transaction may always fail because of another one. An error that no attempt can
    /// cure should be [`non_retryable`](ActivityError::non_retryable).
    fn options() -> ActivityOptions {
        let retry = RetryPolicy::exponential().initial(std::time::Duration::from_millis(100));
        ActivityOptions::default().retry(retry.max_attempts(ATTEMPTS_MAX)).start_to_close(TIME_MAX)
    }

    /// Makes one attempt in the transaction, which is committed afterwards. It must not end the transaction itself, by
    /// `COMMIT` or `ROLLBACK`: that is noticed, and fails the activity, but what was committed by then stays. It may use
    /// savepoints, and make [requests](crate::InTransaction) of a client in the transaction.
    ///
    /// When the outcome is not wanted any more, the future is dropped at its next `await`.
    ///
    /// # Errors
    /// An error fails the attempt, and so does a panic. Either rolls the transaction back.
    async fn execute(
        &self,
        transaction: &mut PgTransaction<'_>,
        ctx: ActivityContext,
        input: Self::Input,
    ) -> ActivityResult<Self::Output>;
}

/// A [`TransactionalActivity`] as the activity that a workflow calls and a worker executes. [`PostgresStore::transactional`]
/// makes one.
pub struct Transactional<T> {
    activity: T,
    shared: Arc<Shared>,
    connections: Connections,
    isolation: Isolation,
}

impl PostgresStore {
    /// Makes a transactional activity for workers of this store. Its transactions use connections of the store, at most as
    /// many as [`transactions_max`](crate::Builder::transactions_max) says.
    pub fn transactional<T: TransactionalActivity>(&self, activity: T) -> Transactional<T> {
        let (shared, connections) = (Arc::clone(&self.shared), Connections::Store);
        Transactional { activity, shared, connections, isolation: Isolation::default() }
    }
}

impl<T: TransactionalActivity> Transactional<T> {
    /// Uses connections of this pool, which may belong to another role. The role needs the rights of a worker: see
    /// [`PostgresStore::roles_sql`]. An attempt that waits for a connection for longer than the pool's
    /// `acquire_timeout` fails.
    ///
    /// # Errors
    /// An error that [`is_misconfigured`](Error::is_misconfigured) recognises if the pool leads to another database than the
    /// store; otherwise the errors of asking both.
    ///
    /// ```no_run
    /// # use pgworkflows::{PostgresStore, TransactionalActivity, Worker};
    /// # async fn example(
    /// #     store: PostgresStore,
    /// #     transfer: impl TransactionalActivity,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let bank = pgworkflows::sqlx::PgPool::connect("postgres://bank@localhost/app").await?;
    /// let transfer = store.transactional(transfer).in_pool(bank).await?;
    /// let worker = Worker::builder(store).activity(transfer).activity_queue("bank", 10).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn in_pool(self, pool: PgPool) -> Result<Self, Error> {
        transactions::check_pool(&self.shared, &pool).await?;
        Ok(Self { connections: Connections::User(pool), ..self })
    }

    /// Sets the isolation level of its transactions; [`Isolation::ReadCommitted`] by default. With another one, expect
    /// serialization failures, which are failed attempts.
    ///
    /// ```no_run
    /// # use pgworkflows::{Isolation, PostgresStore, Transactional, TransactionalActivity};
    /// # fn example<T: TransactionalActivity>(store: &PostgresStore, transfer: T) -> Transactional<T> {
    /// store.transactional(transfer).isolation(Isolation::Serializable)
    /// # }
    /// ```
    #[must_use]
    pub fn isolation(self, isolation: Isolation) -> Self {
        Self { isolation, ..self }
    }

    /// Makes an attempt in an open transaction. Returns its output if the transaction may commit.
    async fn attempt(
        &self,
        transaction: &mut PgTransaction<'_>,
        ctx: ActivityContext,
        task: &OwnTask,
        input: T::Input,
    ) -> ActivityResult<T::Output> {
        let cancellation = ctx.cancellation().clone();
        let work = self.activity.execute(transaction, ctx, input);
        let output = match select(work, pin!(cancellation.cancelled())).await {
            Either::Left((output, _)) => output?,
            Either::Right(_) => {
                return Err(ActivityError::new("cancelled", "the outcome is not wanted any more"));
            }
        };
        let message = task.completed(&output)?;
        let settled = transactions::settle(&self.shared, transaction, task, &message);
        match with_timeout(self.shared.options.call_timeout, settled).await {
            Ok(true) => Ok(output),
            Ok(false) => {
                let claim = task.claim();
                tracing::info!(
                    run = %claim.task.run, task = %claim.task.seq, activity = T::NAME,
                    "the outcome of a transaction is not wanted any more: it is rolled back"
                );
                task.settled();
                Err(ActivityError::new("rolled-back", "the outcome is not wanted any more"))
            }
            Err(error) if transactions::has_ended(&error) => Err(ended_itself(T::NAME)),
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait]
impl<T: TransactionalActivity> Activity for Transactional<T> {
    const NAME: &'static str = T::NAME;
    type Input = T::Input;
    type Output = T::Output;

    fn options() -> ActivityOptions {
        T::options().transactional()
    }

    async fn execute(&self, ctx: ActivityContext, input: T::Input) -> ActivityResult<T::Output> {
        // Every attempt is a task, because the activity's options say that it is transactional.
        let task = ctx.task().cloned();
        let task = task.ok_or_else(|| ActivityError::new("no-task", "the attempt has no task to settle"))?;
        let mut taken = self.connections.take(&self.shared).await?;
        let connection = taken.connection().ok_or(sqlx::Error::WorkerCrashed)?;
        let timeout = self.shared.options.call_timeout;
        let begun = transactions::begin(&self.shared, connection, self.isolation, &task);
        let mut transaction = with_timeout(timeout, begun).await?;
        let output = match self.attempt(&mut transaction, ctx, &task, input).await {
            Ok(output) => output,
            Err(error) => {
                // Without an answer in time, the connection is closed, which rolls back as well.
                if with_timeout(timeout, transaction.rollback()).await.is_ok() {
                    self.connections.put_back(&self.shared, taken);
                }
                return Err(error);
            }
        };
        // Whether it commits or not, the task knows: if the answer is lost, the worker reports a failed attempt, which counts
        // only if the task is still there.
        with_timeout(timeout, transaction.commit()).await?;
        if taken.connection().is_none_or(|connection| connection.is_in_transaction()) {
            return Err(ActivityError::new(
                "open-savepoint",
                "the activity left a savepoint of its transaction open",
            ));
        }
        self.connections.put_back(&self.shared, taken);
        transactions::notify(&self.shared, &task);
        task.settled();
        Ok(output)
    }

    fn check_store(&self, store: &dyn Store) -> Result<(), Error> {
        let problem = match store.downcast::<PostgresStore>() {
            Some(store) if Arc::ptr_eq(&store.shared, &self.shared) => return Ok(()),
            Some(_) => {
                "another store than the worker's: make it with `transactional` of the store of the worker"
            }
            None => {
                "a PostgreSQL store, and the worker has another kind of store, which has no transactions: \
                 test its workflow with a mock, or the worker with PostgreSQL"
            }
        };
        let message = format!("the transactional activity `{}` belongs to {problem}", T::NAME);
        Err(StoreError::misconfigured(message).into())
    }
}

fn ended_itself(name: &str) -> ActivityError {
    let message = format!(
        "the activity `{name}` ended its transaction itself, so what it wrote may be committed although the activity \
         failed: leave COMMIT and ROLLBACK to the library, and use savepoints"
    );
    ActivityError::non_retryable(ActivityError::new("transaction-ended", message))
}

impl<T: TransactionalActivity> fmt::Debug for Transactional<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transactional")
            .field("activity", &T::NAME)
            .field("isolation", &self.isolation)
            .finish_non_exhaustive()
    }
}
