//! Invariant 10: what parents were told of their children, compared with how these ended. It must not know what disturbed them.

use std::collections::BTreeMap;

use pgworkflows_core::RunId;
use pgworkflows_core::history::Event;
use pgworkflows_core::id::CommandId;
use pgworkflows_core::workflow::ChildPolicy;

use crate::check::chain_of;
use crate::view::RunView;

/// A parent is told how its child ended, and ends after it if it waits for it. A child whose parent is over, or has terminated it,
/// is over. If the parent carried the child along, all of that is about the run that goes on.
pub(crate) fn check_children(seen: &[RunView], wrong: &mut Vec<String>) {
    let by_id: BTreeMap<RunId, &RunView> = seen.iter().map(|view| (view.run, view)).collect();
    for parent in seen {
        check_queues(parent, wrong);
        for event in parent.history.iter().map(|event| &event.event) {
            let Event::ChildStarted { id, child, key, at_end, .. } = event else { continue };
            let theirs = chain_of(*child, seen);
            let (holder, call) = last_holder(&by_id, (parent, *id), *child);
            let told = holder.events().find(|event| event.is_outcome() && event.call() == Some(call));
            let is_given_up = holder.events().any(|event| event.gives_up() && event.call() == Some(call));
            let end = theirs.last().and_then(|run| run.events().last());
            let is_told_right = match told {
                Some(told) => tells(told, end, key.is_some()),
                // If its parent went on as another run, that may have been told that another run has the key.
                None if end.is_none() => key.is_some() && is_refused(&by_id, holder, *child),
                None => {
                    // One that nothing holds gets its policy at the end of the run, without an event.
                    let is_let_go = *at_end != ChildPolicy::RequestAndWait || waits_for_nothing(holder);
                    end.is_some_and(Event::is_terminal) && (is_given_up || is_let_go)
                }
            };
            let names_its_parent = theirs.iter().flat_map(|run| run.events()).all(|event| match event {
                Event::RunStarted { parent: Some(named), .. } => is_in_chain(&by_id, *named, parent.run),
                Event::RunStarted { parent: None, .. } => false,
                _ => true,
            });
            if !is_told_right || !names_its_parent {
                let (parent, holder) = (parent.run, holder.run);
                wrong.push(format!(
                    "run {parent} started child {child}, and run {holder} was told {told:?} of it, which ended with {end:?}"
                ));
            }
        }
    }
}

/// A run asks where the shards of another queue are for a child, which then lives in one of them.
fn check_queues(parent: &RunView, wrong: &mut Vec<String>) {
    let events: Vec<&Event> = parent.events().collect();
    for (at, event) in events.iter().enumerate() {
        let Event::QueueResolved { queue, first_shard, shard_count, .. } = event else { continue };
        let shards = *first_shard..*first_shard + *shard_count;
        let started = events[at..].iter().filter_map(|event| match event {
            Event::ChildStarted { child, .. } => Some(u32::from(child.shard().get())),
            _ => None,
        });
        let started: Vec<u32> = started.collect();
        if !shards.is_empty() && !started.is_empty() && !started.iter().any(|shard| shards.contains(shard)) {
            wrong.push(format!(
                "run {} asked for queue `{queue}`, and none of its children is there",
                parent.run
            ));
        }
    }
}

/// Whether a run that goes on was told that a child could not be started, which its predecessor had given up.
fn is_refused<'a>(by_id: &BTreeMap<RunId, &'a RunView>, mut holder: &'a RunView, child: RunId) -> bool {
    while let Some(Event::RunContinued { successor, .. }) = holder.events().last()
        && let Some(next) = by_id.get(successor)
        && let Some(call) = next.events().find_map(|event| match event {
            Event::ChildCarried { id, child: other, given_up: Some(_), .. } if *other == child => Some(*id),
            _ => None,
        })
    {
        if next.events().any(|event| event.is_outcome() && event.call() == Some(call)) {
            return true;
        }
        holder = next;
    }
    false
}

/// The last run that has a child, and its call: the run that started it, or the last one to which it was carried.
fn last_holder<'a>(
    by_id: &BTreeMap<RunId, &'a RunView>,
    (mut holder, mut call): (&'a RunView, CommandId),
    child: RunId,
) -> (&'a RunView, CommandId) {
    while let Some(Event::RunContinued { successor, .. }) = holder.events().last()
        && let Some(next) = by_id.get(successor)
        && let Some(carried) = next.events().find_map(|event| match event {
            // One that was given up is none of the run that goes on.
            Event::ChildCarried { id, child: carried, given_up: None, .. } if *carried == child => Some(*id),
            _ => None,
        })
    {
        (holder, call) = (next, carried);
    }
    (holder, call)
}

/// Whether an outcome says how a child ended. One with a key may not have been started.
fn tells(told: &Event, end: Option<&Event>, is_keyed: bool) -> bool {
    match (told, end) {
        (Event::ChildCompleted { result, .. }, Some(Event::RunCompleted { result: own, .. })) => {
            result == own
        }
        (Event::ChildFailed { failure, .. }, Some(Event::RunFailed { failure: own, .. })) => failure == own,
        (Event::ChildFailed { failure, .. }, Some(Event::RunCancelled { .. })) => {
            failure.type_name == "child-cancelled"
        }
        (Event::ChildFailed { failure, .. }, Some(Event::RunTerminated { .. })) => {
            failure.type_name == "child-terminated"
        }
        (Event::ChildFailed { failure, .. }, Some(Event::RunTimedOut { .. })) => {
            failure.type_name == "child-timed-out"
        }
        (Event::ChildFailed { failure, .. }, None) => is_keyed && failure.type_name == "key-taken",
        (_, _) => false,
    }
}

/// Whether `named` is a run, or one that continues it: a child with a key that was carried along may be started by the latter.
fn is_in_chain(by_id: &BTreeMap<RunId, &RunView>, named: RunId, run: RunId) -> bool {
    let first = |run: RunId| by_id.get(&run).and_then(|view| view.link()).map_or(run, |link| link.first);
    first(named) == first(run)
}

/// Whether a run ended without waiting for its children: its code was not asked, or another run goes on.
fn waits_for_nothing(run: &RunView) -> bool {
    matches!(
        run.events().last(),
        Some(
            Event::RunTerminated { .. }
                | Event::RunTimedOut { grace_until: Some(_), .. }
                | Event::RunContinued { .. }
                | Event::RunRetried { .. }
        )
    )
}
