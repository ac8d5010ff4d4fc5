//! Messages: from the inbox into the log, each exactly once, in the order in which they were read.

use super::batch::Group;
use super::{Effect, Live, Processor, Waiting};
use crate::canary::{self, Bug};
use crate::event::{Event, wire};
use crate::id::RunId;
use crate::message::{Flag, Message};
use crate::run::Run;
use crate::store::{InboxMessage, InboxPage, InboxRead, LocalStart, MessageRef, OpenRow, OpenState};
use crate::time::Timestamp;

/// How many messages are read at once.
pub(super) const PAGE: u32 = 2_000;

impl Processor {
    /// Messages that were read.
    pub(crate) fn messages(&mut self, read: &InboxRead, page: InboxPage, now: Timestamp) {
        // Shards that came meanwhile are read from the beginning.
        if self.serves_exactly(&read.shards) {
            self.cursor = page.cursor;
        }
        self.mail |= page.more;
        let mut messages = page.messages.into_iter().peekable();
        while let Some(message) = messages.next() {
            canary::hold_polls(messages.peek().is_some_and(|next| next.run == message.run));
            self.deliver(message, now);
        }
        self.inbox_was_read();
    }

    /// No read of the inbox is under way: what left it is not seen again.
    pub(super) fn inbox_was_read(&mut self) {
        self.reading_inbox = false;
        for message in self.settled.drain(..) {
            self.taken.remove(&message);
        }
    }

    fn deliver(&mut self, inbox: InboxMessage, now: Timestamp) {
        let (shard, number, message) = (inbox.run.shard(), inbox.number, inbox.message);
        let reference = MessageRef { shard, number, message };
        if !self.owns(shard) || !self.taken.insert(reference) || self.refused.contains_key(&inbox.run) {
            return;
        }
        let message = match wire::decode_message(&inbox.body) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(run = %inbox.run, "message {} stays in the inbox: {error}", inbox.number);
                return;
            }
        };
        let waiting = Waiting { reference, message };
        if let Some(queue) = self.loading.get_mut(&inbox.run) {
            queue.push(waiting);
        } else if self.runs.contains_key(&inbox.run) {
            self.take_in(inbox.run, waiting, now);
        } else if let Message::Start { repeated: Flag(repeated), .. } = waiting.message
            && (!repeated || canary::is(Bug::RepeatedStartDoubled))
        {
            self.start(inbox.run, waiting, now);
        } else {
            self.load(inbox.run, vec![waiting]);
        }
    }

    /// Asks for a run's history on behalf of what waits for it.
    pub(super) fn load(&mut self, run: RunId, waiting: Vec<Waiting>) {
        self.to_load.push(run);
        self.loading.insert(run, waiting);
    }

    /// Begins a run by its start in the inbox.
    fn start(&mut self, id: RunId, waiting: Waiting, now: Timestamp) {
        let Message::Start { workflow, input, key, start_at, .. } = waiting.message else { return };
        let Some(workflow) = self.registry.workflow_name(&workflow) else {
            tracing::warn!(
                run = %id, %workflow,
                "no workflow of this name is registered here: the run waits until a worker that knows it takes \
                 over; register it with a worker of this queue"
            );
            return;
        };
        let started = Event::RunStarted { workflow, input, key, start_at, lease: self.lease };
        let (run, progress) = Run::start(id, now, started, &self.registry);
        let mut live = Live::new(run);
        live.has_row = true;
        live.row = Some(OpenRow { state: OpenState::Pending, ..OpenRow::default() });
        self.runs.insert(id, Box::new(live));
        self.absorb(id, progress, Some(waiting.reference), now);
    }

    /// Begins a run that a client of this process hands over. One that cannot begin here is let go, and so is one
    /// whose client has given up waiting: it is submitted then.
    pub(crate) fn start_local(&mut self, start: LocalStart, now: Timestamp) {
        let LocalStart { run: id, workflow, input, start_at, accepted, closed } = start;
        let begun = self.runs.contains_key(&id) || self.loading.contains_key(&id);
        if accepted.is_closed() || !self.owns(id.shard()) || begun {
            return;
        }
        let Some(workflow) = self.registry.workflow_name(&workflow) else { return };
        let started = Event::RunStarted { workflow, input, key: None, start_at, lease: self.lease };
        let (run, progress) = Run::start(id, now, started, &self.registry);
        let mut live = Live::new(run);
        live.on_closed = Some(closed);
        self.runs.insert(id, Box::new(live));
        self.absorb(id, progress, None, now);
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
        self.absorb(id, progress, Some(reference), now);
    }

    /// A message came after the end of its run.
    pub(super) fn give_up(&mut self, run: RunId, reference: MessageRef) {
        let mut group = Group::new(run);
        group.undelivered.push(reference);
        match self.runs.get_mut(&run) {
            Some(live) => live.queue(group, &mut self.outbox),
            None => self.outbox.groups.push_back(group),
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
