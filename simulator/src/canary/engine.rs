//! Known bugs of the engine: each was made once, or could have been.

use super::shared::{APPEND_RECUT, CONTENTS_UNCHECKED, RECUT_BLAMES_NOBODY};
use super::{Canary, Edit};

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "AppendRecut",
        what: "an append whose outcome is unknown is cut anew",
        edits: &[APPEND_RECUT, RECUT_BLAMES_NOBODY],
    },
    Canary {
        name: "EffectEarly",
        what: "an effect begins before its event is committed",
        edits: &[Edit {
            file: "core/src/processor/live.rs",
            find: "if self.is_committed() {
            // Nothing of the run",
            erring: r#"if self.is_committed() || crate::canary::is("EffectEarly") {
            // Nothing of the run"#,
        }],
    },
    Canary {
        name: "WakeUpLost",
        what: "a run leaves memory although its deadline is earlier than those that the next query looks for",
        edits: &[Edit {
            file: "core/src/processor/live.rs",
            find: "!state.is_busy() && !near",
            erring: r#"!state.is_busy() && (!near || crate::canary::is("WakeUpLost"))"#,
        }],
    },
    Canary {
        name: "MarkMovedLate",
        what: "a parked run is kept in memory up to the watermark of the last answer, not of the query in flight",
        edits: &[
            Edit {
                file: "core/src/processor.rs",
                find: "self.runs.keep_until(due_until);",
                erring: r#"if !crate::canary::is("MarkMovedLate") {
                    self.runs.keep_until(due_until);
                }"#,
            },
            Edit {
                file: "core/src/processor.rs",
                find: "self.inbox.has_mail(answer.mail);",
                erring: r#"self.inbox.has_mail(answer.mail);
                if crate::canary::is("MarkMovedLate") {
                    self.runs.keep_until(asked.due_until);
                }"#,
            },
        ],
    },
    Canary {
        name: "TimerRestarted",
        what: "a timer restarts when its run is replayed",
        edits: &[Edit {
            file: "core/src/run/replay.rs",
            find: "let role = past.event.role();",
            erring: r#"let mut past = past;
            if crate::canary::is("TimerRestarted")
                && let Event::TimerStarted { fire_at, .. } = &mut past.event
            {
                *fire_at = fire_at.saturating_add(self.now.saturating_since(past.at));
            }
            let role = past.event.role();"#,
        }],
    },
    Canary {
        name: "EarlierValueNamed",
        what: "an append of several groups names the first value of a view",
        edits: &[Edit {
            file: "core/src/processor/appends.rs",
            find: "published.map(|view| (&view.view, view)).collect();",
            erring: r#"if crate::canary::is("EarlierValueNamed") {
        published.rev().map(|view| (&view.view, view)).collect()
    } else {
        published.map(|view| (&view.view, view)).collect()
    };"#,
        }],
    },
    Canary {
        name: "EarlierValueReleased",
        what: "a release of several resolutions publishes what its first poll published",
        edits: &[Edit {
            file: "core/src/run.rs",
            find: "(Some(earlier), Some(later)) => earlier.append(*later),",
            erring: r#"(Some(_), Some(_)) if crate::canary::is("EarlierValueReleased") => {}
            (Some(earlier), Some(later)) => earlier.append(*later),"#,
        }],
    },
    Canary {
        name: "ViewsPerPoll",
        what: "a release publishes the views of each of its polls",
        edits: &[Edit {
            file: "core/src/run.rs",
            find: "progress.publish(output.published);",
            erring: r#"progress.publish(output.published);
        if crate::canary::is("ViewsPerPoll") {
            self.log_published(at, progress);
        }"#,
        }],
    },
    Canary {
        name: "EarlierAttributeStored",
        what: "an append of several groups stores the first value of an attribute",
        edits: &[Edit {
            file: "core/src/processor/appends.rs",
            find: "changes.map(|change| (&change.attribute, change)).collect();",
            erring: r#"if crate::canary::is("EarlierAttributeStored") {
        changes.rev().map(|change| (&change.attribute, change)).collect()
    } else {
        changes.map(|change| (&change.attribute, change)).collect()
    };"#,
        }],
    },
    Canary {
        name: "AttributesLeftBehind",
        what: "a run that continues another begins without its attributes",
        edits: &[Edit {
            file: "core/src/run/succession.rs",
            find: "attributes: state.attributes.clone(),",
            erring: r#"attributes: if crate::canary::is("AttributesLeftBehind") {
                Default::default()
            } else {
                state.attributes.clone()
            },"#,
        }],
    },
    Canary {
        name: "LossUncounted",
        what: "an attempt that died with its process is not counted",
        edits: &[Edit {
            file: "core/src/processor/recover.rs",
            find: "activity.attempt_logged && (died_alone",
            erring: r#"!crate::canary::is("LossUncounted") && activity.attempt_logged && (died_alone"#,
        }],
    },
    Canary {
        name: "EndIgnored",
        what: "a message may follow the end of a run that is still in memory",
        edits: &[Edit {
            file: "core/src/processor/record.rs",
            find: "if live.is_over() {
            return self.too_late(id, received);",
            erring: r#"if live.is_over() && !crate::canary::is("EndIgnored") {
            return self.too_late(id, received);"#,
        }],
    },
    Canary {
        name: "CompensatedTwice",
        what: "a compensation is registered twice",
        edits: &[Edit {
            file: "core/src/run/state/apply.rs",
            find: "self.compensations.insert(id, compensation);",
            erring: r#"if crate::canary::is("CompensatedTwice") {
                self.payload_bytes += compensation.input.bytes().len();
                self.compensations.insert(CommandId::new(id.get() + 1_000_000), compensation.clone());
            }
            self.compensations.insert(id, compensation);"#,
        }],
    },
    Canary {
        name: "CauseLost",
        what: "the terminal event of a run that compensated does not say why it failed",
        edits: &[Edit {
            file: "core/src/run.rs",
            find: "(None, None, Some(outcome)) => self.close(at, Outcome::clone(outcome), progress),",
            erring: r#"(None, None, Some(_)) if crate::canary::is("CauseLost") => {
                let failure = crate::data::failure::Failure::new("failed", "the run failed");
                self.close(at, Outcome::Failed(failure), progress);
            }
            (None, None, Some(outcome)) => self.close(at, Outcome::clone(outcome), progress),"#,
        }],
    },
    Canary {
        name: "WaitingDropped",
        what: "the resolutions that wait for a stalled run are dropped when it resumes",
        edits: &[Edit {
            file: "core/src/run.rs",
            find: "let mut left = self.state.waiting.len();",
            erring: r#"let mut left = self.state.waiting.len();
            if crate::canary::is("WaitingDropped") {
                left = 0;
            }"#,
        }],
    },
    Canary {
        name: "WaitingRetimed",
        what: "the resolutions that wait for a stalled run get the time of their release",
        edits: &[Edit {
            file: "core/src/run.rs",
            find: "let decisions = match self.poll(seq, at, &resolution, left - 1) {",
            erring: r#"let at = if crate::canary::is("WaitingRetimed") { now } else { at };
            let decisions = match self.poll(seq, at, &resolution, left - 1) {"#,
        }],
    },
    Canary {
        name: "EvictionCancels",
        what: "a run that leaves memory cancels the timers of its code",
        edits: &[Edit {
            file: "core/src/processor/record.rs",
            find: "        self.runs.forget(id);
        if let Some(change) = self.suspects.clear(id, false) {",
            erring: r#"            if crate::canary::is("EvictionCancels")
                && let Some(live) = self.runs.get_mut(id)
                && !live.state().timers.is_empty()
            {
                let timers: Vec<_> = live.state().timers.iter().map(|(id, _)| id).collect();
                let now = live.state().now;
                let progress = live.run().note(now, crate::log::event::Event::TimerCancelled { id: timers[0] });
                return self.record(id, progress, &[], now);
            }
            self.runs.forget(id);
            if let Some(change) = self.suspects.clear(id, false) {"#,
        }],
    },
    Canary {
        name: "PolledPerBatch",
        what: "messages of one run that are read together are polled together",
        edits: &[
            Edit {
                file: "core/src/processor/inbox.rs",
                find: "    page: VecDeque<(InboxMessage, Held)>,",
                erring: "    pub(super) page: VecDeque<(InboxMessage, Held)>,",
            },
            Edit {
                file: "core/src/processor.rs",
                find: "let Some(message) = self.inbox.take() else { return false };",
                erring: r#"let Some(message) = self.inbox.take() else { return false };
                let more = self.inbox.page.front().is_some_and(|(next, _)| next.run == message.0.run);
                crate::workflow::async_program::POLLS_HELD.set(more && crate::canary::is("PolledPerBatch"));"#,
            },
            Edit {
                file: "core/src/workflow/async_program.rs",
                find: "impl Program for AsyncProgram {",
                erring: "thread_local! {
                    pub(crate) static POLLS_HELD: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
                }
                impl Program for AsyncProgram {",
            },
            Edit {
                file: "core/src/workflow/async_program.rs",
                find: "        loop {
            while self.root.take() {",
                erring: "        if POLLS_HELD.get() {
                    return Ok(None);
                }
                loop {
                    while self.root.take() {",
            },
            Edit {
                file: "core/src/workflow/async_program.rs",
                find: "if self.root.take() || self.handlers.take_woken() {",
                erring: r#"if !crate::canary::is("PolledPerBatch") && (self.root.take() || self.handlers.take_woken()) {"#,
            },
            Edit {
                file: "core/src/workflow/async_program.rs",
                find: "if how.is_none() {",
                erring: "if how.is_none() && !POLLS_HELD.get() {",
            },
        ],
    },
    Canary {
        name: "EarlyMessageLost",
        what: "a message that was read while the start of its run was held back is not read again after it",
        edits: &[Edit {
            file: "core/src/processor.rs",
            find: "self.inbox.forget(run, &too_early);",
            erring: r#"if !crate::canary::is("EarlyMessageLost") {
            self.inbox.forget(run, &too_early);
        }"#,
        }],
    },
    Canary {
        name: "HeldBackLost",
        what: "a start that was held back is forgotten when there is room for it",
        edits: &[Edit {
            file: "core/src/processor.rs",
            find: "self.intake().begin_held_back(run, waiting, now);",
            erring: r#"if !crate::canary::is("HeldBackLost") {
                self.intake().begin_held_back(run, waiting, now);
            }"#,
        }],
    },
    Canary {
        name: "RepeatedStartDoubled",
        what: "a start that is submitted because its outcome is unknown begins a run that is already in the log",
        edits: &[Edit {
            file: "core/src/processor/intake.rs",
            find: " && !repeated =>",
            erring: r#" && (!repeated || crate::canary::is("RepeatedStartDoubled")) =>"#,
        }],
    },
    Canary {
        name: "Revived",
        what: "a run that is in memory is loaded again, and goes back to an older state",
        edits: &[Edit {
            file: "core/src/processor/admission.rs",
            find: "if self.runs.contains(run) || self.runs.is_left_alone(run)",
            erring: r#"if self.runs.contains(run) && !crate::canary::is("Revived") || self.runs.is_left_alone(run)"#,
        }],
    },
    Canary {
        name: "TurnUnbounded",
        what: "a turn has no end: heartbeats and appends wait until nothing is left to do",
        edits: &[Edit {
            file: "core/src/worker/driver.rs",
            find: "let over = || host.monotonic() >= until;",
            erring: r#"let over = || host.monotonic() >= until && !crate::canary::is("TurnUnbounded");"#,
        }],
    },
    Canary {
        name: "FramesOverlap",
        what: "the second frame of an append begins after the first event of the one before it, not after the last",
        edits: &[
            Edit {
                file: "core/src/log/wire/frame.rs",
                find: "seq = frame.next_seq();",
                erring: r#"seq = if crate::canary::is("FramesOverlap") { seq.next() } else { frame.next_seq() };"#,
            },
            CONTENTS_UNCHECKED,
        ],
    },
    Canary {
        name: "CountLies",
        what: "a frame says how many events its first group has, and holds those of all groups",
        edits: &[
            Edit {
                file: "core/src/log/wire/frame.rs",
                find: "let mut events = parts.flat_map(EncodedEvents::iter);",
                erring: "let mut events = parts.clone().flat_map(EncodedEvents::iter);",
            },
            FRAME_WRITTEN,
            CONTENTS_UNCHECKED,
        ],
    },
    Canary {
        name: "PositionPerFrame",
        what: "a frame takes one position, however many events it has",
        edits: &[FRAME_WRITTEN, CONTENTS_UNCHECKED],
    },
    Canary {
        name: "GroupSplit",
        what: "the events of a group are split over two appends, and a crash may come between them",
        edits: &[
            Edit {
                file: "core/src/processor/appends.rs",
                find: "Cut::Any(count) => outbox.take(count, |_| true),",
                erring: r#"Cut::Any(count) => {
                    let mut groups = outbox.take(count, |_| true);
                    if crate::canary::is("GroupSplit") {
                        outbox.put_back(groups.last_mut().and_then(|last| last.split()).into_iter().collect());
                    }
                    groups
                }"#,
            },
            Edit {
                file: "core/src/processor/group.rs",
                find: "    pub(super) fn writes_nothing(&self) -> bool {",
                erring: "    /// The second half of its events, with all that must not precede them.
                pub(super) fn split(&mut self) -> Option<Box<Self>> {
                    let mut rest = Self::new(self.run);
                    rest.events = self.events.split()?;
                    std::mem::swap(&mut self.effects, &mut rest.effects);
                    std::mem::swap(&mut self.counted, &mut rest.counted);
                    std::mem::swap(&mut self.suspect, &mut rest.suspect);
                    if let Some(RowChange::Closed(_)) = &self.row {
                        std::mem::swap(&mut self.row, &mut rest.row);
                    }
                    Some(rest)
                }

                pub(super) fn writes_nothing(&self) -> bool {",
            },
            Edit {
                file: "core/src/log/wire/frame.rs",
                find: "    pub(crate) fn len(&self) -> usize {",
                erring: "    /// The second half, unless there is no half, or it begins the run.
                pub(crate) fn split(&mut self) -> Option<Self> {
                    let kept = self.heads.len() / 2;
                    if kept == 0 || self.first == EventSeq::FIRST {
                        return None;
                    }
                    let bytes = self.heads[kept - 1].end;
                    let mut rest = Self {
                        first: EventSeq::new(self.first.get() + kept as u32),
                        heads: self.heads.split_off(kept),
                        bodies: self.bodies.split_off(bytes),
                    };
                    rest.heads.iter_mut().for_each(|head| head.end -= bytes);
                    Some(rest)
                }

                pub(crate) fn len(&self) -> usize {",
            },
        ],
    },
    Canary {
        name: "FrameSkipped",
        what: "the next part of a history is requested from the event after the last one that arrived",
        edits: &[Edit {
            file: "core/src/processor/loads.rs",
            find: "self.cut = Some((run, last.seq));",
            erring: r#"let skips = crate::canary::is("FrameSkipped");
                self.cut = Some((run, if skips { last.next_seq() } else { last.seq }));"#,
        }],
    },
    Canary {
        name: "RetryForgotten",
        what: "a request to begin the next attempts at once is consumed, and changes nothing",
        edits: &[Edit {
            file: "core/src/run/activities.rs",
            find: "Some(last) if last.at > at =>",
            erring: r#"Some(last) if last.at > at && !crate::canary::is("RetryForgotten") =>"#,
        }],
    },
    Canary {
        name: "RetryWaitsOn",
        what: "a request to begin the next attempts at once is logged, and they wait on",
        edits: &[Edit {
            file: "core/src/run/state/apply.rs",
            find: "self.retry_at_once();",
            erring: r#"if !crate::canary::is("RetryWaitsOn") {
                    self.retry_at_once();
                }"#,
        }],
    },
];

const FRAME_WRITTEN: Edit = Edit {
    file: "core/src/log/wire/frame.rs",
    find: "let position = Position::new(next.get() + count as u64 - 1);",
    erring: r#"let count = match parts.clone().find(|part| !part.is_empty()) {
            Some(first) if crate::canary::is("CountLies") => first.len().min(count),
            _ => count,
        };
        let per_frame = crate::canary::is("PositionPerFrame");
        let position = if per_frame { *next } else { Position::new(next.get() + count as u64 - 1) };"#,
};
