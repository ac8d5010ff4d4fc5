//! Makes any store unavailable for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use pgworkflows::store::{Append, Appended, Session, Store, StoreError};

use pgworkflows_testkit::interceptor::{Interceptor, intercept};

/// Makes a store unavailable, and available again.
#[derive(Clone, Debug, Default)]
pub struct Outage(Arc<Switches>);

#[derive(Debug, Default)]
struct Switches {
    down: AtomicBool,
    answers_to_lose: AtomicU32,
    lost: AtomicU32,
}

impl Outage {
    /// The store, under the control of this switch.
    pub fn over(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        intercept(store, Arc::new(self.clone()))
    }

    /// From now on, the store refuses every call.
    pub fn begin(&self) {
        self.0.down.store(true, Ordering::SeqCst);
    }

    /// The store is available again.
    pub fn end(&self) {
        self.0.down.store(false, Ordering::SeqCst);
    }

    /// The next `count` appends are applied, but their answers are lost.
    pub fn lose_answers(&self, count: u32) {
        self.0.answers_to_lose.store(count, Ordering::SeqCst);
    }

    /// How many calls were refused or lost their answer.
    pub fn lost(&self) -> u32 {
        self.0.lost.load(Ordering::SeqCst)
    }

    fn loses_answer(&self) -> bool {
        let left = &self.0.answers_to_lose;
        let loses = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        self.0.lost.fetch_add(u32::from(loses), Ordering::SeqCst);
        loses
    }
}

#[async_trait]
impl Interceptor for Outage {
    fn before_call(&self) -> Result<(), StoreError> {
        if self.0.down.load(Ordering::SeqCst) {
            self.0.lost.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::unavailable("the test made the store unavailable"));
        }
        Ok(())
    }

    async fn append(&self, session: &mut dyn Session, append: &Append) -> Result<Appended, StoreError> {
        let answer = session.append(append).await;
        if answer.is_ok() && self.loses_answer() {
            return Err(StoreError::unavailable("the test lost the answer"));
        }
        answer
    }
}
