//! Runs the conformance suite on the memory store, with a clock that the cases advance. It must not define cases.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pgworkflows_core::store::{Store, StoreError, Submission, Submitted};
use pgworkflows_memory::{ManualClock, MemoryStore, MemoryTransaction};
use pgworkflows_testkit::conformance::{ClientTransaction, Harness};

#[derive(Debug, Default)]
struct MemoryHarness {
    clock: Arc<ManualClock>,
    store: Mutex<Option<MemoryStore>>,
}

#[async_trait]
impl Harness for MemoryHarness {
    async fn connect(&self) -> Arc<dyn Store> {
        let store = MemoryStore::with_clock(self.clock.clone());
        *self.store.lock().unwrap() = Some(store.clone());
        Arc::new(store)
    }

    async fn let_lease_expire(&self) {
        self.clock.advance(self.lease_ttl() + Duration::from_secs(1));
    }

    async fn begin(&self) -> Option<Box<dyn ClientTransaction>> {
        let store = self.store.lock().unwrap().clone().expect("a store was connected");
        Some(Box::new(Transaction(store.begin())))
    }
}

struct Transaction(MemoryTransaction);

#[async_trait]
impl ClientTransaction for Transaction {
    async fn submit(&mut self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        self.0.submit(submissions).await
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.0.commit()
    }

    async fn rollback(self: Box<Self>) {
        self.0.rollback();
    }
}

pgworkflows_testkit::store_conformance!(MemoryHarness::default());
