//! What must hold within one history, whoever wrote it. It must not know of faults.

use std::collections::{BTreeMap, BTreeSet};

use pgworkflows::{CommandId, Event, HistoryEvent, MessageId, Outcome, RunId, Timestamp};

use super::ledger::is_terminal;
use super::workflow::PLANNED;

/// Invariants 2, 3 and 8 within one history. Where a broken build was deployed, the run may have stalled because of it.
pub(crate) fn check_history(run: RunId, history: &[HistoryEvent], broken: bool, wrong: &mut Vec<String>) {
    let mut check = HistoryCheck { broken, ..HistoryCheck::default() };
    for HistoryEvent { seq, at, event, .. } in history {
        if check.now.replace((*at).into()).is_some_and(|before| before > Timestamp::from(*at)) {
            check.problem = Some("time went back");
        }
        check.take(event);
        if let Some(problem) = check.problem.take() {
            wrong.push(format!("run {run}: event {seq}, {}: {problem}", event.name()));
        }
    }
    let ends = history.iter().filter(|event| is_terminal(event.event.name().as_str())).count();
    if ends != 1 {
        wrong.push(format!("run {run} has {ends} terminal events"));
    }
}

/// What is known of a history so far.
#[derive(Default)]
struct HistoryCheck {
    broken: bool,
    now: Option<Timestamp>,
    /// The calls that were made, and those that have an outcome.
    begun: BTreeSet<CommandId>,
    outcomes: BTreeSet<CommandId>,
    /// Those whose outcome waited for a stalled run, whose code may give the call up before it sees that.
    waited: BTreeSet<CommandId>,
    stalled: bool,
    messages: BTreeSet<MessageId>,
    deadlines: BTreeMap<CommandId, Timestamp>,
    /// Compensations that were registered and not executed.
    registered: BTreeSet<CommandId>,
    compensated: Option<CommandId>,
    ending: Option<Outcome>,
    problem: Option<&'static str>,
}

/// The durable call that stands for the delay of a run's start.
const START_DELAY: CommandId = CommandId::new(0);

impl HistoryCheck {
    fn demand(&mut self, holds: bool, problem: &'static str) {
        if !holds {
            self.problem.get_or_insert(problem);
        }
    }

    fn begins(&mut self, id: CommandId) {
        let is_new = self.begun.insert(id);
        self.demand(is_new, "its id was used before");
    }

    fn ends(&mut self, id: CommandId) {
        if self.stalled {
            self.waited.insert(id);
        }
        let is_first = self.outcomes.insert(id);
        self.demand(is_first, "a second outcome");
    }

    fn is_given_up(&mut self, id: CommandId) {
        if !self.waited.remove(&id) {
            self.ends(id);
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::RunStarted { start_at, .. } => {
                self.deadlines.extend(start_at.map(|start_at| (START_DELAY, start_at)));
            }
            Event::ActivityScheduled { id, .. } => self.begins(*id),
            Event::CompensationRegistered { id, .. } => {
                self.begins(*id);
                self.registered.insert(*id);
            }
            Event::TimerStarted { id, fire_at } => {
                self.begins(*id);
                self.deadlines.insert(*id, *fire_at);
            }
            Event::TimerFired { id } => {
                match (self.deadlines.get(id), self.now) {
                    (Some(deadline), Some(now)) => self.demand(now >= *deadline, "too early"),
                    (None, _) | (_, None) => self.demand(false, "there is no such timer"),
                }
                self.ends(*id);
            }
            Event::ActivityCompleted { id, .. }
            | Event::ActivityFailed { id, .. }
            | Event::StepCompleted { id, .. }
            | Event::StepFailed { id, .. }
            | Event::CompensationCompleted { id }
            | Event::CompensationFailed { id, .. } => self.ends(*id),
            Event::ActivityCancelled { id } | Event::TimerCancelled { id } => self.is_given_up(*id),
            Event::CompensationScheduled { id } => {
                let newest = self.registered.pop_last();
                self.demand(newest == Some(*id), "compensations run newest first, each once");
                self.compensated = Some(*id);
            }
            Event::SignalReceived { message, .. } | Event::CancelRequested { message, .. } => {
                let is_new = self.messages.insert(*message);
                self.demand(is_new, "the message was logged before");
            }
            Event::RunResumed { .. } => self.stalled = false,
            Event::RunStalled { reason } => {
                self.stalled = true;
                self.demand(self.broken && reason.contains(PLANNED), "no code was broken");
            }
            Event::RunEnding { outcome } => self.ending = Some(outcome.clone()),
            Event::RunCompleted { .. } => self.demand(self.ending.is_none(), "it was to end otherwise"),
            Event::RunFailed { failure, .. } => self.over(&Outcome::Failed(failure.clone())),
            Event::RunCancelled { .. } => self.over(&Outcome::Cancelled),
            // Terminations, attempts and notes: nothing that an earlier event forbids.
            _ => {}
        }
    }

    /// A run that does not end well compensates first, and then ends for the reason for which it did.
    fn over(&mut self, outcome: &Outcome) {
        self.demand(self.registered.is_empty(), "not everything was compensated");
        let same = self.ending.as_ref().is_none_or(|ending| ending == outcome);
        self.demand(same, "it was to end otherwise");
        let answered = self.compensated.is_none_or(|last| self.outcomes.contains(&last));
        self.demand(answered, "a compensation is still under way");
    }
}
