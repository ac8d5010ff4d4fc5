//! Groups and appends: what is written together. A group is one step of one run, atomic; an append is as many
//! groups as wait when the append before it is done. Positions are given out here, when an append is cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::data::id::{CommandId, EventSeq, Position, RunId, ShardId};
use crate::data::limits;
use crate::data::name::{EventName, Name};
use crate::data::time::Timestamp;
use crate::log::event::Consequence;
use crate::log::past_event::PastEvent;
use crate::log::wire;
use crate::processor::blame::Cut;
use crate::processor::report::report;
use crate::processor::suspects::Change;
use crate::processor::{Consequences, Effect, Live, Processor};
use crate::store::append::{
    Append, Appended, ClosedRun, ClosedStatus, NewEvent, OpenRow, OpenState, OpenedRun, UpdatedRun,
};
use crate::store::inbox::MessageRef;
use crate::store::lease::{Suspect, SuspectStage};

/// What one step of a run writes, and what it causes after the commit.
pub(super) struct Group {
    pub(super) run: RunId,
    pub(super) events: Vec<Encoded>,
    /// How many of its events are in the append in flight.
    appended: usize,
    pub(super) consumed: Vec<MessageRef>,
    pub(super) undelivered: Vec<MessageRef>,
    pub(super) row: Option<RowChange>,
    pub(super) suspect: Option<Change>,
    pub(super) effects: Vec<Effect>,
    /// Whether the run was in memory when it was queued, and counts it.
    pub(super) counted: bool,
}

/// An event that is encoded and has no position yet.
pub(super) struct Encoded {
    seq: EventSeq,
    at: Timestamp,
    name: EventName,
    body: Bytes,
}

/// A change of a run's row.
pub(super) enum RowChange {
    /// It is open. `workflow` is there if the store has no row yet.
    Open { workflow: Option<Name>, row: OpenRow },
    /// It is over.
    Closed(ClosedRun),
}

/// An append whose outcome is not known yet.
pub(super) struct InFlight {
    pub(super) append: Arc<Append>,
    /// Whose events are in the append.
    pub(super) groups: Vec<Group>,
    /// Where the shards' positions were before.
    pub(super) positions: BTreeMap<ShardId, Position>,
}

impl Group {
    pub(super) fn new(run: RunId) -> Self {
        Self {
            run,
            events: Vec::new(),
            appended: 0,
            consumed: Vec::new(),
            undelivered: Vec::new(),
            row: None,
            suspect: None,
            effects: Vec::new(),
            counted: false,
        }
    }

    /// How many bytes its events' bodies have.
    pub(super) fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.body.len()).sum()
    }

    /// Takes its events back, the last of those in an append that was refused.
    pub(super) fn take_back(&mut self, events: &mut Vec<NewEvent>) {
        let own = events.drain(events.len() - self.appended..);
        self.events =
            own.map(|NewEvent { seq, at, name, body, .. }| Encoded { seq, at, name, body }).collect();
    }

    pub(super) fn writes_nothing(&self) -> bool {
        self.events.is_empty()
            && self.consumed.is_empty()
            && self.undelivered.is_empty()
            && self.row.is_none()
            && self.suspect.is_none()
    }
}

impl Live {
    /// Encodes a run's events into a group, and says what they ask for.
    pub(super) fn log(&mut self, group: &mut Group, events: Vec<PastEvent>) -> Consequences {
        let mut follows = Consequences::default();
        for PastEvent { seq, at, event } in events {
            report(&self.run.state, &event);
            let (name, body) = (event.name(), wire::encode_event(&event));
            match event.consequence() {
                Consequence::Nothing => {}
                Consequence::Dispatch => follows.dispatch.extend(event.call()),
                Consequence::Outcome | Consequence::GiveUp => follows.given_up.extend(event.call()),
                Consequence::Ending | Consequence::Terminal(_) => follows.over = true,
            }
            if let Some(status) = event.closed_status() {
                let closed = self.closed(status, at, body.clone());
                if let Some(on_closed) = self.on_closed.take() {
                    group.effects.push(Effect::Tell { closed: Box::new(closed.clone()), on_closed });
                }
                group.row = Some(RowChange::Closed(closed));
            }
            group.events.push(Encoded { seq, at, name, body });
        }
        follows
    }

    fn closed(&self, status: ClosedStatus, closed_at: Timestamp, outcome: Bytes) -> ClosedRun {
        let state = &self.run.state;
        ClosedRun {
            run: state.id,
            workflow: state.workflow.clone(),
            key: state.key.clone(),
            status,
            closed_at,
            outcome,
        }
    }

    /// Adds the run's row to a group, if it changed.
    pub(super) fn set_row(&mut self, group: &mut Group) {
        if self.run.state.closed.is_some() {
            return;
        }
        let row = self.open_row();
        if self.row.as_ref() == Some(&row) {
            return;
        }
        let workflow = (!self.has_row).then(|| self.run.state.workflow.clone());
        self.has_row = true;
        self.row = Some(row.clone());
        group.row = Some(RowChange::Open { workflow, row });
    }

    /// The run's row as it is to be.
    pub(super) fn open_row(&self) -> OpenRow {
        let state = self.open_state();
        let parked = state == OpenState::Parked;
        OpenRow {
            state,
            wake_at: if parked { self.run.state.wake_at() } else { None },
            waiting_on: match state {
                OpenState::Busy => self.busy_with().map(printable),
                OpenState::Pending => None,
                OpenState::Parked | OpenState::Stalled => self.waiting_on().map(printable),
            },
        }
    }

    /// What a busy run waits on, where more is to be said than that.
    fn busy_with(&self) -> Option<String> {
        if let Some(activity) = &self.unknown_activity {
            return Some(format!("activity `{activity}`, which no worker of its shard has registered"));
        }
        self.run.state.has_retries().then(|| self.waiting_on()).flatten()
    }

    fn waiting_on(&self) -> Option<String> {
        self.run.waiting_on_while(&|call| self.running.contains_key(&call))
    }

    fn open_state(&self) -> OpenState {
        if self.run.state.stalled.is_some() {
            OpenState::Stalled
        } else if self.run.state.is_busy() || !self.steps.is_empty() {
            OpenState::Busy
        } else {
            OpenState::Parked
        }
    }

    /// Aborts the attempts and steps whose outcome nobody wants any more.
    pub(super) fn abort(&mut self, group: &mut Group, given_up: Vec<CommandId>, over: bool) {
        let mut obsolete: Vec<CommandId> =
            given_up.into_iter().filter(|id| self.running.remove(id).is_some()).collect();
        if over {
            obsolete.extend(std::mem::take(&mut self.running).into_keys());
            obsolete.extend(std::mem::take(&mut self.steps));
        }
        let run = group.run;
        group.effects.extend(obsolete.into_iter().map(|id| Effect::Abort { run, id }));
    }
}

impl Processor {
    /// The next append, if none is in flight and something is to be written.
    pub(crate) fn cut(&mut self) -> Option<Arc<Append>> {
        if self.in_flight.is_some() {
            return None;
        }
        let mut groups = self.next_groups()?;
        while !groups.is_empty() && groups.iter().all(Group::writes_nothing) {
            self.done(groups);
            groups = self.next_groups()?;
        }
        let positions: BTreeMap<ShardId, Position> =
            self.shards.iter().map(|(shard, state)| (*shard, state.next_position)).collect();
        let append = Arc::new(self.build(&mut groups));
        self.in_flight = Some(InFlight { append: Arc::clone(&append), groups, positions });
        Some(append)
    }

    /// What the next append holds. It is empty if nobody but an accused run has something to write: whether that
    /// succeeds tells something, too.
    fn next_groups(&mut self) -> Option<Vec<Group>> {
        if self.outbox.is_empty() {
            return None;
        }
        let blame = &self.blame;
        let groups = match blame.next() {
            Cut::Any(count) => self.outbox.take(count, |_| true),
            Cut::Without(count) => self.outbox.take(count, |run| !blame.is_accused(run)),
            Cut::Alone(accused) => self.outbox.take(1, |run| run == accused),
        };
        Some(groups)
    }

    /// Puts an append together. It takes the groups' events with it.
    fn build(&mut self, groups: &mut [Group]) -> Append {
        let mut append = Append {
            lease: self.lease,
            number: self.committed.next(),
            digest: [0; 32],
            events: Vec::with_capacity(groups.iter().map(|group| group.events.len()).sum()),
            opened: Vec::new(),
            updated: Vec::new(),
            closed: Vec::new(),
            consumed: Vec::new(),
            undelivered: Vec::new(),
            suspects: Vec::new(),
            cleared: Vec::new(),
        };
        let mut rows: Vec<(RunId, &RowChange)> = Vec::new();
        let mut marks: BTreeMap<RunId, Option<Suspect>> = BTreeMap::new();
        for group in groups {
            self.place(group, &mut append.events);
            append.consumed.extend(&group.consumed);
            append.undelivered.extend(&group.undelivered);
            match group.suspect {
                Some(Change::Mark(suspect)) => marks.insert(group.run, Some(suspect)),
                Some(Change::Clear) => marks.insert(group.run, None),
                None => None,
            };
            rows.extend(group.row.as_ref().map(|change| (group.run, change)));
        }
        rows.sort_by_key(|(run, _)| *run);
        for changes in rows.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((run, change)) = changes.last().copied() else { continue };
            // The last change stands, but a row that opens in this append still has to be made.
            let opens = changes.iter().find_map(|(_, change)| match change {
                RowChange::Open { workflow, .. } => workflow.as_ref(),
                RowChange::Closed(_) => None,
            });
            match (change, opens) {
                (RowChange::Closed(closed), _) => append.closed.push(closed.clone()),
                (RowChange::Open { row, .. }, Some(workflow)) => {
                    append.opened.push(OpenedRun { run, workflow: workflow.clone(), row: row.clone() });
                }
                (RowChange::Open { row, .. }, None) => {
                    append.updated.push(UpdatedRun { run, row: row.clone() });
                }
            }
        }
        for (run, mark) in marks {
            match mark {
                Some(suspect) => append.suspects.push(suspect),
                None => append.cleared.push(run),
            }
        }
        append.digest = append.content_digest();
        append
    }

    /// Moves a group's events to the append, with their positions.
    fn place(&mut self, group: &mut Group, events: &mut Vec<NewEvent>) {
        group.appended = group.events.len();
        if group.events.is_empty() {
            return;
        }
        let shard = group.run.shard();
        let state = self.shards.get_mut(&shard);
        let state =
            state.unwrap_or_else(|| panic!("run {} is of shard {shard}, which is not ours", group.run));
        for Encoded { seq, at, name, body } in group.events.drain(..) {
            events.push(NewEvent { run: group.run, seq, position: state.next_position, name, at, body });
            state.next_position = state.next_position.next();
        }
    }

    /// The append in flight was applied.
    pub(crate) fn appended(&mut self, _answer: Appended) {
        let Some(in_flight) = self.in_flight.take() else { return };
        self.committed = in_flight.append.number;
        self.blame.succeeded(&in_flight.groups);
        let append = &in_flight.append;
        self.inbox.settle(append.consumed.iter().chain(&append.undelivered));
        self.done(in_flight.groups);
    }

    /// These groups are committed: what they caused may begin, and who is idle leaves memory.
    fn done(&mut self, groups: Vec<Group>) {
        for mut group in groups {
            self.outbox.effects.append(&mut group.effects);
            if let Some(Change::Mark(Suspect { stage: SuspectStage::Tried, run, .. })) = group.suspect {
                self.loads.admit(run);
            }
            if group.counted
                && let Some(live) = self.runs.get_mut(&group.run)
            {
                live.uncommitted -= 1;
                if live.uncommitted == 0 {
                    self.evict_if_idle(group.run);
                }
            }
        }
    }
}

/// Text that every store can hold, at a length that people read.
pub(super) fn printable(text: String) -> String {
    let clean = text.chars().filter(|c| !c.is_control() || *c == '\n');
    clean.take(limits::WAITING_ON_CHARS_MAX).collect()
}
