//! Messages reach their runs exactly once and in order, however often they are read.

use super::*;

#[test]
fn redelivered_message_is_consumed_and_changes_nothing() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.run();
    let message =
        Message::Signal { signal: Name::from_static("go"), payload: payload(&3), key: None, trace: None };
    fixture.submit_again(run, &message, MessageId::from_u128(99));
    fixture.run();
    fixture.submit_again(run, &message, MessageId::from_u128(99));
    fixture.run();
    let cancel = Message::Cancel { reason: None, parent: None };
    fixture.submit(run, &cancel);
    fixture.submit(run, &cancel);
    fixture.run();
    assert!(fixture.inbox.is_empty());
    expect![[r#"
        1 run.started waits 0
        2 signal.received go 3
        3 cancel.requested
        4 run.cancelled
    "#]]
    .assert_eq(&fixture.history(run));
}

#[test]
fn message_for_a_run_that_is_over_goes_to_undelivered() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.signal(run, 0);
    let same_page = fixture.signal(run, 1);
    fixture.run();
    let later = fixture.signal(run, 2);
    fixture.run();
    assert_eq!(fixture.undelivered, [same_page, later]);
    assert!(fixture.inbox.is_empty());
}

#[test]
fn messages_for_a_run_that_is_being_loaded_keep_their_order() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Waits>(1, 0);
    fixture.run();
    fixture.signal(run, 1);
    let read = fixture.processor.next_read().expect("there are messages");
    fixture.answer(read);
    fixture.work();
    // The history is requested, and another message arrives before the answer.
    let load = fixture.processor.next_read().expect("the run is to be loaded");
    fixture.signal(run, 2);
    let read = fixture.processor.next_read().expect("there are messages");
    fixture.answer(read);
    fixture.work();
    fixture.answer(load);
    fixture.run();
    expect![[r#"
        1 run.started waits 0
        2 signal.received go 1
        3 signal.received go 2
    "#]]
    .assert_eq(&fixture.history(run));
}

#[test]
fn message_that_a_slow_read_returns_again_is_not_delivered_twice() {
    let mut fixture = Fixture::new();
    let run = fixture.start::<Works>(1, 5);
    let read = fixture.processor.next_read().expect("recovery comes first");
    fixture.answer(read);
    let read = fixture.processor.next_read().expect("there are messages");
    let page = fixture.page();
    assert!(matches!(read, StoreRead::Inbox(_)), "{read:?} does not read the inbox");
    fixture.processor.messages(page.clone());
    fixture.work();
    // A shard is claimed, so the inbox is read from its beginning. The answer precedes the append.
    let append = fixture.processor.cut().expect("the start is appended");
    fixture.processor.has_mail();
    let mut reads = std::iter::from_fn(|| fixture.processor.next_read());
    assert!(reads.any(|read| matches!(read, StoreRead::Inbox(_))), "there may be messages again");
    fixture.append(&append);
    fixture.processor.messages(page);
    fixture.run();
    fixture.end(run, 1, Ok(1));
    assert!(fixture.rows.is_empty());
}

#[test]
fn answer_about_fewer_shards_moves_no_watermark() {
    let mut fixture = Fixture::new();
    fixture.heartbeat(SECOND);
    fixture.processor.has_mail();
    let read = fixture.processor.next_read().expect("there are messages");
    assert!(matches!(read, StoreRead::Inbox(_)), "{read:?} does not read the inbox");
    let asked = fixture.processor.heartbeat(fixture.now.saturating_add(9 * SECOND), SECOND);
    let other = ShardId::new(9).expect("9 is a shard");
    fixture.processor.claimed(&claimed(1, other, Position::FIRST, 0));
    // Both answers cover only the shard that was owned before.
    let page = fixture.page();
    fixture.processor.messages(page);
    let (lease, standing) = (asked.lease, Standing::default());
    let answer = LeaseAnswer { lease, held: true, shards: 2, standing, mail: false, due: false };
    fixture.processor.heartbeat_answered(&asked, &answer);
    let next = fixture.processor.heartbeat(fixture.now, SECOND);
    assert_eq!(next.due_after, asked.due_after);
    let reads: Vec<StoreRead> = std::iter::from_fn(|| fixture.processor.next_read()).collect();
    let is_from_the_beginning = |read: &StoreRead| match read {
        StoreRead::Inbox(read) => read.shards == [other] && read.cursor == InboxCursor::default(),
        StoreRead::Due(due) => due.shards == [other] && due.after.is_none(),
        StoreRead::List(_) | StoreRead::Load(_) => false,
    };
    assert_eq!(reads.iter().filter(|read| is_from_the_beginning(read)).count(), 2, "{reads:?}");
}
