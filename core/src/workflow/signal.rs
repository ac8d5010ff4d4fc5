//! Typed signals: messages from people and other systems to an open run. It must not know how they are delivered.

use std::fmt;
use std::marker::PhantomData;

use crate::data::name::Name;
use crate::data::recipient::Recipient;
use crate::workflow::Workflow;

/// A signal's name and the type of its content, which is stored as a [`Payload`](crate::data::payload::Payload). Make it
/// a constant that workflows and clients share.
///
/// Signals are buffered until the workflow takes them by [`Context::wait_for`](crate::workflow::context::Context::wait_for),
/// first in, first out per name.
///
/// ```
/// use pgworkflows::Signal;
///
/// pub const APPROVED: Signal<bool> = Signal::new("approved");
/// assert_eq!(APPROVED.name(), "approved");
/// ```
pub struct Signal<T> {
    name: &'static str,
    content: PhantomData<fn() -> T>,
}

impl<T> Signal<T> {
    /// Makes a signal of that stored name: 1 to 255 bytes without control characters, which is checked when it is sent.
    /// Open runs refer to it, so never change it. See the example [above](Signal).
    pub const fn new(name: &'static str) -> Self {
        Self { name, content: PhantomData }
    }

    /// The stored name: see the example [above](Signal).
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> Clone for Signal<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Signal<T> {}

impl<T> fmt::Debug for Signal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signal({:?})", self.name)
    }
}

/// A [`Signal`] whose name is made at run time, such as one for each of a run's many customers. Everything that takes a signal
/// takes either.
///
/// ```
/// use pgworkflows::NamedSignal;
/// use pgworkflows::prelude::*;
///
/// fn answer_of(customer: u64) -> NamedSignal<bool> {
///     NamedSignal::new(format!("answer-of-{customer}"))
/// }
///
/// #[workflow(name = "survey")]
/// async fn survey(ctx: Context, customers: Vec<u64>) -> WorkflowResult<usize> {
///     let answers = customers.into_iter().map(|customer| ctx.wait_for(answer_of(customer)));
///     let answers = ctx.when_all(answers).await?;
///     Ok(answers.into_iter().filter(|answer| *answer).count())
/// }
/// # #[tokio::main]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// # let store = pgworkflows::MemoryStore::new();
/// # let worker = Worker::builder(store.clone()).workflow::<survey>().build()?;
/// # let client = Client::new(store);
/// # let talk = async {
/// #     let run = client.start::<survey>(vec![7, 8]).await?;
/// run.signal(answer_of(8), true).await?;
/// run.signal(answer_of(7), false).await?;
/// #     run.result().await
/// # };
/// # assert_eq!(worker.run_while(talk).await??, 1);
/// # Ok(())
/// # }
/// ```
pub struct NamedSignal<T> {
    name: Name,
    content: PhantomData<fn() -> T>,
}

impl<T> NamedSignal<T> {
    /// Makes a signal of that stored name: 1 to 255 bytes without control characters, which is checked when it is used. A
    /// workflow must make the same name again in every replay. See the example [above](NamedSignal).
    pub fn new(name: impl Into<Name>) -> Self {
        Self { name: name.into(), content: PhantomData }
    }

    /// The stored name: see the example [above](NamedSignal).
    pub fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn into_name(self) -> Name {
        self.name
    }
}

impl<T> From<Signal<T>> for NamedSignal<T> {
    fn from(signal: Signal<T>) -> Self {
        Self { name: Name::from_static(signal.name), content: PhantomData }
    }
}

impl<T> Clone for NamedSignal<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), content: PhantomData }
    }
}

impl<T> fmt::Debug for NamedSignal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamedSignal({:?})", self.name)
    }
}

impl Recipient {
    /// The run of workflow `W` that was started with this key. See [`Recipient`] for an example.
    pub fn keyed<W: Workflow>(key: impl Into<String>) -> Self {
        Self::named(Name::from_static(W::NAME), key)
    }
}
