//! What a command answers: a text for people and a value for scripts.

use std::fmt::Display;
use std::io::ErrorKind;

use serde::Serialize;

use crate::failure::{Code, Failure};
<<<<<<< HEAD
use crate::visible::{self, visible};
=======
use crate::streams::Streams;
>>>>>>> w/fuzz

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
            return write(&text.to_string());
        }
        let json = serde_json::to_string_pretty(value).map_err(|error| {
            Failure::new(Code::Failed, "io", format!("the answer cannot be written: {error}"))
        })?;
        self.line(json)
    }

    /// One line of a longer answer, or several.
    pub(crate) fn line(self, text: impl Display) -> Result<Code, Failure> {
<<<<<<< HEAD
        let text = text.to_string();
        write(&if self.json { visible::json(&text) } else { visible(&text) })
=======
        match self.streams.answer(&text.to_string()) {
            // Whoever reads the output has seen enough, as `head` does.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(Code::Done as i32),
            written => written.map(|()| Code::Done).map_err(Failure::from),
        }
>>>>>>> w/fuzz
    }

    /// Something beside the answer that people should know.
    pub(crate) fn note(self, text: impl Display) {
        if !self.json {
<<<<<<< HEAD
            // Nothing is left to be told to if the standard error is closed.
            drop(writeln!(anstream::stderr(), "{}", visible(&text.to_string())));
=======
            self.streams.tell(&text.to_string());
>>>>>>> w/fuzz
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
