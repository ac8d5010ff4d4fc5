//! A process: the activity that it executes, and the claim of tasks that it has sent. It sees the database only through
//! answers.

/// What a process has in memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    /// Its executor lease.
    pub(crate) lease: u8,
    pub(crate) work: Option<Work>,
    /// The attempt that it settled while a claim was under way, whose answer may still name it.
    pub(crate) settled: Option<u8>,
    pub(crate) claim: Option<Claim>,
}

/// The activity in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Work {
    pub(crate) attempt: u8,
    pub(crate) stage: Stage,
    /// The ownership under which the process executes it itself; `None` if it is a task.
    pub(crate) local: Option<u8>,
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// It waits for its turn.
    Claimed,
    /// It is being executed.
    Begun,
    /// It is over. `retry` says whether it failed in a way that allows another attempt.
    Ended { retry: bool },
}

/// A claim of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Claim {
    /// On its way.
    Sent,
    /// It has checked its lease, and locked it `FOR SHARE`.
    Checked,
    /// It is committed. Its answer names the attempt that the lease holds, if any.
    Answered { held: Option<u8> },
}

impl Process {
    pub(crate) fn new(lease: u8) -> Self {
        Self { lease, work: None, settled: None, claim: None }
    }

    /// Forgets a settled attempt, once no answer can name it.
    pub(crate) fn end_claim(&mut self) {
        self.claim = None;
        self.settled = None;
    }
}
