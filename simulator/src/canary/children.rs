//! Known bugs of children, made in the engine.

use super::{Canary, Edit};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "ChildOutcomeLost",
        what: "a child that fails tells its parent nothing",
        edits: &[Edit {
            file: "core/src/processor/live.rs",
            find: "                group.sent.extend(ended(&self.run.state, event));",
            erring: r#"                if !(crate::canary::is("ChildOutcomeLost") && matches!(event, Event::RunFailed { .. })) {
                    group.sent.extend(ended(&self.run.state, event));
                }"#,
        }],
    },
    Canary {
        name: "ChildRequestLost",
        what: "what a parent asks of its children is not sent",
        edits: &[Edit {
            file: "core/src/processor/live.rs",
            find: "        group.sent.extend(progress.requests.into_iter().map(|of_child| request(run, of_child)));",
            erring: r#"        if !crate::canary::is("ChildRequestLost") {
            group.sent.extend(progress.requests.into_iter().map(|of_child| request(run, of_child)));
        }"#,
        }],
    },
    Canary {
        name: "ChildUnboundForgotten",
        what: "the next owner of a parent does not start the children with keys that are to be bound",
        edits: &[Edit {
            file: "core/src/processor/recover.rs",
            find: "        self.recorder.start_children(id);",
            erring: r#"        if !crate::canary::is("ChildUnboundForgotten") {
            self.recorder.start_children(id);
        }"#,
        }],
    },
    Canary {
        name: "ChildNotAwaited",
        what: "a parent ends before a child that it has to wait for",
        edits: &[Edit {
            file: "core/src/run/children.rs",
            find: "    pub(super) fn delay_the_end(&self) -> bool {",
            erring: r#"    pub(super) fn delay_the_end(&self) -> bool {
        if crate::canary::is("ChildNotAwaited") {
            return false;
        }"#,
        }],
    },
];
