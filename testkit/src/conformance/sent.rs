//! Messages that an append sends to other runs: in the inbox with the append, or not at all.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use bytes::Bytes;
use pgworkflows_core::RunId;
use pgworkflows_core::store::{
    Append, InboxCursor, InboxMessage, OpenRow, OpenState, SentMessage, Submitted,
};

use super::Harness;
use super::fixture::{
    Ground, LONG, MANY_BYTES, Writer, assert_conflict, assert_fenced, bodies, busy, parked, reference, seal,
};

/// A writer of all shards, with a run that sends.
async fn sender(ground: &Ground<'_>) -> (Writer, RunId) {
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open(run, busy()).await;
    (writer, run)
}

fn is(read: &InboxMessage, sent: &SentMessage) -> bool {
    (read.run, read.message, &read.body) == (sent.run, sent.message, &sent.body)
}

#[track_caller]
fn assert_read(read: &[InboxMessage], sent: &[&SentMessage]) {
    let alike = read.len() == sent.len() && read.iter().zip(sent).all(|(read, sent)| is(read, sent));
    assert!(alike, "{read:?} was read, and {sent:?} was sent");
}

pub async fn sent_messages_are_read_in_the_order_of_sending(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let (mut writer, run) = sender(&ground).await;
    let other = ground.run(1);
    writer.open(other, parked(None)).await;

    let notes = [ground.note(other), ground.note(run), ground.note(other)];
    writer.write(notes.iter().fold(writer.draft().event(run), |draft, note| draft.send(note))).await;
    let later = ground.note(other);
    writer.write(writer.draft().event(run).send(&later)).await;

    assert_read(&writer.inbox().await, &[&notes[0], &notes[1], &notes[2], &later]);
}

pub async fn sent_start_opens_a_pending_run(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let (mut writer, run) = sender(&ground).await;
    let child = ground.child(ground.run(2));
    writer.write(writer.draft().event(run).send(&child)).await;

    let pending = OpenRow { state: OpenState::Pending, ..OpenRow::default() };
    let described = ground.store.query().describe(child.run).await.unwrap().expect("the run is known");
    assert_eq!((described.open, described.key), (Some(pending), None));
    assert_eq!(Some(&*described.workflow), child.opens.as_deref());
    // It begins as every run whose start is in the inbox does.
    let start = writer.inbox().await.remove(0);
    assert_read(std::slice::from_ref(&start), &[&child]);
    writer.write(writer.draft().event(child.run).update(child.run, busy()).consume(&start)).await;
    assert_eq!(ground.open_row(child.run).await, Some(busy()));
}

pub async fn run_that_a_sent_start_opened_takes_messages(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let (mut writer, run) = sender(&ground).await;
    let child = ground.child(ground.run(2));
    let note = ground.note(child.run);
    writer.write(writer.draft().event(run).send(&child).send(&note)).await;
    let signal = ground.signal(child.run);
    ground.accept(&signal).await;

    assert_eq!(bodies(&writer.inbox().await), [child.body, note.body, signal.body]);
}

pub async fn sent_start_of_a_run_that_exists_changes_nothing(harness: &dyn Harness) {
    // Given a run that is open, one that is over, and one whose start is sent in the same append
    let ground = Ground::new(harness).await;
    let (mut writer, run) = sender(&ground).await;
    let (open, over, new) = (ground.run(1), ground.run(2), ground.run(3));
    writer.open(open, parked(None)).await;
    writer.open_and_close(over).await;

    // When their starts are sent
    let first = ground.child(new);
    let again = [ground.child(open), ground.child(over), ground.child(new)];
    let draft = writer.draft().event(run).send(&first);
    writer.write(again.iter().fold(draft, |draft, child| draft.send(child))).await;

    // Then only the run that is new has one
    assert_read(&writer.inbox().await, &[&first]);
    assert_eq!(ground.open_row(open).await, Some(parked(None)));
    assert_eq!(ground.open_row(over).await, None);
}

pub async fn message_that_waits_is_not_sent_again(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let (mut writer, run) = sender(&ground).await;
    let note = ground.note(run);
    writer.write(writer.draft().event(run).send(&note).send(&note)).await;
    let other = ground.note(run);
    writer.write(writer.draft().event(run).send(&note).send(&other)).await;

    assert_read(&writer.inbox().await, &[&note, &other]);
}

pub async fn repeated_append_sends_once(harness: &dyn Harness) {
    // Given an append whose messages have been consumed before it comes again
    let ground = Ground::new(harness).await;
    let (mut writer, run) = sender(&ground).await;
    let (note, child) = (ground.note(run), ground.child(ground.run(1)));
    let append = writer.write(writer.draft().event(run).send(&note).send(&child)).await;
    writer.session.append(&append).await.expect("it was applied");
    let messages = writer.inbox().await;
    assert_read(&messages, &[&note, &child]);
    let consuming = writer.draft().event(child.run).event(child.run).close(child.run);
    let consuming =
        messages.iter().fold(consuming.event(run), |draft, message| draft.consume(message)).seal();
    writer.session.append(&consuming).await.unwrap();

    // When both come again
    writer.session.append(&consuming).await.expect("it was applied");

    // Then nothing was sent again
    assert_eq!(writer.inbox().await, []);
    assert_eq!(ground.open_row(child.run).await, None);
}

pub async fn conflicting_append_sends_nothing(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let (mut writer, run) = sender(&ground).await;
    let (note, child) = (ground.note(run), ground.child(ground.run(1)));
    let conflict = writer.draft().event(run).update(ground.run(2), busy()).send(&note).send(&child).seal();
    assert_conflict(writer.append(&conflict).await);
    assert_eq!(writer.inbox().await, []);
    assert_eq!(ground.open_row(child.run).await, None);

    // Under the same number, they are sent.
    writer.write(writer.draft().event(run).send(&note).send(&child)).await;
    assert_read(&writer.inbox().await, &[&note, &child]);
}

pub async fn fenced_append_sends_nothing(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut late = ground.mortal_writer().await;
    let run = ground.run(0);
    late.open(run, busy()).await;
    harness.let_lease_expire().await;
    let mut writer = ground.writer().await;

    let (note, child) = (ground.note(run), ground.child(ground.run(1)));
    let append = late.draft().event(run).send(&note).send(&child).seal();
    assert_fenced(late.append(&append).await);
    assert_eq!(writer.inbox().await, []);
    assert_eq!(ground.open_row(child.run).await, None);
}

pub async fn other_messages_under_the_same_number_are_fenced(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let (mut writer, run) = sender(&ground).await;
    let note = ground.note(run);
    let append = writer.write(writer.draft().event(run).send(&note)).await;

    let child = SentMessage { opens: Some("order".into()), ..note.clone() };
    let longer = SentMessage { body: Bytes::from_static(b"another"), ..note.clone() };
    for other in [vec![], vec![child], vec![longer], vec![note.clone(), ground.note(run)]] {
        let other = seal(Append { sent: other, ..append.clone() });
        assert_fenced(writer.session.append(&other).await);
    }
    assert_read(&writer.inbox().await, &[&note]);
}

pub async fn message_may_be_sent_to_any_shard(harness: &dyn Harness) {
    // Given a writer, another that owns other shards, and one shard that nobody owns
    let ground = Ground::new(harness).await;
    let mut writer = ground.claim(2, LONG).await;
    let mut other = ground.claim(1, LONG).await;
    let (run, foreign, free) = (ground.run(0), ground.run(2), ground.run(3));
    writer.open(run, busy()).await;

    let starts = [ground.child(foreign), ground.child(free)];
    let note = ground.note(free);
    let draft = writer.draft().event(run).send(&starts[0]).send(&starts[1]);
    writer.write(draft.send(&note)).await;

    assert_eq!(writer.inbox().await, []);
    assert_read(&other.inbox().await, &[&starts[0]]);
    let mut owner = ground.claim(1, LONG).await;
    assert_read(&owner.inbox().await, &[&starts[1], &note]);
}

pub async fn message_sent_to_a_run_that_is_over_is_for_its_owner_to_undeliver(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let (mut writer, run) = sender(&ground).await;
    let over = ground.run(1);
    writer.open_and_close(over).await;
    let note = ground.note(over);
    writer.write(writer.draft().event(run).send(&note)).await;

    let message = writer.inbox().await.remove(0);
    writer.write(writer.draft().undeliver(&message)).await;
    let described = ground.store.query().describe(over).await.unwrap().expect("the run is known");
    let undelivered: Vec<Bytes> = described.undelivered.into_iter().map(|message| message.body).collect();
    assert_eq!((undelivered, writer.inbox().await), (vec![note.body], vec![]));
}

pub async fn sent_message_is_read_beyond_a_cursor(harness: &dyn Harness) {
    // Given a reader that has read everything, and a client whose message has a number and is not committed yet
    let ground = Ground::new(harness).await;
    let (mut writer, run) = sender(&ground).await;
    let mut cursor = writer.read(&InboxCursor::default(), 10).await.cursor;
    let mut transaction = ground.harness.begin().await;
    let signal = ground.signal(run);
    if let Some(transaction) = &mut transaction {
        assert_eq!(transaction.submit(std::slice::from_ref(&signal)).await.unwrap(), [Submitted::Accepted]);
    }

    // When a message is sent, it is read, once
    let note = ground.note(run);
    writer.write(writer.draft().event(run).send(&note)).await;
    assert!(writer.look(writer.lease_heartbeat()).await.mail);
    let page = writer.read(&cursor, 10).await;
    assert_read(&page.messages, &[&note]);
    cursor = page.cursor;
    assert_eq!(writer.read(&cursor, 10).await.messages, []);

    // And the client's message is not skipped when it comes
    let Some(transaction) = transaction else { return };
    transaction.commit().await.unwrap();
    assert_eq!(bodies(&writer.read(&cursor, 10).await.messages), [signal.body]);
}

pub async fn sent_message_can_be_consumed_by_the_run_that_sent_it(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let (mut writer, run) = sender(&ground).await;
    let note = ground.note(run);
    writer.write(writer.draft().event(run).send(&note)).await;
    let message = writer.inbox().await.remove(0);

    // In the append that takes it in, another is sent.
    let other = ground.note(run);
    let append = writer.write(writer.draft().event(run).consume(&message).send(&other)).await;
    assert_eq!(append.consumed, [reference(&message)]);
    assert_read(&writer.inbox().await, &[&other]);
}

pub async fn many_and_large_messages_are_sent_at_once(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let (mut writer, run) = sender(&ground).await;
    let mut sent: Vec<SentMessage> = (0..600).map(|_| ground.note(run)).collect();
    sent.extend((0..200).map(|number| ground.child(ground.run(number % 4))));
    sent[300].body = Bytes::from(vec![7; 2 << 20]);
    let draft = writer.draft().event(run);
    writer.write(sent.iter().fold(draft, |draft, message| draft.send(message))).await;

    let page = writer.read_bytes(&InboxCursor::default(), 1000, MANY_BYTES).await;
    assert_read(&page.messages, &sent.iter().collect::<Vec<_>>());
}
