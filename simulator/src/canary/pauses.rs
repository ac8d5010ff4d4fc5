//! Known bugs of pauses, and of rounds of compensations.

use super::{Canary, Edit};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "PauseUnheeded",
        what: "the code of a paused run takes what happens",
        edits: &[Edit {
            file: "core/src/run/state.rs",
            find: "(self.stalled.is_some() || self.paused.is_some() || !self.waiting.is_empty())",
            erring: r#"(self.stalled.is_some()
                || self.paused.is_some() && !crate::canary::is("PauseUnheeded")
                || !self.waiting.is_empty())"#,
        }],
    },
    Canary {
        name: "UnpausedAgain",
        what: "a request to resume that is read a second time ends a later pause, too",
        edits: &[Edit {
            file: "core/src/run.rs",
            find: "self.state.paused.is_none() || self.state.messages.contains_key(&message)",
            erring: r#"self.state.paused.is_none()
            || self.state.messages.contains_key(&message) && !crate::canary::is("UnpausedAgain")"#,
        }],
    },
    Canary {
        name: "RoundDropped",
        what: "the end of a run does not wait for a round of compensations that its code has dropped",
        edits: &[Edit {
            file: "core/src/run.rs",
            find: "            let waits = !self.state.rounds.is_empty() || self.state.children.delay_the_end();",
            erring: r#"            let waits = !self.state.rounds.is_empty() && !crate::canary::is("RoundDropped")
                || self.state.children.delay_the_end();"#,
        }],
    },
];
