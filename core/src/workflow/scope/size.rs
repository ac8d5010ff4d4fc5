//! The limits of one poll's requests. It must not know their kinds.

use std::fmt;

use crate::data::limits;
use crate::workflow::command::Source;

/// The size of one poll's requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PollSize {
    commands: u32,
    bytes: u32,
}

impl PollSize {
    pub(super) fn add(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.commands = self.commands.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn is_too_much(self) -> bool {
        self.commands as usize > limits::DECISIONS_MAX || self.bytes as usize > limits::DECISIONS_BYTES_MAX
    }

    pub(super) fn problem(self, did: &dyn fmt::Display, source: Source) -> String {
        format!(
            "the workflow asks for too much at once: with what it {did} at {source}, one poll has {} commands of \
             {} bytes, and the limits are {} commands and {} bytes; wait for something before more is asked for, or \
             pass references instead of the data",
            self.commands,
            self.bytes,
            limits::DECISIONS_MAX,
            limits::DECISIONS_BYTES_MAX
        )
    }
}
