//! Makes the parts of a worker before they run. It must not know on which thread a part will run.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::data::cancellation::Cancellation;
use crate::host::{Host, StoreClock};
use crate::store::{Build, Queue, Store};
use crate::worker::config::WorkerConfig;
use crate::worker::environment::Environment;
use crate::worker::executor::Executor;
use crate::worker::heartbeat::{HeartbeatLoop, shards_each};
use crate::worker::input::Input;
use crate::worker::lease_loop::LeaseLoop;
use crate::worker::monitor::Gauge;
use crate::worker::processor_handle::{ProcessorHandle, ProcessorHandles};
use crate::worker::slots::Slots;
use crate::worker::status::WorkerStatus;
use crate::worker::tasks::input::TaskInput;
use crate::worker::tasks::{ServedQueue, TaskLoop};
use crate::worker::watchdog::Stuck;
use crate::workflow::child_ids::ChildIds;
use crate::workflow::current_executor::ExecutorSetter;
use crate::workflow::queues::KnownQueues;
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
    /// How runs of its workflows find the ids of their children.
    pub(super) child_ids: ChildIds,
    /// What the worker knows of other queues.
    pub(super) queues: Arc<KnownQueues>,
    pub(super) gauges: Vec<Gauge>,
    pub(super) queue: Queue,
    /// Notified when the executor, or a served activity queue, has a free slot again.
    pub(super) freed: Arc<Notify>,
    /// The mailbox of the task loop.
    pub(super) tasks: mpsc::UnboundedSender<TaskInput>,
    /// The executor lease of the task loop.
    pub(super) task_executor: ExecutorSetter,
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
            attempts: Cancellation::default(),
            mark: Arc::default(),
            status: self.status.at(place),
            meter: Arc::default(),
        };
        let with = Environment {
            store: Arc::clone(&self.store),
            host: Arc::clone(&self.host),
            clock: Arc::clone(&self.clock),
            executor: self.executor.clone(),
            registry: Registry::new(Arc::clone(&self.definitions), Arc::clone(&processor.mark))
                .with_child_ids(self.child_ids.clone()),
            queues: Arc::clone(&self.queues),
            lease_ttl: self.config.lease_ttl,
            memory: self.config.processor.memory.clone(),
            outbox,
            tasks: self.tasks.clone(),
            task_executor: self.task_executor.current(),
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
            build: self.build(),
            limit: shards_each(&self.queue, self.config.processors),
        };
        (processor, serve, mailbox)
    }

    /// What the worker can execute.
    pub(super) fn build(&self) -> Build {
        Build { generation: self.config.generation, workflows: self.definitions.workflow_names().collect() }
    }

    /// Makes the task loop, which ends after `stop` was cancelled.
    pub(super) fn task_loop(&self, stop: CancellationToken) -> TaskLoop {
        let config = &self.config;
        let queues = config.activity_queues.iter().map(|(name, slots)| {
            let own = slots.map(|count| Slots::new(count, Arc::clone(&self.freed)));
            let slots = own.unwrap_or_else(|| self.executor.slots().clone());
            ServedQueue { name: name.clone(), slots }
        });
        TaskLoop {
            store: Arc::clone(&self.store),
            host: Arc::clone(&self.host),
            clock: Arc::clone(&self.clock),
            worker: config.processor.worker.clone(),
            executor: self.executor.clone(),
            registry: Registry::new(Arc::clone(&self.definitions), Arc::default()),
            queues: queues.collect(),
            activities: self.definitions.activity_names().collect(),
            lease_ttl: config.lease_ttl,
            // Rarer than heartbeats, which an idle worker with processors sends as well.
            interval: if config.processors == 0 {
                config.heartbeat_interval
            } else {
                (2 * config.heartbeat_interval).min(config.lease_ttl * 2 / 5)
            },
            status: Arc::clone(&self.status),
            freed: Arc::clone(&self.freed),
            memory: self.config.processor.memory.clone(),
            outbox: self.tasks.clone(),
            current: self.task_executor.clone(),
            stop,
        }
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
            build: self.build(),
            outdated: Cell::new(None),
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
