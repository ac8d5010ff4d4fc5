//! Canaries: known bugs that the simulator must find, or its checkers are worth nothing. Some are in the store, some in
//! a layer around it, some in the engine. It must not know how they are found.

mod flawed;

use std::fmt;
use std::sync::Arc;

pub use pgworkflows_core::canary::Bug as EngineBug;
use pgworkflows_memory::{Flaws, MemoryStore};

use self::flawed::Flawed;
use crate::seams::Seams;

/// A known bug.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    /// One of the store.
    Store(StoreBug),
    /// One of the engine.
    Engine(EngineBug),
}

/// A known bug of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreBug {
    /// An append is written although its lease was fenced.
    FenceUnchecked,
    /// An append that is sent twice is written twice: its number is not compared.
    RepetitionUnchecked,
    /// An append is written although the one before it was lost in a failover.
    PreviousUnchecked,
    /// An append is written to a shard that was released: the answer to the release was lost, or the append came late.
    OwnershipUnchecked,
    /// A batch of another content under a repeated append number is taken as applied.
    DigestUnchecked,
    /// A call goes by the time at which its transaction began, not by that of the check.
    TimeOfRequest,
    /// Shards are taken from valid leases.
    LeasesStolen,
    /// A message that was logged stays in the inbox.
    MessagesKept,
    /// The deadline of a parked run is forgotten.
    DeadlinesForgotten,
    /// A late duplicate of a release ends another lease than the one that it names.
    ReleaseMisdirected,
    /// A late duplicate of a claim brings back a lease that is over.
    LeaseRevived,
    /// A late duplicate of a message that waits is inserted beside it.
    MessageDoubled,
    /// The messages that an append sends are lost.
    SentLost,
    /// An append that comes again sends its messages again.
    SentDoubled,
    /// An append that is refused sends its messages all the same.
    SentThoughRefused,
    /// The inbox is read from the highest number seen, so that what commits late is skipped.
    InboxByNumber,
    /// Only hints tell of messages.
    MailUnseen,
    /// The store's clock is said to be later than it is.
    ClockAhead,
    /// A new owner reads with the snapshot from before the lock, without the last append.
    StaleHistory,
    /// An append is acknowledged before it is written, and lost.
    EarlyAcknowledgement,
}

impl StoreBug {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::FenceUnchecked,
        Self::RepetitionUnchecked,
        Self::PreviousUnchecked,
        Self::OwnershipUnchecked,
        Self::DigestUnchecked,
        Self::TimeOfRequest,
        Self::LeasesStolen,
        Self::MessagesKept,
        Self::DeadlinesForgotten,
        Self::ReleaseMisdirected,
        Self::LeaseRevived,
        Self::MessageDoubled,
        Self::SentLost,
        Self::SentDoubled,
        Self::SentThoughRefused,
        Self::InboxByNumber,
        Self::MailUnseen,
        Self::ClockAhead,
        Self::StaleHistory,
        Self::EarlyAcknowledgement,
    ];

    /// What is wrong in the store itself.
    fn flaws(self) -> Flaws {
        let mut flaws = Flaws::default();
        match self {
            Self::FenceUnchecked => flaws.fence_unchecked = true,
            Self::RepetitionUnchecked => flaws.repetition_unchecked = true,
            Self::PreviousUnchecked => flaws.previous_unchecked = true,
            Self::OwnershipUnchecked => flaws.ownership_unchecked = true,
            Self::DigestUnchecked => flaws.digest_unchecked = true,
            Self::TimeOfRequest => flaws.time_of_request = true,
            Self::LeasesStolen => flaws.leases_stolen = true,
            Self::MessagesKept => flaws.messages_kept = true,
            Self::DeadlinesForgotten => flaws.deadlines_forgotten = true,
            Self::ReleaseMisdirected => flaws.release_misdirected = true,
            Self::LeaseRevived => flaws.lease_revived = true,
            Self::MessageDoubled => flaws.message_doubled = true,
            Self::SentLost => flaws.sent_lost = true,
            Self::SentDoubled => flaws.sent_doubled = true,
            Self::SentThoughRefused => flaws.sent_though_refused = true,
            Self::InboxByNumber
            | Self::MailUnseen
            | Self::ClockAhead
            | Self::StaleHistory
            | Self::EarlyAcknowledgement => {}
        }
        flaws
    }
}

impl Canary {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        StoreBug::ALL.into_iter().map(Self::Store).chain(EngineBug::ALL.into_iter().map(Self::Engine))
    }

    /// The one of that name, as it is printed.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|canary| canary.to_string() == name)
    }

    /// Where the bug is put into a world.
    pub(crate) fn seams(self) -> Seams {
        let Self::Store(bug) = self else { return Seams::default() };
        Seams {
            flaws: bug.flaws(),
            around: Some(Box::new(move |store: &MemoryStore| {
                Arc::new(Flawed { store: store.clone(), bug }) as _
            })),
            // What is to be found here is what follows from such a request.
            requests_unchecked: bug == StoreBug::DigestUnchecked,
        }
    }

    /// Has the engine err, where it is to, while it runs some code.
    pub(crate) fn err_in<T>(self, code: impl FnOnce() -> T) -> T {
        match self {
            Self::Engine(bug) => pgworkflows_core::canary::with(bug, code),
            // Only an engine that errs sends what the store takes wrongly.
            Self::Store(StoreBug::DigestUnchecked) => {
                pgworkflows_core::canary::with(EngineBug::AppendRecut, code)
            }
            Self::Store(_) => code(),
        }
    }
}

impl fmt::Display for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(bug) => write!(f, "{bug:?}"),
            Self::Engine(bug) => write!(f, "{bug:?}"),
        }
    }
}

impl fmt::Debug for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
