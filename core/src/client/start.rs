//! `client.start`: opens a run and its start message, in one submission. It must not know what becomes of them.

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::{BoxFuture, Either, select};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::client::call::{ClientShared, Shards};
use crate::client::handle::RunHandle;
use crate::client::request::{Prepared, Request};
use crate::client::run_type::{RunType, Untyped};
use crate::data::id::{MessageId, RunId, ShardId};
use crate::data::limits;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::error::Error;
use crate::log::event::Event;
use crate::log::message::{Flag, Message};
use crate::log::wire;
use crate::store::error::StoreError;
use crate::store::inbox::{NewRun, Submission, Submitted};
use crate::store::switchboard::LocalStart;
use crate::store::watch::Notice;
use crate::workflow::Workflow;
use crate::workflow::registry::check_name;

/// A start: await it, and the run exists.
///
/// ```
/// # use pgworkflows::prelude::*;
/// # use pgworkflows::{Client, Context, Error, RunHandle};
/// # struct Reminder;
/// # impl Workflow for Reminder {
/// #     const NAME: &'static str = "reminder";
/// #     type Input = String;
/// #     type Output = ();
/// #     async fn run(_: Context, _: String) -> WorkflowResult<()> { Ok(()) }
/// # }
/// async fn remind(client: &Client, order: u64) -> Result<RunHandle<Reminder>, Error> {
///     client
///         .start::<Reminder>("water the plants".to_owned())
///         .key(format!("order:{order}"))
///         .delay(Duration::from_secs(3600))
///         .await
/// }
/// ```
///
/// # Errors
/// * [`Error::is_invalid`]: a name or key that is empty, longer than 255 bytes or has control characters; a delay
///   of zero; a start beyond the year 9999; an input over the limit. The store has not been asked.
/// * [`Error::is_payload`]: the input cannot be encoded, or not be read again by its own type.
/// * [`Error::is_key_conflict`]: a run of this workflow was started under the key with another input, or another
///   digest.
/// * [`Error::is_key_held`]: an open transaction holds the key. It is waited for, but not for long: one second with a
///   PostgreSQL store. The error names the transaction. Repeat the start when it has ended.
/// * [`Error::is_unavailable`]: whether the run was started is not known. A start with a key may be repeated.
#[must_use = "a start does nothing until it is awaited"]
pub struct StartRun<W: RunType> {
    shared: Arc<ClientShared>,
    workflow: Name,
    input: Result<Payload, Error>,
    key: Option<Key>,
    begin: Begin,
    of: PhantomData<fn() -> W>,
}

/// An idempotency key, and what must be equal for two starts with it to be the same.
#[derive(Clone, Debug)]
struct Key {
    text: String,
    compared: Compared,
}

#[derive(Clone, Copy, Debug)]
enum Compared {
    Input,
    Nothing,
    Digest([u8; 32]),
}

/// When a run is to begin.
#[derive(Clone, Copy, Debug)]
enum Begin {
    AtOnce,
    After(Duration),
    At(DateTime<Utc>),
}

impl<W: Workflow> StartRun<W> {
    pub(super) fn typed(shared: Arc<ClientShared>, input: &W::Input) -> Self {
        let workflow = Name::from_static(W::NAME);
        let input = shared.encode(&input_of(&workflow), input);
        Self { shared, workflow, input, key: None, begin: Begin::AtOnce, of: PhantomData }
    }
}

impl StartRun<Untyped> {
    pub(super) fn named(shared: Arc<ClientShared>, workflow: Name, input: Payload) -> Self {
        let input = shared.check_payload(&input_of(&workflow), input);
        Self { shared, workflow, input, key: None, begin: Begin::AtOnce, of: PhantomData }
    }
}

impl<W: RunType> StartRun<W> {
    /// The start's idempotency key, unique per workflow for as long as the run is retained. A second start with
    /// the same key and the same input gives a handle of the first one's run; with another input it is an error
    /// that names where the two differ.
    ///
    /// Inputs are the same if they are written alike, the entries of maps in any order. The items of a list have an
    /// order, and so have those of a `HashSet`, a new one in every process: use a `BTreeSet` in the input, or say
    /// with [`StartRun::key_only`] or [`StartRun::key_with_digest`] what is to be compared instead. Each of the three
    /// replaces what was said before.
    ///
    /// An input in JSON and one from Rust are the same if their values are, whatever the whitespace and the form of
    /// numbers. Bytes, 32-bit floats and maps whose keys are no texts are written differently by the two, and so count
    /// as another input.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.keyed(key, Compared::Input)
    }

    /// As [`StartRun::key`], but the key alone counts: a second start with it gives a handle of the first one's run,
    /// whatever its input. For inputs with parts that differ from try to try, such as the time of a request.
    pub fn key_only(self, key: impl Into<String>) -> Self {
        self.keyed(key, Compared::Nothing)
    }

    /// As [`StartRun::key`], but what is compared is this digest instead of one of the input: a hash of the parts that
    /// make two starts the same, such as their SHA-256. All starts with the key have to make it in the same way.
    pub fn key_with_digest(self, key: impl Into<String>, digest: [u8; 32]) -> Self {
        self.keyed(key, Compared::Digest(digest))
    }

    fn keyed(mut self, key: impl Into<String>, compared: Compared) -> Self {
        self.key = Some(Key { text: key.into(), compared });
        self
    }

    /// Has the workflow begin that long after the start, by the store's clock. The run exists at once. Replaces
    /// an earlier `start_at`.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.begin = Begin::After(delay);
        self
    }

    /// Has the workflow begin at that time by the store's clock, at once if it has passed. The run exists at
    /// once. Replaces an earlier `delay`.
    pub fn start_at(mut self, time: DateTime<Utc>) -> Self {
        self.begin = Begin::At(time);
        self
    }

    /// What is known without the store.
    fn check(self) -> Result<Checked, Error> {
        check_name("workflow", &self.workflow)?;
        if let Some(key) = &self.key {
            check_name("key", &key.text)?;
        }
        self.begin.check(&self.workflow)?;
        Ok(Checked { workflow: self.workflow, input: self.input?, key: self.key, begin: self.begin })
    }
}

fn input_of(workflow: &Name) -> String {
    format!("the input of workflow `{workflow}`")
}

impl<W: RunType> Request for StartRun<W> {
    /// A handle that does not take the run for granted: the transaction may be rolled back.
    type Answer = RunHandle<W>;

    fn prepare(self) -> BoxFuture<'static, Result<Prepared<RunHandle<W>>, Error>> {
        let shared = Arc::clone(&self.shared);
        let checked = self.check();
        Box::pin(async move {
            let (shards, now) = shared.shards().await?;
            let placed = checked?.place(shards, now, |_| None, shared.host.random())?;
            Ok(placed.prepared(shared, false))
        })
    }
}

impl<W: RunType> IntoFuture for StartRun<W> {
    type Output = Result<RunHandle<W>, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let shared = Arc::clone(&self.shared);
        let checked = self.check();
        Box::pin(async move {
            let checked = checked?;
            let (shards, now) = shared.shards().await?;
            let nearest =
                |wanted| shared.switchboard.as_ref()?.nearest(wanted, shards.first(), shards.last());
            let placed = checked.place(shards, now, nearest, shared.host.random())?;
            let repeated = placed.is_local;
            if repeated && let Some(closed) = placed.hand_over(&shared).await {
                return Ok(RunHandle::known(shared, placed.run, false).told(closed));
            }
            let input = placed.start.input.clone();
            let prepared = placed.prepared(Arc::clone(&shared), repeated);
            match shared.submit(prepared).await {
                Ok(run) => Ok(run.committed()),
                Err(error) => Err(explained(error, &shared, &input).await),
            }
        })
    }
}

impl Begin {
    fn check(self, workflow: &str) -> Result<(), Error> {
        match self {
            Self::AtOnce => Ok(()),
            Self::After(delay) if delay.is_zero() => Err(Error::invalid(format!(
                "the start of workflow `{workflow}` is delayed by zero; leave `delay` out to start at once"
            ))),
            Self::After(_) => Ok(()),
            Self::At(time) if Timestamp::from(time) > Timestamp::MAX_DEADLINE => {
                Err(Error::invalid(format!(
                    "the start of workflow `{workflow}` is set to {time}, and the latest time there is is {}; start \
                 it earlier",
                    Timestamp::MAX_DEADLINE
                )))
            }
            Self::At(_) => Ok(()),
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

/// A start that may be sent.
struct Checked {
    workflow: Name,
    input: Payload,
    key: Option<Key>,
    begin: Begin,
}

impl Checked {
    /// Gives the run its id, and with it its shard: one that `nearest` finds in this process, if it may be any.
    fn place(
        self,
        shards: Shards,
        now: Timestamp,
        nearest: impl Fn(ShardId) -> Option<ShardId>,
        random: u64,
    ) -> Result<Placed, Error> {
        let start_at = self.begin.at(&self.workflow, now)?;
        // A key always leads to the same shard, so that two starts with it meet there.
        let wanted = shards.nth(self.key.as_ref().map_or(random, |key| key_prefix(&key.text)));
        let local = if self.key.is_none() { nearest(wanted) } else { None };
        let run = RunId::new(now, local.unwrap_or(wanted), random);
        Ok(Placed { run, is_local: local.is_some(), start_at, start: self })
    }
}

/// A start whose run has an id.
struct Placed {
    run: RunId,
    /// Whether a processor of this process owned its shard just now.
    is_local: bool,
    start_at: Option<Timestamp>,
    start: Checked,
}

impl Placed {
    /// Hands the start to the processor of this process. Answers when the run is in the log, with what will tell of
    /// its end; `None` if whether it is there is not known.
    async fn hand_over(&self, shared: &ClientShared) -> Option<oneshot::Receiver<Notice>> {
        let (accepted, is_accepted) = oneshot::channel();
        let (closed, is_closed) = oneshot::channel();
        shared.switchboard.as_ref()?.start(LocalStart {
            run: self.run,
            workflow: self.start.workflow.clone(),
            input: self.start.input.clone(),
            start_at: self.start_at,
            accepted,
            closed,
        });
        // A processor may be held up by workflow code that never yields: the inbox takes the start then.
        match select(is_accepted, shared.host.sleep(limits::LOCAL_START_PATIENCE)).await {
            Either::Left((Ok(()), _)) => Some(is_closed),
            Either::Left((Err(_), _)) | Either::Right(_) => None,
        }
    }

    /// The start as a submission.
    fn prepared<W: RunType>(self, shared: Arc<ClientShared>, repeated: bool) -> Prepared<RunHandle<W>> {
        let Self { run, start_at, start: Checked { workflow, input, key, .. }, .. } = self;
        let key_text = key.as_ref().map(|key| key.text.clone());
        let opens = NewRun {
            workflow: workflow.to_string(),
            key: key_text.clone(),
            input_digest: key.as_ref().and_then(|key| key.compared.digest(&input)),
        };
        let message = Message::Start {
            workflow: workflow.clone(),
            input,
            key: key_text,
            start_at,
            repeated: Flag(repeated),
        };
        let submission = Submission {
            // A run is started once, so the run names the message as well.
            message: MessageId::from_u128(run.as_u128()),
            run,
            body: wire::encode_message(&message),
            opens: Some(opens),
        };
        Prepared::new(Arc::clone(&shared.store), submission, key.is_some(), move |answer| {
            match (answer, key) {
                // A start that was repeated may find its own run over, or under its own key.
                (Submitted::Accepted | Submitted::RunOver, _) => Ok(RunHandle::unchecked(shared, run)),
                (Submitted::Existing(existing), _) => {
                    Ok(RunHandle::unchecked(shared, existing).existing(existing != run))
                }
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

impl Compared {
    fn digest(self, input: &Payload) -> Option<[u8; 32]> {
        match self {
            Self::Input => Some(input.canonical_digest()),
            Self::Nothing => None,
            Self::Digest(digest) => Some(digest),
        }
    }

    /// What the other start has another one of.
    fn name(self) -> &'static str {
        match self {
            Self::Input | Self::Nothing => "input",
            Self::Digest(_) => "digest",
        }
    }
}

/// Adds to a key conflict where the two inputs differ, if the log has the other one already, and it is to be had.
async fn explained(error: Error, shared: &ClientShared, input: &Payload) -> Error {
    let Some(holder) = error.run().filter(|_| error.is_key_conflict()) else { return error };
    let Ok(history) = shared.retry(|| shared.store.query().history(holder, None, 1)).await else {
        return error;
    };
    let first = history.first().map(|event| wire::decode_event(event.name.as_str(), &event.body));
    match first {
        Some(Ok(Event::RunStarted { input: theirs, .. })) => error.differing_in(input.differences(&theirs)),
        _ => error,
    }
}

/// The first 8 bytes of a key's SHA-256, big endian. Modulo the queue's number of shards it is the place of the
/// key's shard in the queue; every client, in whatever language, computes the same.
fn key_prefix(key: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    digest[..8].iter().fold(0, |prefix, byte| prefix << 8 | u64::from(*byte))
}

impl<W: RunType> fmt::Debug for StartRun<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartRun")
            .field("workflow", &self.workflow)
            .field("key", &self.key)
            .field("begin", &self.begin)
            .finish_non_exhaustive()
    }
}
