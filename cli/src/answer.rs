//! What a command answers: a text for people and a value for scripts.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::ErrorKind;

use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::streams::Streams;
use crate::visible::visible;

/// Where answers go, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    pub(crate) json: bool,
    pub(crate) streams: &'static Streams,
}

impl Answers {
    /// Gives the answer of a command.
    pub(crate) fn give(self, text: impl Display, value: &impl Serialize) -> Result<Code, Failure> {
        self.give_styled(visible(&text.to_string()), value)
    }

    /// Gives an answer whose text has colours. What others wrote of it has to be [`visible`].
    pub(crate) fn give_styled(self, text: impl Display, value: &impl Serialize) -> Result<Code, Failure> {
        if !self.json {
            return self.write(&text.to_string());
        }
        let json = serde_json::to_string_pretty(value).map_err(|error| {
            Failure::new(Code::Failed, "io", format!("the answer cannot be written: {error}"))
        })?;
        self.line(json)
    }

    /// One line of a longer answer, or several.
    pub(crate) fn line(self, text: impl Display) -> Result<Code, Failure> {
        let text = text.to_string();
        self.write(&if self.json { Cow::Borrowed(text.as_str()) } else { visible(&text) })
    }

    /// Something beside the answer that people should know.
    pub(crate) fn note(self, text: impl Display) {
        if !self.json {
            self.streams.tell(&visible(&text.to_string()));
        }
    }

    fn write(self, text: &str) -> Result<Code, Failure> {
        match self.streams.answer(text) {
            // Whoever reads the output has seen enough, as `head` does.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(Code::Done as i32),
            written => written.map(|()| Code::Done).map_err(Failure::from),
        }
    }
}
