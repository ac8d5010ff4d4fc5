//! What the scope knows of the end of a run that continues as new: with which input, and what is left to the successor. It
//! must not know how a successor begins.

use super::Scope;
use super::arrivals::Kind;
use crate::data::id::EventSeq;
use crate::data::payload::Payload;
use crate::log::event::Event;
use crate::workflow::command::Source;

impl Scope {
    /// Ends the run at the end of this poll. The first of several continuations counts. A run that may not continue faults.
    pub(crate) fn continue_as_new(&self, workflow: &str, input: Payload, source: Source) {
        self.at(source);
        if workflow != self.workflow().as_str() {
            return self.fault(format!(
                "workflow `{}` continues at {source} as workflow `{workflow}`: a run continues as its own workflow; start a \
                 run of the other one in an activity",
                self.workflow()
            ));
        }
        let registered = self.not_compensated();
        if registered > 0 {
            return self.fault(format!(
                "workflow `{workflow}` continues at {source} while {registered} of its compensations are registered, which \
                 its successor would not run: execute them before with `ctx.compensate()`, or discard them"
            ));
        }
        let problem = self.inner.borrow().carried.problem();
        if let Some(problem) = problem {
            return self.fault(format!("workflow `{workflow}` continues at {source} and carries {problem}"));
        }
        self.inner.borrow_mut().continuation.get_or_insert_with(|| Box::new(input));
    }

    /// Whether the run ends at the end of this poll, because it continues as new.
    pub(crate) fn is_continuing(&self) -> bool {
        self.inner.borrow().continuation.is_some()
    }

    /// Takes the input with which the run continues, if it does.
    pub(crate) fn take_continuation(&self) -> Option<Payload> {
        self.inner.borrow_mut().continuation.take().map(|input| *input)
    }

    /// Takes the signals and updates that nothing has taken, in the order of their arrival.
    pub(crate) fn take_left(&self) -> Vec<Event> {
        let mut inner = self.inner.borrow_mut();
        let mut left = inner.signals.take_left(Kind::Signal);
        if inner.updates.seen().is_some() {
            left.extend(inner.updates.arrivals().take_left(Kind::Update));
        }
        left.sort_unstable_by_key(|(no, _)| *no);
        left.into_iter().map(|(_, event)| event).collect()
    }

    /// The number of the resolution that is being applied.
    pub(crate) fn history_len(&self) -> u32 {
        self.seq.get().get()
    }

    /// Which attempt of the whole run this is.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt.get()
    }

    pub(crate) fn set_attempt(&self, attempt: u32) {
        self.attempt.set(attempt);
    }

    pub(crate) fn set_seq(&self, seq: EventSeq) {
        self.seq.set(seq);
    }
}
