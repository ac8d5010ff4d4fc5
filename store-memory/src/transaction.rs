//! A client's own transaction, for tests: the seam itself has only submissions that commit at once. It must not change
//! what a submission means.

use pgworkflows_core::store::{StoreError, Submission, Submitted};

use crate::state::transaction::{SubmitStep, TransactionNo};
use crate::store::MemoryStore;

/// A client's open transaction. Its messages take their numbers at once, and become visible to others when it commits.
/// Dropping it rolls it back.
///
/// As on a database, another transaction that submits the same key, run or message waits until this one ends. Deadlocks
/// are not detected: two transactions that wait for each other wait forever.
#[derive(Debug)]
pub struct MemoryTransaction {
    store: MemoryStore,
    /// `None` once it has ended.
    number: Option<TransactionNo>,
}

impl MemoryStore {
    /// Opens a client's transaction, which may stay open and commit late. It passes no fault points.
    ///
    /// ```
    /// use pgworkflows::MemoryStore;
    ///
    /// let store = MemoryStore::new();
    /// let transaction = store.begin();
    /// transaction.rollback();
    /// ```
    pub fn begin(&self) -> MemoryTransaction {
        let number = self.apply(|state, _| state.begin());
        MemoryTransaction { store: self.clone(), number: Some(number) }
    }
}

impl MemoryTransaction {
    /// Submits messages, which enter the inbox in this order when the transaction commits.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] if a run's shard belongs to no queue; [`StoreError::Unavailable`] if the store was
    /// restored in the meantime.
    pub async fn submit(&mut self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        let number = self.number.expect("a transaction that has ended is consumed");
        let mut answers = Vec::with_capacity(submissions.len());
        for submission in submissions {
            loop {
                // Created before the attempt, so that a transaction which ends in between is not missed.
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

    /// Commits the transaction, which makes its messages visible.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the store was restored in the meantime.
    pub fn commit(mut self) -> Result<(), StoreError> {
        let number = self.number.take().expect("a transaction that has ended is consumed");
        let outcome = self.store.apply(|state, _| state.commit(number));
        self.store.0.transaction_ended.notify_waiters();
        outcome
    }

    /// Rolls the transaction back, as dropping it does.
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
