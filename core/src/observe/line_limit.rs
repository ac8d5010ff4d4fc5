//! Limits how many log lines of a kind are written per second, and counts those that are left out: thousands of attempts
//! may fail in a second, and thousands of runs may stall after a bad deploy. It must not know what a line says.

use std::collections::BTreeMap;

use crate::data::limits;

/// The lines of one second. Time is given, so that a simulation stays the same.
#[derive(Debug, Default)]
pub(crate) struct LineLimit {
    second: u64,
    /// Lines of each kind in this second: written ones, and those that were left out.
    kinds: BTreeMap<&'static str, Lines>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lines {
    written: u32,
    left_out: u32,
}

/// Lines of a kind that were not written in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) kind: &'static str,
    pub(crate) lines: u32,
}

impl LineLimit {
    /// Whether a line of this kind may be written. If not, it is counted.
    pub(crate) fn allows(&mut self, kind: &'static str) -> bool {
        let lines = self.kinds.entry(kind).or_default();
        let allowed = lines.written < limits::LOG_LINES_PER_SECOND;
        *(if allowed { &mut lines.written } else { &mut lines.left_out }) += 1;
        allowed
    }

    /// It is this second now. If another has begun, returns what was left out before.
    pub(crate) fn pass(&mut self, second: u64) -> Vec<LeftOut> {
        if self.second == second {
            return Vec::new();
        }
        self.second = second;
        let kinds = std::mem::take(&mut self.kinds).into_iter().filter(|(_, lines)| lines.left_out > 0);
        kinds.map(|(kind, lines)| LeftOut { kind, lines: lines.left_out }).collect()
    }
}

/// Writes how many lines were left out in a second that is over.
pub(crate) fn write_left_out(worker: &str, left_out: Vec<LeftOut>) {
    for LeftOut { kind, lines } in left_out {
        tracing::warn!(worker, kind, lines, "lines were left out, because there were too many in a second");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_over_the_limit_are_counted_and_told_of_once_in_a_later_second() {
        let mut limit = LineLimit::default();
        assert_eq!(limit.pass(7), []);
        let written =
            (0..limits::LOG_LINES_PER_SECOND + 3).filter(|_| limit.allows("attempt failed")).count();
        assert_eq!(written, limits::LOG_LINES_PER_SECOND as usize);
        assert!(limit.allows("run failed"), "each kind has its own limit");
        assert_eq!(limit.pass(7), [], "the second is not over");
        assert_eq!(limit.pass(8), [LeftOut { kind: "attempt failed", lines: 3 }]);
        assert_eq!(limit.pass(9), []);
        assert!(limit.allows("attempt failed"));
    }
}
