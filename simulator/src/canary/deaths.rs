//! Known bugs in what becomes of a run that kills its owners. Their worlds are deadly.

use super::{Canary, Edit};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "ResumeForgets",
        what: "a run that is resumed never gets the messages that arrived while it was set aside",
        edits: &[Edit {
            file: "core/src/processor/resume.rs",
            find: "let mut again = passed_over.unwrap_or_default();",
            erring: r#"let passed_over = passed_over.filter(|_| !crate::canary::is("ResumeForgets"));
        let mut again = passed_over.unwrap_or_default();"#,
        }],
    },
    Canary {
        name: "ResumeKeepsStrikes",
        what: "a run that is resumed keeps its strikes, so that the next death sets it aside again",
        edits: &[Edit {
            file: "core/src/processor/suspects.rs",
            find: "self.aside.remove(&run).then_some(SuspectChange::Clear)",
            erring: r#"let kept = Suspect { run, stage: SuspectStage::Held, strikes: limits::DEATHS_ALONE_MAX };
        let change = match crate::canary::is("ResumeKeepsStrikes") {
            true => SuspectChange::Mark(kept),
            false => SuspectChange::Clear,
        };
        self.aside.remove(&run).then_some(change)"#,
        }],
    },
];
