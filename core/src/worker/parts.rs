//! What a worker is made of, before anything runs it. It must not know on which thread a part will run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::host::{Host, StoreClock};
use crate::store::{Queue, Store};
use crate::worker::driver::Surroundings;
use crate::worker::executor::Executor;
use crate::worker::heart::{Heart, shards_each};
use crate::worker::input::Input;
use crate::worker::serve::Serve;
use crate::worker::stopwatch::ThreadMeter;
use crate::worker::vitals::{ProcessorVitals, Vitals};
use crate::worker::watchdog::Stuck;
use crate::worker::{Gauge, Worker, WorkerConfig};
use crate::workflow::mark::PollMark;
use crate::workflow::registry::{Definitions, Registry};

/// What all parts of a worker share.
pub(super) struct Parts {
    pub(super) host: Arc<dyn Host>,
    pub(super) vitals: Arc<Vitals>,
    pub(super) config: WorkerConfig,
    store: Arc<dyn Store>,
    clock: Arc<StoreClock>,
    executor: Executor,
    definitions: Arc<Definitions>,
    gauges: Vec<Gauge>,
    queue: Queue,
    /// The right to try suspects: one for all processors, which die together.
    trials: Arc<Semaphore>,
}

/// A processor as other threads see it: where to reach it, and how it is doing. Clones are of the same one.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    /// Its number among the worker's processors, which its replacement will have as well.
    pub(super) place: usize,
    pub(super) mailbox: mpsc::UnboundedSender<Input>,
    /// Cancelled when it is told to stop: it claims no other lease.
    pub(super) stop: CancellationToken,
    /// The parent of its attempts' tokens.
    pub(super) attempts: CancellationToken,
    pub(super) mark: Arc<PollMark>,
    pub(super) vitals: Arc<ProcessorVitals>,
    pub(super) meter: Arc<ThreadMeter>,
}

impl Post {
    /// Whether it is the same processor: a replacement has the same place.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mark, &other.mark)
    }

    /// Tells the processor to hand over: it waits for running activities for at most `grace`.
    pub(super) fn hand_over(&self, grace: Duration) {
        self.stop.cancel();
        // One that is gone has nothing to hand over.
        drop(self.mailbox.send(Input::Shutdown { grace }));
    }
}

/// The processors that the heart beats for, by their place. Clones are of the same list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Posts(Arc<Mutex<Vec<Post>>>);

impl Posts {
    /// They are these from now on.
    pub(super) fn set(&self, posts: Vec<Post>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = posts;
    }

    /// They are these now.
    pub(super) fn get(&self) -> Vec<Post> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Parts {
    pub(super) fn new(worker: &Worker, host: Arc<dyn Host>, queue: Queue) -> Self {
        let clock = Arc::new(StoreClock::default());
        clock.answered(queue.now, &*host);
        let executor = Executor::new(Arc::clone(&host), Arc::clone(&clock), worker.config.activities_max);
        Self {
            host,
            vitals: Arc::clone(&worker.vitals),
            config: worker.config.clone(),
            store: Arc::clone(&worker.store),
            clock,
            executor,
            definitions: Arc::clone(&worker.definitions),
            gauges: worker.gauges.clone(),
            queue,
            trials: Arc::new(Semaphore::new(1)),
        }
    }

    /// A processor for a place, and what it is reached by.
    pub(super) fn processor(&self, place: usize) -> (Post, Serve, mpsc::UnboundedReceiver<Input>) {
        let (outbox, mailbox) = mpsc::unbounded_channel();
        let post = Post {
            place,
            mailbox: outbox.clone(),
            stop: CancellationToken::new(),
            attempts: CancellationToken::new(),
            mark: Arc::default(),
            vitals: self.vitals.at(place),
            meter: Arc::default(),
        };
        let with = Surroundings {
            store: Arc::clone(&self.store),
            host: Arc::clone(&self.host),
            clock: Arc::clone(&self.clock),
            executor: self.executor.clone(),
            registry: Registry::new(Arc::clone(&self.definitions), Arc::clone(&post.mark)),
            lease_ttl: self.config.lease_ttl,
            runs_max: self.config.processor.runs_max,
            outbox,
            attempts: post.attempts.clone(),
            gauge: self.gauges[place].clone(),
            vitals: Arc::clone(&post.vitals),
            trials: Arc::clone(&self.trials),
            meter: Arc::clone(&post.meter),
        };
        let serve = Serve {
            with,
            stop: post.stop.clone(),
            config: self.config.processor.clone(),
            queue: self.queue.name.clone(),
            limit: shards_each(&self.queue, self.config.processors),
        };
        (post, serve, mailbox)
    }

    /// The heart of some processors. It reports polls that it gives up on to `stuck`.
    pub(super) fn heart(&self, posts: Posts, stuck: mpsc::UnboundedSender<Stuck>) -> Heart {
        Heart {
            store: Arc::clone(&self.store),
            host: Arc::clone(&self.host),
            clock: Arc::clone(&self.clock),
            worker: self.config.processor.worker.clone(),
            queue: self.queue.clone(),
            interval: self.config.tick_interval,
            lease_ttl: self.config.lease_ttl,
            poll_warn: self.config.poll_warn,
            line: Arc::clone(&self.vitals.heart),
            posts,
            stuck,
        }
    }
}
