//! Messages and starts: from the inbox, or from a client of this process, to the runs that they are for, each exactly
//! once and in the order in which they were read.

use crate::data::id::RunId;
use crate::data::name::Name;
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::log::message::{Flag, Message};
use crate::log::wire;
use crate::processor::admission::Admission;
use crate::processor::effect::Effect;
use crate::processor::group::Group;
use crate::processor::live::Live;
use crate::processor::loads::Loads;
use crate::processor::received::Received;
use crate::processor::record::Recorder;
use crate::processor::row::{Row, printable};
use crate::processor::unknown_workflows::{Passed, Strangers, waiting_on};
use crate::run::Run;
use crate::store::append::{OpenRow, OpenState};
use crate::store::inbox::{InboxMessage, MessageRef};
use crate::store::switchboard::LocalStart;

/// The parts that taking something in takes.
pub(super) struct Intake<'a> {
    pub(super) loads: &'a mut Loads,
    pub(super) strangers: &'a mut Strangers,
    pub(super) recorder: Recorder<'a>,
}

impl Intake<'_> {
    pub(super) fn admission(&mut self) -> Admission<'_> {
        Admission {
            runs: self.recorder.runs,
            loads: self.loads,
            suspects: self.recorder.suspects,
            outbox: self.recorder.outbox,
        }
    }

    /// Delivers a message. Which messages are to be read once more, if any.
    pub(super) fn deliver(&mut self, inbox: InboxMessage, now: Timestamp) -> Option<Vec<MessageRef>> {
        let id = inbox.run;
        let reference = MessageRef { shard: id.shard(), number: inbox.number, message: inbox.message };
        let message = match wire::decode_message(&inbox.body) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(run = %id, "message {} stays in the inbox: {error}", inbox.number);
                return None;
            }
        };
        // Nothing is done for a run that is left alone, but it can be ended, and has to begin before it can stall.
        let passes = match message {
            Message::Terminate { .. } => true,
            Message::Start { .. } => self.recorder.suspects.is_aside(id),
            Message::Signal { .. } | Message::Cancel { .. } => false,
        };
        if self.recorder.runs.is_left_alone(id) && !passes {
            return None;
        }
        let received = Received { reference, message };
        if let Some(queue) = self.loads.queue(id) {
            queue.push(received);
        } else if self.recorder.runs.contains(id) {
            self.recorder.take_in(id, received, now);
        } else {
            match self.strangers.pass(id, received) {
                Passed::Back(received) => self.begin_or_load(id, received, now),
                Passed::Left => {}
                Passed::ReadAgain(again) => return Some(again),
                Passed::Ends { start, end, late } => self.end_pending(id, start, end, late, now),
            }
        }
        None
    }

    /// A message is for a run that is not in memory.
    fn begin_or_load(&mut self, id: RunId, received: Received, now: Timestamp) {
        match received.message {
            // A suspicious run is begun as it is loaded: once it may be worked on.
            Message::Start { repeated: Flag(repeated), .. }
                if !self.recorder.suspects.is_suspicious(id) && !repeated =>
            {
                self.start(id, received, now);
            }
            _ => self.admission().want(id, vec![received]),
        }
    }

    /// Begins a run by its start in the inbox.
    pub(super) fn start(&mut self, id: RunId, received: Received, now: Timestamp) {
        let Message::Start { workflow, input, key, start_at, .. } = received.message else { return };
        let setup = self.recorder.setup;
        let Some(workflow) = setup.registry.workflow_name(&workflow) else {
            self.strangers.leave_pending(id, received.reference);
            let row = OpenRow { state: OpenState::Pending, ..OpenRow::default() };
            return self.show_stranger(id, &workflow, row);
        };
        let started = Event::RunStarted { workflow, input, key, start_at, lease: setup.lease };
        let judged = self.recorder.suspects.is_judged(id);
        let held = judged.then(|| self.admission().set_aside(id));
        let (run, progress) = match held.or_else(|| self.recorder.runs.why_left_alone(id).cloned()) {
            Some(reason) => Run::start_stalled(id, now, started, reason),
            None => Run::start(id, now, started, &setup.registry),
        };
        self.recorder.begin(Live::new(run, Row::pending()), progress, &[received.reference], now);
    }

    /// Begins a run that a client of this process hands over. One that cannot begin here is let go, and so is one
    /// whose client has given up waiting: it is submitted then.
    pub(super) fn start_local(&mut self, start: LocalStart, now: Timestamp) {
        let LocalStart { run: id, workflow, input, start_at, accepted, closed } = start;
        let begun = self.recorder.runs.contains(id) || self.loads.expects(id);
        // A suspicious run is begun with a mark in the store, so it needs a row there.
        if accepted.is_closed() || begun || self.recorder.suspects.is_suspicious(id) {
            return;
        }
        let setup = self.recorder.setup;
        let Some(workflow) = setup.registry.workflow_name(&workflow) else { return };
        let started = Event::RunStarted { workflow, input, key: None, start_at, lease: setup.lease };
        let (run, progress) = Run::start(id, now, started, &setup.registry);
        self.recorder.begin(Live::of_client(run, closed), progress, &[], now);
        if let Some(live) = self.recorder.runs.get_mut(id) {
            live.cause(Effect::Accept { accepted }, self.recorder.outbox);
        }
    }

    /// Says in the row of a run of an unknown workflow what it waits for.
    pub(super) fn show_stranger(&mut self, id: RunId, workflow: &Name, row: OpenRow) {
        let worker = &self.recorder.setup.config.worker;
        tracing::warn!(
            run = %id, %workflow, %worker,
            "no workflow of this name is registered here: the run waits until a worker that knows it owns its shard. \
             Programs with different workflows need a queue each"
        );
        let row = OpenRow { waiting_on: Some(printable(waiting_on(workflow, worker))), ..row };
        self.recorder.outbox.push(Group::of_row(id, row));
    }

    /// Logs the start and the end of a run in one group: nothing of it can be replayed in between.
    fn end_pending(
        &mut self,
        id: RunId,
        start: Received,
        end: Received,
        late: Vec<MessageRef>,
        now: Timestamp,
    ) {
        let Message::Start { workflow, input, key, start_at, .. } = start.message else { return };
        let Message::Terminate { reason } = end.message else { return };
        let lease = self.recorder.setup.lease;
        let started = Event::RunStarted { workflow, input, key, start_at, lease };
        let (mut run, mut progress) = Run::start_unknown(id, now, started);
        progress.append(run.terminate(now, end.reference.message, reason));
        let consumed = [start.reference, end.reference];
        self.recorder.begin(Live::new(run, Row::Unknown), progress, &consumed, now);
        late.into_iter().for_each(|reference| self.recorder.give_up(id, reference));
    }
}
