//! Replay: a run's history is passed to its program again, and each decision must equal the recorded one. It reads ahead
//! by at most one group, because a resolution is polled after the local resolutions that follow it. It is pure, and must
//! not read a store: a history goes in, a run comes out.

use std::collections::BTreeMap;

use crate::data::divergence::Divergence;
use crate::data::id::{CommandId, EventSeq, RunId};
use crate::data::name::Name;
use crate::data::time::Timestamp;
use crate::log::event::{Event, Role};
use crate::log::past_event::PastEvent;
use crate::observe::spans::in_replay;
use crate::run::decision::Decided;
use crate::run::left::is_passed_on;
use crate::run::state::RunState;
use crate::run::turn::Turn;
use crate::run::{Progress, Run};
use crate::workflow::command::Source;
use crate::workflow::fault::Fault;
use crate::workflow::locals::Locals;
use crate::workflow::program::{Programs, join_or};

/// What a divergence means if the code is the one that wrote the history.
const BY_CHANCE: &str = ". If the code has not changed, it decides by chance: use `pgworkflows::select!` instead of \
                         `tokio::select!` and `futures::select!`, and the context for times and random numbers";

/// What the worker that takes over a run adds to its history.
#[derive(Debug, Default)]
pub(crate) struct Takeover {
    /// The event that is logged before the worker's first event of the run.
    pub(crate) adoption: Option<Event>,
    /// Why the run must not continue, although its code may be able to.
    pub(crate) hold: Option<String>,
    /// Whether that is also logged if the run has already stalled for another reason.
    pub(crate) told_again: bool,
}

/// Replays a run from its history. The progress contains the events that have to be logged because of it: a stall, or a
/// release of waiting resolutions.
#[cfg(any(test, feature = "__bench"))]
pub(crate) fn replay(
    run: RunId,
    history: &[PastEvent],
    programs: &dyn Programs,
    takeover: Takeover,
    now: Timestamp,
) -> (Run, Progress) {
    let mut replay = Replay::new(run, now);
    for past in history {
        replay.take(past.clone(), programs).expect("the engine writes complete histories");
    }
    let (mut run, mut progress) = replay.finish(takeover, &Turn::endless(now));
    while run.can_release() {
        let mut released = Progress::default();
        run.release(&Turn::endless(now), &mut released);
        progress.append(released);
    }
    (run, progress)
}

/// The findings about a history and the code that replays it.
pub(crate) struct Examined {
    pub(crate) run: Run,
    pub(crate) divergence: Option<Divergence>,
    /// The source line of every durable call that the code made.
    pub(crate) sources: BTreeMap<CommandId, Source>,
}

/// Replays a run for inspection. The error describes the problem with its history.
pub(crate) fn examine(
    run: RunId,
    history: &[PastEvent],
    programs: &dyn Programs,
    now: Timestamp,
) -> Result<Examined, String> {
    let mut replay = Replay { sources: Some(BTreeMap::new()), ..Replay::new(run, now) };
    for past in history {
        replay.take(past.clone(), programs)?;
    }
    replay.end();
    let (divergence, sources) = (replay.diverged.clone(), replay.sources.take().unwrap_or_default());
    let (run, _) = replay.finish(Takeover::default(), &Turn::endless(now));
    Ok(Examined { run, divergence, sources })
}

/// A replay in progress, which takes the events of a history one after the other.
pub(crate) struct Replay {
    run: Run,
    /// Why the code is not polled, if the history is only folded.
    without_code: Option<String>,
    now: Timestamp,
    /// Resolutions that the program has not taken yet, because their local resolutions may still follow.
    due: Vec<PastEvent>,
    /// The local resolutions that follow them.
    locals: Vec<PastEvent>,
    /// Decisions of the program that are not compared with the log yet.
    decided: Decided,
    /// What arrived so far that a successor could take, of a run that may be tried again: the end of its code says what of it goes
    /// along.
    arrived: Vec<Event>,
    /// Its steps are those that were requested and have no outcome yet.
    progress: Progress,
    diverged: Option<Divergence>,
    /// Whether the worker does not know its workflow.
    unknown: bool,
    /// The source lines of durable calls, if they are collected: a worker does not need them.
    sources: Option<BTreeMap<CommandId, Source>>,
}

impl Replay {
    /// Starts the replay of a run's history at that time.
    pub(crate) fn new(run: RunId, now: Timestamp) -> Self {
        Self {
            run: Run::new(run),
            without_code: None,
            now,
            due: Vec::new(),
            locals: Vec::new(),
            decided: Decided::default(),
            arrived: Vec::new(),
            progress: Progress::default(),
            diverged: None,
            unknown: false,
            sources: None,
        }
    }

    /// As [`Replay::new`], for a run whose code must not be polled.
    pub(crate) fn without_code(run: RunId, now: Timestamp, why: String) -> Self {
        Self { without_code: Some(why), ..Self::new(run, now) }
    }

    /// The state of the run after the events so far.
    pub(crate) fn state(&self) -> &RunState {
        &self.run.state
    }

    /// Whether the code is not polled, because it must not be.
    pub(crate) fn is_without_code(&self) -> bool {
        self.without_code.is_some()
    }

    /// Whether the worker does not know the run's workflow.
    pub(crate) fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// Takes the next event of the history. The error says why it cannot be the next.
    pub(crate) fn take(&mut self, past: PastEvent, programs: &dyn Programs) -> Result<(), String> {
        let state = &self.run.state;
        let expected = state.next_seq();
        if past.seq != expected {
            return Err(format!(
                "its history is incomplete: it continues with event {}, where event {expected} should be",
                past.seq
            ));
        }
        if state.closed.is_some() {
            return Err(format!("event {} is {}, after the end of the run", past.seq, past.event.name()));
        }
        let role = past.event.role();
        if role != Role::Local {
            self.poll_due(Some(&past));
        }
        if let Event::RunStarted { workflow, .. } = &past.event {
            self.begin(past.seq, workflow, programs);
        }
        match role {
            Role::Decision => self.confirm(&past),
            Role::Resolution => {
                if self.resolve(&past) {
                    self.due.push(past);
                }
            }
            Role::Local => {
                if self.belongs(&past) {
                    self.locals.push(past);
                }
            }
            Role::Note => self.note(&past),
        }
        if self.run.state.ending.is_some() || self.run.state.closed.is_some() {
            // The program has returned, or is not polled again.
            self.run.program = None;
        }
        Ok(())
    }

    fn begin(&mut self, seq: EventSeq, workflow: &Name, programs: &dyn Programs) {
        if let Some(why) = self.without_code.clone() {
            return self.fail(seq, why);
        }
        match programs.program(workflow, self.run.state.id) {
            Some(program) => self.run.program = Some(program),
            None => {
                self.unknown = true;
                self.fail(seq, format!("this worker does not know workflow `{workflow}`"));
            }
        }
    }

    /// Compares a recorded decision with the program's next one.
    fn confirm(&mut self, past: &PastEvent) {
        if let Event::RunEnding { left, .. } = &past.event {
            self.run.leave_logged(std::mem::take(&mut self.arrived), left.as_ref());
        }
        // After `RunEnding` the engine decides the terminal event, not the program.
        // After a grace the code is not asked.
        let asked = !matches!(past.event, Event::RunTimedOut { grace_until: Some(_), .. });
        let by_program = asked && self.run.program.is_some() && self.run.state.ending.is_none();
        if by_program && !self.decided.take_if_matches(&past.event) {
            self.diverge_at(past, &self.next_action());
        }
        self.run.state.apply(past.at, &past.event);
    }

    /// Applies a resolution, and returns whether the program takes it now.
    fn resolve(&mut self, past: &PastEvent) -> bool {
        self.expect_nothing_more(past);
        let queued = self.run.state.queues_for(&past.event);
        self.run.leave_late(&past.event);
        self.run.state.apply(past.at, &past.event);
        let (state, arrived) = (&self.run.state, &past.event);
        if state.retry.is_some() && state.ending.is_none() && is_passed_on(arrived) {
            self.arrived.push(arrived.clone());
        }
        if queued {
            // The outcome of a step is known from now on, however long the program does not take it.
            self.progress.forget_step(&past.event);
        }
        !queued
    }

    /// Applies a local resolution, and returns whether it belongs to the next poll.
    fn belongs(&mut self, past: &PastEvent) -> bool {
        self.run.state.apply(past.at, &past.event);
        let belongs = !self.due.is_empty();
        if !belongs {
            self.unclaimed(past);
        }
        belongs
    }

    fn note(&mut self, past: &PastEvent) {
        if let Event::RunResumed { released } = past.event {
            self.expect_nothing_more(past);
            let released = self.run.state.waiting.len().min(released as usize);
            let waiting = self.run.state.waiting.range(..released).cloned();
            self.due.extend(waiting);
        }
        self.run.state.apply(past.at, &past.event);
    }

    /// Polls the program with the resolutions that were read. `next` is the first event after them.
    fn poll_due(&mut self, next: Option<&PastEvent>) {
        if self.due.is_empty() {
            return;
        }
        // An event is large, so none is moved out; the room for them is used again.
        let mut due = std::mem::take(&mut self.due);
        for resolution in &due {
            let locals = Locals::recorded(std::mem::take(&mut self.locals));
            self.poll(resolution, locals, next);
        }
        due.clear();
        self.due = due;
    }

    fn poll(&mut self, due: &PastEvent, locals: Locals, next: Option<&PastEvent>) {
        self.progress.forget_step(&due.event);
        let Some(program) = &mut self.run.program else { return };
        if let Some(room) = self.decided.take_room() {
            program.reuse(room);
        }
        let poll = || program.apply(due.seq, due.at, &due.event, locals);
        match in_replay(poll) {
            Ok(decisions) => {
                let mut output = decisions.output;
                if let Some(sources) = &mut self.sources {
                    sources.extend(output.issued.iter().map(|issued| (issued.command.id(), issued.source)));
                    sources.extend(output.steps.iter().map(|(id, step)| (id, step.source)));
                }
                self.decided.add(output.issued, decisions.end.map(|end| end.how));
                self.progress.take_steps(output.steps, &output.dropped_steps);
                if let Some(unclaimed) = output.locals.take_unclaimed() {
                    self.unclaimed(&unclaimed);
                }
            }
            Err(Fault::Stuck(reason)) => self.fail(due.seq, reason),
            // A replay takes what it asks for from the log.
            Err(fault @ Fault::UnknownQueue { .. }) => self.fail(due.seq, fault.to_string()),
            Err(Fault::Unrecorded { did, instead }) => match instead.as_deref().or(next) {
                Some(recorded) => self.diverge_at(recorded, &did),
                None => self.diverge(Divergence { seq: None, recorded: None, did }),
            },
        }
    }

    /// The log continues with another group, so the program must have no decision left.
    fn expect_nothing_more(&mut self, past: &PastEvent) {
        if let Some(decision) = self.decided.next().map(|next| next.to_string()) {
            self.diverge_at(past, &decision);
        }
    }

    /// The log contains a local resolution that the program did not ask for.
    fn unclaimed(&mut self, local: &PastEvent) {
        if self.run.program.is_some() {
            let did = format!("does not ask for it; it {}", self.next_action());
            self.diverge_at(local, &did);
        }
    }

    /// Describes the program's next decision that is not compared yet, or what it waits for.
    fn next_action(&self) -> String {
        match self.decided.next() {
            Some(decision) => decision.to_string(),
            None => format!("waits for {}", join_or(&self.run.waits(super::WAITS_SHOWN), "nothing")),
        }
    }

    fn diverge_at(&mut self, past: &PastEvent, did: &str) {
        let recorded = Some(format!("{:#}", past.event));
        self.diverge(Divergence { seq: Some(past.seq), recorded, did: did.to_owned() });
    }

    /// The code could not take a resolution.
    fn fail(&mut self, seq: EventSeq, why: String) {
        self.diverge(Divergence { seq: Some(seq), recorded: None, did: why });
    }

    /// Drops the program, which cannot be used; the fold continues.
    fn diverge(&mut self, what: Divergence) {
        self.run.program = None;
        self.decided = Decided::default();
        self.progress.steps.clear();
        self.diverged.get_or_insert(what);
    }

    /// The history is over, so the program must have no decision left.
    fn end(&mut self) {
        self.poll_due(None);
        if let Some(did) = self.decided.next().map(|next| next.to_string()) {
            self.diverge(Divergence { seq: None, recorded: None, did });
        }
    }

    /// The run according to its history alone, without a program.
    pub(crate) fn into_run(mut self, adoption: Option<Event>) -> Run {
        self.run.program = None;
        self.run.adoption = adoption.map(Box::new);
        self.run
    }

    /// Returns the replayed run, and the events that have to be logged because of the replay.
    pub(crate) fn finish(mut self, takeover: Takeover, turn: &Turn<'_>) -> (Run, Progress) {
        self.end();
        self.run.adoption = takeover.adoption.map(Box::new);
        let mut progress = self.progress;
        if self.run.state.closed.is_some() || self.run.state.ending.is_some() {
            return (self.run, progress);
        }
        let diverged = self.diverged.map(|what| {
            // Code that cannot go on at all did not decide differently.
            let by_chance = if what.recorded.is_some() || what.seq.is_none() { BY_CHANCE } else { "" };
            format!(
                "run {} of workflow `{}` cannot be replayed: {what}. Deploy the code that wrote this history, or \
                 change the workflow in a way that old histories can follow; then the run resumes{by_chance}",
                self.run.state.id, self.run.state.workflow
            )
        });
        let held = takeover.told_again && self.run.state.stalled.as_deref() != takeover.hold.as_deref();
        match takeover.hold.or(diverged) {
            Some(reason) => {
                self.run.program = None;
                progress.steps.clear();
                self.run.diagnosis = Some(reason.clone());
                if held || self.run.state.stalled.is_none() {
                    self.run.log(self.now, Event::RunStalled { reason }, &mut progress);
                }
            }
            None if self.run.can_release() => self.run.release(turn, &mut progress),
            None if self.run.state.paused.is_some() => {
                self.run.held_steps = Some(Box::new(std::mem::take(&mut progress.steps)));
            }
            None => {}
        }
        (self.run, progress)
    }
}
