//! A processor's requests to the store: one append and one read at a time, sent as long as there is a session for it.
//! It must not know what a processor does with the answers.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture, pending};

use crate::data::id::RunId;
use crate::host::{Host, StoreClock};
use crate::processor::Processor;
use crate::processor::appends::Declined;
use crate::processor::reads::Read;
use crate::store::Session;
use crate::store::append::{Append, Appended};
use crate::store::error::StoreError;
use crate::store::history::{DueRuns, Loaded};
use crate::store::inbox::InboxPage;
use crate::worker::backoff::{BACKOFF_MAX, backoff};
use crate::worker::environment::Environment;
use crate::worker::sessions::{Opened, Sessions};
use crate::worker::setbacks::waiting_helps;
use crate::worker::status::ProcessorStatus;

/// How long reads rest after one failed.
const READ_RETRY: Duration = Duration::from_millis(200);

type AppendDone = (Box<dyn Session>, Result<Appended, StoreError>);
type ReadDone = (Box<dyn Session>, Read, Result<Answer, StoreError>);

/// What came of something that was under way.
pub(super) enum Done {
    Append(AppendDone),
    Read(ReadDone),
    Opened(Opened),
}

/// The answer to a read.
pub(super) enum Answer {
    Runs(Vec<RunId>),
    Histories(Loaded),
    Due(DueRuns),
    Messages(InboxPage),
}

/// The requests of one processor.
pub(super) struct Requests {
    host: Arc<dyn Host>,
    clock: Arc<StoreClock>,
    status: Arc<ProcessorStatus>,
    sessions: Sessions,
    append: Option<BoxFuture<'static, AppendDone>>,
    read: Option<BoxFuture<'static, ReadDone>>,
    /// What is to be read as soon as there is a session for it.
    next_read: Option<Read>,
    /// Whether anything is read, as it is until a shutdown.
    reading: bool,
    /// Reads rest until then after one failed, by the host's clock.
    read_after: Duration,
    /// Appends likewise.
    append_after: Duration,
    append_delays: Box<dyn Iterator<Item = Duration> + Send>,
}

impl Requests {
    /// None yet, and a session to begin with.
    pub(super) fn new(with: &Environment, session: Box<dyn Session>) -> Self {
        Self {
            host: Arc::clone(&with.host),
            clock: Arc::clone(&with.clock),
            status: Arc::clone(&with.status),
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

    /// Sends the next append, unless one is under way or appends rest.
    pub(super) fn append(&mut self, processor: &mut Processor) {
        // First the read that had to wait for a session, or appends would leave it none.
        if self.next_read.is_some() {
            self.read(processor);
        }
        let resting = self.append_after > self.host.monotonic();
        if self.append.is_some() || resting || processor.is_flushed() {
            return;
        }
        let Some(session) = self.sessions.take() else { return };
        match processor.cut() {
            Some(append) => {
                let (host, status) = (Arc::clone(&self.host), Arc::clone(&self.status));
                self.append = Some(Box::pin(send_append(session, append, host, status)));
            }
            // Nothing of what waited has anything to write.
            None => self.sessions.give_back(session),
        }
    }

    /// Sends the next read, unless one is under way or reads rest.
    pub(super) fn read(&mut self, processor: &mut Processor) {
        let resting = self.read_after > self.host.monotonic();
        if self.read.is_some() || resting || !self.reading {
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
                    Read::List(unparked) => session.unparked(unparked).await.map(Answer::Runs),
                    Read::Load(load) => session.load(load).await.map(Answer::Histories),
                    Read::Due(due) => session.due_runs(due).await.map(Answer::Due),
                    Read::Inbox(inbox) => session.read_inbox(inbox).await.map(Answer::Messages),
                }
            };
            let answer = status.read.watch(&*host, 0, answer).await;
            (session, read, answer)
        }));
    }

    /// From now on nothing more is read.
    pub(super) fn stop_reading(&mut self) {
        (self.reading, self.next_read) = (false, None);
    }

    /// Closes the session that is not needed any more, if there is one.
    pub(super) fn close_unused(&mut self) {
        self.sessions.close_unused();
    }

    /// Waits for what is under way; for ever, if nothing is. Whoever stops waiting misses nothing.
    pub(super) async fn done(&mut self) -> Done {
        tokio::select! {
            biased;
            Some(done) = OptionFuture::from(self.append.as_mut()) => Done::Append(done),
            Some(done) = OptionFuture::from(self.read.as_mut()) => Done::Read(done),
            Some(opened) = OptionFuture::from(self.sessions.opening.as_mut()) => Done::Opened(opened),
            else => pending().await,
        }
    }

    /// For how long something rests.
    pub(super) fn rest(&self) -> Option<Duration> {
        let now = self.host.monotonic();
        [self.read_after, self.append_after]
            .into_iter()
            .filter(|after| *after > now)
            .min()
            .map(|after| after - now)
    }

    /// Hands the answer to the processor. An error, if it can go on no more.
    pub(super) fn answer(&mut self, done: Done, processor: &mut Processor) -> Result<(), StoreError> {
        match done {
            Done::Append((session, result)) => {
                self.append = None;
                self.sessions.give_back(session);
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
        read: Read,
        answer: Result<Answer, StoreError>,
        processor: &mut Processor,
    ) -> Result<(), StoreError> {
        match (read, answer) {
            (Read::List(unparked), Ok(Answer::Runs(runs))) => processor.listed(unparked, &runs),
            (Read::Load(load), Ok(Answer::Histories(loaded))) => processor.loaded(load, loaded),
            (Read::Due(due), Ok(Answer::Due(found))) => processor.due_runs(&due, &found),
            (Read::Inbox(read), Ok(Answer::Messages(page))) => {
                self.clock.answered(page.now, &*self.host);
                processor.messages(&read, page);
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
    let runs = append.opened.len() + append.updated.len() + append.closed.len();
    let mut delays = backoff(&*host);
    loop {
        match status.append.watch(&*host, runs, session.append(&append)).await {
            // The outcome is unknown, or will be another when somebody has mended the database: the identical append is
            // sent until it is known.
            Err(StoreError::Unavailable { definite: false, .. } | StoreError::Misconfigured { .. }) => {
                host.sleep(delays.next().unwrap_or(BACKOFF_MAX)).await;
            }
            result => return (session, result),
        }
    }
}
