//! Runs of workflows that nobody here knows. Their messages stay in the inbox, for a worker that knows the workflow;
//! only their termination is logged, since it asks no code.

use std::collections::BTreeMap;

use crate::data::id::RunId;
use crate::data::name::Name;
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::log::message::Message;
use crate::processor::batch::{Group, RowChange};
use crate::processor::{Live, Processor, Waiting};
use crate::run::Run;
use crate::store::append::{OpenRow, OpenState};
use crate::store::inbox::MessageRef;

/// The runs of unknown workflows that this processor met.
#[derive(Default)]
pub(super) struct Strangers(BTreeMap<RunId, Stranger>);

/// One of them.
#[derive(Default)]
struct Stranger {
    /// Its messages that were read.
    left: Vec<MessageRef>,
    /// Whether its start is in the inbox: the log knows nothing of it.
    pending: bool,
    /// Whether it is to be terminated as soon as its start has been read once more.
    terminating: bool,
    start: Option<Waiting>,
}

impl Processor {
    /// Takes a message for a run of an unknown workflow. Gives it back if the run is none, or has to be loaded for it.
    pub(super) fn pass_over(&mut self, id: RunId, waiting: Waiting, now: Timestamp) -> Option<Waiting> {
        let Some(stranger) = self.strangers.0.get_mut(&id) else { return Some(waiting) };
        match &waiting.message {
            Message::Terminate { .. } if !stranger.pending => return Some(waiting),
            Message::Terminate { .. } if stranger.start.is_some() => self.terminate_pending(id, waiting, now),
            Message::Terminate { .. } => {
                // Its start was left in the inbox, and both are logged in one group: read it once more.
                stranger.terminating = true;
                let mut again = std::mem::take(&mut stranger.left);
                again.push(waiting.reference);
                self.inbox.read_again(&again);
            }
            Message::Start { .. } if stranger.terminating => stranger.start = Some(waiting),
            Message::Start { .. } | Message::Signal { .. } | Message::Cancel { .. } => {
                stranger.left.push(waiting.reference);
            }
        }
        None
    }

    /// Leaves a run whose start was read to a worker that knows its workflow.
    pub(super) fn leave_pending(&mut self, id: RunId, workflow: &Name, start: MessageRef) {
        let stranger = Stranger { left: vec![start], pending: true, ..Stranger::default() };
        self.strangers.0.insert(id, stranger);
        let row = OpenRow { state: OpenState::Pending, ..OpenRow::default() };
        self.show_stranger(id, workflow, row);
    }

    /// Leaves a run that was loaded to a worker that knows its workflow, unless it is to be terminated.
    pub(super) fn leave_to_others(&mut self, run: Run, waiting: Vec<Waiting>, now: Timestamp) {
        let id = run.state.id;
        let mut live = Live::new(run);
        live.has_row = true;
        let is_end = |waiting: &Waiting| matches!(waiting.message, Message::Terminate { .. });
        if waiting.iter().any(is_end) {
            let left = self.strangers.0.remove(&id).unwrap_or_default().left;
            self.runs.insert(id, Box::new(live));
            let (ends, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_end);
            ends.into_iter().for_each(|end| self.take_in(id, end, now));
            let left = left.into_iter().chain(others.into_iter().map(|waiting| waiting.reference));
            return left.for_each(|reference| self.give_up(id, reference));
        }
        let known = self.strangers.0.contains_key(&id);
        let stranger = self.strangers.0.entry(id).or_default();
        stranger.left.extend(waiting.into_iter().map(|waiting| waiting.reference));
        if !known {
            let (workflow, row) = (live.run.state.workflow.clone(), live.open_row());
            self.show_stranger(id, &workflow, row);
        }
    }

    /// Says in the run's row what it waits for.
    fn show_stranger(&mut self, id: RunId, workflow: &Name, row: OpenRow) {
        let worker = &self.config.worker;
        tracing::warn!(
            run = %id, %workflow, %worker,
            "no workflow of this name is registered here: the run waits until a worker that knows it owns its shard. \
             Programs with different workflows need a queue each"
        );
        let waiting_on = format!(
            "a worker that knows workflow `{workflow}`: worker `{worker}`, which owns its shard, does not; programs \
             with different workflows need a queue each"
        );
        let row = OpenRow { waiting_on: Some(super::batch::printable(waiting_on)), ..row };
        let mut group = Group::new(id);
        group.row = Some(RowChange::Open { workflow: None, row });
        self.outbox.push(group);
    }

    /// Logs the start and the end of a run in one group: nothing of it can be replayed in between.
    fn terminate_pending(&mut self, id: RunId, end: Waiting, now: Timestamp) {
        let Some(Stranger { left, start: Some(start), .. }) = self.strangers.0.remove(&id) else { return };
        let Message::Start { workflow, input, key, start_at, .. } = start.message else { return };
        let Message::Terminate { reason } = end.message else { return };
        let started = Event::RunStarted { workflow, input, key, start_at, lease: self.lease };
        let (mut run, mut progress) = Run::start_unknown(id, now, started);
        progress.append(run.terminate(now, end.reference.message, reason));
        let mut live = Live::new(run);
        live.has_row = true;
        self.runs.insert(id, Box::new(live));
        self.absorb(id, progress, &[start.reference, end.reference], now);
        left.into_iter().for_each(|reference| self.give_up(id, reference));
    }
}
