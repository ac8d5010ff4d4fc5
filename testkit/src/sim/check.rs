//! The checks after a world has ended: histories are read as a client reads them, and held against what clients
//! were promised and what activities noted down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgworkflows::{Client, Event, HistoryEvent, RunId, RunInfo, Timestamp};

use super::clients::lock;
use super::dice::Dice;
use super::faults::EPOCH;
use super::host::SimHost;
use super::ledger::{EventAccount, Execution, is_terminal};
use super::promise::check_promise;
use super::time::Owner;
use super::world::World;

/// A run as a client sees it.
pub(crate) struct Seen {
    pub(crate) run: RunId,
    pub(crate) history: Vec<HistoryEvent>,
    pub(crate) info: RunInfo,
}

impl World {
    /// Reads all runs as a client does.
    pub(crate) fn see(&mut self) -> Vec<Seen> {
        let runs: Vec<RunId> = self.ledger.lock().book.runs.keys().copied().collect();
        let host = SimHost::new(Arc::clone(&self.time), Owner::WORLD, Dice::new(0));
        let client =
            Client::builder(self.store.clone()).host(host).build().expect("the settings are in range");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let ledger = Arc::clone(&self.ledger);
        let task = {
            let seen = Arc::clone(&seen);
            async move {
                for run in runs {
                    match (client.history(run).await, client.describe(run).await) {
                        (Ok(history), Ok(info)) => {
                            seen.lock().expect("one thread").push(Seen { run, history, info });
                        }
                        (Err(error), _) | (_, Err(error)) => {
                            ledger.violated(format!("run {run} cannot be read: {error}"))
                        }
                    }
                }
            }
        };
        self.faults.end();
        self.scheduler.spawn(Owner::WORLD, Box::pin(task));
        let count = self.ledger.lock().book.runs.len();
        let end = self.time.now() + Duration::from_secs(600);
        let done = Arc::clone(&seen);
        // A world that was found wrong before is looked at all the same.
        while done.lock().expect("one thread").len() < count && self.time.now() < end {
            match self.scheduler.step() {
                Ok(true) => {}
                _ => match self.time.next_timer() {
                    Some(next) => self.time.advance_to(next),
                    None => break,
                },
            }
        }
        std::mem::take(&mut *seen.lock().expect("one thread"))
    }

    /// Checks all that is known. What is wrong goes to the ledger.
    pub(crate) fn check(&self, seen: &[Seen]) {
        let mut wrong = Vec::new();
        let promises = lock(&self.promises);
        let inner = self.ledger.lock();
        for Seen { run, history, .. } in seen {
            let account = &inner.book.runs[run];
            let names: Vec<String> = history.iter().map(|event| event.event.name().to_string()).collect();
            if !names.iter().eq(account.events.iter().map(|event| &event.name)) {
                wrong.push(format!("run {run}: the history that is read is not the one that was written"));
                continue;
            }
            check_history(*run, history, &mut wrong);
            if !self.nature.forgetful {
                let own = |execution: &&Execution| execution.key.starts_with(&run.to_string());
                let executions: Vec<&Execution> = inner.executions.iter().filter(own).collect();
                self.check_executions(history, &account.events, &executions, &mut wrong);
            }
        }
        if !self.nature.forgetful {
            for promise in &promises.runs {
                match seen.iter().find(|seen| seen.run == promise.run) {
                    Some(seen) => check_promise(promise, seen, &mut wrong),
                    None => wrong.push(format!("run {} was acknowledged and is lost", promise.run)),
                }
            }
        }
        drop(inner);
        for what in wrong {
            self.ledger.violated(what);
        }
    }

    /// Invariant 9, and: what has an outcome is not executed again.
    fn check_executions(
        &self,
        history: &[HistoryEvent],
        accounts: &[EventAccount],
        executions: &[&Execution],
        wrong: &mut Vec<String>,
    ) {
        let mut counts: BTreeMap<(&str, u32), u32> = BTreeMap::new();
        for execution in executions {
            let Execution { key, attempt, owner, moment, at } = execution;
            let count = counts.entry((key, *attempt)).or_default();
            *count += 1;
            let id = key.rsplit(':').next().unwrap_or_default();
            let mut may_begin = None;
            let mut over = None;
            let mut retry_at = None;
            let mut once = false;
            for (HistoryEvent { event, .. }, account) in history.iter().zip(accounts) {
                let committed = &account.moment;
                match event {
                    Event::ActivityScheduled { id: other, options, .. } if other.to_string() == id => {
                        may_begin = Some(*committed);
                        once = *options == options.clone().at_most_once();
                    }
                    Event::CompensationScheduled { id: other } if other.to_string() == id => {
                        may_begin = Some(*committed)
                    }
                    Event::ActivityAttemptFailed { id: other, attempt: failed, retry_at: after, .. }
                        if other.to_string() == id && failed + 1 == *attempt =>
                    {
                        may_begin = Some(*committed);
                        retry_at = Some(*after);
                    }
                    Event::ActivityCompleted { id: other, .. }
                    | Event::ActivityFailed { id: other, .. }
                    | Event::ActivityCancelled { id: other }
                    | Event::CompensationCompleted { id: other }
                    | Event::CompensationFailed { id: other, .. }
                        if other.to_string() == id =>
                    {
                        over = Some(account);
                    }
                    other if is_terminal(other.name().as_str()) => over = over.or(Some(account)),
                    _ => {}
                }
            }
            if may_begin.is_none_or(|begin| begin >= *moment) {
                wrong.push(format!("{key}: attempt {attempt} began before its cause was committed"));
            }
            let began: Timestamp = EPOCH.saturating_add(Duration::from_micros(at.as_micros() as u64));
            if retry_at.is_some_and(|retry_at| began < retry_at) {
                wrong
                    .push(format!("{key}: attempt {attempt} began at {began}, before its time {retry_at:?}"));
            }
            // Whoever decides that an attempt is not wanted any more may find that it begins at that moment.
            let is_late = over.is_some_and(|over| {
                over.moment < *moment && over.writer != *owner && over.writer != Owner::WORLD
            });
            if is_late {
                wrong.push(format!("{key}: attempt {attempt} began when the outcome was recorded"));
            }
            if once && *count > 1 {
                wrong.push(format!(
                    "{key}: attempt {attempt} of an at-most-once activity began {count} times"
                ));
            }
            if self.nature.calm && *count > 1 {
                wrong.push(format!(
                    "{key}: attempt {attempt} began {count} times though nothing was disturbed"
                ));
            }
        }
    }
}

/// Invariants 2, 3 and 8 within one history.
fn check_history(run: RunId, history: &[HistoryEvent], wrong: &mut Vec<String>) {
    let mut begun = BTreeSet::new();
    let mut outcomes = BTreeSet::new();
    let mut messages = BTreeSet::new();
    let mut deadlines = BTreeMap::new();
    let mut compensated = None;
    let mut now = None;
    for HistoryEvent { seq, at, event, .. } in history {
        let mut bad = |what: &str| wrong.push(format!("run {run}: event {seq}, {}: {what}", event.name()));
        if now.is_some_and(|now| now > *at) {
            bad("time went back");
        }
        now = Some(*at);
        match event {
            Event::RunStarted { start_at, .. } => {
                deadlines.extend(start_at.map(|start_at| (0, start_at)));
            }
            Event::ActivityScheduled { id, .. } | Event::CompensationRegistered { id, .. }
                if !begun.insert(id.get()) =>
            {
                bad("its id was used before");
            }
            Event::TimerStarted { id, fire_at } => {
                if !begun.insert(id.get()) {
                    bad("its id was used before");
                }
                deadlines.insert(id.get(), *fire_at);
            }
            Event::TimerFired { id } => {
                match deadlines.get(&id.get()) {
                    Some(deadline) if Timestamp::from(*at) >= *deadline => {}
                    Some(_) => bad("too early"),
                    None => bad("there is no such timer"),
                }
                if !outcomes.insert(id.get()) {
                    bad("a second outcome");
                }
            }
            Event::ActivityCompleted { id, .. }
            | Event::ActivityFailed { id, .. }
            | Event::ActivityCancelled { id }
            | Event::TimerCancelled { id }
            | Event::StepCompleted { id, .. }
            | Event::StepFailed { id, .. }
            | Event::CompensationCompleted { id }
            | Event::CompensationFailed { id, .. }
                if !outcomes.insert(id.get()) =>
            {
                bad("a second outcome");
            }
            Event::CompensationScheduled { id } => {
                if compensated.is_some_and(|before| before <= id.get()) {
                    bad("compensations run newest first");
                }
                compensated = Some(id.get());
            }
            Event::SignalReceived { message, .. } | Event::CancelRequested { message, .. }
                if !messages.insert(*message) =>
            {
                bad("the message was logged before");
            }
            Event::RunStalled { reason } => bad(reason),
            _ => {}
        }
    }
    let ends = history.iter().filter(|event| is_terminal(event.event.name().as_str())).count();
    if ends != 1 {
        wrong.push(format!("run {run} has {ends} terminal events"));
    }
}
