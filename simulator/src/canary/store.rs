//! Known bugs of stores, made in the memory store: bugs that another store could have, or a pooler, or a driver.

use super::shared::{APPEND_RECUT, CONTENTS_UNCHECKED, RECUT_BLAMES_NOBODY};
use super::{Canary, Edit};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "FenceUnchecked",
        what: "an append is written although its lease was fenced, and nothing after that notices",
        edits: &[
            Edit {
                file: "store-memory/src/state/append.rs",
                find: "None => return Err(fenced(*id)),",
                erring: r#"None if pgworkflows_core::canary::is("FenceUnchecked") => return Ok(false),
                None => return Err(fenced(*id)),"#,
            },
            OWNERS_UNCHECKED,
            CONTENTS_UNCHECKED,
        ],
    },
    Canary {
        name: "RepetitionUnchecked",
        what: "an append that is sent twice is written twice, because its number is not compared",
        edits: &[SAME_APPEND, CONTENTS_UNCHECKED],
    },
    Canary {
        name: "PreviousUnchecked",
        what: "an append is written although the one before it was lost in a failover",
        edits: &[
            Edit {
                file: "store-memory/src/state/append.rs",
                find: "let before = number.get().checked_sub(1)",
                erring: r#"if pgworkflows_core::canary::is("PreviousUnchecked") {
                    return Ok(false);
                }
                let before = number.get().checked_sub(1)"#,
            },
            CONTENTS_UNCHECKED,
        ],
    },
    Canary {
        name: "OwnershipUnchecked",
        what: "an append is written to a shard that was released: a release frees shards and leaves the lease",
        edits: &[
            OWNERS_UNCHECKED,
            CONTENTS_UNCHECKED,
            Edit {
                file: "store-memory/src/state/lease.rs",
                find: "let Some(lease) = lease else { return };",
                erring: r#"let Some(lease) = lease else { return };
                if pgworkflows_core::canary::is("OwnershipUnchecked") {
                    self.leases.insert(id, Lease { shards: Default::default(), ..lease.clone() });
                }"#,
            },
        ],
    },
    Canary {
        name: "DigestUnchecked",
        what: "a batch with other contents and a repeated append number is taken as applied",
        edits: &[
            SAME_APPEND,
            // The consequences of such a batch are to be found, not the batch itself.
            APPEND_RECUT,
            RECUT_BLAMES_NOBODY,
            Edit {
                file: "simulator/src/faults.rs",
                find: "self.check_request(append);",
                erring: r#"if !pgworkflows_core::canary::is("DigestUnchecked") {
                    self.check_request(append);
                }"#,
            },
        ],
    },
    Canary {
        name: "TimeOfRequest",
        what: "a call uses the time of its request: `now()` instead of `clock_timestamp()`",
        edits: &[Edit {
            file: "store-memory/src/call.rs",
            find: "self.commit(session, call).await?;",
            erring: r#"let asked = self.0.clock.now();
            let operation = |state: &mut State, now| {
                operation(state, if pgworkflows_core::canary::is("TimeOfRequest") { asked } else { now })
            };
            self.commit(session, call).await?;"#,
        }],
    },
    Canary {
        name: "LeasesStolen",
        what: "shards are taken from valid leases",
        edits: &[Edit {
            file: "store-memory/src/state/lease.rs",
            find: "let taken: Vec<_> = self.claimable(now, &claim.queue, id).into_iter().take(room).collect();",
            erring: r#"let foreign = |shard: &ShardId| self.shards[usize::from(shard.get())].owner != Some(id);
        let taken: Vec<_> = if pgworkflows_core::canary::is("LeasesStolen") {
            queue.iter().filter(foreign).take(room).collect()
        } else {
            self.claimable(now, &claim.queue, id).into_iter().take(room).collect()
        };"#,
        }],
    },
    Canary {
        name: "MessagesKept",
        what: "a message that was logged stays in the inbox",
        edits: &[
            Edit {
                file: "store-memory/src/state/append.rs",
                find: "        for message in &append.consumed {
            self.inbox.take(*message);",
                erring: r#"        if pgworkflows_core::canary::is("MessagesKept") {
                    return;
                }
                for message in &append.consumed {
                    self.inbox.take(*message);"#,
            },
            CONTENTS_UNCHECKED,
        ],
    },
    Canary {
        name: "DeadlinesForgotten",
        what: "the deadline of a parked run is forgotten",
        edits: &[Edit {
            file: "store-memory/src/state.rs",
            find: "self.due.extend(due_entry(id, after));",
            erring: r#"if !pgworkflows_core::canary::is("DeadlinesForgotten") {
                self.due.extend(due_entry(id, after));
            }"#,
        }],
    },
    Canary {
        name: "ReleaseMisdirected",
        what: "a late duplicate of a release ends a lease that it does not name",
        edits: &[Edit {
            file: "store-memory/src/state/lease.rs",
            find: "let Release { lease: id, at_fault } = *release;",
            erring: r#"let Release { lease: named, at_fault } = *release;
            let newest = self.leases.last_key_value().map(|(newest, _)| *newest);
            let errs = pgworkflows_core::canary::is("ReleaseMisdirected") && !self.leases.contains_key(&named);
            let id = newest.filter(|_| errs).unwrap_or(named);"#,
        }],
    },
    Canary {
        name: "LeaseRevived",
        what: "a late duplicate of a claim brings back a lease that is over",
        edits: &[Edit {
            file: "store-memory/src/state/lease.rs",
            find: "        // Its own lease first, so that a claim which comes late",
            erring: r#"        if pgworkflows_core::canary::is("LeaseRevived") && !self.leases.contains_key(&id) {
                self.insert_lease(now, id, claim);
            }
            // Its own lease first, so that a claim which comes late"#,
        }],
    },
    Canary {
        name: "MessageDoubled",
        what: "a late duplicate of a waiting message is inserted beside it",
        edits: &[Edit {
            file: "store-memory/src/state/submit.rs",
            find: "let is_held = self.inbox.holds(submission.message);",
            erring: r#"let is_held = self.inbox.holds(submission.message)
                && !pgworkflows_core::canary::is("MessageDoubled");"#,
        }],
    },
    Canary {
        name: "SentLost",
        what: "the messages that an append sends are lost",
        edits: &[Edit {
            file: "store-memory/src/state/append.rs",
            find: "            self.send(&append.sent);",
            erring: r#"            if !pgworkflows_core::canary::is("SentLost") {
                self.send(&append.sent);
            }"#,
        }],
    },
    Canary {
        name: "SentDoubled",
        what: "a repeated append sends its messages again",
        edits: &[
            CHECKED,
            Edit {
                file: "store-memory/src/state/append.rs",
                find: "if is_known {",
                erring: r#"if is_known && !pgworkflows_core::canary::is("SentDoubled") {"#,
            },
        ],
    },
    Canary {
        name: "SentThoughRefused",
        what: "a refused append sends its messages nevertheless",
        edits: &[CHECKED],
    },
    Canary {
        name: "InboxByNumber",
        what: "the inbox is read from the highest number seen, so late commits are skipped",
        edits: &[Edit {
            file: "store-memory/src/session.rs",
            find: "self.store.call(self.number, Call::ReadInbox(read), |state, now| state.read_inbox(now, read)).await",
            erring: r#"let mut all = read.clone();
            if pgworkflows_core::canary::is("InboxByNumber") {
                (all.cursor, all.limit, all.bytes) = (Default::default(), u32::MAX - 1, usize::MAX);
            }
            let call = Call::ReadInbox(&all);
            let mut page = self.store.call(self.number, call, |state, now| state.read_inbox(now, &all)).await?;
            if pgworkflows_core::canary::is("InboxByNumber") {
                let seen = read.cursor.0.as_ref().try_into().map(u64::from_le_bytes).unwrap_or_default();
                page.messages.retain(|message| message.number.get() > seen);
                let last = page.messages.last().map_or(seen, |message| message.number.get());
                page.cursor.0 = bytes::Bytes::copy_from_slice(&last.to_le_bytes());
            }
            Ok(page)"#,
        }],
    },
    Canary {
        name: "FirstValueKept",
        what: "a view keeps its first value",
        edits: &[Edit {
            file: "store-memory/src/state/append.rs",
            find: "self.views.entry(*run).or_default().insert(view.clone(), *seq);",
            erring: r#"let views = self.views.entry(*run).or_default();
            if !pgworkflows_core::canary::is("FirstValueKept") || !views.contains_key(view) {
                views.insert(view.clone(), *seq);
            }"#,
        }],
    },
    Canary { name: "MailUnseen", what: "only hints tell of messages", edits: &[HEARTBEAT] },
    Canary {
        name: "ClockAhead",
        what: "the store's clock is said to be later than it is",
        edits: &[HEARTBEAT],
    },
    Canary {
        name: "StaleHistory",
        what: "a new owner reads with the snapshot from before the lock, without the last append",
        edits: &[Edit {
            file: "store-memory/src/session.rs",
            find: "self.store.call(self.number, Call::Load(load), |state, _| Ok(state.load(load))).await",
            erring: r#"let call = Call::Load(load);
            let mut loaded = self.store.call(self.number, call, |state, _| Ok(state.load(load))).await?;
            if pgworkflows_core::canary::is("StaleHistory") {
                for history in loaded.histories.iter_mut().filter(|history| history.frames.len() > 1) {
                    history.frames.pop();
                }
            }
            Ok(loaded)"#,
        }],
    },
    Canary {
        name: "FirstPositionKept",
        what: "a shard's last position is said to be that of the first event in its last frame",
        edits: &[
            Edit {
                file: "store-memory/src/state/append.rs",
                find: "            self.shard_mut(frame.run.shard()).next_position = frame.position.next();",
                erring: r#"            let is_first = pgworkflows_core::canary::is("FirstPositionKept");
                let position = if is_first { frame.first_position() } else { frame.position };
                self.shard_mut(frame.run.shard()).next_position = position.next();"#,
            },
            CONTENTS_UNCHECKED,
        ],
    },
    Canary {
        name: "FrameRepeated",
        what: "the next part of a history begins with the last frame of the part before it",
        edits: &[Edit {
            file: "store-memory/src/state/recover.rs",
            find: "let skip = run.frames.partition_point(|frame| Some(frame.seq) <= after);",
            erring: r#"let repeats = pgworkflows_core::canary::is("FrameRepeated");
            let skip = run.frames.partition_point(|frame| {
                Some(frame.seq) < after || Some(frame.seq) == after && !repeats
            });"#,
        }],
    },
    Canary {
        name: "BegunLeftPending",
        what: "a new owner takes a run whose row is pending for one that has not begun, and does not load it",
        edits: &[Edit {
            file: "store-memory/src/state/recover.rs",
            find: "runs.retain(|run| !self.runs[run].frames.is_empty());",
            erring: r#"runs.retain(|run| {
                let pending = |row: &super::OpenRow| row.state == super::OpenState::Pending;
                let is_pending = matches!(&self.runs[run].row, super::Row::Open(row) if pending(row));
                let left = is_pending && pgworkflows_core::canary::is("BegunLeftPending");
                !left && !self.runs[run].frames.is_empty()
            });"#,
        }],
    },
    Canary {
        name: "EarlyAcknowledgement",
        what: "an append is acknowledged before it is written, and lost",
        edits: &[Edit {
            file: "store-memory/src/session.rs",
            find: "self.store.call(self.number, Call::Append(append), |state, now| state.append(now, append)).await",
            erring: r#"if pgworkflows_core::canary::is("EarlyAcknowledgement") && append.number.get().is_multiple_of(7) {
                return Ok(Appended { now: append.frames.last().map(|frame| frame.at).unwrap_or_default() });
            }
            self.store.call(self.number, Call::Append(append), |state, now| state.append(now, append)).await"#,
        }],
    },
];

pub(super) const CHECKED: Edit = Edit {
    file: "store-memory/src/state/append.rs",
    find: "        if self.check(append)? {",
    erring: r#"        let checked = self.check(append);
        let is_repeated = matches!(checked, Ok(false)) && pgworkflows_core::canary::is("SentDoubled");
        if is_repeated || checked.is_err() && pgworkflows_core::canary::is("SentThoughRefused") {
            self.send(&append.sent);
        }
        if matches!(checked, Ok(false)) && pgworkflows_core::canary::is("ReleaseRepeated") {
            append.released.iter().for_each(|released| self.release_shard(append.lease, released.shard));
        }
        if checked? {"#,
};

const OWNERS_UNCHECKED: Edit = Edit {
    file: "store-memory/src/state/append.rs",
    find: "        self.check_ownership(append)?;",
    erring: r#"        use pgworkflows_core::canary::is;
        if !(is("FenceUnchecked") || is("OwnershipUnchecked")) {
            self.check_ownership(append)?;
        }"#,
};

const SAME_APPEND: Edit = Edit {
    file: "store-memory/src/state/append.rs",
    find: "Some(digest) if *digest == append.digest => return Ok(true),",
    erring: r#"Some(_) if pgworkflows_core::canary::is("RepetitionUnchecked") => return Ok(false),
            Some(_) if pgworkflows_core::canary::is("DigestUnchecked") => return Ok(true),
            Some(digest) if *digest == append.digest => return Ok(true),"#,
};

const HEARTBEAT: Edit = Edit {
    file: "store-memory/src/session.rs",
    find: "self.store
            .call(self.number, Call::Heartbeat(heartbeat), |state, now| state.heartbeat(now, heartbeat))
            .await",
    erring: r#"let call = Call::Heartbeat(heartbeat);
        let mut answer = self.store.call(self.number, call, |state, now| state.heartbeat(now, heartbeat)).await?;
        if pgworkflows_core::canary::is("MailUnseen") {
            answer.leases.iter_mut().for_each(|lease| lease.mail = false);
        }
        if pgworkflows_core::canary::is("ClockAhead") {
            answer.now = answer.now.saturating_add(std::time::Duration::from_millis(50));
        }
        Ok(answer)"#,
};
