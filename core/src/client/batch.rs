//! Group commit: requests that are pending at the same time share one transaction. It must not know what a request
//! means. A request that could wait for another transaction must not be batched: it would delay the whole batch.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::data::limits;
use crate::host::Host;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::inbox::{Submission, Submitted};

/// Submits the requests of all clones of a client, in batches.
pub(super) struct Batcher {
    store: Arc<dyn Store>,
    host: Arc<dyn Host>,
    backlog: Mutex<Backlog>,
}

#[derive(Default)]
struct Backlog {
    requests: VecDeque<PendingRequest>,
    /// How many tasks submit batches.
    tasks: usize,
}

/// A request that waits for the next batch.
struct PendingRequest {
    submission: Submission,
    reply: oneshot::Sender<Result<Submitted, StoreError>>,
}

impl Batcher {
    pub(super) fn new(store: Arc<dyn Store>, host: Arc<dyn Host>) -> Arc<Self> {
        Arc::new(Self { store, host, backlog: Mutex::default() })
    }

    /// Submits a request together with the others that are pending.
    pub(super) async fn submit(self: &Arc<Self>, submission: Submission) -> Result<Submitted, StoreError> {
        let (reply, answer) = oneshot::channel();
        let needs_task = {
            let mut backlog = self.lock();
            backlog.requests.push_back(PendingRequest { submission, reply });
            let needed = backlog.tasks < limits::CLIENT_BATCHES_IN_FLIGHT;
            backlog.tasks += usize::from(needed);
            needed
        };
        if needs_task {
            let task = BatchTask { batcher: Arc::clone(self), ended: false };
            self.host.spawn(Box::pin(task.run()));
        }
        let ended = || StoreError::unavailable("the runtime in which the client was created has ended");
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Submits a batch. If the store refuses its content, the requests are submitted one by one, so that a bad request
    /// fails alone.
    async fn submit_batch(&self, batch: Vec<PendingRequest>) {
        let (submissions, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|request| (request.submission, request.reply)).unzip();
        let answers = match self.store.submit(&submissions).await {
            Err(StoreError::LimitExceeded { .. }) if submissions.len() > 1 => {
                for (submission, reply) in submissions.into_iter().zip(replies) {
                    let answers = self.store.submit(std::slice::from_ref(&submission)).await;
                    drop(reply.send(answers.and_then(|answers| answer_at(&answers, 0))));
                }
                return;
            }
            answers => answers,
        };
        for (index, reply) in replies.into_iter().enumerate() {
            let answer = match &answers {
                Ok(answers) => answer_at(answers, index),
                Err(error) => Err(error.repeated()),
            };
            // The send fails if the caller dropped its future.
            drop(reply.send(answer));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer_at(answers: &[Submitted], index: usize) -> Result<Submitted, StoreError> {
    let lost = || StoreError::corrupt(format!("submission {index} was not answered: {answers:?}"));
    answers.get(index).copied().ok_or_else(lost)
}

/// How many of the requests fit into a batch; at least one.
fn fitting(requests: &VecDeque<PendingRequest>) -> usize {
    let mut bytes = 0;
    let fits = |request: &&PendingRequest| {
        bytes += request.submission.body.len();
        bytes <= limits::CLIENT_BATCH_BYTES_MAX
    };
    requests.iter().take(limits::CLIENT_BATCH_MAX).take_while(fits).count().max(1)
}

/// A task that submits batches until no request is pending.
struct BatchTask {
    batcher: Arc<Batcher>,
    ended: bool,
}

impl BatchTask {
    async fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            self.batcher.submit_batch(batch).await;
        }
    }

    /// Takes the next batch. `None` ends the task: it is counted out under the lock that found the backlog empty, so that
    /// the next request spawns another task.
    fn next_batch(&mut self) -> Option<Vec<PendingRequest>> {
        let mut backlog = self.batcher.lock();
        if backlog.requests.is_empty() {
            backlog.tasks -= 1;
            drop(backlog);
            self.ended = true;
            return None;
        }
        let count = fitting(&backlog.requests);
        Some(backlog.requests.drain(..count).collect())
    }
}

impl Drop for BatchTask {
    /// Fails the pending requests if the runtime drops the last task before it has ended: they would wait forever.
    fn drop(&mut self) {
        if !self.ended {
            let mut backlog = self.batcher.lock();
            backlog.tasks -= 1;
            if backlog.tasks == 0 {
                backlog.requests.clear();
            }
        }
    }
}

impl fmt::Debug for Batcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").field("pending", &self.lock().requests.len()).finish_non_exhaustive()
    }
}
