//! `ctx.wait_for_update`: takes the next buffered update of a name, with the right to answer it. It must not know how the
//! answer reaches the client.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::future::{CallSite, DurableCall, DurableFuture, Opened};
use crate::data::id::{CommandId, MessageId};
use crate::data::name::Name;
use crate::workflow::command::{Command, ReplyToUpdate, Source};
use crate::workflow::error::{WorkflowError, WorkflowResult};
use crate::workflow::scope::Scope;
use crate::workflow::scope::arrivals::Kind;
use crate::workflow::scope::call::{CallKind, Resolution};
use crate::workflow::scope::call_handle::CallHandle;
use crate::workflow::update::Update;

/// A wait for an update. A poll takes the update only if the future is ready with it, so dropping the future loses none.
pub type UpdateFuture<Q, A> = DurableFuture<UpdateCall<Q, A>>;

/// The update that is waited for.
#[derive(Debug)]
pub struct UpdateCall<Q, A>(Update<Q, A>);

impl<Q, A> DurableFuture<UpdateCall<Q, A>> {
    pub(crate) fn update(scope: &Rc<Scope>, update: Update<Q, A>, source: Source) -> Self {
        Self::new(scope, "update", update.name(), source, UpdateCall(update))
    }
}

impl<Q: DeserializeOwned + 'static, A: Serialize + DeserializeOwned + 'static> DurableCall
    for UpdateCall<Q, A>
{
    type Output = WorkflowResult<(Q, UpdateAnswer<A>)>;

    fn open(self, site: &CallSite) -> Option<Opened<Self::Output>> {
        let kind = CallKind::Arrival(Kind::Update, site.label.name.clone());
        if let Err(problem) = site.scope.may_wait_for(Kind::Update, &site.label.name) {
            site.fault(problem);
            return None;
        }
        site.scope.check_by(&site.label.name, move |request| self.0.refusal_of(request));
        Some(Opened::Waits(CallHandle::open(&site.scope, kind, site.source)))
    }

    fn value(site: &CallSite, resolution: Resolution) -> Option<Self::Output> {
        let Resolution::Asked(asked) = resolution else { return Some(Err(WorkflowError::cancelled())) };
        let answer =
            UpdateAnswer::new(&site.scope, asked.id, asked.arrival.message, &site.label.name, site.source);
        let request =
            site.scope.decode(&format_args!("the request of {}", site.label), &asked.arrival.payload)?;
        Some(Ok((request, answer)))
    }

    fn poll(handle: &mut CallHandle, site: &CallSite, task: &mut TaskContext<'_>) -> Poll<Resolution> {
        handle.poll_arrival(Kind::Update, &site.label.name, task)
    }
}

/// The right to answer an update, once. Dropping it without an answer tells the update's client so.
///
/// ```
/// use pgworkflows::prelude::*;
///
/// const RAISE: Update<u32, u64> = Update::new("raise");
///
/// #[workflow(name = "piggy-bank")]
/// async fn piggy_bank(ctx: Context, (): ()) -> WorkflowResult<u64> {
///     let mut saved = 0;
///     while saved < 100 {
///         let (cents, answer) = ctx.wait_for_update(RAISE).await?;
///         saved += u64::from(cents);
///         answer.send(saved);
///     }
///     Ok(saved)
/// }
/// # #[tokio::main]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// # let store = pgworkflows::MemoryStore::new();
/// # let worker = Worker::builder(store.clone()).workflow::<piggy_bank>().build()?;
/// # let client = Client::new(store);
/// # let talk = async {
/// let run = client.start::<piggy_bank>(()).await?;
/// assert_eq!(run.update(RAISE, 40).await?, 40);
/// assert_eq!(run.update(RAISE, 70).await?, 110);
/// #     run.result().await
/// # };
/// # assert_eq!(worker.run_while(talk).await??, 110);
/// # Ok(())
/// # }
/// ```
#[must_use = "an update whose answer is dropped is not answered"]
pub struct UpdateAnswer<A> {
    open: Option<Unanswered>,
    answer: PhantomData<fn(A)>,
}

/// An update that was taken and has no reply.
struct Unanswered {
    scope: Rc<Scope>,
    id: CommandId,
    message: MessageId,
    update: Name,
    source: Source,
}

impl<A> UpdateAnswer<A> {
    pub(crate) fn new(
        scope: &Rc<Scope>,
        id: CommandId,
        message: MessageId,
        update: &Name,
        source: Source,
    ) -> Self {
        let (scope, update) = (Rc::clone(scope), update.clone());
        Self { open: Some(Unanswered { scope, id, message, update, source }), answer: PhantomData }
    }
}

impl<A: Serialize + DeserializeOwned> UpdateAnswer<A> {
    /// Answers the update. There is nothing to await: the answer leaves with the append that records this decision. See the
    /// example [above](UpdateAnswer).
    ///
    /// # Errors
    /// None. The run stalls if the answer cannot be encoded and decoded again, or is over the limit of a payload (2 MiB by
    /// default).
    #[track_caller]
    pub fn send(mut self, answer: A) {
        if let Some(open) = &mut self.open {
            open.source = Location::caller();
        }
        self.send_at(answer);
    }

    /// Answers the update at the line that took it, or that was set since.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "takes its answer by value, as `activity` takes its input"
    )]
    pub(super) fn send_at(mut self, answer: A) {
        let Some(Unanswered { scope, id, message, update, source }) = self.open.take() else { return };
        if let Some(answer) = scope.encode(&format_args!("the answer to update `{update}`"), &answer) {
            let reply = ReplyToUpdate { id, message, update, answer: Some(answer) };
            scope.issue(Command::ReplyToUpdate(Box::new(reply)), source);
        }
    }
}

impl<A> Drop for UpdateAnswer<A> {
    fn drop(&mut self) {
        if let Some(Unanswered { scope, id, message, update, source }) = self.open.take() {
            let reply = ReplyToUpdate { id, message, update, answer: None };
            scope.issue(Command::ReplyToUpdate(Box::new(reply)), source);
        }
    }
}

impl<A> fmt::Debug for UpdateAnswer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let update = self.open.as_ref().map(|open| &*open.update);
        f.debug_struct("UpdateAnswer").field("update", &update).finish_non_exhaustive()
    }
}
