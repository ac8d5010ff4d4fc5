//! The bare runtime, in which workflow code is polled: a tokio runtime that has no timers and no I/O and executes no
//! task. It detects the use of anything that would be lost when the run leaves memory, while channels and mutexes between
//! the branches of a workflow work. It must not know which code it polls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Builder, Handle, Runtime, RuntimeMetrics};

use crate::guard::{Panic, caught, shielded};
use crate::observe::spans::Propagator;

/// The runtime in which a processor polls. The runtime of the processor itself, if any, is not affected.
#[derive(Debug, Default)]
pub(crate) struct BareRuntime {
    undriven: Mutex<Arc<UndrivenRuntime>>,
    /// What continues traces in the spans of what is polled here.
    propagator: Propagator,
}

/// A runtime that is never driven.
#[derive(Debug)]
pub(crate) struct UndrivenRuntime {
    handle: Handle,
    metrics: RuntimeMetrics,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// Something that workflow code must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// The code panicked.
    Panicked(Panic),
    /// The code used something that is lost when the run leaves memory.
    NotDurable { operation: &'static Operation, line: Option<String> },
}

/// An operation that is not durable, in words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// The beginning of tokio's panic message in a runtime that does not support the operation.
    panic_prefix: &'static str,
    pub(crate) action: &'static str,
    pub(crate) alternative: &'static str,
}

static PANICS: [Operation; 3] = [
    Operation {
        panic_prefix: "A Tokio 1.x context was found, but timers are disabled.",
        action: "uses a tokio timer",
        alternative: "use `ctx.sleep`, or `.timeout(…)` on a durable call",
    },
    Operation {
        panic_prefix: "A Tokio 1.x context was found, but IO is disabled.",
        action: "opens a tokio socket, pipe or process",
        alternative: "do that in an activity or a step",
    },
    Operation {
        panic_prefix: "OS can't spawn worker thread",
        action: "uses a blocking thread of tokio",
        alternative: "do that in an activity or a step",
    },
];

static SPAWN: Operation = Operation {
    panic_prefix: "",
    action: "spawns a tokio task",
    alternative: "use `ctx.when_all` or a combinator of `futures` for branches of the workflow, and an activity or a step \
              for everything else",
};

impl BareRuntime {
    /// A runtime with what continues traces in it.
    pub(crate) fn new(propagator: Propagator) -> Self {
        Self { undriven: Mutex::default(), propagator }
    }

    pub(crate) fn propagator(&self) -> Propagator {
        self.propagator.clone()
    }

    /// Runs a piece of workflow code in the runtime that it is given. The code may create, poll, wake or drop its future.
    pub(crate) fn run<T>(&self, code: impl FnOnce(&UndrivenRuntime) -> T) -> Result<T, Violation> {
        self.renewed_after(self.idle_runtime().run(code))
    }

    /// Replaces the runtime after a violation: spawned tasks, or work for a blocking thread, may be left in it.
    pub(crate) fn renewed_after<T>(&self, result: Result<T, Violation>) -> Result<T, Violation> {
        result.inspect_err(|_| drop(self.renew()))
    }

    /// The runtime for the next piece of code. It is renewed if tasks were spawned by a handle that earlier code kept,
    /// for which the next code must not be blamed.
    pub(crate) fn idle_runtime(&self) -> Arc<UndrivenRuntime> {
        let runtime = Arc::clone(&self.lock());
        if runtime.is_idle() { runtime } else { self.renew() }
    }

    /// Replaces the runtime. The old one is dropped with its spawned tasks after the code that uses it.
    fn renew(&self) -> Arc<UndrivenRuntime> {
        let renewed = Arc::new(UndrivenRuntime::default());
        // Spawned tasks are user code, so they are dropped after the lock is released.
        let used = std::mem::replace(&mut *self.lock(), Arc::clone(&renewed));
        drop(used);
        renewed
    }

    fn lock(&self) -> MutexGuard<'_, Arc<UndrivenRuntime>> {
        // No user code runs while this lock is held.
        self.undriven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UndrivenRuntime {
    /// Runs a piece of workflow code. After a violation the runtime must not be used again.
    pub(crate) fn run<T>(&self, code: impl FnOnce(&Self) -> T) -> Result<T, Violation> {
        let result = caught(|| {
            let _entered = self.handle.enter();
            code(self)
        })?;
        if self.is_idle() { Ok(result) } else { Err(Violation::NotDurable { operation: &SPAWN, line: None }) }
    }

    /// Whether the caller is in this runtime: it is not if it entered another one and did not leave it.
    pub(crate) fn is_entered(&self) -> bool {
        Handle::try_current().is_ok_and(|current| current.id() == self.handle.id())
    }

    /// Whether it has no spawned tasks.
    fn is_idle(&self) -> bool {
        self.metrics.num_alive_tasks() == 0
    }
}

impl Default for UndrivenRuntime {
    fn default() -> Self {
        let mut runtime = Builder::new_current_thread();
        // A thread with such a large stack cannot be started, so tokio panics at the line that asks for work on a
        // blocking thread.
        let runtime = runtime.thread_stack_size(usize::MAX / 4 * 3).build();
        let runtime = runtime.expect("a runtime without timers and I/O needs no system resource");
        let handle = runtime.handle().clone();
        Self { metrics: handle.metrics(), handle, runtime: Some(runtime) }
    }
}

impl Drop for UndrivenRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // In the background, because tokio allows no blocking inside another runtime. There are no threads to wait
            // for.
            shielded("the drop of tasks that a workflow spawned", || runtime.shutdown_background());
        }
    }
}

impl From<Panic> for Violation {
    fn from(panic: Panic) -> Self {
        match PANICS.iter().find(|known| panic.message.starts_with(known.panic_prefix)) {
            Some(operation) => Self::NotDurable { operation, line: panic.line },
            None => Self::Panicked(panic),
        }
    }
}
