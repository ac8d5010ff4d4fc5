//! The attempts of activities and steps that were executed, and those in flight that wait for something outside of the
//! world. It must not know their purpose.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgworkflows_core::activity::ActivityContext;
use pgworkflows_core::host::AttemptOf;
use pgworkflows_core::id::{CommandId, RunId};
use pgworkflows_core::payload::Payload;

/// An attempt that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// The run that asked for it.
    pub(crate) run: RunId,
    /// The durable call.
    pub(crate) call: CommandId,
    /// The attempt, from 1 on.
    pub(crate) attempt: u32,
    /// The activity's or the step's name.
    pub(crate) name: String,
    /// The activity's input; `None` for a step.
    pub(crate) input: Option<Payload>,
    /// When it began, in virtual time since the beginning.
    pub(crate) at: Duration,
}

/// All attempts of a world.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    inner: Mutex<Inner>,
    /// How many attempts wait for something outside of the world.
    outside: AtomicUsize,
}

/// The identity of an attempt. If it is executed again after a crash, it is the same attempt.
type AttemptKey = (RunId, CommandId, u32);

#[derive(Debug, Default)]
struct Inner {
    begun: Vec<Call>,
    /// The numbers of attempts by activity, for mocks that answer one attempt after another.
    numbers: BTreeMap<&'static str, BTreeMap<AttemptKey, usize>>,
}

impl Calls {
    /// An attempt begins.
    pub(super) fn begin(&self, of: AttemptOf<'_>, at: Duration) -> Call {
        let AttemptOf { run, call, attempt, name, input, .. } = of;
        let call = Call { run, call, attempt, name: name.to_owned(), input: input.cloned(), at };
        self.lock().begun.push(call.clone());
        call
    }

    /// All attempts in the order in which they began. An attempt that was executed again is listed again.
    pub(crate) fn begun(&self) -> Vec<Call> {
        self.lock().begun.clone()
    }

    /// The attempts of one activity or step.
    pub(crate) fn begun_of(&self, name: &str) -> Vec<Call> {
        self.lock().begun.iter().filter(|call| call.name == name).cloned().collect()
    }

    /// The number of an attempt among those of its activity, starting at 0, in the order in which they first began.
    pub(crate) fn number(&self, activity: &'static str, of: &ActivityContext) -> usize {
        let attempt = (of.run_id(), of.call(), of.attempt());
        let mut inner = self.lock();
        let numbers = inner.numbers.entry(activity).or_default();
        let next = numbers.len();
        *numbers.entry(attempt).or_insert(next)
    }

    pub(super) fn waits_outside(&self) -> bool {
        self.outside.load(Ordering::Relaxed) > 0
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts an attempt among those that wait for something outside of the world, while it does.
#[derive(Debug)]
pub(super) struct Outside {
    calls: Arc<Calls>,
    counted: bool,
}

impl Outside {
    pub(super) fn new(calls: Arc<Calls>) -> Self {
        Self { calls, counted: false }
    }

    pub(super) fn set(&mut self, waits: bool) {
        if waits != self.counted {
            self.counted = waits;
            if waits {
                self.calls.outside.fetch_add(1, Ordering::Relaxed);
            } else {
                self.calls.outside.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.set(false);
    }
}
