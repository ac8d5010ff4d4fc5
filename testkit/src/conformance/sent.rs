//! Messages that an append sends to other runs: they are written to the inbox with the append, or not at all.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use bytes::Bytes;
use pgworkflows_core::RunId;
use pgworkflows_core::store::{
    Append, ChildRun, InboxCursor, InboxMessage, OpenRow, OpenState, RunKey, SentMessage, Submitted,
    Undelivered,
};

use super::fixture::Fixture;
use super::writer::{LONG, MANY_BYTES, WORKFLOW, assert_fenced, bodies, busy, parked, reference};

fn is_same(read: &InboxMessage, sent: &SentMessage) -> bool {
    (read.run, read.message, &read.body) == (sent.run, sent.message, &sent.body)
}

#[track_caller]
fn assert_read(read: &[InboxMessage], sent: &[&SentMessage]) {
    let are_same = read.len() == sent.len() && read.iter().zip(sent).all(|(read, sent)| is_same(read, sent));
    assert!(are_same, "{read:?} was read, and {sent:?} was sent");
}

pub async fn sent_messages_are_read_in_the_order_of_sending(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let other = fixture.run(1);
    writer.open(other, parked(None)).await;

    let notes = [fixture.note(other), fixture.note(run), fixture.note(other)];
    writer.write(notes.iter().fold(writer.draft().event(run), |draft, note| draft.send(note))).await;
    let later = fixture.note(other);
    writer.write(writer.draft().event(run).send(&later)).await;

    assert_read(&writer.inbox().await, &[&notes[0], &notes[1], &notes[2], &later]);
}

pub async fn sent_start_opens_a_pending_run(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let child = fixture.child(fixture.run(2));
    writer.write(writer.draft().event(run).send(&child)).await;

    let pending = OpenRow { state: OpenState::Pending, ..OpenRow::default() };
    let described = fixture.describe(child.run).await;
    assert_eq!((described.open, described.key), (Some(pending), None));
    let opens = child.opens.clone().expect("it is a start");
    assert_eq!((&*described.workflow, described.parent), (&*opens.workflow, Some(opens.parent)));
    // The run begins like every run whose start is in the inbox.
    let start = writer.inbox().await.remove(0);
    assert_read(std::slice::from_ref(&start), &[&child]);
    writer.write(writer.draft().event(child.run).update(child.run, busy()).consume(&start)).await;
    assert_eq!(fixture.open_row(child.run).await, Some(busy()));
}

pub async fn run_that_a_sent_start_opened_takes_messages(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let child = fixture.child(fixture.run(2));
    let note = fixture.note(child.run);
    writer.write(writer.draft().event(run).send(&child).send(&note)).await;
    let signal = fixture.signal(child.run);
    fixture.accept(&signal).await;

    assert_eq!(bodies(&writer.inbox().await), [child.body, note.body, signal.body]);
}

pub async fn sent_start_of_a_run_that_exists_changes_nothing(fixture: &Fixture) {
    // Given a run that is open, one that is over, and one whose start is sent in the same append
    let (mut writer, run) = fixture.open_run().await;
    let (open, over, new) = (fixture.run(1), fixture.run(2), fixture.run(3));
    writer.open(open, parked(None)).await;
    writer.open_and_close(over).await;

    // When their starts are sent
    let first = fixture.child(new);
    let again = [fixture.child(open), fixture.child(over), fixture.child(new)];
    let draft = writer.draft().event(run).send(&first);
    writer.write(again.iter().fold(draft, |draft, child| draft.send(child))).await;

    // Then only the new run has a start
    assert_read(&writer.inbox().await, &[&first]);
    assert_eq!(fixture.open_row(open).await, Some(parked(None)));
    assert_eq!(fixture.open_row(over).await, None);
}

pub async fn waiting_message_is_not_sent_again(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let note = fixture.note(run);
    writer.write(writer.draft().event(run).send(&note).send(&note)).await;
    let other = fixture.note(run);
    writer.write(writer.draft().event(run).send(&note).send(&other)).await;

    assert_read(&writer.inbox().await, &[&note, &other]);
}

pub async fn repeated_append_sends_once(fixture: &Fixture) {
    // Given an append whose messages were consumed before it is repeated
    let (mut writer, run) = fixture.open_run().await;
    let (note, child) = (fixture.note(run), fixture.child(fixture.run(1)));
    let append = writer.write(writer.draft().event(run).send(&note).send(&child)).await;
    writer.append(&append).await.expect("it was applied");
    let messages = writer.inbox().await;
    assert_read(&messages, &[&note, &child]);
    let consuming = writer.draft().event(child.run).event(child.run).close(child.run);
    let consuming = messages.iter().fold(consuming.event(run), |draft, message| draft.consume(message));
    let consuming = writer.write(consuming).await;

    // When both are repeated
    writer.append(&consuming).await.expect("it was applied");

    // Then nothing was sent again
    assert_eq!(writer.inbox().await, []);
    assert_eq!(fixture.open_row(child.run).await, None);
}

pub async fn conflicting_append_sends_nothing(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let (note, child) = (fixture.note(run), fixture.child(fixture.run(1)));
    writer
        .expect_conflict(writer.draft().event(run).update(fixture.run(2), busy()).send(&note).send(&child))
        .await;
    assert_eq!(writer.inbox().await, []);
    assert_eq!(fixture.open_row(child.run).await, None);

    // With the same number, they are sent.
    writer.write(writer.draft().event(run).send(&note).send(&child)).await;
    assert_read(&writer.inbox().await, &[&note, &child]);
}

pub async fn fenced_append_sends_nothing(fixture: &Fixture) {
    let mut late = fixture.expiring_writer().await;
    let run = fixture.run(0);
    late.open(run, busy()).await;
    fixture.harness.let_lease_expire().await;
    let mut writer = fixture.writer().await;

    let (note, child) = (fixture.note(run), fixture.child(fixture.run(1)));
    late.expect_fenced(late.draft().event(run).send(&note).send(&child)).await;
    assert_eq!(writer.inbox().await, []);
    assert_eq!(fixture.open_row(child.run).await, None);
}

pub async fn other_messages_with_the_same_number_are_fenced(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let note = fixture.note(run);
    let append = writer.write(writer.draft().event(run).send(&note)).await;

    let child = SentMessage {
        opens: Some(ChildRun { workflow: "order".into(), parent: RunId::from_u128(1) }),
        ..note.clone()
    };
    let longer = SentMessage { body: Bytes::from_static(b"another"), ..note.clone() };
    for other in [vec![], vec![child], vec![longer], vec![note.clone(), fixture.note(run)]] {
        let mut other = Append { sent: other, ..append.clone() };
        other.digest = other.content_digest();
        assert_fenced(writer.append(&other).await);
    }
    assert_read(&writer.inbox().await, &[&note]);
}

pub async fn message_may_be_sent_to_any_shard(fixture: &Fixture) {
    // Given two writers with different shards, and one shard without an owner
    let mut writer = fixture.claim(2, LONG).await;
    let mut other = fixture.claim(1, LONG).await;
    let (run, foreign, free) = (fixture.run(0), fixture.run(2), fixture.run(3));
    writer.open(run, busy()).await;

    let starts = [fixture.child(foreign), fixture.child(free)];
    let note = fixture.note(free);
    let draft = writer.draft().event(run).send(&starts[0]).send(&starts[1]);
    writer.write(draft.send(&note)).await;

    assert_eq!(writer.inbox().await, []);
    assert_read(&other.inbox().await, &[&starts[0]]);
    let mut owner = fixture.claim(1, LONG).await;
    assert_read(&owner.inbox().await, &[&starts[1], &note]);
}

pub async fn message_sent_to_a_run_that_is_over_can_be_undelivered(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let over = fixture.run(1);
    writer.open_and_close(over).await;
    let note = fixture.note(over);
    writer.write(writer.draft().event(run).send(&note)).await;

    let message = writer.inbox().await.remove(0);
    writer.write(writer.draft().undeliver(&message)).await;
    let described = fixture.describe(over).await;
    let undelivered: Vec<Bytes> = described.undelivered.into_iter().map(|message| message.body).collect();
    assert_eq!((undelivered, writer.inbox().await), (vec![note.body], vec![]));
}

pub async fn oldest_undelivered_messages_of_a_run_are_shown(fixture: &Fixture) {
    // Given more undelivered messages of two runs than a description shows
    let (mut writer, run) = fixture.open_run().await;
    let over = [fixture.run(1), fixture.run(2)];
    for over in over {
        writer.open_and_close(over).await;
    }
    let notes: Vec<_> =
        (0..=Undelivered::SHOWN_MAX).flat_map(|_| over.map(|over| fixture.note(over))).collect();
    writer.write(notes.iter().fold(writer.draft().event(run), |draft, note| draft.send(note))).await;
    let messages = writer.inbox().await;
    let draft = writer.draft();
    writer.write(messages.iter().fold(draft, |draft, message| draft.undeliver(message))).await;

    // Then each run shows its oldest
    for over in over {
        let shown = fixture.describe(over).await.undelivered;
        let own = notes.iter().filter(|note| note.run == over).take(Undelivered::SHOWN_MAX);
        assert!(shown.iter().map(|shown| &shown.body).eq(own.map(|note| &note.body)));
    }
}

pub async fn sent_message_is_read_beyond_a_cursor(fixture: &Fixture) {
    // Given a reader that has read everything, and a client whose message has a number and is not committed
    let (mut writer, run) = fixture.open_run().await;
    let mut cursor = writer.read(&InboxCursor::default(), 10).await.cursor;
    let mut transaction = fixture.harness.begin().await;
    let signal = fixture.signal(run);
    if let Some(transaction) = &mut transaction {
        assert_eq!(transaction.submit(std::slice::from_ref(&signal)).await.unwrap(), [Submitted::Accepted]);
    }

    // When a message is sent, it is read, once
    let note = fixture.note(run);
    writer.write(writer.draft().event(run).send(&note)).await;
    assert!(writer.look(writer.lease_heartbeat()).await.mail);
    let page = writer.read(&cursor, 10).await;
    assert_read(&page.messages, &[&note]);
    cursor = page.cursor;
    assert_eq!(writer.read(&cursor, 10).await.messages, []);

    // And the client's message is not skipped when it is committed
    let Some(transaction) = transaction else { return };
    transaction.commit().await.unwrap();
    assert_eq!(bodies(&writer.read(&cursor, 10).await.messages), [signal.body]);
}

pub async fn sent_message_can_be_consumed_by_the_run_that_sent_it(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let note = fixture.note(run);
    writer.write(writer.draft().event(run).send(&note)).await;
    let message = writer.inbox().await.remove(0);

    // The append that consumes it sends another.
    let other = fixture.note(run);
    let append = writer.write(writer.draft().event(run).consume(&message).send(&other)).await;
    assert_eq!(append.consumed, [reference(&message)]);
    assert_read(&writer.inbox().await, &[&other]);
}

pub async fn many_and_large_messages_are_sent_at_once(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let mut sent: Vec<SentMessage> = (0..600).map(|_| fixture.note(run)).collect();
    sent.extend((0..200).map(|number| fixture.child(fixture.run(number % 4))));
    sent[300].body = Bytes::from(vec![7; 2 << 20]);
    let draft = writer.draft().event(run);
    writer.write(sent.iter().fold(draft, |draft, message| draft.send(message))).await;

    let page = writer.read_bytes(&InboxCursor::default(), 1000, MANY_BYTES).await;
    assert_read(&page.messages, &sent.iter().collect::<Vec<_>>());
}

/// A message to whichever run has a key of the usual workflow, or to the named run.
fn to_key(fixture: &Fixture, key: &str, run: RunId) -> SentMessage {
    let key = RunKey { workflow: WORKFLOW.into(), key: key.to_owned() };
    SentMessage { key: Some(key), ..fixture.note(run) }
}

#[track_caller]
fn assert_received(read: &[InboxMessage], expected: &[(RunId, &SentMessage)]) {
    let received: Vec<_> = read.iter().map(|read| (read.run, read.message, &read.body)).collect();
    let expected: Vec<_> = expected.iter().map(|(run, sent)| (*run, sent.message, &sent.body)).collect();
    assert_eq!(received, expected);
}

pub async fn message_sent_to_a_key_goes_to_the_run_that_has_it_open_or_over(fixture: &Fixture) {
    // Given an open run with a key in another shard, and one that is over
    let (mut writer, run) = fixture.open_run().await;
    let (open, over) = (fixture.run(2), fixture.run(3));
    fixture.accept(&fixture.keyed(open, WORKFLOW, "open", None)).await;
    fixture.accept(&fixture.keyed(over, WORKFLOW, "over", None)).await;
    let starts = writer.inbox().await;
    let draft = writer.draft().event(open).update(open, parked(None)).event(over).event(over).close(over);
    writer.write(starts.iter().fold(draft, |draft, start| draft.consume(start))).await;

    // When messages are sent to both keys, beside one to a run
    let notes = [to_key(fixture, "over", run), fixture.note(run), to_key(fixture, "open", run)];
    writer.write(notes.iter().fold(writer.draft().event(run), |draft, note| draft.send(note))).await;

    // Then each is in the inbox of the run with the key, in the order of sending
    assert_received(&writer.inbox().await, &[(over, &notes[0]), (run, &notes[1]), (open, &notes[2])]);
}

pub async fn message_sent_to_a_key_that_no_run_has_goes_to_the_run_that_is_named(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    fixture.accept(&fixture.keyed(fixture.run(1), "trial", "acme", None)).await;
    let start = writer.inbox().await.remove(0);
    let unknown = to_key(fixture, "acme", run);
    writer.write(writer.draft().event(run).send(&unknown)).await;
    assert_received(&writer.inbox().await[1..], &[(run, &unknown)]);
    assert_ne!(start.run, run);
}

pub async fn message_sent_to_a_key_or_run_of_an_open_transaction_waits_for_nobody(fixture: &Fixture) {
    // Given a transaction that has started a run with a key, and stays open
    let Some(mut transaction) = fixture.harness.begin().await else { return };
    let (mut writer, run) = fixture.open_run().await;
    let started = fixture.run(1);
    transaction.submit(&[fixture.keyed(started, WORKFLOW, "acme", None)]).await.unwrap();

    // When an append sends to the key and to the run, then it is written, and nobody has received that
    let to_run = SentMessage { otherwise: Some(run), ..fixture.note(started) };
    let early = [to_key(fixture, "acme", run), to_run];
    writer.write(early.iter().fold(writer.draft().event(run), |draft, note| draft.send(note))).await;
    assert_received(&writer.inbox().await, &[(run, &early[0]), (run, &early[1])]);

    // And what is sent after the commit is received by the run
    transaction.commit().await.unwrap();
    let late = to_key(fixture, "acme", run);
    writer.write(writer.draft().event(run).send(&late)).await;
    let inbox = writer.inbox().await;
    let received: Vec<_> = inbox.iter().map(|read| (read.run, read.message)).collect();
    assert!(received.contains(&(started, late.message)), "{received:?}");
}

pub async fn message_sent_to_a_run_that_does_not_exist_goes_to_the_other_run(fixture: &Fixture) {
    // Given a run that is pending, one that is over, one that the append starts, and one that does not exist
    let (mut writer, run) = fixture.open_run().await;
    let (pending, over, nobody) = (fixture.run(1), fixture.run(2), fixture.run(3));
    writer.open_and_close(over).await;
    fixture.accept(&fixture.start(pending)).await;
    let child = fixture.child(fixture.run(2));

    // When messages are sent to them
    let note = |to| SentMessage { otherwise: Some(run), ..fixture.note(to) };
    let notes = [note(pending), note(over), note(nobody), note(child.run)];
    let draft = writer.draft().event(run).send(&child);
    writer.write(notes.iter().fold(draft, |draft, note| draft.send(note))).await;

    // Then only that to nobody went elsewhere
    let [to_pending, to_over, to_nobody, to_child] = &notes;
    let expected = [
        (child.run, &child),
        (pending, to_pending),
        (over, to_over),
        (run, to_nobody),
        (child.run, to_child),
    ];
    assert_received(&writer.inbox().await[1..], &expected);
}

pub async fn other_receivers_with_the_same_number_are_fenced(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let note = to_key(fixture, "acme", run);
    let append = writer.write(writer.draft().event(run).send(&note)).await;
    let nameless = SentMessage { key: None, ..note.clone() };
    let renamed = SentMessage { key: to_key(fixture, "zenith", run).key, ..note.clone() };
    let diverted = SentMessage { otherwise: Some(run), ..note };
    for other in [nameless, renamed, diverted] {
        let mut other = Append { sent: vec![other], ..append.clone() };
        other.digest = other.content_digest();
        assert_fenced(writer.append(&other).await);
    }
}
