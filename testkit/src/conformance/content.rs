//! The contents of a batch: one that contradicts what the store holds is refused as a whole; everything else is kept.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use pgworkflows_core::id::{EventSeq, MessageId, Position};
use pgworkflows_core::store::{Frame, InboxCursor};

use super::fixture::Fixture;
use super::writer::{Draft, busy, closed_run, missing_message, parked};

/// Changes one frame of a batch, in a case that makes it contradict the log or the other frames.
fn with_frame(draft: Draft, index: usize, change: impl FnOnce(&mut Frame)) -> Draft {
    draft.change(|append| change(&mut append.frames[index]))
}

pub async fn frame_takes_as_many_numbers_as_it_has_events(fixture: &Fixture) {
    // Given a run with the events 1 to 4, of which 2 to 4 are in one frame
    let (mut writer, run) = fixture.open_run().await;
    writer.write(writer.draft().frame(run, 3)).await;

    // Then a frame is refused if it repeats an event, overlaps that frame, or leaves a gap
    for seq in [1, 2, 3, 4, 6] {
        let draft = writer.draft().frame(run, 2);
        writer.expect_conflict(with_frame(draft, 0, |frame| frame.seq = EventSeq::new(seq))).await;
    }
    // And so is one that does the same after a frame of the same append, with or without another run's between them
    for seq in [4, 5, 6, 8] {
        let draft = writer.draft().frame(run, 2).frame(run, 2);
        writer.expect_conflict(with_frame(draft, 1, |frame| frame.seq = EventSeq::new(seq))).await;
        let other = fixture.run(0);
        let draft = writer.draft().open(other, busy()).frame(run, 2).event(other).frame(run, 2);
        writer.expect_conflict(with_frame(draft, 2, |frame| frame.seq = EventSeq::new(seq))).await;
    }
    assert_eq!(fixture.history_len(run).await, 4);
    writer.write(writer.draft().frame(run, 2).frame(run, 2)).await;
    assert_eq!(fixture.history_len(run).await, 8);
}

pub async fn frame_takes_as_many_positions_as_it_has_events(fixture: &Fixture) {
    // Given a shard whose positions 1 to 4 are taken, 2 to 4 by one frame
    let (mut writer, before) = fixture.open_run().await;
    writer.write(writer.draft().frame(before, 3)).await;

    // Then a frame is refused if it takes one of them again, or leaves a gap
    let (run, other) = (fixture.run(0), fixture.run(3));
    for last in [1, 2, 3, 4, 5, 7] {
        let draft = writer.draft().open(run, busy()).frame(run, 2);
        writer.expect_conflict(with_frame(draft, 0, |frame| frame.position = Position::new(last))).await;
    }
    // And so is one that does the same after a frame of the same append, with or without another shard's between them
    for last in [6, 7, 9] {
        let draft = writer.draft().open(run, busy()).frame(before, 2).frame(run, 2);
        writer.expect_conflict(with_frame(draft, 1, |frame| frame.position = Position::new(last))).await;
        let draft = writer.draft().open(run, busy()).open(other, busy());
        let draft = draft.frame(before, 2).event(other).frame(run, 2);
        writer.expect_conflict(with_frame(draft, 2, |frame| frame.position = Position::new(last))).await;
    }
    assert_eq!((fixture.history_len(before).await, fixture.history_len(run).await), (4, 0));
    writer.write(writer.draft().open(run, busy()).frame(before, 2).frame(run, 2)).await;
    assert_eq!(fixture.history_len(run).await, 2);
}

pub async fn frame_without_events_is_a_conflict(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    // Whether it is said to end at the position of the event before it, or at the next one
    for position in [1, 2].map(Position::new) {
        let empty = |frame: &mut Frame| (frame.count, frame.position) = (0, position);
        writer.expect_conflict(with_frame(writer.draft().event(run), 0, empty)).await;
    }
    assert_eq!(fixture.history(run).await.len(), 1);
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
    assert_eq!(writer.unparked().await, []);
}

pub async fn row_is_that_of_the_last_append(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let mut row = parked(Some(2_000_000_000_000_000));
    row.waiting_on = Some("signal upgrade".to_owned());
    row.waits = Some(r#"[{"kind":"signal", "name":"upgrade"}]"#.to_owned());
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
