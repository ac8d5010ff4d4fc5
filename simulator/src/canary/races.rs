//! Known bugs of branches of one run: whatever a replay decides differently from the first execution.

use super::{Canary, Edit};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "ArmsShuffled",
        what: "the arms of `select!` are tried in another order now and then, as those of other `select!` macros are",
        edits: &[
            Edit {
                file: "core/src/workflow/calls/select.rs",
                find: "        let is_done = self.arm.is_terminated();",
                erring: r#"        let is_odd = ARMS_POLLED.replace(ARMS_POLLED.get() + 1) % 2 == 1;
        if is_odd
            && crate::canary::is("ArmsShuffled")
            && let Poll::Ready(Some(other)) = self.others.poll_arms(task)
        {
            return Poll::Ready(Some(Winner::Other(other)));
        }
        let is_done = self.arm.is_terminated();"#,
            },
            Edit {
                file: "core/src/workflow/calls/select.rs",
                find: "impl Race for NoArm {",
                erring: "thread_local! {
    static ARMS_POLLED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl Race for NoArm {",
            },
        ],
    },
    Canary {
        name: "GrantLost",
        what: "a permit is lost if the branch to which it was granted is dropped before it takes it",
        edits: &[Edit {
            file: "core/src/workflow/calls/semaphore.rs",
            find: "if handle.is_fired() {",
            erring: r#"if handle.is_fired() && !crate::canary::is("GrantLost") {"#,
        }],
    },
];
