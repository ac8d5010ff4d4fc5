//! Known bugs of signals that runs send, made in the engine and in the memory store. `SentDoubled` and `SentThoughRefused` concern
//! them as well.

use super::{Canary, Edit};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "SignalLost",
        what: "a run's signal is logged, and not sent",
        edits: &[Edit {
            file: "core/src/processor/live.rs",
            find: "Consequence::Send => group.sent.extend(sent_by(run, event)),",
            erring: r#"Consequence::Send if crate::canary::is("SignalLost") => {}
                Consequence::Send => group.sent.extend(sent_by(run, event)),"#,
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
            find: "    pub(super) fn queue(&mut self, mut group: Group, outbox: &mut Outbox) {",
            erring: r#"    pub(super) fn queue(&mut self, mut group: Group, outbox: &mut Outbox) {
        if crate::canary::is("SignalTwice") && let Some(mut again) = group.sent.last().cloned() {
            again.message = crate::data::id::MessageId::from_u128(again.message.as_u128() + 1);
            group.sent.push(again);
        }"#,
        }],
    },
];
