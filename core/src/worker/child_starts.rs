//! The starts of children with keys, which a driver submits after the events that decide them are committed. A start has the
//! same message each time, so it does not matter how often it is sent, or by which owner of the parent. It must not know what
//! follows from the answers.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future::{BoxFuture, pending};
use futures::stream::{FuturesUnordered, StreamExt};

use crate::host::Host;
use crate::processor::children::ChildStart;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::inbox::{Submission, Submitted};
use crate::worker::backoff::{BACKOFF_MAX, backoff};
use crate::worker::environment::Environment;

/// How many starts a driver sends at a time. Each may wait for a transaction that holds its key.
const IN_FLIGHT_MAX: usize = 8;

/// The answer to a start. The error is the reason for which no repetition can succeed.
pub(crate) struct ChildSubmitted {
    pub(crate) start: ChildStart,
    pub(crate) answer: Result<Submitted, String>,
}

/// The starts of one driver.
pub(super) struct ChildStarts {
    store: Arc<dyn Store>,
    host: Arc<dyn Host>,
    waiting: VecDeque<ChildStart>,
    in_flight: FuturesUnordered<BoxFuture<'static, ChildSubmitted>>,
}

impl ChildStarts {
    pub(super) fn new(with: &Environment) -> Self {
        let (store, host) = (Arc::clone(&with.store), Arc::clone(&with.host));
        Self { store, host, waiting: VecDeque::new(), in_flight: FuturesUnordered::new() }
    }

    /// Sends a start as soon as there is room.
    pub(super) fn send(&mut self, start: ChildStart) {
        self.waiting.push_back(start);
        self.send_waiting();
    }

    /// Drops what is not on its way, because the next owners of the shards send it.
    pub(super) fn stop(&mut self) {
        self.waiting.clear();
    }

    /// Waits for the next answer; forever if nothing is in flight. Cancel-safe.
    pub(super) async fn done(&mut self) -> ChildSubmitted {
        match self.in_flight.next().await {
            Some(submitted) => {
                self.send_waiting();
                submitted
            }
            None => pending().await,
        }
    }

    fn send_waiting(&mut self) {
        while self.in_flight.len() < IN_FLIGHT_MAX
            && let Some(start) = self.waiting.pop_front()
        {
            let (store, host) = (Arc::clone(&self.store), Arc::clone(&self.host));
            self.in_flight.push(Box::pin(async move {
                let answer = submit(&*store, &*host, &start.submission).await;
                ChildSubmitted { start, answer }
            }));
        }
    }
}

/// Sends a start until there is an answer.
async fn submit(store: &dyn Store, host: &dyn Host, submission: &Submission) -> Result<Submitted, String> {
    let mut delays = backoff(host);
    loop {
        match store.submit(std::slice::from_ref(submission)).await {
            Ok(answers) => {
                if let Some(answer) = answers.first() {
                    return Ok(*answer);
                }
            }
            Err(StoreError::LimitExceeded { reason }) => return Err(reason),
            Err(error) => tracing::warn!(run = %submission.run, "a child is not started yet: {error}"),
        }
        host.sleep(delays.next().unwrap_or(BACKOFF_MAX)).await;
    }
}
