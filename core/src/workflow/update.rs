//! Typed updates: requests to an open run, which answers them. It must not know how they are delivered.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::data::payload::Payload;

/// An update's name, the types of its request and of its answer, and what every request has to fulfil. Make it a constant that
/// workflows and clients share.
///
/// An update is a signal with an answer: the request and the answer are in the run's history. The workflow takes updates by
/// [`Context::wait_for_update`](crate::workflow::Context::wait_for_update), or serves them beside its main line by
/// [`Context::serve`](crate::workflow::Context::serve). Clients send them by
/// [`RunHandle::update`](crate::client::RunHandle::update).
///
/// ```
/// use pgworkflows::Update;
///
/// pub const RAISE: Update<u32, u64> = Update::new("raise").check(|cents| match cents {
///     0 => Err("a payment of nothing".into()),
///     _ => Ok(()),
/// });
/// assert_eq!(RAISE.name(), "raise");
/// ```
pub struct Update<Q, A> {
    name: &'static str,
    check: Option<Check<Q>>,
    answer: PhantomData<fn() -> A>,
}

/// What a request has to fulfil.
type Check<Q> = fn(&Q) -> Result<(), Refusal>;

/// Why a request is refused, in words for its sender. Make it of a text.
///
/// ```
/// use pgworkflows::workflow::Refusal;
///
/// let refusal = Refusal::from("there is no such seat");
/// assert_eq!(refusal.to_string(), "there is no such seat");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl<T: Into<String>> From<T> for Refusal {
    fn from(words: T) -> Self {
        Self(words.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<Q, A> Update<Q, A> {
    /// Makes an update of that stored name: 1 to 255 bytes without control characters, which is checked when it is sent. Open
    /// runs refer to it, so never change it. See the example [above](Update).
    pub const fn new(name: &'static str) -> Self {
        Self { name, check: None, answer: PhantomData }
    }

    /// Has every request checked, before any code of the workflow is told. The check sees the request alone, so it must give
    /// the same answer wherever it runs: at the client, before anything is sent, and again at the owner of the run, from the
    /// moment at which the workflow first waits for this update or serves it. A refusal there leaves no trace in the run's
    /// history. If the check panics, the request is refused. See the example [above](Update).
    ///
    /// What depends on the state of the run is no matter of a check, but of the answer.
    #[must_use]
    pub const fn check(mut self, check: fn(&Q) -> Result<(), Refusal>) -> Self {
        self.check = Some(check);
        self
    }

    /// The stored name: see the example [above](Update).
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Why this request is refused, if it is. The check may panic.
    pub(crate) fn refusal(&self, request: &Q) -> Result<(), Refusal> {
        self.check.map_or(Ok(()), |check| check(request))
    }
}

impl<Q: DeserializeOwned, A> Update<Q, A> {
    /// Why this request is refused, if it is: it is of another type, or the check says so. The check may panic.
    pub(crate) fn refusal_of(&self, request: &Payload) -> Result<(), Refusal> {
        match request.decode() {
            Ok(request) => self.refusal(&request),
            Err(error) => Err(format!("the request is not of the update's type: {error}").into()),
        }
    }
}

impl<Q, A> Clone for Update<Q, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q, A> Copy for Update<Q, A> {}

impl<Q, A> fmt::Debug for Update<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Update({:?})", self.name)
    }
}
