//! The row of `tasks`, the executor leases, the run's messages, and what its log says of the activity. It must not know
//! processes.

/// The committed rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    /// The process that owns the run's shard.
    pub(crate) owner: u8,
    /// How often the shard was claimed. It stands for the lease of the owner.
    pub(crate) ownership: u8,
    pub(crate) run: Run,
    pub(crate) task: Option<Task>,
    /// The executor leases. A lease's id is its index.
    pub(crate) leases: Vec<Lease>,
    /// The outcomes that wait in the run's inbox.
    pub(crate) inbox: Vec<Outcome>,
}

/// What the log says of the activity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    /// The attempt that is awaited.
    pub(crate) attempt: u8,
    /// Whether that attempt is a task: somebody else tells its outcome.
    pub(crate) handed_out: bool,
    /// How many outcomes were recorded.
    pub(crate) outcomes: u8,
}

/// A row of `tasks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Task {
    pub(crate) attempt: u8,
    /// The executor lease that has claimed it.
    pub(crate) holder: Option<u8>,
    /// How many processes were lost that had claimed it.
    pub(crate) losses: u8,
}

/// An executor lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    /// Whether its time has run out.
    pub(crate) expired: bool,
    pub(crate) fenced: bool,
}

/// A message that names its attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outcome {
    pub(crate) attempt: u8,
    /// Whether the attempt failed in a way that allows another one.
    pub(crate) retry: bool,
}

impl Database {
    pub(crate) fn new(handed_out: bool) -> Self {
        let task = Task { attempt: 1, holder: None, losses: 0 };
        Self {
            owner: 0,
            ownership: 0,
            run: Run { attempt: 1, handed_out, outcomes: 0 },
            task: handed_out.then_some(task),
            leases: vec![Lease::default(); 2],
            inbox: Vec::new(),
        }
    }

    pub(crate) fn is_fenced(&self, lease: u8) -> bool {
        self.leases[usize::from(lease)].fenced
    }

    /// Deletes the row and tells its run the outcome, in one transaction.
    pub(crate) fn settle(&mut self, attempt: u8, retry: bool) {
        self.task = None;
        self.inbox.push(Outcome { attempt, retry });
    }

    /// The holder of the task was lost. The task is free again, unless that happened too often.
    pub(crate) fn lose_task(&mut self, allowed: u8) {
        let Some(task) = &mut self.task else { return };
        task.holder = None;
        task.losses += 1;
        if task.losses > allowed {
            let attempt = task.attempt;
            self.settle(attempt, false);
        }
    }
}
