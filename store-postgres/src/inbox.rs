//! Reads the inbox by snapshots: each message exactly once, and one client's messages in the order in which they were
//! sent. It must not know what a message says.

use bytes::Bytes;
use pgworkflows_core::id::{InboxNo, MessageId};
use pgworkflows_core::store::{InboxMessage, InboxPage, InboxRead, StoreError};
use sqlx::postgres::PgRow;
use sqlx::types::Uuid;

use crate::cursor::{self, Cursor, Paging};
use crate::error::store_error;
use crate::session::PostgresSession;
use crate::sql::PgQuery;
use crate::values::{byte_count, get, run_id, shard_number, timestamp};

/// The messages that became visible since the snapshot `$2`, with the snapshot of this statement.
const NEWS: &str = "
    select now.at, now.server, now.snapshot, m.number, m.run_id, m.message_id, m.body, m.current_run
    from (select pg_catalog.clock_timestamp() as at, pg_catalog.pg_postmaster_start_time() as server,
                 pg_catalog.pg_current_snapshot()::text as snapshot) now
    left join @schema@.inbox_news($1, $2::text::pg_snapshot, $3, $4, $5, $6) m on true
    order by m.number";

/// One page of a longer read: the messages after number `$2` that were visible in the snapshot `$3` (on the first page,
/// this statement's own), without those that were read before (`$4`, `$5`).
const PAGE: &str = "
    select now.at, now.server, now.snapshot, m.number, m.run_id, m.message_id, m.body, m.current_run
    from (select pg_catalog.clock_timestamp() as at, pg_catalog.pg_postmaster_start_time() as server,
                 pg_catalog.pg_current_snapshot()::text as snapshot) now
    left join @schema@.inbox_page($1, $2, $3::text::pg_snapshot, $4::text::pg_snapshot, $5, $6, $7, $8) m
        on true
    order by m.number";

/// Reads one page. What was read from another server counts for nothing: the inbox is read from the beginning then.
pub(crate) async fn read(session: &mut PostgresSession, read: &InboxRead) -> Result<InboxPage, StoreError> {
    let cursor = Cursor::decode(&read.cursor)?;
    match read_after(session, read, cursor).await? {
        Some(page) => Ok(page),
        None => {
            let page = read_after(session, read, Cursor::default()).await?;
            page.ok_or_else(|| {
                StoreError::unavailable("the server was replaced by another one during a read")
            })
        }
    }
}

/// Reads one page after a cursor; `None` if that is of another server.
async fn read_after(
    session: &mut PostgresSession,
    read: &InboxRead,
    cursor: Cursor,
) -> Result<Option<InboxPage>, StoreError> {
    let shards: Vec<i16> = read.shards.iter().copied().map(shard_number).collect();
    // One row beyond the limit shows whether there are more.
    let limit = read.limit.max(1) as usize;
    let query = query(session, &cursor, shards, (limit as i64 + 1, byte_count(read.bytes))).bind(read.starts);
    let rows = session.fetch(query).await?;
    let head = rows.first().ok_or_else(|| store_error(sqlx::Error::RowNotFound))?;
    let now = timestamp(head, 0)?;
    let (server, snapshot) = (timestamp(head, 1)?.as_micros(), get::<String>(head, 2)?);
    check_nothing_lost(&cursor, &snapshot)?;
    if cursor != Cursor::default() && cursor.server != server {
        return Ok(None);
    }

    let messages = rows.iter().take(limit).map_while(|row| message(row).transpose());
    let messages = messages.collect::<Result<Vec<_>, _>>()?;
    let waiting = get::<Option<i64>>(head, 3)?.map_or(0, |_| rows.len());
    let has_next_page = waiting > messages.len();
    let mut paging = cursor.paging.clone().unwrap_or(Paging { snapshot: snapshot.clone(), last: 0 });
    if let Some(until) = rows.get(messages.len()).map(until).transpose()?.flatten() {
        paging.last = until;
    } else if let Some(last) = messages.last() {
        paging.last = last.number.get().cast_signed();
    }
    // After a read of several pages, messages that were committed since the first page may be waiting.
    let more = has_next_page || paging.snapshot != snapshot;
    let cursor = if has_next_page {
        // `greatest` stays, because it separates this read's messages from those of earlier reads.
        Cursor { server, paging: Some(paging), ..cursor }
    } else {
        let greatest = cursor.greatest.max(paging.last);
        Cursor { server, seen: Some(paging.snapshot), greatest, paging: None }
    };
    Ok(Some(InboxPage { messages, cursor: cursor.encode(), more, now }))
}

/// Reads what is new if everything up to a snapshot was read; otherwise reads a page in the order of numbers.
fn query(
    session: &PostgresSession,
    cursor: &Cursor,
    shards: Vec<i16>,
    (limit, bytes): (i64, i64),
) -> PgQuery {
    match (&cursor.seen, &cursor.paging) {
        (Some(seen), None) => {
            let query = session.query(NEWS);
            query.bind(shards).bind(seen).bind(cursor.greatest).bind(limit).bind(bytes)
        }
        (seen, paging) => session
            .query(PAGE)
            .bind(shards)
            .bind(paging.as_ref().map_or(0, |paging| paging.last))
            .bind(paging.as_ref().map(|paging| &paging.snapshot))
            .bind(seen.as_ref())
            .bind(cursor.greatest)
            .bind(limit)
            .bind(bytes),
    }
}

/// Refuses a server whose next transaction id is lower than one that was seen. It has lost commits: it was restored
/// from a backup, or it is a standby that was promoted too early.
fn check_nothing_lost(cursor: &Cursor, snapshot: &str) -> Result<(), StoreError> {
    let (seen, current) = (cursor.xmax()?, cursor::xmax(snapshot)?);
    if current < seen {
        return Err(StoreError::fenced(format!(
            "the database lost commits: its next transaction is {current}, but the inbox was read up to {seen}"
        )));
    }
    Ok(())
}

/// The number up to which a page goes that is over before the inbox is, if the row says that.
fn until(row: &PgRow) -> Result<Option<i64>, StoreError> {
    Ok(if get::<Option<Uuid>>(row, 4)?.is_none() { get(row, 3)? } else { None })
}

/// The message in a row; `None` if its body exceeds the limit of bytes, or if the row has none.
fn message(row: &PgRow) -> Result<Option<InboxMessage>, StoreError> {
    let Some(body) = get::<Option<&[u8]>>(row, 6)? else { return Ok(None) };
    Ok(Some(InboxMessage {
        number: InboxNo::new(get::<i64>(row, 3)?.cast_unsigned()),
        run: run_id(row, 4)?,
        current: run_id(row, 7)?,
        message: MessageId::from_u128(get::<Uuid>(row, 5)?.as_u128()),
        body: Bytes::copy_from_slice(body),
    }))
}
