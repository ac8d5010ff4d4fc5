//! The checks after the end of a world: histories, as a client reads them, are compared with the promises to clients
//! and the recorded executions of activities.
//!
//! Where each of the design's invariants is checked:
//!
//! | no. | in short | where |
//! |---|---|---|
//! | 1 | no acknowledged request is lost | `check_promise`, `check_sent`, at the end; `Accounts::appended`: no message leaves the inbox twice |
//! | 2 | numbers are unique, gapless, in commit order | `events_of`, `check_frames`, `Accounts::follows`, at every append |
//! | 3 | one outcome per call, one terminal event, and no event after it | `Accounts::logs`; `HistoryCheck` |
//! | 4 | nothing is written under a fenced lease, or to a foreign shard | `Accounts::appended`, `Accounts::follows`, `Accounts::claimed` |
//! | 5 | an append is applied once, before its effects | `Accounts::appended`, `SimFaults::check_request`; `check_executions` |
//! | 6 | the fold of the log is the live state | `check_replay`: the replayed log has the result of the run |
//! | 7 | signals of one client are consumed in their order | `check_signals`, `check_taken` |
//! | 8 | no timer fires early | `HistoryCheck`; `Accounts::logs`: no event has a time in the future |
//! | 9 | an activity begins after it was logged | `check_executions` |
//! | 10 | a parent is told of its child once | `HistoryCheck`; `check_children`, at the end |
//! | 11 | a partition is dropped when it has no open run | nowhere: the memory store has no partitions |
//! | 12 | no client blocks an append | `World::run`: clients' transactions stay open over many appends, and all runs end |
//! | 13 | without faults, every run that can end does end, whatever work costs | `World::run`, in the quiet phase; `Ledger::happened`: no lease is lost because of work |
//! | 14 | no turn of a processor exceeds its time budget | `World::pass`: the longest turn of a thread |

use std::collections::BTreeMap;
use std::time::Duration;

use pgworkflows_core::history::{Event, History, HistoryEvent, replay};
use pgworkflows_core::{RunId, Timestamp, Workflow};
use pgworkflows_testkit::runtime::clock::EPOCH;
use pgworkflows_testkit::runtime::time::Owner;

use crate::announce::check_announced;
use crate::asking::{check_asked, check_keys};
use crate::children::check_children;
use crate::clients::lock;
use crate::faults::LATENCY_USUAL;
use crate::history::check_history;
use crate::ledger::{Accounts, EventAccount, Execution, SentAccount};
use crate::promise::check_promise;
use crate::traces::check_given;
use crate::view::RunView;
use crate::workflow::{ACTIVITY_QUEUE, DRAWN, PlanWorkflow, Summary, TIMES, take_returned};
use crate::world::World;

impl World {
    /// Checks everything that is known. Violations are noted in the ledger.
    pub(crate) fn check(&self, seen: &[RunView]) {
        let mut wrong = Vec::new();
        let promises = lock(&self.promises);
        let inner = self.ledger.lock();
        for view @ RunView { run, history, stored, .. } in seen {
            let account = &inner.accounts.runs[run];
            let names = history.iter().map(|event| event.event.name());
            if !names.eq(account.events.iter().map(|event| event.name)) {
                wrong.push(format!(
                    "run {run}: the history that was read is not the history that was written"
                ));
                continue;
            }
            check_history(*run, history, &self.config, &mut wrong);
            if self.stuck.contains(run) && !account.is_set_aside {
                wrong.push(format!("run {run} was stalled, although its code could continue"));
            }
            check_replay(*run, history, stored, &mut wrong);
            check_views(view, &mut wrong);
            if !self.config.loses_commits {
                if view.link().is_none() {
                    check_asked(&chain_of(*run, seen), &mut wrong);
                }
                let own = |execution: &&Execution| execution.key.starts_with(&run.to_string());
                let executions: Vec<&Execution> = inner.executions.iter().filter(own).collect();
                self.check_executions(history, &account.events, &executions, &mut wrong);
            }
        }
        check_sent(&inner.accounts, seen, &mut wrong);
        check_children(seen, &mut wrong);
        self.traces.check(seen, &mut wrong);
        if !self.config.loses_commits {
            check_keys(seen, &mut wrong);
            for promise in &promises.runs {
                match &*chain_of(promise.run, seen) {
                    [] => wrong.push(format!("run {} was acknowledged, and is lost", promise.run)),
                    chain => {
                        check_promise(promise, chain, &mut wrong);
                        check_given(promise, chain, &mut wrong);
                        check_announced(promise, chain, &inner.accounts, &mut wrong);
                    }
                }
            }
        }
        drop(inner);
        for what in wrong {
            self.ledger.violated(what);
        }
    }

    /// Invariant 9, and: a call with an outcome is not executed again.
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
            let Told { may_begin, over, retry_at, once, is_task } = told(history, accounts, id, *attempt);
            if may_begin.is_none_or(|begin| begin >= *moment) {
                wrong.push(format!("{key}: attempt {attempt} began before its cause was committed"));
            }
            let began: Timestamp = EPOCH.saturating_add(Duration::from_micros(at.as_micros() as u64));
            if retry_at.is_some_and(|retry_at| began < retry_at) {
                wrong
                    .push(format!("{key}: attempt {attempt} began at {began}, before its time {retry_at:?}"));
            }
            // An attempt may begin at the moment at which its run gives it up. And if the store's clock leaps, a lease
            // is over that its owner still rightly trusts.
            let is_late = !self.config.leaps
                // A task may begin before the executor learns that it is not wanted any more.
                && !is_task
                && over.is_some_and(|over| {
                    over.moment < *moment && over.writer != *owner && over.writer != Owner::WORLD
                });
            if is_late {
                wrong.push(format!("{key}: attempt {attempt} began after the outcome was recorded"));
            }
            if once && *count > 1 {
                wrong.push(format!(
                    "{key}: attempt {attempt} of an at-most-once activity began {count} times"
                ));
            }
            // A slow store alone may cost a lease.
            if self.config.calm && self.config.latency_max == LATENCY_USUAL && *count > 1 {
                wrong.push(format!(
                    "{key}: attempt {attempt} began {count} times though nothing was disturbed"
                ));
            }
        }
    }
}

/// What a history tells of an attempt.
#[derive(Default)]
struct Told<'a> {
    /// When what causes it was committed.
    may_begin: Option<u64>,
    /// The event that ended its call.
    over: Option<&'a EventAccount>,
    /// It does not begin before.
    retry_at: Option<Timestamp>,
    /// Whether its activity may run only once.
    once: bool,
    is_task: bool,
}

/// Looks an attempt of the call `id` up in the history of its run.
fn told<'a>(history: &[HistoryEvent], accounts: &'a [EventAccount], id: &str, attempt: u32) -> Told<'a> {
    let Told { mut may_begin, mut over, mut retry_at, mut once, mut is_task } = Told::default();
    let mut is_sent = false;
    for (HistoryEvent { event, at: logged_at, .. }, account) in history.iter().zip(accounts) {
        let committed = &account.moment;
        match event {
            // It begins an attempt that would have begun later.
            Event::RetryRequested { .. } if retry_at.is_some_and(|at| at > Timestamp::from(*logged_at)) => {
                may_begin = Some(*committed);
                retry_at = Some(Timestamp::from(*logged_at));
            }
            Event::ActivityScheduled { id: other, options, .. } if other.to_string() == id => {
                may_begin = Some(*committed);
                once = *options == options.clone().at_most_once();
                is_sent = *options == options.clone().queue(ACTIVITY_QUEUE);
            }
            Event::ActivityEnqueued { id: other, attempt: enqueued, .. }
                if other.to_string() == id && *enqueued == attempt =>
            {
                // A former owner of the run may have executed it before, unless the plan sends it to the queue.
                may_begin = if is_sent { Some(*committed) } else { may_begin };
                is_task = true;
            }
            Event::CompensationScheduled { id: other, .. } if other.to_string() == id => {
                may_begin = Some(*committed)
            }
            Event::ActivityAttemptFailed { id: other, attempt: failed, retry_at: after, .. }
                if other.to_string() == id && failed + 1 == attempt =>
            {
                may_begin = Some(*committed);
                retry_at = Some(*after);
            }
            ended
                if (ended.is_outcome() || ended.gives_up())
                    && ended.call().is_some_and(|call| call.to_string() == id) =>
            {
                over = Some(account);
            }
            terminal if terminal.is_terminal() => over = over.or(Some(account)),
            _ => {}
        }
    }
    Told { may_begin, over, retry_at, once, is_task }
}

/// The first run of a run's chain.
pub(crate) fn first_of(seen: &RunView) -> RunId {
    seen.link().map_or(seen.run, |link| link.first)
}

/// The runs of a chain, in their order.
pub(crate) fn chain_of(first: RunId, seen: &[RunView]) -> Vec<&RunView> {
    let mut chain: Vec<&RunView> = seen.iter().filter(|seen| first_of(seen) == first).collect();
    chain.sort_by_key(|seen| seen.link().map_or(1, |link| link.number));
    chain
}

/// Part of invariant 1: a message that an append sent is in the log of its receiver, or arrived too late.
fn check_sent(accounts: &Accounts, seen: &[RunView], wrong: &mut Vec<String>) {
    let first_of_run = |run: RunId| seen.iter().find(|seen| seen.run == run).map_or(run, first_of);
    for (id, SentAccount { run, opens, is_readdressed, is_between_relatives, .. }) in &accounts.sent {
        let took = |seen: &RunView| {
            let is_it =
                |event: &Event| matches!(event, Event::SignalReceived { message, .. } if message == id);
            *opens
                || *is_between_relatives
                || seen.history.iter().any(|event| is_it(&event.event))
                || accounts.undelivered.contains(id)
        };
        let is_receiver = |seen: &RunView| *is_readdressed || first_of(seen) == first_of_run(*run);
        if !seen.iter().any(|seen| is_receiver(seen) && took(seen)) {
            wrong.push(format!("run {run}: a message was sent to it, and is lost"));
        }
    }
}

/// A view has what was published last, and what the last poll of the code published if the run completed.
fn check_views(seen: &RunView, wrong: &mut Vec<String>) {
    let RunView { run, history, times, drawn, .. } = seen;
    if seen.is_continued() {
        // A client is shown the views of the run that goes on.
        return;
    }
    let last = |name: &str| {
        history.iter().rev().find_map(|event| match &event.event {
            Event::ViewPublished { view, value, .. } if view == name => value.decode::<u64>().ok(),
            _ => None,
        })
    };
    for (name, read) in [(TIMES.name(), times), (DRAWN.name(), drawn)] {
        if last(name) != *read {
            wrong
                .push(format!("run {run}: view {name} is {read:?}, and {:?} was published last", last(name)));
        }
    }
    if let Some(Event::RunCompleted { result, .. }) = history.last().map(|event| &event.event)
        && result.decode::<Summary>().ok().map(|summary| summary.times) != *times
    {
        wrong.push(format!("run {run} returned {result:?}, and its view has {times:?}"));
    }
}

/// Invariant 6: the replayed log has the result of the run.
fn check_replay(run: RunId, history: &[HistoryEvent], stored: &History, wrong: &mut Vec<String>) {
    let is_unknown = |events: &[HistoryEvent]| {
        matches!(
            events,
            [
                HistoryEvent { event: Event::RunStarted { .. }, .. },
                HistoryEvent { event: Event::RunTerminated { .. }, .. }
            ]
        )
    };
    if is_unknown(history) {
        // It may have been ended by a worker that does not know its workflow, and no code has seen its start.
        return;
    }
    let workflow = history.iter().find_map(|event| match &event.event {
        Event::RunStarted { workflow, .. } => Some(workflow.as_str()),
        _ => None,
    });
    drop(take_returned());
    let replayed = match workflow {
        Some(PlanWorkflow::<false, true>::NAME) => replay::<PlanWorkflow<false, true>>(stored),
        _ => replay::<PlanWorkflow>(stored),
    };
    let returned = take_returned();
    match (replayed, history.last().map(|event| &event.event)) {
        (Err(error), _) => wrong.push(format!("run {run} cannot be replayed: {error}")),
        (Ok(replayed), _) if !replayed.over => {
            wrong.push(format!("run {run} is over, but not when it is replayed"));
        }
        (Ok(_), Some(Event::RunCompleted { result, .. })) if result.decode().ok() != returned => {
            wrong.push(format!("run {run} returned {result:?}, and {returned:?} when it is replayed"));
        }
        (Ok(_), _) => {}
    }
}
