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
        name: "TraceLeftBehind",
        what: "a child is not in the trace of its parent",
        edits: &[Edit {
            file: "core/src/processor/children.rs",
            find: "            trace: self.trace.copied().map(Box::new),",
            erring: r#"            trace: self.trace.copied().map(Box::new).filter(|_| !crate::canary::is("TraceLeftBehind")),"#,
        }],
    },
    Canary {
        name: "TraceOfAStepLost",
        what: "an attempt of a step is in no trace",
        edits: &[Edit {
            file: "core/src/worker/executor.rs",
            find: "            let (key, trace) = (tag.key.as_deref(), tag.trace.as_deref());",
            erring: r#"            let (key, trace) = (tag.key.as_deref(), tag.trace.as_deref());
            let trace = trace.filter(|_| !crate::canary::is("TraceOfAStepLost"));"#,
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
        name: "CarriedChildLost",
        what: "the outcome of a child does not reach the run that its parent has carried it to",
        edits: &[Edit {
            file: "core/src/log/message.rs",
            find: "            | Self::ChildEnded { .. } => true,",
            erring: r#"            | Self::ChildEnded { .. } => {
                !matches!(self, Self::ChildEnded { .. }) || !crate::canary::is("CarriedChildLost")
            }"#,
        }],
    },
    Canary {
        name: "CarriedOutcomeForgotten",
        what: "an outcome that waited when a run continued is not told to the run to which it carried the child",
        edits: &[Edit {
            file: "core/src/run/carried.rs",
            find: "            let outcome = outcome.or_else(|| waiting.remove(&call));",
            erring: r#"            let outcome = outcome.or_else(|| waiting.remove(&call));
            let outcome = outcome.filter(|_| !crate::canary::is("CarriedOutcomeForgotten"));"#,
        }],
    },
    Canary {
        name: "CarriedUnbound",
        what: "a child with a key is not started if its parent continued before it was known to exist",
        edits: &[Edit {
            file: "core/src/processor/succession.rs",
            find: "        self.recorder().start_children(id);",
            erring: r#"        if !crate::canary::is("CarriedUnbound") {
            self.recorder().start_children(id);
        }"#,
        }],
    },
    Canary {
        name: "CarriedAsked",
        what: "a run that continues asks its carried children what it asks of the others",
        edits: &[Edit {
            file: "core/src/run/carried.rs",
            find: "            let start = self.children.remove(call).and_then(|pending| pending.unbound).map(|start| *start);",
            erring: r#"            let start = if crate::canary::is("CarriedAsked") {
                self.children.get(call).and_then(|pending| pending.unbound.clone()).map(|start| *start)
            } else {
                self.children.remove(call).and_then(|pending| pending.unbound).map(|start| *start)
            };"#,
        }],
    },
    Canary {
        name: "ChildOfAChainUnnamed",
        what: "a child that was continued tells its parent the id of its last run",
        edits: &[Edit {
            file: "core/src/processor/children.rs",
            find: "    let child = state.chain.as_deref().map_or(state.id, |link| link.first);",
            erring: r#"    let child = state.chain.as_deref().map_or(state.id, |link| link.first);
    let child = if crate::canary::is("ChildOfAChainUnnamed") { state.id } else { child };"#,
        }],
    },
    Canary {
        name: "ChildElsewhereBesideItsParent",
        what: "a child of another queue lives in the queue of its parent",
        edits: &[Edit {
            file: "core/src/workflow/child_ids.rs",
            find: "            Self::Among(own, _) => among(within.unwrap_or(*own)),",
            erring: r#"            Self::Among(own, _) if crate::canary::is("ChildElsewhereBesideItsParent") => among(*own),
            Self::Among(own, _) => among(within.unwrap_or(*own)),"#,
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
