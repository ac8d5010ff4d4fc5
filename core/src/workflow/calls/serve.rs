//! `ctx.serve`: a handler for the signals or updates of a name, beside the main line. It must not know when it is polled.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::until::UntilFuture;
use super::update::UpdateAnswer;
use crate::data::name::Name;
use crate::workflow::command::Source;
use crate::workflow::error::WorkflowResult;
use crate::workflow::scope::Scope;
use crate::workflow::scope::arrivals::{Arrival, Kind};
use crate::workflow::scope::handlers::{Begin, Service};
use crate::workflow::signal::{NamedSignal, Signal};
use crate::workflow::update::Update;

/// What [`Context::serve`](crate::workflow::Context::serve) takes: a [`Signal`], a [`NamedSignal`] or an [`Update`].
#[expect(private_bounds, reason = "sealed: only this crate's messages are served")]
pub trait Served: Definition<Self::Answer> {
    /// What its handler takes: the content of the signal, or the request.
    type Request: DeserializeOwned + 'static;
    /// What its handler returns: nothing, or the answer.
    type Answer: 'static;
}

/// What a handler has to know of the definition that it serves.
pub(crate) trait Definition<A>: 'static {
    /// What the handler's return value is given to.
    type Reply: 'static;

    fn service(&self) -> Service;

    /// What precedes the name of the payload, in words.
    fn part(&self) -> &'static str;

    /// Has requests checked before they are delivered.
    fn check_in(&self, scope: &Scope);

    /// The right to answer an arrival.
    fn reply_to(scope: &Rc<Scope>, name: &Name, arrival: &Arrival, source: Source) -> Self::Reply;

    fn answer(reply: Self::Reply, answer: A);
}

impl<T: DeserializeOwned + 'static> Served for Signal<T> {
    type Request = T;
    type Answer = ();
}

impl<T: 'static> Definition<()> for Signal<T> {
    type Reply = ();

    fn service(&self) -> Service {
        (Kind::Signal, Name::from_static(self.name()))
    }

    fn part(&self) -> &'static str {
        "content"
    }

    fn check_in(&self, _: &Scope) {}

    fn reply_to(_: &Rc<Scope>, _: &Name, _: &Arrival, _: Source) {}

    fn answer((): (), (): ()) {}
}

impl<T: DeserializeOwned + 'static> Served for NamedSignal<T> {
    type Request = T;
    type Answer = ();
}

impl<T: 'static> Definition<()> for NamedSignal<T> {
    type Reply = ();

    fn service(&self) -> Service {
        (Kind::Signal, self.name().clone())
    }

    fn part(&self) -> &'static str {
        "content"
    }

    fn check_in(&self, _: &Scope) {}

    fn reply_to(_: &Rc<Scope>, _: &Name, _: &Arrival, _: Source) {}

    fn answer((): (), (): ()) {}
}

impl<Q, A> Served for Update<Q, A>
where
    Q: DeserializeOwned + 'static,
    A: Serialize + DeserializeOwned + 'static,
{
    type Request = Q;
    type Answer = A;
}

impl<Q, A> Definition<A> for Update<Q, A>
where
    Q: DeserializeOwned + 'static,
    A: Serialize + DeserializeOwned + 'static,
{
    type Reply = UpdateAnswer<A>;

    fn service(&self) -> Service {
        (Kind::Update, Name::from_static(self.name()))
    }

    fn part(&self) -> &'static str {
        "request"
    }

    fn check_in(&self, scope: &Scope) {
        let update = *self;
        scope.check_by(&self.service().1, move |request| update.refusal_of(request));
    }

    fn reply_to(scope: &Rc<Scope>, name: &Name, arrival: &Arrival, source: Source) -> Self::Reply {
        UpdateAnswer::new(scope, scope.next_id(source), arrival.message, name, source)
    }

    fn answer(reply: Self::Reply, answer: A) {
        reply.send_at(answer);
    }
}

/// A registered handler: it takes what arrives for as long as this guard lives. See
/// [`Context::serve`](crate::workflow::Context::serve) for an example.
///
/// Dropping the guard ends that at once. A handler at work goes on until it returns, or until the workflow does; then it is
/// dropped, and the client of its update is told that it was dropped. [`drain`](Self::drain) waits for it instead.
#[must_use = "a handler takes nothing any more once its guard is dropped"]
pub struct Serving {
    scope: Rc<Scope>,
    service: Service,
    /// `None` after a fault.
    number: Option<u64>,
}

impl Serving {
    pub(crate) fn new<D, F>(scope: &Rc<Scope>, definition: D, handler: F, source: Source) -> Self
    where
        D: Served,
        F: AsyncFn(D::Request) -> D::Answer + 'static,
    {
        let (service, part) = (definition.service(), definition.part());
        let begin = begin::<D, F>(scope, &service, part, handler, source);
        let number = match scope.serve(&service, begin, source) {
            Ok(number) => {
                definition.check_in(scope);
                Some(number)
            }
            Err(problem) => {
                scope.fault(format!("the handler at {source}: {problem}"));
                None
            }
        };
        Self { scope: Rc::clone(scope), service, number }
    }

    /// Waits until the handler has taken all that has arrived, and is at work no more. Then the guard is dropped. What arrives
    /// meanwhile is taken as well, so after it nothing of this name is left for as long as the workflow awaits nothing.
    ///
    /// ```
    /// use pgworkflows::prelude::*;
    ///
    /// const NOTE: Signal<String> = Signal::new("note");
    ///
    /// async fn notes(ctx: &Context) -> WorkflowResult<usize> {
    ///     let notes = Shared::new(Vec::new());
    ///     let kept = notes.clone();
    ///     let taking = ctx.serve(NOTE, async move |note| kept.with(|notes| notes.push(note)));
    ///     ctx.sleep(Duration::from_secs(3600)).await?;
    ///     taking.drain().await?;
    ///     Ok(notes.with(|notes| notes.len()))
    /// }
    /// ```
    ///
    /// # Errors
    /// The future returns an error if the run is cancelled first. The guard is dropped then, too.
    #[track_caller]
    pub fn drain(self) -> impl Future<Output = WorkflowResult<()>> {
        let source = Location::caller();
        async move { UntilFuture::new(&self.scope, || self.scope.is_drained(&self.service), source).await }
    }
}

/// What makes the future of a handler from an arrival.
fn begin<D, F>(
    scope: &Rc<Scope>,
    service: &Service,
    part: &'static str,
    handler: F,
    source: Source,
) -> Rc<Begin>
where
    D: Served,
    F: AsyncFn(D::Request) -> D::Answer + 'static,
{
    let (scope, (kind, name), handler) = (Rc::clone(scope), service.clone(), Rc::new(handler));
    Rc::new(move |arrival: Arrival| {
        let reply = D::reply_to(&scope, &name, &arrival, source);
        let what = format_args!("the {part} of {kind} `{name}`");
        let request = scope.decode::<D::Request>(&what, &arrival.payload)?;
        let handler = Rc::clone(&handler);
        Some(Box::pin(async move {
            let answer = handler(request).await;
            D::answer(reply, answer);
        }))
    })
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.scope.stop_serving(&self.service, number);
        }
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = &self.service;
        write!(f, "Serving({kind} `{name}`)")
    }
}
