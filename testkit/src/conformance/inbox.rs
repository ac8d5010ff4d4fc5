//! The inbox: each message is read once, in an order that respects every sender, whatever commits when.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use bytes::Bytes;
use pgworkflows_core::store::{InboxCursor, InboxRead, LeaseHeartbeat, StoreError, Submission, Submitted};

use super::Harness;
use super::fixture::{Ground, LONG, MANY_BYTES, SHARDS, Writer, bodies, busy};

/// The beginning of the inbox.
fn beginning() -> InboxCursor {
    InboxCursor::default()
}

async fn has_mail(writer: &mut Writer, cursor: &InboxCursor) -> bool {
    let heartbeat = LeaseHeartbeat { cursor: cursor.clone(), ..writer.lease_heartbeat() };
    writer.look(heartbeat).await.mail
}

pub async fn messages_are_read_in_the_order_of_submission(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let runs: Vec<_> = (0..SHARDS).rev().map(|shard| ground.start(ground.run(shard))).collect();
    ground.submit(&runs).await;

    let page = writer.read(&beginning(), 10).await;
    let expected: Vec<_> = runs.iter().map(|start| (start.run, start.message, start.body.clone())).collect();
    let messages = page.messages.iter().map(|message| (message.run, message.message, message.body.clone()));
    assert_eq!(messages.collect::<Vec<_>>(), expected);
    assert!(!page.more);
    assert!(page.messages.is_sorted_by_key(|message| message.number));
}

pub async fn message_is_read_once_by_one_reader(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    ground.accept(&ground.start(run)).await;
    let first = writer.read(&beginning(), 10).await;
    let signal = ground.signal(run);
    ground.accept(&signal).await;

    let second = writer.read(&first.cursor, 10).await;
    assert_eq!(bodies(&second.messages), [signal.body]);
    assert_eq!(writer.read(&second.cursor, 10).await.messages, []);
}

pub async fn new_reader_reads_again_what_was_not_consumed(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    ground.accept(&ground.start(ground.run(0))).await;
    let first = writer.read(&beginning(), 10).await;
    let again = writer.read(&beginning(), 10).await;
    assert_eq!(first.messages, again.messages);
    assert_eq!(first.messages.len(), 1);
}

pub async fn consumed_message_is_not_read_again(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    ground.accept(&ground.start(run)).await;
    let message = writer.inbox().await.remove(0);
    writer.write(writer.draft().event(run).update(run, busy()).consume(&message)).await;
    assert_eq!(writer.inbox().await, []);
}

pub async fn reader_sees_its_shards_only(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut one = ground.claim(2, LONG).await;
    let mut other = ground.claim(2, LONG).await;
    let (start, foreign) = (ground.start(ground.run(0)), ground.start(ground.run(3)));
    ground.submit(&[start.clone(), foreign.clone()]).await;

    assert_eq!(bodies(&one.inbox().await), [start.body]);
    assert_eq!(bodies(&other.inbox().await), [foreign.body]);
}

pub async fn pages_hold_as_many_as_asked_for(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let starts: Vec<_> = (0..5).map(|n| ground.start(ground.run(n % SHARDS))).collect();
    ground.submit(&starts).await;

    let mut read = Vec::new();
    let mut cursor = beginning();
    for len in [2, 2, 1] {
        let page = writer.read(&cursor, 2).await;
        assert_eq!(page.messages.len(), len);
        assert!(page.more || len == 1, "there is more");
        read.extend(bodies(&page.messages));
        cursor = page.cursor;
    }
    // The last page may not know yet whether anything has come since the first.
    let end = writer.read(&cursor, 2).await;
    assert_eq!((end.messages.len(), end.more), (0, false));
    assert_eq!(read, starts.into_iter().map(|start| start.body).collect::<Vec<_>>());
}

/// Pages with at most so many bytes, from a cursor to the end.
async fn read_pages(writer: &mut Writer, mut cursor: InboxCursor, bytes: usize) -> Vec<Vec<Bytes>> {
    let mut pages = Vec::new();
    loop {
        let page = writer.read_bytes(&cursor, 10, bytes).await;
        let more = page.more;
        if !page.messages.is_empty() {
            pages.push(bodies(&page.messages));
        }
        cursor = page.cursor;
        if !more {
            return pages;
        }
    }
}

/// Messages whose bodies have these lengths.
fn starts_of(ground: &Ground<'_>, lengths: &[usize]) -> Vec<Submission> {
    let starts = lengths.iter().zip((0..SHARDS).cycle());
    let start = |(length, shard): (&usize, u16)| {
        let body = Bytes::from(vec![shard as u8; *length]);
        Submission { body, ..ground.start(ground.run(shard)) }
    };
    starts.map(start).collect()
}

pub async fn page_ends_before_the_message_that_exceeds_its_bytes(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    // Once for a reader that begins, and once for one that goes on
    let mut cursor = beginning();
    for _ in 0..2 {
        let starts = starts_of(&ground, &[100, 100, 51, 0, 200, 50, 1]);
        ground.submit(&starts).await;
        let expected = bodies_of(&starts);
        let pages = read_pages(&mut writer, cursor.clone(), 250).await;
        // A sum that is reached exactly is not exceeded, and an empty message exceeds nothing.
        let expected: Vec<_> = [0..2, 2..4, 4..6, 6..7].map(|page| expected[page].to_vec()).into();
        assert_eq!(pages, expected);
        cursor = writer.read(&cursor, 1000).await.cursor;
    }
}

pub async fn page_holds_one_message_however_large(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let starts = starts_of(&ground, &[10_000, 0, 1, 20_000]);
    ground.submit(&starts).await;
    let expected: Vec<_> = bodies_of(&starts).into_iter().map(|body| vec![body]).collect();
    assert_eq!(read_pages(&mut writer, beginning(), 0).await, expected);
}

pub async fn late_commit_between_pages_of_bytes_is_read_in_its_turn(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let Some(mut transaction) = harness.begin().await else { return };
    let mut writer = ground.writer().await;
    let starts = starts_of(&ground, &[10, 10, 10, 10]);
    transaction.submit(&starts[..1]).await.unwrap();
    ground.submit(&starts[1..3]).await;
    // A page of one, then the early number commits, and something comes after it
    let page = writer.read_bytes(&beginning(), 10, 15).await;
    assert_eq!((bodies(&page.messages), page.more), (bodies_of(&starts[1..2]), true));
    transaction.commit().await.unwrap();
    ground.submit(&starts[3..]).await;
    let rest = read_pages(&mut writer, page.cursor, 15).await.concat();
    assert_eq!(rest, bodies_of(&[starts[2].clone(), starts[0].clone(), starts[3].clone()]));
}

pub async fn full_page_that_is_the_last_one_says_so_at_the_latest_with_the_next(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    ground.submit(&[ground.start(ground.run(0)), ground.start(ground.run(1))]).await;

    let page = writer.read(&beginning(), 2).await;
    assert_eq!(page.messages.len(), 2);
    let next = writer.read(&page.cursor, 2).await;
    assert_eq!((next.messages.len(), next.more), (0, false));
}

pub async fn page_can_be_read_again(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let starts: Vec<_> = (0..4).map(|n| ground.start(ground.run(n % SHARDS))).collect();
    ground.submit(&starts).await;

    let first = writer.read(&beginning(), 2).await;
    let second = writer.read(&first.cursor, 2).await;
    let again = writer.read(&first.cursor, 2).await;
    assert_eq!(second.messages, again.messages);
    assert_eq!(bodies(&again.messages), bodies_of(&starts[2..]));
}

fn bodies_of(submissions: &[Submission]) -> Vec<Bytes> {
    submissions.iter().map(|submission| submission.body.clone()).collect()
}

pub async fn repeated_message_waits_once(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    let (start, signal) = (ground.start(run), ground.signal(run));
    let answers = ground.submit(&[start.clone(), signal.clone(), signal.clone()]).await;
    assert_eq!(answers, [Submitted::Accepted; 3]);
    ground.accept(&signal).await;
    assert_eq!(bodies(&writer.inbox().await), [start.body, signal.body]);
}

pub async fn message_in_an_open_transaction_is_not_read(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let Some(mut transaction) = harness.begin().await else { return };
    let mut writer = ground.writer().await;
    transaction.submit(&[ground.start(ground.run(0))]).await.unwrap();

    assert_eq!(writer.inbox().await, []);
    assert!(!has_mail(&mut writer, &beginning()).await);
    transaction.commit().await.unwrap();
    assert_eq!(writer.inbox().await.len(), 1);
}

pub async fn late_commit_with_an_early_number_is_not_skipped(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let Some(mut transaction) = harness.begin().await else { return };
    let mut writer = ground.writer().await;
    let (early, late) = (ground.start(ground.run(0)), ground.start(ground.run(0)));
    transaction.submit(std::slice::from_ref(&early)).await.unwrap();
    ground.accept(&late).await;

    let first = writer.read(&beginning(), 10).await;
    assert_eq!(bodies(&first.messages), [late.body]);
    transaction.commit().await.unwrap();
    assert!(has_mail(&mut writer, &first.cursor).await);
    let second = writer.read(&first.cursor, 10).await;
    assert_eq!(bodies(&second.messages), [early.body]);
    assert!(second.messages[0].number < first.messages[0].number, "its number was taken early");
    assert_eq!(writer.read(&second.cursor, 10).await.messages, []);
}

pub async fn two_signals_of_one_client_never_swap(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    ground.accept(&ground.start(run)).await;
    let Some(mut transaction) = harness.begin().await else { return };
    let (first, second) = (ground.signal(run), ground.signal(run));
    transaction.submit(std::slice::from_ref(&first)).await.unwrap();
    ground.accept(&ground.signal(run)).await;
    let page = writer.read(&beginning(), 10).await;
    transaction.commit().await.unwrap();
    ground.accept(&second).await;

    let page = writer.read(&page.cursor, 10).await;
    assert_eq!(bodies(&page.messages), [first.body, second.body]);
}

/// The first signal commits late, under an early number, while the reader is between two pages: the second one,
/// sent after it, must not be on a page before it.
pub async fn two_signals_of_one_client_never_swap_across_pages(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    let Some(mut transaction) = harness.begin().await else { return };
    ground.accept(&ground.start(run)).await;
    let (first, second) = (ground.signal(run), ground.signal(run));
    transaction.submit(std::slice::from_ref(&first)).await.unwrap();
    for _ in 0..3 {
        ground.accept(&ground.signal(run)).await;
    }
    // The reader's first page ends behind the number of the open transaction.
    let page = writer.read(&beginning(), 2).await;
    assert!(page.more);
    transaction.commit().await.unwrap();
    ground.accept(&second).await;

    let mut order = Vec::new();
    let mut cursor = page.cursor;
    loop {
        let page = writer.read(&cursor, 2).await;
        order.extend(bodies(&page.messages));
        cursor = page.cursor;
        if !page.more {
            break;
        }
    }
    let position = |body| order.iter().position(|read| read == body).expect("it was read");
    assert!(position(&first.body) < position(&second.body), "{order:?}");
    assert_eq!(order.len(), 4, "each is read once: {order:?}");
}

pub async fn late_commits_of_one_window_are_read_in_the_order_of_numbers(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let Some(mut transaction) = harness.begin().await else { return };
    let mut writer = ground.writer().await;
    let (early, late) = (ground.start(ground.run(0)), ground.start(ground.run(1)));
    transaction.submit(std::slice::from_ref(&early)).await.unwrap();
    ground.accept(&late).await;
    transaction.commit().await.unwrap();

    let page = writer.read(&beginning(), 1).await;
    assert_eq!(bodies(&page.messages), [early.body]);
    assert!(page.more);
    let page = writer.read(&page.cursor, 1).await;
    assert_eq!(bodies(&page.messages), [late.body]);
}

pub async fn rolled_back_message_is_never_read(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    ground.accept(&ground.start(run)).await;
    let Some(mut transaction) = harness.begin().await else { return };
    let signal = ground.signal(run);
    transaction.submit(std::slice::from_ref(&signal)).await.unwrap();
    transaction.rollback().await;

    assert_eq!(writer.inbox().await.len(), 1);
    ground.accept(&signal).await;
    assert_eq!(writer.inbox().await.len(), 2, "it was not accepted before");
}

pub async fn open_transaction_delays_neither_appends_nor_submits(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let Some(mut transaction) = harness.begin().await else { return };
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    ground.accept(&ground.start(run)).await;
    let held = ground.run(0);
    transaction.submit(&[ground.signal(run), ground.keyed(held, "order", "k", None)]).await.unwrap();

    let message = writer.inbox().await.remove(0);
    writer.write(writer.draft().event(run).event(run).close(run).consume(&message)).await;
    ground.accept(&ground.start(ground.run(0))).await;
    assert_eq!(writer.inbox().await.len(), 1);
    transaction.commit().await.unwrap();
    assert_eq!(writer.inbox().await.len(), 3);
}

pub async fn heartbeat_tells_of_mail_behind_the_cursor(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    assert!(!has_mail(&mut writer, &beginning()).await);
    ground.accept(&ground.start(ground.run(0))).await;
    assert!(has_mail(&mut writer, &beginning()).await);
    let page = writer.read(&beginning(), 10).await;
    assert!(!has_mail(&mut writer, &page.cursor).await, "it was read, though not consumed");
}

pub async fn heartbeat_tells_of_mail_on_further_pages(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    ground.submit(&[ground.start(ground.run(0)), ground.start(ground.run(1))]).await;
    let page = writer.read(&beginning(), 1).await;
    assert!(has_mail(&mut writer, &page.cursor).await);
}

pub async fn heartbeat_tells_nothing_of_the_mail_of_others(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.claim(2, LONG).await;
    ground.accept(&ground.start(ground.run(3))).await;
    assert!(!has_mail(&mut writer, &beginning()).await);
}

pub async fn cursor_that_the_store_did_not_make_is_corrupt(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let cursor = InboxCursor(Bytes::from_static(b"a|b|c"));
    let read = InboxRead { shards: ground.shards(), cursor, limit: 10, bytes: MANY_BYTES };
    let answer = writer.session.read_inbox(&read).await;
    assert!(matches!(answer, Err(StoreError::Corrupt { .. })), "{answer:?}");
}
