//! Where workflow code is polled: under a tokio runtime that has neither timers nor I/O and executes nothing. Whatever
//! would be lost when the run leaves memory is noticed there where it is made, while channels and mutexes between the
//! branches of a workflow work. It must not know whose code it polls.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::guard::{Panic, caught, shielded};

/// The runtime under which a processor polls. If the processor itself runs in one, that is left alone.
#[derive(Debug)]
pub(crate) struct BareRuntime {
    undriven: Mutex<UndrivenRuntime>,
}

/// A runtime that nothing ever drives.
#[derive(Debug)]
struct UndrivenRuntime {
    handle: Handle,
    /// Always there, until it is dropped.
    runtime: Option<Runtime>,
}

/// What code did that workflow code must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// It panicked, for a reason of its own.
    Panicked(Panic),
    /// It used something that is lost when the run leaves memory.
    NotDurable { operation: &'static Operation, line: Option<String> },
}

/// Something that is not durable, in words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// How tokio's panic begins where a runtime has no such thing.
    panic: &'static str,
    pub(crate) did: &'static str,
    pub(crate) instead: &'static str,
}

static PANICS: [Operation; 3] = [
    Operation {
        panic: "A Tokio 1.x context was found, but timers are disabled.",
        did: "makes a timer of tokio",
        instead: "use `ctx.sleep`, or `.timeout(…)` on a durable call",
    },
    Operation {
        panic: "A Tokio 1.x context was found, but IO is disabled.",
        did: "opens a socket, a pipe or a process of tokio",
        instead: "do that in an activity or a step",
    },
    Operation {
        panic: "OS can't spawn worker thread",
        did: "hands work to a blocking thread of tokio",
        instead: "do that in an activity or a step",
    },
];

static SPAWN: Operation = Operation {
    panic: "",
    did: "spawns a task of tokio",
    instead: "use `ctx.when_all` or a combinator of `futures` for branches of the workflow, and an activity or a step \
              for everything else",
};

impl BareRuntime {
    /// Runs workflow code: makes it, polls it, wakes it or drops it.
    pub(crate) fn run<T>(&self, code: impl FnOnce() -> T) -> Result<T, Violation> {
        let handle = self.handle();
        let ran = caught(|| {
            let _entered = handle.enter();
            code()
        });
        match ran {
            Ok(result) if is_idle(&handle) => Ok(result),
            Ok(_) => {
                self.renew();
                Err(Violation::NotDurable { operation: &SPAWN, line: None })
            }
            Err(panic) => {
                // What was meant for a blocking thread is still queued.
                self.renew();
                Err(panic.into())
            }
        }
    }

    /// Whether the code that asks is under this runtime: it is not if it entered another and did not leave it.
    pub(crate) fn is_entered(&self) -> bool {
        Handle::try_current().is_ok_and(|current| current.id() == self.lock().handle.id())
    }

    /// What to run under. If somebody kept an earlier handle, and spawned tasks by it since, that is nobody's fault
    /// here.
    fn handle(&self) -> Handle {
        let handle = self.lock().handle.clone();
        if is_idle(&handle) { handle } else { self.renew() }
    }

    /// Begins anew, without what was spawned.
    fn renew(&self) -> Handle {
        let undriven = UndrivenRuntime::default();
        let handle = undriven.handle.clone();
        // What was spawned is users' code, and is dropped outside of the lock.
        let used = std::mem::replace(&mut *self.lock(), undriven);
        drop(used);
        handle
    }

    fn lock(&self) -> MutexGuard<'_, UndrivenRuntime> {
        // Nobody's code runs under this lock.
        self.undriven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for BareRuntime {
    fn default() -> Self {
        Self { undriven: Mutex::new(UndrivenRuntime::default()) }
    }
}

impl Default for UndrivenRuntime {
    fn default() -> Self {
        let mut runtime = Builder::new_current_thread();
        // A thread whose stack is larger than memory can be cannot be started: so work for a blocking thread is not
        // begun, and tokio panics at the line that asked for it.
        let runtime = runtime.thread_stack_size(usize::MAX / 4 * 3).build();
        let runtime = runtime.expect("a runtime without timers and I/O takes nothing of the system");
        Self { handle: runtime.handle().clone(), runtime: Some(runtime) }
    }
}

impl Drop for UndrivenRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // In the background, for it may be inside of another runtime, where tokio lets nobody wait. It has no
            // threads to wait for.
            shielded("the drop of what a workflow spawned", || runtime.shutdown_background());
        }
    }
}

impl From<Panic> for Violation {
    fn from(panic: Panic) -> Self {
        match PANICS.iter().find(|known| panic.message.starts_with(known.panic)) {
            Some(operation) => Self::NotDurable { operation, line: panic.line },
            None => Self::Panicked(panic),
        }
    }
}

fn is_idle(handle: &Handle) -> bool {
    handle.metrics().num_alive_tasks() == 0
}
