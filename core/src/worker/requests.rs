//! A processor's requests to the store: at most one append and one read at a time, each as soon as a session is free. It
//! must not know what a processor does with the answers.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture, pending};

use crate::data::limits;
use crate::host::{Host, StoreClock};
use crate::observe::metrics::Metrics;
use crate::processor::Processor;
use crate::processor::appends::Declined;
use crate::processor::reads::StoreRead;
use crate::store::Session;
use crate::store::append::{Append, Appended};
use crate::store::error::StoreError;
use crate::store::history::{DueRuns, Loaded, UnparkedRuns};
use crate::store::inbox::InboxPage;
use crate::worker::backoff::{BACKOFF_MAX, backoff};
use crate::worker::environment::Environment;
use crate::worker::sessions::{Opened, Sessions};
use crate::worker::setbacks::waiting_helps;
use crate::worker::status::ProcessorStatus;

/// How long reads back off after one failed.
const READ_RETRY: Duration = Duration::from_millis(200);

/// An append that ended, how long it took, and its result.
pub(super) struct AppendDone {
    session: Box<dyn Session>,
    append: Arc<Append>,
    took: Duration,
    result: Result<Appended, StoreError>,
}

type ReadDone = (Box<dyn Session>, StoreRead, Result<ReadAnswer, StoreError>);

/// A request that ended, and its result.
pub(super) enum Done {
    Append(AppendDone),
    Read(ReadDone),
    Opened(Opened),
}

/// The answer to a read.
pub(super) enum ReadAnswer {
    Listed(UnparkedRuns),
    Histories(Loaded),
    Due(DueRuns),
    Messages(InboxPage),
}

/// The requests of one processor.
pub(super) struct Requests {
    host: Arc<dyn Host>,
    clock: Arc<StoreClock>,
    status: Arc<ProcessorStatus>,
    metrics: Metrics,
    sessions: Sessions,
    append: Option<BoxFuture<'static, AppendDone>>,
    read: Option<BoxFuture<'static, ReadDone>>,
    /// The read that waits for a session.
    next_read: Option<StoreRead>,
    /// Whether reads are sent: true until a shutdown.
    reading: bool,
    /// Reads back off until this time after one failed, by the host's clock.
    read_after: Duration,
    /// Likewise for appends.
    append_after: Duration,
    append_delays: Box<dyn Iterator<Item = Duration> + Send>,
}

impl Requests {
    /// Begins without a request, with one session.
    pub(super) fn new(with: &Environment, session: Box<dyn Session>) -> Self {
        Self {
            host: Arc::clone(&with.host),
            clock: Arc::clone(&with.clock),
            status: Arc::clone(&with.status),
            metrics: with.executor.metrics().clone(),
            sessions: Sessions::new(with, session),
            append: None,
            read: None,
            next_read: None,
            reading: true,
            read_after: Duration::ZERO,
            append_after: Duration::ZERO,
            append_delays: Box::new(backoff(&*with.host)),
        }
    }

    /// Sends the next append, unless one is in flight or appends back off.
    pub(super) fn append(&mut self, processor: &mut Processor) {
        // First the read that waits for a session: otherwise appends could always take the session first.
        if self.next_read.is_some() {
            self.read(processor);
        }
        let backs_off = self.append_after > self.host.monotonic();
        if self.append.is_some() || backs_off || processor.is_flushed() {
            return;
        }
        let Some(session) = self.sessions.take() else { return };
        match processor.cut() {
            Some(append) => {
                let (host, status) = (Arc::clone(&self.host), Arc::clone(&self.status));
                self.append = Some(Box::pin(send_append(session, append, host, status)));
            }
            // No group that waited has anything to write.
            None => self.sessions.give_back(session),
        }
    }

    /// Sends the next read, unless one is in flight or reads back off.
    pub(super) fn read(&mut self, processor: &mut Processor) {
        let backs_off = self.read_after > self.host.monotonic();
        if self.read.is_some() || backs_off || !self.reading {
            return;
        }
        let Some(read) = self.next_read.take().or_else(|| processor.next_read()) else { return };
        let Some(mut session) = self.sessions.take() else {
            self.next_read = Some(read);
            return;
        };
        let (host, status) = (Arc::clone(&self.host), Arc::clone(&self.status));
        self.read = Some(Box::pin(async move {
            let answer = async {
                match &read {
                    StoreRead::List(unparked) => session.unparked(unparked).await.map(ReadAnswer::Listed),
                    StoreRead::Load(load) => session.load(load).await.map(ReadAnswer::Histories),
                    StoreRead::Due(due) => session.due_runs(due).await.map(ReadAnswer::Due),
                    StoreRead::Inbox(inbox) => session.read_inbox(inbox).await.map(ReadAnswer::Messages),
                }
            };
            let answer = status.read.watch(&*host, 0, answer).await;
            (session, read, answer)
        }));
    }

    /// Sends no more reads.
    pub(super) fn stop_reading(&mut self) {
        (self.reading, self.next_read) = (false, None);
    }

    /// Closes the second session if it is no longer needed.
    pub(super) fn close_unused(&mut self) {
        self.sessions.close_unused();
    }

    /// Waits for the next request to end; forever if none is in flight. Cancel-safe.
    pub(super) async fn done(&mut self) -> Done {
        tokio::select! {
            biased;
            Some(done) = OptionFuture::from(self.append.as_mut()) => Done::Append(done),
            Some(done) = OptionFuture::from(self.read.as_mut()) => Done::Read(done),
            Some(opened) = OptionFuture::from(self.sessions.opening.as_mut()) => Done::Opened(opened),
            else => pending().await,
        }
    }

    /// How long until the first backoff ends; `None` if nothing backs off.
    pub(super) fn backoff_left(&self) -> Option<Duration> {
        let now = self.host.monotonic();
        [self.read_after, self.append_after]
            .into_iter()
            .filter(|after| *after > now)
            .min()
            .map(|after| after - now)
    }

    /// Hands the answer to the processor. Returns an error that ends the lease.
    pub(super) fn answer(&mut self, done: Done, processor: &mut Processor) -> Result<(), StoreError> {
        match done {
            Done::Append(AppendDone { session, append, took, result }) => {
                self.append = None;
                self.sessions.give_back(session);
                self.note_append(&append, took, &result);
                self.append_done(result, processor)
            }
            Done::Read((session, read, answer)) => {
                self.read = None;
                self.sessions.give_back(session);
                self.read_done(read, answer, processor)
            }
            Done::Opened(opened) => {
                self.sessions.opened(opened);
                Ok(())
            }
        }
    }

    /// Counts an append, and logs one that was slow.
    fn note_append(&self, append: &Append, took: Duration, result: &Result<Appended, StoreError>) {
        if result.is_err() {
            return self.metrics.appends_declined.add(1);
        }
        let events = append.frames.iter().map(|frame| u64::from(frame.count)).sum();
        let bytes = append.frames.iter().map(|frame| frame.body.len() as u64).sum();
        self.metrics.append_seconds.note(took);
        self.metrics.appends.add(1);
        self.metrics.events_appended.add(events);
        self.metrics.bytes_appended.add(bytes);
        if took >= limits::APPEND_SLOW {
            let ProcessorStatus { worker, place: processor, .. } = &*self.status;
            tracing::warn!(worker, processor, ?took, events, bytes, "an append was slow");
        }
    }

    fn append_done(
        &mut self,
        result: Result<Appended, StoreError>,
        processor: &mut Processor,
    ) -> Result<(), StoreError> {
        match result {
            Ok(answer) => {
                self.clock.answered(answer.now, &*self.host);
                self.append_delays = Box::new(backoff(&*self.host));
                processor.appended(answer);
            }
            Err(StoreError::LimitExceeded { reason }) => processor.declined(Declined::Refused, &reason),
            Err(StoreError::Unavailable { reason, .. } | StoreError::Held { reason }) => {
                let delay = self.append_delays.next().unwrap_or(BACKOFF_MAX);
                self.append_after = self.host.monotonic() + delay;
                processor.declined(Declined::Failed, &reason);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn read_done(
        &mut self,
        read: StoreRead,
        answer: Result<ReadAnswer, StoreError>,
        processor: &mut Processor,
    ) -> Result<(), StoreError> {
        match (read, answer) {
            (StoreRead::List(unparked), Ok(ReadAnswer::Listed(found))) => processor.listed(unparked, &found),
            (StoreRead::Load(load), Ok(ReadAnswer::Histories(loaded))) => processor.loaded(load, loaded),
            (StoreRead::Due(due), Ok(ReadAnswer::Due(found))) => processor.due_runs(&due, &found),
            (StoreRead::Inbox(_), Ok(ReadAnswer::Messages(page))) => {
                self.clock.answered(page.now, &*self.host);
                processor.messages(page);
            }
            (read, Err(error)) if waiting_helps(&error) => {
                self.read_after = self.host.monotonic() + READ_RETRY;
                processor.read_failed(read);
            }
            (_, Err(error)) => return Err(error),
            (read, Ok(_)) => processor.read_failed(read),
        }
        Ok(())
    }
}

/// Sends an append until there is a definite answer.
async fn send_append(
    mut session: Box<dyn Session>,
    append: Arc<Append>,
    host: Arc<dyn Host>,
    status: Arc<ProcessorStatus>,
) -> AppendDone {
    let runs = append.frames.chunk_by(|one, other| one.run == other.run).count();
    let (mut delays, began) = (backoff(&*host), host.monotonic());
    loop {
        match status.append.watch(&*host, runs, session.append(&append)).await {
            // It is unknown whether the append was applied, or the database must be repaired first: the identical append is
            // sent again until there is a definite answer.
            Err(StoreError::Unavailable { definite: false, .. } | StoreError::Misconfigured { .. }) => {
                host.sleep(delays.next().unwrap_or(BACKOFF_MAX)).await;
            }
            result => {
                let took = host.monotonic().saturating_sub(began);
                return AppendDone { session, append, took, result };
            }
        }
    }
}
