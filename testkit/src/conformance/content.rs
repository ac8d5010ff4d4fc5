//! The contents of a batch: one that contradicts what the store holds is refused as a whole; everything else is kept.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use pgworkflows_core::id::{EventSeq, MessageId, Position};
use pgworkflows_core::store::InboxCursor;

use super::fixture::Fixture;
use super::writer::{busy, closed_run, missing_message, parked};

pub async fn gap_or_repetition_in_the_events_of_a_run_is_a_conflict(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    for (index, seq) in [(0, 3), (0, 1), (1, 4)] {
        let draft = writer.draft().event(run).event(run);
        writer.expect_conflict(draft.change(|append| append.events[index].seq = EventSeq::new(seq))).await;
    }
    assert_eq!(fixture.history_len(run).await, 1);
}

pub async fn gap_or_repetition_in_the_positions_of_a_shard_is_a_conflict(fixture: &Fixture) {
    let (mut writer, _) = fixture.open_run().await;
    let run = fixture.run(0);
    for position in [Position::new(3), Position::FIRST] {
        let draft = writer.draft().open(run, busy()).event(run);
        writer.expect_conflict(draft.change(|append| append.events[0].position = position)).await;
    }
    assert_eq!(fixture.history_len(run).await, 0);
}

pub async fn append_to_an_unknown_run_is_a_conflict(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    writer.expect_conflict(writer.draft().event(run)).await;
    writer.expect_conflict(writer.draft().update(run, busy())).await;
}

pub async fn append_to_a_run_that_is_over_is_a_conflict(fixture: &Fixture) {
    let (mut writer, run) = fixture.ended_run().await;
    let draft = || writer.draft();
    let event = draft().event(run);
    let opened_again = draft().open(run, busy()).event(run);
    for late in [event, draft().close(run), opened_again, draft().update(run, busy())] {
        writer.expect_conflict(late).await;
    }
    assert_eq!(fixture.history_len(run).await, 2);
}

pub async fn run_is_opened_once(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;

    writer.expect_conflict(writer.draft().open(run, busy()).event(run)).await;
}

pub async fn run_may_begin_and_end_within_one_append_submitted_or_not(fixture: &Fixture) {
    let (mut writer, submitted, message) = fixture.submitted_run().await;
    let run = fixture.run(0);
    writer.open_and_close(run).await;
    writer.write(writer.draft().event(submitted).close(submitted).consume(&message)).await;
    for run in [run, submitted] {
        let described = fixture.describe(run).await;
        assert_eq!((described.open, described.closed), (None, Some(closed_run(run))));
    }
    assert_eq!(writer.unparked(None, 10).await, []);
}

pub async fn row_is_that_of_the_last_append(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let mut row = parked(Some(2_000_000_000_000_000));
    row.waiting_on = Some("signal upgrade".to_owned());
    writer.write(writer.draft().event(run).update(run, row.clone())).await;

    assert_eq!(fixture.open_row(run).await, Some(row));
}

pub async fn taking_a_missing_message_is_a_conflict(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    let missing = missing_message(fixture.shard(0));
    let draft = writer.draft().open(run, busy()).event(run);
    writer.expect_conflict(draft.change(|append| append.consumed.push(missing))).await;
    writer.expect_conflict(writer.draft().change(|append| append.undelivered.push(missing))).await;
    assert_eq!((fixture.history_len(run).await, fixture.open_row(run).await), (0, None));
}

pub async fn message_with_the_number_of_another_is_not_consumed(fixture: &Fixture) {
    let (mut writer, run, mut message) = fixture.submitted_run().await;
    message.message = MessageId::from_u128(message.message.as_u128() ^ 1);

    writer.expect_conflict(writer.draft().event(run).update(run, busy()).consume(&message)).await;
    assert_eq!(fixture.history_len(run).await, 0);
}

pub async fn consuming_a_message_twice_is_a_conflict(fixture: &Fixture) {
    let (mut writer, run, message) = fixture.submitted_run().await;
    writer.expect_conflict(writer.draft().event(run).consume(&message).consume(&message)).await;
    assert_eq!(writer.inbox().await.len(), 1);
    writer.write(writer.draft().event(run).update(run, busy()).consume(&message)).await;
    writer.expect_conflict(writer.draft().event(run).consume(&message)).await;
    assert_eq!(fixture.history_len(run).await, 1);
}

pub async fn conflict_in_one_run_writes_nothing_of_the_others(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let (good, unknown) = (fixture.run(0), fixture.run(1));
    fixture.accept(&fixture.start(good)).await;
    let message = writer.inbox().await.remove(0);

    let draft = writer.draft().event(good).update(good, busy()).consume(&message);
    writer.expect_conflict(draft.event(unknown)).await;
    assert_eq!(fixture.history_len(good).await, 0);
    assert_eq!(writer.inbox().await.len(), 1);
}

pub async fn message_that_arrived_too_late_is_undelivered(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let late = fixture.signal(run);
    fixture.accept(&late).await;
    writer.write(writer.draft().event(run).close(run)).await;
    let message = writer.inbox().await.remove(0);
    writer.write(writer.draft().undeliver(&message)).await;

    assert_eq!(writer.read(&InboxCursor::default(), 10).await.messages, []);
    let described = fixture.describe(run).await;
    let bodies: Vec<_> = described.undelivered.into_iter().map(|undelivered| undelivered.body).collect();
    assert_eq!(bodies, [late.body]);
}
