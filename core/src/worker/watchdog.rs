//! The watchdog: finds workflow code that never yields by checking the processors' polls periodically. It must not know
//! what is done about it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::data::id::RunId;
use crate::worker::processor_handle::ProcessorHandle;
use crate::worker::status::SlowPoll;
use crate::workflow::mark::{PollMark, Polling};

/// Checks the current polls before every heartbeat.
#[derive(Debug)]
pub(super) struct Watchdog {
    pub(super) interval: Duration,
    /// How long a poll may take before it is logged.
    pub(super) poll_warn: Duration,
    /// How long it may take before its thread is replaced.
    pub(super) lease_ttl: Duration,
    polls: BTreeMap<usize, WatchedPoll>,
}

/// A poll that was in progress at the last check.
#[derive(Debug)]
struct WatchedPoll {
    mark: Arc<PollMark>,
    number: u64,
    since: Duration,
    checked: Duration,
    /// The CPU time that the thread had used at the first check.
    used: Option<Duration>,
    /// How long the watchdog has observed it. Time in which the whole process was stopped does not count.
    seen: Duration,
    logged: bool,
    reported: bool,
}

/// A poll that has taken as long as a lease lasts. Its processor could not renew the lease meanwhile.
#[derive(Debug)]
pub(super) struct Stuck {
    pub(super) processor: ProcessorHandle,
    pub(super) poll: Polling,
    pub(super) lasting: Duration,
    /// Its run, if the thread was on a CPU meanwhile.
    pub(super) at_fault: Option<RunId>,
}

impl Stuck {
    /// Whether the poll is still in progress.
    pub(super) fn is_in_progress(&self) -> bool {
        self.processor.mark.current().is_some_and(|poll| poll.number == self.poll.number)
    }
}

impl Watchdog {
    pub(super) fn new(interval: Duration, poll_warn: Duration, lease_ttl: Duration) -> Self {
        Self { interval, poll_warn, lease_ttl, polls: BTreeMap::new() }
    }

    /// Checks every processor, logs polls that take too long, and returns stuck polls, each once.
    pub(super) fn check(&mut self, now: Duration, processors: &[ProcessorHandle]) -> Vec<Stuck> {
        processors.iter().filter_map(|processor| self.check_one(now, processor)).collect()
    }

    fn check_one(&mut self, now: Duration, processor: &ProcessorHandle) -> Option<Stuck> {
        let Some(poll) = processor.mark.current() else {
            self.polls.remove(&processor.place);
            processor.status.polls(None);
            return None;
        };
        let is_known =
            |known: &WatchedPoll| known.number == poll.number && Arc::ptr_eq(&known.mark, &processor.mark);
        if !self.polls.get(&processor.place).is_some_and(is_known) {
            self.polls.insert(processor.place, WatchedPoll::new(processor, &poll, now));
        }
        let watched = self.polls.get_mut(&processor.place)?;
        watched.seen += now.saturating_sub(watched.checked).min(2 * self.interval);
        watched.checked = now;
        let lasting = now.saturating_sub(watched.since);
        let is_slow = lasting >= self.poll_warn;
        let slow = SlowPoll { run: poll.run, workflow: poll.workflow.clone(), since: watched.since };
        processor.status.polls(is_slow.then_some(slow));
        if is_slow && !std::mem::replace(&mut watched.logged, true) {
            log_slow_poll(processor, &poll, lasting);
        }
        let is_stuck = watched.seen >= self.lease_ttl && !std::mem::replace(&mut watched.reported, true);
        is_stuck.then(|| {
            let at_fault = processor.meter.worked(watched.used, lasting).then_some(poll.run);
            Stuck { processor: processor.clone(), poll, lasting, at_fault }
        })
    }
}

impl WatchedPoll {
    fn new(processor: &ProcessorHandle, poll: &Polling, now: Duration) -> Self {
        let (mark, number) = (Arc::clone(&processor.mark), poll.number);
        let used = processor.meter.used();
        Self {
            mark,
            number,
            since: now,
            checked: now,
            used,
            seen: Duration::ZERO,
            logged: false,
            reported: false,
        }
    }
}

fn log_slow_poll(processor: &ProcessorHandle, poll: &Polling, lasting: Duration) {
    tracing::error!(
        run = %poll.run, workflow = %poll.workflow, last_durable_call = poll.last_call(), processor = processor.place,
        "a workflow has not yielded for {lasting:?}: its processor's lease is not renewed. Put blocking work and endless \
         loops into activities"
    );
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::data::cancellation::Cancellation;
    use crate::data::name::Name;
    use crate::testing::run_id;
    use crate::worker::status::WorkerStatus;

    const INTERVAL: Duration = Duration::from_secs(2);
    const WARN: Duration = Duration::from_secs(5);
    const TTL: Duration = Duration::from_secs(15);

    fn watchdog() -> Watchdog {
        Watchdog::new(INTERVAL, WARN, TTL)
    }

    fn processor() -> ProcessorHandle {
        ProcessorHandle {
            place: 0,
            mailbox: mpsc::unbounded_channel().0,
            stop: CancellationToken::new(),
            attempts: Cancellation::default(),
            mark: Arc::default(),
            status: WorkerStatus::new("w", TTL, 1).at(0),
            meter: Arc::default(),
        }
    }

    fn begin_poll(processor: &ProcessorHandle) {
        processor.mark.begin(run_id(7), &Name::from_static("endless"), None);
    }

    /// The heartbeats at which the watchdog finds that the poll is stuck.
    fn stuck_at(watchdog: &mut Watchdog, processor: &ProcessorHandle, from: u32, until: u32) -> Vec<u32> {
        let is_stuck = |heartbeat: &u32| {
            !watchdog.check(INTERVAL * *heartbeat, std::slice::from_ref(processor)).is_empty()
        };
        (from..until).filter(is_stuck).collect()
    }

    #[test]
    fn poll_that_lasts_as_long_as_a_lease_is_reported_as_stuck_once() {
        let processor = processor();
        begin_poll(&processor);
        assert_eq!(stuck_at(&mut watchdog(), &processor, 0, 100), [8]);
    }

    #[test]
    fn polls_that_end_are_not_stuck_however_many_there_are() {
        let (mut watchdog, processor) = (watchdog(), processor());
        for heartbeat in 0..100 {
            begin_poll(&processor);
            assert!(stuck_at(&mut watchdog, &processor, heartbeat, heartbeat + 1).is_empty());
            processor.mark.end();
        }
    }

    #[test]
    fn time_in_which_the_whole_process_was_stopped_is_no_evidence() {
        let (mut watchdog, processor) = (watchdog(), processor());
        begin_poll(&processor);
        assert_eq!(stuck_at(&mut watchdog, &processor, 0, 2), [0; 0]);
        // An hour later it has been observed for two more heartbeats
        assert_eq!(stuck_at(&mut watchdog, &processor, 1800, 1803), [0; 0]);
        assert_eq!(stuck_at(&mut watchdog, &processor, 1803, 1900), [1805]);
    }

    #[test]
    fn replacement_is_not_blamed_for_the_poll_before_it() {
        let mut watchdog = watchdog();
        let (before, after) = (processor(), processor());
        begin_poll(&before);
        assert_eq!(stuck_at(&mut watchdog, &before, 0, 9), [8]);
        // Its first poll has the same number
        begin_poll(&after);
        assert_eq!(stuck_at(&mut watchdog, &after, 9, 100), [17]);
    }
}
