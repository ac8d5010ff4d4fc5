//! Records the progress of runs: events are queued for the log, effects wait for the commit, and idle runs then leave
//! memory. It must not know what caused the progress.

use std::collections::BTreeSet;

use crate::data::id::RunId;
use crate::data::limits;
use crate::data::name::Name;
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::log::message::{Flag, Message};
use crate::processor::admission::Admission;
use crate::processor::group::Group;
use crate::processor::live::Live;
use crate::processor::loads::Loads;
use crate::processor::memory::Tally;
use crate::processor::needs::Needs;
use crate::processor::outbox::Outbox;
use crate::processor::received::Received;
use crate::processor::runs::Runs;
use crate::processor::sent::is_returned;
use crate::processor::setup::Setup;
use crate::processor::shards::OwnedShards;
use crate::processor::suspects::Suspects;
use crate::processor::tasks::TaskEnd;
use crate::run::Progress;
use crate::run::turn::Turn;
use crate::store::inbox::MessageRef;

/// The parts that recording a run's progress needs.
pub(super) struct Recorder<'a> {
    pub(super) setup: &'a Setup,
    pub(super) memory: &'a Tally,
    pub(super) shards: &'a OwnedShards,
    pub(super) needs: &'a mut Needs,
    pub(super) loads: &'a mut Loads,
    pub(super) runs: &'a mut Runs,
    pub(super) suspects: &'a mut Suspects,
    pub(super) outbox: &'a mut Outbox,
    pub(super) unknown_activities: &'a mut BTreeSet<Name>,
}

impl Recorder<'_> {
    pub(super) fn admission(&mut self) -> Admission<'_> {
        Admission { runs: self.runs, loads: self.loads, suspects: self.suspects, outbox: self.outbox }
    }

    /// Takes a run into memory, and records its progress so far.
    pub(super) fn begin(
        &mut self,
        live: Box<Live>,
        progress: Progress,
        consumed: &[MessageRef],
        now: Timestamp,
    ) {
        let id = live.id();
        self.needs.note(id, &live.state().workflow);
        self.runs.insert(live);
        self.record(id, progress, consumed, now);
    }

    /// Records the progress of a run: queues its events for the log; its effects wait for the commit.
    pub(super) fn record(&mut self, id: RunId, progress: Progress, consumed: &[MessageRef], now: Timestamp) {
        self.runs.work_on(id);
        let Some(entry) = self.runs.entry(id) else { return };
        let live = &mut *entry.live;
        let mut group = Group::new(id);
        group.consumed.extend(consumed);
        let dispatch = live.write(&mut group, progress, self.setup.config.attempts_lost_max - 1);
        if !dispatch.is_empty() {
            // Each begins with the commit of this group, and so does the wait of a client for the run.
            group.effects.reserve_exact(dispatch.len() + 1);
        }
        let over = live.is_over();
        if over {
            group.suspect = self.suspects.clear(id, true);
        }
        let successor = group.successor.as_ref().map(|successor| successor.run());
        live.queue(group, self.outbox);
        let long = live.state().event_count() >= self.setup.config.history_events_warn;
        entry.update_order();
        if let Some(successor) = successor {
            self.hand_on(id, successor);
        }
        if over {
            self.runs.end(id).into_iter().for_each(|late| self.give_up(id, late));
        }
        self.dispatch(id, dispatch, now);
        if long {
            self.check_history(id, now);
        }
    }

    /// Logs a warning for a long history, and stalls a run whose history is too long.
    fn check_history(&mut self, id: RunId, now: Timestamp) {
        let Some(live) = self.runs.get_mut(id) else { return };
        let (count, max) = (live.state().event_count(), self.setup.config.history_events_max);
        if live.is_over() {
            return;
        }
        if live.is_first_warning() {
            tracing::warn!(
                run = %id, workflow = %live.state().workflow, events = count, limit = max,
                "the history grows long; at the limit the run stalls"
            );
        }
        if count >= max && live.state().stalled.is_none() && live.state().ending.is_none() {
            let progress = live.run().stall(now, history_too_long(count, max));
            self.record(id, progress, &[], now);
        }
    }

    /// Delivers a message to a run in memory.
    pub(super) fn take_in(&mut self, id: RunId, received: Received, now: Timestamp) {
        let Some(live) = self.runs.get_mut(id) else { return };
        if live.is_over() {
            return self.too_late(id, received);
        }
        if received.is_termination() && live.state().children.are_unbound() {
            return self.hold_termination(id, received);
        }
        let Received { reference, message, sent_to, .. } = received;
        let message_id = reference.message;
        let state = live.state();
        let known = state.messages.contains_key(&message_id);
        // A run that is tried again after its end can still be cancelled.
        let cancelling = state.cancel.is_some() || state.ending.is_some() && state.retry.is_none();
        let progress = match message {
            // A message in the log has been delivered, and a second cancellation request changes nothing.
            _ if known => Progress::default(),
            Message::Start { .. } => Progress::default(),
            Message::Pause { reason } => live.run().pause(now, message_id, reason),
            Message::Resume {} => return self.resume(id, reference, false, now),
            Message::Cancel { .. } if cancelling => Progress::default(),
            Message::Cancel { reason, .. } => {
                live.run().resolve(now, Event::CancelRequested { message: message_id, reason })
            }
            Message::Signal { ref payload, .. } | Message::RunSignal { ref payload, .. }
                if live.has_no_room_for(payload) =>
            {
                if self.outbox.allows_line("signal.no-room") {
                    let limit = limits::LEFT_BYTES_MAX;
                    tracing::warn!(run = %id, limit, "a signal is undelivered: too much goes along to the next attempt of its run");
                }
                return self.give_up(id, reference);
            }
            Message::Signal { signal, payload, key, trace } => {
                let (message, sender) = (message_id, None);
                live.run()
                    .resolve(now, Event::SignalReceived { message, signal, payload, key, sender, trace })
            }
            Message::RunSignal { to, signal, sender, .. } if is_returned(state, sent_to, sender, &to) => {
                if self.outbox.allows_line("signal.returned") {
                    tracing::warn!(run = %id, %signal, "a signal cannot be delivered, because there is no {to}");
                }
                return self.give_up(id, reference);
            }
            Message::RunSignal { signal, payload, sender, trace, .. } => {
                let (message, key, sender) = (message_id, None, Some(sender));
                live.run()
                    .resolve(now, Event::SignalReceived { message, signal, payload, key, sender, trace })
            }
            Message::Update { update, request, key, trace } => match live.run().refusal(&update, &request) {
                Some(reply) => return self.refuse(id, reference, &reply),
                None => live
                    .run()
                    .resolve(now, Event::UpdateReceived { message: message_id, update, request, key, trace }),
            },
            Message::Terminate { reason, .. } => live.run().terminate(now, message_id, reason),
            Message::ChildEnded { id: call, child, outcome } => {
                let progress = live.run().child_ended(now, call, child, outcome);
                self.record(id, progress, &[reference], now);
                return self.take_in_held(id, now);
            }
            Message::Retry {} => live.retry_now(now, message_id),
            Message::TaskEnded { id: call, task, outcome, committed: Flag(committed) } => {
                let end = TaskEnd::of(outcome, committed);
                return self.take_in_task(id, reference, (call, task), end, now);
            }
            Message::TaskLost { id: call, task, losses } => {
                return self.take_in_task(id, reference, (call, task), TaskEnd::Lost(losses), now);
            }
        };
        self.record(id, progress, &[reference], now);
    }

    /// Delivers a message that arrived before its run was in memory. For a run that is left alone, all but terminations stay
    /// in the inbox.
    pub(super) fn take_in_arrival(&mut self, id: RunId, received: Received, now: Timestamp) {
        if self.runs.is_left_alone(id) && !received.is_termination() {
            self.pass_over(id, received);
        } else if received.is_resume() && self.runs.get(id).is_some_and(|live| !live.is_over()) {
            // The run was just loaded, and so tried again.
            self.resume(id, received.reference, true, now);
        } else {
            self.take_in(id, received, now);
        }
        self.evict_if_idle(id);
    }

    /// A message arrived after the end of its run. The outcome of a task is of no use to people, unless it was committed.
    pub(super) fn too_late(&mut self, run: RunId, received: Received) {
        if received.is_dropped_late() {
            self.drop_late(run, received.reference);
        } else {
            self.give_up(run, received.reference);
        }
    }

    /// A message arrived after the end of its run.
    pub(super) fn give_up(&mut self, run: RunId, reference: MessageRef) {
        let mut group = Group::new(run);
        group.undelivered.push(reference);
        match self.runs.get_mut(run) {
            Some(live) => live.queue(group, self.outbox),
            None => self.outbox.push(group),
        }
    }

    /// Has the code of a run handle more of the events that waited for it, if there are any.
    pub(super) fn release(&mut self, id: RunId, turn: &Turn<'_>) {
        let Some(live) = self.runs.get_mut(id) else { return };
        if live.run().can_release() {
            let mut progress = Progress::default();
            live.run().release(turn, &mut progress);
            self.record(id, progress, &[], turn.now);
            self.evict_if_idle(id);
        }
    }

    /// Drops an idle run from memory: only its rows remain.
    ///
    /// A run that waits for tasks rests in memory until half of the budget is used: each outcome would load it again. So does one
    /// with a long history, for a while: another message may follow. A run that was resumed is loaded again.
    pub(super) fn evict_if_idle(&mut self, id: RunId) {
        let is_long = |live: &Live| live.state().event_count() >= limits::REST_EVENTS_MIN;
        let may_rest = !self.suspects.is_suspicious(id) && !self.runs.is_left_alone(id);
        self.evict_unless(id, |live| live.state().has_tasks() || may_rest && is_long(live));
    }

    /// As above, for a run that has rested for a while.
    pub(super) fn end_rest(&mut self, id: RunId) {
        self.evict_unless(id, |live| live.state().has_tasks());
    }

    fn evict_unless(&mut self, id: RunId, rests: impl FnOnce(&Live) -> bool) {
        let Some(live) = self.runs.get(id) else { return };
        // What is on its way keeps it, and comes here when it is committed.
        if !live.is_committed() {
            return;
        }
        if live.can_load_again() {
            return self.load_again(id);
        }
        if !self.runs.is_idle(id) {
            return;
        }
        if !self.memory.is_half_full() && self.runs.get(id).is_some_and(|live| !live.is_over() && rests(live))
        {
            return self.runs.rest(id);
        }
        self.runs.forget(id);
        if let Some(change) = self.suspects.clear(id, false) {
            self.outbox.push(Group::of_suspect(id, change));
        }
    }
}

/// Why a run of that many events stalls.
pub(super) fn history_too_long(count: u32, max: u32) -> String {
    format!(
        "the history has {count} events, and the limit is {max}; raise the limit (`history_events` of the \
         worker's builder), and the run resumes"
    )
}
