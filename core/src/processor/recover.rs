//! Brings runs back from their replayed histories: after a takeover, for a message, or for a deadline. It must not know how
//! a history is read and replayed.

use crate::data::id::{CommandId, RunId};
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::processor::group::Group;
use crate::processor::histories::ReplayResult;
use crate::processor::intake::Intake;
use crate::processor::live::Live;
use crate::processor::received::Received;
use crate::processor::record::{Recorder, history_too_long};
use crate::processor::row::Row;
use crate::run::Run;
use crate::run::pending::PendingActivity;
use crate::run::replay::{Replay, Takeover};
use crate::run::state::RunState;
use crate::run::turn::Turn;
use crate::store::append::{OpenRow, OpenState};
use crate::store::inbox::MessageRef;

impl Intake<'_> {
    /// Handles the result of a replay. Returns the messages that were read before the start of their run, and that run.
    pub(super) fn replayed(
        &mut self,
        replayed: ReplayResult,
        turn: &Turn<'_>,
    ) -> Option<(RunId, Vec<MessageRef>)> {
        match replayed {
            ReplayResult::Partly => {}
            ReplayResult::Wholly(replay) => self.bring_back(*replay, turn),
            ReplayResult::Over(run) => self.give_up_waiting(run),
            ReplayResult::Empty(run) => {
                let waiting = self.recorder.loads.take_waiting(run);
                return Some((run, self.begin(run, waiting, turn.now)));
            }
            ReplayResult::Damaged { run, over, problem } => self.leave_damaged(run, over, &problem),
        }
        None
    }

    /// A run is over: the messages that waited for it are too late.
    fn give_up_waiting(&mut self, id: RunId) {
        // A mark that it got for them is not in the store, which keeps none of a run that is over.
        self.recorder.suspects.clear(id, true);
        for received in self.recorder.loads.take_waiting(id) {
            self.recorder.too_late(id, received);
        }
    }

    /// Brings a run back into memory. The messages that wait for it are delivered next.
    fn bring_back(&mut self, replay: Replay, turn: &Turn<'_>) {
        let (id, now) = (replay.state().id, turn.now);
        if replay.state().closed.is_some() {
            return self.give_up_waiting(id);
        }
        let waiting = self.recorder.loads.take_waiting(id);
        if self.recorder.suspects.is_judged(id) {
            return self.judge(&replay, waiting);
        }
        if replay.is_without_code() && !self.recorder.runs.is_left_alone(id) {
            // It was resumed during the replay.
            return self.admission().want(id, waiting);
        }
        let (state, setup) = (replay.state(), self.recorder.setup);
        let adopted = Event::RunAdopted { lease: setup.lease, worker: setup.config.worker.clone() };
        let adoption = (state.lease != Some(setup.lease)).then_some(adopted);
        if replay.is_unknown() {
            return self.leave_to_others(replay.into_run(adoption), waiting, now);
        }
        let left_alone = self.recorder.runs.is_left_alone(id);
        let takeover = Takeover { adoption, hold: self.hold(state), told_again: left_alone };
        let (run, progress) = replay.finish(takeover, turn);
        let live = Live::new(run, Row::Unknown);
        let in_flight: Vec<CommandId> = live.state().activities_in_flight().collect();
        self.recorder.begin(live, progress, &[], now);
        self.recorder.start_children(id);
        if !left_alone {
            self.recorder.resume_activities(id, in_flight, now);
        }
        self.recorder.receive(id, waiting);
        self.recorder.evict_if_idle(id);
    }

    /// Why a run must stay stalled here, whatever its code could do.
    fn hold(&self, state: &RunState) -> Option<String> {
        let (count, max) = (state.event_count(), self.recorder.setup.config.history_events_max);
        let too_long = || (count >= max).then(|| history_too_long(count, max));
        self.recorder.runs.why_left_alone(state.id).cloned().or_else(too_long)
    }

    /// Decides about a run whose owners died too often while they tried it alone. If an attempt was in progress each time,
    /// the attempt is charged and the run resumes; otherwise its code is at fault.
    fn judge(&mut self, replay: &Replay, waiting: Vec<Received>) {
        let id = replay.state().id;
        let attempts = replay.state().activities.values().any(|activity| activity.attempt_logged);
        let mut admission = self.admission();
        if attempts && admission.suspects.died_alone(id) {
            admission.suspects.acquit_code(id);
        } else {
            admission.set_aside(id);
        }
        // Loaded once more: with its code, or without it.
        admission.want(id, waiting);
    }

    /// A history is invalid: its run is left alone, its row says so, and its messages stay in the inbox.
    fn leave_damaged(&mut self, id: RunId, over: bool, problem: &str) {
        if self.recorder.outbox.allows_line("run.damaged") {
            tracing::error!(run = %id, "the run is left alone: {problem}");
        }
        self.recorder.runs.leave_alone(id, problem.to_owned());
        for received in self.recorder.loads.leave(id) {
            self.recorder.pass_over(id, received);
        }
        if over {
            // A run that is over has no row.
            return;
        }
        let waiting_on = Some(format!("stalled: the run is left alone: {problem}"));
        let row = OpenRow { state: OpenState::Stalled, wake_at: None, waiting_on, waits: None };
        self.recorder.outbox.push(Group::of_row(id, row));
    }

    /// Leaves a run of an unknown workflow to a worker that has it, unless it is terminated.
    fn leave_to_others(&mut self, run: Run, waiting: Vec<Received>, now: Timestamp) {
        let (id, live) = (run.state.id, Live::new(run, Row::Unknown));
        let (ends, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(Received::is_termination);
        let others = others.into_iter().map(|received| received.reference);
        if !ends.is_empty() {
            let left = self.unknown_workflows.take(id);
            self.recorder.runs.insert(live);
            ends.into_iter().for_each(|end| self.recorder.take_in(id, end, now));
            return left.into_iter().chain(others).for_each(|late| self.recorder.give_up(id, late));
        }
        if self.unknown_workflows.leave(id, others) {
            let row = match live.open_row() {
                // Only its code knows whether it has work: an owner that has the workflow must load it at once.
                OpenRow { state: OpenState::Parked, .. } => OpenRow::default(),
                row => row,
            };
            self.show_unknown_workflow(id, &live.state().workflow, row);
        }
    }
}

impl Recorder<'_> {
    /// Dispatches the activities that were in flight when the former owner lost the run.
    fn resume_activities(&mut self, id: RunId, in_flight: Vec<CommandId>, now: Timestamp) {
        for call in &in_flight {
            self.count_loss(id, *call, now);
        }
        self.dispatch(id, in_flight, now);
    }

    /// Records that an attempt which the log says began was lost with its process, if it is charged for that.
    fn count_loss(&mut self, id: RunId, call: CommandId, now: Timestamp) {
        let died_alone = self.suspects.died_alone(id);
        let Some(live) = self.runs.get_mut(id) else { return };
        // The attempt need not be the cause: its process may have handed over or died of something else.
        let is_charged = |activity: &PendingActivity| {
            activity.attempt_logged && (died_alone || activity.options.get().at_most_once)
        };
        if live.state().activities.get(call).is_some_and(is_charged) {
            let progress = live.run().attempt_lost(now, call, self.setup.config.attempts_lost_max);
            self.record(id, progress, &[], now);
        }
    }
}
