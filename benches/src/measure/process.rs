//! What a process of this machine has used, from `/proc`. It must not know what the process is.

use std::fs;
use std::time::Duration;

/// The kernel tells processor time in hundredths of a second, whatever its own clock (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// One line of `/proc/PID/stat`, as far as it is of use here.
struct Stat {
    name: String,
    parent: u32,
    /// Processor time of its own, in ticks.
    own: u64,
    /// Of its children that have ended and were waited for, in ticks.
    reaped: u64,
}

impl Stat {
    fn read(process: &str) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    /// The name may hold anything, so fields are counted from the last parenthesis on.
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.rsplit_once(')')?;
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            name: before.split_once('(')?.1.to_owned(),
            parent: u32::try_from(number(1)?).ok()?,
            own: number(11)? + number(12)?,
            reaped: number(13)? + number(14)?,
        })
    }
}

/// Processor time of one process, user and system: `self`, or an id.
pub fn cpu(process: &str) -> Duration {
    time(Stat::read(process).map_or(0, |stat| stat.own))
}

/// Processor time of a process and all of its children, those that have ended included.
pub(super) fn cpu_with_children(process: u32) -> Duration {
    let Some(root) = Stat::read(&process.to_string()) else { return Duration::ZERO };
    let running = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let stat = Stat::read(entry.file_name().to_str()?)?;
        (stat.parent == process).then_some(stat.own)
    });
    time(root.own + root.reaped + running.sum::<u64>())
}

/// The parent of a process, if the process is of that name.
pub(super) fn parent_of(process: u32, name: &str) -> Option<u32> {
    let stat = Stat::read(&process.to_string())?;
    (stat.name == name).then_some(stat.parent)
}

/// The most memory that a process (`self`, or an id) ever held, in bytes.
pub fn peak_memory(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}

fn time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::{Stat, peak_memory};

    #[test]
    fn stat_is_read_although_a_name_may_hold_anything() {
        let line = "42 (a) (b c) S 7 42 42 0 -1 4194304 10 20 0 0 11 12 13 14 20 0 1 0 99 0 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((&*stat.name, stat.parent, stat.own, stat.reaped), ("a) (b c", 7, 23, 27));
        assert!(Stat::parse("nonsense").is_none());
    }

    #[test]
    fn this_process_has_a_parent_and_uses_memory() {
        assert!(Stat::read("self").is_some_and(|stat| stat.parent > 0));
        assert!(peak_memory("self") > 0);
        assert_eq!(peak_memory("no such process"), 0);
    }
}
