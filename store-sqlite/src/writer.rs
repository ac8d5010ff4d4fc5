//! The one writer of a process: a thread that executes the calls of all processors and clients, many in one transaction. It
//! must not know what a call does.
//!
//! A commit waits for the disk, whatever it contains; so calls that come meanwhile wait, and are executed together. Each one has
//! a savepoint of its own, so that a call which is refused, or panics, does not undo its neighbours. Only if the connection fails
//! under it is nothing of the transaction written, and its neighbours are to ask again. All are answered after the commit. Since
//! transactions are serial, within a process by this thread and between processes by the [queue](crate::turn), no call meets
//! another one half-way: there are no locks on rows, and what a call has read does not change before it writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::LocalBoxFuture;
use pgworkflows_core::store::{Hint, StoreError};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::connection::{Connection, sql};
use crate::file::File;
use crate::log::Log;
use crate::notice::Notices;
use crate::panics::caught;
use crate::place::{self, Identity};
use crate::schema;
use crate::transaction::{Transaction, distinct};
use crate::turn::Queue;

/// The greatest number of calls in one transaction.
const CALLS_MAX: usize = 256;

/// After so many bytes of requests, a transaction is committed: what another call adds does not make it much cheaper.
const BYTES_MAX: usize = 8 << 20;

/// After so much time, a transaction is committed, because others wait.
const TIME_MAX: Duration = Duration::from_millis(20);

/// How many calls wait at most before a caller has to wait until its call can.
const WAITING_MAX: usize = 1024;

/// A process's way to its writer.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    calls: mpsc::Sender<Box<dyn Job>>,
}

impl Writer {
    /// Starts the thread, and returns when it has brought the file up to date. It ends when the last handle of the writer
    /// is dropped, and what was sent is done.
    ///
    /// The thread waits for its turn already here: a caller that did would block all else on its own thread, and maybe the one
    /// for whom it waits.
    pub(crate) async fn start(
        file: Arc<File>,
        queue: Queue,
        notices: Arc<Notices>,
    ) -> Result<Self, StoreError> {
        let (calls, waiting) = mpsc::channel(WAITING_MAX);
        let (answer, opened) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| cannot_start(&error))?;
        let begin = move || {
            let connection = match runtime.block_on(schema::migrate(&file, &queue)) {
                Ok(connection) => Some(connection),
                Err(error) => return drop(answer.send(Err(error))),
            };
            // An error means that the caller does not wait any more, and has no handle.
            drop(answer.send(Ok(())));
            let (identity, log) = (place::identity(&file.path).ok(), Log::of(&file));
            Thread { file, identity, log, notices, waiting, next: VecDeque::new(), connection }
                .run(&runtime, &queue);
        };
        let builder = std::thread::Builder::new().name("pgworkflows-sqlite".to_owned());
        builder.spawn(begin).map_err(|error| cannot_start(&error))?;
        opened.await.map_err(|_| gone())??;
        Ok(Self { calls })
    }

    /// Executes a call in a transaction, and returns its answer after the commit. If the caller does not wait for the answer, the
    /// call is executed all the same. `bytes` is the size of the request.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        bytes: usize,
        call: impl AsyncFnOnce(&mut Transaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let pending = Pending { bytes, call: Some(call), outcome: None, answer };
        self.calls.send(Box::new(pending)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// A call that waits for its execution, or for the commit.
trait Job: Send {
    fn bytes(&self) -> usize;

    /// Executes it. Returns whether it is to be committed.
    fn execute<'a>(&'a mut self, transaction: &'a mut Transaction) -> LocalBoxFuture<'a, bool>;

    /// Why it is not to be committed.
    fn error(&self) -> Option<&StoreError>;

    /// It is not to be committed, because what it wrote was refused, unless it was refused before.
    fn refuse(&mut self, error: StoreError);

    /// Answers the caller. `failed` is the reason why nothing was committed.
    fn answer(self: Box<Self>, failed: Option<&StoreError>);
}

struct Pending<C, T> {
    bytes: usize,
    call: Option<C>,
    outcome: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<C, T> Job for Pending<C, T>
where
    C: AsyncFnOnce(&mut Transaction) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn execute<'a>(&'a mut self, transaction: &'a mut Transaction) -> LocalBoxFuture<'a, bool> {
        Box::pin(async move {
            let Some(call) = self.call.take() else { return false };
            let outcome = caught(call(transaction)).await;
            let is_ok = outcome.is_ok();
            self.outcome = Some(outcome);
            is_ok
        })
    }

    fn error(&self) -> Option<&StoreError> {
        self.outcome.as_ref()?.as_ref().err()
    }

    fn refuse(&mut self, error: StoreError) {
        if !matches!(self.outcome, Some(Err(_))) {
            self.outcome = Some(Err(error));
        }
    }

    fn answer(self: Box<Self>, failed: Option<&StoreError>) {
        let outcome = match (self.outcome, failed) {
            // A call that panicked is told so itself.
            (Some(Err(own @ StoreError::Corrupt { .. })), Some(_)) => Err(own),
            (_, Some(error)) => Err(repeated(error)),
            (outcome, None) => outcome.unwrap_or_else(|| Err(gone())),
        };
        // An error means that the caller does not wait any more.
        drop(self.answer.send(outcome));
    }
}

struct Thread {
    file: Arc<File>,
    /// Which file it was when it was opened.
    identity: Option<Identity>,
    log: Log,
    notices: Arc<Notices>,
    waiting: mpsc::Receiver<Box<dyn Job>>,
    /// Calls that were received, and did not fit into the last transaction.
    next: VecDeque<Box<dyn Job>>,
    /// `None` after a failure: then it is opened again.
    connection: Option<Connection>,
}

impl Thread {
    fn run(mut self, runtime: &Runtime, queue: &Queue) {
        while let Some(first) = self.next.pop_front().or_else(|| self.waiting.blocking_recv()) {
            self.next.push_front(first);
            let turn = queue.wait();
            let mut done = Vec::new();
            let outcome = match &turn {
                Ok(_) => runtime.block_on(caught(self.transact(&mut done))),
                Err(error) => Err(self.file.unavailable("the queue of its processes", error)),
            };
            drop(turn);
            if outcome.is_err() {
                // Also those that were not executed yet: what fails one of them fails the others.
                done.extend(self.next.drain(..));
            }
            let failed = match outcome {
                Ok(hints) => {
                    self.notices.send(&hints);
                    None
                }
                Err(error) => Some(error),
            };
            done.into_iter().for_each(|job| job.answer(failed.as_ref()));
        }
    }

    /// Refuses to write if the path leads to another file by now: what is acknowledged has to be there when the path is opened
    /// again.
    fn check_place(&self) -> Result<(), StoreError> {
        let found = place::identity(&self.file.path);
        if found.as_ref().is_ok_and(|found| Some(*found) == self.identity) {
            return Ok(());
        }
        let why = found.err().map(|error| format!(" ({error})")).unwrap_or_default();
        Err(StoreError::misconfigured(format!(
            "`{}` was deleted, moved or replaced while this program had it open{why}, so nothing is written any more: put the file \
             back, or start the program again",
            self.file.path.display()
        )))
    }

    /// Executes the calls that wait, as many as fit, and commits. Returns their hints.
    async fn transact(&mut self, done: &mut Vec<Box<dyn Job>>) -> Result<Vec<Hint>, StoreError> {
        self.check_place()?;
        let mut connection = match self.connection.take() {
            Some(mut connection) => {
                self.log.check(&mut connection).await?;
                connection
            }
            None => {
                self.log.refuse_if_gone()?;
                let connection = self.file.reconnect_writer().await?;
                self.log.reopened();
                connection
            }
        };
        self.log.limit(&mut connection).await?;
        let mut transaction = Transaction::new(connection, self.file.verify);
        let outcome = self.execute_and_commit(&mut transaction, done).await;
        if outcome.is_ok() {
            self.connection = Some(transaction.into_connection());
        }
        outcome
    }

    async fn execute_and_commit(
        &mut self,
        transaction: &mut Transaction,
        done: &mut Vec<Box<dyn Job>>,
    ) -> Result<Vec<Hint>, StoreError> {
        transaction.write(sql("begin immediate")).await?;
        let (began, mut bytes, mut hints) = (Instant::now(), 0, Vec::new());
        while done.len() < CALLS_MAX && bytes < BYTES_MAX && began.elapsed() < TIME_MAX {
            let Some(mut job) = self.next.pop_front().or_else(|| self.waiting.try_recv().ok()) else { break };
            bytes += job.bytes();
            let is_only = done.is_empty() && !self.has_others();
            let ended = self.execute(&mut *job, transaction, is_only).await;
            done.push(job);
            match ended? {
                Ended::GoesOn(given) => hints.extend(given),
                Ended::Over(given) => return Ok(given),
            }
        }
        distinct(&mut hints);
        self.notices.write(transaction, &hints).await?;
        transaction.execute(sql("commit")).await?;
        Ok(hints)
    }

    /// Whether further calls wait.
    fn has_others(&self) -> bool {
        !self.next.is_empty() || !self.waiting.is_empty()
    }

    /// Executes a call, of which nothing stays if it is refused: by itself, or because of what it writes. Mostly a call is the only
    /// one: then the transaction itself is its savepoint, and is committed together with the last writes. An error is one of the
    /// whole transaction.
    async fn execute(
        &self,
        job: &mut dyn Job,
        transaction: &mut Transaction,
        is_only: bool,
    ) -> Result<Ended, StoreError> {
        if !is_only {
            transaction.write(sql("savepoint call")).await?;
        }
        let keeps = job.execute(transaction).await;
        let mut hints = transaction.take_hints();
        distinct(&mut hints);
        let commits = keeps && is_only && !self.has_others();
        let written = async {
            if commits {
                self.notices.write(transaction, &hints).await?;
                transaction.write(sql("commit")).await?;
            } else if keeps && !is_only {
                transaction.write(sql("release call")).await?;
            }
            transaction.flush().await
        };
        if let Err(error) = written.await {
            if transaction.has_failed() {
                return Err(error);
            }
            job.refuse(error);
        }
        match job.error() {
            None if commits => Ok(Ended::Over(hints)),
            None => Ok(Ended::GoesOn(hints)),
            Some(error) if transaction.has_failed() => Err(for_neighbours(error)),
            Some(_) if is_only => {
                transaction.execute(sql("rollback")).await?;
                Ok(Ended::Over(Vec::new()))
            }
            Some(_) => {
                transaction.write(sql("rollback to call")).await?;
                transaction.write(sql("release call")).await?;
                Ok(Ended::GoesOn(Vec::new()))
            }
        }
    }
}

/// What became of a transaction with a call, and what the call hints at.
enum Ended {
    GoesOn(Vec<Hint>),
    /// It was committed or rolled back.
    Over(Vec<Hint>),
}

fn gone() -> StoreError {
    StoreError::unavailable("the thread that writes has ended: its outcome is unknown")
}

fn cannot_start(error: &std::io::Error) -> StoreError {
    StoreError::unavailable(format!("the thread that writes cannot be started: {error}"))
}

/// The error of a call that failed with its connection, for the other calls of its transaction: they are not at fault.
fn for_neighbours(error: &StoreError) -> StoreError {
    if let StoreError::Corrupt { reason } = error {
        return StoreError::unavailable(format!("another request of the same transaction failed: {reason}"));
    }
    repeated(error)
}

/// The error of a transaction, for each of its calls.
fn repeated(error: &StoreError) -> StoreError {
    match error {
        StoreError::Fenced { reason } => StoreError::fenced(reason),
        StoreError::Conflict { reason } => StoreError::conflict(reason),
        StoreError::Unavailable { reason, .. } => StoreError::unavailable(reason),
        StoreError::Held { reason } => StoreError::held(reason),
        StoreError::Corrupt { reason } => StoreError::corrupt(reason),
        StoreError::Misconfigured { reason } => StoreError::misconfigured(reason),
        StoreError::LimitExceeded { reason } => StoreError::limit_exceeded(reason),
    }
}
