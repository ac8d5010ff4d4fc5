//! The promises to a client, compared with the history of its run. It must not know what disturbed the run.

use std::collections::BTreeSet;

use pgworkflows_core::RunId;
use pgworkflows_core::history::Event;

use crate::clients::RunPromise;
use crate::plan::{Expected, SIGNALS};
use crate::updates::check_updates;
use crate::view::RunView;
use crate::workflow::Summary;

/// Invariants 1 and 7, and the result.
/// `chain` has the runs that continue one another, the last of which goes on, or is over.
pub(crate) fn check_promise(promise: &RunPromise, chain: &[&RunView], wrong: &mut Vec<String>) {
    let run = promise.run;
    let Some(seen) = chain.last() else { return };
    check_chain(run, chain, wrong);
    check_retries(promise, chain, wrong);
    check_updates(promise, chain, wrong);
    let logged = signals_of(chain);
    for (index, tokens) in promise.signals.iter().enumerate() {
        check_signals(seen, SIGNALS[index], tokens, &logged[index], wrong);
    }
    let has = |name: &str| chain.iter().any(|seen| seen.has(name));
    let late = |what: &str| seen.info.undelivered.iter().any(|message| message.what.contains(what));
    // After its deadline, a cancellation changes nothing.
    let cancelled = has("cancel.requested") || has("deadline.passed");
    if promise.cancelled && !cancelled && !has("run.ending") && !late("cancellation") {
        wrong.push(format!("run {run}: a cancellation was acknowledged, and is lost"));
    }
    if promise.terminated && !has("run.terminated") && !late("termination") {
        wrong.push(format!("run {run}: a termination was acknowledged, and is lost"));
    }
    let disturbed = ["cancel.requested", "deadline.passed", "run.terminated", "activity.attempt-lost"]
        .into_iter()
        .any(has);
    let last = seen.history.last().map(|event| &event.event);
    let summary = match last {
        Some(Event::RunCompleted { result, .. }) => result.decode::<Summary>().ok(),
        _ => None,
    };
    match (promise.plan.expected(), &summary, last) {
        _ if disturbed => {}
        (Expected::Open, ..) => {}
        (Expected::Value(value), Some(summary), _) if summary.value == value => {}
        (Expected::Failure, _, Some(Event::RunFailed { .. })) => {}
        (expected, _, last) => {
            wrong.push(format!("run {run} should have ended with {expected:?}, and ended with {last:?}"));
        }
    }
    if let Some(summary) = &summary {
        check_taken(run, summary, &signals_of(&[seen]), wrong);
    }
    let is_told_wrong = match (&promise.result, &summary) {
        (Some(Ok(told)), summary) => summary.as_ref() != Some(told),
        (Some(Err(_)), summary) => summary.is_some(),
        (None, _) => false,
    };
    if is_told_wrong {
        wrong
            .push(format!("run {run}: its client was told {:?}, and it ended with {last:?}", promise.result));
    }
}

/// The signals that a chain has logged, by their names, each once: a run logs those that its predecessor left to it.
fn signals_of(chain: &[&RunView]) -> [Vec<u64>; 2] {
    let mut logged: [Vec<u64>; 2] = [Vec::new(), Vec::new()];
    let mut messages = BTreeSet::new();
    for event in chain.iter().flat_map(|seen| &seen.history) {
        if let Event::SignalReceived { message, signal, payload, .. } = &event.event
            && let Some(index) = SIGNALS.iter().position(|name| signal == name)
            && messages.insert(*message)
        {
            logged[index].extend(payload.decode::<u64>());
        }
    }
    logged
}

/// Each run of a chain but the first continues the one before it, and each but the last was continued.
fn check_chain(first: RunId, chain: &[&RunView], wrong: &mut Vec<String>) {
    for pair in chain.windows(2) {
        let [before, next] = pair else { continue };
        if !before.is_continued() || next.link().is_none_or(|link| link.predecessor != before.run) {
            wrong.push(format!("run {} of chain {first} does not continue run {}", next.run, before.run));
        }
    }
    if chain.last().is_some_and(|last| last.is_continued()) {
        wrong.push(format!("chain {first} ends with a run that was continued"));
    }
}

/// A run that fails is tried again as often as its start asked for, and not after a cancellation. Its id leads to the run that
/// goes on.
fn check_retries(promise: &RunPromise, chain: &[&RunView], wrong: &mut Vec<String>) {
    let (run, mut attempt) = (promise.run, 1);
    for seen in chain {
        let is_cancelled = seen.has("cancel.requested") || seen.has("deadline.passed");
        match seen.history.last().map(|event| &event.event) {
            Some(Event::RunRetried { .. }) => attempt += 1,
            Some(Event::RunContinued { .. }) => attempt = 1,
            Some(Event::RunFailed { failure, .. }) => {
                let is_last = attempt >= promise.attempts_max || !failure.retryable || is_cancelled;
                if !is_last {
                    wrong.push(format!("run {run} failed in attempt {attempt}, and was not tried again"));
                }
            }
            _ => {}
        }
        if attempt > promise.attempts_max {
            wrong.push(format!("run {run} was tried {attempt} times"));
        }
    }
    if let [first, .., last] = chain
        && first.info.run_id != last.run
    {
        wrong.push(format!("run {run} leads to {}, and its chain ends with {}", first.info.run_id, last.run));
    }
}

/// Acknowledged signals are in the log, in order, or arrived too late; none is logged twice.
fn check_signals(seen: &RunView, name: &str, tokens: &[u64], logged: &[u64], wrong: &mut Vec<String>) {
    let run = seen.run;
    let is_late = |token: u64| {
        let late = seen.info.undelivered.iter().filter(|message| message.what.contains(name));
        late.filter_map(|message| message.payload.as_ref()?.decode::<u64>().ok()).any(|late| late == token)
    };
    let mut place = 0;
    for token in tokens {
        match logged.iter().position(|logged| logged == token) {
            Some(at) if at >= place => place = at + 1,
            Some(_) => wrong.push(format!("run {run}: signal {token} overtook an earlier one")),
            None if is_late(*token) => {}
            None => wrong.push(format!("run {run}: signal {token} was acknowledged, and is lost")),
        }
    }
    let distinct: BTreeSet<&u64> = logged.iter().collect();
    if distinct.len() != logged.len() {
        wrong.push(format!("run {run}: a signal was logged twice: {logged:?}"));
    }
}

/// The signals that a run took are the first that arrived, in their order.
fn check_taken(run: RunId, summary: &Summary, logged: &[Vec<u64>; 2], wrong: &mut Vec<String>) {
    for (index, logged) in logged.iter().enumerate() {
        let taken = summary.taken.iter().filter(|(signal, _)| *signal == index).map(|(_, token)| *token);
        let taken: Vec<u64> = taken.collect();
        if !logged.starts_with(&taken) {
            wrong.push(format!("run {run} took {taken:?}, and {logged:?} arrived"));
        }
    }
}
