//! Typed signals: what people and other systems tell a run while it goes on.

use std::fmt;
use std::marker::PhantomData;

/// A signal's name with the type of its content, a [`Payload`](crate::data::payload::Payload). Make it a constant that workflows and
/// clients share.
///
/// Signals are buffered until the workflow asks for them, first in, first out per name.
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
    /// The signal of that stored name. Runs that are open refer to it: never change it.
    pub const fn new(name: &'static str) -> Self {
        Self { name, content: PhantomData }
    }

    /// The stored name.
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
