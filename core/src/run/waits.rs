//! What a run waits for: the calls that its code awaits, and what the log says of them. It must not know who asks.

use crate::data::id::CommandId;
use crate::data::limits;
use crate::data::text::printable;
use crate::data::wait::Wait;
use crate::run::pending::PendingActivity;
use crate::run::state::RunState;
use crate::workflow::scope::arrivals::Kind;
use crate::workflow::scope::call::{Awaited, CallKind};

impl RunState {
    /// A call that the code awaits, given which activities the executor is running: the log does not say when a retry starts.
    /// `None` for a round that has just ended.
    pub(crate) fn wait_of(&self, call: Awaited, is_running: &dyn Fn(CommandId) -> bool) -> Option<Wait> {
        let source = Some(call.source.to_string());
        Some(match call.kind {
            CallKind::Arrival(Kind::Signal, name) => Wait::Signal { name: shown(&name), source },
            CallKind::Arrival(Kind::Update, name) => Wait::Update { name: shown(&name), source },
            CallKind::Condition => Wait::Condition { source },
            CallKind::Timer(until) => Wait::Timer { until: until.into(), source },
            CallKind::Step(name) => Wait::Step { name: shown(&name), source },
            CallKind::Permit(permits) => {
                Wait::Permit { of: permits.noun().to_owned(), name: shown(permits.name()), source }
            }
            CallKind::Child(child) => Wait::Child {
                workflow: shown(&child.workflow),
                run: child.child,
                starting: self.children.get(call.id).is_some_and(|child| child.unbound.is_some()),
                source,
            },
            CallKind::Activity(name) => match self.activities.get(call.id) {
                Some(activity) => activity.wait(is_running(call.id), source),
                None => Wait::Activity {
                    name: shown(&name),
                    attempt: 1,
                    queue: None,
                    last_failure: None,
                    again_at: None,
                    compensation: false,
                    source,
                },
            },
            CallKind::Round => {
                let compensating = self.compensating?;
                self.activities.get(compensating)?.wait(is_running(compensating), source)
            }
        })
    }

    /// What the run waits for according to its log alone, at most `limit`, timers last. A signal or a step that the code awaits
    /// is no event, so it is missing.
    pub(crate) fn waits(&self, limit: usize) -> Vec<Wait> {
        let activities = self.activities.values().map(|activity| activity.wait(false, None));
        let timers =
            self.timers.iter().map(|(_, until)| Wait::Timer { until: (*until).into(), source: None });
        activities.chain(self.awaited_children()).chain(timers).take(limit).collect()
    }

    /// What the end of the run waits for, at most `limit`.
    pub(crate) fn waits_at_end(&self, limit: usize, is_running: &dyn Fn(CommandId) -> bool) -> Vec<Wait> {
        let mut waits = self.compensating(limit, is_running);
        waits.extend(self.awaited_children().take(limit.saturating_sub(waits.len())));
        waits
    }

    fn awaited_children(&self) -> impl Iterator<Item = Wait> {
        self.children.iter().map(|(_, child)| Wait::Child {
            workflow: shown(&child.workflow),
            run: child.child,
            starting: child.unbound.is_some(),
            source: None,
        })
    }

    /// The compensations that are executed, at most `limit`.
    fn compensating(&self, limit: usize, is_running: &dyn Fn(CommandId) -> bool) -> Vec<Wait> {
        let running = self.activities.iter().filter(|(_, activity)| activity.compensation);
        running.map(|(id, activity)| activity.wait(is_running(id), None)).take(limit).collect()
    }
}

impl PendingActivity {
    fn wait(&self, is_running: bool, source: Option<String>) -> Wait {
        Wait::Activity {
            name: shown(&self.name),
            attempt: self.attempt,
            queue: self.task.as_ref().map(|task| shown(&task.queue)),
            last_failure: self.last_failure.as_ref().map(|failure| shown(failure.as_str())),
            again_at: self.retry_at.filter(|_| !is_running).map(Into::into),
            compensation: self.compensation,
            source,
        }
    }
}

/// A name or a failure as people see it. Steps and permits have names that nothing else limits.
fn shown(text: &str) -> String {
    printable(text, limits::WAIT_CHARS_MAX)
}
