//! What an open transaction has inserted. It must not know what is committed.

use std::collections::{BTreeMap, BTreeSet};

use pgworkflows_core::id::{InboxNo, MessageId, RunId};
use pgworkflows_core::store::{NewRun, Submission, Submitted};

/// A transaction's number, which is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TransactionNo(pub(super) u64);

/// What an open transaction has inserted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transaction {
    pub(super) rows: Vec<(InboxNo, Submission)>,
    pub(super) runs: BTreeSet<RunId>,
    pub(super) messages: BTreeSet<MessageId>,
    pub(super) keys: BTreeMap<(String, String), RunKey>,
}

/// The run that was started under a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunKey {
    pub(super) run: RunId,
    pub(super) input_digest: Option<[u8; 32]>,
}

/// The result of an attempt to submit.
#[derive(Debug)]
pub(crate) enum SubmitStep {
    /// The message was answered.
    Done(Submitted),
    /// Another open transaction inserted the same key, run or message: retry after a transaction has ended.
    Blocked,
}

impl Transaction {
    pub(super) fn insert(&mut self, number: InboxNo, submission: &Submission) {
        if let Some(NewRun { workflow, key, input_digest, .. }) = &submission.opens {
            self.runs.insert(submission.run);
            if let Some(key) = key {
                let run_key = RunKey { run: submission.run, input_digest: *input_digest };
                self.keys.insert((workflow.clone(), key.clone()), run_key);
            }
        }
        self.messages.insert(submission.message);
        self.rows.push((number, submission.clone()));
    }

    /// Whether it inserted the submission's unique key, run or message.
    pub(super) fn inserted(&self, submission: &Submission) -> bool {
        let Some(NewRun { workflow, key, .. }) = &submission.opens else {
            return self.messages.contains(&submission.message);
        };
        let same_key = |key: &String| self.keys.contains_key(&(workflow.clone(), key.clone()));
        self.runs.contains(&submission.run) || key.as_ref().is_some_and(same_key)
    }
}
