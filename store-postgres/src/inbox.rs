//! Reading the inbox by snapshots: every message exactly once, in an order that respects every client.

use std::collections::BTreeSet;

use pgworkflows::store::{InboxMessage, InboxPage, InboxRead, StoreError};
use pgworkflows::{InboxNo, MessageId};
use sqlx::postgres::{PgArguments, PgBindIterExt, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::types::Uuid;

use crate::cursor::{self, Cursor, Paging};
use crate::error::store_error;
use crate::session::PostgresSession;
use crate::values::{bytes, get, run_id, shard_number, timestamp};

/// What became visible since the snapshot `$2`: found by transaction, so that a backlog that was read, and dead
/// rows, cost nothing. The snapshot that the statement itself reads with comes with its rows.
pub(crate) const NEWS: &str = "
    select now.at, now.snapshot, m.number, m.run_id, m.message_id, m.body
    from (select clock_timestamp() as at, pg_current_snapshot()::text as snapshot) now
    left join (
        select m.number, m.run_id, m.message_id, m.body
        from (
            -- Begun after the snapshot.
            select i.number, i.run_id, i.message_id, i.body
            from @schema@.inbox i
            where i.shard = any ($1) and i.xid >= pg_snapshot_xmax($2::text::pg_snapshot)
            union all
            -- In progress at the time.
            select i.number, i.run_id, i.message_id, i.body
            from pg_snapshot_xip($2::text::pg_snapshot) x (xid)
            join @schema@.inbox i on i.shard = any ($1) and i.xid = x.xid
            union all
            -- A transaction id that was given again after a crash: finished by the snapshot's account, but
            -- with numbers that were never read.
            select i.number, i.run_id, i.message_id, i.body
            from @schema@.inbox i
            where i.shard = any ($1) and i.number > $3
              and i.xid < pg_snapshot_xmax($2::text::pg_snapshot)
              and i.xid not in (select pg_snapshot_xip($2::text::pg_snapshot))
        ) m
        order by m.number limit $4
    ) m on true
    order by m.number";

/// One page of a longer read, in the order of numbers: of what was visible in the snapshot `$3` (this very
/// statement's on the first page) behind number `$2`, without what was read before (`$4` to `$6`).
pub(crate) const PAGE: &str = "
    select now.at, now.snapshot, m.number, m.run_id, m.message_id, m.body
    from (select clock_timestamp() as at, pg_current_snapshot()::text as snapshot) now
    left join (
        select m.number, m.run_id, m.message_id, m.body
        from unnest($1::smallint[]) s (shard)
        -- Shard by shard, so that each is read by its index in the order of numbers, and no further.
        cross join lateral (
            select i.number, i.run_id, i.message_id, i.body
            from @schema@.inbox i
            where i.shard = s.shard and i.number > $2
              and ($3::text is null or pg_visible_in_snapshot(i.xid, $3::text::pg_snapshot))
              and ($4::text is null
                   or s.shard = any ($5)
                   or i.number > $6
                   or not pg_visible_in_snapshot(i.xid, $4::text::pg_snapshot))
            order by i.number limit $7
        ) m
        order by m.number limit $7
    ) m on true
    order by m.number";

/// Reads one page.
pub(crate) async fn read(session: &mut PostgresSession, read: &InboxRead) -> Result<InboxPage, StoreError> {
    let cursor = Cursor::decode(&read.cursor)?;
    let wanted: BTreeSet<i16> = read.shards.iter().copied().map(shard_number).collect();
    let paging = resume(&cursor, &wanted);
    let query = match &paging {
        Some(paging) => page_query(session, &cursor, paging, read.limit),
        None => news_query(session, &cursor, &wanted, read.limit),
    };
    let mut rows = session.fetch(query).await?;
    let head = rows.first().ok_or_else(|| store_error(sqlx::Error::RowNotFound))?;
    let now = timestamp(head, 0)?;
    let snapshot: String = get(head, 1)?;
    check_nothing_lost(&cursor, &snapshot)?;

    let mut paging = paging.unwrap_or_else(|| Paging {
        snapshot: String::new(),
        last: 0,
        shards: wanted.clone(),
        fresh: BTreeSet::new(),
    });
    if paging.snapshot.is_empty() {
        paging.snapshot = snapshot;
    }

    // One row more than asked for tells whether there are more.
    let limit = read.limit.max(1) as usize;
    let unfinished = rows.len() > limit;
    rows.truncate(limit);
    let messages = rows.iter().filter_map(|row| message(row).transpose()).collect::<Result<Vec<_>, _>>()?;
    if let Some(last) = messages.last() {
        paging.last = last.number.get().cast_signed();
    }
    let cursor = advance(cursor, paging, unfinished);
    let more = unfinished || !wanted.is_subset(&cursor.covered);
    Ok(InboxPage { messages, cursor: cursor.encode(), more, now })
}

/// Where to go on with a read in pages, or to begin one: `None` if all that is needed is news.
fn resume(cursor: &Cursor, wanted: &BTreeSet<i16>) -> Option<Paging> {
    if let Some(paging) = &cursor.paging {
        let keep = |shards: &BTreeSet<i16>| shards & wanted;
        return Some(Paging { shards: keep(&paging.shards), fresh: keep(&paging.fresh), ..paging.clone() });
    }
    if cursor.behind.is_some() && wanted.is_subset(&cursor.covered) {
        return None;
    }
    let fresh = wanted - &cursor.covered;
    Some(Paging { snapshot: String::new(), last: 0, shards: wanted.clone(), fresh })
}

/// The cursor after a page.
fn advance(cursor: Cursor, paging: Paging, unfinished: bool) -> Cursor {
    if unfinished {
        // `greatest` stays: within this read it tells what was read before it.
        return Cursor { paging: Some(paging), ..cursor };
    }
    Cursor {
        greatest: cursor.greatest.max(paging.last),
        behind: Some(paging.snapshot),
        covered: paging.shards,
        paging: None,
    }
}

/// A server whose next transaction id is behind one that was seen has lost commits: it was restored, or is a
/// standby that was promoted too early.
fn check_nothing_lost(cursor: &Cursor, snapshot: &str) -> Result<(), StoreError> {
    let (seen, current) = (cursor.xmax()?, cursor::xmax(snapshot)?);
    if current < seen {
        return Err(StoreError::fenced(format!(
            "the database lost commits: its transactions reach to {current}, but the inbox was read up to {seen}"
        )));
    }
    Ok(())
}

fn news_query(
    session: &PostgresSession,
    cursor: &Cursor,
    shards: &BTreeSet<i16>,
    limit: u32,
) -> Query<'static, Postgres, PgArguments> {
    session
        .shared
        .statements
        .inbox_news
        .query()
        .bind(shards.iter().copied().bind_iter())
        .bind(cursor.behind.clone())
        .bind(cursor.greatest)
        .bind(i64::from(limit.max(1)) + 1)
}

fn page_query(
    session: &PostgresSession,
    cursor: &Cursor,
    paging: &Paging,
    limit: u32,
) -> Query<'static, Postgres, PgArguments> {
    session
        .shared
        .statements
        .inbox_page
        .query()
        .bind(paging.shards.iter().copied().bind_iter())
        .bind(paging.last)
        .bind((!paging.snapshot.is_empty()).then(|| paging.snapshot.clone()))
        .bind(cursor.behind.clone())
        .bind(paging.fresh.iter().copied().bind_iter())
        .bind(cursor.greatest)
        .bind(i64::from(limit.max(1)) + 1)
}

/// The message in a row; `None` in the row that says that there is none.
fn message(row: &PgRow) -> Result<Option<InboxMessage>, StoreError> {
    let Some(number) = get::<Option<i64>>(row, 2)? else { return Ok(None) };
    Ok(Some(InboxMessage {
        number: InboxNo::new(number.cast_unsigned()),
        run: run_id(row, 3)?,
        message: MessageId::from_u128(get::<Uuid>(row, 4)?.as_u128()),
        body: bytes(row, 5)?,
    }))
}
