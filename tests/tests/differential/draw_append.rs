//! Draws appends: most as a processor would send them, some with one thing wrong. It must not know which are refused.

use std::collections::BTreeMap;

use bytes::Bytes;
use pgworkflows::id::{AppendNo, EventSeq, InboxNo, LeaseId, MessageId, Position, RunId, ShardId};
use pgworkflows::store::{
    Append, AttributeChange, ChildRun, ClosedRun, Frame, MessageRef, Need, OpenRow, OpenState, OpenedRun,
    PublishedView, Released, Reply, RunKey, SentMessage, Suspect, SuspectStage, UpdatedRun,
};

use crate::dice::Dice;
use crate::model::{ATTRIBUTES, Model, key, status, submission, value};
use crate::operation::Operation;

/// The views that runs publish.
pub(crate) const VIEWS: [&str; 2] = ["stage", "count"];

impl Model {
    pub(crate) fn append(&self, dice: &mut Dice) -> Operation {
        let lease = self.lease(dice);
        let Some(state) = self.leases.get(lease) else {
            return Operation::Append { lease, append: Box::new(empty(AppendNo::FIRST)) };
        };
        let mut append = empty(state.next);
        let mut positions = state.positions.clone();
        for run in
            self.pool.iter().filter(|run| positions.contains_key(&run.shard())).copied().collect::<Vec<_>>()
        {
            if dice.chance(35) {
                self.write_run(run, &mut positions, &mut append, dice);
            }
            if dice.chance(15) {
                append.suspects.push(suspect(run, dice));
            }
            if dice.chance(10) {
                append.cleared.push(run);
            }
        }
        for _ in 0..dice.below(3) {
            append.sent.push(self.sent(dice));
        }
        for (shard, next_position) in &positions {
            if dice.chance(20) {
                append.needs.push(Need { shard: *shard, workflow: self.workflow(dice).into() });
            }
            if dice.chance(12) {
                append.released.push(Released { shard: *shard, next_position: *next_position });
            }
        }
        let mut lease = lease;
        // Only one thing is wrong at a time, because stores may check two things in any order.
        if !state.doubtful && dice.chance(25) {
            self.corrupt(&mut lease, &mut append, dice);
        }
        Operation::Append { lease, append: Box::new(append) }
    }

    /// Adds what one run appends.
    fn write_run(
        &self,
        id: RunId,
        positions: &mut BTreeMap<ShardId, Position>,
        append: &mut Append,
        dice: &mut Dice,
    ) {
        let known = self.runs.get(&id);
        if known.is_some_and(|run| run.is_over) {
            let late = self.read.iter().filter(|(run, _)| *run == id);
            append.undelivered.extend(late.map(|(run, message)| reference(*run, *message)));
            return;
        }
        let start = self.start(id);
        if known.is_none() && start.key.is_some() {
            // Only a submission starts a run with a key.
            return;
        }
        let mut seq = known.map_or(EventSeq::FIRST, |run| run.next_seq);
        for _ in 0..1 + dice.below(3) {
            let next = positions.get_mut(&id.shard()).unwrap();
            let count = 1 + dice.below(4) as u32;
            let position = Position::new(next.get() + u64::from(count) - 1);
            let body = Bytes::from(format!("{count} events from {seq}"));
            let frame = Frame { run: id, seq, count, position, at: self.time(dice), body };
            *next = position.next();
            if self.has_tasks && dice.chance(50) {
                append.tasks.push(self.task(id, seq, dice));
            }
            seq = frame.next_seq();
            append.frames.push(frame);
        }
        let first = known.map_or(EventSeq::FIRST, |run| run.next_seq).get();
        for view in VIEWS {
            if dice.chance(20) {
                let seq = EventSeq::new(first + dice.below((seq.get() - first) as usize) as u32);
                append.views.push(PublishedView { run: id, view: view.into(), seq });
            }
        }
        for attribute in ATTRIBUTES {
            if dice.chance(15) {
                let value = dice.chance(80).then(|| value(dice.below(2)).to_owned());
                append.attributes.push(AttributeChange { run: id, attribute: attribute.into(), value });
            }
        }
        if dice.chance(20) {
            let message = MessageId::from_u128(dice.below(3) as u128);
            let body = Bytes::from(format!("reply {}", dice.below(1_000)));
            append.replies.push(Reply { run: id, message, body });
        }
        let read = self.read.iter().filter(|(run, _)| *run == id);
        append.consumed.extend(read.map(|(run, message)| reference(*run, *message)));
        let workflow = known.map_or(start.workflow, |run| run.workflow.clone());
        if dice.chance(25) {
            append.closed.push(ClosedRun {
                run: id,
                workflow: workflow.into(),
                key: known.and_then(|run| run.key.clone()),
                parent: start.parent,
                status: status(dice),
                closed_at: self.time(dice),
                outcome: Bytes::from_static(b"outcome"),
            });
        } else if known.is_none() {
            append.opened.push(OpenedRun {
                run: id,
                workflow: workflow.into(),
                key: None,
                parent: start.parent,
                row: self.row(dice),
            });
        } else if dice.chance(70) {
            append.updated.push(UpdatedRun { run: id, row: self.row(dice) });
        }
    }

    /// A message to any run, or the start of a run. Some messages are sent again.
    fn sent(&self, dice: &mut Dice) -> SentMessage {
        let run = self.run(dice);
        let start = self.start(run);
        // A start with a key is submitted, never sent.
        let parent = start.parent.filter(|_| start.key.is_none() && dice.chance(60));
        let opens = parent.map(|parent| ChildRun { workflow: start.workflow.into(), parent });
        // A message id is either always a start, or never.
        let number = if opens.is_some() { 1 } else { 2_000 + dice.below(20) as u128 };
        let message = MessageId::from_u128(run.as_u128() ^ number);
        let body = submission(run, message).body;
        let is_started = opens.is_some();
        let key = (!is_started && dice.chance(30))
            .then(|| RunKey { workflow: self.workflow(dice).into(), key: key(dice.below(3)) });
        let otherwise = dice.chance(30).then(|| self.run(dice));
        SentMessage { message, run, key, otherwise, body, opens }
    }

    fn row(&self, dice: &mut Dice) -> OpenRow {
        let state =
            [OpenState::Busy, OpenState::Parked, OpenState::Stalled, OpenState::Paused][dice.below(4)];
        let parked = matches!(state, OpenState::Parked | OpenState::Paused);
        OpenRow {
            state,
            wake_at: (parked && dice.chance(70)).then(|| self.time(dice)),
            waiting_on: dice.chance(50).then(|| "a signal".to_owned()),
            waits: dice.chance(50).then(|| r#"[{"kind": "signal", "name": "go"}]"#.to_owned()),
        }
    }

    /// Makes one thing wrong.
    fn corrupt(&self, lease: &mut usize, append: &mut Append, dice: &mut Dice) {
        let last = self.leases.get(*lease).and_then(|lease| lease.last.clone());
        match dice.below(14) {
            // The last append is repeated, with the same content or another.
            0 => *append = last.unwrap_or_else(|| append.clone()),
            1 => append.number = last.map_or(append.number, |last| last.number),
            // A number is skipped.
            2 => append.number = append.number.next(),
            // A frame overlaps another, leaves a gap, or says that it has another number of events, such as none.
            3..6 => corrupt_frame(append, dice),
            // A message does not exist.
            6 => {
                let run = self.run(dice);
                append.consumed.push(reference(run, MessageId::from_u128(run.as_u128() ^ 77_777)));
            }
            // A message, run or suspect is named twice.
            7 => append.consumed.extend(append.consumed.first().copied()),
            8 => append.closed.extend(append.closed.first().cloned()),
            9 => append.suspects.extend(append.suspects.first().copied()),
            // A shard is released twice, or at another position.
            10 => append.released.extend(append.released.first().copied()),
            11 => {
                if let Some(released) = append.released.last_mut() {
                    released.next_position = released.next_position.next();
                }
            }
            // The lease is another one.
            _ => *lease = self.lease(dice),
        }
    }
}

/// Makes one thing about a frame wrong.
fn corrupt_frame(append: &mut Append, dice: &mut Dice) {
    if append.frames.is_empty() {
        return;
    }
    let index = dice.below(append.frames.len());
    let frame = &mut append.frames[index];
    let by = 1 + dice.below(4) as u32;
    match dice.below(6) {
        0 => frame.seq = EventSeq::new(frame.seq.get() + by),
        1 => frame.seq = EventSeq::new(frame.seq.get().saturating_sub(by)),
        2 => frame.position = Position::new(frame.position.get() + u64::from(by)),
        3 => frame.position = Position::new(frame.position.get().saturating_sub(u64::from(by))),
        4 => frame.count += by,
        _ => frame.count = frame.count.saturating_sub(by),
    }
}

fn suspect(run: RunId, dice: &mut Dice) -> Suspect {
    let stages = [SuspectStage::Marked, SuspectStage::Held, SuspectStage::Tried, SuspectStage::SetAside];
    Suspect { run, stage: stages[dice.below(stages.len())], strikes: dice.below(3) as u32 }
}

fn reference(run: RunId, message: MessageId) -> MessageRef {
    // Each store replaces the number.
    MessageRef { shard: run.shard(), number: InboxNo::new(u64::MAX >> 8), message }
}

fn empty(number: AppendNo) -> Append {
    Append::new(LeaseId::new(0), number)
}
