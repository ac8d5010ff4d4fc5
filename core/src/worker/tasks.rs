//! The task loop of a worker: claims tasks under the process's executor lease, has them executed, and tells their runs how
//! they ended. Its requests are made one after the other on one session. It must not know what a task does.

mod claims;
mod held;
pub(crate) mod input;
mod reports;
mod withdrawals;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::{Notify, broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use self::held::HeldTasks;
use self::input::TaskInput;
use self::withdrawals::Withdrawals;
use crate::data::id::ExecutorId;
use crate::data::limits;
use crate::data::name::Name;
use crate::error::Error;
use crate::guard::caught_in;
use crate::host::{Host, StoreClock};
use crate::processor::memory::MemoryBudget;
use crate::store::error::StoreError;
use crate::store::tasks::{HeldTask, QueueHash, ReturnTasks};
use crate::store::{Hint, HintKind, Session, Store};
use crate::worker::backoff::{BACKOFF_MAX, backoff};
use crate::worker::executor::{AttemptOutcome, Executor, LeaseTrust, cancel};
use crate::worker::setbacks::{Loss, waiting_helps};
use crate::worker::slots::Slots;
use crate::worker::status::WorkerStatus;
use crate::workflow::current_executor::ExecutorSetter;
use crate::workflow::registry::Registry;

/// An activity queue that the worker serves.
#[derive(Clone, Debug)]
pub(crate) struct ServedQueue {
    pub(crate) name: Name,
    pub(crate) slots: Slots,
}

/// The task loop of one worker, before it runs.
pub(super) struct TaskLoop {
    pub(super) store: Arc<dyn Store>,
    pub(super) host: Arc<dyn Host>,
    pub(super) clock: Arc<StoreClock>,
    pub(super) worker: String,
    pub(super) executor: Executor,
    pub(super) registry: Registry,
    /// The activity queues that it serves; none if it only withdraws the tasks of its runs.
    pub(super) queues: Vec<ServedQueue>,
    pub(super) activities: Vec<Name>,
    pub(super) lease_ttl: Duration,
    /// The time between two renewals of the lease, which also look for tasks that no hint announced.
    pub(super) interval: Duration,
    pub(super) status: Arc<WorkerStatus>,
    /// Notified when a slot is free again.
    pub(super) freed: Arc<Notify>,
    /// The bytes that the worker may keep in memory.
    pub(super) memory: MemoryBudget,
    /// For the executor's replies.
    pub(super) outbox: mpsc::UnboundedSender<TaskInput>,
    /// Tells the processors of this worker which executor may have their attempts.
    pub(super) current: ExecutorSetter,
    /// Cancelled when all processors have ended: nothing is withdrawn any more.
    pub(super) stop: CancellationToken,
}

/// The executor lease.
struct ExecutorLease {
    id: ExecutorId,
    trust: Arc<LeaseTrust>,
    /// How many renewals the store acknowledged.
    renewals: u64,
    renew_at: Duration,
    /// The activity queue that it alone serves.
    own_queue: ServedQueue,
}

/// The state of a running task loop.
struct Running {
    mailbox: mpsc::UnboundedReceiver<TaskInput>,
    session: Option<Box<dyn Session>>,
    lease: Option<ExecutorLease>,
    held: HeldTasks,
    withdrawals: Withdrawals,
    /// When to ask again for what was locked, by the host's clock.
    ask_again: Option<Duration>,
    /// Whether there may be tasks to claim.
    hungry: bool,
    /// Whether some of these may be in the executor's own queue.
    own_hungry: bool,
    /// Whether the last claim had no room for tasks of a queue.
    lacked_room: bool,
    /// Whether tasks are claimed before outcomes are reported.
    claims_first: bool,
    /// The end of a shutdown's grace, by the host's clock.
    shutdown: Option<Duration>,
    /// Whether everything is told to the store at the end.
    ended: bool,
}

impl TaskLoop {
    /// Executes tasks until it is told to stop. Returns an error that recurred and that waiting does not cure.
    pub(super) async fn run(self, mailbox: mpsc::UnboundedReceiver<TaskInput>) -> Result<(), Error> {
        let mut hints = self.store.hints(HintKind::Tasks);
        let mut running = Running {
            mailbox,
            session: None,
            lease: None,
            held: HeldTasks::default(),
            withdrawals: Withdrawals::default(),
            ask_again: None,
            hungry: true,
            own_hungry: false,
            lacked_room: false,
            claims_first: false,
            shutdown: None,
            ended: false,
        };
        let mut delays = Box::new(backoff(&*self.host)) as Box<dyn Iterator<Item = Duration> + Send>;
        let mut failures = 0;
        while !running.ended {
            self.receive(&mut running);
            let pause = match caught_in(self.next_request_in_time(&mut running)).await {
                Ok(Ok(more)) => {
                    failures = 0;
                    delays = Box::new(backoff(&*self.host));
                    if more { Some(Duration::ZERO) } else { None }
                }
                // The request watch has logged it.
                Ok(Err(error)) if waiting_helps(&error) => Some(delays.next().unwrap_or(BACKOFF_MAX)),
                Ok(Err(error)) => {
                    self.failed(&mut running, &mut failures, Loss::from(error))?;
                    Some(delays.next().unwrap_or(BACKOFF_MAX))
                }
                Err(panicked) => {
                    self.host.panicked(&panicked.to_string());
                    self.failed(&mut running, &mut failures, Loss::from(panicked))?;
                    Some(delays.next().unwrap_or(BACKOFF_MAX))
                }
            };
            match pause {
                Some(Duration::ZERO) => {}
                Some(pause) => _ = select(self.host.sleep(pause), pin!(self.gives_up(&running))).await,
                None => self.wait(&mut running, &mut hints).await,
            }
        }
        Ok(())
    }

    /// Makes the next request that is due, and gives it up if there is no reason any more to wait for its answer.
    async fn next_request_in_time(&self, running: &mut Running) -> Result<bool, StoreError> {
        self.check_lease(running);
        let gives_up = self.gives_up(running);
        let in_time = {
            let request = pin!(self.next_request(running));
            match select(request, pin!(gives_up)).await {
                Either::Left((requested, _)) => Some(requested),
                Either::Right(_) => None,
            }
        };
        in_time.unwrap_or_else(|| {
            running.session = None;
            // Without a lease, there is nothing to give back.
            running.ended = running.lease.is_none() && self.stop.is_cancelled();
            Ok(true)
        })
    }

    /// Waits until the lease cannot be trusted any more or, without one, until the worker ends.
    fn gives_up(&self, running: &Running) -> impl Future<Output = ()> + use<> {
        let (lease, stop, host) = (running.lease.as_ref(), self.stop.clone(), Arc::clone(&self.host));
        let trust = lease.map(|lease| Arc::clone(&lease.trust));
        async move {
            match trust {
                Some(trust) => host.sleep(trust.remaining()).await,
                None => stop.cancelled().await,
            }
        }
    }

    /// Makes the next request that is due, if any. Returns whether one was made.
    async fn next_request(&self, running: &mut Running) -> Result<bool, StoreError> {
        let now = self.host.monotonic();
        let renewal_due = running.lease.as_ref().is_some_and(|lease| lease.renew_at <= now);
        if renewal_due || (running.lease.is_none() && self.serves(running)) {
            self.claim(running, true).await?;
            return Ok(true);
        }
        let wants_tasks = running.hungry
            && self.serves(running)
            && self.queues.iter().any(|queue| self.room(running, queue) > 0);
        // By turns: a slot that waits for its next task does nothing, and outcomes must not wait for long.
        running.claims_first = wants_tasks && !running.claims_first;
        if !running.claims_first && self.report(running).await? {
            return Ok(true);
        }
        if wants_tasks {
            self.claim(running, false).await?;
            return Ok(true);
        }
        self.end(running).await
    }

    /// Whether it claims tasks.
    fn serves(&self, running: &Running) -> bool {
        !self.queues.is_empty() && running.shutdown.is_none()
    }

    /// Takes everything that it was told.
    fn receive(&self, running: &mut Running) {
        while let Ok(input) = running.mailbox.try_recv() {
            self.take(running, input);
        }
    }

    fn take(&self, running: &mut Running, input: TaskInput) {
        match input {
            TaskInput::Withdraw(withdrawal) => running.withdrawals.add(withdrawal),
            TaskInput::Ended { task: HeldTask { executor, claim }, of, outcome } => match outcome {
                AttemptOutcome::Ended(result, room) => {
                    running.held.ended(executor, claim, self.message(claim, of, result), room);
                }
                AttemptOutcome::Settled => running.held.settled_itself(claim),
                AttemptOutcome::Unreadable(problem) => {
                    running.held.give_back(self.unreadable(claim, problem));
                }
            },
            TaskInput::Expect(claims) => running.held.expect(claims),
            TaskInput::HandedOut { task: HeldTask { executor, claim }, cancellation } => {
                if running.lease.as_ref().is_some_and(|lease| lease.id == executor) {
                    running.held.handed_out(claim, cancellation);
                } else {
                    // Its executor lease is lost, and with it the task.
                    cancellation.iter().for_each(cancel);
                }
            }
            TaskInput::Interrupted(claims) => running.held.interrupt(claims),
            TaskInput::Shutdown { grace } => {
                let end = self.host.monotonic() + grace;
                running.shutdown = Some(running.shutdown.map_or(end, |earlier| earlier.min(end)));
            }
        }
    }

    /// Waits until there is something to do.
    async fn wait(&self, running: &mut Running, hints: &mut broadcast::Receiver<Hint>) {
        let now = self.host.monotonic();
        let renewal = running.lease.as_ref().map(|lease| {
            let trusted = lease.trust.remaining();
            lease.renew_at.saturating_sub(now).min(trusted)
        });
        let grace = running.shutdown.filter(|end| *end > now).map(|end| end - now);
        let ask_again = running.ask_again.map(|at| at.saturating_sub(now));
        let pause = [renewal, grace, ask_again].into_iter().flatten().min();
        let own_queue = running.lease.as_ref().map(|lease| lease.own_queue.name.clone());
        let timer = async {
            match pause {
                Some(pause) => self.host.sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            input = running.mailbox.recv() => match input {
                Some(input) => self.take(running, input),
                None => running.ended = true,
            },
            () = self.stop.cancelled(), if running.shutdown.is_some() && !running.held.is_running() => {
                running.shutdown = Some(now);
            }
            () = self.freed.notified(), if (running.hungry || running.lacked_room) && self.serves(running) => {
                running.own_hungry |= running.lacked_room;
                running.hungry = true;
            }
            is_own = self.announced(own_queue.as_ref(), hints), if self.serves(running) => {
                running.hungry = true;
                running.own_hungry |= is_own;
            }
            () = timer => {}
        }
    }

    /// Waits for a hint that one of its queues has tasks. Returns whether it may be the executor's own.
    async fn announced(&self, own_queue: Option<&Name>, hints: &mut broadcast::Receiver<Hint>) -> bool {
        loop {
            match hints.recv().await {
                Ok(Hint::Tasks(hash)) => {
                    if own_queue.is_some_and(|name| QueueHash::of(name) == hash) {
                        return true;
                    }
                    if self.queues.iter().any(|queue| QueueHash::of(&queue.name) == hash) {
                        return false;
                    }
                }
                Ok(Hint::Missed) | Err(broadcast::error::RecvError::Lagged(_)) => return true,
                Ok(Hint::Mail(_) | Hint::Notice(_) | Hint::Published(_) | Hint::Released) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// Gives up a lease that could not be renewed for so long that it may have expired.
    fn check_lease(&self, running: &mut Running) {
        if running.lease.as_ref().is_some_and(|lease| lease.trust.remaining().is_zero()) {
            self.lose(running, "it could not be renewed for two thirds of its duration");
        }
    }

    /// The executor lease is lost: other executors repeat its tasks.
    fn lose(&self, running: &mut Running, why: &str) {
        let cancellations = running.held.lose();
        let executor = running.lease.take().map(|lease| lease.id);
        self.current.set(None);
        tracing::warn!(
            worker = %self.worker, executor = ?executor, tasks = cancellations.len(),
            "the executor lease is lost, and its tasks are cancelled here: {why}"
        );
        cancellations.iter().for_each(cancel);
        running.hungry = true;
    }

    /// Counts an error that waiting does not cure.
    fn failed(&self, running: &mut Running, failures: &mut u32, why: Loss) -> Result<(), Error> {
        *failures += 1;
        running.session = None;
        tracing::error!(worker = %self.worker, failures = *failures, "a request for tasks failed: {why}");
        if *failures < limits::SETBACKS_MAX {
            return Ok(());
        }
        Err(Error::gave_up(format!(
            "the task loop of worker `{}` failed {failures} times in a row, the last time because of this: {why}",
            self.worker
        )))
    }

    /// Ends the executor once a shutdown has nothing left to wait for. Returns whether a request was made.
    async fn end(&self, running: &mut Running) -> Result<bool, StoreError> {
        let Some(grace) = running.shutdown else { return Ok(false) };
        let is_over = self.host.monotonic() >= grace;
        let has_all = self.stop.is_cancelled() && !running.held.is_running();
        if !is_over && !has_all {
            return Ok(false);
        }
        running.held.end().iter().for_each(cancel);
        if running.held.has_news() && running.lease.is_some() {
            return Ok(true);
        }
        if let Some(lease) = &running.lease {
            self.current.set(None);
            let ends = ReturnTasks { executor: lease.id, tasks: Vec::new(), ends: true };
            let session = self.session(running).await?;
            self.status.tasks.watch(&*self.host, 0, session.return_tasks(&ends)).await?;
            running.lease = None;
        }
        // Processors that outlast the grace may still withdraw.
        running.ended = self.stop.is_cancelled();
        Ok(false)
    }

    async fn session<'r>(&self, running: &'r mut Running) -> Result<&'r mut Box<dyn Session>, StoreError> {
        if running.session.is_none() {
            running.session = Some(self.store.session().await?);
        }
        Ok(running.session.as_mut().expect("it was just opened"))
    }
}
