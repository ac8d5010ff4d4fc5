//! Known bugs of updates and their handlers, and of the retry of a whole run, made in the engine. `KnownForgotten` concerns them
//! as well.

use super::{Canary, Edit};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "ReplyLostAtEnd",
        what: "a reply is not written if the run ends in the same append",
        edits: &[Edit {
            file: "core/src/processor/live.rs",
            find: "            if let Some(status) = event.closed_status() {",
            erring: r#"            if event.is_terminal() && crate::canary::is("ReplyLostAtEnd") {
                group.replies.clear();
            }
            if let Some(status) = event.closed_status() {"#,
        }],
    },
    Canary {
        name: "RefusalUnsaid",
        what: "an update that is refused is consumed without a reply",
        edits: &[Edit {
            file: "core/src/processor/replies.rs",
            find: "        group.replies.push(append::Reply { run, message: reference.message, body: encode_reply(reply) });",
            erring: r#"        if !crate::canary::is("RefusalUnsaid") {
            group.replies.push(append::Reply { run, message: reference.message, body: encode_reply(reply) });
        }"#,
        }],
    },
    Canary {
        name: "RefusalForgotten",
        what: "an update that was refused is delivered again when it arrives again",
        edits: &[Edit {
            file: "store-memory/src/state/submit.rs",
            find: "            Some(Row::Open(_)) if self.reply_to(submission.message, submission.run).is_some() => {",
            erring: r#"            Some(Row::Open(_))
                if self.reply_to(submission.message, submission.run).is_some()
                    && !pgworkflows_core::canary::is("RefusalForgotten") =>
            {"#,
        }],
    },
    Canary {
        name: "UpdateRepeated",
        what: "an update that arrives again is taken again",
        edits: &[Edit {
            file: "core/src/run/state/apply.rs",
            find: "            Event::UpdateReceived { message, request, .. } => {
                self.messages.insert(*message, at);",
            erring: r#"            Event::UpdateReceived { message, request, .. } => {
                if !crate::canary::is("UpdateRepeated") {
                    self.messages.insert(*message, at);
                }"#,
        }],
    },
    Canary {
        name: "UpdatesLeftOut",
        what: "a run that continues another does not get the updates that were not taken",
        edits: &[Edit {
            file: "core/src/workflow/scope/continuation.rs",
            find: "        if inner.updates.seen().is_some() {",
            erring: r#"        if inner.updates.seen().is_some() && !crate::canary::is("UpdatesLeftOut") {"#,
        }],
    },
    Canary {
        name: "HandlersOverlap",
        what: "a handler begins before the one of the same name that began before it is done",
        edits: &[Edit {
            file: "core/src/workflow/scope/handlers.rs",
            find: "        if self.served.contains_key(service) && !self.working.contains(service) {",
            erring: r#"        let overlap = crate::canary::is("HandlersOverlap");
        if self.served.contains_key(service) && (overlap || !self.working.contains(service)) {"#,
        }],
    },
    Canary {
        name: "RetriedUncompensated",
        what: "a run is tried again without the compensations of the attempt that failed",
        edits: &[Edit {
            file: "core/src/run.rs",
            find: "            let undoes = !matches!(outcome, Outcome::Completed(_)) && !self.state.compensations.is_empty();",
            erring: r#"            let skips = self.state.retry.is_some() && crate::canary::is("RetriedUncompensated");
            let undoes =
                !skips && !matches!(outcome, Outcome::Completed(_)) && !self.state.compensations.is_empty();"#,
        }],
    },
    Canary {
        name: "RetriedTooOften",
        what: "each attempt of a whole run counts as the first",
        edits: &[Edit {
            file: "core/src/run/succession.rs",
            find: "        let delay = retry.policy.delay_after(retry.attempt, failure, seed)?;",
            erring: r#"        let attempt = if crate::canary::is("RetriedTooOften") { 1 } else { retry.attempt };
        let delay = retry.policy.delay_after(attempt, failure, seed)?;"#,
        }],
    },
    Canary {
        name: "KnownLostAtRetry",
        what: "a run that is tried again does not know which messages were logged",
        edits: &[Edit {
            file: "core/src/run/succession.rs",
            find: "        let known = known_messages(state, &left, at);",
            erring: r#"        let mut known = known_messages(state, &left, at);
        if matches!(started, Event::RunStarted { start_at: Some(_), .. }) && crate::canary::is("KnownLostAtRetry") {
            known.clear();
        }"#,
        }],
    },
];
