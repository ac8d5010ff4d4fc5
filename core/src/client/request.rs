//! What all requests of a client have in common: a request becomes one submission, and the store's answer becomes a value.
//! It must not know how a submission reaches the store.

use std::any::type_name;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::error::Error;
use crate::store::Store;
use crate::store::inbox::{Submission, Submitted};

/// A request that a client can submit by itself or as part of something larger, such as a database transaction. Await the
/// request for the former; store crates use [`Request::prepare`] for the latter.
///
/// ```
/// use pgworkflows::prelude::*;
/// use pgworkflows::client::Request;
/// use pgworkflows::MemoryStore;
/// # struct Reminder;
/// # impl Workflow for Reminder {
/// #     const NAME: &'static str = "reminder";
/// #     type Input = String;
/// #     type Output = ();
/// #     async fn run(_: Context, _: String) -> WorkflowResult<()> { Ok(()) }
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let store = MemoryStore::new();
/// let client = Client::new(store.clone());
/// let prepared = client.start::<Reminder>("water the plants".to_owned()).prepare().await?;
///
/// let mut transaction = store.begin();
/// let answers = transaction.submit(std::slice::from_ref(prepared.submission())).await?;
/// let run = prepared.answered(answers[0])?;
/// assert!(run.describe().await.unwrap_err().is_unknown_run());
/// transaction.commit()?;
/// assert_eq!(run.describe().await?.workflow, "reminder");
/// # Ok(())
/// # }
/// ```
pub trait Request {
    /// What a successful request returns.
    type Answer: 'static;

    /// Checks the request and creates its submission, without submitting it. The store is asked for nothing but its queue
    /// and its time. See [`Request`] for an example.
    ///
    /// # Errors
    /// * [`Error::is_invalid`], [`Error::is_payload`]: the request cannot be sent; see the type of the request.
    /// * [`Error::is_unavailable`]: the store did not answer.
    fn prepare(self) -> BoxFuture<'static, Result<Prepared<Self::Answer>, Error>>;
}

/// A request that is ready to be submitted. See [`Request`] for an example.
///
/// Submit [`Prepared::submission`], and pass the store's answer to [`Prepared::answered`]. The submission may be sent
/// again until it is answered; it takes effect once.
pub struct Prepared<T> {
    store: Arc<dyn Store>,
    submission: Submission,
    /// Whether the request has a key. It must not share its transaction with other requests: another open transaction may
    /// hold the key, and all of them would wait for it.
    is_keyed: bool,
    interpret: Box<dyn FnOnce(Submitted) -> Result<T, Error> + Send>,
}

impl<T> Prepared<T> {
    pub(super) fn new(
        store: Arc<dyn Store>,
        submission: Submission,
        is_keyed: bool,
        interpret: impl FnOnce(Submitted) -> Result<T, Error> + Send + 'static,
    ) -> Self {
        Self { store, submission, is_keyed, interpret: Box::new(interpret) }
    }

    /// The submission, to pass to the client's store.
    pub fn submission(&self) -> &Submission {
        &self.submission
    }

    /// The client's store as an `S`, also if the client has it in an [`Arc`]. The submission is for this store only.
    ///
    /// # Errors
    /// Returns an error that [`Error::is_foreign_transaction`] recognises if the client's store is of another type.
    pub fn store_as<S: Store>(&self) -> Result<&S, Error> {
        self.store.downcast().ok_or_else(|| {
            let path = type_name::<S>();
            Error::foreign_transaction(path.rsplit("::").next().unwrap_or(path))
        })
    }

    pub(super) fn is_keyed(&self) -> bool {
        self.is_keyed
    }

    /// Turns the store's answer into the request's result.
    ///
    /// # Errors
    /// * [`Error::is_key_conflict`]: the key of a start is in use with another input or digest.
    /// * [`Error::is_run_over`], [`Error::is_unknown_run`]: the run of a message is over, or does not exist.
    pub fn answered(self, answer: Submitted) -> Result<T, Error> {
        (self.interpret)(answer)
    }
}

impl<T> fmt::Debug for Prepared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("submission", &self.submission).finish_non_exhaustive()
    }
}
