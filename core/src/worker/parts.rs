//! Makes the parts of a worker before they run. It must not know on which thread a part will run.

use std::sync::Arc;

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::host::{Host, StoreClock};
use crate::store::{Queue, Store};
use crate::worker::config::WorkerConfig;
use crate::worker::environment::Environment;
use crate::worker::executor::Executor;
use crate::worker::heartbeat::{HeartbeatLoop, shards_each};
use crate::worker::input::Input;
use crate::worker::lease_loop::LeaseLoop;
use crate::worker::monitor::Gauge;
use crate::worker::processor_handle::{ProcessorHandle, ProcessorHandles};
use crate::worker::status::WorkerStatus;
use crate::worker::watchdog::Stuck;
use crate::workflow::registry::{Definitions, Registry};

/// What all parts of a worker share.
pub(super) struct Parts {
    pub(super) host: Arc<dyn Host>,
    pub(super) status: Arc<WorkerStatus>,
    pub(super) config: WorkerConfig,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<StoreClock>,
    pub(super) executor: Executor,
    pub(super) definitions: Arc<Definitions>,
    pub(super) gauges: Vec<Gauge>,
    pub(super) queue: Queue,
    /// The permit to try suspects: one for all processors, because they die together.
    pub(super) trials: Arc<Semaphore>,
    /// Has the heartbeat sent at once.
    pub(super) beat: Arc<Notify>,
}

impl Parts {
    /// Makes the processor for a place, its handle, and its mailbox.
    pub(super) fn processor(
        &self,
        place: usize,
    ) -> (ProcessorHandle, LeaseLoop, mpsc::UnboundedReceiver<Input>) {
        let (outbox, mailbox) = mpsc::unbounded_channel();
        let processor = ProcessorHandle {
            place,
            mailbox: outbox.clone(),
            stop: CancellationToken::new(),
            attempts: CancellationToken::new(),
            mark: Arc::default(),
            status: self.status.at(place),
            meter: Arc::default(),
        };
        let with = Environment {
            store: Arc::clone(&self.store),
            host: Arc::clone(&self.host),
            clock: Arc::clone(&self.clock),
            executor: self.executor.clone(),
            registry: Registry::new(Arc::clone(&self.definitions), Arc::clone(&processor.mark)),
            lease_ttl: self.config.lease_ttl,
            runs_max: self.config.processor.runs_max,
            outbox,
            attempts: processor.attempts.clone(),
            gauge: self.gauges[place].clone(),
            status: Arc::clone(&processor.status),
            trials: Arc::clone(&self.trials),
            meter: Arc::clone(&processor.meter),
            beat: Arc::clone(&self.beat),
        };
        let serve = LeaseLoop {
            with,
            stop: processor.stop.clone(),
            config: self.config.processor.clone(),
            queue: self.queue.name.clone(),
            limit: shards_each(&self.queue, self.config.processors),
        };
        (processor, serve, mailbox)
    }

    /// Makes the heartbeat of these processors. It reports stuck polls to `stuck`.
    pub(super) fn heartbeat(
        &self,
        processors: ProcessorHandles,
        stuck: mpsc::UnboundedSender<Stuck>,
    ) -> HeartbeatLoop {
        HeartbeatLoop {
            store: Arc::clone(&self.store),
            host: Arc::clone(&self.host),
            clock: Arc::clone(&self.clock),
            worker: self.config.processor.worker.clone(),
            queue: self.queue.clone(),
            interval: self.config.heartbeat_interval,
            lease_ttl: self.config.lease_ttl,
            poll_warn: self.config.poll_warn,
            requests: Arc::clone(&self.status.heartbeat),
            processors,
            beat: Arc::clone(&self.beat),
            stuck,
        }
    }
}
