//! The checks after a world has ended: histories are read as a client reads them, and held against what clients
//! were promised and what activities noted down.
//!
//! Where each of the design's invariants is checked:
//!
//! | no. | in short | where |
//! |---|---|---|
//! | 1 | what was acknowledged is not lost | `check_promise`, `check_sent`, at the end; `Book::appended`: nothing leaves the inbox twice |
//! | 2 | numbers are unique, gapless, in commit order | `Book::appended`, at every append |
//! | 3 | one outcome per call, one terminal event, and nothing after it | `Book::appended`; `HistoryCheck` |
//! | 4 | nothing is written under a fenced lease, or to a foreign shard | `Book::appended`, `Book::claimed` |
//! | 5 | an append is applied once; its effects come after | `Book::appended`, `SimFaults::check_request`; `check_executions` |
//! | 6 | the fold of the log is the live state | `check_replay`: the log, replayed, comes to what the run came to |
//! | 7 | signals of one client are consumed in their order | `check_signals`, `check_taken` |
//! | 8 | no timer fires early | `HistoryCheck`; `Book::appended`: no event is of a time to come |
//! | 9 | an activity begins after it is logged | `check_executions` |
//! | 10 | a parent learns of its child once | nowhere: there are no children yet |
//! | 11 | a partition is dropped when nothing open is in it | nowhere: the memory store has no partitions |
//! | 12 | no client blocks an append | `World::run`: clients' transactions stay open over many appends, and all ends |
//! | 13 | faults off, what can end does end, whatever work costs | `World::run`, in the quiet phase; `Ledger::happened`: no lease is lost to work |
//! | 14 | nothing takes a processor's time beyond a budget | `World::pass`: the longest turn of a thread |

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgworkflows_core::client::RunInfo;
use pgworkflows_core::history::{Event, HistoryEvent, replay};
use pgworkflows_core::store::{EventRecord, RunHistory, Store};
use pgworkflows_core::{Client, Error, RunId, Timestamp};
use pgworkflows_memory::MemoryStore;
use pgworkflows_testkit::runtime::clock::EPOCH;
use pgworkflows_testkit::runtime::dice::Dice;
use pgworkflows_testkit::runtime::time::Owner;

use crate::clients::lock;
use crate::faults::LATENCY_USUAL;
use crate::history::check_history;
use crate::host::SimHost;
use crate::ledger::{Book, EventAccount, Execution, SentAccount};
use crate::promise::check_promise;
use crate::workflow::{Planned, take_returned};
use crate::world::World;

async fn see(client: &Client, store: &MemoryStore, run: RunId) -> Result<Seen, Error> {
    let (history, info) = (client.history(run).await?, client.describe(run).await?);
    let records = store.query().history(run, None, u32::MAX).await?;
    Ok(Seen { run, history, records, info })
}

/// A run as a client sees it.
pub(crate) struct Seen {
    pub(crate) run: RunId,
    pub(crate) history: Vec<HistoryEvent>,
    /// The same as the store holds it.
    pub(crate) records: Vec<EventRecord>,
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
            let (seen, store) = (Arc::clone(&seen), self.store.clone());
            async move {
                for run in runs {
                    match see(&client, &store, run).await {
                        Ok(run) => seen.lock().expect("one thread").push(run),
                        Err(error) => ledger.violated(format!("run {run} cannot be read: {error}")),
                    }
                }
            }
        };
        self.faults.end();
        self.scheduler.spawn(Owner::WORLD, Box::pin(task));
        let count = self.ledger.lock().book.runs.len();
        let end = self.time.now() + (self.nature.latency_max * 16 + Duration::from_secs(60)) * count as u32;
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
        for Seen { run, history, records, .. } in seen {
            let account = &inner.book.runs[run];
            let names: Vec<String> = history.iter().map(|event| event.event.name().to_string()).collect();
            if !names.iter().eq(account.events.iter().map(|event| &event.name)) {
                wrong.push(format!("run {run}: the history that is read is not the one that was written"));
                continue;
            }
            check_history(*run, history, &self.nature, &mut wrong);
            if self.stuck.contains(run) && !account.is_set_aside {
                wrong.push(format!("run {run} was stalled, and its code could go on"));
            }
            check_replay(*run, history, records, &mut wrong);
            if !self.nature.forgetful {
                let own = |execution: &&Execution| execution.key.starts_with(&run.to_string());
                let executions: Vec<&Execution> = inner.executions.iter().filter(own).collect();
                self.check_executions(history, &account.events, &executions, &mut wrong);
            }
        }
        check_sent(&inner.book, seen, &mut wrong);
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
                    Event::CompensationScheduled { id: other, .. } if other.to_string() == id => {
                        may_begin = Some(*committed)
                    }
                    Event::ActivityAttemptFailed { id: other, attempt: failed, retry_at: after, .. }
                        if other.to_string() == id && failed + 1 == *attempt =>
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
            if may_begin.is_none_or(|begin| begin >= *moment) {
                wrong.push(format!("{key}: attempt {attempt} began before its cause was committed"));
            }
            let began: Timestamp = EPOCH.saturating_add(Duration::from_micros(at.as_micros() as u64));
            if retry_at.is_some_and(|retry_at| began < retry_at) {
                wrong
                    .push(format!("{key}: attempt {attempt} began at {began}, before its time {retry_at:?}"));
            }
            // Whoever decides that an attempt is not wanted any more may find that it begins at that moment; and if the
            // store's clock leaps, a lease is over that its owner trusts with good reason.
            let is_late = !self.nature.leaps
                && over.is_some_and(|over| {
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
            // Where the store is slow, a lease may be lost for no other reason.
            if self.nature.calm && self.nature.latency_max == LATENCY_USUAL && *count > 1 {
                wrong.push(format!(
                    "{key}: attempt {attempt} began {count} times though nothing was disturbed"
                ));
            }
        }
    }
}

/// Part of invariant 1: what an append sent is in its receiver's log, or was too late.
fn check_sent(book: &Book, seen: &[Seen], wrong: &mut Vec<String>) {
    for (id, SentAccount { run, opens, .. }) in &book.sent {
        let took = |seen: &Seen| {
            let is_it =
                |event: &Event| matches!(event, Event::SignalReceived { message, .. } if message == id);
            *opens || seen.history.iter().any(|event| is_it(&event.event)) || book.undelivered.contains(id)
        };
        if !seen.iter().any(|seen| seen.run == *run && took(seen)) {
            wrong.push(format!("run {run}: a message was sent to it and is lost"));
        }
    }
}

/// Invariant 6: the log, replayed, comes to what the run came to.
fn check_replay(run: RunId, history: &[HistoryEvent], records: &[EventRecord], wrong: &mut Vec<String>) {
    drop(take_returned());
    let replayed = replay::<Planned>(&RunHistory { run, events: records.to_vec() });
    let returned = take_returned();
    match (replayed, history.last().map(|event| &event.event)) {
        (Err(error), _) => wrong.push(format!("run {run} cannot be replayed: {error}")),
        (Ok(replayed), _) if !replayed.over => {
            wrong.push(format!("run {run} is over, and not when it is replayed"));
        }
        (Ok(_), Some(Event::RunCompleted { result, .. })) if result.decode().ok() != returned => {
            wrong.push(format!("run {run} came to {result:?}, and to {returned:?} when it is replayed"));
        }
        (Ok(_), _) => {}
    }
}
