//! Edits that bugs of the engine share with bugs of the store. It must not know which bugs there are.

use super::Edit;

/// `DigestUnchecked` needs this edit as well: only an erring engine sends two appends with the same number.
pub(super) const APPEND_RECUT: Edit = Edit {
    file: "core/src/worker/requests.rs",
    find: "match status.append.watch(&*host, runs, session.append(&append)).await {",
    erring: r#"match status.append.watch(&*host, runs, session.append(&append)).await {
            Err(StoreError::Unavailable { reason, .. })
                if crate::canary::is("AppendRecut") || crate::canary::is("DigestUnchecked") =>
            {
                let (took, result) = (Duration::ZERO, Err(StoreError::LimitExceeded { reason }));
                return AppendDone { session, append, took, result };
            }"#,
};

pub(super) const RECUT_BLAMES_NOBODY: Edit = Edit {
    file: "core/src/processor/appends.rs",
    find: "let at_fault = match why {",
    erring: r#"let at_fault = match why {
            _ if crate::canary::is("AppendRecut") || crate::canary::is("DigestUnchecked") => None,"#,
};

/// All checks that would refuse the append, except that of its owner.
pub(super) const CONTENTS_UNCHECKED: Edit = Edit {
    file: "store-memory/src/state/append.rs",
    find: "        self.check_rows(append)?;
        self.check_seqs(append)?;
        self.check_positions(append)?;
        self.check_messages(append)?;
        check_suspects(append)?;
        self.check_tasks(append)?;",
    erring: r#"        let lax = ["FenceUnchecked", "RepetitionUnchecked", "PreviousUnchecked"];
        let lax = lax.into_iter().chain(["OwnershipUnchecked", "MessagesKept", "FirstPositionKept"]);
        let lax = lax.chain(["FramesOverlap", "CountLies", "PositionPerFrame"]);
        if !lax.into_iter().any(pgworkflows_core::canary::is) {
            self.check_rows(append)?;
            self.check_seqs(append)?;
            self.check_positions(append)?;
            self.check_messages(append)?;
            check_suspects(append)?;
            self.check_tasks(append)?;
        }"#,
};
