//! The watchdog: finds workflow code that never yields, by looking at the processors' polls again and again. It must not
//! know what is done about it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::data::id::RunId;
use crate::worker::processor_handle::ProcessorHandle;
use crate::worker::status::SlowPoll;
use crate::workflow::mark::{PollMark, Polling};

/// Looks at polls as often as heartbeats are sent.
#[derive(Debug)]
pub(super) struct Watchdog {
    pub(super) interval: Duration,
    /// How long a poll may take before it is named.
    pub(super) poll_warn: Duration,
    /// How long it may take before its thread is given up.
    pub(super) lease_ttl: Duration,
    suspects: BTreeMap<usize, Suspect>,
}

/// A poll that was going on at the last look.
#[derive(Debug)]
struct Suspect {
    mark: Arc<PollMark>,
    number: u64,
    since: Duration,
    looked: Duration,
    /// The processor time that the thread had used at the first look.
    used: Option<Duration>,
    /// How much of its time was under the watchdog's eyes: while the whole process was stopped, nothing was.
    seen: Duration,
    named: bool,
    given_up: bool,
}

/// A poll that has gone on for as long as a lease lasts. Its processor could not renew the lease meanwhile.
#[derive(Debug)]
pub(super) struct Stuck {
    pub(super) processor: ProcessorHandle,
    pub(super) poll: Polling,
    pub(super) lasting: Duration,
    /// Its run, if the thread really worked all the while.
    pub(super) at_fault: Option<RunId>,
}

impl Stuck {
    /// Whether the poll has still not come back.
    pub(super) fn goes_on(&self) -> bool {
        self.processor.mark.current().is_some_and(|poll| poll.number == self.poll.number)
    }
}

impl Watchdog {
    pub(super) fn new(interval: Duration, poll_warn: Duration, lease_ttl: Duration) -> Self {
        Self { interval, poll_warn, lease_ttl, suspects: BTreeMap::new() }
    }

    /// Looks at every processor, names polls that take too long, and returns those that are stuck; each once.
    pub(super) fn look(&mut self, now: Duration, processors: &[ProcessorHandle]) -> Vec<Stuck> {
        processors.iter().filter_map(|processor| self.look_at(now, processor)).collect()
    }

    fn look_at(&mut self, now: Duration, processor: &ProcessorHandle) -> Option<Stuck> {
        let Some(poll) = processor.mark.current() else {
            self.suspects.remove(&processor.place);
            processor.status.polls(None);
            return None;
        };
        let is_known =
            |known: &Suspect| known.number == poll.number && Arc::ptr_eq(&known.mark, &processor.mark);
        if !self.suspects.get(&processor.place).is_some_and(is_known) {
            self.suspects.insert(processor.place, Suspect::new(processor, &poll, now));
        }
        let suspect = self.suspects.get_mut(&processor.place)?;
        suspect.seen += now.saturating_sub(suspect.looked).min(2 * self.interval);
        suspect.looked = now;
        let lasting = now.saturating_sub(suspect.since);
        let is_slow = lasting >= self.poll_warn;
        let slow = SlowPoll { run: poll.run, workflow: poll.workflow.clone(), since: suspect.since };
        processor.status.polls(is_slow.then_some(slow));
        if is_slow && !std::mem::replace(&mut suspect.named, true) {
            name(processor, &poll, lasting);
        }
        let is_stuck = suspect.seen >= self.lease_ttl && !std::mem::replace(&mut suspect.given_up, true);
        is_stuck.then(|| {
            let at_fault = processor.meter.worked(suspect.used, lasting).then_some(poll.run);
            Stuck { processor: processor.clone(), poll, lasting, at_fault }
        })
    }
}

impl Suspect {
    fn new(processor: &ProcessorHandle, poll: &Polling, now: Duration) -> Self {
        let (mark, number) = (Arc::clone(&processor.mark), poll.number);
        let used = processor.meter.used();
        Self {
            mark,
            number,
            since: now,
            looked: now,
            used,
            seen: Duration::ZERO,
            named: false,
            given_up: false,
        }
    }
}

fn name(processor: &ProcessorHandle, poll: &Polling, lasting: Duration) {
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
    use crate::data::name::Name;
    use crate::testing::run_id;
    use crate::worker::status::WorkerStatus;

    const BEAT: Duration = Duration::from_secs(2);
    const WARN: Duration = Duration::from_secs(5);
    const TTL: Duration = Duration::from_secs(15);

    fn watchdog() -> Watchdog {
        Watchdog::new(BEAT, WARN, TTL)
    }

    fn processor() -> ProcessorHandle {
        ProcessorHandle {
            place: 0,
            mailbox: mpsc::unbounded_channel().0,
            stop: CancellationToken::new(),
            attempts: CancellationToken::new(),
            mark: Arc::default(),
            status: WorkerStatus::new("w", TTL, 1).at(0),
            meter: Arc::default(),
        }
    }

    fn begin_poll(processor: &ProcessorHandle) {
        processor.mark.begin(run_id(7), &Name::from_static("endless"), None);
    }

    /// When the watchdog finds that the poll is stuck, if it beats until then.
    fn stuck_at(watchdog: &mut Watchdog, processor: &ProcessorHandle, from: u32, until: u32) -> Vec<u32> {
        let is_stuck = |beat: &u32| !watchdog.look(BEAT * *beat, std::slice::from_ref(processor)).is_empty();
        (from..until).filter(is_stuck).collect()
    }

    #[test]
    fn poll_that_lasts_as_long_as_a_lease_is_stuck_and_that_is_said_once() {
        let processor = processor();
        begin_poll(&processor);
        assert_eq!(stuck_at(&mut watchdog(), &processor, 0, 100), [8]);
    }

    #[test]
    fn polls_that_end_are_not_stuck_however_many_there_are() {
        let (mut watchdog, processor) = (watchdog(), processor());
        for beat in 0..100 {
            begin_poll(&processor);
            assert!(stuck_at(&mut watchdog, &processor, beat, beat + 1).is_empty());
            processor.mark.end();
        }
    }

    #[test]
    fn time_in_which_the_whole_process_was_stopped_is_no_evidence() {
        let (mut watchdog, processor) = (watchdog(), processor());
        begin_poll(&processor);
        assert_eq!(stuck_at(&mut watchdog, &processor, 0, 2), [0; 0]);
        // An hour later it has been seen for two beats more
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
