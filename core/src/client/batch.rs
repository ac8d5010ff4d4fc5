//! Group commit for requests: those that wait at the same time travel in one transaction. It must not know what a
//! request means, nor be given one that could wait for somebody else's transaction: that would hold up all others.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::data::limits;
use crate::host::Host;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::inbox::{Submission, Submitted};

/// Carries the requests of all clones of a client.
pub(super) struct Batcher {
    store: Arc<dyn Store>,
    host: Arc<dyn Host>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// How many tasks carry batches.
    carriers: usize,
}

/// A request that waits for the next batch.
struct Waiting {
    submission: Submission,
    reply: oneshot::Sender<Result<Submitted, StoreError>>,
}

impl Batcher {
    pub(super) fn new(store: Arc<dyn Store>, host: Arc<dyn Host>) -> Arc<Self> {
        Arc::new(Self { store, host, queue: Mutex::default() })
    }

    /// Submits a request together with those that wait at the same time.
    pub(super) async fn submit(self: &Arc<Self>, submission: Submission) -> Result<Submitted, StoreError> {
        let (reply, answer) = oneshot::channel();
        let needs_carrier = {
            let mut queue = self.lock();
            queue.waiting.push(Waiting { submission, reply });
            let needed = queue.carriers < limits::CLIENT_BATCHES_IN_FLIGHT;
            queue.carriers += usize::from(needed);
            needed
        };
        if needs_carrier {
            let carrier = Carrier { batcher: Arc::clone(self), arrived: false };
            self.host.spawn(Box::pin(carrier.run()));
        }
        let ended = || StoreError::unavailable("the runtime that the client was made on has ended");
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Submits a batch. One whose content is refused is submitted one by one, so that nobody suffers for
    /// another's.
    async fn submit_batch(&self, batch: Vec<Waiting>) {
        let (submissions, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.submission, waiting.reply)).unzip();
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
            // Nobody waits for an answer whose future was dropped.
            drop(reply.send(answer));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer_at(answers: &[Submitted], index: usize) -> Result<Submitted, StoreError> {
    let lost = || StoreError::corrupt(format!("submission {index} was not answered: {answers:?}"));
    answers.get(index).copied().ok_or_else(lost)
}

/// A task that carries batches until nobody waits.
struct Carrier {
    batcher: Arc<Batcher>,
    arrived: bool,
}

impl Carrier {
    async fn run(mut self) {
        while let Some(batch) = self.load() {
            self.batcher.submit_batch(batch).await;
        }
    }

    /// The next batch; `None` ends the carrier, under the same lock that found nobody waiting.
    fn load(&mut self) -> Option<Vec<Waiting>> {
        let mut queue = self.batcher.lock();
        if queue.waiting.is_empty() {
            queue.carriers -= 1;
            drop(queue);
            self.arrived = true;
            return None;
        }
        let count = queue.waiting.len().min(limits::CLIENT_BATCH_MAX);
        Some(queue.waiting.drain(..count).collect())
    }
}

impl Drop for Carrier {
    /// Its runtime ended before it did. If it was the last one, those who wait must not wait for ever.
    fn drop(&mut self) {
        if !self.arrived {
            let mut queue = self.batcher.lock();
            queue.carriers -= 1;
            if queue.carriers == 0 {
                queue.waiting.clear();
            }
        }
    }
}

impl fmt::Debug for Batcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").field("waiting", &self.lock().waiting.len()).finish_non_exhaustive()
    }
}
