//! Where workflow code is polled: under a tokio runtime that has neither timers nor I/O and executes nothing. Whatever
//! would be lost when the run leaves memory is noticed there where it is made, while channels and mutexes between the
//! branches of a workflow work. It must not know whose code it polls.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::guard::{Panic, caught, shielded};

/// The runtime under which a processor polls. If the processor itself runs in one, that is left alone.
#[derive(Debug)]
pub(crate) struct BareRuntime {
    shell: Mutex<Shell>,
}

/// A runtime that nothing ever drives.
#[derive(Debug)]
struct Shell {
    handle: Handle,
    /// Always there, until it is dropped.
    runtime: Option<Runtime>,
}

/// What code did that workflow code must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Misstep {
    /// It panicked, for a reason of its own.
    Panicked(Panic),
    /// It used something that is lost when the run leaves memory.
    NotDurable { use_of: &'static UseOf, line: Option<String> },
}

/// Something that is not durable, in words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UseOf {
    /// How tokio's panic begins where a runtime has no such thing.
    panic: &'static str,
    pub(crate) did: &'static str,
    pub(crate) instead: &'static str,
}

static PANICS: [UseOf; 3] = [
    UseOf {
        panic: "A Tokio 1.x context was found, but timers are disabled.",
        did: "makes a timer of tokio",
        instead: "use `ctx.sleep`, or `.timeout(…)` on a durable call",
    },
    UseOf {
        panic: "A Tokio 1.x context was found, but IO is disabled.",
        did: "opens a socket, a pipe or a process of tokio",
        instead: "do that in an activity or a step",
    },
    UseOf {
        panic: "OS can't spawn worker thread",
        did: "hands work to a blocking thread of tokio",
        instead: "do that in an activity or a step",
    },
];

static SPAWN: UseOf = UseOf {
    panic: "",
    did: "spawns a task of tokio",
    instead: "use `ctx.when_all` or a combinator of `futures` for branches of the workflow, and an activity or a step \
              for everything else",
};

impl BareRuntime {
    /// Runs workflow code: makes it, polls it, wakes it or drops it.
    pub(crate) fn run<T>(&self, code: impl FnOnce() -> T) -> Result<T, Misstep> {
        let handle = self.handle();
        let ran = caught(|| {
            let _entered = handle.enter();
            code()
        });
        match ran {
            Ok(result) if is_idle(&handle) => Ok(result),
            Ok(_) => {
                self.renew();
                Err(Misstep::NotDurable { use_of: &SPAWN, line: None })
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
        let shell = Shell::default();
        let handle = shell.handle.clone();
        // What was spawned is users' code, and is dropped outside of the lock.
        let used = std::mem::replace(&mut *self.lock(), shell);
        drop(used);
        handle
    }

    fn lock(&self) -> MutexGuard<'_, Shell> {
        // Nobody's code runs under this lock.
        self.shell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for BareRuntime {
    fn default() -> Self {
        Self { shell: Mutex::new(Shell::default()) }
    }
}

impl Default for Shell {
    fn default() -> Self {
        let mut runtime = Builder::new_current_thread();
        // A thread whose stack is larger than memory can be cannot be started: so work for a blocking thread is not
        // begun, and tokio panics at the line that asked for it.
        let runtime = runtime.thread_stack_size(usize::MAX / 4 * 3).build();
        let runtime = runtime.expect("a runtime without timers and I/O takes nothing of the system");
        Self { handle: runtime.handle().clone(), runtime: Some(runtime) }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // In the background, for it may be inside of another runtime, where tokio lets nobody wait. It has no
            // threads to wait for.
            shielded("the drop of what a workflow spawned", || runtime.shutdown_background());
        }
    }
}

impl From<Panic> for Misstep {
    fn from(panic: Panic) -> Self {
        match PANICS.iter().find(|known| panic.message.starts_with(known.panic)) {
            Some(use_of) => Self::NotDurable { use_of, line: panic.line },
            None => Self::Panicked(panic),
        }
    }
}

fn is_idle(handle: &Handle) -> bool {
    handle.metrics().num_alive_tasks() == 0
}
