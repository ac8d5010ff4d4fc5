//! Where a processor's thread is: what its watchdog reads from another thread. It must not judge.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::data::id::RunId;
use crate::data::name::Name;
use crate::workflow::command::Source;

/// The poll that a processor is in, if any.
#[derive(Debug, Default)]
pub(crate) struct PollMark {
    /// How often a poll began or ended: odd while one is going on.
    turns: AtomicU64,
    last: Mutex<Option<Polled>>,
}

/// Whose poll the last one is, or was.
#[derive(Clone, Debug)]
struct Polled {
    run: RunId,
    workflow: Name,
    source: Option<Source>,
}

/// A poll that is going on.
#[derive(Clone, Debug)]
pub(crate) struct Polling {
    /// Its number: the same number twice is the same poll.
    pub(crate) number: u64,
    pub(crate) run: RunId,
    pub(crate) workflow: Name,
    /// The last durable call that the code made, in this poll or an earlier one.
    pub(crate) source: Option<Source>,
}

impl Polling {
    /// The last durable call's source line, in words.
    pub(crate) fn last_call(&self) -> String {
        self.source.map_or_else(|| "none yet".to_owned(), |source| source.to_string())
    }
}

impl PollMark {
    pub(crate) fn begin(&self, run: RunId, workflow: &Name, source: Option<Source>) {
        match &mut *self.lock() {
            // A replay polls one run again and again.
            Some(last) if last.run == run => last.source = source,
            last => *last = Some(Polled { run, workflow: workflow.clone(), source }),
        }
        self.turns.fetch_add(1, Ordering::Release);
    }

    /// The code makes a durable call at another line than the last one.
    pub(crate) fn at(&self, source: Source) {
        if let Some(last) = self.lock().as_mut() {
            last.source = Some(source);
        }
    }

    pub(crate) fn end(&self) {
        self.turns.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn current(&self) -> Option<Polling> {
        let number = self.turns.load(Ordering::Acquire);
        let Polled { run, workflow, source } = self.lock().clone()?;
        // Of a poll that ended meanwhile there is nothing to say.
        let goes_on = number % 2 == 1 && self.turns.load(Ordering::Acquire) == number;
        goes_on.then_some(Polling { number, run, workflow, source })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Polled>> {
        // A panic of workflow code cannot happen under this lock, and the mark is whole at every moment.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;
    use crate::data::id::{CommandId, LeaseId};
    use crate::data::payload::Payload;
    use crate::data::time::Timestamp;
    use crate::log::event::Event;
    use crate::workflow::async_program::{AsyncProgram, MakeFuture};
    use crate::workflow::locals::Locals;
    use crate::workflow::program::Program;
    use crate::workflow::scope::Scope;

    #[test]
    fn poll_that_makes_no_durable_call_is_known_by_the_last_one_before_it() {
        // Given a program that looks at its own mark behind a sleep, before it calls anything else
        let mark = Arc::new(PollMark::default());
        let seen = Arc::new(Mutex::new(None));
        let (looked_at, sees) = (Arc::clone(&mark), Arc::clone(&seen));
        let make: Arc<MakeFuture> = Arc::new(move |ctx, _| {
            let (mark, seen) = (Arc::clone(&looked_at), Arc::clone(&sees));
            Ok(Box::pin(async move {
                ctx.sleep(std::time::Duration::from_secs(1)).await?;
                *seen.lock().unwrap() = mark.current().and_then(|polling| polling.source);
                Ok(Payload::encode(&())?)
            }))
        });
        let run = RunId::from_u128(0);
        let scope = Scope::new(run, 100, Arc::clone(&mark));
        let workflow = Name::from_static("sleeper");
        let mut program = AsyncProgram::new(workflow.clone(), make, Rc::clone(&scope), Arc::default());

        // When it is polled for the end of its sleep
        let input = Payload::encode(&()).unwrap();
        let started = Event::RunStarted { workflow, input, key: None, start_at: None, lease: LeaseId::FIRST };
        program.apply(Timestamp::MIN, &started, Locals::default()).unwrap();
        let fired = Event::TimerFired { id: CommandId::FIRST };
        program.apply(Timestamp::MIN, &fired, Locals::default()).unwrap();

        // Then the sleep is what it was last seen at
        let source = seen.lock().unwrap().expect("a durable call was made");
        assert!(source.file().ends_with("mark.rs"), "{source}");
    }
}
