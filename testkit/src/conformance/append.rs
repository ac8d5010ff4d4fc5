//! The append protocol: once, in order, under a valid lease, to shards of its own, or not at all.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use pgworkflows_core::id::{AppendNo, EventName, LeaseId, Position};
use pgworkflows_core::store::{Append, Submitted};

use super::Harness;
use super::fixture::{Ground, LONG, assert_conflict, assert_fenced, bodies, busy, seal};

pub async fn appended_events_are_the_history(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    let append = writer.write(writer.draft().open(run, busy()).event(run).event(run)).await;

    let history = ground.store.query().history(run, None, 10).await.unwrap();
    assert_eq!(history.len(), 2);
    for (record, event) in history.iter().zip(&append.events) {
        assert_eq!((record.seq, record.position), (event.seq, event.position));
        assert_eq!((&record.name, record.at, &record.body), (&event.name, event.at, &event.body));
    }
}

pub async fn event_name_that_no_build_knows_is_kept(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    let mut append = writer.draft().open(run, busy()).event(run).seal();
    append.events[0].name = EventName::from_stored("later.invented");
    writer.append(&seal(append)).await.unwrap();

    let history = ground.store.query().history(run, None, 10).await.unwrap();
    assert_eq!(history[0].name.as_str(), "later.invented");
}

pub async fn events_of_many_runs_may_interleave(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let (one, other) = (ground.run(0), ground.run(0));
    let draft = writer.draft().open(one, busy()).open(other, busy());
    writer.write(draft.event(one).event(other).event(one).event(other)).await;

    let history = ground.store.query().history(other, None, 10).await.unwrap();
    let positions: Vec<u64> = history.iter().map(|event| event.position.get()).collect();
    assert_eq!(positions, [2, 4]);
}

pub async fn positions_are_counted_per_shard(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let (one, other) = (ground.run(0), ground.run(3));
    writer
        .write(writer.draft().open(one, busy()).event(one).event(one).open(other, busy()).event(other))
        .await;

    let history = ground.store.query().history(other, None, 10).await.unwrap();
    assert_eq!(history[0].position, Position::FIRST);
}

pub async fn run_whose_start_was_submitted_as_well_is_opened_all_the_same(harness: &dyn Harness) {
    // Given a start that was submitted because whether an append would come was not known
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    ground.accept(&ground.start(run)).await;

    // When the append comes after all
    writer.open(run, busy()).await;

    // Then the run is busy, and its start waits to be taken in
    assert_eq!(ground.open_row(run).await, Some(busy()));
    assert_eq!(writer.unparked(None, 10).await, [run]);
    assert_eq!(writer.inbox().await.len(), 1);
}

pub async fn start_of_a_run_that_is_over_leaves_nothing_behind(harness: &dyn Harness) {
    // Given a run that is logged, from its beginning to its end, while its start is being submitted
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    let Some(mut transaction) = ground.harness.begin().await else { return };
    assert_eq!(transaction.submit(&[ground.start(run)]).await.unwrap(), [Submitted::Accepted]);
    writer.open_and_close(run).await;
    transaction.commit().await.unwrap();

    // When the start is given up
    let start = writer.inbox().await.remove(0);
    writer.write(writer.draft().undeliver(&start)).await;

    // Then the run is over, and nothing else is known of it
    let described = ground.store.query().describe(run).await.unwrap().expect("the run is known");
    assert!(described.open.is_none() && described.closed.is_some(), "{described:?}");
    assert_eq!((described.undelivered, writer.inbox().await), (vec![], vec![]));
}

pub async fn repeated_append_is_applied_once(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    let append = writer.write(writer.draft().open(run, busy()).event(run)).await;

    writer.append(&append).await.expect("it was applied");
    assert_eq!(ground.history_len(run).await, 1);
    writer.write(writer.draft().event(run)).await;
    assert_eq!(ground.history_len(run).await, 2);
}

pub async fn repeated_append_is_accepted_from_another_session(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    let append = writer.write(writer.draft().open(run, busy()).event(run)).await;

    let mut session = ground.store.session().await.unwrap();
    session.append(&append).await.expect("it was applied");
    assert_eq!(ground.history_len(run).await, 1);
}

pub async fn repeated_append_that_consumed_a_message_is_accepted(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    ground.accept(&ground.start(run)).await;
    let message = writer.inbox().await.remove(0);
    let append = writer.write(writer.draft().event(run).update(run, busy()).consume(&message)).await;

    writer.append(&append).await.expect("it was applied, so its message need not be there");
    assert_eq!(writer.inbox().await, []);
}

pub async fn other_batch_under_the_same_number_is_fenced(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    let append = writer.write(writer.draft().open(run, busy()).event(run)).await;

    let other = Append { number: append.number, ..writer.draft().event(run).seal() };
    assert_fenced(writer.append(&other).await);
    assert_eq!(ground.history_len(run).await, 1);
}

pub async fn append_whose_predecessor_is_missing_is_fenced(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    let append = Append { number: AppendNo::new(2), ..writer.draft().open(run, busy()).event(run).seal() };

    assert_fenced(writer.append(&append).await);
    assert_eq!(ground.history_len(run).await, 0);
}

pub async fn append_number_zero_is_fenced(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    let append = Append { number: AppendNo::new(0), ..writer.draft().open(run, busy()).event(run).seal() };

    assert_fenced(writer.append(&append).await);
}

pub async fn append_number_may_be_used_again_after_a_conflict(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    let bad = writer.draft().event(run).seal();
    assert_conflict(writer.append(&bad).await);

    writer.write(writer.draft().open(run, busy()).event(run)).await;
    assert_eq!(ground.history_len(run).await, 1);
}

pub async fn append_for_a_foreign_shard_is_fenced(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.claim(2, LONG).await;
    let _other = ground.claim(2, LONG).await;
    let run = ground.run(3);

    let append = writer.draft().open(run, busy()).event(run).seal();
    assert_fenced(writer.append(&append).await);
    assert_eq!(ground.history_len(run).await, 0);
}

pub async fn append_for_a_free_shard_is_fenced(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.claim(2, LONG).await;
    let run = ground.run(3);

    let append = writer.draft().open(run, busy()).event(run).seal();
    assert_fenced(writer.append(&append).await);
}

pub async fn append_with_one_foreign_shard_writes_nothing(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.claim(2, LONG).await;
    let (own, foreign) = (ground.run(0), ground.run(3));

    let draft = writer.draft().open(own, busy()).event(own);
    let append = draft.open(foreign, busy()).event(foreign).seal();
    assert_fenced(writer.append(&append).await);
    assert_eq!(ground.history_len(own).await, 0);
    assert_eq!(ground.open_row(own).await, None);
}

pub async fn consuming_a_message_of_a_foreign_shard_is_fenced(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.claim(2, LONG).await;
    let mut other = ground.claim(2, LONG).await;
    ground.accept(&ground.start(ground.run(3))).await;
    let message = other.inbox().await.remove(0);

    let append = writer.draft().consume(&message).seal();
    assert_fenced(writer.append(&append).await);
    assert_eq!(other.inbox().await.len(), 1);
}

pub async fn append_under_an_unknown_lease_is_fenced(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    writer.lease = LeaseId::new(1 << 40);
    let run = ground.run(0);

    let append = writer.draft().open(run, busy()).event(run).seal();
    assert_fenced(writer.append(&append).await);
}

pub async fn append_is_accepted_until_the_lease_is_taken_over(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.mortal_writer().await;
    harness.let_lease_expire().await;

    let run = ground.run(0);
    writer.write(writer.draft().open(run, busy()).event(run)).await;
    assert_eq!(ground.history_len(run).await, 1);
}

pub async fn fenced_append_writes_nothing(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut late = ground.mortal_writer().await;
    let run = ground.run(0);
    ground.accept(&ground.start(run)).await;
    let message = late.inbox().await.remove(0);
    harness.let_lease_expire().await;
    let mut writer = ground.writer().await;

    let append = late.draft().event(run).update(run, busy()).consume(&message).seal();
    assert_fenced(late.append(&append).await);
    assert_eq!(ground.history_len(run).await, 0);
    assert_eq!(bodies(&writer.inbox().await), [message.body]);
}

pub async fn repetition_of_an_applied_append_is_fenced_after_a_takeover(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut late = ground.mortal_writer().await;
    let run = ground.run(0);
    let append = late.write(late.draft().open(run, busy()).event(run)).await;
    harness.let_lease_expire().await;
    let _writer = ground.writer().await;

    assert_fenced(late.append(&append).await);
    assert_eq!(ground.history_len(run).await, 1);
}

pub async fn append_of_nothing_takes_its_number(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let nothing = writer.write(writer.draft()).await;
    writer.session.append(&nothing).await.expect("a repetition is accepted");

    let run = ground.run(0);
    let something = writer.draft().open(run, busy()).event(run).seal();
    let same_number = seal(Append { number: nothing.number, ..something.clone() });
    assert_fenced(writer.session.append(&same_number).await);
    writer.append(&something).await.unwrap();
    assert_eq!(ground.history_len(run).await, 1);
}
