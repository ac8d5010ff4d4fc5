//! Chains: runs that continue one another, by continue-as-new or by a retry of a whole run. It must not know why a run is
//! continued, or how a store finds the current run of a chain.

use serde::Serialize;

use crate::data::id::{MessageId, RunId};
use crate::data::retry::RetryPolicy;
use crate::data::time::Timestamp;

/// A run's place in a chain. The first run of a chain has none, because it may never be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ChainLink {
    /// The first run of the chain. Its id, and that of every other run of the chain, leads to the current one.
    pub first: RunId,
    /// The run that this one continues.
    pub predecessor: RunId,
    /// The run's number in the chain: the first run is number 1, so this is at least 2.
    pub number: u32,
}

impl ChainLink {
    /// The place of the run that continues `run`, which has this place itself if it is not the first.
    pub(crate) fn after(run: RunId, place: Option<Self>) -> Self {
        match place {
            Some(Self { first, number, .. }) => {
                Self { first, predecessor: run, number: number.saturating_add(1) }
            }
            None => Self { first: run, predecessor: run, number: 2 },
        }
    }
}

/// The retries of a whole run: their policy, and which attempt a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRetry {
    /// The attempt, from 1 on.
    pub(crate) attempt: u32,
    /// When a failed run is followed by another attempt.
    pub(crate) policy: RetryPolicy,
}

impl RunRetry {
    /// The first attempt under a policy; `None` if it makes one attempt only.
    pub(crate) fn first(policy: RetryPolicy) -> Option<Box<Self>> {
        (policy.attempts_max() != Some(1)).then(|| Box::new(Self { attempt: 1, policy }))
    }
}

/// A message that the runs of a chain have logged, so that a repetition of it is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownMessage {
    /// The message.
    pub message: MessageId,
    /// When it was logged.
    pub at: Timestamp,
}

/// Messages that the code of a run has not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMessages(pub Vec<MessageId>);

impl LeftMessages {
    /// How many bytes each of them takes.
    const BYTES: usize = 16;

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|message| message.as_u128().to_be_bytes()).collect()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` if the length does not fit.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let message = |bytes: &[u8]| Some(MessageId::from_u128(u128::from_be_bytes(bytes.try_into().ok()?)));
        bytes.chunks(Self::BYTES).map(message).collect::<Option<_>>().map(Self)
    }
}

/// Messages that the runs of a chain have logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownMessages(pub Vec<KnownMessage>);

impl KnownMessages {
    /// How many bytes each of them takes: its id, and its time in microseconds.
    const BYTES: usize = 24;

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * Self::BYTES);
        for KnownMessage { message, at } in &self.0 {
            bytes.extend(message.as_u128().to_be_bytes());
            bytes.extend(at.as_micros().to_be_bytes());
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` if the length does not fit.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let known = |bytes: &[u8]| {
            let (message, at) = bytes.split_at_checked(16)?;
            Some(KnownMessage {
                message: MessageId::from_u128(u128::from_be_bytes(message.try_into().ok()?)),
                at: Timestamp::from_micros(i64::from_be_bytes(at.try_into().ok()?)),
            })
        };
        bytes.chunks(Self::BYTES).map(known).collect::<Option<_>>().map(Self)
    }
}
