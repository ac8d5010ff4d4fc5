//! Asks the store for its queues, for runs whose children are to live in a queue that this worker does not know. One request
//! after the other, until there is an answer. It must not know why a run asks.

use std::sync::Arc;

use futures::future::{BoxFuture, pending};

use crate::data::id::RunId;
use crate::data::name::Name;
use crate::host::Host;
use crate::store::{Queue, Store};
use crate::worker::backoff::{BACKOFF_MAX, backoff};
use crate::worker::environment::Environment;
use crate::workflow::queues::KnownQueues;

/// The lookups of one driver.
pub(super) struct QueueLookups {
    store: Arc<dyn Store>,
    host: Arc<dyn Host>,
    known: Arc<KnownQueues>,
    /// The queues that runs ask for.
    waiting: Vec<(Name, RunId)>,
    in_flight: Option<Request>,
}

/// A request, and the queues for which runs wait for its answer.
struct Request {
    asked: Vec<(Name, RunId)>,
    answer: BoxFuture<'static, Vec<Queue>>,
}

impl QueueLookups {
    pub(super) fn new(with: &Environment) -> Self {
        let (store, host) = (Arc::clone(&with.store), Arc::clone(&with.host));
        Self { store, host, known: Arc::clone(&with.queues), waiting: Vec::new(), in_flight: None }
    }

    /// Has a queue looked up for a run. What is in flight may have been answered before.
    pub(super) fn ask(&mut self, queue: Name, run: RunId) {
        self.waiting.push((queue, run));
        self.send_waiting();
    }

    /// Drops everything, because the next owners of the shards ask again.
    pub(super) fn stop(&mut self) {
        self.waiting.clear();
        self.in_flight = None;
    }

    /// Waits for the next answer; forever if nothing is in flight. Returns the runs that asked. Cancel-safe.
    pub(super) async fn done(&mut self) -> Vec<RunId> {
        let Some(request) = &mut self.in_flight else { return pending().await };
        let queues = (&mut request.answer).await;
        let asked = self.in_flight.take().map(|request| request.asked).unwrap_or_default();
        let runs = asked.iter().map(|(_, run)| *run).collect();
        self.known.learn(&queues, asked);
        self.send_waiting();
        runs
    }

    fn send_waiting(&mut self) {
        if self.in_flight.is_none() && !self.waiting.is_empty() {
            let (store, host) = (Arc::clone(&self.store), Arc::clone(&self.host));
            let answer = Box::pin(async move { queues_of(&*store, &*host).await });
            self.in_flight = Some(Request { asked: std::mem::take(&mut self.waiting), answer });
        }
    }
}

/// All queues of the store, however long it is unreachable.
async fn queues_of(store: &dyn Store, host: &dyn Host) -> Vec<Queue> {
    let mut delays = backoff(host);
    loop {
        match store.query().queues().await {
            Ok(queues) => return queues,
            Err(error) => tracing::warn!("a queue is not looked up yet: {error}"),
        }
        host.sleep(delays.next().unwrap_or(BACKOFF_MAX)).await;
    }
}
