//! Typed views: what a run shows of itself to people and other systems. It must not know where they are stored.

use std::fmt;
use std::marker::PhantomData;

/// The name of a view and the type of its values, which are stored as a [`Payload`](crate::data::payload::Payload). Make it
/// a constant that workflows and clients share.
///
/// A workflow publishes values by [`Context::publish`](crate::workflow::context::Context::publish). A client reads the newest
/// by [`RunHandle::view`](crate::client::handle::RunHandle::view), and follows them by
/// [`RunHandle::watch`](crate::client::handle::RunHandle::watch).
///
/// ```
/// use pgworkflows::View;
///
/// pub const PROGRESS: View<(u32, u32)> = View::new("progress");
/// assert_eq!(PROGRESS.name(), "progress");
/// ```
pub struct View<T> {
    name: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T> View<T> {
    /// Makes a view of that stored name: 1 to 255 bytes without control characters, which is checked when it is published or
    /// read. Values that were published are found by it, so never change it. See the example [above](View).
    pub const fn new(name: &'static str) -> Self {
        Self { name, value: PhantomData }
    }

    /// The stored name: see the example [above](View).
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> Clone for View<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<T> {}

impl<T> fmt::Debug for View<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({:?})", self.name)
    }
}
