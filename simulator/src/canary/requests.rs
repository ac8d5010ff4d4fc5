//! Known bugs of what clients and activities ask for: starts with a signal or in JSON, broadcasts, requests of attempts, waits.

use super::{Canary, Edit};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "AskedByAttempt",
        what: "what an activity asks for has the key of the attempt, so that the next attempt asks for it again",
        edits: &[Edit {
            file: "core/src/client/in_activity.rs",
            find: "        let shared = shared_of(&self.services).of_call(self.idempotency_key());",
            erring: r#"        let key = match crate::canary::is("AskedByAttempt") {
            true => format!("{}:{}", self.idempotency_key(), self.attempt()),
            false => self.idempotency_key(),
        };
        let shared = shared_of(&self.services).of_call(key);"#,
        }],
    },
    Canary {
        name: "FollowerLost",
        what: "a start with a key that a run has already leaves out the signal that follows it",
        edits: &[Edit {
            file: "store-memory/src/state/submit.rs",
            find: "            (Some(Submitted::Existing(existing)), Some(follow_up)) => {",
            erring: r#"            (Some(Submitted::Existing(existing)), Some(_)) if pgworkflows_core::canary::is("FollowerLost") => {
                return Ok(SubmitStep::Done(Submitted::Existing(existing)));
            }
            (Some(Submitted::Existing(existing)), Some(follow_up)) => {"#,
        }],
    },
    Canary {
        name: "JsonAsText",
        what: "two starts with a key are compared by the text of their inputs, if that is JSON",
        edits: &[Edit {
            file: "core/src/client/key.rs",
            find: "            Self::Input => Some(input.canonical_digest()),",
            erring: r#"            Self::Input
                if input.encoding() == crate::data::payload::Encoding::JSON
                    && crate::canary::is("JsonAsText") =>
            {
                Some(<sha2::Sha256 as sha2::Digest>::digest(input.bytes()).into())
            }
            Self::Input => Some(input.canonical_digest()),"#,
        }],
    },
    Canary {
        name: "OldWaits",
        what: "a run in back-off says that it waits for the attempt that has failed",
        edits: &[Edit {
            file: "core/src/run/waits.rs",
            find: "            attempt: self.attempt,",
            erring: r#"            attempt: match self.retry_at {
                Some(_) if crate::canary::is("OldWaits") => self.attempt - 1,
                _ => self.attempt,
            },"#,
        }],
    },
    Canary {
        name: "OnePage",
        what: "a broadcast ends after a full page",
        edits: &[Edit {
            file: "core/src/client/broadcast.rs",
            find: "        self.is_done = found.len() < self.page.limit as usize;",
            erring: r#"        self.is_done = crate::canary::is("OnePage") || found.len() < self.page.limit as usize;"#,
        }],
    },
];
