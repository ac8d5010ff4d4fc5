//! Submits messages to the inbox, in transactions that may stay open and commit late. It must not know what a message
//! says.
//!
//! A message takes its number when it is inserted. It is visible to its own transaction at once, and to others after
//! the commit. A transaction that wants to insert the same key, run or message has to wait until the first one ends, as
//! with a unique index of a database.

use pgworkflows_core::id::{InboxNo, Name, RunId};
use pgworkflows_core::store::{
    Hint, MessageRef, NewRun, OpenRow, OpenState, StoreError, Submission, Submitted,
};

use super::transaction::{RunKey, SubmitStep, Transaction, TransactionNo};
use super::{Row, State};
use crate::fact::Fact;

impl State {
    /// Opens a transaction.
    pub(crate) fn begin(&mut self) -> TransactionNo {
        self.last_transaction += 1;
        let number = TransactionNo(self.last_transaction);
        self.transactions.insert(number, Transaction::default());
        number
    }

    /// Makes the transaction's messages visible.
    pub(crate) fn commit(&mut self, number: TransactionNo) -> Result<(), StoreError> {
        let transaction = self.transactions.remove(&number).ok_or_else(lost)?;
        let Transaction { rows, keys, .. } = transaction;
        if rows.is_empty() {
            return Ok(());
        }
        for ((workflow, key), run) in keys {
            self.keys.entry(workflow).or_default().insert(key, run);
        }
        self.deliver(rows);
        Ok(())
    }

    /// Makes messages visible, together with the rows of the runs that they open.
    pub(super) fn deliver(&mut self, rows: Vec<(InboxNo, Submission)>) {
        for (_, Submission { run, opens, .. }) in &rows {
            if let Some(NewRun { workflow, key, parent, attributes, .. }) = opens {
                // A repeated start may have been logged after it was inserted.
                if !self.runs.contains_key(run) {
                    let row = OpenRow { state: OpenState::Pending, ..OpenRow::default() };
                    let (workflow, key) = (Name::from(workflow.as_str()), key.clone());
                    self.insert_run(*run, workflow, key, *parent, Row::Open(row));
                    if !attributes.is_empty() {
                        self.attributes.insert(*run, attributes.clone());
                    }
                }
            }
            self.hint(Hint::Mail(run.shard()));
        }
        for (number, submission) in &rows {
            let Submission { run, message, .. } = submission;
            let at = MessageRef { shard: run.shard(), number: *number, message: *message };
            self.facts.push(|| Fact::Submitted { at, submission: submission.clone() });
        }
        self.inbox.commit(rows);
    }

    /// Discards the transaction. The message numbers that it took are not reused.
    pub(crate) fn roll_back(&mut self, number: TransactionNo) {
        self.transactions.remove(&number);
    }

    /// Inserts one message within a transaction.
    pub(crate) fn submit(
        &mut self,
        within: TransactionNo,
        submission: &Submission,
    ) -> Result<SubmitStep, StoreError> {
        let own = self.transactions.get(&within).ok_or_else(lost)?;
        let shard = submission.run.shard();
        // Of a run that cannot be here, another message is told so.
        if submission.opens.is_some() && self.shard(shard).is_none() {
            return Err(StoreError::limit_exceeded(format!(
                "run {} lives in shard {shard}, which belongs to no queue",
                submission.run
            )));
        }
        let refused = match &submission.opens {
            Some(new) => self.known_start(own, submission.run, new),
            None => self.known_message(own, submission),
        };
        let follow_up = submission.opens.as_ref().and_then(|new| new.followed_by.as_ref());
        match (refused, follow_up) {
            (Some(Submitted::Existing(existing)), Some(follow_up)) => {
                return Ok(self.follow(within, existing, &follow_up.to(existing)));
            }
            (Some(refused), _) => return Ok(SubmitStep::Done(refused)),
            (None, _) => {}
        }
        if !self.insert(within, submission) {
            return Ok(SubmitStep::Blocked);
        }
        if let Some(follow_up) = follow_up {
            // Nobody else knows the run, so nobody else has inserted this.
            self.insert(within, &follow_up.to(submission.run));
        }
        Ok(SubmitStep::Done(Submitted::Accepted))
    }

    /// Inserts the message that follows the start of a run which exists already.
    fn follow(&mut self, within: TransactionNo, existing: RunId, message: &Submission) -> SubmitStep {
        let known = self.transactions.get(&within).and_then(|own| self.known_message(own, message));
        SubmitStep::Done(match known {
            None if !self.insert(within, message) => return SubmitStep::Blocked,
            None | Some(Submitted::Accepted) => Submitted::Existing(existing),
            Some(_) => Submitted::ExistingOver(existing),
        })
    }

    /// Inserts a message, unless another open transaction has inserted the same: then it returns false.
    fn insert(&mut self, within: TransactionNo, submission: &Submission) -> bool {
        let mut others = self.transactions.iter().filter(|(number, _)| **number != within);
        if others.any(|(_, other)| other.inserted(submission)) {
            return false;
        }
        let number = self.inbox.next_number();
        let own = self.transactions.get_mut(&within).expect("the transaction was looked up");
        own.insert(number, submission);
        true
    }

    /// The answer to a start that inserts nothing.
    fn known_start(&self, own: &Transaction, run: RunId, new: &NewRun) -> Option<Submitted> {
        if self.runs.contains_key(&run) || own.runs.contains(&run) {
            return Some(Submitted::Accepted);
        }
        let key = new.key.as_ref()?;
        let committed = self.keys.get(&new.workflow).and_then(|keys| keys.get(key));
        let RunKey { run, input_digest } =
            committed.or_else(|| own.keys.get(&(new.workflow.clone(), key.clone())))?;
        Some(match (input_digest, new.input_digest) {
            (Some(one), Some(other)) if *one != other => Submitted::KeyConflict(*run),
            _ => Submitted::Existing(*run),
        })
    }

    /// The answer to a message that inserts nothing.
    fn known_message(&self, own: &Transaction, submission: &Submission) -> Option<Submitted> {
        let is_held = self.inbox.holds(submission.message);
        let waits = is_held || own.messages.contains(&submission.message);
        match self.runs.get(&self.current_of(submission.run)).map(|run| &run.row) {
            // Even if the message was sent before and still waits, it is too late.
            Some(Row::Closed(_)) => Some(Submitted::RunOver),
            // What has a reply was refused, or is in the log.
            Some(Row::Open(_)) if self.reply_to(submission.message, submission.run).is_some() => {
                Some(Submitted::Accepted)
            }
            Some(Row::Open(_)) => waits.then_some(Submitted::Accepted),
            None if own.runs.contains(&submission.run) => waits.then_some(Submitted::Accepted),
            None => Some(Submitted::UnknownRun),
        }
    }

    /// The run that was started under a key.
    pub(crate) fn find(&self, workflow: &str, key: &str) -> Option<RunId> {
        self.keys.get(workflow)?.get(key).map(|key| key.run)
    }
}

fn lost() -> StoreError {
    StoreError::unavailable("the transaction was lost when the store was restored")
}
