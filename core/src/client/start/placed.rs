//! A start from its check to its submission: the run gets its id and its shard, and may be handed to a processor of this
//! process. It must not know the options of a start, nor what its caller does with the run.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::{Either, select};
use tokio::sync::oneshot;

use crate::client::call::ClientShared;
use crate::client::handle::RunHandle;
use crate::client::key::Key;
use crate::client::request::Prepared;
use crate::client::run_type::RunType;
use crate::data::attributes::Attributes;
use crate::data::id::{MessageId, RunId, ShardId};
use crate::data::limits;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::retry::RetryPolicy;
use crate::data::shards::Shards;
use crate::data::time::Timestamp;
use crate::data::time_limits::TimeLimits;
use crate::data::trace_context::TraceContext;
use crate::error::Error;
use crate::log::message::{Flag, Message};
use crate::log::wire;
use crate::store::error::StoreError;
use crate::store::inbox::{FollowUp, NewRun, Submission, Submitted};
use crate::store::switchboard::LocalStart;
use crate::store::watch::Notice;

/// When a run begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Beginning {
    AtOnce,
    After(Duration),
    At(DateTime<Utc>),
}

impl Beginning {
    pub(super) fn check(self, workflow: &str) -> Result<(), Error> {
        match self {
            Self::After(delay) if delay.is_zero() => Err(Error::invalid(format!(
                "the start of workflow `{workflow}` is delayed by zero; omit `delay` to start at once"
            ))),
            Self::At(time) if Timestamp::from(time) > Timestamp::MAX_DEADLINE => {
                Err(Error::invalid(format!(
                    "the start of workflow `{workflow}` is set to {time}, after the latest time there is, {}; start it \
                     earlier",
                    Timestamp::MAX_DEADLINE
                )))
            }
            Self::AtOnce | Self::After(_) | Self::At(_) => Ok(()),
        }
    }

    fn at(self, workflow: &str, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        match self {
            Self::AtOnce => Ok(None),
            Self::At(time) => Ok(Some(time.into())),
            Self::After(delay) => now.checked_add(delay).map(Some).ok_or_else(|| {
                Error::invalid(format!(
                    "the start of workflow `{workflow}` is delayed by {delay:?}, beyond the latest time there is, \
                     {}; use a shorter delay",
                    Timestamp::MAX_DEADLINE
                ))
            }),
        }
    }
}

/// A start that has passed all checks that need no store.
pub(super) struct CheckedStart {
    pub(super) workflow: Name,
    pub(super) input: Payload,
    pub(super) key: Option<Key>,
    pub(super) begin: Beginning,
    pub(super) limits: TimeLimits,
    pub(super) signal: Option<FollowUp>,
    pub(super) retry: RetryPolicy,
    /// The place in a trace at which the run is started.
    pub(super) trace: Option<Box<TraceContext>>,
    pub(super) attributes: Attributes,
}

impl CheckedStart {
    /// Chooses the run's id, and with it its shard. Without a key, `nearest` may choose a shard that this process owns.
    pub(super) fn place(
        self,
        shards: Shards,
        now: Timestamp,
        nearest: impl Fn(ShardId) -> Option<ShardId>,
        random: u64,
    ) -> Result<PlacedStart, Error> {
        let start_at = self.begin.at(&self.workflow, now)?;
        // Starts with the same key go to the same shard, so that they find each other there.
        let wanted = shards.nth(self.key.as_ref().map_or(random, Key::prefix));
        let local = if self.key.is_none() && self.signal.is_none() { nearest(wanted) } else { None };
        let run = RunId::new(now, local.unwrap_or(wanted), random);
        let (deadline, grace_until) = self.limits.after(start_at.map_or(now, |start_at| start_at.max(now)));
        Ok(PlacedStart { run, is_local: local.is_some(), start_at, deadline, grace_until, start: self })
    }
}

/// What became of a start that was handed to the processor of this process.
pub(super) enum HandedOver {
    /// The run is in the log. Its end will be received.
    Accepted(oneshot::Receiver<Notice>),
    /// It is not known whether the run is in the log.
    Unknown,
    /// The processor has no room for it, or does not own the shard any more: the run has not begun.
    Refused,
}

/// A start whose run has an id.
pub(super) struct PlacedStart {
    pub(super) run: RunId,
    /// Whether a processor of this process owned the shard when it was chosen.
    pub(super) is_local: bool,
    pub(super) start_at: Option<Timestamp>,
    deadline: Option<Timestamp>,
    grace_until: Option<Timestamp>,
    pub(super) start: CheckedStart,
}

impl PlacedStart {
    /// Hands the start to the processor of this process, and waits until the run is in the log.
    pub(super) async fn hand_over(&self, shared: &ClientShared) -> HandedOver {
        let (accepted, is_accepted) = oneshot::channel();
        let (closed, is_closed) = oneshot::channel();
        let start = LocalStart {
            run: self.run,
            workflow: self.start.workflow.clone(),
            input: self.start.input.clone(),
            start_at: self.start_at,
            retry: self.start.retry.clone(),
            deadline: self.deadline,
            grace_until: self.grace_until,
            trace: self.start.trace.clone(),
            attributes: self.start.attributes.clone(),
            accepted,
            closed,
        };
        if !shared.switchboard.as_ref().is_some_and(|switchboard| switchboard.start(start)) {
            return HandedOver::Refused;
        }
        // The processor may be blocked by workflow code that never yields; the start then goes to the inbox.
        match select(is_accepted, shared.host.sleep(limits::LOCAL_START_PATIENCE)).await {
            Either::Left((Ok(()), _)) => HandedOver::Accepted(is_closed),
            Either::Left((Err(_), _)) | Either::Right(_) => HandedOver::Unknown,
        }
    }

    /// The start as a submission.
    pub(super) fn prepared<W: RunType>(
        self,
        shared: Arc<ClientShared>,
        repeated: bool,
    ) -> Prepared<RunHandle<W>> {
        let Self { run, start_at, deadline, grace_until, start, .. } = self;
        let CheckedStart { workflow, input, key, signal, retry, trace, attributes, .. } = start;
        let key_text = key.as_ref().map(|key| key.text.clone());
        let opens = NewRun {
            parent: None,
            workflow: workflow.to_string(),
            key: key_text.clone(),
            input_digest: key.as_ref().and_then(|key| key.compared.digest(&input)),
            followed_by: signal,
            attributes: attributes.clone(),
        };
        let message = Message::Start {
            workflow: workflow.clone(),
            input,
            key: key_text,
            start_at,
            repeated: Flag(repeated),
            parent: None,
            retry,
            deadline,
            grace_until,
            trace,
            attributes,
        };
        let submission = Submission {
            // A run is started once, so its id can be the message's id.
            message: MessageId::from_u128(run.as_u128()),
            run,
            body: wire::encode_message(&message),
            opens: Some(opens),
        };
        Prepared::new(Arc::clone(&shared.store), submission, key.is_some(), move |answer| {
            match (answer, key) {
                // A repeated start may find its own run: over, or under its own key.
                (Submitted::Accepted | Submitted::RunOver, _) => Ok(RunHandle::unchecked(shared, run)),
                (Submitted::Existing(existing), _) => {
                    Ok(RunHandle::unchecked(shared, existing).existing(existing != run))
                }
                (Submitted::ExistingOver(existing), _) => Err(Error::run_over(existing)),
                (Submitted::KeyConflict(holder), Some(key)) => {
                    Err(Error::key_conflict(workflow, key.text, key.compared.name(), holder))
                }
                (Submitted::KeyConflict(_) | Submitted::UnknownRun, _) => {
                    let reason = format!("the start of run {run} was answered with {answer:?}");
                    Err(StoreError::corrupt(reason).into())
                }
            }
        })
    }
}
