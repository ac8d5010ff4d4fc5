//! The task of an attempt, for an activity that records its outcome together with its effects. It must not know how they are
//! recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{ActivityError, ActivityResult};
use crate::data::failure::Failure;
use crate::data::id::{CommandId, ExecutorId};
use crate::data::outcome::Outcome;
use crate::data::payload::{Payload, payload_too_large};
use crate::log::message::{Flag, Message};
use crate::log::wire::encode_message;
use crate::store::tasks::TaskClaim;

/// The task of an attempt. An activity whose options are
/// [`transactional`](crate::activity::ActivityOptions::transactional) may record with it that it completed, in the same
/// transaction as its effects: it deletes the task of its store if this very claim still holds, and puts the message of
/// [`completed`](Self::completed) into the inbox of the run. If the claim does not hold any more, the transaction must not
/// commit.
///
/// Crates of stores use this; see `Transactional` of the Postgres store.
#[derive(Clone, Debug)]
pub struct OwnTask {
    pub(crate) executor: ExecutorId,
    pub(crate) claim: TaskClaim,
    pub(crate) call: CommandId,
    pub(crate) start_to_close: Option<Duration>,
    pub(crate) payload_bytes_max: usize,
    pub(crate) settled: Arc<AtomicBool>,
}

impl OwnTask {
    /// The executor that has the task.
    pub fn executor(&self) -> ExecutorId {
        self.executor
    }

    /// The claim by which it has the task.
    pub fn claim(&self) -> TaskClaim {
        self.claim
    }

    /// How long the attempt may take.
    pub fn start_to_close(&self) -> Option<Duration> {
        self.start_to_close
    }

    /// The message that tells the run that the activity completed with this output, for the store's inbox.
    ///
    /// # Errors
    /// Returns an error if the output cannot be encoded, or not be read back, or is larger than the worker allows.
    pub fn completed<T: Serialize + DeserializeOwned>(&self, output: &T) -> ActivityResult<Bytes> {
        let encoded = Payload::encode_readable(output);
        let result = encoded.map_err(|error| ActivityError::non_retryable(ActivityError::from(error)))?;
        if result.bytes().len() > self.payload_bytes_max {
            let message =
                payload_too_large(&"the result of the task", result.bytes().len(), self.payload_bytes_max);
            return Err(ActivityError::from_failure(
                Failure::new("payload-too-large", message).non_retryable(),
            ));
        }
        let (id, task, outcome) = (self.call, self.claim.task.seq, Outcome::Completed(result));
        Ok(encode_message(&Message::TaskEnded { id, task, outcome, committed: Flag(true) }))
    }

    /// The attempt recorded its outcome, or found that nobody wants it any more: the worker reports nothing of it.
    pub fn settled(&self) {
        self.settled.store(true, Ordering::Release);
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }
}
