//! The account of attempts in back-off, and of the requests to begin them at once. It must not know how a processor keeps
//! deadlines.

use std::collections::{BTreeMap, BTreeSet};

use pgworkflows_core::Timestamp;
use pgworkflows_core::history::{Event, HistoryEvent};
use pgworkflows_core::id::{CommandId, MessageId, RunId};
use pgworkflows_core::store::{Append, MessageRef, OpenState};

/// What the log says of attempts in back-off.
#[derive(Clone, Debug, Default)]
pub(super) struct RetryAccounts {
    /// The requests that were submitted.
    requests: BTreeSet<MessageRef>,
    /// Those that are in the log.
    logged: BTreeSet<MessageId>,
    /// When the next attempt of each activity in back-off begins.
    backoffs: BTreeMap<RunId, BTreeMap<CommandId, Timestamp>>,
}

impl RetryAccounts {
    pub(super) fn submitted(&mut self, at: MessageRef) {
        self.requests.insert(at);
    }

    /// A request that finds an attempt in back-off is in the log with the append that consumes it, and from then on no attempt
    /// of its run waits for a later time.
    pub(super) fn appended(
        &mut self,
        append: &Append,
        events: &[Vec<HistoryEvent>],
        inbox: &BTreeMap<MessageRef, (RunId, MessageId)>,
        now: Timestamp,
        violations: &mut Vec<String>,
    ) {
        let mut wrote = BTreeMap::new();
        for (frame, events) in append.frames.iter().zip(events) {
            for HistoryEvent { at, event, .. } in events {
                self.logs(frame.run, Timestamp::from(*at), event);
            }
            wrote.extend(events.last().map(|last| (frame.run, last)));
        }
        let requests = append.consumed.iter().filter(|message| self.requests.contains(message));
        for (run, message) in requests.filter_map(|request| inbox.get(request)) {
            // What else the run wrote may have begun after the request.
            let later = self.backoffs.get(run).into_iter().flat_map(BTreeMap::values).any(|at| *at > now);
            if later && !wrote.contains_key(run) && !self.logged.contains(message) {
                violations
                    .push(format!("run {run}: a request to retry was consumed, and an attempt waits on"));
            }
        }
        for updated in &append.updated {
            let (row, run) = (&updated.row, updated.run);
            if let Some(HistoryEvent { at, event: Event::RetryRequested { .. }, .. }) = wrote.get(&run)
                && row.state == OpenState::Parked
                && row.wake_at.is_none_or(|wake_at| wake_at > Timestamp::from(*at))
            {
                violations.push(format!("run {run}: a retry was requested at {at}, and it sleeps on"));
            }
        }
    }

    fn logs(&mut self, run: RunId, at: Timestamp, event: &Event) {
        let backoffs = self.backoffs.entry(run).or_default();
        match event {
            Event::ActivityAttemptFailed { id, retry_at, .. } => _ = backoffs.insert(*id, *retry_at),
            Event::RetryRequested { message, .. } => {
                self.logged.insert(*message);
                backoffs.values_mut().for_each(|retry_at| *retry_at = at.min(*retry_at));
            }
            Event::RunEnding { .. } => backoffs.clear(),
            other if other.is_terminal() => backoffs.clear(),
            other => {
                // Whatever else is said of an activity ends its back-off.
                other.call().map(|id| backoffs.remove(&id));
            }
        }
    }
}
