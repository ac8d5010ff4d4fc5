//! Bare appends: what a processor writes for one-activity runs, without a processor. It must not know which store
//! takes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pgworkflows::Timestamp;
use pgworkflows::id::{AppendNo, EventName, EventSeq, LeaseId, Position, RunId, ShardId};
use pgworkflows::store::{
    Append, Claim, ClosedRun, ClosedStatus, NewEvent, OpenRow, OpenState, OpenedRun, Session, Store,
};

use crate::Failure;

/// One session with its lease and its shards.
pub struct Lane {
    session: Box<dyn Session>,
    lease: LeaseId,
    number: AppendNo,
    positions: BTreeMap<ShardId, Position>,
    born: Timestamp,
    runs: u64,
}

impl Lane {
    /// Claims all shards of the queue `default`.
    ///
    /// # Errors
    /// If the store refuses.
    pub async fn open(store: &Arc<dyn Store>) -> Result<Self, Failure> {
        let queue = store.queue("default", 64).await?;
        let mut session = store.session().await?;
        let claim = Claim {
            queue: "default".to_owned(),
            lease: None,
            worker: "lane".to_owned(),
            ttl: Duration::from_secs(3_600),
            limit: 64,
        };
        let claimed = session.claim(&claim).await?;
        Ok(Self {
            session,
            lease: claimed.lease,
            number: AppendNo::FIRST,
            positions: claimed.shards.iter().map(|shard| (shard.shard, shard.next_position)).collect(),
            born: queue.now,
            runs: 0,
        })
    }

    /// Appends so many whole runs, in two appends: their starts with what they ask for, then their outcomes.
    ///
    /// # Errors
    /// If the store refuses.
    pub async fn append_runs(&mut self, count: usize) -> Result<(), Failure> {
        let shards: Vec<ShardId> = self.positions.keys().copied().collect();
        let mut run = || {
            self.runs += 1;
            RunId::new(self.born, shards[self.runs as usize % shards.len()], self.runs)
        };
        let runs: Vec<RunId> = (0..count).map(|_| run()).collect();
        let (mut starts, mut ends) = (self.append(), self.append());
        ends.number = starts.number.next();
        for run in &runs {
            self.event(&mut starts, *run, 1, "run.started", 64);
            self.event(&mut starts, *run, 2, "activity.scheduled", 48);
            let row = OpenRow { state: OpenState::Busy, wake_at: None, waiting_on: None };
            starts.opened.push(OpenedRun { run: *run, workflow: "activities".into(), row });
        }
        for run in &runs {
            self.event(&mut ends, *run, 3, "activity.completed", 48);
            self.event(&mut ends, *run, 4, "run.completed", 32);
            ends.closed.push(ClosedRun {
                run: *run,
                workflow: "activities".into(),
                key: None,
                status: ClosedStatus::Completed,
                closed_at: self.born,
                outcome: Bytes::from_static(&[1; 32]),
            });
        }
        for mut append in [starts, ends] {
            append.digest = append.content_digest();
            self.session.append(&append).await?;
            self.number = self.number.next();
        }
        Ok(())
    }

    fn append(&self) -> Append {
        Append {
            lease: self.lease,
            number: self.number,
            digest: [0; 32],
            events: Vec::new(),
            opened: Vec::new(),
            updated: Vec::new(),
            closed: Vec::new(),
            consumed: Vec::new(),
            undelivered: Vec::new(),
            suspects: Vec::new(),
            cleared: Vec::new(),
        }
    }

    fn event(&mut self, append: &mut Append, run: RunId, seq: u32, name: &'static str, bytes: usize) {
        let Some(position) = self.positions.get_mut(&run.shard()) else { return };
        append.events.push(NewEvent {
            run,
            seq: EventSeq::new(seq),
            position: *position,
            name: EventName::from_static(name),
            at: self.born,
            body: Bytes::from(vec![7; bytes]),
        });
        *position = position.next();
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("lease", &self.lease).field("runs", &self.runs).finish_non_exhaustive()
    }
}
