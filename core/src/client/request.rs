//! What every request of a client has in common: it becomes one submission, and an answer to it becomes a value.
//! It must not know how a submission travels.

use std::any::{Any, type_name};
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::error::Error;
use crate::store::Store;
use crate::store::inbox::{Submission, Submitted};

/// A request that a client can make by itself or as a part of something larger, such as a transaction that a
/// store's own crate understands. Awaiting the request is the first; [`Request::prepare`] is for the second.
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
    /// What the request is answered with.
    type Answer: 'static;

    /// Checks the request and makes its submission. The store is asked for nothing but its time.
    ///
    /// # Errors
    /// [`Error::is_invalid`] and [`Error::is_payload`] for what cannot be sent, [`Error::is_unavailable`].
    fn prepare(self) -> BoxFuture<'static, Result<Prepared<Self::Answer>, Error>>;
}

/// A request that is ready to be submitted.
///
/// Whoever submits it hands the store's answer to [`Prepared::answered`]. The submission may be sent again
/// until it is answered; it takes effect once.
pub struct Prepared<T> {
    store: Arc<dyn Store>,
    submission: Submission,
    /// Whether it has to be submitted in a transaction of its own: it has a key, which somebody's open transaction
    /// may hold, and whoever shares its transaction would wait as well.
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

    /// What is to be submitted.
    pub fn submission(&self) -> &Submission {
        &self.submission
    }

    /// The client's store, the only one that the submission is meant for, as an `S`; an [`Arc`] of a store is looked
    /// through.
    ///
    /// # Errors
    /// [`Error::is_foreign_transaction`] if the client's store is of another type.
    pub fn store_as<S: Store>(&self) -> Result<&S, Error> {
        let mut store: &dyn Store = &*self.store;
        loop {
            let any: &dyn Any = store;
            if let Some(found) = any.downcast_ref::<S>() {
                return Ok(found);
            }
            if let Some(found) = any.downcast_ref::<Arc<S>>() {
                return Ok(found);
            }
            let Some(inner) = any.downcast_ref::<Arc<dyn Store>>() else {
                let path = type_name::<S>();
                return Err(Error::foreign_transaction(path.rsplit("::").next().unwrap_or(path)));
            };
            store = &**inner;
        }
    }

    pub(super) fn is_keyed(&self) -> bool {
        self.is_keyed
    }

    /// What the store's answer means to the caller.
    ///
    /// # Errors
    /// [`Error::is_key_conflict`], [`Error::is_run_over`], [`Error::is_unknown_run`].
    pub fn answered(self, answer: Submitted) -> Result<T, Error> {
        (self.interpret)(answer)
    }
}

impl<T> fmt::Debug for Prepared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("submission", &self.submission).finish_non_exhaustive()
    }
}

/// Makes a request awaitable: prepared and submitted by the client itself.
macro_rules! awaitable {
    ($request:ident, $answer:ty) => {
        impl std::future::IntoFuture for $request {
            type Output = Result<$answer, crate::error::Error>;
            type IntoFuture = futures::future::BoxFuture<'static, Self::Output>;

            fn into_future(self) -> Self::IntoFuture {
                let shared = std::sync::Arc::clone(&self.shared);
                let prepared = crate::client::request::Request::prepare(self);
                Box::pin(async move { shared.submit(prepared.await?).await })
            }
        }
    };
}

pub(super) use awaitable;
