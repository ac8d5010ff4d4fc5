//! Delivers messages and starts from the inbox, and starts from clients of this process, to their runs: each exactly once,
//! in the order in which they were read. It must not know what a run makes of them.

use crate::data::chain::RunRetry;
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
use crate::processor::loads::Starts;
use crate::processor::memory::Held;
use crate::processor::received::Received;
use crate::processor::record::Recorder;
use crate::processor::resume::TakenUp;
use crate::processor::row::{Row, printable};
use crate::processor::setup::Setup;
use crate::processor::unknown_workflows::{Routed, UnknownWorkflows, waiting_on};
use crate::run::Run;
use crate::store::append::{OpenRow, OpenState};
use crate::store::inbox::{InboxMessage, MessageRef};
use crate::store::switchboard::LocalStart;

/// The parts that a delivery needs.
pub(super) struct Intake<'a> {
    pub(super) unknown_workflows: &'a mut UnknownWorkflows,
    pub(super) recorder: Recorder<'a>,
}

impl Intake<'_> {
    pub(super) fn admission(&mut self) -> Admission<'_> {
        self.recorder.admission()
    }

    /// Delivers a message. Returns the messages that must be read again, if any.
    pub(super) fn deliver(
        &mut self,
        (inbox, held): (InboxMessage, Held),
        starts: Starts,
        now: Timestamp,
    ) -> Option<Vec<MessageRef>> {
        let sent_to = inbox.run;
        let reference = MessageRef { shard: sent_to.shard(), number: inbox.number, message: inbox.message };
        let message = match wire::decode_message(&inbox.body) {
            Ok(message) => message,
            Err(error) => {
                let number = inbox.number;
                if self.recorder.outbox.allows_line("message.unreadable") {
                    tracing::error!(run = %sent_to, "message {number} stays in the inbox: {error}");
                }
                return None;
            }
        };
        let id = if message.follows_chain() { self.recorder.runs.current(inbox.current) } else { sent_to };
        match message {
            Message::Resume {} => {
                if let TakenUp::Done(again) = self.recorder.take_up(id, reference) {
                    return again;
                }
            }
            // No work is done for a run that is left alone, but it can be terminated, and must begin before it can stall.
            Message::Terminate { .. } => {}
            Message::Start { .. } if self.recorder.suspects.is_aside(id) => {}
            Message::Start { .. }
            | Message::Signal { .. }
            | Message::RunSignal { .. }
            | Message::Cancel { .. }
            | Message::Pause { .. }
            | Message::Retry {}
            | Message::Update { .. }
            | Message::TaskEnded { .. }
            | Message::TaskLost { .. }
            | Message::ChildEnded { .. } => {
                if self.recorder.runs.is_left_alone(id) {
                    self.recorder.runs.pass_over(id, reference);
                    return None;
                }
            }
        }
        let received = Received { reference, message, sent_to, _held: held };
        if let Some(queue) = self.recorder.loads.queue(id) {
            queue.push(received);
        } else if self.recorder.runs.is_receiving(id) {
            self.recorder.runs.receive(id, [received]);
        } else if self.recorder.runs.contains(id) {
            self.recorder.take_in(id, received, now);
        } else {
            match self.unknown_workflows.receive(id, received) {
                Routed::ToRun(received) => self.begin_or_load(id, received, starts, now),
                Routed::Left => {}
                Routed::ReadAgain(again) => return Some(again),
                Routed::EndsPending { ends, late } => self.end_pending(id, *ends, late, now),
            }
        }
        None
    }

    /// Begins or loads the run of a message that is not in memory.
    fn begin_or_load(&mut self, id: RunId, received: Received, starts: Starts, now: Timestamp) {
        let registry = &self.recorder.setup.registry;
        match &received.message {
            // A suspicious run begins like a loaded one: once it may be worked on.
            Message::Start { repeated: Flag(repeated), workflow, .. }
                if !self.recorder.suspects.is_suspicious(id) && !repeated =>
            {
                if starts == Starts::HeldBack && registry.workflow_name(workflow).is_some() {
                    self.recorder.loads.hold_start(id, received);
                } else {
                    self.start(id, received, now);
                }
            }
            _ => self.admission().want(id, vec![received]),
        }
    }

    /// Begins a run whose start was held back.
    pub(super) fn begin_held_back(&mut self, id: RunId, waiting: Vec<Received>, now: Timestamp) {
        if self.recorder.suspects.is_suspicious(id) {
            self.admission().want(id, waiting);
        } else {
            self.begin(id, waiting, now);
        }
    }

    /// Begins a run without a history, if its start is among the messages that wait for it. Otherwise it was passed over:
    /// returns the messages, which must be read again after it. What a child tells its parent is too late: the parent had a history
    /// before it had a child, and that was dropped with its partition.
    pub(super) fn begin(&mut self, id: RunId, mut waiting: Vec<Received>, now: Timestamp) -> Vec<MessageRef> {
        let Some(start) = waiting.iter().position(Received::is_start) else {
            let (late, early): (Vec<_>, Vec<_>) = waiting.into_iter().partition(Received::is_of_a_child);
            late.into_iter().for_each(|late| self.recorder.too_late(id, late));
            return early.into_iter().map(|received| received.reference).collect();
        };
        let start = waiting.remove(start);
        // They were not read in this order if some were read while starts were passed over.
        waiting.sort_by_key(|received| received.reference.number);
        self.start(id, start, now);
        self.recorder.receive(id, waiting);
        Vec::new()
    }

    /// Begins a run from its start in the inbox.
    fn start(&mut self, id: RunId, received: Received, now: Timestamp) {
        let setup = self.recorder.setup;
        let Message::Start { workflow, .. } = &received.message else { return };
        if setup.registry.workflow_name(workflow).is_none() {
            self.unknown_workflows.leave_pending(id, received.reference);
            let row = OpenRow { state: OpenState::Pending, ..OpenRow::default() };
            return self.show_unknown_workflow(id, workflow, row);
        }
        let Some(started) = started_by(received.message, setup) else { return };
        let judged = self.recorder.suspects.is_judged(id);
        let held = judged.then(|| self.admission().set_aside(id));
        let (run, progress) = match held.or_else(|| self.recorder.runs.why_left_alone(id).cloned()) {
            Some(reason) => Run::start_stalled(id, now, started, reason),
            None => Run::start(id, now, started, &setup.registry),
        };
        self.recorder.begin(Live::new(run, Row::submitted()), progress, &[received.reference], now);
    }

    /// Begins a run that a client of this process starts. The start is dropped if the run cannot begin here, or if its client
    /// has stopped waiting: that client then submits it to the inbox.
    pub(super) fn start_local(&mut self, start: LocalStart, now: Timestamp) {
        let LocalStart {
            run: id,
            workflow,
            input,
            start_at,
            retry,
            deadline,
            grace_until,
            trace,
            attributes,
            accepted,
            closed,
        } = start;
        let begun = self.recorder.runs.contains(id) || self.recorder.loads.expects(id);
        // A suspicious run must be marked in the store before it begins, so it needs a row there.
        if accepted.is_closed() || begun || self.recorder.suspects.is_suspicious(id) {
            return;
        }
        let setup = self.recorder.setup;
        let Some(workflow) = setup.registry.workflow_name(&workflow) else { return };
        let (lease, run_retry) = (setup.lease, RunRetry::first(retry));
        let started = Event::RunStarted {
            workflow,
            input,
            key: None,
            start_at,
            lease,
            parent: None,
            parent_call: None,
            chain: None,
            run_retry,
            deadline,
            grace_until,
            trace,
            carried: None,
            attributes,
        };
        let (run, progress) = Run::start(id, now, started, &setup.registry);
        self.recorder.begin(Live::of_client(run, closed), progress, &[], now);
        if let Some(live) = self.recorder.runs.get_mut(id) {
            live.cause(Effect::Accept { accepted }, self.recorder.outbox);
        }
    }

    /// Shows in the row of a run of an unknown workflow what it waits for.
    pub(super) fn show_unknown_workflow(&mut self, id: RunId, workflow: &Name, row: OpenRow) {
        let worker = &self.recorder.setup.config.worker;
        if self.recorder.outbox.allows_line("workflow.unknown") {
            tracing::warn!(
                run = %id, %workflow, %worker,
                "no workflow of this name is registered here: the run waits until a worker that has it owns its shard. \
                 Programs with different workflows need a queue each"
            );
        }
        self.recorder.needs.note(id, workflow);
        let row = OpenRow { waiting_on: Some(printable(waiting_on(workflow, worker))), ..row };
        self.recorder.outbox.push(Group::of_row(id, row));
    }

    /// Writes the start and the end of a run in one group, so that the run is never replayed between them.
    fn end_pending(&mut self, id: RunId, [start, end]: [Received; 2], late: Vec<MessageRef>, now: Timestamp) {
        let Some(started) = started_by(start.message, self.recorder.setup) else { return };
        let Message::Terminate { reason, .. } = end.message else { return };
        let (mut run, mut progress) = Run::start_unknown(id, now, started);
        progress.append(run.terminate(now, end.reference.message, reason));
        let consumed = [start.reference, end.reference];
        self.recorder.begin(Live::new(run, Row::Unknown), progress, &consumed, now);
        late.into_iter().for_each(|reference| self.recorder.give_up(id, reference));
    }
}

/// The first event of the run that a message starts. The name of a known workflow is the static one, which costs nothing to copy.
fn started_by(start: Message, setup: &Setup) -> Option<Event> {
    let Message::Start {
        workflow,
        input,
        key,
        start_at,
        parent,
        retry,
        deadline,
        grace_until,
        trace,
        attributes,
        ..
    } = start
    else {
        return None;
    };
    Some(Event::RunStarted {
        workflow: setup.registry.workflow_name(&workflow).unwrap_or(workflow),
        input,
        key,
        start_at,
        lease: setup.lease,
        parent: parent.map(|parent| parent.run),
        parent_call: parent.map(|parent| parent.call),
        chain: None,
        run_retry: RunRetry::first(retry),
        deadline,
        grace_until,
        trace,
        carried: None,
        attributes,
    })
}
