//! The append protocol: a batch is applied once, under a valid lease and to shards which that lease owns, or not at
//! all. It must not know what an event says.

use std::collections::BTreeSet;
use std::collections::hash_map::Entry;

use pgworkflows_core::Timestamp;
use pgworkflows_core::id::{AppendNo, EventSeq, IdMap, Name, Position, RunId, ShardId};
use pgworkflows_core::store::{
    Append, Appended, AttributeChange, ClosedRun, Frame, Hint, MessageRef, NewRun, NewTask, OpenState,
    OpenedRun, OwnedShard, PublishedView, Released, Reply, RunKey, RunLink, SentMessage, StoreError,
    Submission, Undelivered,
};

use super::lease::fenced;
use super::{Closed, Indexed, Row, Run, State};
use crate::fact::Fact;

/// How many append numbers of a lease are remembered. A caller repeats only its last append, so two are enough: that
/// one and the one before it.
const APPENDS_REMEMBERED: usize = 2;

/// How many frames most runs have.
const FRAMES_USUAL: usize = 2;

impl State {
    /// Appends a batch, unless it was applied before.
    pub(crate) fn append(&mut self, now: Timestamp, append: &Append) -> Result<Appended, StoreError> {
        if self.check(append)? {
            // From here on the append cannot be refused.
            if let Some(lease) = self.leases.get_mut(&append.lease) {
                lease.appends.insert(append.number, append.digest);
                while lease.appends.len() > APPENDS_REMEMBERED {
                    lease.appends.pop_first();
                }
            }
            self.write(now, append);
            self.facts.push(|| Fact::Appended(append.clone()));
            self.send(&append.sent);
            self.insert_tasks(now, &append.tasks);
        }
        Ok(Appended { now })
    }

    /// Whether a batch has to be written; if not, it was applied before.
    fn check(&self, append: &Append) -> Result<bool, StoreError> {
        if self.was_applied(append)? {
            return Ok(false);
        }
        self.check_ownership(append)?;
        self.check_rows(append)?;
        self.check_seqs(append)?;
        self.check_positions(append)?;
        self.check_messages(append)?;
        check_suspects(append)?;
        self.check_tasks(append)?;
        self.check_released(append)?;
        check_links(append)?;
        Ok(true)
    }

    /// Whether this append was applied before; an error if it is neither that nor the next one.
    fn was_applied(&self, append: &Append) -> Result<bool, StoreError> {
        let Append { lease: id, number, .. } = append;
        let lease = match self.leases.get(id) {
            Some(lease) => lease,
            None => return Err(fenced(*id)),
        };
        match lease.appends.get(number) {
            Some(digest) if *digest == append.digest => return Ok(true),
            Some(_) => {
                return Err(StoreError::fenced(format!(
                    "another batch was applied as append {number} of lease {id}"
                )));
            }
            None => {}
        }
        let before = number.get().checked_sub(1).map(AppendNo::new);
        if before.is_none_or(|before| !lease.appends.contains_key(&before)) {
            return Err(StoreError::fenced(format!(
                "append {number} of lease {id} does not follow the last one that is here: commits were lost"
            )));
        }
        Ok(false)
    }

    /// Every shard that is written to is named, and belongs to the lease by the claim that is named.
    fn check_ownership(&self, append: &Append) -> Result<(), StoreError> {
        if !append.shards.iter().map(|owned| owned.shard).eq(append.shards_written()) {
            return Err(StoreError::conflict("an append that was not sealed does not name its shards"));
        }
        for OwnedShard { shard, claim } in &append.shards {
            let row = self.shard(*shard);
            if row.is_none_or(|row| row.owner != Some(append.lease) || row.claim != *claim) {
                return Err(StoreError::fenced(format!(
                    "shard {shard} does not belong to lease {} by claim {claim}",
                    append.lease
                )));
            }
        }
        Ok(())
    }

    /// A run is opened once, changed while it is open, and closed once.
    fn check_rows(&self, append: &Append) -> Result<(), StoreError> {
        let mut opened = IdMap::with_capacity(append.opened.len());
        for run in append.opened.iter().map(|opened| opened.run) {
            // A pending row belongs to the same start, which was submitted because the append's outcome was unknown.
            let pending = |row: &Row| matches!(row, Row::Open(row) if row.state == OpenState::Pending);
            if !self.runs.get(&run).is_none_or(|run| pending(&run.row)) || opened.insert(run, ()).is_some() {
                return Err(StoreError::conflict(format!("run {run} was opened before")));
            }
        }
        for run in append.updated.iter().map(|updated| updated.run) {
            if !opened.contains_key(&run) {
                self.check_open(run)?;
            }
        }
        let mut closed = IdMap::with_capacity(append.closed.len());
        for run in append.closed.iter().map(|closed| closed.run) {
            // An unknown run begins and ends within this append.
            if self.runs.contains_key(&run) {
                self.check_open(run)?;
            }
            if closed.insert(run, ()).is_some() {
                return Err(StoreError::conflict(format!("run {run} is closed twice")));
            }
        }
        Ok(())
    }

    fn check_open(&self, id: RunId) -> Result<(), StoreError> {
        match self.runs.get(&id).map(|run| &run.row) {
            Some(Row::Open(_)) => Ok(()),
            Some(Row::Closed(_)) => {
                Err(StoreError::conflict(format!("run {id} is over: nothing comes after its end")))
            }
            None => Err(StoreError::conflict(format!("there is no run {id}"))),
        }
    }

    /// The frames of each run continue where its log ends, and every frame belongs to an open run.
    fn check_seqs(&self, append: &Append) -> Result<(), StoreError> {
        let mut beginning = IdMap::with_capacity(append.opened.len());
        self.beginning(append).for_each(|run| _ = beginning.insert(run, ()));
        let mut next_seqs: IdMap<RunId, EventSeq> = IdMap::with_capacity(append.frames.len());
        for frame @ Frame { run, seq, count, .. } in &append.frames {
            let next = match next_seqs.entry(*run) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    if !beginning.contains_key(run) {
                        self.check_open(*run)?;
                    }
                    entry.insert(self.next_seq(*run))
                }
            };
            if *count == 0 {
                return Err(StoreError::conflict(format!("the frame of run {run} at event {seq} is empty")));
            }
            if seq != next {
                return Err(StoreError::conflict(format!(
                    "the next event of run {run} is {next}, not {seq}"
                )));
            }
            *next = frame.next_seq();
        }
        // A run's first event and its first row are written together.
        match self.beginning(append).find(|run| !next_seqs.contains_key(run)) {
            Some(run) => Err(StoreError::conflict(format!("run {run} begins without an event"))),
            None => Ok(()),
        }
    }

    /// The runs whose rows this append writes and that have no event yet.
    fn beginning(&self, append: &Append) -> impl Iterator<Item = RunId> {
        let opened = append.opened.iter().map(|opened| opened.run);
        let named = opened.chain(append.closed.iter().map(|closed| closed.run));
        named.filter(|run| self.runs.get(run).is_none_or(|run| run.frames.is_empty()))
    }

    /// The positions of each shard continue where its log ends.
    fn check_positions(&self, append: &Append) -> Result<(), StoreError> {
        let mut next_positions: IdMap<ShardId, Position> = IdMap::default();
        for frame in &append.frames {
            let (shard, first) = (frame.run.shard(), frame.first_position());
            let next = next_positions
                .entry(shard)
                .or_insert_with(|| self.shard(shard).expect("ownership was checked").next_position);
            if first != *next {
                return Err(StoreError::conflict(format!(
                    "the next position of shard {shard} is {next}, not {first}"
                )));
            }
            *next = frame.position.next();
        }
        Ok(())
    }

    fn next_seq(&self, run: RunId) -> EventSeq {
        let last = self.runs.get(&run).and_then(|run| run.frames.last());
        last.map_or(EventSeq::FIRST, Frame::next_seq)
    }

    /// Every message that the append names is in the inbox, and is named once.
    fn check_messages(&self, append: &Append) -> Result<(), StoreError> {
        let mut named = BTreeSet::new();
        for message in append.consumed.iter().chain(&append.undelivered) {
            let MessageRef { shard, number, .. } = message;
            if !self.inbox.contains(*message) {
                return Err(StoreError::conflict(format!(
                    "message {number} of shard {shard} is not in the inbox"
                )));
            }
            if !named.insert(*message) {
                return Err(StoreError::conflict(format!(
                    "message {number} of shard {shard} is named twice"
                )));
            }
        }
        Ok(())
    }

    /// Every shard is released once, with the position that follows its last event.
    fn check_released(&self, append: &Append) -> Result<(), StoreError> {
        let mut named = BTreeSet::new();
        for Released { shard, next_position } in &append.released {
            let last = append.frames.iter().rfind(|frame| frame.run.shard() == *shard);
            let next = last
                .map_or(self.shards[usize::from(shard.get())].next_position, |frame| frame.position.next());
            if !named.insert(*shard) || next != *next_position {
                return Err(StoreError::conflict(format!(
                    "shard {shard} is released at position {next_position}, or twice, and its next position is {next}"
                )));
            }
        }
        Ok(())
    }

    /// Every task is new.
    fn check_tasks(&self, append: &Append) -> Result<(), StoreError> {
        let mut named = BTreeSet::new();
        match append.tasks.iter().find(|task| self.tasks.contains(task.id) || !named.insert(task.id)) {
            Some(NewTask { id, .. }) => {
                Err(StoreError::conflict(format!("task {} of run {} was inserted before", id.seq, id.run)))
            }
            None => Ok(()),
        }
    }

    fn write(&mut self, now: Timestamp, append: &Append) {
        for opened in &append.opened {
            if self.runs.contains_key(&opened.run) {
                self.set_row(opened.run, Row::Open(opened.row.clone()));
            } else {
                let row = Row::Open(opened.row.clone());
                let OpenedRun { run, workflow, key, parent, .. } = opened;
                self.insert_run(*run, workflow.clone(), key.clone(), *parent, row);
            }
        }
        for updated in &append.updated {
            self.set_row(updated.run, Row::Open(updated.row.clone()));
        }
        for closed in &append.closed {
            self.close_run(closed);
        }
        for RunLink { run, link } in &append.links {
            self.runs.get_mut(run).expect("the links were checked").link = Some(*link);
            self.chains.insert(link.first, *run);
        }
        for frame in &append.frames {
            self.shard_mut(frame.run.shard()).next_position = frame.position.next();
            self.runs.get_mut(&frame.run).expect("the frames' runs were checked").frames.push(frame.clone());
        }
        for PublishedView { run, view, seq } in &append.views {
            self.views.entry(*run).or_default().insert(view.clone(), *seq);
            self.hint(Hint::Published(run.shard()));
        }
        for AttributeChange { run, attribute, value } in &append.attributes {
            self.attributes.entry(*run).or_default().set(attribute.clone(), value.clone());
        }
        for Reply { run, message, body } in &append.replies {
            // The first reply to a message stays.
            self.replies.entry((*message, *run)).or_insert_with(|| body.clone());
            self.hint(Hint::Published(run.shard()));
        }
        for suspect in &append.suspects {
            if !self.is_over(suspect.run) {
                self.suspects.insert(suspect.run, *suspect);
            }
        }
        for run in &append.cleared {
            self.suspects.remove(run);
        }
        for message in &append.consumed {
            self.inbox.take(*message);
        }
        for message in &append.undelivered {
            let Some(row) = self.inbox.take(*message) else { continue };
            // A start that was repeated after its run had ended is not shown as undelivered.
            if row.opens {
                continue;
            }
            let run = self.current_of(row.run);
            self.undelivered.entry(run).or_default().push(Undelivered { body: row.body, at: now });
        }
        for need in &append.needs {
            self.shard_mut(need.shard).needs.insert(need.workflow.clone());
        }
        for released in &append.released {
            self.release_shard(append.lease, released.shard);
        }
    }

    /// Puts messages into the inbox, with the rows of the runs that they start.
    fn send(&mut self, sent: &[SentMessage]) {
        // Runs that the same append starts are found by their ids, and what the caller sends is put into the inbox in order.
        let started: BTreeSet<RunId> =
            sent.iter().filter(|sent| sent.opens.is_some()).map(|sent| sent.run).collect();
        for sent @ SentMessage { message, body, opens, .. } in sent {
            let run = self.receiver_of(sent, &started);
            let is_known = match opens {
                Some(_) => self.runs.contains_key(&run),
                None => self.inbox.holds(*message),
            };
            if is_known {
                continue;
            }
            let opens = opens
                .as_ref()
                .map(|child| NewRun { parent: Some(child.parent), ..NewRun::of(child.workflow.as_str()) });
            let submission = Submission { message: *message, run, body: body.clone(), opens };
            let number = self.inbox.next_number();
            self.deliver(vec![(number, submission)]);
        }
    }

    /// The run that receives a message, given those that are started in the same append.
    fn receiver_of(&self, sent: &SentMessage, started: &BTreeSet<RunId>) -> RunId {
        let SentMessage { run, key, otherwise, .. } = sent;
        if let Some(RunKey { workflow, key }) = key {
            return self.find(workflow, key).unwrap_or(*run);
        }
        let exists = self.runs.contains_key(run) || started.contains(run);
        otherwise.filter(|_| !exists).unwrap_or(*run)
    }

    fn close_run(&mut self, closed: &ClosedRun) {
        let ClosedRun { run: id, workflow, key, parent, status, closed_at, outcome } = closed;
        let row = Row::Closed(Closed { status: *status, closed_at: *closed_at, outcome: outcome.clone() });
        if self.runs.contains_key(id) {
            self.set_row(*id, row);
        } else {
            // The run began within this append too, so it never had an open row.
            self.insert_run(*id, workflow.clone(), key.clone(), *parent, row);
        }
        self.suspects.remove(id);
        self.hint(Hint::Notice(id.shard()));
    }

    /// Adds a run with its row and its index entries.
    pub(super) fn insert_run(
        &mut self,
        id: RunId,
        workflow: Name,
        key: Option<String>,
        parent: Option<RunId>,
        row: Row,
    ) {
        self.index(id, Indexed::default(), Indexed::of(&row));
        let run = Run { workflow, key, parent, link: None, row, frames: Vec::with_capacity(FRAMES_USUAL) };
        let before = self.runs.insert(id, Box::new(run));
        assert!(before.is_none(), "run {id} was checked not to exist");
    }
}

/// Each run that continues another begins in this append, and the other ends in it.
fn check_links(append: &Append) -> Result<(), StoreError> {
    if append.links.is_empty() {
        return Ok(());
    }
    let opened: BTreeSet<RunId> = append.opened.iter().map(|opened| opened.run).collect();
    let closed: BTreeSet<RunId> = append.closed.iter().map(|closed| closed.run).collect();
    let is_sound = |RunLink { run, link }: &&RunLink| {
        opened.contains(run) && closed.contains(&link.predecessor) && run.shard() == link.first.shard()
    };
    match append.links.iter().find(|link| !is_sound(link)) {
        Some(RunLink { run, link }) => Err(StoreError::conflict(format!(
            "run {run} continues run {}, but the one does not begin, or the other does not end",
            link.predecessor
        ))),
        None => Ok(()),
    }
}

/// No run is named as a suspect twice.
fn check_suspects(append: &Append) -> Result<(), StoreError> {
    let mut named = BTreeSet::new();
    match append.suspects.iter().find(|suspect| !named.insert(suspect.run)) {
        Some(suspect) => Err(StoreError::conflict(format!("run {} is a suspect twice", suspect.run))),
        None => Ok(()),
    }
}
