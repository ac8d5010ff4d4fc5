//! What a process of this machine has used, from `/proc`; nothing on systems without it. It must not know what the
//! process is.

use std::fs;
use std::time::Duration;

/// The kernel reports processor time in hundredths of a second, whatever its own clock (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Debug, PartialEq)]
struct Stat {
    name: String,
    parent: u32,
    /// Processor time, user and system.
    own: Duration,
    /// That of its children that have ended and were waited for.
    reaped: Duration,
}

impl Stat {
    fn read(process: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    /// The name may hold anything, so fields are counted from the last parenthesis on.
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.rsplit_once(") ")?;
        let fields: Vec<u32> = after.split(' ').map(|field| field.parse().unwrap_or_default()).collect();
        let [_state, parent, .., user, system, reaped_user, reaped_system] = *fields.get(..15)? else {
            return None;
        };
        let name = before.split_once('(')?.1.to_owned();
        Some(Self { name, parent, own: TICK * (user + system), reaped: TICK * (reaped_user + reaped_system) })
    }
}

/// Processor time of one process, user and system.
pub(crate) fn cpu(process: u32) -> Duration {
    Stat::read(process).map_or(Duration::ZERO, |stat| stat.own)
}

/// Processor time of a process and all of its children, including those that have ended.
pub(crate) fn cpu_with_children(process: u32) -> Duration {
    let Some(root) = Stat::read(process) else { return Duration::ZERO };
    let running = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let stat = Stat::read(entry.file_name().to_str()?.parse().ok()?)?;
        (stat.parent == process).then_some(stat.own)
    });
    root.own + root.reaped + running.sum::<Duration>()
}

/// The parent of a process, if the process has that name.
pub(crate) fn parent_of(process: u32, name: &str) -> Option<u32> {
    Stat::read(process).filter(|stat| stat.name == name).map(|stat| stat.parent)
}

/// The most memory that a process ever held, in bytes.
pub(crate) fn peak_memory(process: u32) -> u64 {
    kibibytes(&format!("/proc/{process}/status"), "VmHWM:") * 1024
}

/// The memory that a process holds now, in bytes.
pub(crate) fn memory(process: u32) -> u64 {
    kibibytes(&format!("/proc/{process}/status"), "VmRSS:") * 1024
}

/// The number of kB in the line that starts with `key`; zero if there is none.
pub(crate) fn kibibytes(file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"));
    line.and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Stat, peak_memory};

    #[test]
    fn stat_is_read_although_a_name_may_hold_anything() {
        let line = "42 (a) (b c) S 7 42 42 0 -1 4194304 10 20 0 0 11 12 13 14 20 0 1 0 99 0 0";
        let (own, reaped) = (Duration::from_millis(230), Duration::from_millis(270));
        assert_eq!(Stat::parse(line), Some(Stat { name: "a) (b c".to_owned(), parent: 7, own, reaped }));
        assert_eq!(Stat::parse("nonsense"), None);
    }

    #[test]
    fn this_process_has_a_parent_and_uses_memory() {
        let own = std::process::id();
        assert!(Stat::read(own).is_some_and(|stat| stat.parent > 0) && peak_memory(own) > 0);
        assert_eq!(peak_memory(u32::MAX), 0);
    }
}
