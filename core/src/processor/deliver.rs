//! Messages: from the inbox into the log, each exactly once, in the order in which they were read.

use crate::canary::{self, Bug};
use crate::data::id::RunId;
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::log::message::{Flag, Message};
use crate::log::wire;
use crate::processor::batch::Group;
use crate::processor::{Effect, Live, Processor, Waiting};
use crate::run::Run;
use crate::store::append::{OpenRow, OpenState};
use crate::store::inbox::{InboxMessage, InboxPage, InboxRead, MessageRef};
use crate::store::switchboard::LocalStart;

impl Processor {
    /// Messages that were read.
    pub(crate) fn messages(&mut self, read: &InboxRead, page: InboxPage) {
        let current = self.serves_exactly(&read.shards);
        self.inbox.answer(page, current);
    }

    /// Delivers the next message that was read. Whether there was one.
    pub(super) fn deliver_next(&mut self, now: Timestamp) -> bool {
        if self.outbox.is_full() {
            return false;
        }
        let Some(message) = self.inbox.take() else { return false };
        canary::hold_polls(self.inbox.peek().is_some_and(|next| next.run == message.run));
        self.deliver(message, now);
        true
    }

    fn deliver(&mut self, inbox: InboxMessage, now: Timestamp) {
        let (id, shard) = (inbox.run, inbox.run.shard());
        let reference = MessageRef { shard, number: inbox.number, message: inbox.message };
        if !self.owns(shard) {
            return;
        }
        let message = match wire::decode_message(&inbox.body) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(run = %id, "message {} stays in the inbox: {error}", inbox.number);
                return;
            }
        };
        // Nothing is done for a run that is left alone, but it can be ended, and has to begin before it can stall.
        let passes = match message {
            Message::Terminate { .. } => true,
            Message::Start { .. } => self.suspects.is_aside(id),
            Message::Signal { .. } | Message::Cancel { .. } => false,
        };
        if self.refused.contains_key(&id) && !passes {
            return;
        }
        let waiting = Waiting { reference, message };
        if let Some(queue) = self.loads.queue(id) {
            queue.push(waiting);
        } else if self.runs.contains_key(&id) {
            self.take_in(id, waiting, now);
        } else if let Some(waiting) = self.pass_over(id, waiting, now) {
            match waiting.message {
                // A suspicious run is begun as it is loaded: once it may be worked on.
                Message::Start { repeated: Flag(repeated), .. }
                    if !self.is_suspicious(id) && (!repeated || canary::is(Bug::RepeatedStartDoubled)) =>
                {
                    self.start(id, waiting, now);
                }
                _ => self.want(id, vec![waiting]),
            }
        }
    }

    /// Begins a run by its start in the inbox.
    fn start(&mut self, id: RunId, waiting: Waiting, now: Timestamp) {
        let Message::Start { workflow, input, key, start_at, .. } = waiting.message else { return };
        let Some(workflow) = self.registry.workflow_name(&workflow) else {
            return self.leave_pending(id, &workflow, waiting.reference);
        };
        let started = Event::RunStarted { workflow, input, key, start_at, lease: self.lease };
        let held = if self.suspects.is_judged(id) { Some(self.set_aside(id)) } else { None };
        let (run, progress) = match held.or_else(|| self.refused.get(&id).cloned()) {
            Some(reason) => Run::start_stalled(id, now, started, reason),
            None => Run::start(id, now, started, &self.registry),
        };
        let mut live = Live::new(run);
        live.has_row = true;
        live.row = Some(OpenRow { state: OpenState::Pending, ..OpenRow::default() });
        self.runs.insert(id, Box::new(live));
        self.absorb(id, progress, &[waiting.reference], now);
    }

    /// Begins a run that a client of this process hands over. One that cannot begin here is let go, and so is one
    /// whose client has given up waiting: it is submitted then.
    pub(crate) fn start_local(&mut self, start: LocalStart, now: Timestamp) {
        let LocalStart { run: id, workflow, input, start_at, accepted, closed } = start;
        let begun = self.runs.contains_key(&id) || self.loads.expects(id);
        // A suspicious run is begun with a mark in the store, so it needs a row there.
        if accepted.is_closed() || !self.owns(id.shard()) || begun || self.is_suspicious(id) {
            return;
        }
        let Some(workflow) = self.registry.workflow_name(&workflow) else { return };
        let started = Event::RunStarted { workflow, input, key: None, start_at, lease: self.lease };
        let (run, progress) = Run::start(id, now, started, &self.registry);
        let mut live = Live::new(run);
        live.on_closed = Some(closed);
        self.runs.insert(id, Box::new(live));
        self.absorb(id, progress, &[], now);
        if let Some(live) = self.runs.get_mut(&id) {
            live.cause(Effect::Accept { accepted }, &mut self.outbox);
        }
    }

    /// The log holds nothing of a run. A start that might have been there begins it; what else came waits in the
    /// inbox, because the run's own start has not been taken in.
    pub(super) fn begin_waiting(&mut self, id: RunId, waiting: Vec<Waiting>, now: Timestamp) {
        for waiting in waiting {
            if self.runs.contains_key(&id) {
                self.take_in(id, waiting, now);
            } else {
                self.start(id, waiting, now);
            }
        }
    }

    /// Hands a run in memory what waited for it.
    pub(super) fn take_in(&mut self, id: RunId, waiting: Waiting, now: Timestamp) {
        let Waiting { reference, message } = waiting;
        let message_id = reference.message;
        let Some(live) = self.runs.get_mut(&id) else { return };
        let state = &live.run.state;
        if state.closed.is_some() && !canary::is(Bug::EndIgnored) {
            return self.give_up(id, reference);
        }
        let known = state.messages.contains(&message_id);
        let cancelling = state.cancel.is_some() || state.ending.is_some();
        let progress = match message {
            // What was logged before is accounted for, and a second request to cancel asks for nothing new.
            _ if known => Default::default(),
            Message::Start { .. } => Default::default(),
            Message::Cancel { .. } if cancelling => Default::default(),
            Message::Cancel { reason } => {
                live.run.resolve(now, Event::CancelRequested { message: message_id, reason })
            }
            Message::Signal { signal, payload, key } => {
                live.run.resolve(now, Event::SignalReceived { message: message_id, signal, payload, key })
            }
            Message::Terminate { reason } => live.run.terminate(now, message_id, reason),
        };
        self.absorb(id, progress, &[reference], now);
    }

    /// A message came after the end of its run.
    pub(super) fn give_up(&mut self, run: RunId, reference: MessageRef) {
        let mut group = Group::new(run);
        group.undelivered.push(reference);
        match self.runs.get_mut(&run) {
            Some(live) => live.queue(group, &mut self.outbox),
            None => self.outbox.push(group),
        }
    }
}

impl Live {
    pub(super) fn new(run: Run) -> Self {
        Self {
            run,
            row: None,
            has_row: false,
            running: Default::default(),
            steps: Default::default(),
            unknown_activity: None,
            uncommitted: 0,
            on_closed: None,
            retried: None,
            wake: None,
            warned: false,
        }
    }
}
