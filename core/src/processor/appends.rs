//! The processor's part that makes appends. One append is in flight at a time, and holds the groups that were queued
//! meanwhile. Positions are assigned here, when an append is cut. It must not know what events say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::data::id::{AppendNo, LeaseId, RunId, ShardId};
use crate::data::name::Name;
use crate::log::wire::frame::FrameWriter;
use crate::processor::blame::{Blame, Cut};
use crate::processor::group::{Group, QueuedGroup, RowChange, SuspectChange};
use crate::processor::outbox::Outbox;
use crate::processor::shards::OwnedShards;
use crate::processor::succession::BegunSuccessor;
use crate::store::append::{Append, AttributeChange, Need, OpenedRun, PublishedView, UpdatedRun};

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
    groups: Vec<QueuedGroup>,
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

    /// Whether the next append may release shards: not while it is to find the run at fault.
    pub(super) fn may_release(&self) -> bool {
        self.in_flight.is_none() && matches!(self.blame.next(), Cut::Any(_))
    }

    /// Takes the groups of the next append, unless one is in flight or nothing waits. There are none if only accused runs
    /// have something to write: whether an empty append succeeds is evidence, too.
    pub(super) fn next_groups(&self, outbox: &mut Outbox) -> Option<Vec<QueuedGroup>> {
        if self.in_flight.is_some() || outbox.is_empty() {
            return None;
        }
        Some(match self.blame.next() {
            Cut::Any(count) => outbox.take(count, |_| true),
            Cut::Without(count) => outbox.take(count, |run| !self.blame.is_accused(run)),
            Cut::Alone(accused) => outbox.take(1, |run| run == accused),
        })
    }

    /// Cuts the append of these groups, which says what shards need, and releases the shards that are `leaving`.
    pub(super) fn cut(
        &mut self,
        lease: LeaseId,
        groups: Vec<QueuedGroup>,
        (leaving, needs): (BTreeSet<ShardId>, Vec<Need>),
        shards: &mut OwnedShards,
    ) -> Arc<Append> {
        let before = shards.clone();
        let mut append = build(lease, self.committed.next(), &groups, shards);
        append.needs = needs;
        append.released = leaving.into_iter().filter_map(|shard| shards.release_of(shard)).collect();
        append.seal(|shard| shards.claim_of(shard));
        let append = Arc::new(append);
        self.in_flight = Some(InFlight { append: Arc::clone(&append), groups, before });
        append
    }

    /// The append in flight was applied: returns it with its groups.
    pub(super) fn succeeded(&mut self) -> Option<(Arc<Append>, Vec<QueuedGroup>)> {
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
        let InFlight { groups, before, .. } = self.in_flight.take()?;
        shards.restore(&before);
        let at_fault = match why {
            Declined::Failed => self.blame.failed(&groups),
            Declined::Refused => self.blame.refused(&groups),
        };
        outbox.put_back(groups);
        at_fault
    }
}

/// Builds an append of groups, which is still to be sealed. They stay as they are until its outcome is known.
fn build(lease: LeaseId, number: AppendNo, groups: &[QueuedGroup], shards: &mut OwnedShards) -> Append {
    let mut append = Append::new(lease, number);
    let mut frames = FrameWriter::with_capacity(groups.len());
    let ends = groups.iter().filter(|group| matches!(group.row, Some(RowChange::Closed(_)))).count();
    append.closed.reserve_exact(ends);
    for group in groups {
        append.consumed.extend(&group.consumed);
        append.undelivered.extend(&group.undelivered);
        append.sent.extend_from_slice(&group.sent);
        append.tasks.extend_from_slice(&group.tasks);
        append.replies.extend_from_slice(&group.replies);
    }
    let mut by_run: Vec<&Group> = groups.iter().map(|group| &**group).collect();
    by_run.sort_by_key(|group| group.run);
    for groups in by_run.chunk_by(|one, other| one.run == other.run) {
        add_frames(groups, shards, &mut frames);
        add_successor(groups, shards, &mut frames, &mut append);
        add_row(groups, &mut append);
        add_views(groups, &mut append);
        add_attributes(groups, &mut append);
        match groups.iter().rev().find_map(|group| group.suspect) {
            Some(SuspectChange::Mark(suspect)) => append.suspects.push(suspect),
            Some(SuspectChange::Clear) => append.cleared.push(groups[0].run),
            None => {}
        }
    }
    append.frames = frames.finish();
    append
}

/// Makes the frames of a run's groups, and assigns the positions of their events.
fn add_frames(groups: &[&Group], shards: &mut OwnedShards, frames: &mut FrameWriter) {
    if groups.iter().any(|group| !group.events.is_empty()) {
        let (run, events) = (groups[0].run, groups.iter().map(|group| &group.events));
        frames.write(run, events, shards.next_position(run));
    }
}

/// Adds the beginning of the run that continues this one to an append, right after the end of this one.
fn add_successor(groups: &[&Group], shards: &mut OwnedShards, frames: &mut FrameWriter, append: &mut Append) {
    if let Some(begun) = groups.iter().find_map(|group| group.successor.as_deref()) {
        let run = begun.run();
        frames.write(run, [&begun.events].into_iter(), shards.next_position(run));
        append.opened.push(begun.opened());
        append.links.push(begun.link());
    }
}

/// Adds where a run's views were published last.
fn add_views(groups: &[&Group], append: &mut Append) {
    if groups.iter().all(|group| group.views.is_empty()) {
        return;
    }
    let published = groups.iter().flat_map(|group| &group.views);
    let last: BTreeMap<&Name, &PublishedView> = published.map(|view| (&view.view, view)).collect();
    append.views.extend(last.into_values().cloned());
}

/// Adds what a run's attributes were changed to last, and then those with which its successor begins.
fn add_attributes(groups: &[&Group], append: &mut Append) {
    let changes = groups.iter().flat_map(|group| &group.attributes);
    let last: BTreeMap<&Name, &AttributeChange> = changes.map(|change| (&change.attribute, change)).collect();
    append.attributes.extend(last.into_values().cloned());
    let begun = groups.iter().filter_map(|group| group.successor.as_deref());
    append.attributes.extend(begun.flat_map(BegunSuccessor::attributes));
}

/// Adds the change of a run's row to an append. The last change wins, but a row that is opened in this append must still be
/// inserted.
fn add_row(groups: &[&Group], append: &mut Append) {
    let run = groups[0].run;
    let changes = || groups.iter().filter_map(|group| group.row.as_ref());
    let opens = changes().find_map(|change| match change {
        RowChange::Open { workflow, .. } => workflow.as_ref(),
        RowChange::Closed(_) => None,
    });
    match (changes().next_back(), opens) {
        (None, _) => {}
        (Some(RowChange::Closed(closed)), _) => append.closed.push(closed.clone()),
        (Some(RowChange::Open { row, .. }), Some(workflow)) => {
            let (workflow, row) = (workflow.clone(), row.clone());
            append.opened.push(OpenedRun { run, workflow, key: None, parent: None, row });
        }
        (Some(RowChange::Open { row, .. }), None) => {
            append.updated.push(UpdatedRun { run, row: row.clone() });
        }
    }
}
