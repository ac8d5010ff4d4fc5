//! How a command ends: its exit code, and what it says when it fails. No address with a password gets out here.

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io;
use std::process::ExitCode;

use pgworkflows::Error;
use pgworkflows::error::ErrorKind;
use serde_json::json;

use crate::secrets::{without_addresses, without_secrets};
use crate::streams::Streams;
use crate::visible::visible;

/// The exit codes. Scripts depend on them: they never change. `--help` and docs/operating.md list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Done = 0,
    /// The operation failed, the awaited run did not complete, or `doctor` found something wrong.
    Failed = 1,
    /// The arguments, or what they contain, cannot be used.
    Usage = 2,
    /// There is no such run, queue or file.
    NotFound = 3,
    /// The run is over, or in a state in which it does not take the request.
    State = 4,
    /// The store does not answer, or cannot be used.
    Unavailable = 5,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(code as u8)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    /// A stable word for scripts.
    kind: &'static str,
    message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, kind: &'static str, message: impl Into<String>) -> Self {
        Self { code, kind, message: message.into() }
    }

    /// The arguments cannot be used.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, "invalid", message)
    }

    /// There is no such queue.
    pub(crate) fn unknown_queue(name: &str, place: &str) -> Self {
        let message = format!(
            "there is no queue `{name}` in {place}: a worker that serves it creates it, or a program of yours that starts a run \
             in it; `pgworkflows queues` lists all"
        );
        Self::new(Code::NotFound, "unknown-queue", message)
    }

    /// The same failure, with more to say.
    pub(crate) fn and(mut self, more: impl Display) -> Self {
        self.message = format!("{}; {more}", self.message);
        self
    }

    pub(crate) fn is_run_over(&self) -> bool {
        self.kind == ErrorKind::RunOver.name()
    }

    pub(crate) fn is_unavailable(&self) -> bool {
        self.kind == ErrorKind::Unavailable.name()
    }

    pub(crate) fn is_unknown_run(&self) -> bool {
        self.kind == ErrorKind::UnknownRun.name()
    }

    /// Tells the failure on the standard error: in words, or as JSON.
    pub(crate) fn report(&self, arguments: &[OsString], json: bool, streams: &Streams) -> Code {
        let message = without_addresses(&self.message, arguments);
        let red = anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::Red.into()));
        streams.tell(&if json {
            json!({"error": {"kind": self.kind, "message": message}}).to_string()
        } else {
            format!("{red}error:{red:#} {}", visible(&message))
        });
        self.code
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = error.kind();
        Self::new(code(kind), kind.name(), error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secrets(&self.message))
    }
}

/// The output could not be written.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Code::Failed, "io", format!("the output cannot be written: {error}"))
    }
}

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid | ErrorKind::Payload => Code::Usage,
        ErrorKind::UnknownRun => Code::NotFound,
        ErrorKind::RunOver
        | ErrorKind::KeyConflict
        | ErrorKind::UpdateRefused
        | ErrorKind::UpdateDropped
        | ErrorKind::TooManyUpdates => Code::State,
        ErrorKind::Unavailable | ErrorKind::Misconfigured | ErrorKind::KeyHeld => Code::Unavailable,
        // Among them those that a later version adds.
        _ => Code::Failed,
    }
}
