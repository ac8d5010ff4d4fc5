//! Known bugs of tasks, in the engine and in a store: rules of their own, which no other bug breaks.

use super::{Canary, Edit};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "TaskForgotten",
        what: "an activity is enqueued, and its append does not insert the task",
        edits: &[Edit {
            file: "core/src/processor/appends.rs",
            find: "append.tasks.extend_from_slice(&group.tasks);",
            erring: r#"if !crate::canary::is("TaskForgotten") {
            append.tasks.extend_from_slice(&group.tasks);
        }"#,
        }],
    },
    Canary {
        name: "OnceRepeated",
        what: "a task that may run only once is executed again after its executor was lost",
        edits: &[Edit {
            file: "core/src/processor/tasks.rs",
            find: "let losses_max = if once {",
            erring: r#"let losses_max = if once && !crate::canary::is("OnceRepeated") {"#,
        }],
    },
    Canary {
        name: "OrphansKept",
        what: "tasks of a claim whose answer was lost are never given back",
        edits: &[Edit {
            file: "core/src/worker/tasks/held.rs",
            find: "self.returns.push(ReturnedTask { begun, ..never_begun(*claim) });",
            erring: r#"if !crate::canary::is("OrphansKept") {
                self.returns.push(ReturnedTask { begun, ..never_begun(*claim) });
            }"#,
        }],
    },
    Canary {
        name: "HandedOutForgotten",
        what: "the outcome of an attempt that became a task while it was running goes nowhere",
        edits: &[Edit {
            file: "core/src/worker/ticket.rs",
            find: "            *state = State::Over;
            return Some((task, outcome));",
            erring: r#"            *state = State::Over;
            if crate::canary::is("HandedOutForgotten") {
                return None;
            }
            return Some((task, outcome));"#,
        }],
    },
    Canary {
        name: "HandedOutToNobody",
        what: "an append gives a task to an executor that is over, and nobody else gets it",
        edits: &[Edit {
            file: "store-memory/src/state/tasks.rs",
            find: "Some(None) => self.lose_task(new.id),",
            erring: r#"Some(None) if pgworkflows_core::canary::is("HandedOutToNobody") => {}
                Some(None) => self.lose_task(new.id),"#,
        }],
    },
    Canary {
        name: "FollowersKept",
        what: "tasks that only one executor may have are not lost with it, and wait for ever",
        edits: &[Edit {
            file: "store-memory/src/state/tasks.rs",
            find: "orphans.into_iter().for_each(|task| self.fail_task(task));",
            erring: r#"if !pgworkflows_core::canary::is("FollowersKept") {
            orphans.into_iter().for_each(|task| self.fail_task(task));
        }"#,
        }],
    },
    Canary {
        name: "FollowedToNobody",
        what: "an append enqueues a task that only an executor which is over may have, and its run is not told",
        edits: &[Edit {
            file: "store-memory/src/state/tasks.rs",
            find: "None if is_orphan => self.fail_task(new.id),",
            erring: r#"None if is_orphan && !pgworkflows_core::canary::is("FollowedToNobody") => {
                    self.fail_task(new.id);
                }"#,
        }],
    },
    Canary {
        name: "HandedOutRepeated",
        what: "the next owner of a shard executes what its former owner finishes as a task",
        edits: &[
            Edit {
                file: "core/src/run/state.rs",
                find: "activity.retry_at.is_none() && activity.task.is_none();",
                erring: r#"activity.retry_at.is_none()
            && (activity.task.is_none() || crate::canary::is("HandedOutRepeated"));"#,
            },
            Edit {
                file: "core/src/processor/live.rs",
                find: "self.executing.has_attempt(call) || activity.task.is_some();",
                erring: r#"self.executing.has_attempt(call)
            || activity.task.is_some() && !crate::canary::is("HandedOutRepeated");"#,
            },
        ],
    },
    Canary {
        name: "TransactionFailedByDeadline",
        what: "a transactional activity fails because its time is over, although it may succeed at that moment",
        edits: &[Edit {
            file: "core/src/processor/dispatch.rs",
            find: "if activity.is_some_and(PendingActivity::may_settle_itself) {",
            erring: r#"let may_settle_itself = activity.is_some_and(PendingActivity::may_settle_itself);
                if may_settle_itself && !crate::canary::is("TransactionFailedByDeadline") {"#,
        }],
    },
    Canary {
        name: "ExpiredTaskUntold",
        what: "a transactional activity whose time is over is withdrawn, and its run is not told",
        edits: &[Edit {
            file: "store-memory/src/state/tasks.rs",
            find: "&& let Some(body) = tells",
            erring: r#"&& let Some(body) = tells.as_ref().filter(|_| !pgworkflows_core::canary::is("ExpiredTaskUntold"))"#,
        }],
    },
    Canary {
        name: "ExecutorUnfenced",
        what: "nobody fences an executor whose lease has expired",
        edits: &[Edit {
            file: "store-memory/src/state/tasks.rs",
            find: "Some(**id) != own && executor.expires_at <= now",
            erring: r#"Some(**id) != own && executor.expires_at <= now
                && !pgworkflows_core::canary::is("ExecutorUnfenced")"#,
        }],
    },
    Canary {
        name: "ExecutorFencedEarly",
        what: "an executor is fenced before its lease is over",
        edits: &[Edit {
            file: "store-memory/src/state/tasks.rs",
            find: "let expired = self.tasks.executors.iter();",
            erring: r#"let now = if pgworkflows_core::canary::is("ExecutorFencedEarly") {
            now.saturating_add(std::time::Duration::from_millis(500))
        } else {
            now
        };
        let expired = self.tasks.executors.iter();"#,
        }],
    },
    Canary {
        name: "TaskLossUncounted",
        what: "the loss of an executor is not counted for its tasks",
        edits: &[Edit {
            file: "store-memory/src/state/tasks.rs",
            find: "row.losses += 1;",
            erring: r#"row.losses += u32::from(!pgworkflows_core::canary::is("TaskLossUncounted"));"#,
        }],
    },
    Canary {
        name: "SettledByAnybody",
        what: "an executor settles a task that was taken away from it",
        edits: &[Edit {
            file: "store-memory/src/state/tasks.rs",
            find: "if !self.tasks.has(settle.executor, *claim) {",
            erring: r#"let anybody = pgworkflows_core::canary::is("SettledByAnybody") && self.tasks.contains(claim.task);
            if !anybody && !self.tasks.has(settle.executor, *claim) {"#,
        }],
    },
];
