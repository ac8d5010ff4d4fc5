//! One run in memory: its state according to the log, and its program. Resolutions go in, events come out. It must not
//! know where events are stored or how activities and steps are executed.

pub(crate) mod activities;
mod carried;
pub(crate) mod child_outcomes;
pub(crate) mod children;
mod decision;
mod left;
pub(crate) mod pending;
#[cfg(test)]
mod properties;
pub(crate) mod replay;
pub(crate) mod state;
pub(crate) mod succession;
#[cfg(test)]
mod tests;
pub(crate) mod turn;
pub(crate) mod unanswered;
mod waits;

use crate::log::past_event::PastEvent;
use crate::observe::spans::in_pass;
use crate::run::children::ChildRequest;
use crate::run::left::Left;
use crate::run::state::RunState;
use crate::run::succession::Successor;
use crate::run::turn::Turn;
use crate::workflow::fault::Fault;
use crate::workflow::locals::Locals;
use crate::workflow::program::{Decisions, How, Program, Programs, WorkflowEnd};
use crate::workflow::scope::published::Published;

use crate::data::call_map::CallMap;
use crate::data::id::{CommandId, EventSeq, MessageId, RunId};
use crate::data::limits;
use crate::data::name::Name;
use crate::data::outcome::Outcome;
use crate::data::payload::Payload;
use crate::data::text::printable;
use crate::data::time::Timestamp;
use crate::data::wait::Wait;
use crate::log::event::Event;
use crate::log::reply::Reply;
use crate::workflow::command::StepRequest;

/// The number of awaited calls that are shown in a run's row and in a diagnosis.
pub(crate) const WAITS_SHOWN: usize = 8;

/// About how many bytes an activity or a compensation takes beside its input, here and on its way to the executor.
const CALL_BYTES: usize = 512;

/// About how many bytes a timer, the id of a message, or a resolution that waits takes.
const ENTRY_BYTES: usize = 128;

/// A run in memory.
pub(crate) struct Run {
    pub(crate) state: RunState,
    /// The workflow's code; `None` while the run is stalled, ending or over.
    program: Option<Box<dyn Program>>,
    /// Why there is no program, if the log does not say so.
    diagnosis: Option<String>,
    /// The steps that are to begin after the pause: they were under way in another process, or before the run left memory.
    /// Boxed, because few runs have any.
    held_steps: Option<Box<CallMap<StepRequest>>>,
    /// The event that is logged before this worker's first event of the run. Boxed, because events are large and most
    /// runs have none.
    adoption: Option<Box<Event>>,
    /// What the code has not taken, once it is over: it is for a successor.
    left: Left,
}

/// The result of one change of a run. Its events are already applied to the run's state.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) events: Vec<PastEvent>,
    pub(crate) steps: CallMap<StepRequest>,
    pub(crate) dropped_steps: Vec<CommandId>,
    /// What its events ask of children.
    pub(crate) requests: Vec<ChildRequest>,
    /// The queue for which the store has to be asked before its code can go on.
    pub(crate) wanted_queue: Option<Name>,
    /// The run that continues this one, if the run ended in that way.
    pub(crate) successor: Option<Box<Successor>>,
    /// The activities that its events say have failed, for the worker's log.
    pub(crate) failed: Vec<FailedActivity>,
    /// What is published and still to be logged: what later polls of the same group publish again is logged once.
    published: Option<Box<Published>>,
}

/// An activity of which no attempt is left.
#[derive(Clone, Debug)]
pub(crate) struct FailedActivity {
    pub(crate) call: CommandId,
    pub(crate) activity: Name,
    /// How many attempts were made.
    pub(crate) attempts: u32,
    pub(crate) attempts_max: Option<u32>,
}

impl Progress {
    /// Removes the step whose outcome this is, if it is one, so that it is not executed again.
    fn forget_step(&mut self, resolution: &Event) {
        if let Event::StepCompleted { id, .. } | Event::StepFailed { id, .. } = resolution {
            self.steps.remove(*id);
        }
    }

    fn publish(&mut self, published: Option<Box<Published>>) {
        match (&mut self.published, published) {
            (Some(earlier), Some(later)) => earlier.append(*later),
            (earlier @ None, published) => *earlier = published,
            (Some(_), None) => {}
        }
    }

    /// The code could not go on. Returns why, in words.
    fn stalled_by(&mut self, fault: &Fault) -> String {
        self.wanted_queue = fault.wanted_queue().cloned();
        fault.to_string()
    }

    fn take_steps(&mut self, asked: CallMap<StepRequest>, dropped: &[CommandId]) {
        for id in dropped {
            self.steps.remove(*id);
        }
        if !asked.is_empty() {
            self.steps.append(asked);
        }
    }
}

impl Run {
    fn new(id: RunId) -> Self {
        let state = RunState::new(id);
        Self {
            state,
            program: None,
            diagnosis: None,
            held_steps: None,
            adoption: None,
            left: Left::default(),
        }
    }

    /// Starts a run whose workflow this worker does not know: only its start is logged.
    pub(crate) fn start_unknown(id: RunId, at: Timestamp, started: Event) -> (Self, Progress) {
        let mut run = Self::new(id);
        let progress = run.note(at, started);
        (run, progress)
    }

    /// Starts a run whose code must not be polled: it stalls before its start.
    pub(crate) fn start_stalled(
        id: RunId,
        at: Timestamp,
        started: Event,
        reason: String,
    ) -> (Self, Progress) {
        let mut run = Self::new(id);
        let mut progress = run.stall(at, reason);
        progress.append(run.note(at, started));
        (run, progress)
    }

    /// Starts a run: `started` is its `RunStarted`. If its code fails to start, a stall is logged before the start, as
    /// before any resolution.
    pub(crate) fn start(
        id: RunId,
        at: Timestamp,
        started: Event,
        programs: &dyn Programs,
    ) -> (Self, Progress) {
        let mut run = Self::new(id);
        if let Event::RunStarted { workflow, .. } = &started {
            run.program = programs.program(workflow, id);
        }
        let progress = run.resolve(at, started);
        (run, progress)
    }

    /// Logs a resolution and what the program decides after it.
    pub(crate) fn resolve(&mut self, at: Timestamp, resolution: Event) -> Progress {
        let at = at.max(self.state.now);
        // Most resolutions have one decision.
        let mut progress = Progress { events: Vec::with_capacity(2), ..Progress::default() };
        self.take_in(at, resolution, &mut progress);
        self.compensate(at, &mut progress);
        progress
    }

    /// Logs a resolution and what the program decides after it, without what the engine does then.
    fn take_in(&mut self, at: Timestamp, resolution: Event, progress: &mut Progress) {
        if self.state.queues() || self.program.is_none() {
            self.leave_late(&resolution);
            return self.log(at, resolution, progress);
        }
        // What a worker that took the run over logs first precedes the resolution.
        let seq = if self.adoption.is_some() { self.state.next_seq().next() } else { self.state.next_seq() };
        match self.poll(seq, at, &resolution, 0) {
            Ok(decisions) => {
                self.log(at, resolution, progress);
                self.decide(at, decisions, progress);
                self.log_published(at, progress);
            }
            Err(fault) => {
                let reason = progress.stalled_by(&fault);
                self.log(at, Event::RunStalled { reason }, progress);
                self.log(at, resolution, progress);
            }
        }
    }

    /// Stalls the run for a reason other than its code.
    pub(crate) fn stall(&mut self, at: Timestamp, reason: String) -> Progress {
        let mut progress = Progress::default();
        self.drop_program();
        self.log(at.max(self.state.now), Event::RunStalled { reason }, &mut progress);
        progress
    }

    /// Ends the run without polling its code.
    pub(crate) fn terminate(&mut self, at: Timestamp, message: MessageId, reason: String) -> Progress {
        self.drop_program();
        let skipped = self.unfinished_compensations();
        self.note(at, Event::RunTerminated { message, reason, skipped })
    }

    /// The grace of the run is over: it ends as by a termination.
    pub(crate) fn grace_over(&mut self, at: Timestamp) -> Progress {
        let Some(limits) = self.state.limits.clone() else { return Progress::default() };
        self.drop_program();
        let (at, skipped) = (at.max(self.state.now), self.unfinished_compensations());
        let uncompensated = self.state.uncompensated();
        let (deadline, grace_until) = (limits.deadline, Some(at));
        self.note(at, Event::RunTimedOut { deadline, grace_until, uncompensated, skipped })
    }

    /// The activities of the compensations that are not over, in the order of their execution.
    fn unfinished_compensations(&self) -> Vec<String> {
        let unfinished = self.state.activities.values().filter(|activity| activity.compensation);
        let unfinished = unfinished.map(|activity| activity.name.to_string());
        let rounds = self.state.rounds.iter().flat_map(|round| round.left.values().rev());
        let left = rounds.chain(self.state.compensations.values().rev());
        unfinished.chain(left.map(|left| left.activity.to_string())).collect()
    }

    /// A client pauses the run. Changes nothing if it is paused already.
    pub(crate) fn pause(&mut self, at: Timestamp, message: MessageId, reason: Option<String>) -> Progress {
        if self.state.paused.is_some() {
            return Progress::default();
        }
        self.note(at, Event::RunPaused { message, reason })
    }

    /// A client ends the pause of the run, if it is paused and this request has not ended one. What waited is released later.
    pub(crate) fn unpause(&mut self, at: Timestamp, message: MessageId) -> Progress {
        if self.state.paused.is_none() || self.state.messages.contains_key(&message) {
            return Progress::default();
        }
        let steps = self.held_steps.take().map(|steps| *steps).unwrap_or_default();
        let mut progress = self.note(at, Event::RunUnpaused { message });
        progress.take_steps(steps, &[]);
        progress
    }

    fn drop_program(&mut self) {
        self.program = None;
        self.held_steps = None;
    }

    /// About how many bytes it takes beside a fixed size. What its code allocates is not known, but it has decoded its input.
    pub(crate) fn bytes(&self) -> usize {
        let state = &self.state;
        let input = state.input.as_ref().map_or(0, |input| input.bytes().len());
        let rounds = state.rounds.iter().map(|round| round.left.len()).sum::<usize>();
        let calls = state.activities.len() + state.compensations.len() + rounds + state.children.len();
        let others = state.timers.len() + state.messages.len() + state.waiting.len();
        let code = self.program.as_ref().map_or(0, |program| program.bytes());
        let updates = state.updates.bytes() + state.updates.len() * ENTRY_BYTES;
        let others_held = self.left.bytes() + state.attributes.bytes();
        2 * input
            + state.payload_bytes
            + calls * CALL_BYTES
            + others * ENTRY_BYTES
            + updates
            + others_held
            + code
    }

    /// The reply to an update that is not delivered to the run, if it is not. It depends on no history: if the message comes
    /// again, it is refused again.
    pub(crate) fn refusal(&self, update: &Name, request: &Payload) -> Option<Reply> {
        // What reaches a run that may be tried again goes along to the next attempt.
        if self.state.ending.is_some() && self.state.retry.is_none() {
            return Some(Reply::Ending);
        }
        if self.state.updates.is_full(request) || self.has_no_room_for(request) {
            return Some(Reply::TooMany);
        }
        let refusal = self.program.as_ref()?.refusal(update, request)?;
        Some(Reply::Refused(printable(&refusal, limits::REFUSAL_CHARS_MAX)))
    }

    /// Why the code cannot follow the log, if it cannot.
    pub(crate) fn diagnosis(&self) -> Option<&str> {
        self.diagnosis.as_deref()
    }

    /// The calls that the run waits for, to show to people.
    pub(crate) fn waiting_on(&self) -> Option<String> {
        self.waiting_on_while(&|_| false)
    }

    /// The same, given which activities the executor is running: the log does not say when a retry starts.
    pub(crate) fn waiting_on_while(&self, is_running: &dyn Fn(CommandId) -> bool) -> Option<String> {
        if let Some(stall) = self.stall_in_words() {
            return Some(stall);
        }
        words(&self.shown_waits(is_running))
    }

    /// What the run waits for, as data: as much as is shown to people. Empty while it is stalled.
    pub(crate) fn shown_waits(&self, is_running: &dyn Fn(CommandId) -> bool) -> Vec<Wait> {
        let waits = if self.state.ending.is_some() {
            self.state.waits_at_end(WAITS_SHOWN, is_running)
        } else {
            self.waits_while(WAITS_SHOWN, is_running)
        };
        // Above all, a paused run waits for a client.
        let pause = self.state.paused.as_ref().map(|pause| Wait::Resume { reason: pause.reason.clone() });
        pause.into_iter().chain(waits).take(WAITS_SHOWN).collect()
    }

    /// The calls that the code waits for, at most `limit`, to show to people.
    pub(crate) fn waits(&self, limit: usize) -> Vec<String> {
        self.waits_while(limit, &|_| false).iter().map(Wait::to_string).collect()
    }

    fn waits_while(&self, limit: usize, is_running: &dyn Fn(CommandId) -> bool) -> Vec<Wait> {
        let open = self.program.as_ref().map(|program| program.waits(limit)).unwrap_or_default();
        open.into_iter().filter_map(|call| self.state.wait_of(call, is_running)).collect()
    }

    /// Why its code does not go on, in words, if it has stalled.
    pub(crate) fn stall_in_words(&self) -> Option<String> {
        let reason = self.state.stalled.as_deref().or(self.diagnosis.as_deref())?;
        match &self.state.paused {
            Some(pause) => {
                let pause = Wait::Resume { reason: pause.reason.clone() };
                Some(format!("{pause}, stalled: {reason}"))
            }
            None => Some(format!("stalled: {reason}")),
        }
    }

    /// Passes a resolution to the program, after which so many wait. After an error the run has no program.
    fn poll(
        &mut self,
        seq: EventSeq,
        at: Timestamp,
        resolution: &Event,
        waiting: usize,
    ) -> Result<Decisions, Fault> {
        let Some(program) = &mut self.program else {
            return Err(format!("this worker does not know workflow `{}`", self.state.workflow).into());
        };
        let (of, propagator) = (self.state.of_pass(resolution), program.propagator());
        let pass = || program.apply(seq, at, resolution, Locals::default());
        let decided =
            in_pass(of, &propagator, pass, |decided| decided.as_ref().map_or(&[], Decisions::links));
        let decided =
            decided.and_then(|decisions| match self.leaves_too_much(at, resolution, &decisions, waiting) {
                Some(problem) => Err(problem.into()),
                None => Ok(decisions),
            });
        if decided.is_err() {
            self.program = None;
        }
        decided
    }

    /// Logs what the program decided.
    fn decide(&mut self, at: Timestamp, decisions: Decisions, progress: &mut Progress) {
        let output = decisions.output;
        for local in output.locals.into_new() {
            self.log(at, local, progress);
        }
        progress.events.reserve(output.issued.len());
        for issued in output.issued {
            self.log(at, issued.command.into_event(), progress);
        }
        progress.take_steps(output.steps, &output.dropped_steps);
        progress.dropped_steps.extend(output.dropped_steps);
        progress.publish(output.published);
        if let Some(WorkflowEnd { how, left, carried }) = decisions.end.map(|end| *end) {
            self.program = None;
            // Nothing follows the end of a run.
            self.log_published(at, progress);
            self.leave_behind(left);
            let outcome = match how {
                How::Returned(outcome) => outcome,
                How::Continued(input) => return self.continue_as_new(at, input, carried, progress),
            };
            let undoes = !matches!(outcome, Outcome::Completed(_)) && !self.state.compensations.is_empty();
            let waits = !self.state.rounds.is_empty() || self.state.children.delay_the_end();
            if undoes || waits {
                let left = self.left_for_the_log(&outcome);
                self.log(at, Event::RunEnding { outcome, left }, progress);
            } else {
                self.close(at, outcome, progress);
            }
        }
    }

    /// Whether its code can take the waiting resolutions.
    pub(crate) fn can_release(&self) -> bool {
        self.program.is_some() && self.state.queues() && self.state.paused.is_none()
    }

    /// Passes waiting resolutions to the program: as many as fit into one group and into the turn, but at least one. The
    /// others stay in the queue for the next call.
    pub(crate) fn release(&mut self, turn: &Turn<'_>, progress: &mut Progress) {
        let now = turn.now.max(self.state.now);
        // Decisions that are not logged yet. They share one `RunResumed`.
        let mut decided = Vec::new();
        let mut stalled_again = None;
        let (mut polls, mut size) = (0, 0);
        let mut left = self.state.waiting.len();
        while left > 0 && size < limits::RELEASE_BYTES_MAX && (polls == 0 || !turn.is_over()) {
            let PastEvent { seq, at, event: resolution } =
                self.state.waiting[self.state.waiting.len() - left].clone();
            progress.forget_step(&resolution);
            let decisions = match self.poll(seq, at, &resolution, left - 1) {
                Ok(decisions) => decisions,
                Err(fault) => {
                    stalled_again = Some(progress.stalled_by(&fault));
                    break;
                }
            };
            left -= 1;
            polls += 1;
            size += decisions.size();
            // The end of the workflow drops the rest of the queue.
            let over = decisions.end.is_some();
            // A replay expects local resolutions right after the `RunResumed` of their poll, so that poll gets its own.
            let alone = decisions.output.locals.new_count() > 0;
            if alone && !decided.is_empty() {
                self.resume(now, std::mem::take(&mut decided), progress);
            }
            decided.push(decisions);
            if alone {
                self.resume(now, std::mem::take(&mut decided), progress);
            }
            if over {
                break;
            }
        }
        match stalled_again {
            Some(reason) if polls == 0 && self.state.stalled.is_some() => {
                progress.steps.clear();
                self.diagnosis = Some(reason);
            }
            Some(reason) => {
                if !decided.is_empty() {
                    self.resume(now, decided, progress);
                }
                progress.steps.clear();
                self.log_published(now, progress);
                self.log(now, Event::RunStalled { reason }, progress);
            }
            None if polls == 0 || !decided.is_empty() => self.resume(now, decided, progress),
            None => {}
        }
        self.log_published(now, progress);
        self.compensate(now, progress);
    }

    /// Logs the program's decisions after some of the waiting resolutions.
    fn resume(&mut self, at: Timestamp, decided: Vec<Decisions>, progress: &mut Progress) {
        let released = u32::try_from(decided.len()).unwrap_or(u32::MAX);
        self.log(at, Event::RunResumed { released }, progress);
        for decisions in decided {
            self.decide(at, decisions, progress);
        }
    }

    /// Schedules the next compensation, the last registered first: of the oldest round, whose end is logged if none of it is
    /// left, or at the end of the run, which is logged after them.
    fn compensate(&mut self, at: Timestamp, progress: &mut Progress) {
        while self.state.compensating.is_none() && self.state.closed.is_none() {
            let round = self.state.rounds.front();
            // What children do until they end may have to be compensated for, so all that is awaited comes before the last round.
            if round.is_none() && self.state.ending.is_some() && self.state.children.delay_the_end() {
                return;
            }
            let left = round.map_or(&self.state.compensations, |round| &round.left);
            match (left.last(), round, &self.state.ending) {
                (Some(id), Some(_), _) | (Some(id), None, Some(_)) => {
                    self.log(at, Event::CompensationScheduled { id }, progress);
                }
                (None, Some(round), _) => {
                    let ended = Event::CompensationsEnded {
                        id: round.id,
                        uncompensated: round.failed.list().to_vec(),
                    };
                    self.take_in(at, ended, progress);
                }
                (None, None, Some(outcome)) => self.close(at, Outcome::clone(outcome), progress),
                (_, None, None) => return,
            }
        }
    }

    fn close(&mut self, at: Timestamp, outcome: Outcome, progress: &mut Progress) {
        let uncompensated = self.state.uncompensated();
        let reason = self.state.cancel.as_ref().and_then(|cancel| cancel.reason.clone());
        let terminal = match outcome {
            Outcome::Completed(result) => Event::RunCompleted { result },
            Outcome::Failed(failure) if self.retry_whole(at, &failure, progress) => return,
            Outcome::Failed(failure) => Event::RunFailed { failure, uncompensated },
            Outcome::Cancelled => match self.state.timed_out() {
                Some(deadline) => {
                    Event::RunTimedOut { deadline, grace_until: None, uncompensated, skipped: Vec::new() }
                }
                None => Event::RunCancelled { reason, uncompensated },
            },
        };
        self.log(at, terminal, progress);
    }

    /// Logs what this group publishes.
    fn log_published(&mut self, at: Timestamp, progress: &mut Progress) {
        if let Some(published) = progress.published.take() {
            published.into_events().for_each(|event| self.log(at, event, progress));
        }
    }

    /// Applies an event to the state and adds it to the events to log.
    fn log(&mut self, at: Timestamp, event: Event, progress: &mut Progress) {
        if let Some(adoption) = self.adoption.take() {
            self.log(at, *adoption, progress);
        }
        if self.state.children.len() > 0 {
            progress.requests.extend(self.state.children.requests(&event));
        }
        let seq = self.state.next_seq();
        progress.failed.extend(self.failed_activity(&event));
        self.state.apply(at, &event);
        progress.events.push(PastEvent { seq, at, event });
    }
}

/// Waits in words, to show to people.
pub(crate) fn words(waits: &[Wait]) -> Option<String> {
    let words: Vec<String> = waits.iter().map(Wait::to_string).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("state", &self.state).finish_non_exhaustive()
    }
}
