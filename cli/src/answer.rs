//! What a command answers: a text for people and a value for scripts.

use std::fmt::Display;
use std::io::ErrorKind;

use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::streams::Streams;

/// Where answers go, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    pub(crate) json: bool,
    pub(crate) streams: &'static Streams,
}

impl Answers {
    /// Gives the answer of a command.
    pub(crate) fn give(self, text: impl Display, value: &impl Serialize) -> Result<Code, Failure> {
        if self.json {
            let json = serde_json::to_string_pretty(value).map_err(|error| {
                Failure::new(Code::Failed, "io", format!("the answer cannot be written: {error}"))
            })?;
            return self.line(json);
        }
        self.line(text)
    }

    /// One line of a longer answer.
    pub(crate) fn line(self, text: impl Display) -> Result<Code, Failure> {
        match self.streams.answer(&text.to_string()) {
            // Whoever reads the output has seen enough, as `head` does.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(Code::Done as i32),
            written => written.map(|()| Code::Done).map_err(Failure::from),
        }
    }

    /// Something beside the answer that people should know.
    pub(crate) fn note(self, text: impl Display) {
        if !self.json {
            self.streams.tell(&text.to_string());
        }
    }
}
