//! What the author of a store implements, so that the cases can be run against it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pgworkflows_core::store::{Store, StoreError, Submission, Submitted};

/// What the cases need of a store besides the seam.
#[async_trait]
pub trait Harness: fmt::Debug + Send + Sync {
    /// Connects to an empty store. Called once per case.
    async fn connect(&self) -> Arc<dyn Store>;

    /// How long a lease lasts in the cases that let it expire: short if the store's clock cannot be moved. 15 seconds
    /// by default.
    fn lease_ttl(&self) -> Duration {
        Duration::from_secs(15)
    }

    /// Lets more than [`Harness::lease_ttl`] and less than an hour pass on the store's clock.
    async fn let_lease_expire(&self);

    /// Begins a client's own transaction on the store that was connected last. `None` if the store has no transactions
    /// of clients; then the cases about late commits pass without a check.
    async fn begin(&self) -> Option<Box<dyn ClientTransaction>> {
        None
    }
}

/// An open transaction of a client.
#[async_trait]
pub trait ClientTransaction: Send {
    /// Like [`Store::submit`], but within this transaction.
    async fn submit(&mut self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError>;

    /// Commits it.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;

    /// Rolls it back.
    async fn rollback(self: Box<Self>);
}
