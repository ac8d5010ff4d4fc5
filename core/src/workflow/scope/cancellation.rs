//! Cancellation: which open calls a cancellation resolves, and the latch for one that finds none. It must not know who
//! cancels.
//!
//! A call belongs to the cancel scope in whose poll it opens. A cancellation of a scope reaches the calls in it and in the
//! scopes within it, but none in a shield.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use super::Scope;
use super::call::{OpenCall, Resolution};
use crate::data::id::CommandId;

/// A part of the workflow's code that is cancelled by itself, or that is shielded from cancellations. `None` stands for the
/// whole of the code.
pub(crate) struct CancelScope {
    /// The part in whose poll it was polled first; unknown before.
    within: OnceCell<Option<Rc<CancelScope>>>,
    is_shield: bool,
    cancelled: Cell<bool>,
    latched: Cell<bool>,
}

/// Where the code that is polled belongs to, and the cancellation of all of it.
#[derive(Default)]
pub(super) struct Cancellations {
    current: Cell<Option<Rc<CancelScope>>>,
    cancelled: Cell<bool>,
    latched: Cell<bool>,
}

/// Puts the scope back that was current before, also if the code panics.
struct Restore<'a> {
    cancellations: &'a Cancellations,
    before: Option<Rc<CancelScope>>,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        self.cancellations.current.set(self.before.take());
    }
}

impl CancelScope {
    /// A part that can be cancelled, or one that is shielded.
    pub(crate) fn new(is_shield: bool) -> Rc<Self> {
        let (cancelled, latched) = (Cell::new(false), Cell::new(false));
        Rc::new(Self { within: OnceCell::new(), is_shield, cancelled, latched })
    }
}

impl Cancellations {
    /// The scope of the code that is polled.
    pub(super) fn current(&self) -> Option<Rc<CancelScope>> {
        let current = self.current.take();
        self.current.set(current.clone());
        current
    }
}

/// The scopes from this one outwards, up to a shield. The second value is whether there is none.
fn outwards(from: Option<&Rc<CancelScope>>) -> (Vec<&CancelScope>, bool) {
    let (mut scopes, mut next) = (Vec::new(), from);
    while let Some(scope) = next.filter(|scope| !scope.is_shield) {
        scopes.push(&**scope);
        next = scope.within.get().and_then(Option::as_ref);
    }
    (scopes, next.is_none())
}

impl Scope {
    /// Polls code of that part.
    pub(crate) fn enclosed<T>(&self, part: &Rc<CancelScope>, poll: impl FnOnce() -> T) -> T {
        let cancellations = &self.cancellations;
        let before = cancellations.current.replace(Some(Rc::clone(part)));
        part.within.get_or_init(|| before.clone());
        let _restore = Restore { cancellations, before };
        poll()
    }

    /// How many cancellations have reached the code that is polled, whether or not they found a call.
    pub(crate) fn cancellations(&self) -> usize {
        let current = self.cancellations.current();
        let (scopes, is_open) = outwards(current.as_ref());
        let scoped = scopes.into_iter().filter(|scope| scope.cancelled.get()).count();
        scoped + usize::from(is_open && self.cancellations.cancelled.get())
    }

    /// Takes a cancellation that found no call: the call that the code is about to make is cancelled in their place.
    pub(crate) fn take_latched(&self) -> bool {
        let current = self.cancellations.current();
        let (scopes, is_open) = outwards(current.as_ref());
        let mut latched = is_open && self.cancellations.latched.take();
        for scope in scopes {
            latched |= scope.latched.take();
        }
        latched
    }

    /// The run was asked to cancel itself.
    pub(crate) fn cancel(&self) {
        // By a client, or by its deadline: the other one changes nothing.
        if self.cancellations.cancelled.replace(true) {
            return;
        }
        if !self.cancel_calls(None) {
            self.cancellations.latched.set(true);
        }
    }

    /// Cancels a part of the code, at most once. Returns whether it was not cancelled before.
    pub(crate) fn cancel_part(&self, part: &Rc<CancelScope>) -> bool {
        if part.cancelled.replace(true) {
            return false;
        }
        if !self.cancel_calls(Some(part)) {
            part.latched.set(true);
        }
        true
    }

    /// Cancels all open calls of a part in the order of their ids, and resolves them with the cancellation, except for those
    /// that are shielded. Returns whether there were any.
    fn cancel_calls(&self, part: Option<&Rc<CancelScope>>) -> bool {
        let open: Vec<CommandId> = {
            let inner = self.inner.borrow();
            let ends = |call: &OpenCall| {
                call.resolution.is_none() && !call.outlives_cancellation && call.is_reached_from(part)
            };
            inner.calls.iter().filter(|(_, call)| ends(call)).map(|(id, _)| id).collect()
        };
        open.iter().for_each(|id| self.cancel_open(*id));
        !open.is_empty()
    }

    /// Cancels an open call, and resolves it with the cancellation unless it goes on until what it waits for is cancelled.
    pub(super) fn cancel_open(&self, id: CommandId) {
        if !self.request_cancel(id) {
            self.cancel_call(id);
            self.resolve(id, Resolution::Cancelled);
        }
    }
}

impl OpenCall {
    fn is_reached_from(&self, part: Option<&Rc<CancelScope>>) -> bool {
        let (scopes, is_open) = outwards(self.within.as_ref());
        match part {
            Some(part) => scopes.into_iter().any(|scope| std::ptr::eq(scope, &raw const **part)),
            None => is_open,
        }
    }
}
