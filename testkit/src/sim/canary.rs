//! Canaries: known bugs that the simulator must find, or its checkers are worth nothing. Some are in the store, some
//! in a layer around it. It must not know how they are found.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pgworkflows::store::{
    Append, Appended, Claim, Claimed, ClosedRun, Due, DueRuns, Hint, InboxCursor, InboxPage, InboxRead, Load,
    Queue, RunHistory, Session, Store, StoreError, StoreQuery, Submission, Submitted, Tick, Ticked,
};
use pgworkflows::{InboxNo, LeaseId, RunId};
use pgworkflows_memory::{Flaws, MemoryStore};
use tokio::sync::broadcast;

/// A known bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// An append is written although its lease was fenced.
    FenceUnchecked,
    /// An append that is sent twice is written twice.
    RepetitionUnchecked,
    /// An append is written although the one before it was lost.
    PreviousUnchecked,
    /// Shards are taken from valid leases.
    LeasesStolen,
    /// A message that was logged stays in the inbox.
    MessagesKept,
    /// The deadline of a parked run is forgotten.
    DeadlinesForgotten,
    /// The inbox is read from the highest number seen, so that what commits late is skipped.
    InboxByNumber,
    /// Only hints tell of messages.
    MailUnseen,
    /// The store's clock is said to be later than it is.
    ClockAhead,
    /// A new owner reads a history from before the last append.
    StaleHistory,
    /// An append is acknowledged before it is written, and lost.
    EarlyAcknowledgement,
}

impl Canary {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::FenceUnchecked,
        Self::RepetitionUnchecked,
        Self::PreviousUnchecked,
        Self::LeasesStolen,
        Self::MessagesKept,
        Self::DeadlinesForgotten,
        Self::InboxByNumber,
        Self::MailUnseen,
        Self::ClockAhead,
        Self::StaleHistory,
        Self::EarlyAcknowledgement,
    ];

    /// The bugs of the store itself.
    pub(crate) fn flaws(self) -> Flaws {
        let mut flaws = Flaws::default();
        match self {
            Self::FenceUnchecked => flaws.fence_unchecked = true,
            Self::RepetitionUnchecked => flaws.repetition_unchecked = true,
            Self::PreviousUnchecked => flaws.previous_unchecked = true,
            Self::LeasesStolen => flaws.leases_stolen = true,
            Self::MessagesKept => flaws.messages_kept = true,
            Self::DeadlinesForgotten => flaws.deadlines_forgotten = true,
            Self::InboxByNumber
            | Self::MailUnseen
            | Self::ClockAhead
            | Self::StaleHistory
            | Self::EarlyAcknowledgement => {}
        }
        flaws
    }
}

/// A store with a bug around it.
#[derive(Debug)]
pub(crate) struct Flawed {
    pub(crate) store: MemoryStore,
    pub(crate) canary: Canary,
}

#[async_trait]
impl Store for Flawed {
    async fn session(&self) -> Result<Box<dyn Session>, StoreError> {
        let inner = self.store.session().await?;
        Ok(Box::new(FlawedSession { inner, canary: self.canary, appends: 0 }))
    }

    async fn queue(&self, name: &str, shards: u16) -> Result<Queue, StoreError> {
        self.store.queue(name, shards).await
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        self.store.submit(submissions).await
    }

    async fn closed(&self, runs: &[RunId]) -> Result<Vec<ClosedRun>, StoreError> {
        self.store.closed(runs).await
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.store.hints()
    }

    fn query(&self) -> &dyn StoreQuery {
        self.store.query()
    }
}

struct FlawedSession {
    inner: Box<dyn Session>,
    canary: Canary,
    appends: u64,
}

/// How often an append is acknowledged that was not written.
const EARLY_EVERY: u64 = 7;

#[async_trait]
impl Session for FlawedSession {
    async fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.inner.claim(claim).await
    }

    async fn tick(&mut self, tick: &Tick) -> Result<Ticked, StoreError> {
        let mut ticked = self.inner.tick(tick).await?;
        match self.canary {
            Canary::MailUnseen => ticked.leases.iter_mut().for_each(|lease| lease.mail = false),
            Canary::ClockAhead => {
                ticked.now = ticked.now.saturating_add(std::time::Duration::from_millis(50))
            }
            _ => {}
        }
        Ok(ticked)
    }

    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        self.appends += 1;
        if self.canary == Canary::EarlyAcknowledgement && self.appends.is_multiple_of(EARLY_EVERY) {
            return Ok(Appended { now: append.events.last().map(|event| event.at).unwrap_or_default() });
        }
        self.inner.append(append).await
    }

    async fn read_inbox(&mut self, read: &InboxRead) -> Result<InboxPage, StoreError> {
        if self.canary != Canary::InboxByNumber {
            return self.inner.read_inbox(read).await;
        }
        let seen = read.cursor.0.as_ref().try_into().map(u64::from_le_bytes).unwrap_or_default();
        let all = InboxRead { cursor: InboxCursor::default(), limit: u32::MAX - 1, ..read.clone() };
        let mut page = self.inner.read_inbox(&all).await?;
        page.messages.retain(|message| message.number > InboxNo::new(seen));
        let last = page.messages.last().map_or(seen, |message| message.number.get());
        page.cursor = InboxCursor(Bytes::copy_from_slice(&last.to_le_bytes()));
        Ok(page)
    }

    async fn load(&mut self, load: &Load) -> Result<Vec<RunHistory>, StoreError> {
        let mut histories = self.inner.load(load).await?;
        if self.canary == Canary::StaleHistory {
            for history in histories.iter_mut().filter(|history| history.events.len() > 3) {
                history.events.pop();
            }
        }
        Ok(histories)
    }

    async fn due_runs(&mut self, due: &Due) -> Result<DueRuns, StoreError> {
        self.inner.due_runs(due).await
    }

    async fn release(&mut self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.release(lease).await
    }
}

/// The store as workers see it.
pub(crate) fn seen_by_workers(store: &MemoryStore, canary: Option<Canary>) -> Arc<dyn Store> {
    match canary {
        Some(canary) => Arc::new(Flawed { store: store.clone(), canary }),
        None => Arc::new(store.clone()),
    }
}
