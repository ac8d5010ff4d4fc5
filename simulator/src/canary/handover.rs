//! Known bugs of sharing and handing over shards, of the engine and of stores.

use super::store::CHECKED;
use super::{Canary, Edit};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "ReleaseRepeated",
        what: "a late duplicate of an append releases a shard that was claimed again",
        edits: &[CHECKED],
    },
    Canary {
        name: "FloorLost",
        what: "the next owner of a released shard begins with its first position",
        edits: &[Edit {
            file: "store-memory/src/state/lease.rs",
            find: "        (row.owner, row.former) = (None, None);",
            erring: r#"        if pgworkflows_core::canary::is("FloorLost") {
            row.next_position = pgworkflows_core::id::Position::FIRST;
        }
        (row.owner, row.former) = (None, None);"#,
        }],
    },
    Canary {
        name: "LeftInMemory",
        what: "the runs of a shard that goes to another owner stay in memory, and their outcomes are written",
        edits: &[Edit {
            file: "core/src/processor/handover.rs",
            find: "let runs = self.runs.leave(shards);",
            erring: r#"let left = if crate::canary::is("LeftInMemory") { BTreeSet::new() } else { shards.clone() };
        let runs = self.runs.leave(&left);"#,
        }],
    },
    Canary {
        name: "ReleasedUnwritten",
        what: "a shard is released before everything that waits to be written to it is in the append",
        edits: &[
            Edit {
                file: "core/src/processor/handover.rs",
                find: "ready.into_iter().filter(|(shard, _)| !waiting.contains(shard)).collect();",
                erring: r#"ready
                .into_iter()
                .filter(|(shard, _)| !waiting.contains(shard) || crate::canary::is("ReleasedUnwritten"))
                .collect();"#,
            },
            Edit {
                file: "core/src/processor/commits.rs",
                find: "let mut groups = self.appends.next_groups(&mut self.outbox);
        while",
                erring: r#"let is_early = may_release
            && self.shards.to_release().next().is_some()
            && crate::canary::is("ReleasedUnwritten");
        let mut groups = if is_early { None } else { self.appends.next_groups(&mut self.outbox) };
        while"#,
            },
        ],
    },
    Canary {
        name: "ReleasePositionStale",
        what: "a shard is released at its position before the append, and the store does not notice",
        edits: &[
            Edit {
                file: "core/src/processor/appends.rs",
                find: "filter_map(|shard| shards.release_of(shard)).collect();",
                erring: r#"filter_map(|shard| {
                let is_stale = crate::canary::is("ReleasePositionStale");
                if is_stale { before.release_of(shard) } else { shards.release_of(shard) }
            }).collect();"#,
            },
            Edit {
                file: "store-memory/src/state/append.rs",
                find: "        self.check_released(append)?;",
                erring: r#"        if !pgworkflows_core::canary::is("ReleasePositionStale") {
            self.check_released(append)?;
        }"#,
            },
        ],
    },
    Canary {
        name: "ClaimUnread",
        what: "the inbox of a claimed shard is read from where that of the other shards is, not from the beginning",
        edits: &[Edit {
            file: "core/src/processor/inbox.rs",
            find: "        self.numbered += 1;
        let (number, cursor)",
            erring: r#"        if crate::canary::is("ClaimUnread")
            && let Some(level) = self.readers.iter_mut().find(|reader| reader.level)
        {
            return level.shards.extend(shards);
        }
        self.numbered += 1;
        let (number, cursor)"#,
        }],
    },
    Canary {
        name: "WatermarkAhead",
        what: "when the deadlines of a claimed shard have been read, all later ones count as read as well",
        edits: &[Edit {
            file: "core/src/processor/deadlines.rs",
            find: "level.mark = level.mark.min(set.mark);",
            erring: r#"let is_ahead = crate::canary::is("WatermarkAhead");
            let ahead = Some(end_of(Timestamp::MAX_DEADLINE));
            level.mark = if is_ahead { ahead } else { level.mark.min(set.mark) };"#,
        }],
    },
    Canary {
        name: "RemainderUnclaimed",
        what: "every lease owns the mean, rounded down, and nobody the rest",
        edits: &[Edit {
            file: "core/src/worker/balance.rs",
            find: "let extra = u32::from(standing.place < shared % members);",
            erring: r#"let is_extra = standing.place < shared % members;
    let extra = u32::from(is_extra && !crate::canary::is("RemainderUnclaimed"));"#,
        }],
    },
    Canary {
        name: "SurplusKept",
        what: "a lease with more than its share hands nothing over, and a worker that joins gets nothing",
        edits: &[Edit {
            file: "core/src/worker/balance.rs",
            find: "} else if kept > usize::from(share) {",
            erring: r#"} else if kept > usize::from(share) && !crate::canary::is("SurplusKept") {"#,
        }],
    },
];
