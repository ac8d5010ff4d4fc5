//! Replay: a run's history is fed to its program again, and each decision must equal the recorded one.
//! Pure: a history in, a run out.

use crate::data::divergence::Divergence;
use crate::log::past_event::PastEvent;
use crate::workflow::program::{Programs, join_or};
use std::collections::{BTreeMap, VecDeque};
use std::panic::Location;

use crate::canary;
use crate::data::id::{CommandId, EventSeq, RunId};
use crate::data::name::Name;
use crate::data::outcome::Outcome;
use crate::data::time::Timestamp;
use crate::log::event::{Event, Role};
use crate::run::state::RunState;
use crate::run::turn::Turn;
use crate::run::{Progress, Run};
use crate::workflow::command::{Issued, Source};

/// What the worker that takes a run over adds to its history.
#[derive(Debug, Default)]
pub(crate) struct Takeover {
    /// Logged before anything else that the run logs from now on.
    pub(crate) adoption: Option<Event>,
    /// Why the run is not to go on, although its code may be able to.
    pub(crate) hold: Option<String>,
    /// Whether that is logged also where the run had stalled for another reason.
    pub(crate) told_again: bool,
}

/// Brings a run back from its history. What has to be logged because of it (a stall, a release of waiting
/// resolutions) is in the progress.
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
        replay.take(past, programs).expect("what the engine logged is whole");
    }
    let (mut run, mut progress) = replay.finish(takeover, &Turn::endless(now));
    while run.can_release() {
        let mut released = Progress::default();
        run.release(&Turn::endless(now), &mut released);
        progress.append(released);
    }
    (run, progress)
}

/// What there is to say of a history and the code that replays it.
pub(crate) struct Examined {
    pub(crate) run: Run,
    pub(crate) divergence: Option<Divergence>,
    /// The line of every durable call that the code made.
    pub(crate) sources: BTreeMap<CommandId, Source>,
}

/// Brings a run back to look at it. The error says what is wrong with its history.
pub(crate) fn examine(
    run: RunId,
    history: &[PastEvent],
    programs: &dyn Programs,
    now: Timestamp,
) -> Result<Examined, String> {
    let mut replay = Replay { sources: Some(BTreeMap::new()), ..Replay::new(run, now) };
    for past in history {
        replay.take(past, programs)?;
    }
    replay.end();
    let (divergence, sources) = (replay.diverged.clone(), replay.sources.take().unwrap_or_default());
    let (run, _) = replay.finish(Takeover::default(), &Turn::endless(now));
    Ok(Examined { run, divergence, sources })
}

/// A replay under way: it takes the events of a history, one after the other.
pub(crate) struct Replay {
    run: Run,
    /// Why no code is asked: the history is folded only.
    without_code: Option<String>,
    now: Timestamp,
    /// Decisions that the program made and the log has not confirmed yet.
    made: VecDeque<Decision>,
    /// Its steps are those that were asked for and have no outcome yet.
    progress: Progress,
    diverged: Option<Divergence>,
    /// Whether nobody here knows its workflow.
    unknown: bool,
    /// The lines of durable calls, for whoever asks for them: a worker does not.
    sources: Option<BTreeMap<CommandId, Source>>,
}

/// A decision of the program.
enum Decision {
    Command(Issued),
    Outcome(Outcome),
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = |source: &Location<'_>| format!("{source}");
        match self {
            Self::Command(issued) => write!(f, "{} at {}", issued.command, line(issued.source)),
            Self::Outcome(outcome) => f.write_str(match outcome {
                Outcome::Completed(_) => "returns a value",
                Outcome::Failed(_) => "returns an error",
                Outcome::Cancelled => "returns its cancellation",
            }),
        }
    }
}

impl Replay {
    /// The replay of a run's history, which is brought back at that time.
    pub(crate) fn new(run: RunId, now: Timestamp) -> Self {
        Self {
            run: Run::new(run),
            without_code: None,
            now,
            made: VecDeque::new(),
            progress: Progress::default(),
            diverged: None,
            unknown: false,
            sources: None,
        }
    }

    /// As [`Replay::new`], for a run whose code must not be asked.
    pub(crate) fn without_code(run: RunId, now: Timestamp, why: String) -> Self {
        Self { without_code: Some(why), ..Self::new(run, now) }
    }

    /// What the events so far say of the run.
    pub(crate) fn state(&self) -> &RunState {
        &self.run.state
    }

    /// Whether the worker does not know the run's workflow.
    pub(crate) fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// Takes the next event of the history. The error says why it cannot be the next.
    pub(crate) fn take(&mut self, past: &PastEvent, programs: &dyn Programs) -> Result<(), String> {
        let state = &self.run.state;
        let expected = state.next_seq();
        if past.seq != expected {
            return Err(format!(
                "its history is not whole: event {} is where {expected} should be",
                past.seq
            ));
        }
        if state.closed.is_some() {
            return Err(format!("event {} is {}, after the end of the run", past.seq, past.event.name()));
        }
        let past = &*canary::restart_timer(past, self.now);
        if let Event::RunStarted { workflow, .. } = &past.event {
            self.begin(past.seq, workflow, programs);
        }
        match past.event.role() {
            Role::Decision => self.confirm(past),
            Role::Resolution => self.resolve(past),
            Role::Note => self.note(past),
        }
        if self.run.state.ending.is_some() || self.run.state.closed.is_some() {
            // The program has returned, or nobody asks it any more.
            self.run.program = None;
        }
        Ok(())
    }

    fn begin(&mut self, seq: EventSeq, workflow: &Name, programs: &dyn Programs) {
        if let Some(why) = self.without_code.clone() {
            return self.fail(seq, why);
        }
        match programs.program(workflow, self.run.state.id) {
            Some(mut program) => {
                program.set_recorded(true);
                self.run.program = Some(program);
            }
            None => {
                self.unknown = true;
                self.fail(seq, format!("this worker does not know workflow `{workflow}`"));
            }
        }
    }

    /// A recorded decision must be the next that the program made.
    fn confirm(&mut self, past: &PastEvent) {
        // After `RunEnding` the engine itself decides the terminal event.
        let by_program = self.run.program.is_some() && self.run.state.ending.is_none();
        if by_program {
            match self.made.pop_front() {
                Some(made) if matches(&made, &past.event) => {}
                Some(made) => self.diverge_at(past, &made.to_string()),
                None => {
                    let waits = self.run.waits(super::WAITS_SHOWN);
                    let did = format!("waits for {}", join_or(&waits, "nothing"));
                    self.diverge_at(past, &did);
                }
            }
        }
        self.run.state.apply(past.at, &past.event);
    }

    fn resolve(&mut self, past: &PastEvent) {
        if let Some(made) = self.made.front().map(ToString::to_string) {
            self.diverge_at(past, &made);
        }
        let queued = self.run.state.queues();
        self.run.state.apply(past.at, &past.event);
        if !queued {
            self.poll(past.seq, past.at, &past.event);
        }
    }

    fn note(&mut self, past: &PastEvent) {
        if let Event::RunResumed { released } = past.event {
            let released = self.run.state.waiting.len().min(released as usize);
            let waiting: Vec<_> = self.run.state.waiting.range(..released).cloned().collect();
            for (at, event) in waiting {
                self.poll(past.seq, at, &event);
            }
        }
        self.run.state.apply(past.at, &past.event);
    }

    fn poll(&mut self, seq: EventSeq, at: Timestamp, resolution: &Event) {
        self.progress.forget_step(resolution);
        let Some(program) = &mut self.run.program else { return };
        let span = self.run.state.span(resolution, true);
        match span.in_scope(|| program.apply(at, resolution)) {
            Ok(decisions) => {
                if let Some(sources) = &mut self.sources {
                    let issued = decisions.gathered.issued.iter();
                    sources.extend(issued.map(|issued| (issued.command.id(), issued.source)));
                    let steps = decisions.gathered.steps.iter();
                    sources.extend(steps.map(|(id, step)| (*id, step.source)));
                }
                self.made.extend(decisions.gathered.issued.into_iter().map(Decision::Command));
                self.made.extend(decisions.outcome.map(Decision::Outcome));
                self.progress.take_steps(decisions.gathered.steps, &decisions.gathered.dropped_steps);
            }
            Err(reason) => self.fail(seq, reason),
        }
    }

    fn diverge_at(&mut self, past: &PastEvent, did: &str) {
        let recorded = Some(describe(&past.event));
        self.diverge(Divergence { seq: Some(past.seq), recorded, did: did.to_owned() });
    }

    /// The code could not take a resolution in.
    fn fail(&mut self, seq: EventSeq, why: String) {
        self.diverge(Divergence { seq: Some(seq), recorded: None, did: why });
    }

    /// The program is of no more use; the fold goes on.
    fn diverge(&mut self, what: Divergence) {
        self.run.program = None;
        self.made.clear();
        self.progress.steps.clear();
        self.diverged.get_or_insert(what);
    }

    /// The history is over: so must be what the program decided.
    fn end(&mut self) {
        if let Some(made) = self.made.front() {
            let did = made.to_string();
            self.diverge(Divergence { seq: None, recorded: None, did });
        }
        if let Some(program) = &mut self.run.program {
            program.set_recorded(false);
        }
    }

    /// The run as its history alone has it, without a program.
    pub(crate) fn into_run(mut self, adoption: Option<Event>) -> Run {
        self.run.program = None;
        self.run.adoption = adoption.map(Box::new);
        self.run
    }

    /// The run as it comes out of its history, with what has to be logged because of that.
    pub(crate) fn finish(mut self, takeover: Takeover, turn: &Turn<'_>) -> (Run, Progress) {
        self.end();
        self.run.adoption = takeover.adoption.map(Box::new);
        let mut progress = self.progress;
        if self.run.state.closed.is_some() || self.run.state.ending.is_some() {
            return (self.run, progress);
        }
        let diverged = self.diverged.map(|what| {
            format!(
                "run {} of workflow `{}` cannot be replayed: {what}. Deploy the code that wrote this history, or \
                 change the workflow in a way that old histories can follow; then the run goes on",
                self.run.state.id, self.run.state.workflow
            )
        });
        let held = takeover.told_again && self.run.state.stalled != takeover.hold;
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
            None => {}
        }
        (self.run, progress)
    }
}

fn matches(made: &Decision, recorded: &Event) -> bool {
    match made {
        Decision::Command(issued) => issued.command.matches(recorded),
        Decision::Outcome(outcome) => match (outcome, recorded) {
            (_, Event::RunEnding { outcome: recorded }) => {
                std::mem::discriminant(outcome) == std::mem::discriminant(recorded)
            }
            (Outcome::Completed(_), Event::RunCompleted { .. })
            | (Outcome::Failed(_), Event::RunFailed { .. })
            | (Outcome::Cancelled, Event::RunCancelled { .. }) => true,
            (Outcome::Completed(_) | Outcome::Failed(_) | Outcome::Cancelled, _) => false,
        },
    }
}

/// A recorded event in words: its name, with the call and the name that it is about.
fn describe(event: &Event) -> String {
    match event {
        Event::ActivityScheduled { id, activity, .. }
        | Event::CompensationRegistered { id, activity, .. } => {
            format!("{} `{activity}` (call {id})", event.name())
        }
        Event::ActivityCancelled { id }
        | Event::TimerStarted { id, .. }
        | Event::TimerCancelled { id }
        | Event::TimerFired { id }
        | Event::ActivityCompleted { id, .. }
        | Event::ActivityFailed { id, .. } => format!("{} (call {id})", event.name()),
        Event::StepCompleted { id, step, .. } | Event::StepFailed { id, step, .. } => {
            format!("{} `{step}` (call {id})", event.name())
        }
        Event::SignalReceived { signal, .. } => format!("{} `{signal}`", event.name()),
        other => other.name().to_string(),
    }
}
