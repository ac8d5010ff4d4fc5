//! What the examination of a store finds, in words for people. It must not know what is examined.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::store::error::StoreError;

/// How a check of an examination ended. Printed, it is a word that stays, for scripts: `ok`, `warning` or `wrong`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// All is well.
    Ok,
    /// It works, but something is to be known or may become wrong.
    Warning,
    /// Something is wrong.
    Wrong,
}

impl Verdict {
    /// The word.
    ///
    /// ```
    /// use pgworkflows::store::Verdict;
    ///
    /// assert_eq!(Verdict::Wrong.name(), "wrong");
    /// assert!(Verdict::Wrong > Verdict::Warning);
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Wrong => "wrong",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What a check of an examination found. Each store has checks `C` of its own, and makes findings by these functions.
///
/// ```
/// use pgworkflows::store::{Finding, Verdict};
///
/// let finding = Finding::warning("disk", "the disk is 96 % full", "free space on it");
/// assert_eq!((finding.verdict, finding.advice.as_deref()), (Verdict::Warning, Some("free space on it")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding<C> {
    /// The check.
    pub check: C,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found, in words. It has no password.
    pub found: String,
    /// What to do, if something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl<C> Finding<C> {
    fn new(check: C, verdict: Verdict, found: impl Into<String>, advice: Option<&str>) -> Self {
        Self { check, verdict, found: found.into(), advice: advice.map(str::to_owned) }
    }

    /// All is well.
    pub fn ok(check: C, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, found, None)
    }

    /// It works, but something is to be known or may become wrong.
    pub fn warning(check: C, found: impl Into<String>, advice: &str) -> Self {
        Self::new(check, Verdict::Warning, found, Some(advice))
    }

    /// Something is wrong.
    pub fn wrong(check: C, found: impl Into<String>, advice: &str) -> Self {
        Self::new(check, Verdict::Wrong, found, Some(advice))
    }

    /// The same finding, with another value for its check: its name, say.
    pub fn map<D>(self, check: impl FnOnce(C) -> D) -> Finding<D> {
        let Self { check: found_by, verdict, found, advice } = self;
        Finding { check: check(found_by), verdict, found, advice }
    }

    /// The check failed with an error of the store, which says what to do.
    pub fn refused(check: C, error: &StoreError) -> Self {
        Self::new(check, Verdict::Wrong, error.to_string(), None)
    }

    /// Leases that expired with their shards: their processes are dead, and no live worker of their queues has fenced them. It is
    /// wrong if a run waits for it.
    pub fn dead_leases(check: C, dead: &[DeadLease]) -> Self {
        if dead.is_empty() {
            return Self::ok(check, "no lease is dead");
        }
        let found: Vec<_> = dead.iter().map(DeadLease::to_string).collect();
        let advice =
            "start a worker of the queue: it takes the shards within seconds. If one runs, look at its log";
        let waits = dead.iter().any(|lease| lease.needed > 0);
        let verdict = if waits { Verdict::Wrong } else { Verdict::Warning };
        Self::new(check, verdict, found.join("; "), Some(advice))
    }
}

/// A lease that expired while it had shards, as a store finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLease {
    /// The queue of the shards.
    pub queue: String,
    /// The name of the worker.
    pub worker: String,
    /// How many shards it has.
    pub shards: u64,
    /// How many of them have or had open runs.
    pub needed: u64,
    /// For how long it has been expired.
    pub expired_for: Duration,
}

impl fmt::Display for DeadLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queue, worker, shards, needed, expired_for } = self;
        let (seconds, s) = (expired_for.as_secs(), if *shards == 1 { "" } else { "s" });
        write!(
            f,
            "worker `{worker}` of queue `{queue}` died or stopped answering {seconds} s ago with {shards} shard{s}, {needed} of \
             which have or had open runs, and no live worker has taken them over"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_lease_is_wrong_if_runs_wait_for_it() {
        let lease = |needed| DeadLease {
            queue: "default".to_owned(),
            worker: "clerk".to_owned(),
            shards: 1,
            needed,
            expired_for: Duration::from_secs(61),
        };
        assert_eq!(Finding::dead_leases("leases", &[]).verdict, Verdict::Ok);
        assert_eq!(Finding::dead_leases("leases", &[lease(0)]).verdict, Verdict::Warning);
        let wrong = Finding::dead_leases("leases", &[lease(0), lease(1)]);
        assert_eq!(wrong.verdict, Verdict::Wrong);
        let words = "worker `clerk` of queue `default` died or stopped answering 61 s ago with 1 shard, 1 of which have or had open runs";
        assert!(wrong.found.contains(words), "{wrong:?}");
    }
}
