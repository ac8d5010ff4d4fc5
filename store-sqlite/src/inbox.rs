//! Reads the inbox. It must not know what a message says, or who reads.
//!
//! Messages are numbered by serial transactions: when a message can be seen, all with lower numbers can be seen too, or are gone.
//! So a reader continues after the greatest number that it has read. It reads in the order of numbers and passes over the
//! messages of other shards: each of them once, so a backlog is read once however many pages it has. A page that has passed over many
//! ends, so that no statement takes long.

use pgworkflows_core::id::InboxNo;
use pgworkflows_core::store::{InboxCursor, InboxMessage, InboxPage, InboxRead, StoreError};
use sqlx::sqlite::SqliteRow;

use crate::chain::current_run;
use crate::connection::{Connection, Listed, sql};
use crate::transaction::now;
use crate::values::{Arguments, get};

/// The last number that was given. Whatever has it or a lower one can be seen by every later statement.
const LAST: &str = "select coalesce(max(s.seq), 0) from sqlite_sequence s where s.name = 'inbox'";

/// The first number after another one that a message has.
const FIRST: &str = "select i.number from inbox i where i.number > ? order by i.number limit 1";

/// Within how many numbers a page ends. They are unique, so it looks at no more messages.
const NUMBERS_MAX: u64 = 10_000;

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
    let first: Option<InboxNo> = connection.fetch_value(sql(FIRST).bind(after)).await?;
    // Without a message, there is nothing to pass over.
    let until = first.map_or(last, |first| last.min(InboxNo::new(first.get() + NUMBERS_MAX)));
    let rest = |a: &mut Arguments| {
        // One more shows whether there are further pages.
        a.add(after).add(until).add(read.starts).add(limit as i64 + 1);
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
        Some(_) | None => until,
    };
    Ok(InboxPage {
        messages,
        cursor: InboxCursor(cursor.get().to_le_bytes().to_vec().into()),
        more: more || until < last,
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

#[cfg(test)]
mod tests {
    use pgworkflows_core::id::ShardId;

    use super::*;
    use crate::testing::Fixture;
    use crate::transaction::Transaction;

    #[test]
    fn page_passes_over_no_more_than_some_messages_of_other_shards() {
        // Given many messages of another shard, and then one
        let fixture = Fixture::new("page-of-the-inbox");
        let others = async |transaction: &mut Transaction| {
            let insert = "with recursive n (i) as (select 1 union all select i + 1 from n where i <= 25000)
                 insert into inbox (shard, run_id, message_id, opens, body)
                 select iif(i > 25000, 2, 1), zeroblob(16), cast(printf('%016d', i) as blob), 0, x'00' from n";
            transaction.execute(sql(insert)).await.map(drop)
        };
        fixture.runtime.block_on(fixture.store.0.writer.call(0, others)).unwrap();
        // When that shard is read
        let mut cursor = InboxCursor::default();
        let mut pages = Vec::new();
        while pages.last() != Some(&(1, false)) {
            let shards = vec![ShardId::new(2).unwrap()];
            let read = InboxRead { shards, cursor, limit: 10, bytes: usize::MAX, starts: true };
            let page = fixture.runtime.block_on(async {
                super::read(&mut fixture.store.0.readers.take().await.unwrap(), &read).await.unwrap()
            });
            pages.push((page.messages.len(), page.more));
            cursor = page.cursor;
        }
        // Then each page goes on where the last one ended
        assert_eq!(pages, [(0, true), (0, true), (1, false)]);
    }
}
