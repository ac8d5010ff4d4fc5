//! The errors of the testkit. It must not print a history.

use std::error::Error as StdError;
use std::fmt;

use pgworkflows_core::error::{Divergence, Failure, TypedFailure};

/// An error in a test: an error of the engine, as in production, or one of the testkit. Its predicates tell which.
pub struct Error(Box<Kind>);

#[derive(Debug)]
enum Kind {
    Engine(pgworkflows_core::Error),
    Invalid(String),
    Stuck(String),
    Diverged { message: String, divergence: Divergence },
}

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self(Box::new(Kind::Invalid(message.into())))
    }

    pub(crate) fn stuck(message: impl Into<String>) -> Self {
        Self(Box::new(Kind::Stuck(message.into())))
    }

    pub(crate) fn diverged(message: String, divergence: Divergence) -> Self {
        Self(Box::new(Kind::Diverged { message, divergence }))
    }

    /// The engine's error, as in production; `None` for an error of the testkit.
    pub fn engine(&self) -> Option<&pgworkflows_core::Error> {
        match &*self.0 {
            Kind::Engine(error) => Some(error),
            Kind::Invalid(_) | Kind::Stuck(_) | Kind::Diverged { .. } => None,
        }
    }

    /// The run that an error of the engine is about.
    pub(crate) fn about_run(&self) -> Option<pgworkflows_core::RunId> {
        self.engine().and_then(pgworkflows_core::Error::run)
    }

    /// Whether an argument was invalid: a moment in the past, a duplicate name.
    pub fn is_invalid(&self) -> bool {
        match &*self.0 {
            Kind::Engine(error) => error.is_invalid(),
            Kind::Invalid(_) => true,
            Kind::Stuck(_) | Kind::Diverged { .. } => false,
        }
    }

    /// Whether the code diverged from the history that was replayed.
    pub fn is_diverged(&self) -> bool {
        self.divergence().is_some()
    }

    /// Where the code diverged from the history.
    pub fn divergence(&self) -> Option<&Divergence> {
        match &*self.0 {
            Kind::Engine(error) => error.divergence(),
            Kind::Diverged { divergence, .. } => Some(divergence),
            Kind::Invalid(_) | Kind::Stuck(_) => None,
        }
    }

    /// Whether the wait could never end: no run continues by itself, however much time passes.
    pub fn is_stuck(&self) -> bool {
        matches!(*self.0, Kind::Stuck(_))
    }

    /// Whether the run whose result was asked for failed.
    pub fn is_run_failed(&self) -> bool {
        self.engine().is_some_and(pgworkflows_core::Error::is_run_failed)
    }

    /// Whether the run whose result was asked for was cancelled.
    pub fn is_run_cancelled(&self) -> bool {
        self.engine().is_some_and(pgworkflows_core::Error::is_run_cancelled)
    }

    /// Whether the run whose result was asked for was terminated.
    pub fn is_run_terminated(&self) -> bool {
        self.engine().is_some_and(pgworkflows_core::Error::is_run_terminated)
    }

    /// The failure of the run whose result was asked for.
    pub fn failure(&self) -> Option<&Failure> {
        self.engine()?.failure()
    }

    /// The failure of the run whose result was asked for, as a type that derives `Failure`: see
    /// [`pgworkflows::Error::typed`](pgworkflows_core::Error::typed).
    pub fn typed<E: TypedFailure>(&self) -> Option<E> {
        self.engine()?.typed()
    }
}

impl From<pgworkflows_core::Error> for Error {
    fn from(error: pgworkflows_core::Error) -> Self {
        Self(Box::new(Kind::Engine(error)))
    }
}

impl From<pgworkflows_core::id::InvalidId> for Error {
    fn from(error: pgworkflows_core::id::InvalidId) -> Self {
        pgworkflows_core::Error::from(error).into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Engine(error) => error.fmt(f),
            Kind::Invalid(message) | Kind::Stuck(message) | Kind::Diverged { message, .. } => {
                f.write_str(message)
            }
        }
    }
}

impl fmt::Debug for Error {
    /// The same text as `Display`, because a test that returns an error prints its `Debug` form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.0 {
            Kind::Engine(error) => error.source(),
            Kind::Invalid(_) | Kind::Stuck(_) | Kind::Diverged { .. } => None,
        }
    }
}
