//! The trace of a simulation: a hash of everything that happened, and the last lines in words. It must not judge.

use std::collections::VecDeque;
use std::time::Duration;

use super::dice::mix;

/// How many of the last lines are kept in words.
const LINES_KEPT: usize = 20_000;

/// The record of a simulation.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: VecDeque<String>,
    /// Words take time, so they are only made if somebody reads them.
    in_words: bool,
}

impl Trace {
    pub(crate) fn new(in_words: bool) -> Self {
        Self { hash: 0, lines: VecDeque::new(), in_words }
    }

    /// Adds a poll of a task, without words.
    pub(crate) fn count(&mut self, at: Duration, task: u64) {
        self.mix_in(at, task);
    }

    /// Adds something that happened, identified by `tag` and `number`.
    pub fn add(&mut self, at: Duration, tag: &'static str, number: u64, words: impl FnOnce() -> String) {
        let tag_hash = tag.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        self.mix_in(at, tag_hash ^ mix(number));
        if self.in_words {
            let line = format!("{:>16.6} {tag:<8} {}", at.as_secs_f64(), words());
            self.remark(line);
        }
    }

    /// Adds a line for people, which is not part of the hash.
    pub fn remark(&mut self, line: String) {
        if self.in_words {
            if self.lines.len() == LINES_KEPT {
                self.lines.pop_front();
            }
            self.lines.push_back(line);
        }
    }

    fn mix_in(&mut self, at: Duration, what: u64) {
        for part in [at.as_micros() as u64, what] {
            self.hash = mix(self.hash.wrapping_add(0x9E37_79B9_7F4A_7C15) ^ part);
        }
    }

    /// The hash of everything that was added.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines, at most `count` of them.
    pub fn last(&self, count: usize) -> Vec<String> {
        self.lines.iter().skip(self.lines.len().saturating_sub(count)).cloned().collect()
    }
}
