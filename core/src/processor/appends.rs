//! The processor's part that makes appends. One append is in flight at a time, and holds the groups that were queued
//! meanwhile. Positions are assigned here, when an append is cut. It must not know what events say.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::data::id::{AppendNo, LeaseId, RunId};
use crate::processor::blame::{Blame, Cut};
use crate::processor::group::{Group, RowChange, SuspectChange};
use crate::processor::outbox::Outbox;
use crate::processor::shards::OwnedShards;
use crate::store::append::{Append, OpenedRun, UpdatedRun};
use crate::store::lease::Suspect;

/// Why a store did not take an append. This try wrote nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declined {
    /// The append failed and may succeed the next time.
    Failed,
    /// The store will never take this content.
    Refused,
}

/// The appends of a processor.
pub(super) struct Appends {
    in_flight: Option<InFlight>,
    /// The last append that the store acknowledged.
    committed: AppendNo,
    blame: Blame,
}

/// An append whose outcome is not known yet.
struct InFlight {
    append: Arc<Append>,
    /// The groups in the append.
    groups: Vec<Group>,
    /// The shards as they were before the append was cut.
    before: OwnedShards,
}

impl Appends {
    pub(super) fn new() -> Self {
        Self { in_flight: None, committed: AppendNo::new(0), blame: Blame::default() }
    }

    /// The last append that the store acknowledged.
    pub(super) fn committed(&self) -> AppendNo {
        self.committed
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Takes the groups of the next append, unless one is in flight or nothing waits. There are none if only accused runs
    /// have something to write: whether an empty append succeeds is evidence, too.
    pub(super) fn next_groups(&self, outbox: &mut Outbox) -> Option<Vec<Group>> {
        if self.in_flight.is_some() || outbox.is_empty() {
            return None;
        }
        Some(match self.blame.next() {
            Cut::Any(count) => outbox.take(count, |_| true),
            Cut::Without(count) => outbox.take(count, |run| !self.blame.is_accused(run)),
            Cut::Alone(accused) => outbox.take(1, |run| run == accused),
        })
    }

    /// Cuts the append of these groups.
    pub(super) fn cut(
        &mut self,
        lease: LeaseId,
        mut groups: Vec<Group>,
        shards: &mut OwnedShards,
    ) -> Arc<Append> {
        let before = shards.clone();
        let append = Arc::new(build(lease, self.committed.next(), &mut groups, shards));
        self.in_flight = Some(InFlight { append: Arc::clone(&append), groups, before });
        append
    }

    /// The append in flight was applied: returns it with its groups.
    pub(super) fn succeeded(&mut self) -> Option<(Arc<Append>, Vec<Group>)> {
        let InFlight { append, groups, .. } = self.in_flight.take()?;
        self.committed = append.number;
        self.blame.succeeded(&groups);
        Some((append, groups))
    }

    /// The store did not take the append in flight, and this try wrote nothing. The next append gets the same number and the
    /// same positions: if an earlier try was applied after all, the lease is fenced. Returns the run that is to blame, if
    /// any.
    pub(super) fn declined(
        &mut self,
        why: Declined,
        shards: &mut OwnedShards,
        outbox: &mut Outbox,
    ) -> Option<RunId> {
        let InFlight { append, mut groups, before } = self.in_flight.take()?;
        shards.restore(before);
        let mut events = Arc::unwrap_or_clone(append).events;
        groups.iter_mut().rev().for_each(|group| group.take_back(&mut events));
        let at_fault = match why {
            Declined::Failed => self.blame.failed(&groups),
            Declined::Refused => self.blame.refused(&groups),
        };
        outbox.put_back(groups);
        at_fault
    }
}

/// Builds an append, and moves the groups' events into it.
fn build(lease: LeaseId, number: AppendNo, groups: &mut [Group], shards: &mut OwnedShards) -> Append {
    let mut append = Append::new(lease, number);
    append.events.reserve_exact(groups.iter().map(|group| group.events.len()).sum());
    let mut rows: Vec<(RunId, &RowChange)> = Vec::new();
    let mut marks: BTreeMap<RunId, Option<Suspect>> = BTreeMap::new();
    for group in groups {
        group.place(shards, &mut append.events);
        append.consumed.extend(&group.consumed);
        append.undelivered.extend(&group.undelivered);
        append.sent.extend_from_slice(&group.sent);
        match group.suspect {
            Some(SuspectChange::Mark(suspect)) => marks.insert(group.run, Some(suspect)),
            Some(SuspectChange::Clear) => marks.insert(group.run, None),
            None => None,
        };
        rows.extend(group.row.as_ref().map(|change| (group.run, change)));
    }
    add_rows(rows, &mut append);
    for (run, mark) in marks {
        match mark {
            Some(suspect) => append.suspects.push(suspect),
            None => append.cleared.push(run),
        }
    }
    append.digest = append.content_digest();
    append
}

/// Adds the changes of rows to an append. The last change of a run wins, but a row that is opened in this append must
/// still be inserted.
fn add_rows(mut rows: Vec<(RunId, &RowChange)>, append: &mut Append) {
    rows.sort_by_key(|(run, _)| *run);
    for changes in rows.chunk_by(|(one, _), (other, _)| one == other) {
        let Some((run, change)) = changes.last().copied() else { continue };
        let opens = changes.iter().find_map(|(_, change)| match change {
            RowChange::Open { workflow, .. } => workflow.as_ref(),
            RowChange::Closed(_) => None,
        });
        match (change, opens) {
            (RowChange::Closed(closed), _) => append.closed.push(closed.clone()),
            (RowChange::Open { row, .. }, Some(workflow)) => {
                append.opened.push(OpenedRun { run, workflow: workflow.clone(), row: row.clone() });
            }
            (RowChange::Open { row, .. }, None) => append.updated.push(UpdatedRun { run, row: row.clone() }),
        }
    }
}
