//! Messages reach their runs once each, in order, however often they are read.

use super::*;

#[test]
fn redelivered_message_is_consumed_and_changes_nothing() {
    let mut desk = Desk::new();
    let run = desk.start::<Waits>(1, 0);
    desk.run();
    let message = Message::Signal { signal: Name::from_static("go"), payload: payload(&3), key: None };
    desk.submit_again(run, &message, MessageId::from_u128(99));
    desk.run();
    desk.submit_again(run, &message, MessageId::from_u128(99));
    desk.run();
    let cancel = Message::Cancel { reason: None };
    desk.submit(run, &cancel);
    desk.submit(run, &cancel);
    desk.run();
    assert!(desk.inbox.is_empty());
    expect![[r#"
        1 run.started waits 0
        2 signal.received go 3
        3 cancel.requested
        4 run.cancelled
    "#]]
    .assert_eq(&desk.history(run));
}

#[test]
fn message_for_a_run_that_is_over_goes_to_undelivered() {
    let mut desk = Desk::new();
    let run = desk.start::<Waits>(1, 0);
    desk.signal(run, 0);
    let same_page = desk.signal(run, 1);
    desk.run();
    let later = desk.signal(run, 2);
    desk.run();
    assert_eq!(desk.undelivered, [same_page, later]);
    assert!(desk.inbox.is_empty());
}

#[test]
fn messages_for_a_run_that_is_being_loaded_keep_their_order() {
    let mut desk = Desk::new();
    let run = desk.start::<Waits>(1, 0);
    desk.run();
    desk.signal(run, 1);
    let read = desk.processor.next_read().expect("there is mail");
    desk.answer(read);
    desk.work();
    // The history is asked for, and another message comes before the answer.
    let load = desk.processor.next_read().expect("the run is to be loaded");
    desk.signal(run, 2);
    let page = desk.page();
    let shards = vec![desk.shard];
    let inbox =
        crate::store::inbox::InboxRead { shards, cursor: InboxCursor::default(), limit: 10, bytes: 1 << 20 };
    desk.processor.messages(&inbox, page);
    desk.work();
    desk.answer(load);
    desk.run();
    expect![[r#"
        1 run.started waits 0
        2 signal.received go 1
        3 signal.received go 2
    "#]]
    .assert_eq(&desk.history(run));
}

#[test]
fn message_that_a_slow_read_shows_again_is_not_taken_twice() {
    let mut desk = Desk::new();
    let run = desk.start::<Works>(1, 5);
    let read = desk.processor.next_read().expect("recovery comes first");
    desk.answer(read);
    let read = desk.processor.next_read().expect("there is mail");
    let page = desk.page();
    let Read::Inbox(read) = read else { panic!("{read:?} is no read of the inbox") };
    desk.processor.messages(&read, page.clone());
    desk.work();
    // A shard is claimed, so the inbox is read from its beginning; the answer was made before the append.
    let append = desk.processor.cut().expect("the start is appended");
    desk.processor.has_mail();
    let mut reads = std::iter::from_fn(|| desk.processor.next_read());
    let slow = reads.find_map(|read| if let Read::Inbox(slow) = read { Some(slow) } else { None });
    let slow = slow.expect("there is mail again");
    desk.append(&append);
    desk.processor.messages(&slow, page);
    desk.run();
    desk.end(run, 1, Ok(1));
    assert!(desk.rows.is_empty());
}

#[test]
fn answer_about_fewer_shards_moves_no_mark() {
    let mut desk = Desk::new();
    desk.tick(SECOND);
    desk.processor.has_mail();
    let read = desk.processor.next_read().expect("there is mail");
    let Read::Inbox(read) = read else { panic!("{read:?} is no read of the inbox") };
    let asked = desk.processor.tick(desk.now.saturating_add(9 * SECOND), SECOND);
    let other = ShardId::new(9).expect("9 is a shard");
    desk.processor.claimed(&claimed(1, other, Position::FIRST, 0));
    // Both answers speak for the shard that was there before.
    let page = desk.page();
    desk.processor.messages(&read, page);
    let ticked = LeaseTicked { lease: asked.lease, held: true, shards: 2, mail: false, due: false };
    desk.processor.ticked(&asked, &ticked);
    let next = desk.processor.tick(desk.now, SECOND);
    assert_eq!((next.cursor, next.due_after), (InboxCursor::default(), None));
    let reads: Vec<Read> = std::iter::from_fn(|| desk.processor.next_read()).collect();
    assert!(reads.iter().any(|read| matches!(read, Read::Inbox(_))), "{reads:?}");
    assert!(reads.iter().any(|read| matches!(read, Read::Due(due) if due.after.is_none())), "{reads:?}");
}
