//! The local resolutions of a poll: made by a live poll, found in the log by a replay. It must not know their kinds.

use std::fmt;

use super::{Inner, Scope};
use crate::data::id::CommandId;
use crate::data::random::Stream;
use crate::log::event::Event;
use crate::workflow::command::Source;
use crate::workflow::fault::Fault;

impl Scope {
    /// Returns a local resolution: a live poll makes it, and a replay finds it in the log. `did` says what the code does,
    /// such as "records value `rate`". `make` returns the event and its approximate size in the log, which is `EVENT_BYTES`
    /// and the bytes of its payload. `None` after a fault of the run.
    pub(crate) fn local(
        &self,
        did: &dyn fmt::Display,
        source: Source,
        is_match: impl Fn(&Event) -> bool,
        make: impl FnOnce() -> Option<(Event, usize)>,
    ) -> Option<Event> {
        self.at(source);
        if self.is_recorded() {
            let mut inner = self.inner.borrow_mut();
            let found = inner.locals.take(is_match);
            if found.is_none() {
                let instead = inner.locals.take_unclaimed().map(Box::new);
                let fault = Fault::Unrecorded { did: format!("{did} at {source}"), instead };
                inner.fault.get_or_insert_with(|| Box::new(fault));
            }
            return found;
        }
        let before = self.inner.borrow().footprint();
        let (made, size) = make()?;
        let mut inner = self.inner.borrow_mut();
        if inner.footprint() != before {
            let problem = format!(
                "the workflow {did} at {source} with a closure that uses the workflow's context, but a replay does not \
                 call the closure; call the context before, and use its result in the closure"
            );
            inner.fault.get_or_insert_with(|| Box::new(problem.into()));
            return None;
        }
        if !inner.fits(size, did, source) {
            return None;
        }
        inner.locals.push(made.clone(), size);
        Some(made)
    }
}

impl Inner {
    /// The state that every use of a run's context changes.
    fn footprint(&self) -> (CommandId, Stream, usize, usize) {
        (self.next_command, self.random, self.issued.len(), self.locals.new_count())
    }
}
