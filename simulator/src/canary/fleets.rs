//! Known bugs of sharing shards among workers that differ, of the engine and of stores.

use super::{Canary, Edit};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "NeedUnsaid",
        what: "the owner of a shard does not say which workflows the shard needs",
        edits: &[Edit {
            file: "core/src/processor/needs.rs",
            find: "            self.fresh.insert(",
            erring: r#"            if crate::canary::is("NeedUnsaid") {
                return;
            }
            self.fresh.insert("#,
        }],
    },
    Canary {
        name: "NeedsIgnored",
        what: "a lease gets a shard with runs of a workflow that it does not know, although another lease knows it",
        edits: &[Edit {
            file: "store-memory/src/state/lease.rs",
            find: "knows(&id) || !live.iter().any(knows)",
            erring: r#"pgworkflows_core::canary::is("NeedsIgnored") || knows(&id) || !live.iter().any(knows)"#,
        }],
    },
    Canary {
        name: "MisplacedKept",
        what: "the owner of a shard keeps it, although it does not know a workflow of its runs and another worker does",
        edits: &[Edit {
            file: "core/src/worker/driver.rs",
            find: "self.processor.leave_to_knowing(misplaced, becomes_task, now);",
            erring: r#"if !crate::canary::is("MisplacedKept") {
            self.processor.leave_to_knowing(misplaced, becomes_task, now);
        }"#,
        }],
    },
    Canary {
        name: "UnknownParked",
        what: "an owner that does not know the workflow of a busy run notes that nothing of the run is in flight",
        edits: &[Edit {
            file: "core/src/processor/recover.rs",
            find: "OpenRow { state: OpenState::Parked, .. } => OpenRow::default(),",
            erring: r#"OpenRow { state: OpenState::Parked, .. } if !crate::canary::is("UnknownParked") => OpenRow::default(),"#,
        }],
    },
    Canary {
        name: "OutdatedClaims",
        what: "a lease of older code gets shards while newer code is live",
        edits: &[Edit {
            file: "store-memory/src/state/lease.rs",
            find: "live.iter().any(|other| self.leases[other].build.outdates(&self.leases[&id].build))",
            erring: r#"!pgworkflows_core::canary::is("OutdatedClaims")
            && live.iter().any(|other| self.leases[other].build.outdates(&self.leases[&id].build))"#,
        }],
    },
    Canary {
        name: "SharedWithOutdated",
        what: "newer code hands shards over to older code, which must not claim them",
        edits: &[Edit {
            file: "store-memory/src/state/lease.rs",
            find: "let succeeds = |other: &&LeaseId| self.leases[*other].build.succeeds(&self.leases[&id].build);",
            erring: r#"let all = pgworkflows_core::canary::is("SharedWithOutdated");
        let succeeds = |other: &&LeaseId| all || self.leases[*other].build.succeeds(&self.leases[&id].build);"#,
        }],
    },
    Canary {
        name: "ReleasedToAnybody",
        what: "a shard that a lease hands over to its like goes to a lease that knows less",
        edits: &[Edit {
            file: "store-memory/src/state/lease.rs",
            find: "!self.leases[&id].build.succeeds(&self.leases[&from].build) && self.may_own(live, from, shard)",
            erring: r#"!self.leases[&id].build.succeeds(&self.leases[&from].build)
                && self.may_own(live, from, shard)
                && !pgworkflows_core::canary::is("ReleasedToAnybody")"#,
        }],
    },
];
