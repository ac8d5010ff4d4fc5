//! The poll mark: which run a processor's thread is polling. The watchdog reads it from another thread. It must not
//! judge.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::data::id::RunId;
use crate::data::name::Name;
use crate::workflow::command::Source;

/// The poll that a processor is in, if any.
#[derive(Debug, Default)]
pub(crate) struct PollMark {
    /// The number of beginnings and ends of polls: odd during a poll.
    turns: AtomicU64,
    last: Mutex<Option<Polled>>,
}

/// The run of the current or last poll.
#[derive(Clone, Debug)]
struct Polled {
    run: RunId,
    workflow: Name,
    source: Option<Source>,
}

/// A poll in progress.
#[derive(Clone, Debug)]
pub(crate) struct Polling {
    /// The poll's number, unique within this mark.
    pub(crate) number: u64,
    pub(crate) run: RunId,
    pub(crate) workflow: Name,
    /// The source line of the last durable call, in this poll or an earlier one.
    pub(crate) source: Option<Source>,
}

impl Polling {
    /// The source line of the last durable call, as text.
    pub(crate) fn last_call(&self) -> String {
        self.source.map_or_else(|| "none yet".to_owned(), |source| source.to_string())
    }
}

impl PollMark {
    pub(crate) fn begin(&self, run: RunId, workflow: &Name, source: Option<Source>) {
        *self.lock() = Some(Polled { run, workflow: workflow.clone(), source });
        self.turn();
    }

    /// Begins another poll of a run, given what [`PollMark::end`] returned after its last one, unless another run was polled
    /// since. A replay polls one run many times, and saves the lock.
    pub(crate) fn begin_again(&self, last: Option<NonZeroU64>) -> bool {
        let again = last.is_some_and(|last| last.get() == self.turns.load(Ordering::Relaxed));
        if again {
            self.turn();
        }
        again
    }

    /// Records that the code makes a durable call at another line than before.
    pub(crate) fn at(&self, source: Source) {
        if let Some(last) = self.lock().as_mut() {
            last.source = Some(source);
        }
    }

    /// Ends the poll. Returns the number of turns so far.
    pub(crate) fn end(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.turn())
    }

    /// Only the processor's thread writes the number, so that no atomic addition is needed.
    fn turn(&self) -> u64 {
        let turns = self.turns.load(Ordering::Relaxed) + 1;
        self.turns.store(turns, Ordering::Release);
        turns
    }

    pub(crate) fn current(&self) -> Option<Polling> {
        let number = self.turns.load(Ordering::Acquire);
        let Polled { run, workflow, source } = self.lock().clone()?;
        // The fields are of no poll that ended while they were read.
        let in_progress = number % 2 == 1 && self.turns.load(Ordering::Acquire) == number;
        in_progress.then_some(Polling { number, run, workflow, source })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Polled>> {
        // No user code runs while this lock is held, and the mark is consistent at all times.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;
    use crate::data::attributes::Attributes;
    use crate::data::id::{CommandId, EventSeq, LeaseId};
    use crate::data::payload::Payload;
    use crate::data::time::Timestamp;
    use crate::log::event::Event;
    use crate::workflow::async_program::{AsyncProgram, MakeFuture};
    use crate::workflow::locals::Locals;
    use crate::workflow::program::Program;
    use crate::workflow::scope::Scope;

    #[test]
    fn poll_without_a_durable_call_shows_the_last_call_before_it() {
        // Given a program that reads its own mark after a sleep, before any other durable call
        let mark = Arc::new(PollMark::default());
        let seen = Arc::new(Mutex::new(None));
        let (program_mark, program_seen) = (Arc::clone(&mark), Arc::clone(&seen));
        let make: Arc<MakeFuture> = Arc::new(move |ctx, _| {
            let (mark, seen) = (Arc::clone(&program_mark), Arc::clone(&program_seen));
            Ok(Box::pin(async move {
                ctx.sleep(std::time::Duration::from_secs(1)).await?;
                *seen.lock().unwrap() = mark.current().and_then(|polling| polling.source);
                Ok(Payload::encode(&())?)
            }))
        });
        let (run, workflow) = (RunId::from_u128(0), Name::from_static("sleeper"));
        let scope = Scope::new(run, workflow.clone(), 100, Arc::default(), Arc::clone(&mark));
        let mut program = AsyncProgram::new(make, Rc::clone(&scope), Arc::default());

        // When it is polled after the timer has fired
        let input = Payload::encode(&()).unwrap();
        let started = Event::RunStarted {
            workflow,
            input,
            key: None,
            start_at: None,
            deadline: None,
            grace_until: None,
            lease: LeaseId::FIRST,
            parent: None,
            parent_call: None,
            chain: None,
            run_retry: None,
            trace: None,
            carried: None,
            attributes: Attributes::default(),
        };
        program.apply(EventSeq::FIRST, Timestamp::MIN, &started, Locals::default()).unwrap();
        let fired = Event::TimerFired { id: CommandId::FIRST };
        program.apply(EventSeq::new(3), Timestamp::MIN, &fired, Locals::default()).unwrap();

        // Then the mark shows the line of the sleep
        let source = seen.lock().unwrap().expect("a durable call was made");
        assert!(source.file().ends_with("mark.rs"), "{source}");
    }
}
