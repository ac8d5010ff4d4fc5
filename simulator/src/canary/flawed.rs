//! A store with a bug in a layer around it: bugs that a store of its own might have, or a pooler, or a driver. It must
//! not know how they are found.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pgworkflows_core::id::{InboxNo, RunId};
use pgworkflows_core::store::{
    Append, Appended, Claim, Claimed, Due, DueRuns, Hint, InboxCursor, InboxPage, InboxRead, Load, Loaded,
    Queue, Release, Session, Store, StoreError, StoreQuery, Submission, Submitted, Tick, Ticked, Unparked,
    Watch, Watched,
};
use pgworkflows_memory::MemoryStore;
use tokio::sync::broadcast;

use super::StoreBug;

/// A store with a bug around it.
#[derive(Debug)]
pub(super) struct Flawed {
    pub(super) store: MemoryStore,
    pub(super) bug: StoreBug,
}

#[async_trait]
impl Store for Flawed {
    async fn session(&self) -> Result<Box<dyn Session>, StoreError> {
        let inner = self.store.session().await?;
        Ok(Box::new(FlawedSession { inner, bug: self.bug, appends: 0 }))
    }

    async fn queue(&self, name: &str, shards: u16) -> Result<Queue, StoreError> {
        self.store.queue(name, shards).await
    }

    async fn submit(&self, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
        self.store.submit(submissions).await
    }

    async fn watch(&self, watch: &Watch) -> Result<Watched, StoreError> {
        self.store.watch(watch).await
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
    bug: StoreBug,
    appends: u64,
}

/// How often an append is acknowledged that was not written.
const EARLY_EVERY: u64 = 7;

/// How far ahead the clock is.
const AHEAD: Duration = Duration::from_millis(50);

#[async_trait]
impl Session for FlawedSession {
    async fn claim(&mut self, claim: &Claim) -> Result<Claimed, StoreError> {
        self.inner.claim(claim).await
    }

    async fn tick(&mut self, tick: &Tick) -> Result<Ticked, StoreError> {
        let mut ticked = self.inner.tick(tick).await?;
        if self.bug == StoreBug::MailUnseen {
            ticked.leases.iter_mut().for_each(|lease| lease.mail = false);
        }
        if self.bug == StoreBug::ClockAhead {
            ticked.now = ticked.now.saturating_add(AHEAD);
        }
        Ok(ticked)
    }

    async fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        self.appends += 1;
        if self.bug == StoreBug::EarlyAcknowledgement && self.appends.is_multiple_of(EARLY_EVERY) {
            return Ok(Appended { now: append.events.last().map(|event| event.at).unwrap_or_default() });
        }
        self.inner.append(append).await
    }

    async fn read_inbox(&mut self, read: &InboxRead) -> Result<InboxPage, StoreError> {
        if self.bug != StoreBug::InboxByNumber {
            return self.inner.read_inbox(read).await;
        }
        let seen = read.cursor.0.as_ref().try_into().map(u64::from_le_bytes).unwrap_or_default();
        let (cursor, limit, bytes) = (InboxCursor::default(), u32::MAX - 1, usize::MAX);
        let all = InboxRead { cursor, limit, bytes, ..read.clone() };
        let mut page = self.inner.read_inbox(&all).await?;
        page.messages.retain(|message| message.number > InboxNo::new(seen));
        let last = page.messages.last().map_or(seen, |message| message.number.get());
        page.cursor = InboxCursor(Bytes::copy_from_slice(&last.to_le_bytes()));
        Ok(page)
    }

    async fn unparked(&mut self, unparked: &Unparked) -> Result<Vec<RunId>, StoreError> {
        self.inner.unparked(unparked).await
    }

    async fn load(&mut self, load: &Load) -> Result<Loaded, StoreError> {
        let mut loaded = self.inner.load(load).await?;
        if self.bug == StoreBug::StaleHistory {
            for history in loaded.histories.iter_mut().filter(|history| history.events.len() > 3) {
                history.events.pop();
            }
        }
        Ok(loaded)
    }

    async fn due_runs(&mut self, due: &Due) -> Result<DueRuns, StoreError> {
        self.inner.due_runs(due).await
    }

    async fn release(&mut self, release: &Release) -> Result<(), StoreError> {
        self.inner.release(release).await
    }
}
