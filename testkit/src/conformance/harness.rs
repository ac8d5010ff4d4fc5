//! What the author of a store implements, so that the cases can be run against it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pgworkflows_core::store::{Store, StoreError, Submission, Submitted};

/// What the cases need besides the seam itself.
#[async_trait]
pub trait Harness: fmt::Debug + Send + Sync {
    /// A store that is empty. Called once per case.
    async fn connect(&self) -> Arc<dyn Store>;

    /// How long a lease is valid in the cases that let one expire: short if the store's clock cannot be moved.
    fn lease_ttl(&self) -> Duration {
        Duration::from_secs(15)
    }

    /// Lets more than [`Harness::lease_ttl`], and less than an hour, pass by the clock of the store.
    async fn let_lease_expire(&self);

    /// Opens a client's own transaction on the store that was connected last. `None` if the store has no such
    /// thing: then the cases about late commits have nothing to show.
    async fn begin(&self) -> Option<Box<dyn ClientTransaction>> {
        None
    }
}

/// A transaction that a client has open on the store.
#[async_trait]
pub trait ClientTransaction: Send {
    /// What [`Store::submit`] does, but within this transaction.
    async fn submit(&mut self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError>;

    /// Commits it.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;

    /// Rolls it back.
    async fn rollback(self: Box<Self>);
}
