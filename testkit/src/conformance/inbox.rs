//! The inbox: each message is read once, in an order that respects every sender, whatever is committed when.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use bytes::Bytes;
use pgworkflows_core::store::{InboxCursor, InboxRead, LeaseHeartbeat, StoreError, Submission, Submitted};

use super::fixture::Fixture;
use super::writer::{LONG, MANY_BYTES, SHARDS, Writer, bodies, busy};

/// The beginning of the inbox.
fn beginning() -> InboxCursor {
    InboxCursor::default()
}

async fn has_mail(writer: &mut Writer, cursor: &InboxCursor) -> bool {
    let heartbeat = LeaseHeartbeat { cursor: cursor.clone(), ..writer.lease_heartbeat() };
    writer.look(heartbeat).await.mail
}

pub async fn messages_are_read_in_the_order_of_submission(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let runs: Vec<_> = (0..SHARDS).rev().map(|shard| fixture.start(fixture.run(shard))).collect();
    fixture.submit(&runs).await;

    let page = writer.read(&beginning(), 10).await;
    let expected: Vec<_> = runs.iter().map(|start| (start.run, start.message, start.body.clone())).collect();
    let messages = page.messages.iter().map(|message| (message.run, message.message, message.body.clone()));
    assert_eq!(messages.collect::<Vec<_>>(), expected);
    assert!(!page.more);
    assert!(page.messages.is_sorted_by_key(|message| message.number));
}

pub async fn reader_reads_a_message_once_and_a_new_reader_until_it_is_consumed(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    let (start, signal) = (fixture.start(run), fixture.signal(run));
    fixture.accept(&start).await;
    let first = writer.read(&beginning(), 10).await;
    fixture.accept(&signal).await;

    let second = writer.read(&first.cursor, 10).await;
    assert_eq!(bodies(&second.messages), submitted(std::slice::from_ref(&signal)));
    assert_eq!(writer.read(&second.cursor, 10).await.messages, []);
    assert_eq!(writer.inbox().await, [&first.messages[..], &second.messages].concat());

    let start = &first.messages[0];
    writer.write(writer.draft().event(run).update(run, busy()).consume(start)).await;
    assert_eq!(writer.inbox().await, second.messages);
}

pub async fn reader_sees_its_shards_only(fixture: &Fixture) {
    let mut one = fixture.claim(2, LONG).await;
    let mut other = fixture.claim(2, LONG).await;
    let (start, foreign) = (fixture.start(fixture.run(0)), fixture.start(fixture.run(3)));
    fixture.submit(&[start.clone(), foreign.clone()]).await;

    assert_eq!(bodies(&one.inbox().await), [start.body]);
    assert_eq!(bodies(&other.inbox().await), [foreign.body]);
}

pub async fn page_holds_as_many_messages_as_asked_for(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let starts = starts_of(fixture, &[8; 5]);
    fixture.submit(&starts).await;

    let mut read = Vec::new();
    let mut cursor = beginning();
    for len in [2, 2, 1] {
        let page = writer.read(&cursor, 2).await;
        assert_eq!(page.messages.len(), len);
        assert!(page.more || len == 1, "there is more");
        read.extend(bodies(&page.messages));
        cursor = page.cursor;
    }
    // The last page need not know whether another message has arrived since the first.
    let end = writer.read(&cursor, 2).await;
    assert_eq!((end.messages.len(), end.more), (0, false));
    assert_eq!(read, submitted(&starts));
}

/// The pages from a cursor to the end, each with at most that many messages and bytes.
async fn read_pages(
    writer: &mut Writer,
    mut cursor: InboxCursor,
    limit: u32,
    bytes: usize,
) -> Vec<Vec<Bytes>> {
    let mut pages = Vec::new();
    loop {
        let page = writer.read_bytes(&cursor, limit, bytes).await;
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

/// The bodies of submissions.
fn submitted(submissions: &[Submission]) -> Vec<Bytes> {
    submissions.iter().map(|submission| submission.body.clone()).collect()
}

/// Starts whose bodies have these lengths.
fn starts_of(fixture: &Fixture, lengths: &[usize]) -> Vec<Submission> {
    let starts = lengths.iter().zip((0..SHARDS).cycle());
    let start = |(length, shard): (&usize, u16)| {
        let body = Bytes::from(vec![shard as u8; *length]);
        Submission { body, ..fixture.start(fixture.run(shard)) }
    };
    starts.map(start).collect()
}

pub async fn page_ends_before_the_message_that_exceeds_its_bytes(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    // Once for a reader that begins, and once for a reader that continues
    let mut cursor = beginning();
    for _ in 0..2 {
        let starts = starts_of(fixture, &[100, 100, 51, 0, 200, 50, 1]);
        fixture.submit(&starts).await;
        let expected = submitted(&starts);
        let pages = read_pages(&mut writer, cursor.clone(), 10, 250).await;
        // A limit that is reached exactly is not exceeded, and an empty message exceeds no limit.
        let expected: Vec<_> = [0..2, 2..4, 4..6, 6..7].map(|page| expected[page].to_vec()).into();
        assert_eq!(pages, expected);
        cursor = writer.read(&cursor, 1000).await.cursor;
    }
}

pub async fn page_holds_one_message_however_large(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let starts = starts_of(fixture, &[10_000, 0, 1, 20_000]);
    fixture.submit(&starts).await;
    let expected: Vec<_> = submitted(&starts).into_iter().map(|body| vec![body]).collect();
    assert_eq!(read_pages(&mut writer, beginning(), 10, 0).await, expected);
}

pub async fn late_commit_between_pages_of_bytes_is_read_in_order(fixture: &Fixture) {
    let Some(mut transaction) = fixture.harness.begin().await else { return };
    let mut writer = fixture.writer().await;
    let starts = starts_of(fixture, &[10, 10, 10, 10]);
    transaction.submit(&starts[..1]).await.unwrap();
    fixture.submit(&starts[1..3]).await;
    // A page of one message is read, then the early number is committed, and another message arrives
    let page = writer.read_bytes(&beginning(), 10, 15).await;
    assert_eq!((bodies(&page.messages), page.more), (submitted(&starts[1..2]), true));
    transaction.commit().await.unwrap();
    fixture.submit(&starts[3..]).await;
    let rest = read_pages(&mut writer, page.cursor, 10, 15).await.concat();
    assert_eq!(rest, submitted(&[starts[2].clone(), starts[0].clone(), starts[3].clone()]));
}

pub async fn page_after_the_last_full_page_says_that_there_is_no_more(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    fixture.submit(&[fixture.start(fixture.run(0)), fixture.start(fixture.run(1))]).await;

    let page = writer.read(&beginning(), 2).await;
    assert_eq!(page.messages.len(), 2);
    let next = writer.read(&page.cursor, 2).await;
    assert_eq!((next.messages.len(), next.more), (0, false));
}

pub async fn page_can_be_read_again(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let starts = starts_of(fixture, &[8; 4]);
    fixture.submit(&starts).await;

    let first = writer.read(&beginning(), 2).await;
    let second = writer.read(&first.cursor, 2).await;
    let again = writer.read(&first.cursor, 2).await;
    assert_eq!(second.messages, again.messages);
    assert_eq!(bodies(&again.messages), submitted(&starts[2..]));
}

pub async fn repeated_message_waits_once(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    let (start, signal) = (fixture.start(run), fixture.signal(run));
    let answers = fixture.submit(&[start.clone(), signal.clone(), signal.clone()]).await;
    assert_eq!(answers, [Submitted::Accepted; 3]);
    fixture.accept(&signal).await;
    assert_eq!(bodies(&writer.inbox().await), [start.body, signal.body]);
}

pub async fn message_in_an_open_transaction_is_not_read(fixture: &Fixture) {
    let Some(mut transaction) = fixture.harness.begin().await else { return };
    let mut writer = fixture.writer().await;
    transaction.submit(&[fixture.start(fixture.run(0))]).await.unwrap();

    assert_eq!(writer.inbox().await, []);
    assert!(!has_mail(&mut writer, &beginning()).await);
    transaction.commit().await.unwrap();
    assert_eq!(writer.inbox().await.len(), 1);
}

pub async fn late_commit_with_an_early_number_is_not_skipped(fixture: &Fixture) {
    let Some(mut transaction) = fixture.harness.begin().await else { return };
    let mut writer = fixture.writer().await;
    let (early, late) = (fixture.start(fixture.run(0)), fixture.start(fixture.run(0)));
    transaction.submit(std::slice::from_ref(&early)).await.unwrap();
    fixture.accept(&late).await;

    let first = writer.read(&beginning(), 10).await;
    assert_eq!(bodies(&first.messages), [late.body]);
    transaction.commit().await.unwrap();
    assert!(has_mail(&mut writer, &first.cursor).await);
    let second = writer.read(&first.cursor, 10).await;
    assert_eq!(bodies(&second.messages), [early.body]);
    assert!(second.messages[0].number < first.messages[0].number, "its number was taken early");
    assert_eq!(writer.read(&second.cursor, 10).await.messages, []);
}

pub async fn two_signals_of_one_client_never_swap(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    fixture.accept(&fixture.start(run)).await;
    let Some(mut transaction) = fixture.harness.begin().await else { return };
    let (first, second) = (fixture.signal(run), fixture.signal(run));
    transaction.submit(std::slice::from_ref(&first)).await.unwrap();
    fixture.accept(&fixture.signal(run)).await;
    let page = writer.read(&beginning(), 10).await;
    transaction.commit().await.unwrap();
    fixture.accept(&second).await;

    let page = writer.read(&page.cursor, 10).await;
    assert_eq!(bodies(&page.messages), [first.body, second.body]);
}

/// The first signal is committed late, with an early number, while the reader is between two pages. The second signal
/// was sent after it, so it must not be on an earlier page.
pub async fn two_signals_of_one_client_never_swap_across_pages(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    let Some(mut transaction) = fixture.harness.begin().await else { return };
    fixture.accept(&fixture.start(run)).await;
    let (first, second) = (fixture.signal(run), fixture.signal(run));
    transaction.submit(std::slice::from_ref(&first)).await.unwrap();
    for _ in 0..3 {
        fixture.accept(&fixture.signal(run)).await;
    }
    // The reader's first page ends after the number of the open transaction.
    let page = writer.read(&beginning(), 2).await;
    assert!(page.more);
    transaction.commit().await.unwrap();
    fixture.accept(&second).await;

    let order = read_pages(&mut writer, page.cursor, 2, MANY_BYTES).await.concat();
    let position = |body| order.iter().position(|read| read == body).expect("it was read");
    assert!(position(&first.body) < position(&second.body), "{order:?}");
    assert_eq!(order.len(), 4, "each is read once: {order:?}");
}

pub async fn late_commits_are_read_in_the_order_of_numbers(fixture: &Fixture) {
    let Some(mut transaction) = fixture.harness.begin().await else { return };
    let mut writer = fixture.writer().await;
    let (early, late) = (fixture.start(fixture.run(0)), fixture.start(fixture.run(1)));
    transaction.submit(std::slice::from_ref(&early)).await.unwrap();
    fixture.accept(&late).await;
    transaction.commit().await.unwrap();

    let page = writer.read(&beginning(), 1).await;
    assert_eq!(bodies(&page.messages), [early.body]);
    assert!(page.more);
    let page = writer.read(&page.cursor, 1).await;
    assert_eq!(bodies(&page.messages), [late.body]);
}

pub async fn rolled_back_message_is_never_read(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    fixture.accept(&fixture.start(run)).await;
    let Some(mut transaction) = fixture.harness.begin().await else { return };
    let signal = fixture.signal(run);
    transaction.submit(std::slice::from_ref(&signal)).await.unwrap();
    transaction.rollback().await;

    assert_eq!(writer.inbox().await.len(), 1);
    fixture.accept(&signal).await;
    assert_eq!(writer.inbox().await.len(), 2, "it was not accepted before");
}

pub async fn open_transaction_delays_neither_appends_nor_submits(fixture: &Fixture) {
    let Some(mut transaction) = fixture.harness.begin().await else { return };
    let (mut writer, run) = fixture.writer_and_run().await;
    fixture.accept(&fixture.start(run)).await;
    let held = fixture.run(0);
    transaction.submit(&[fixture.signal(run), fixture.keyed(held, "order", "k", None)]).await.unwrap();

    let message = writer.inbox().await.remove(0);
    writer.write(writer.draft().event(run).event(run).close(run).consume(&message)).await;
    fixture.accept(&fixture.start(fixture.run(0))).await;
    assert_eq!(writer.inbox().await.len(), 1);
    transaction.commit().await.unwrap();
    assert_eq!(writer.inbox().await.len(), 3);
}

pub async fn heartbeat_tells_of_mail_after_the_cursor(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    assert!(!has_mail(&mut writer, &beginning()).await);
    fixture.submit(&starts_of(fixture, &[8; 2])).await;
    assert!(has_mail(&mut writer, &beginning()).await);
    let page = writer.read(&beginning(), 1).await;
    assert!(has_mail(&mut writer, &page.cursor).await, "it is on the next page");
    let page = writer.read(&beginning(), 10).await;
    assert!(!has_mail(&mut writer, &page.cursor).await, "it was read, though not consumed");
}

pub async fn heartbeat_tells_nothing_of_the_mail_of_other_shards(fixture: &Fixture) {
    let mut writer = fixture.claim(2, LONG).await;
    fixture.accept(&fixture.start(fixture.run(3))).await;
    assert!(!has_mail(&mut writer, &beginning()).await);
}

pub async fn reader_may_pass_over_starts(fixture: &Fixture) {
    // Given messages among starts
    let mut writer = fixture.writer().await;
    let (one, other) = (fixture.start(fixture.run(0)), fixture.start(fixture.run(1)));
    let (to_one, to_other) = (fixture.signal(one.run), fixture.signal(other.run));
    for submission in [&one, &to_one, &other, &to_other] {
        fixture.accept(submission).await;
    }
    // Then a reader gets them without the starts, page by page, and what arrives later
    let page = writer.read_without_starts(&beginning(), 1).await;
    assert_eq!(bodies(&page.messages), submitted(std::slice::from_ref(&to_one)));
    let page = writer.read_without_starts(&page.cursor, 10).await;
    assert_eq!(bodies(&page.messages), submitted(std::slice::from_ref(&to_other)));
    let (start, signal) = (fixture.start(fixture.run(2)), fixture.signal(one.run));
    fixture.accept(&start).await;
    fixture.accept(&signal).await;
    let page = writer.read_without_starts(&page.cursor, 10).await;
    assert_eq!(bodies(&page.messages), submitted(std::slice::from_ref(&signal)));
    assert_eq!(writer.read_without_starts(&page.cursor, 10).await.messages, []);
    // And another reader gets all of them
    let all = [one, to_one, other, to_other, start, signal];
    assert_eq!(bodies(&writer.inbox().await), submitted(&all));
}

pub async fn foreign_cursor_is_corrupt(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let cursor = InboxCursor(Bytes::from_static(b"a|b|c"));
    let read = InboxRead { shards: fixture.shards(), cursor, limit: 10, bytes: MANY_BYTES, starts: true };
    let answer = writer.session.read_inbox(&read).await;
    assert!(matches!(answer, Err(StoreError::Corrupt { .. })), "{answer:?}");
}
