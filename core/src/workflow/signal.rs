//! Typed signals: messages from people and other systems to an open run. It must not know how they are delivered.

use std::fmt;
use std::marker::PhantomData;

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
