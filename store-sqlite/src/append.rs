//! The append protocol: a batch is applied once, under a valid lease and to shards which that lease owns, or not at all. It must
//! not know what an event says.
//!
//! What it reads before it writes cannot change in between, because transactions are serial. A refusal half-way is undone with
//! the call's savepoint.

use std::collections::BTreeMap;

use bytes::Bytes;
use pgworkflows_core::RunId;
use pgworkflows_core::id::{AppendNo, ClaimId, InboxNo, MessageId, Position, ShardId};
use pgworkflows_core::store::{
    Append, Appended, Frame, Hint, MessageRef, OpenRow, OwnedShard, Released, StoreError,
};

use crate::chain::current_run;
use crate::connection::{Listed, sql};
use crate::lease::fenced;
use crate::transaction::{Transaction, now};
use crate::values::{Arguments, get};
use crate::{attributes, sent, tasks, verify};

/// The lease with its shards between two of them, one a row: what an append is checked against. Usually there are no suspects at
/// all, and then no run that ends is looked up among them.
const HELD: &str = "
    select l.last_append, l.digest, l.digest_before, exists (select 1 from suspects), s.shard, s.claim, s.next_position
    from leases l left join shards s on s.lease = l.lease and s.shard between ? and ?
    where l.lease = ? and not l.fenced";

const TAKE_NUMBER: &str = "
    update leases set digest_before = digest, last_append = ?, digest = ? where lease = ?";

const MOVE_POSITIONS: Listed = Listed {
    text: "update shards set next_position = t.column2 from (values {}) as t where shard = t.column1",
    width: 2,
};

const FRAMES: Listed =
    Listed { text: "insert into frames (run_id, seq, count, position, at, body) values {}", width: 6 };

/// A pending row belongs to the same start, which was submitted because the append's outcome was unknown.
const OPEN: Listed = Listed {
    text: "insert into open_runs (run_id, shard, workflow, key, parent, state, wake_at, waiting_on, waits) values {}
           on conflict (run_id) do update
           set state = excluded.state, wake_at = excluded.wake_at, waiting_on = excluded.waiting_on, waits = excluded.waits
           where open_runs.state = 0",
    width: 9,
};

const UPDATE: Listed = Listed {
    text: "update open_runs
           set state = t.column2, wake_at = t.column3, waiting_on = t.column4, waits = t.column5
           from (values {}) as t where run_id = t.column1",
    width: 5,
};

/// A run that began within this append has no row here.
const END: Listed = Listed { text: "delete from open_runs where run_id in (values {})", width: 1 };

const CLOSE: Listed = Listed {
    text: "insert into closed_runs (run_id, workflow, key, parent, status, closed_at, outcome) values {}",
    width: 7,
};

const LINK: Listed =
    Listed { text: "insert into links (run_id, first_run, predecessor, number) values {}", width: 4 };

const CONTINUE: Listed = Listed {
    text: "insert into chains (first_run, current_run) values {}
           on conflict (first_run) do update set current_run = excluded.current_run",
    width: 2,
};

const TAKE_MESSAGES: Listed =
    Listed { text: "delete from inbox where number in (values {}) returning number, message_id", width: 1 };

const TAKE_LATE_MESSAGES: Listed = Listed {
    text: concat!(
        "delete from inbox where number in (values {}) returning number, message_id, ",
        current_run!("inbox.run_id"),
        ", opens, body"
    ),
    width: 1,
};

const UNDELIVERED: Listed =
    Listed { text: "insert into undelivered (run_id, number, at, body) values {}", width: 4 };

const SUSPECT: Listed = Listed {
    text: "insert into suspects (run_id, shard, stage, strikes)
           select t.column1, t.column2, t.column3, t.column4 from (values {}) as t
           where not exists (select 1 from closed_runs c where c.run_id = t.column1)
           on conflict (run_id) do update set stage = excluded.stage, strikes = excluded.strikes",
    width: 4,
};

const CLEAR: Listed = Listed { text: "delete from suspects where run_id in (values {})", width: 1 };

const NEED: Listed =
    Listed { text: "insert into shard_needs (shard, workflow) values {} on conflict do nothing", width: 2 };

const PUBLISH: Listed = Listed {
    text: "insert into published (run_id, name, seq) values {}
           on conflict (run_id, name) do update set seq = excluded.seq",
    width: 3,
};

/// The first reply to a message stays.
const REPLY: Listed = Listed {
    text: "insert into replies (message_id, run_id, body) values {} on conflict do nothing",
    width: 3,
};

const RELEASE: Listed = Listed {
    text: "update shards set lease = null, former = null, released_by = t.column2
           from (values {}) as t where shard = t.column1",
    width: 2,
};

/// Appends a batch, unless it was applied before.
pub(crate) async fn append(transaction: &mut Transaction, append: &Append) -> Result<Appended, StoreError> {
    let (held, owned) = read_held(transaction, append).await?;
    if was_applied(append, &held)? {
        return Ok(Appended { now: now() });
    }
    check_ownership(append, &owned)?;
    let positions = check_positions(append, &owned)?;
    check_suspects(append)?;
    if transaction.verify {
        verify::verify(transaction, append).await?;
    }
    let take = sql(TAKE_NUMBER).bind(append.number).bind(&append.digest[..]).bind(append.lease);
    transaction.write(take).await?;
    transaction
        .write_all(&MOVE_POSITIONS, &positions, |a, (shard, next)| _ = a.add(*shard).add(*next))
        .await?;
    write_frames(transaction, append).await?;
    write_runs(transaction, append).await?;
    take_messages(transaction, append).await?;
    write_marks(transaction, append, &held).await?;
    sent::send(transaction, &append.sent).await?;
    tasks::insert(transaction, &append.tasks).await?;
    let release = |a: &mut Arguments, released: &Released| _ = a.add(released.shard).add(append.lease);
    transaction.write_all(&RELEASE, &append.released, release).await?;
    transaction.hint_all((!append.released.is_empty()).then_some(Hint::Released));
    Ok(Appended { now: now() })
}

/// What the store knows of the lease that appends.
struct Held {
    last_append: AppendNo,
    digest: Option<Bytes>,
    digest_before: Option<Bytes>,
    /// Whether there are any, of whatever lease.
    suspects: bool,
}

/// The claim by which each shard of the lease is owned, and where its log ends; only those between the first and the last shard
/// of the append.
type Owned = BTreeMap<ShardId, (ClaimId, Position)>;

async fn read_held(transaction: &mut Transaction, append: &Append) -> Result<(Held, Owned), StoreError> {
    let shards = append.shards.iter().map(|owned| i64::from(owned.shard.get()));
    let (first, last) = (shards.clone().min().unwrap_or(0), shards.max().unwrap_or(-1));
    let rows = transaction.fetch(sql(HELD).bind(first).bind(last).bind(append.lease)).await?;
    let row = rows.first().ok_or_else(|| fenced(append.lease))?;
    let (digest, digest_before) = (get(row, 1)?, get(row, 2)?);
    let held = Held { last_append: get(row, 0)?, digest, digest_before, suspects: get(row, 3)? };
    let mut owned = Owned::new();
    for row in &rows {
        if let Some(shard) = get(row, 4)? {
            owned.insert(shard, (get(row, 5)?, get(row, 6)?));
        }
    }
    Ok((held, owned))
}

/// Whether this append was applied before; an error if it is neither that nor the next one.
fn was_applied(append: &Append, held: &Held) -> Result<bool, StoreError> {
    let Append { lease, number, .. } = append;
    let last = held.last_append;
    let digest = match last.get().checked_sub(number.get()) {
        Some(0) => held.digest.as_ref(),
        Some(1) => held.digest_before.as_ref(),
        None if *number == last.next() => return Ok(false),
        Some(_) | None => None,
    };
    match digest {
        Some(digest) if *digest == append.digest[..] => Ok(true),
        Some(_) => {
            Err(StoreError::fenced(format!("another batch was applied as append {number} of lease {lease}")))
        }
        None => Err(StoreError::fenced(format!(
            "append {number} of lease {lease} does not follow the last one that is here: commits were lost"
        ))),
    }
}

/// Every shard that is written to belongs to the lease by the claim that is named.
fn check_ownership(append: &Append, owned: &Owned) -> Result<(), StoreError> {
    for OwnedShard { shard, claim } in &append.shards {
        if owned.get(shard).is_none_or(|(owner, _)| owner != claim) {
            return Err(StoreError::fenced(format!(
                "shard {shard} does not belong to lease {} by claim {claim}",
                append.lease
            )));
        }
    }
    Ok(())
}

/// The positions of each shard continue where its log ends, and are released there. Returns where they end with this batch.
fn check_positions(append: &Append, owned: &Owned) -> Result<Vec<(ShardId, Position)>, StoreError> {
    let mut next_positions: BTreeMap<ShardId, Position> = BTreeMap::new();
    let next_of = |moved: &BTreeMap<_, _>, shard| {
        let next = moved.get(&shard).or_else(|| owned.get(&shard).map(|(_, next)| next)).copied();
        next.ok_or_else(|| not_sealed(shard))
    };
    for frame @ Frame { run, seq, count, .. } in &append.frames {
        let (shard, first) = (run.shard(), frame.first_position());
        if *count == 0 {
            return Err(StoreError::conflict(format!("the frame of run {run} at event {seq} is empty")));
        }
        let next: Position = next_of(&next_positions, shard)?;
        if first != next {
            return Err(StoreError::conflict(format!(
                "the next position of shard {shard} is {next}, not {first}"
            )));
        }
        next_positions.insert(shard, frame.position.next());
    }
    let mut released = BTreeMap::new();
    for Released { shard, next_position } in &append.released {
        let next = next_of(&next_positions, *shard)?;
        if next != *next_position || released.insert(*shard, ()).is_some() {
            return Err(StoreError::conflict(format!(
                "shard {shard} is released at position {next_position}, or twice, and its next position is {next}"
            )));
        }
    }
    Ok(next_positions.into_iter().collect())
}

fn not_sealed(shard: ShardId) -> StoreError {
    StoreError::conflict(format!("an append that was not sealed does not name shard {shard}"))
}

/// The frames themselves. The primary key refuses an event that is there already.
async fn write_frames(transaction: &mut Transaction, append: &Append) -> Result<(), StoreError> {
    let add = |a: &mut Arguments, frame: &Frame| {
        let Frame { run, seq, count, position, at, body } = frame;
        a.add(*run).add(*seq).add(*count).add(*position).add(*at).add(&body[..]);
    };
    transaction.write_all(&FRAMES, &append.frames, add).await?;
    Ok(())
}

/// The rows of the runs that begin, go on and end.
async fn write_runs(transaction: &mut Transaction, append: &Append) -> Result<(), StoreError> {
    let row = |a: &mut Arguments, row: &OpenRow| {
        let OpenRow { state, wake_at, waiting_on, waits } = row;
        a.add(*state).add(*wake_at).add(waiting_on.as_deref()).add(waits.as_deref());
    };
    let otherwise = "runs to be opened are open already";
    let opened = transaction.write_each(&OPEN, &append.opened, otherwise, |a, opened| {
        a.add(opened.run).add(opened.run.shard()).add(opened.workflow.as_str()).add(opened.key.as_deref());
        a.add(opened.parent);
        row(a, &opened.row);
    });
    opened.await?;
    let otherwise = "runs to be updated are not open, or are named twice";
    let updated = transaction.write_each(&UPDATE, &append.updated, otherwise, |a, updated| {
        a.add(updated.run);
        row(a, &updated.row);
    });
    updated.await?;

    transaction.write_all(&END, &append.closed, |a, closed| _ = a.add(closed.run)).await?;
    transaction
        .write_all(&CLOSE, &append.closed, |a, closed| {
            a.add(closed.run).add(closed.workflow.as_str()).add(closed.key.as_deref()).add(closed.parent);
            a.add(closed.status).add(closed.closed_at).add(&closed.outcome[..]);
        })
        .await?;
    transaction.hint_all(append.closed.iter().map(|closed| Hint::Notice(closed.run.shard())));

    transaction
        .write_all(&LINK, &append.links, |a, linked| {
            a.add(linked.run).add(linked.link.first).add(linked.link.predecessor).add(linked.link.number);
        })
        .await?;
    transaction
        .write_all(&CONTINUE, &append.links, |a, linked| _ = a.add(linked.link.first).add(linked.run))
        .await?;
    Ok(())
}

/// Takes messages out of the inbox: those that became events, and those that came too late.
async fn take_messages(transaction: &mut Transaction, append: &Append) -> Result<(), StoreError> {
    let number = |a: &mut Arguments, message: &MessageRef| _ = a.add(message.number);
    let rows = transaction.fetch_all(&TAKE_MESSAGES, &append.consumed, number, |_| {}).await?;
    let taken = rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect::<Result<_, _>>()?;
    check_taken(&append.consumed, &taken)?;

    let rows = transaction.fetch_all(&TAKE_LATE_MESSAGES, &append.undelivered, number, |_| {}).await?;
    let taken = rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect::<Result<_, _>>()?;
    check_taken(&append.undelivered, &taken)?;
    let at = now();
    let mut kept: Vec<(RunId, InboxNo, Bytes)> = Vec::new();
    for row in &rows {
        // A start that was repeated after its run had ended is not shown as undelivered.
        if !get::<bool>(row, 3)? {
            kept.push((get(row, 2)?, get(row, 0)?, get(row, 4)?));
        }
    }
    let add = |a: &mut Arguments, (run, number, body): &(RunId, InboxNo, Bytes)| {
        a.add(*run).add(*number).add(at).add(&body[..]);
    };
    transaction.write_all(&UNDELIVERED, &kept, add).await?;
    Ok(())
}

/// Every message that was named was there, under its id, and was named once.
fn check_taken(named: &[MessageRef], taken: &BTreeMap<InboxNo, MessageId>) -> Result<(), StoreError> {
    let is_there = |named: &&MessageRef| taken.get(&named.number) == Some(&named.message);
    match named.iter().find(|named| !is_there(named)) {
        Some(MessageRef { shard, number, .. }) => {
            Err(StoreError::conflict(format!("message {number} of shard {shard} is not in the inbox")))
        }
        None if taken.len() < named.len() => {
            Err(StoreError::conflict(format!("of {} messages, some are named twice", named.len())))
        }
        None => Ok(()),
    }
}

/// What the append says of runs and shards beside their rows.
async fn write_marks(transaction: &mut Transaction, append: &Append, held: &Held) -> Result<(), StoreError> {
    transaction
        .write_all(&SUSPECT, &append.suspects, |a, suspect| {
            a.add(suspect.run).add(suspect.run.shard()).add(suspect.stage).add(suspect.strikes);
        })
        .await?;
    if held.suspects || !append.suspects.is_empty() {
        let over = append.closed.iter().map(|closed| closed.run);
        let cleared: Vec<RunId> = append.cleared.iter().copied().chain(over).collect();
        transaction.write_all(&CLEAR, &cleared, |a, run| _ = a.add(*run)).await?;
    }
    let need = |a: &mut Arguments, need: &pgworkflows_core::store::Need| {
        a.add(need.shard).add(need.workflow.as_str());
    };
    transaction.write_all(&NEED, &append.needs, need).await?;
    transaction
        .write_all(&PUBLISH, &append.views, |a, view| {
            a.add(view.run).add(view.view.as_str()).add(view.seq);
        })
        .await?;
    attributes::change(transaction, &append.attributes).await?;
    transaction
        .write_all(&REPLY, &append.replies, |a, reply| {
            _ = a.add(reply.message).add(reply.run).add(&reply.body[..])
        })
        .await?;
    let published =
        append.views.iter().map(|view| view.run).chain(append.replies.iter().map(|reply| reply.run));
    transaction.hint_all(published.map(|run| Hint::Published(run.shard())));
    Ok(())
}

/// No run is named as a suspect twice.
fn check_suspects(append: &Append) -> Result<(), StoreError> {
    let mut named = std::collections::BTreeSet::new();
    match append.suspects.iter().find(|suspect| !named.insert(suspect.run)) {
        Some(suspect) => Err(StoreError::conflict(format!("run {} is a suspect twice", suspect.run))),
        None => Ok(()),
    }
}

/// The size of an append, in bytes, for the limit of a transaction.
pub(crate) fn bytes(append: &Append) -> usize {
    let frames = append.frames.iter().map(Frame::bytes);
    let closed = append.closed.iter().map(|closed| closed.outcome.len());
    let sent = append.sent.iter().map(|sent| sent.body.len());
    let tasks = append.tasks.iter().map(|task| task.body.len() + task.lost.len());
    let replies = append.replies.iter().map(|reply| reply.body.len());
    frames.chain(closed).chain(sent).chain(tasks).chain(replies).sum()
}

#[cfg(test)]
mod tests {
    use pgworkflows_core::id::LeaseId;

    use super::*;

    fn frame(count: u32, position: u64) -> Frame {
        let at = pgworkflows_core::Timestamp::from_micros(0);
        let run = RunId::new(at, ShardId::new(1).unwrap(), 1);
        let seq = pgworkflows_core::id::EventSeq::FIRST;
        Frame { run, seq, count, position: Position::new(position), at, body: Bytes::new() }
    }

    #[test]
    fn positions_continue_where_the_log_ends() {
        let shard = ShardId::new(1).unwrap();
        let owned = Owned::from([(shard, (ClaimId::new(1), Position::new(5)))]);
        let check = |frames: &[Frame]| {
            let append = Append { frames: frames.to_vec(), ..Append::new(LeaseId::FIRST, AppendNo::FIRST) };
            check_positions(&append, &owned)
        };
        assert_eq!(check(&[frame(2, 6), frame(1, 7)]).unwrap(), [(shard, Position::new(8))]);
        for frames in [[frame(2, 6), frame(1, 8)], [frame(1, 6), frame(1, 7)], [frame(1, 5), frame(0, 5)]] {
            assert!(matches!(check(&frames), Err(StoreError::Conflict { .. })), "{frames:?}");
        }
    }
}
