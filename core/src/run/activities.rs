//! The attempts of an activity: completed, retried, failed, lost. It is pure, and must not execute anything.

use crate::data::failure::Failure;
use crate::data::id::{CommandId, ExecutorId, MessageId};
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::log::event::Event;
use crate::run::{FailedActivity, Progress, Run};
use crate::store::tasks::executor_of;

impl Run {
    /// An attempt has ended. It changes nothing if the activity already has an outcome.
    pub(crate) fn attempt_ended(
        &mut self,
        at: Timestamp,
        id: CommandId,
        attempt: u32,
        result: Result<Payload, Failure>,
    ) -> Progress {
        let at = at.max(self.state.now);
        match result {
            _ if !self.state.activities.contains(id) => Progress::default(),
            Ok(result) => self.activity_completed(at, id, result),
            Err(failure) => match self.retry_at(at, id, attempt, &failure) {
                Some(retry_at) => {
                    self.note(at, Event::ActivityAttemptFailed { id, attempt, failure, retry_at })
                }
                None => self.activity_failed(at, id, failure),
            },
        }
    }

    /// An attempt is about to start, and is logged so that a repetition can be detected.
    pub(crate) fn attempt_started(&mut self, at: Timestamp, id: CommandId, attempt: u32) -> Progress {
        self.note(at, Event::ActivityAttemptStarted { id, attempt })
    }

    /// The next attempts of these activities become tasks, each of an activity queue. An executor may have them already.
    pub(crate) fn attempts_enqueued(
        &mut self,
        at: Timestamp,
        tasks: Vec<(CommandId, Name)>,
        executor: Option<ExecutorId>,
    ) -> Progress {
        let (mut progress, at) = (Progress::default(), at.max(self.state.now));
        for (id, queue) in tasks {
            if let Some(activity) = self.state.activities.get(id) {
                let attempt = activity.attempt;
                self.log(at, Event::ActivityEnqueued { id, attempt, queue, executor }, &mut progress);
            }
        }
        progress
    }

    /// A task was lost with its executors, and is not executed again.
    pub(crate) fn task_lost(&mut self, at: Timestamp, id: CommandId, losses: u32) -> Progress {
        let Some(activity) = self.state.activities.get(id) else { return Progress::default() };
        let (name, attempt) = (activity.name.clone(), activity.attempt);
        let queue = activity.options.get().queue.as_ref();
        let (kind, message) = if queue.is_some_and(|queue| executor_of(queue).is_some()) {
            (
                "worker-lost",
                format!("`{name}` was sent to one worker, which has ended, died or lost its lease"),
            )
        } else if activity.options.get().at_most_once {
            let died = "died or lost its lease";
            ("attempt-lost", format!("the process that executed `{name}`, which may run only once, {died}"))
        } else {
            let died = "died or lost their leases";
            ("attempt-lost", format!("the processes that executed `{name}` {died} {losses} times"))
        };
        let mut progress = self.note(at, Event::ActivityAttemptLost { id, attempt });
        progress.append(self.activity_failed(at, id, Failure::new(kind, message).non_retryable()));
        progress
    }

    /// An attempt whose start is logged was lost, because its process died. With the loss number `lost_max`, the activity fails.
    pub(crate) fn attempt_lost(&mut self, at: Timestamp, id: CommandId, lost_max: u32) -> Progress {
        let Some(activity) = self.state.activities.get(id) else { return Progress::default() };
        let name = activity.name.clone();
        if activity.options.get().at_most_once {
            let message = format!("the process died while it executed `{name}`, which may run only once");
            return self.activity_failed(at, id, Failure::new("attempt-lost", message).non_retryable());
        }
        let (attempt, lost) = (activity.attempt, activity.lost + 1);
        let mut progress = self.note(at, Event::ActivityAttemptLost { id, attempt });
        if lost >= lost_max {
            let message = format!("the process died {lost} times while it executed `{name}`");
            let failed = self.activity_failed(at, id, Failure::new("attempt-lost", message).non_retryable());
            progress.append(failed);
        }
        progress
    }

    /// A client asks for the attempts that wait for their time to begin at once. Changes nothing if none waits.
    pub(crate) fn retry_now(&mut self, at: Timestamp, message: MessageId) -> Progress {
        let at = at.max(self.state.now);
        match self.state.retries.last() {
            Some(last) if last.at > at => self.note(at, Event::RetryRequested { message }),
            Some(_) | None => Progress::default(),
        }
    }

    /// The activity's `schedule_to_close` has passed.
    pub(crate) fn activity_out_of_time(&mut self, at: Timestamp, id: CommandId) -> Progress {
        match self.out_of_time(id) {
            Some(failure) => self.activity_failed(at, id, failure),
            None => Progress::default(),
        }
    }

    /// The failure of an activity whose `schedule_to_close` has passed.
    pub(crate) fn out_of_time(&self, id: CommandId) -> Option<Failure> {
        let limit = self.state.activities.get(id)?.options.get().schedule_to_close.unwrap_or_default();
        let message = format!("no attempt succeeded within {limit:?} of its scheduling (schedule_to_close)");
        Some(Failure::new("timed-out", message))
    }

    /// The start time of the next attempt; `None` if no attempt follows.
    fn retry_at(&self, at: Timestamp, id: CommandId, attempt: u32, failure: &Failure) -> Option<Timestamp> {
        let activity = self.state.activities.get(id)?;
        let seed = self.state.id.as_u128() as u64 ^ u64::from(id.get()) << 32;
        let retry_at = at.checked_add(activity.options.get().retry.delay_after(attempt, failure, seed)?)?;
        let limit = activity.options.get().schedule_to_close;
        let in_time = limit.is_none_or(|limit| retry_at < activity.scheduled_at.saturating_add(limit));
        in_time.then_some(retry_at)
    }

    fn activity_completed(&mut self, at: Timestamp, id: CommandId, result: Payload) -> Progress {
        if self.is_compensation(id) {
            let mut progress = self.note(at, Event::CompensationCompleted { id });
            self.compensate(at, &mut progress);
            return progress;
        }
        self.resolve(at, Event::ActivityCompleted { id, result })
    }

    fn activity_failed(&mut self, at: Timestamp, id: CommandId, failure: Failure) -> Progress {
        if self.is_compensation(id) {
            let mut progress = self.note(at, Event::CompensationFailed { id, failure });
            self.compensate(at, &mut progress);
            return progress;
        }
        self.resolve(at, Event::ActivityFailed { id, failure })
    }

    fn is_compensation(&self, id: CommandId) -> bool {
        self.state.activities.get(id).is_some_and(|activity| activity.compensation)
    }

    /// The activity that fails with an event, which its state will not have any more.
    pub(super) fn failed_activity(&self, event: &Event) -> Option<FailedActivity> {
        let (Event::ActivityFailed { id, .. } | Event::CompensationFailed { id, .. }) = event else {
            return None;
        };
        let activity = self.state.activities.get(*id)?;
        Some(FailedActivity {
            call: *id,
            activity: activity.name.clone(),
            attempts: activity.attempt,
            attempts_max: activity.options.get().retry.attempts_max(),
        })
    }

    /// Logs an event that the program does not see.
    pub(crate) fn note(&mut self, at: Timestamp, event: Event) -> Progress {
        let mut progress = Progress::default();
        self.log(at.max(self.state.now), event, &mut progress);
        progress
    }
}

impl Progress {
    /// Appends later progress.
    pub(crate) fn append(&mut self, later: Self) {
        let Self { events, steps, dropped_steps, requests, wanted_queue, successor, failed, published } =
            later;
        self.events.extend(events);
        self.take_steps(steps, &dropped_steps);
        self.dropped_steps.extend(dropped_steps);
        self.requests.extend(requests);
        self.wanted_queue = self.wanted_queue.take().or(wanted_queue);
        self.successor = self.successor.take().or(successor);
        self.failed.extend(failed);
        self.publish(published);
    }
}
