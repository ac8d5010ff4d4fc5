//! What a batch may say: a contradiction to what the store holds is refused whole, all else is kept.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use pgworkflows_core::id::{MessageId, Position};
use pgworkflows_core::store::InboxCursor;

use super::Harness;
use super::fixture::{Ground, assert_conflict, busy, closed_run, missing_message, parked, seal};

pub async fn gap_in_the_events_of_a_run_is_a_conflict(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open(run, busy()).await;

    let mut append = writer.draft().event(run).seal();
    append.events[0].seq = append.events[0].seq.next();
    assert_conflict(writer.append(&seal(append)).await);
    assert_eq!(ground.history_len(run).await, 1);
}

pub async fn repeated_event_of_a_run_is_a_conflict(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    let first = writer.write(writer.draft().open(run, busy()).event(run)).await;

    let mut append = writer.draft().event(run).seal();
    append.events[0].seq = first.events[0].seq;
    assert_conflict(writer.append(&seal(append)).await);
    assert_eq!(ground.history_len(run).await, 1);
}

pub async fn gap_within_a_batch_is_a_conflict(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);

    let mut append = writer.draft().open(run, busy()).event(run).event(run).seal();
    append.events[1].seq = append.events[1].seq.next();
    assert_conflict(writer.append(&seal(append)).await);
    assert_eq!(ground.history_len(run).await, 0);
}

pub async fn gap_in_the_positions_of_a_shard_is_a_conflict(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);

    let mut append = writer.draft().open(run, busy()).event(run).seal();
    append.events[0].position = append.events[0].position.next();
    assert_conflict(writer.append(&seal(append)).await);
    assert_eq!(ground.history_len(run).await, 0);
}

pub async fn repeated_position_of_a_shard_is_a_conflict(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let (one, other) = (ground.run(0), ground.run(0));
    writer.open(one, busy()).await;

    let mut append = writer.draft().open(other, busy()).event(other).seal();
    append.events[0].position = Position::FIRST;
    assert_conflict(writer.append(&seal(append)).await);
    assert_eq!(ground.history_len(other).await, 0);
}

pub async fn event_of_an_unknown_run_is_a_conflict(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let append = writer.draft().event(ground.run(0)).seal();
    assert_conflict(writer.append(&append).await);
}

pub async fn event_after_the_end_of_a_run_is_a_conflict(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open_and_close(run).await;

    let append = writer.draft().event(run).seal();
    assert_conflict(writer.append(&append).await);
    assert_eq!(ground.history_len(run).await, 2);
}

pub async fn run_is_closed_once(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open_and_close(run).await;

    let append = writer.draft().close(run).seal();
    assert_conflict(writer.append(&append).await);
}

pub async fn run_is_opened_once(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open(run, busy()).await;

    let append = writer.draft().open(run, busy()).event(run).seal();
    assert_conflict(writer.append(&append).await);
}

pub async fn run_that_is_over_is_not_opened_again(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open_and_close(run).await;

    let append = writer.draft().open(run, busy()).event(run).seal();
    assert_conflict(writer.append(&append).await);
}

pub async fn change_of_an_unknown_run_is_a_conflict(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let append = writer.draft().update(ground.run(0), busy()).seal();
    assert_conflict(writer.append(&append).await);
}

pub async fn change_of_a_run_that_is_over_is_a_conflict(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open_and_close(run).await;

    let append = writer.draft().update(run, busy()).seal();
    assert_conflict(writer.append(&append).await);
}

pub async fn run_may_begin_and_end_within_one_append(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open_and_close(run).await;

    let described = ground.store.query().describe(run).await.unwrap().expect("it exists");
    assert_eq!((described.open, described.closed), (None, Some(closed_run(run))));
    assert_eq!(writer.unparked(None, 10).await, []);
}

pub async fn submitted_run_may_begin_and_end_within_one_append(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    ground.accept(&ground.start(run)).await;
    let message = writer.inbox().await.remove(0);
    writer.write(writer.draft().event(run).event(run).close(run).consume(&message)).await;

    let described = ground.store.query().describe(run).await.unwrap().expect("it exists");
    assert_eq!((described.open, described.closed), (None, Some(closed_run(run))));
}

pub async fn row_is_what_the_last_append_made_it(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open(run, busy()).await;
    let mut row = parked(Some(2_000_000_000_000_000));
    row.waiting_on = Some("signal upgrade".to_owned());
    writer.write(writer.draft().event(run).update(run, row.clone())).await;

    assert_eq!(ground.open_row(run).await, Some(row));
}

pub async fn consuming_a_missing_message_is_a_conflict(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    let mut append = writer.draft().open(run, busy()).event(run).seal();
    append.consumed.push(missing_message(ground.shard(0)));

    assert_conflict(writer.append(&seal(append)).await);
    assert_eq!(ground.history_len(run).await, 0);
    assert_eq!(ground.open_row(run).await, None);
}

pub async fn message_in_the_place_of_another_is_not_consumed(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    ground.accept(&ground.start(run)).await;
    let mut message = writer.inbox().await.remove(0);
    message.message = MessageId::from_u128(message.message.as_u128() ^ 1);

    let append = writer.draft().event(run).update(run, busy()).consume(&message).seal();
    assert_conflict(writer.append(&append).await);
    assert_eq!(ground.history_len(run).await, 0);
}

pub async fn consuming_a_message_twice_is_a_conflict(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    ground.accept(&ground.start(run)).await;
    let message = writer.inbox().await.remove(0);
    writer.write(writer.draft().event(run).update(run, busy()).consume(&message)).await;

    let append = writer.draft().event(run).consume(&message).seal();
    assert_conflict(writer.append(&append).await);
    assert_eq!(ground.history_len(run).await, 1);
}

pub async fn consuming_one_message_twice_within_an_append_is_a_conflict(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    ground.accept(&ground.start(run)).await;
    let message = writer.inbox().await.remove(0);

    let append = writer.draft().event(run).consume(&message).consume(&message).seal();
    assert_conflict(writer.append(&append).await);
    assert_eq!(writer.inbox().await.len(), 1);
}

pub async fn conflict_in_one_run_writes_nothing_of_the_others(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let (good, unknown) = (ground.run(0), ground.run(1));
    ground.accept(&ground.start(good)).await;
    let message = writer.inbox().await.remove(0);

    let draft = writer.draft().event(good).update(good, busy()).consume(&message);
    assert_conflict(writer.append(&draft.event(unknown).seal()).await);
    assert_eq!(ground.history_len(good).await, 0);
    assert_eq!(writer.inbox().await.len(), 1);
}

pub async fn message_that_came_too_late_is_undelivered(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open(run, busy()).await;
    let late = ground.signal(run);
    ground.accept(&late).await;
    writer.write(writer.draft().event(run).close(run)).await;
    let message = writer.inbox().await.remove(0);
    writer.write(writer.draft().undeliver(&message)).await;

    assert_eq!(writer.read(&InboxCursor::default(), 10).await.messages, []);
    let described = ground.store.query().describe(run).await.unwrap().expect("it exists");
    let bodies: Vec<_> = described.undelivered.into_iter().map(|undelivered| undelivered.body).collect();
    assert_eq!(bodies, [late.body]);
}

pub async fn undelivering_a_missing_message_is_a_conflict(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let mut append = writer.draft().seal();
    append.undelivered.push(missing_message(ground.shard(0)));
    assert_conflict(writer.append(&seal(append)).await);
}
