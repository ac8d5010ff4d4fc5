//! The append protocol: once, in order, under a valid lease, to shards of its own, or not at all.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use pgworkflows_core::id::{AppendNo, LeaseId};
use pgworkflows_core::store::Submitted;

use super::fixture::Fixture;
use super::writer::{LONG, assert_fenced, bodies, busy, stalled};

pub async fn appended_frames_are_the_history(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    let first = writer.write(writer.draft().open(run, busy()).frame(run, 2).event(run)).await;
    let second = writer.write(writer.draft().frame(run, 1000)).await;

    assert_eq!(fixture.history(run).await, [first.frames, second.frames].concat());
}

pub async fn body_of_a_frame_is_kept_byte_for_byte(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    for body in [every_byte.repeat(4096), every_byte, vec![0], vec![]] {
        let run = fixture.run(0);
        let draft = writer.draft().open(run, busy()).event(run);
        let append = writer.write(draft.change(|append| append.frames[0].body = body.into())).await;
        assert!(fixture.history(run).await == append.frames, "{} bytes", append.frames[0].body.len());
    }
}

pub async fn frames_of_many_runs_may_interleave_and_positions_are_counted_per_shard(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let (one, other, third) = (fixture.run(0), fixture.run(0), fixture.run(3));
    let draft = writer.draft().open(one, busy()).open(other, busy()).open(third, busy());
    writer.write(draft.frame(one, 2).event(other).frame(third, 3).event(one).frame(other, 2)).await;
    for (run, expected) in [(one, &[2, 4][..]), (other, &[3, 6]), (third, &[3])] {
        let positions = fixture.history(run).await.into_iter().map(|frame| frame.position.get());
        assert_eq!(positions.collect::<Vec<_>>(), expected);
    }
}

pub async fn append_opens_a_run_whose_start_was_also_submitted(fixture: &Fixture) {
    // Given a start that was submitted because it was unknown whether an append would open the run
    let (mut writer, run) = fixture.writer_and_run().await;
    fixture.accept(&fixture.start(run)).await;

    // When the append arrives after all, with another run
    let other = fixture.run(0);
    writer.write(writer.draft().open(other, stalled()).event(other).open(run, busy()).event(run)).await;

    // Then both runs have their rows, and the start waits in the inbox
    assert_eq!(fixture.open_row(run).await, Some(busy()));
    assert_eq!(fixture.open_row(other).await, Some(stalled()));
    assert_eq!(writer.unparked().await, [run, other]);
    assert_eq!(writer.inbox().await.len(), 1);
}

pub async fn late_start_of_a_run_that_is_over_leaves_nothing(fixture: &Fixture) {
    // Given a run that is logged from its beginning to its end while its start is being submitted
    let (mut writer, run) = fixture.writer_and_run().await;
    let Some(mut transaction) = fixture.harness.begin().await else { return };
    assert_eq!(transaction.submit(&[fixture.start(run)]).await.unwrap(), [Submitted::Accepted]);
    writer.open_and_close(run).await;
    transaction.commit().await.unwrap();

    // When the start is undelivered
    let start = writer.inbox().await.remove(0);
    writer.write(writer.draft().undeliver(&start)).await;

    // Then the run is over, and nothing else is left of it
    let described = fixture.describe(run).await;
    assert!(described.open.is_none() && described.closed.is_some(), "{described:?}");
    assert_eq!((described.undelivered, writer.inbox().await), (vec![], vec![]));
}

pub async fn repeated_append_is_applied_once_whatever_session_sends_it(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    let append = writer.write(writer.draft().open(run, busy()).event(run)).await;

    writer.append(&append).await.expect("it was applied");
    let mut other = fixture.store.session().await.unwrap();
    other.append(&append).await.expect("it was applied");
    assert_eq!(fixture.history_len(run).await, 1);
    writer.write(writer.draft().event(run)).await;
    assert_eq!(fixture.history_len(run).await, 2);
}

pub async fn repeated_append_that_consumed_a_message_is_accepted(fixture: &Fixture) {
    let (mut writer, run, message) = fixture.submitted_run().await;
    let append = writer.write(writer.draft().event(run).update(run, busy()).consume(&message)).await;

    writer.append(&append).await.expect("it was applied, so its message may be missing");
    assert_eq!(writer.inbox().await, []);
}

pub async fn another_batch_with_the_same_number_is_fenced(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    let append = writer.write(writer.draft().open(run, busy()).event(run)).await;

    writer.expect_fenced(writer.draft().event(run).numbered(append.number)).await;
    assert_eq!(fixture.history_len(run).await, 1);
}

pub async fn append_number_out_of_turn_is_fenced(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    for number in [AppendNo::new(0), AppendNo::new(2)] {
        writer.expect_fenced(writer.draft().open(run, busy()).event(run).numbered(number)).await;
    }
    assert_eq!(fixture.history_len(run).await, 0);
}

pub async fn append_number_may_be_used_again_after_a_conflict(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    writer.expect_conflict(writer.draft().event(run)).await;
    writer.write(writer.draft().open(run, busy()).event(run)).await;
    assert_eq!(fixture.history_len(run).await, 1);
}

pub async fn append_for_a_foreign_or_a_free_shard_is_fenced(fixture: &Fixture) {
    let mut writer = fixture.claim(2, LONG).await;
    let _other = fixture.claim(1, LONG).await;
    for run in [fixture.run(2), fixture.run(3)] {
        writer.expect_fenced(writer.draft().open(run, busy()).event(run)).await;
        assert_eq!(fixture.history_len(run).await, 0);
    }
}

pub async fn append_with_one_foreign_shard_writes_nothing(fixture: &Fixture) {
    let mut writer = fixture.claim(2, LONG).await;
    let (own, foreign) = (fixture.run(0), fixture.run(3));

    let draft = writer.draft().open(own, busy()).event(own);
    writer.expect_fenced(draft.open(foreign, busy()).event(foreign)).await;
    assert_eq!(fixture.history_len(own).await, 0);
    assert_eq!(fixture.open_row(own).await, None);
}

pub async fn consuming_a_message_of_a_foreign_shard_is_fenced(fixture: &Fixture) {
    let mut writer = fixture.claim(2, LONG).await;
    let mut other = fixture.claim(2, LONG).await;
    fixture.accept(&fixture.start(fixture.run(3))).await;
    let message = other.inbox().await.remove(0);

    writer.expect_fenced(writer.draft().consume(&message)).await;
    assert_eq!(other.inbox().await.len(), 1);
}

pub async fn append_under_an_unknown_lease_is_fenced(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    writer.lease = LeaseId::new(1 << 40);
    writer.expect_fenced(writer.draft().open(run, busy()).event(run)).await;
}

pub async fn append_is_accepted_until_the_lease_is_taken_over(fixture: &Fixture) {
    let mut writer = fixture.expired_writer().await;

    let run = fixture.run(0);
    writer.write(writer.draft().open(run, busy()).event(run)).await;
    assert_eq!(fixture.history_len(run).await, 1);
}

pub async fn fenced_append_writes_nothing(fixture: &Fixture) {
    let mut late = fixture.expiring_writer().await;
    let run = fixture.run(0);
    fixture.accept(&fixture.start(run)).await;
    let message = late.inbox().await.remove(0);
    fixture.harness.let_lease_expire().await;
    let mut writer = fixture.writer().await;

    late.expect_fenced(late.draft().event(run).update(run, busy()).consume(&message)).await;
    assert_eq!(fixture.history_len(run).await, 0);
    assert_eq!(bodies(&writer.inbox().await), [message.body]);
}

pub async fn repetition_of_an_applied_append_is_fenced_after_a_takeover(fixture: &Fixture) {
    let mut late = fixture.expiring_writer().await;
    let run = fixture.run(0);
    let append = late.write(late.draft().open(run, busy()).event(run)).await;
    fixture.harness.let_lease_expire().await;
    let _writer = fixture.writer().await;

    assert_fenced(late.append(&append).await);
    assert_eq!(fixture.history_len(run).await, 1);
}

pub async fn append_of_nothing_takes_its_number(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    let nothing = writer.write(writer.draft()).await;
    writer.append(&nothing).await.expect("a repetition is accepted");

    let draft = || writer.draft().open(run, busy()).event(run);
    let (same_number, next) = (draft().numbered(nothing.number), draft());
    writer.expect_fenced(same_number).await;
    writer.write(next).await;
    assert_eq!(fixture.history_len(run).await, 1);
}
