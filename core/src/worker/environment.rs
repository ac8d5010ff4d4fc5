//! The environment of a processor's thread: the store, the host, the executor, and the state shared with the rest of the
//! worker. It must not know what a driver does with them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc};

use crate::data::cancellation::Cancellation;
use crate::data::time::Timestamp;
use crate::host::{Host, StoreClock};
use crate::processor::memory::MemoryBudget;
use crate::store::Store;
use crate::store::switchboard::{Connection, LocalStart};
use crate::worker::executor::Executor;
use crate::worker::input::Input;
use crate::worker::monitor::Gauge;
use crate::worker::status::ProcessorStatus;
use crate::worker::stopwatch::ThreadMeter;
use crate::worker::tasks::input::TaskInput;
use crate::workflow::current_executor::CurrentExecutor;
use crate::workflow::queues::KnownQueues;
use crate::workflow::registry::Registry;

/// About how many bytes a start of a client of this process takes beside its input.
const LOCAL_START_BYTES: usize = 512;

/// The environment of one driver.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) clock: Arc<StoreClock>,
    pub(crate) executor: Executor,
    pub(crate) registry: Registry,
    /// What the worker knows of other queues.
    pub(crate) queues: Arc<KnownQueues>,
    pub(crate) lease_ttl: Duration,
    /// The bytes that the worker may keep in memory.
    pub(crate) memory: MemoryBudget,
    /// The driver's own mailbox, for the executor's replies.
    pub(crate) outbox: mpsc::UnboundedSender<Input>,
    /// The mailbox of the task loop, which withdraws tasks.
    pub(crate) tasks: mpsc::UnboundedSender<TaskInput>,
    /// The executor lease of the task loop, if it has one: attempts can become its tasks.
    pub(crate) task_executor: CurrentExecutor,
    /// The parent of all attempts' cancellations: cancelled if this thread is left behind.
    pub(crate) attempts: Cancellation,
    pub(crate) gauge: Gauge,
    pub(crate) status: Arc<ProcessorStatus>,
    /// The permit to try suspects: one for all processors of the process, because they die together.
    pub(crate) trials: Arc<Semaphore>,
    pub(crate) meter: Arc<ThreadMeter>,
    /// Has the heartbeat sent at once.
    pub(crate) beat: Arc<Notify>,
}

impl Environment {
    /// The store's time.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now(&*self.host).unwrap_or(Timestamp::MIN)
    }

    /// Connects to the store's switchboard, if it has one.
    pub(super) fn connect(&self) -> Option<Connection> {
        let (outbox, memory) = (self.outbox.clone(), self.memory.clone());
        let take = move |start: LocalStart| {
            // What does not fit into memory waits in the inbox.
            let room = memory.take_for_start(LOCAL_START_BYTES + start.input.bytes().len());
            let start = Box::new(start);
            room.is_some_and(|room| outbox.send(Input::Start { start, room }).is_ok())
        };
        Some(self.store.switchboard()?.connect(take))
    }
}
