//! The account of an append: what its frames, rows and messages add to what is known. It must not know who sends it.

use std::collections::{BTreeMap, BTreeSet};

use ciborium::Value;
use pgworkflows_core::Timestamp;
use pgworkflows_core::history::{Event, HistoryEvent, MessageKind};
use pgworkflows_core::id::{LeaseId, MessageId, RunId};
use pgworkflows_core::store::{Append, Frame, MessageRef, Released, SentMessage, Submission, SuspectStage};
use pgworkflows_testkit::runtime::time::Owner;

use super::updates::is_over;
use super::{Accounts, EventAccount, RunAccount, SENT_MARK, SentAccount};

/// How many events a frame may have.
const FRAME_EVENTS_MAX: u32 = 1_000;

/// How many bytes the body of a frame may have, unless it has one event.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// How many items an event takes in the body of a frame.
const EVENT_ITEMS: usize = 3;

/// The events of each frame of an append. How many a frame says it has is compared with its body.
pub(super) fn events_of(append: &Append, violations: &mut Vec<String>) -> Vec<Vec<HistoryEvent>> {
    let read = |frame: &Frame| {
        let Frame { run, seq, count, body, .. } = frame;
        // Counted without the engine's decoder, which could share a mistake with its encoder.
        let items = ciborium::from_reader::<Vec<Value>, _>(&body[..]).map_or(0, |items| items.len());
        if items != *count as usize * EVENT_ITEMS {
            violations.push(format!(
                "run {run}: the frame at event {seq} says that it has {count} events, and its body has {items} items"
            ));
        }
        frame.events().unwrap_or_else(|error| {
            violations.push(format!("run {run}: the frame at event {seq} cannot be read: {error}"));
            Vec::new()
        })
    };
    append.frames.iter().map(read).collect()
}

/// The frames of each run are together, no more than its events need, and within the limits.
fn check_frames(append: &Append, violations: &mut Vec<String>) {
    let mut runs = BTreeSet::new();
    for frames in append.frames.chunk_by(|one, next| one.run == next.run) {
        let run = frames[0].run;
        if !runs.insert(run) {
            violations.push(format!("run {run}: its frames are not together in their append"));
        }
        for Frame { seq, count, body, .. } in frames {
            if !(1..=FRAME_EVENTS_MAX).contains(count) || *count > 1 && body.len() > FRAME_BYTES_MAX {
                let bytes = body.len();
                violations
                    .push(format!("run {run}: the frame at event {seq} has {count} events, {bytes} bytes"));
            }
        }
        // The payloads of a world are small, so only the number of events fills a frame.
        if frames[..frames.len() - 1].iter().any(|frame| frame.count < FRAME_EVENTS_MAX) {
            violations.push(format!("run {run}: its events are in more frames than they need"));
        }
    }
}

/// An append names each view that its events publish once, with the last of these events.
fn check_views(append: &Append, events: &[Vec<HistoryEvent>], violations: &mut Vec<String>) {
    let frames = append.frames.iter().zip(events);
    let published = frames.flat_map(|(frame, events)| events.iter().map(|event| (frame.run, event)));
    let last: BTreeMap<_, _> = published
        .filter_map(|(run, event)| match &event.event {
            Event::ViewPublished { view, .. } => Some(((run, view), event.seq)),
            _ => None,
        })
        .collect();
    let named = append.views.iter().map(|view| ((view.run, &view.view), view.seq));
    if !last.into_iter().eq(named) {
        violations.push(format!("append {} does not name the last values of its views", append.number));
    }
}

impl Accounts {
    /// Invariants 2 to 5, as far as names and numbers show them.
    pub(super) fn appended(
        &mut self,
        append: &Append,
        events: &[Vec<HistoryEvent>],
        (moment, writer, now): (u64, Owner, Timestamp),
        violations: &mut Vec<String>,
    ) {
        let Append { lease, number, .. } = append;
        match self.leases.get_mut(lease) {
            None => {
                violations.push(format!("append {number} was written under lease {lease}, which is over"))
            }
            Some(account) => {
                let last = std::mem::replace(&mut account.last_append, number.get());
                if number.get() != last + 1 {
                    violations.push(format!("append {number} of lease {lease} followed append {last}"));
                }
            }
        }
        for opened in &append.opened {
            let account = self.runs.entry(opened.run).or_default();
            account.workflow = Some(opened.workflow.to_string());
            if std::mem::replace(&mut account.opened, true) || !account.events.is_empty() {
                violations.push(format!("run {} was opened twice", opened.run));
            }
        }
        check_frames(append, violations);
        for (frame, events) in append.frames.iter().zip(events) {
            self.follows(frame, events.len() as u64, *lease, violations);
            for event in events {
                self.logs(frame.run, event, (moment, writer, now), violations);
            }
        }
        let said = events.iter().flatten().filter(|event| matches!(event.event, Event::SignalSent { .. }));
        let (said, sent) = (said.count(), append.sent.iter().filter(|sent| is_signal(sent)).count());
        if said != sent {
            violations.push(format!("append {number} says that {said} signals were sent, and sends {sent}"));
        }
        let children = events.iter().flatten().filter(|event| starts_a_child(&event.event)).count();
        let starts =
            append.sent.iter().filter(|sent| sent.opens.is_some() && !is_marked(sent.message)).count();
        if children != starts {
            violations
                .push(format!("append {number} says that {children} children begin, and starts {starts}"));
        }
        let resumed = self.resumed(append);
        for suspect in &append.suspects {
            let account = self.runs.entry(suspect.run).or_default();
            account.is_suspect = true;
            account.is_set_aside = suspect.stage == SuspectStage::SetAside;
            account.strikes = suspect.strikes;
        }
        for run in &append.cleared {
            let account = self.runs.entry(*run).or_default();
            (account.is_suspect, account.is_set_aside, account.strikes) = (false, false, 0);
        }
        resumed.into_iter().for_each(|run| self.begins_anew(run, violations));
        for closed in &append.closed {
            if !self.runs.get(&closed.run).is_some_and(|run| run.is_over) {
                violations.push(format!("run {} was closed without a terminal event", closed.run));
            }
        }
        check_views(append, events, violations);
        self.tasks.appended(append, events, violations);
        self.retries.appended(append, events, &self.inbox, now, violations);
        self.updates.appended(append, events, |run| is_over(&self.runs, run), violations);
        self.sends(append, violations);
        self.took(append, violations);
        self.releases(append, violations);
    }

    /// The runs that were set aside until this append, and are resumed by it.
    fn resumed(&self, append: &Append) -> Vec<RunId> {
        let requests = append.consumed.iter().filter(|message| self.resumes.contains(message));
        let runs = requests.filter_map(|message| self.inbox.get(message)).map(|(run, _)| *run);
        runs.filter(|run| self.runs.get(run).is_some_and(|account| account.is_set_aside)).collect()
    }

    /// A run that is resumed is not set aside any more, and has no strikes.
    fn begins_anew(&self, run: RunId, violations: &mut Vec<String>) {
        if let Some(RunAccount { is_set_aside: true, .. } | RunAccount { strikes: 1.., .. }) =
            self.runs.get(&run)
        {
            violations.push(format!("run {run} was resumed, and keeps its strikes"));
        }
    }

    /// The shards that an append releases are its lease's until then, and it is the last to write to them.
    fn releases(&mut self, append: &Append, violations: &mut Vec<String>) {
        let lease = append.lease;
        for Released { shard, next_position } in &append.released {
            let account = self.shards.entry(*shard).or_default();
            account.released_by = Some(lease);
            if account.owner.take() != Some(lease) {
                violations.push(format!("lease {lease} released shard {shard}, which it does not own"));
            }
            if next_position.get() != account.last_position + 1 {
                violations.push(format!(
                    "shard {shard} was released at position {next_position}, and its last one is {}",
                    account.last_position
                ));
            }
        }
    }

    /// A frame of so many events continues its run and its shard, without a gap or an overlap.
    fn follows(&mut self, frame: &Frame, count: u64, lease: LeaseId, violations: &mut Vec<String>) {
        let Frame { run, seq, position, .. } = frame;
        let shard = run.shard();
        let account = self.shards.entry(shard).or_default();
        if account.owner != Some(lease) {
            violations.push(format!("lease {lease} wrote to shard {shard}, which it does not own"));
        }
        account.last_position += count;
        if position.get() != account.last_position {
            violations.push(format!(
                "shard {shard}: a frame ends at position {position}, and should end at {}",
                account.last_position
            ));
        }
        let next = self.runs.entry(*run).or_default().events.len() + 1;
        if seq.get() as usize != next {
            violations.push(format!("run {run}: a frame begins at event {seq}, and should begin at {next}"));
        }
    }

    fn logs(
        &mut self,
        run: RunId,
        HistoryEvent { at, event, .. }: &HistoryEvent,
        (moment, writer, now): (u64, Owner, Timestamp),
        violations: &mut Vec<String>,
    ) {
        let (name, at) = (event.name(), Timestamp::from(*at));
        if at > now {
            violations.push(format!("run {run}: {name} has time {at}, and now is {now}"));
        }
        let account = self.runs.entry(run).or_default();
        if account.is_over {
            violations.push(format!("run {run}: {name} after its end"));
        }
        account.events.push(EventAccount { name, moment, writer });
        if let Event::RunStarted { chain: Some(link), .. } = event {
            account.first = Some(link.first);
        }
        account.is_over |= event.is_terminal();
        account.is_paused = match event {
            Event::RunPaused { .. } => true,
            Event::RunUnpaused { .. } => false,
            _ => account.is_paused,
        };
        account.is_stalled = match event {
            Event::RunStalled { .. } => true,
            Event::RunResumed { .. } => false,
            _ => account.is_stalled,
        };
    }

    fn sends(&mut self, append: &Append, violations: &mut Vec<String>) {
        for sent @ SentMessage { message, run, key, otherwise, opens, .. } in &append.sent {
            let is_readdressed = key.is_some() || otherwise.is_some();
            let is_between_relatives = !is_marked(*message) && !is_signal(sent);
            let account = SentAccount {
                run: *run,
                opens: opens.is_some(),
                is_between_relatives,
                is_readdressed,
                arrived: false,
            };
            if self.sent.insert(*message, account).is_some() {
                violations.push(format!("a message for run {run} was sent by two appends"));
            }
        }
    }

    /// Invariant 1, as far as the inbox shows it.
    fn took(&mut self, append: &Append, violations: &mut Vec<String>) {
        for message in append.consumed.iter().chain(&append.undelivered) {
            if !self.inbox.contains_key(message) {
                violations.push(format!("message {} was taken from the inbox twice", message.number));
            }
        }
        for message in &append.consumed {
            self.inbox.remove(message);
        }
        for message in &append.undelivered {
            self.undelivered.extend(self.inbox.remove(message).map(|(_, message)| message));
        }
    }
}

/// Whether the engine sends a signal with this message.
fn is_signal(sent: &SentMessage) -> bool {
    let SentMessage { message, run, body, .. } = sent;
    let message = Submission { message: *message, run: *run, body: body.clone(), opens: None };
    !is_marked(sent.message) && matches!(message.kind(), Ok(MessageKind::Signal(_)))
}

/// Whether a child begins with the append of this event.
fn starts_a_child(event: &Event) -> bool {
    matches!(event, Event::ChildStarted { key: None, .. })
}

/// Whether a message was made by the simulator, and not by the engine.
fn is_marked(message: MessageId) -> bool {
    message.as_u128() as u64 == SENT_MARK
}

pub(super) fn append_words(append: &Append) -> String {
    fn all<T>(items: &[T], words: impl Fn(&T) -> String) -> String {
        items.iter().map(words).collect::<Vec<_>>().join(", ")
    }
    let short = |run: &RunId| run.to_string()[28..].to_owned();
    let number = |message: &MessageRef| message.number.to_string();
    format!(
        "{} under {}: {}; took {}; late {}; sent to {}; marked {}; cleared {}; released {}",
        append.number,
        append.lease,
        all(&append.frames, |frame| {
            let events = frame.events().unwrap_or_default();
            let names: Vec<_> = events.iter().map(|event| event.event.name()).collect();
            format!("{}/{} {}", short(&frame.run), frame.seq, names.join(" "))
        }),
        all(&append.consumed, number),
        all(&append.undelivered, number),
        all(&append.sent, |sent| short(&sent.run)),
        all(&append.suspects, |mark| format!("{} {:?} {}", short(&mark.run), mark.stage, mark.strikes)),
        all(&append.cleared, short),
        all(&append.released, |released| format!("{} at {}", released.shard, released.next_position))
    )
}
