//! The invariants of a single history. It must not know of faults.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pgworkflows_core::Timestamp;
use pgworkflows_core::history::{Event, HistoryEvent, Outcome};
use pgworkflows_core::id::{CommandId, MessageId, Name, RunId};

use crate::config::WorldConfig;
use crate::plan::QUEUES;
use crate::workflow::PLANNED_PANIC;
use crate::workflow::serving::UPDATES;

/// Invariants 2, 3 and 8 within one history. The configuration of the world says why its run may have stalled.
pub(crate) fn check_history(
    run: RunId,
    history: &[HistoryEvent],
    config: &WorldConfig,
    wrong: &mut Vec<String>,
) {
    let mut check = HistoryCheck::default();
    for HistoryEvent { seq, at, event, .. } in history {
        if check.now.replace((*at).into()).is_some_and(|before| before > Timestamp::from(*at)) {
            check.problem = Some("time went backwards");
        }
        check.take(event, config);
        if let Some(problem) = check.problem.take() {
            wrong.push(format!("run {run}: event {seq}, {}: {problem}", event.name()));
        }
    }
    let ends = history.iter().filter(|event| event.event.is_terminal()).count();
    if ends != 1 {
        wrong.push(format!("run {run} has {ends} terminal events"));
    }
}

/// Whether a stall says that its run was set aside.
fn is_set_aside(reason: &str) -> bool {
    reason.starts_with("the run was set aside")
}

/// What is known of a history so far.
#[derive(Default)]
struct HistoryCheck {
    now: Option<Timestamp>,
    /// The calls that were made, and those that have an outcome.
    begun: BTreeSet<CommandId>,
    outcomes: BTreeSet<CommandId>,
    /// The transactional activities, and those of them that were given up: they may complete all the same.
    transactional: BTreeSet<CommandId>,
    given_up: BTreeSet<CommandId>,
    /// The children: one that was given up may have an outcome all the same, for which the end of the run waits.
    children: BTreeSet<CommandId>,
    /// Calls whose outcome waited for a stalled run: its code may give the call up before it sees the outcome.
    waited: BTreeSet<CommandId>,
    stalled: bool,
    /// How many resolutions the run's code has not seen yet: they wait while the run is stalled, and are released in
    /// parts.
    waiting: u32,
    messages: BTreeSet<MessageId>,
    /// The updates without a reply, in the order of their arrival.
    unanswered: Vec<(MessageId, Name)>,
    cancelled: bool,
    deadlines: BTreeMap<CommandId, Timestamp>,
    paused: bool,
    /// Compensations that were registered and have not been scheduled.
    registered: BTreeSet<CommandId>,
    /// The same, of the rounds that have begun and not ended.
    rounds: VecDeque<(CommandId, BTreeSet<CommandId>)>,
    compensated: Option<CommandId>,
    ending: Option<Outcome>,
    /// What the event before published: whether it was an attribute, and the name.
    published: Option<(bool, Name)>,
    problem: Option<&'static str>,
}

/// The durable call of a delayed start.
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
        self.demand(!self.paused, "it was decided during a pause");
    }

    /// A resolution from outside. Whether it waits.
    fn resolves(&mut self) -> bool {
        let waits = self.ending.is_none() && (self.stalled || self.paused || self.waiting > 0);
        self.waiting += u32::from(waits);
        waits
    }

    fn resolves_call(&mut self, id: CommandId) {
        if self.resolves() {
            self.waited.insert(id);
        }
        self.ends(id);
    }

    fn ends(&mut self, id: CommandId) {
        let is_first = self.outcomes.insert(id);
        self.demand(is_first, "a second outcome");
    }

    fn is_given_up(&mut self, id: CommandId) {
        if !self.waited.remove(&id) {
            self.ends(id);
            if self.transactional.contains(&id) || self.children.contains(&id) {
                self.given_up.insert(id);
            }
        }
    }

    /// An update is received once, and then has one reply. A handler takes one after the other.
    fn take_update(&mut self, event: &Event) {
        match event {
            Event::UpdateReceived { message, update, .. } => {
                self.resolves();
                let is_new = self.messages.insert(*message);
                self.demand(is_new, "the message was logged before");
                self.unanswered.push((*message, update.clone()));
            }
            Event::UpdateReplied { id, message, update, .. }
            | Event::UpdateDropped { id, message, update, .. } => {
                self.begins(*id);
                let place = self.unanswered.iter().position(|(waiting, _)| waiting == message);
                self.demand(place.is_some(), "there is no such update without a reply");
                let before = &self.unanswered[..place.unwrap_or(0)];
                let is_next = update != UPDATES[1] || before.iter().all(|(_, other)| other != update);
                self.demand(is_next, "a handler took it before an earlier one was done");
                place.map(|place| self.unanswered.remove(place));
            }
            _ => {}
        }
    }

    /// A group ends with the views and the attributes that it publishes, each once, in the order of their names. Something else
    /// follows.
    fn publishes(&mut self, event: &Event) {
        let published = match event {
            Event::ViewPublished { view, .. } => Some((false, view.clone())),
            Event::AttributeSet { attribute, .. } => Some((true, attribute.clone())),
            _ => None,
        };
        let is_later = published.is_none() || self.published < published;
        self.demand(is_later, "a view or an attribute was published twice in a group, or out of order");
        self.published = published;
    }

    /// Compensations, their rounds, and pauses.
    fn take_compensation(&mut self, event: &Event) {
        match event {
            Event::CompensationRegistered { id, .. } => {
                self.begins(*id);
                self.registered.insert(*id);
            }
            Event::RunPaused { message, .. } | Event::RunUnpaused { message, .. } => {
                let is_new = self.messages.insert(*message);
                self.demand(is_new, "the message was logged before");
                let pauses = matches!(event, Event::RunPaused { .. });
                self.demand(self.paused != pauses, "a pause began or ended twice");
                self.paused = pauses;
            }
            Event::CompensationDiscarded { id, .. } => {
                let was_registered = self.registered.remove(id);
                self.demand(was_registered, "there is no such compensation");
            }
            Event::CompensationsBegun { id, .. } => {
                self.begins(*id);
                self.rounds.push_back((*id, std::mem::take(&mut self.registered)));
            }
            Event::CompensationsEnded { id, .. } => {
                let ended = self.rounds.pop_front();
                let is_done = ended.is_some_and(|(round, left)| round == *id && left.is_empty());
                self.demand(is_done, "a round ends before it is done, or out of order");
                let answered = self.compensated.is_none_or(|last| self.outcomes.contains(&last));
                self.demand(answered, "a compensation is still executing");
            }
            Event::CompensationScheduled { id, .. } => {
                let round = self.rounds.front_mut().map(|(_, left)| left);
                let newest = round.unwrap_or(&mut self.registered).pop_last();
                self.demand(newest == Some(*id), "compensations run newest first, each once");
                self.compensated = Some(*id);
            }
            _ => {}
        }
    }

    /// The end of the workflow, and of the run.
    fn take_end(&mut self, event: &Event) {
        match event {
            Event::RunEnding { outcome, .. } => {
                self.waiting = 0;
                self.ending = Some(outcome.clone());
            }
            Event::RunCompleted { .. } => {
                let completes = |ending: &Outcome| matches!(ending, Outcome::Completed(_));
                self.demand(self.ending.as_ref().is_none_or(completes), "it should have ended otherwise");
                self.demand(self.rounds.is_empty(), "a round was not over");
            }
            Event::RunContinued { .. } => {
                self.demand(self.registered.is_empty(), "a compensation was not executed");
            }
            Event::RunRetried { failure, .. } => {
                self.ends_with(&Outcome::Failed(failure.clone()));
                self.demand(!self.cancelled, "it was cancelled");
            }
            Event::RunFailed { failure, .. } => self.ends_with(&Outcome::Failed(failure.clone())),
            Event::RunCancelled { .. } | Event::RunTimedOut { grace_until: None, .. } => {
                self.ends_with(&Outcome::Cancelled);
            }
            _ => {}
        }
    }

    fn take(&mut self, event: &Event, config: &WorldConfig) {
        self.publishes(event);
        self.take_compensation(event);
        self.take_update(event);
        self.take_end(event);
        match event {
            Event::RunStarted { start_at, chain, .. } => {
                if !self.resolves() && chain.is_some() {
                    // It waits until it is released.
                    self.waiting = 1;
                }
                self.deadlines.extend(start_at.map(|start_at| (START_DELAY, start_at)));
            }
            Event::ActivityScheduled { id, options, .. } => {
                self.begins(*id);
                if *options == options.clone().transactional() {
                    self.transactional.insert(*id);
                }
            }
            Event::SignalSent { id, .. } => self.begins(*id),
            Event::ChildCarried { id, .. } => {
                self.resolves();
                self.begins(*id);
                self.children.insert(*id);
            }
            Event::ChildStarted { id, .. } => {
                self.begins(*id);
                self.children.insert(*id);
            }
            Event::TimerStarted { id, fire_at, .. } => {
                self.begins(*id);
                self.deadlines.insert(*id, *fire_at);
            }
            Event::TimerFired { id, .. } => match (self.deadlines.get(id), self.now) {
                (Some(deadline), Some(now)) => self.demand(now >= *deadline, "too early"),
                (None, _) | (_, None) => self.demand(false, "there is no such timer"),
            },
            Event::SignalReceived { message, .. } | Event::CancelRequested { message, .. } => {
                self.cancelled |= matches!(event, Event::CancelRequested { .. });
                self.resolves();
                let is_new = self.messages.insert(*message);
                self.demand(is_new, "the message was logged before");
            }
            Event::RunResumed { released, .. } => {
                self.stalled = false;
                self.waiting = self.waiting.saturating_sub(*released);
            }
            Event::RunStalled { reason, .. } => {
                self.stalled = true;
                let is_broken = config.broken && reason.contains(PLANNED_PANIC);
                // A run that was executing at many deaths is taken for their cause.
                let is_suspected = !config.calm && is_set_aside(reason);
                let asks_for_a_queue = config.has_annex && reason.contains(QUEUES[1]);
                self.demand(is_broken || is_suspected || asks_for_a_queue, "it had no reason to stall");
            }
            Event::DeadlinePassed { deadline, .. } => {
                self.cancelled = true;
                self.resolves();
                self.demand(self.now >= Some(*deadline), "too early");
            }
            // Terminations, attempts and notes: no earlier event forbids them.
            _ => {}
        }
        if let Some(id) = event.call() {
            self.ends_call(id, event);
        }
    }

    /// An event may be the end of its call.
    fn ends_call(&mut self, id: CommandId, event: &Event) {
        let is_late = matches!(
            event,
            Event::ActivityCompleted { .. } | Event::ChildCompleted { .. } | Event::ChildFailed { .. }
        );
        if is_late && self.given_up.remove(&id) {
            self.resolves();
        } else if event.is_outcome() {
            self.resolves_call(id);
        } else if event.gives_up() {
            self.is_given_up(id);
        }
    }

    /// A run that fails or is cancelled compensates first, and then ends with the original outcome.
    fn ends_with(&mut self, outcome: &Outcome) {
        self.demand(self.registered.is_empty(), "a compensation was not executed");
        self.demand(self.rounds.is_empty(), "a round was not over");
        let same = self.ending.as_ref().is_none_or(|ending| ending == outcome);
        self.demand(same, "it should have ended otherwise");
        let answered = self.compensated.is_none_or(|last| self.outcomes.contains(&last));
        self.demand(answered, "a compensation is still executing");
    }
}
