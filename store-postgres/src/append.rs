//! Appending a batch: one round trip to the function `append`, which is the protocol (see the migrations).

use std::collections::BTreeSet;

use pgworkflows_core::RunId;
use pgworkflows_core::store::{Append, Appended, MessageRef, OpenRow, StoreError};
use sqlx::postgres::{PgArguments, PgBindIterExt, Postgres};
use sqlx::query::Query;

use crate::error::{is_partition_missing, store_error};
use crate::partition;
use crate::session::PostgresSession;
use crate::values::{
    Time, closed_status_number, message_uuid, open_state_number, shard_number, suspect_stage_number,
    timestamp, uuid,
};

pub(crate) const APPEND: &str = "
    select @schema@.append(
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
        $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40)";

/// How often an append that finds no partition is sent again after one was made: somebody may detach it in
/// between, but not for ever.
const PARTITION_ROUNDS: usize = 3;

/// Appends; makes the partitions that are missing.
pub(crate) async fn append(session: &mut PostgresSession, append: &Append) -> Result<Appended, StoreError> {
    check_order(append)?;
    let shards = shards_touched(append);
    for _ in 0..PARTITION_ROUNDS {
        let query = bind(session, append, &shards);
        match session.fetch_raw(query).await? {
            Ok(rows) => {
                let row = rows.first().ok_or_else(|| store_error(sqlx::Error::RowNotFound))?;
                let closed: BTreeSet<_> = append.closed.iter().map(|closed| closed.run.shard()).collect();
                session.shared.bell.closed(closed);
                return Ok(Appended { now: timestamp(row, 0)? });
            }
            // The refusal rolled everything back, so the number is free for the same append.
            Err(error) if is_partition_missing(&error) => {
                partition::make_for(session, runs_written(append)).await?;
            }
            Err(error) => return Err(store_error(error)),
        }
    }
    let reason = "partitions of the log are detached faster than they are attached again".to_owned();
    Err(StoreError::Unavailable { reason, definite: true, source: None })
}

/// Our own bugs are found before they reach the log: numbers follow one another without a gap.
fn check_order(append: &Append) -> Result<(), StoreError> {
    for pair in append.events.windows(2) {
        let [before, event] = pair else { continue };
        if before.run == event.run && event.seq != before.seq.next() {
            return Err(StoreError::conflict(format!(
                "event {} of run {} follows event {}",
                event.seq, event.run, before.seq
            )));
        }
        if before.run.shard() == event.run.shard() && event.position != before.position.next() {
            return Err(StoreError::conflict(format!(
                "position {} of shard {} follows position {}",
                event.position,
                event.run.shard(),
                before.position
            )));
        }
    }
    Ok(())
}

fn runs_written(append: &Append) -> impl Iterator<Item = RunId> {
    let closed = append.closed.iter().map(|closed| closed.run);
    append.events.iter().map(|event| event.run).chain(closed)
}

/// Every shard that the append touches, once.
fn shards_touched(append: &Append) -> BTreeSet<i16> {
    let runs = runs_written(append)
        .chain(append.opened.iter().map(|opened| opened.run))
        .chain(append.updated.iter().map(|updated| updated.run))
        .chain(append.suspects.iter().map(|suspect| suspect.run))
        .chain(append.cleared.iter().copied());
    let messages = append.consumed.iter().chain(&append.undelivered).map(|message| message.shard);
    runs.map(RunId::shard).chain(messages).map(shard_number).collect()
}

/// Binds every column as one array, in the order of the function's parameters.
fn bind(
    session: &PostgresSession,
    append: &Append,
    shards: &BTreeSet<i16>,
) -> Query<'static, Postgres, PgArguments> {
    let Append { lease, number, digest, events, opened, updated, closed, .. } = append;
    let Append { consumed, undelivered, suspects, cleared, .. } = append;
    let query = session.shared.statements.append.query();
    let query = query
        .bind(lease.get().cast_signed())
        .bind(number.get().cast_signed())
        .bind(&digest[..])
        .bind(&session.shared.lock_timeout)
        .bind(session.shared.verify)
        .bind(shards.iter().copied().bind_iter())
        .bind(events.iter().map(|event| uuid(event.run)).bind_iter())
        .bind(events.iter().map(|event| event.seq.get().cast_signed()).bind_iter())
        .bind(events.iter().map(|event| event.position.get().cast_signed()).bind_iter())
        .bind(events.iter().map(|event| shard_number(event.run.shard())).bind_iter())
        .bind(events.iter().map(|event| Time(event.at)).bind_iter())
        .bind(events.iter().map(|event| event.name.as_str()).bind_iter())
        .bind(events.iter().map(|event| &event.body[..]).bind_iter())
        .bind(opened.iter().map(|opened| uuid(opened.run)).bind_iter())
        .bind(opened.iter().map(|opened| shard_number(opened.run.shard())).bind_iter())
        .bind(opened.iter().map(|opened| &*opened.workflow).bind_iter());
    let query = bind_rows(query, opened.iter().map(|opened| &opened.row));
    let query = query.bind(updated.iter().map(|updated| uuid(updated.run)).bind_iter());
    let query = bind_rows(query, updated.iter().map(|updated| &updated.row));
    let query = query
        .bind(closed.iter().map(|closed| uuid(closed.run)).bind_iter())
        .bind(closed.iter().map(|closed| shard_number(closed.run.shard())).bind_iter())
        .bind(closed.iter().map(|closed| &*closed.workflow).bind_iter())
        .bind(closed.iter().map(|closed| closed.key.as_deref()).bind_iter())
        .bind(closed.iter().map(|closed| closed_status_number(closed.status)).bind_iter())
        .bind(closed.iter().map(|closed| Time(closed.closed_at)).bind_iter())
        .bind(closed.iter().map(|closed| &closed.outcome[..]).bind_iter());
    bind_messages(bind_messages(query, consumed), undelivered)
        .bind(suspects.iter().map(|suspect| uuid(suspect.run)).bind_iter())
        .bind(suspects.iter().map(|suspect| suspect_stage_number(suspect.stage)).bind_iter())
        .bind(suspects.iter().map(|suspect| suspect.strikes.cast_signed()).bind_iter())
        .bind(cleared.iter().map(|run| uuid(*run)).bind_iter())
}

fn bind_rows<'r>(
    query: Query<'static, Postgres, PgArguments>,
    rows: impl Iterator<Item = &'r OpenRow> + Clone,
) -> Query<'static, Postgres, PgArguments> {
    query
        .bind(rows.clone().map(|row| open_state_number(row.state)).bind_iter())
        .bind(rows.clone().map(|row| row.wake_at.map(Time)).bind_iter())
        .bind(rows.map(|row| row.waiting_on.as_deref()).bind_iter())
}

fn bind_messages(
    query: Query<'static, Postgres, PgArguments>,
    messages: &[MessageRef],
) -> Query<'static, Postgres, PgArguments> {
    query
        .bind(messages.iter().map(|message| shard_number(message.shard)).bind_iter())
        .bind(messages.iter().map(|message| message.number.get().cast_signed()).bind_iter())
        .bind(messages.iter().map(|message| message_uuid(message.message)).bind_iter())
}

#[cfg(test)]
mod tests {
    use pgworkflows_core::Timestamp;
    use pgworkflows_core::id::{AppendNo, EventName, EventSeq, LeaseId, Position, ShardId};
    use pgworkflows_core::store::NewEvent;

    use super::*;

    #[test]
    fn a_gap_is_refused_before_it_is_sent() {
        let run = RunId::new(Timestamp::from_micros(0), ShardId::new(1).unwrap(), 1);
        let event = |seq, position| NewEvent {
            run,
            seq: EventSeq::new(seq),
            position: Position::new(position),
            name: EventName::from_static("run.started"),
            at: Timestamp::from_micros(0),
            body: bytes::Bytes::new(),
        };
        let batch = |events| Append {
            lease: LeaseId::FIRST,
            number: AppendNo::FIRST,
            digest: [0; 32],
            events,
            opened: vec![],
            updated: vec![],
            closed: vec![],
            consumed: vec![],
            undelivered: vec![],
            sent: vec![],
            suspects: vec![],
            cleared: vec![],
        };
        assert!(check_order(&batch(vec![event(1, 1), event(2, 2)])).is_ok());
        assert!(matches!(
            check_order(&batch(vec![event(1, 1), event(3, 2)])),
            Err(StoreError::Conflict { .. })
        ));
        assert!(matches!(
            check_order(&batch(vec![event(1, 1), event(2, 3)])),
            Err(StoreError::Conflict { .. })
        ));
    }
}
