//! The checks after a world has ended: histories are read as a client reads them, and held against what clients
//! were promised and what activities noted down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgworkflows::{Client, Event, HistoryEvent, RunId, RunInfo, Timestamp};

use super::clients::{RunPromise, lock};
use super::dice::Dice;
use super::faults::EPOCH;
use super::host::SimHost;
use super::ledger::{EventAccount, Execution, is_terminal};
use super::plan::{Expected, SIGNALS};
use super::time::Owner;
use super::workflow::Summary;
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
                start_at.inspect(|start_at| drop(deadlines.insert(0, *start_at)));
            }
            Event::ActivityScheduled { id, .. } | Event::CompensationRegistered { id, .. } => {
                if !begun.insert(id.get()) {
                    bad("its id was used before");
                }
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
            | Event::CompensationFailed { id, .. } => {
                if !outcomes.insert(id.get()) {
                    bad("a second outcome");
                }
            }
            Event::CompensationScheduled { id } => {
                if compensated.is_some_and(|before| before <= id.get()) {
                    bad("compensations run newest first");
                }
                compensated = Some(id.get());
            }
            Event::SignalReceived { message, .. } | Event::CancelRequested { message, .. } => {
                if !messages.insert(*message) {
                    bad("the message was logged before");
                }
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

/// Invariants 1 and 7, and the result.
fn check_promise(promise: &RunPromise, seen: &Seen, wrong: &mut Vec<String>) {
    let run = promise.run;
    let mut logged: [Vec<u64>; 2] = [Vec::new(), Vec::new()];
    for event in &seen.history {
        if let Event::SignalReceived { signal, payload, .. } = &event.event {
            let index = usize::from(signal.as_ref() == SIGNALS[1]);
            logged[index].extend(payload.decode::<u64>());
        }
    }
    for (index, tokens) in promise.signals.iter().enumerate() {
        let late = |token: &u64| {
            seen.info.undelivered.iter().any(|message| {
                message.what.contains(SIGNALS[index])
                    && message
                        .payload
                        .as_ref()
                        .is_some_and(|payload| payload.decode::<u64>().is_ok_and(|it| it == *token))
            })
        };
        let mut place = 0;
        for token in tokens {
            match logged[index].iter().position(|it| it == token) {
                Some(at) if at >= place => place = at + 1,
                Some(_) => {
                    wrong.push(format!("run {run}: signal {token} overtook one that was sent before it"))
                }
                None if late(token) => {}
                None => wrong.push(format!("run {run}: signal {token} was acknowledged and is lost")),
            }
        }
        let distinct: BTreeSet<&u64> = logged[index].iter().collect();
        if distinct.len() != logged[index].len() {
            wrong.push(format!("run {run}: a signal was logged twice: {:?}", logged[index]));
        }
    }
    let has = |name: &str| seen.history.iter().any(|event| event.event.name().as_str() == name);
    let late = |what: &str| seen.info.undelivered.iter().any(|message| message.what.contains(what));
    if promise.cancelled && !has("cancel.requested") && !has("run.ending") && !late("cancellation") {
        wrong.push(format!("run {run}: a cancellation was acknowledged and is lost"));
    }
    if promise.terminated && !has("run.terminated") && !late("termination") {
        wrong.push(format!("run {run}: a termination was acknowledged and is lost"));
    }
    let disturbed = ["cancel.requested", "run.terminated", "activity.attempt-lost"].into_iter().any(has);
    let last = seen.history.last().map(|event| &event.event);
    let summary = match last {
        Some(Event::RunCompleted { result }) => result.decode::<Summary>().ok(),
        _ => None,
    };
    match (promise.plan.expected(), &summary, last) {
        _ if disturbed => {}
        (Expected::Open, ..) => {}
        (Expected::Value(value), Some(summary), _) if summary.value == value => {}
        (Expected::Failure, _, Some(Event::RunFailed { .. })) => {}
        (expected, _, last) => {
            wrong.push(format!("run {run} should have come to {expected:?}, and came to {last:?}"))
        }
    }
    if let Some(summary) = &summary {
        for (index, logged) in logged.iter().enumerate() {
            let taken = summary.taken.iter().filter(|(signal, _)| *signal == index).map(|(_, token)| token);
            if !taken
                .eq(logged.iter().take(summary.taken.iter().filter(|(signal, _)| *signal == index).count()))
            {
                wrong.push(format!("run {run} took {:?}, and {logged:?} came", summary.taken));
            }
        }
    }
    if let (Some(Ok(told)), summary) = (&promise.result, &summary) {
        if Some(told) != summary.as_ref() {
            wrong.push(format!("run {run}: its client was told {told:?}, and it came to {last:?}"));
        }
    }
    if let (Some(Err(told)), Some(_)) = (&promise.result, &summary) {
        wrong.push(format!("run {run}: its client was told {told}, and it came to {last:?}"));
    }
}
