//! A client's own transaction: a test facility, since the seam itself knows only submits that commit at once.
//! It must not change what a submit means.

use pgworkflows_core::store::{StoreError, Submission, Submitted};

use crate::state::{SubmitStep, TransactionNo};
use crate::store::MemoryStore;

/// A transaction that a client has open. What it submits takes its numbers at once and is visible to others when
/// it commits; dropping it rolls it back.
///
/// As on a database, whoever submits the same key, run or message in another transaction waits until this one
/// has ended. Two transactions that wait for each other wait for ever: nothing here detects a deadlock.
#[derive(Debug)]
pub struct MemoryTransaction {
    store: MemoryStore,
    /// `None` once it has ended.
    number: Option<TransactionNo>,
}

impl MemoryTransaction {
    pub(crate) fn begin(store: MemoryStore) -> Self {
        let number = store.apply(|state, _| state.begin());
        Self { store, number: Some(number) }
    }

    /// Puts messages into the inbox, in the order given, when this transaction commits.
    pub async fn submit(&mut self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        let number = self.number.expect("a transaction that has ended is consumed");
        let mut answers = Vec::with_capacity(submissions.len());
        for submission in submissions {
            loop {
                // Made before the attempt: a transaction that ends in between has rung it.
                let ended = self.store.0.transaction_ended.notified();
                match self.store.apply(|state, _| state.submit(number, submission))? {
                    SubmitStep::Done(answer) => {
                        answers.push(answer);
                        break;
                    }
                    SubmitStep::Blocked => ended.await,
                }
            }
        }
        Ok(answers)
    }

    /// Makes it durable and visible. [`StoreError::Unavailable`] if the store was restored meanwhile.
    pub fn commit(mut self) -> Result<(), StoreError> {
        let number = self.number.take().expect("a transaction that has ended is consumed");
        let outcome = self.store.apply(|state, _| state.commit(number));
        self.store.0.transaction_ended.notify_waiters();
        outcome
    }

    /// Ends it as if it had never been.
    pub fn rollback(self) {
        drop(self);
    }
}

impl Drop for MemoryTransaction {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            self.store.apply(|state, _| state.roll_back(number));
            self.store.0.transaction_ended.notify_waiters();
        }
    }
}
