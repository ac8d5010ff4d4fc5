//! What a command answers: a text for people and a value for scripts. Only here is the standard output written.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::visible::{self, visible};

/// Where answers go, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    pub(crate) json: bool,
}

impl Answers {
    /// Gives the answer of a command.
    pub(crate) fn give(self, text: impl Display, value: &impl Serialize) -> Result<Code, Failure> {
        self.give_styled(visible(&text.to_string()), value)
    }

    /// Gives an answer whose text has colours. What others wrote of it has to be [`visible`].
    pub(crate) fn give_styled(self, text: impl Display, value: &impl Serialize) -> Result<Code, Failure> {
        if !self.json {
            return write(&text.to_string());
        }
        let json = serde_json::to_string_pretty(value).map_err(|error| {
            Failure::new(Code::Failed, "io", format!("the answer cannot be written: {error}"))
        })?;
        self.line(json)
    }

    /// One line of a longer answer, or several.
    pub(crate) fn line(self, text: impl Display) -> Result<Code, Failure> {
        let text = text.to_string();
        write(&if self.json { visible::json(&text) } else { visible(&text) })
    }

    /// Something beside the answer that people should know.
    pub(crate) fn note(self, text: impl Display) {
        if !self.json {
            // Nothing is left to be told to if the standard error is closed.
            drop(writeln!(anstream::stderr(), "{}", visible(&text.to_string())));
        }
    }
}

fn write(text: &str) -> Result<Code, Failure> {
    let mut output = anstream::stdout().lock();
    let written = writeln!(output, "{}", text.trim_end_matches('\n')).and_then(|()| output.flush());
    match written {
        // Whoever reads the output has seen enough, as `head` does.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(Code::Done as i32),
        written => written.map(|()| Code::Done).map_err(Failure::from),
    }
}
