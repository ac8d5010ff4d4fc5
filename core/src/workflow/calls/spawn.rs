//! `ctx.spawn`: makes a durable call at once, before its future is awaited. It must not know which call.

use super::future::{DurableCall, DurableFuture};
use super::scoped::Scoped;
use super::timeout::Timeout;

/// A durable call that can be made before its future is awaited: an activity, a step, a timer, a wait for a signal, and
/// each of these with a timeout. See [`Context::spawn`](crate::workflow::context::Context::spawn).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no call that can be made at once",
    note = "`ctx.spawn` takes the future of a call: an activity, a step, a timer or a signal; other code is executed only \
            while it is awaited, for example in a branch of `ctx.when_all`"
)]
#[expect(private_bounds, reason = "sealed: only this crate's futures are calls")]
pub trait Spawn: Scoped + OpenNow {}

/// How a call is made without a poll.
pub(crate) trait OpenNow {
    fn open_now(&mut self);
}

impl<C: DurableCall> Spawn for DurableFuture<C> {}
impl<C: DurableCall> OpenNow for DurableFuture<C> {
    fn open_now(&mut self) {
        Self::open_now(self);
    }
}

impl<F: Spawn> Spawn for Timeout<F> {}
impl<F: Spawn> OpenNow for Timeout<F> {
    fn open_now(&mut self) {
        if let Some((future, timer)) = self.race_mut() {
            future.open_now();
            timer.open_now();
        }
    }
}
