//! Known bugs of signals that runs send, made in the engine and in the memory store. `SentDoubled` and `SentThoughRefused` concern
//! them as well.

use super::{Canary, Edit};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "LeftBehind",
        what: "a run that continues another does not get the signals that were not taken",
        edits: &[Edit {
            file: "core/src/run/succession.rs",
            find: "        let left = self.left.take();",
            erring: r#"        let left = self.left.take();
        let left = if crate::canary::is("LeftBehind") { Vec::new() } else { left };"#,
        }],
    },
    Canary {
        name: "LeftUnnamed",
        what: "the end of a run's code does not say which signals go along to the next attempt",
        edits: &[Edit {
            file: "core/src/run/left.rs",
            find: "        (!left.is_empty()).then_some(LeftMessages(left))",
            erring: r#"        (!left.is_empty() && !crate::canary::is("LeftUnnamed")).then_some(LeftMessages(left))"#,
        }],
    },
    Canary {
        name: "HandedOnToNobody",
        what: "a message for a run that was continued is too late",
        edits: &[Edit {
            file: "core/src/processor/intake.rs",
            find: "let id = if message.follows_chain() {",
            erring: r#"let id = if message.follows_chain() && !crate::canary::is("HandedOnToNobody") {"#,
        }],
    },
    Canary {
        name: "KnownForgotten",
        what: "a run that continues another does not know which messages were logged",
        edits: &[Edit {
            file: "core/src/run/succession.rs",
            find: "    known.truncate(limits::KNOWN_MESSAGES_MAX);",
            erring: r#"    known.truncate(if crate::canary::is("KnownForgotten") { 0 } else { limits::KNOWN_MESSAGES_MAX });"#,
        }],
    },
    Canary {
        name: "SignalLost",
        what: "a run's signal is logged, and not sent",
        edits: &[Edit {
            file: "core/src/processor/live.rs",
            find: "Consequence::Send => group.sent.extend(sent_by(run, trace, event)),",
            erring: r#"Consequence::Send if crate::canary::is("SignalLost") => {}
                Consequence::Send => group.sent.extend(sent_by(run, trace, event)),"#,
        }],
    },
    Canary {
        name: "SignalToNobody",
        what: "a signal for a key that no run has goes nowhere",
        edits: &[Edit {
            file: "store-memory/src/state/append.rs",
            find: "            let run = self.receiver_of(sent, &started);",
            erring: r#"            let nobody = sent.key.as_ref().is_some_and(|key| self.find(&key.workflow, &key.key).is_none());
            if nobody && pgworkflows_core::canary::is("SignalToNobody") {
                continue;
            }
            let run = self.receiver_of(sent, &started);"#,
        }],
    },
    Canary {
        name: "SignalTwice",
        what: "the last signal of a group leaves twice, as two messages",
        edits: &[Edit {
            file: "core/src/processor/live.rs",
            find: "    pub(super) fn queue(&mut self, mut group: QueuedGroup, outbox: &mut Outbox) {",
            erring: r#"    pub(super) fn queue(&mut self, mut group: QueuedGroup, outbox: &mut Outbox) {
        if crate::canary::is("SignalTwice") && let Some(mut again) = group.sent.last().cloned() {
            again.message = crate::data::id::MessageId::from_u128(again.message.as_u128() + 1);
            group.sent.push(again);
        }"#,
        }],
    },
];
