//! Requests inside the user's own transaction: they take effect if and when it commits. It must not know what a request
//! asks for.

use futures::future::BoxFuture;
use pgworkflows_core::Error;
use pgworkflows_core::client::{Prepared, Request};
use pgworkflows_core::store::StoreError;
use sqlx::PgConnection;

use crate::store::PostgresStore;

/// Makes a client's request inside the caller's own transaction.
///
/// ```no_run
/// # use pgworkflows::prelude::*;
/// # struct Reminder;
/// # impl Workflow for Reminder {
/// #     const NAME: &'static str = "reminder";
/// #     type Input = String;
/// #     type Output = ();
/// #     async fn run(_: Context, _: String) -> WorkflowResult<()> { Ok(()) }
/// # }
/// use pgworkflows::PostgresStore;
///
/// # async fn example(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new(PostgresStore::connect("postgres://app@localhost/app").await?);
///
/// // The row and the run exist together, or neither does.
/// let mut transaction = pool.begin().await?;
/// sqlx::query("insert into signups (company) values ('Acme')").execute(&mut *transaction).await?;
/// let run = client
///     .start::<Reminder>("Acme".to_owned())
///     .key("signup:Acme")
///     .in_transaction(&mut transaction)
///     .await?;
/// transaction.commit().await?;
/// run.result().await?;
/// # Ok(())
/// # }
/// ```
pub trait InTransaction: Request + Sized {
    /// Makes the request inside the transaction that is open on `connection`, which must be connected to the store's
    /// own database. The answer is valid if and when the transaction commits.
    ///
    /// If another open transaction holds the key, the call waits as long as the connection's own `lock_timeout` allows.
    /// The transaction cannot be prepared (two-phase commit) unless the store's
    /// [notifications](crate::Builder::notifications) are off.
    ///
    /// # Errors
    /// The errors of awaiting the request alone; [`Error::is_foreign_transaction`] if the client's store is not a
    /// [`PostgresStore`]; [`Error::is_misconfigured`] if the connection's `client_encoding` is not `UTF8`. After an
    /// error of the database the transaction cannot be used any more: roll it back.
    fn in_transaction(
        self,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<Self::Answer, Error>> + Send;
}

impl<R: Request> InTransaction for R {
    fn in_transaction(
        self,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<Self::Answer, Error>> + Send {
        // `prepare` takes the request's values out of `self`, so the future that is awaited is `Send`.
        submit(self.prepare(), connection)
    }
}

async fn submit<T>(
    prepare: BoxFuture<'static, Result<Prepared<T>, Error>>,
    connection: &mut PgConnection,
) -> Result<T, Error> {
    let prepared = prepare.await?;
    let store = prepared.store_as::<PostgresStore>()?.clone();
    let submissions = std::slice::from_ref(prepared.submission());
    let answers = store.submit_in(connection, submissions).await?;
    match answers.first() {
        Some(answer) => prepared.answered(*answer),
        None => Err(StoreError::corrupt("a submission was not answered").into()),
    }
}
