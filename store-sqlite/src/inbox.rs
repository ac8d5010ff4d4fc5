//! Reads the inbox. It must not know what a message says, or who reads.
//!
//! Messages are numbered by serial transactions: when a message can be seen, all with lower numbers can be seen too, or are gone.
//! So a reader continues after the greatest number that it has read. It reads in the order of numbers and passes over the
//! messages of other shards: each of them once, so a backlog is read once however many pages it has.

use pgworkflows_core::id::InboxNo;
use pgworkflows_core::store::{InboxCursor, InboxMessage, InboxPage, InboxRead, StoreError};
use sqlx::sqlite::SqliteRow;

use crate::chain::current_run;
use crate::connection::{Connection, Listed, sql};
use crate::transaction::now;
use crate::values::{Arguments, get};

/// The last number that was given. Whatever has it or a lower one can be seen by every later statement.
const LAST: &str = "select coalesce(max(s.seq), 0) from sqlite_sequence s where s.name = 'inbox'";

/// `not indexed` keeps to the order of numbers, so that rows come one by one and no more are read than fit.
const READ: Listed = Listed {
    text: concat!(
        "with asked (shard) as (values {})
         select i.number, i.run_id, ",
        current_run!("i.run_id"),
        ", i.message_id, i.body from inbox i not indexed
         where i.number > ? and i.number <= ? and i.shard in (select a.shard from asked a) and (? or not i.opens)
         order by i.number limit ?"
    ),
    width: 1,
};

/// A page of what came after the cursor.
pub(crate) async fn read(connection: &mut Connection, read: &InboxRead) -> Result<InboxPage, StoreError> {
    let after = number(&read.cursor)?;
    if read.shards.is_empty() {
        return Ok(InboxPage { messages: Vec::new(), cursor: read.cursor.clone(), more: false, now: now() });
    }
    let last = connection.fetch_value(sql(LAST)).await?.unwrap_or(InboxNo::new(0));
    if after > last {
        return Err(StoreError::fenced("the inbox cursor is ahead of the store: commits were lost"));
    }
    let limit = read.limit.max(1) as usize;
    let rest = |a: &mut Arguments| {
        // One more shows whether there are further pages.
        a.add(after).add(last).add(read.starts).add(limit as i64 + 1);
    };
    let statement = connection.listed(&READ, &read.shards, |a, shard| _ = a.add(*shard), rest);
    let (mut messages, mut bytes, mut more, mut outcome) = (Vec::new(), 0, false, Ok(()));
    let take = |row: SqliteRow| match message(&row) {
        Ok(found) => {
            bytes += found.body.len();
            more = messages.len() == limit || bytes > read.bytes && !messages.is_empty();
            if !more {
                messages.push(found);
            }
            !more
        }
        Err(error) => {
            outcome = Err(error);
            false
        }
    };
    connection.fetch_while(statement, take).await?;
    outcome?;
    let cursor = match messages.last() {
        Some(InboxMessage { number, .. }) if more => *number,
        Some(_) | None => last,
    };
    Ok(InboxPage {
        messages,
        cursor: InboxCursor(cursor.get().to_le_bytes().to_vec().into()),
        more,
        now: now(),
    })
}

fn message(row: &SqliteRow) -> Result<InboxMessage, StoreError> {
    Ok(InboxMessage {
        number: get(row, 0)?,
        run: get(row, 1)?,
        current: get(row, 2)?,
        message: get(row, 3)?,
        body: get(row, 4)?,
    })
}

/// The number after which a reader continues.
pub(crate) fn number(cursor: &InboxCursor) -> Result<InboxNo, StoreError> {
    if cursor.0.is_empty() {
        return Ok(InboxNo::new(0));
    }
    let bytes = cursor.0.as_ref().try_into().map_err(|_| {
        StoreError::corrupt(format!(
            "an inbox cursor has {} bytes, but this store's have 8: read the inbox from the start",
            cursor.0.len()
        ))
    })?;
    Ok(InboxNo::new(u64::from_le_bytes(bytes)))
}
