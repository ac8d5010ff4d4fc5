//! Starts and messages: accepted once, keys that hold, and refusals that say why.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use pgworkflows_core::RunId;
use pgworkflows_core::id::MessageId;
use pgworkflows_core::store::{FollowUp, OpenRow, OpenState, Submission, Submitted};

use super::fixture::Fixture;
use super::writer::{WORKFLOW, bodies, parked};

pub async fn start_opens_a_pending_run(fixture: &Fixture) {
    let run = fixture.run(0);
    fixture.accept(&fixture.keyed(run, "trial", "acme", None)).await;

    let described = fixture.describe(run).await;
    assert_eq!((described.run, described.workflow.as_str()), (run, "trial"));
    assert_eq!(described.key.as_deref(), Some("acme"));
    assert_eq!(described.open, Some(OpenRow { state: OpenState::Pending, ..OpenRow::default() }));
    assert_eq!(described.closed, None);
    assert_eq!(fixture.history_len(run).await, 0);
}

pub async fn repeated_start_with_or_without_a_key_is_accepted_and_changes_nothing(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let start = fixture.start(fixture.run(0));
    let keyed = fixture.keyed(fixture.run(0), "trial", "acme", Some(1));
    for _ in 0..2 {
        fixture.accept(&start).await;
        fixture.accept(&keyed).await;
    }
    let other = fixture.start(fixture.run(0));
    assert_eq!(fixture.submit(&[start, other, keyed]).await, [Submitted::Accepted; 3]);
    assert_eq!(writer.inbox().await.len(), 3);
}

pub async fn repeated_start_of_a_logged_run_is_accepted_and_changes_nothing(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let start = fixture.start(fixture.run(0));
    fixture.accept(&start).await;
    let message = writer.inbox().await.remove(0);
    let row = parked(None);
    writer.write(writer.draft().event(start.run).update(start.run, row.clone()).consume(&message)).await;

    fixture.accept(&start).await;
    assert_eq!(writer.inbox().await, []);
    assert_eq!(fixture.open_row(start.run).await, Some(row));
}

pub async fn repeated_start_of_a_run_that_is_over_is_accepted_and_changes_nothing(fixture: &Fixture) {
    let (mut writer, run) = fixture.ended_run().await;

    // A local start whose acknowledgement was lost is submitted with the same id, alone or with another one.
    fixture.accept(&fixture.start(run)).await;
    assert_eq!(writer.inbox().await, []);
    let other = fixture.start(fixture.run(0));
    assert_eq!(fixture.submit(&[fixture.start(run), other.clone()]).await, [Submitted::Accepted; 2]);
    assert_eq!(bodies(&writer.inbox().await), [other.body]);
    assert_eq!(fixture.open_row(run).await, None);
}

pub async fn start_with_a_known_key_returns_the_run_and_is_refused_with_another_input(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    fixture.accept(&fixture.keyed(run, "trial", "acme", Some(1))).await;
    for (digest, expected) in [(1, Submitted::Existing(run)), (2, Submitted::KeyConflict(run))] {
        let other = fixture.run(0);
        let answers = fixture.submit(&[fixture.keyed(other, "trial", "acme", Some(digest))]).await;
        assert_eq!(answers, [expected]);
        assert_eq!(fixture.describe_any(other).await, None);
    }
    assert_eq!(writer.inbox().await.len(), 1);
}

pub async fn input_is_compared_only_where_both_sides_know_it(fixture: &Fixture) {
    let (known, unknown) = (fixture.run(0), fixture.run(0));
    fixture.accept(&fixture.keyed(known, "trial", "known", Some(1))).await;
    fixture.accept(&fixture.keyed(unknown, "trial", "unknown", None)).await;

    let answers = fixture
        .submit(&[
            fixture.keyed(fixture.run(0), "trial", "known", None),
            fixture.keyed(fixture.run(0), "trial", "unknown", Some(2)),
        ])
        .await;
    assert_eq!(answers, [Submitted::Existing(known), Submitted::Existing(unknown)]);
}

pub async fn key_is_unique_per_workflow(fixture: &Fixture) {
    fixture.accept(&fixture.keyed(fixture.run(0), "trial", "acme", Some(1))).await;
    fixture.accept(&fixture.keyed(fixture.run(0), "invoice", "acme", Some(2))).await;
}

pub async fn key_outlives_its_run(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    fixture.accept(&fixture.keyed(run, WORKFLOW, "acme", None)).await;
    let message = writer.inbox().await.remove(0);
    writer.write(writer.draft().event(run).event(run).close(run).consume(&message)).await;

    let answers = fixture.submit(&[fixture.keyed(fixture.run(0), WORKFLOW, "acme", None)]).await;
    assert_eq!(answers, [Submitted::Existing(run)]);
}

pub async fn two_starts_with_one_key_in_one_submit_are_one_run(fixture: &Fixture) {
    let run = fixture.run(0);
    let answers = fixture
        .submit(&[
            fixture.keyed(run, "trial", "acme", Some(1)),
            fixture.keyed(fixture.run(0), "trial", "acme", Some(1)),
            fixture.keyed(fixture.run(0), "trial", "acme", Some(2)),
        ])
        .await;
    assert_eq!(answers, [Submitted::Accepted, Submitted::Existing(run), Submitted::KeyConflict(run)]);
}

pub async fn message_for_an_unknown_run_or_one_that_is_over_is_refused(fixture: &Fixture) {
    let (mut writer, run) = fixture.ended_run().await;
    let answers = fixture.submit(&[fixture.signal(fixture.run(0)), fixture.signal(run)]).await;
    assert_eq!(answers, [Submitted::UnknownRun, Submitted::RunOver]);
    assert_eq!(writer.inbox().await, []);
}

pub async fn message_for_a_pending_run_or_one_that_began_without_a_submission_is_accepted(fixture: &Fixture) {
    let (mut writer, run) = fixture.open_run().await;
    let pending = fixture.start(fixture.run(0));
    let messages = [pending.clone(), fixture.signal(pending.run), fixture.signal(run)];
    for message in &messages {
        fixture.accept(message).await;
    }
    assert_eq!(bodies(&writer.inbox().await), messages.map(|message| message.body));
}

pub async fn start_and_its_signal_may_be_submitted_together(fixture: &Fixture) {
    let (mut writer, run) = fixture.writer_and_run().await;
    let (start, signal) = (fixture.start(run), fixture.signal(run));
    let answers = fixture.submit(&[start.clone(), signal.clone()]).await;
    assert_eq!(answers, [Submitted::Accepted; 2]);
    assert_eq!(bodies(&writer.inbox().await), [start.body, signal.body]);
}

pub async fn refusal_of_one_message_does_not_affect_the_others(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let (start, other) = (fixture.start(fixture.run(0)), fixture.start(fixture.run(1)));
    let answers = fixture.submit(&[start, fixture.signal(fixture.run(2)), other]).await;
    assert_eq!(answers, [Submitted::Accepted, Submitted::UnknownRun, Submitted::Accepted]);
    assert_eq!(writer.inbox().await.len(), 2);
}

pub async fn empty_submit_has_an_empty_answer(fixture: &Fixture) {
    assert_eq!(fixture.submit(&[]).await, []);
}

pub async fn large_body_is_kept(fixture: &Fixture) {
    let mut writer = fixture.writer().await;
    let body: Vec<u8> = (0..2_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    let message = MessageId::from_u128(7);
    let start = Submission { message, body: body.into(), ..fixture.start(fixture.run(0)) };
    fixture.accept(&start).await;
    assert!(writer.inbox().await[0].body == start.body);
}

pub async fn start_in_a_rolled_back_transaction_never_existed(fixture: &Fixture) {
    let Some(mut transaction) = fixture.harness.begin().await else { return };
    let mut writer = fixture.writer().await;
    let start = fixture.keyed(fixture.run(0), "trial", "acme", Some(1));
    transaction.submit(std::slice::from_ref(&start)).await.unwrap();
    transaction.rollback().await;

    assert_eq!(fixture.describe_any(start.run).await, None);
    assert_eq!(fixture.find("trial", "acme").await, None);
    assert_eq!(writer.inbox().await, []);
    fixture.accept(&fixture.keyed(fixture.run(0), "trial", "acme", Some(2))).await;
}

pub async fn start_in_a_committed_transaction_exists(fixture: &Fixture) {
    let Some(mut transaction) = fixture.harness.begin().await else { return };
    let mut writer = fixture.writer().await;
    let start = fixture.keyed(fixture.run(0), "trial", "acme", Some(1));
    transaction.submit(std::slice::from_ref(&start)).await.unwrap();
    assert_eq!(fixture.describe_any(start.run).await, None, "its transaction is open");
    transaction.commit().await.unwrap();

    assert_eq!(fixture.find("trial", "acme").await, Some(start.run));
    assert_eq!(bodies(&writer.inbox().await), [start.body]);
}

pub async fn transaction_sees_the_runs_that_it_started(fixture: &Fixture) {
    let Some(mut transaction) = fixture.harness.begin().await else { return };
    let run = fixture.run(0);
    let answers =
        transaction.submit(&[fixture.keyed(run, "trial", "acme", None), fixture.signal(run)]).await.unwrap();
    assert_eq!(answers, [Submitted::Accepted; 2]);
    let again = transaction.submit(&[fixture.keyed(fixture.run(0), "trial", "acme", None)]).await.unwrap();
    assert_eq!(again, [Submitted::Existing(run)]);
    transaction.commit().await.unwrap();
}

/// A start with a key, and the message that follows it.
fn followed(fixture: &Fixture, run: RunId, digest: u8) -> (Submission, FollowUp) {
    let Submission { message, body, .. } = fixture.signal(run);
    let (mut start, follow_up) =
        (fixture.keyed(run, WORKFLOW, "acme", Some(digest)), FollowUp { message, body });
    start.opens.iter_mut().for_each(|new| new.followed_by = Some(follow_up.clone()));
    (start, follow_up)
}

pub async fn message_that_follows_a_start_goes_to_the_new_run_once(fixture: &Fixture) {
    // Given a start that is sent twice, before and after the run has taken both messages
    let (mut writer, run) = fixture.writer_and_run().await;
    let (start, follow_up) = followed(fixture, run, 1);
    fixture.accept(&start).await;
    fixture.accept(&start).await;
    let messages = writer.inbox().await;
    assert_eq!(bodies(&messages), [start.body.clone(), follow_up.body]);
    assert!(messages.iter().all(|message| message.run == run));
    let draft = writer.draft().event(run).update(run, parked(None));
    writer.write(messages.iter().fold(draft, |draft, message| draft.consume(message))).await;

    // Then neither is there again
    fixture.accept(&start).await;
    assert_eq!(writer.inbox().await, []);
}

pub async fn message_that_follows_a_start_goes_to_the_run_that_has_the_key(fixture: &Fixture) {
    // Given a run with the key, in another shard
    let (mut writer, run) = fixture.writer_and_run().await;
    let first = fixture.keyed(run, WORKFLOW, "acme", Some(1));
    fixture.accept(&first).await;

    // When others start it with a message, one of them twice, and two in one submission
    let (start, one) = followed(fixture, fixture.run(2), 1);
    let (other, two) = followed(fixture, fixture.run(2), 1);
    assert_eq!(fixture.submit(std::slice::from_ref(&start)).await, [Submitted::Existing(run)]);
    assert_eq!(fixture.submit(&[start, other]).await, [Submitted::Existing(run); 2]);

    // Then the run has each message once
    let messages = writer.inbox().await;
    assert_eq!(bodies(&messages), [first.body, one.body, two.body]);
    assert!(messages.iter().all(|message| message.run == run));
}

pub async fn message_that_follows_a_refused_start_goes_to_nobody(fixture: &Fixture) {
    // Given a run with the key and another input
    let (mut writer, run) = fixture.writer_and_run().await;
    fixture.accept(&fixture.keyed(run, WORKFLOW, "acme", Some(1))).await;
    let message = writer.inbox().await.remove(0);
    let (start, _) = followed(fixture, fixture.run(0), 2);
    assert_eq!(fixture.submit(&[start]).await, [Submitted::KeyConflict(run)]);
    assert_eq!(writer.inbox().await.len(), 1);

    // When it is over, then it receives nothing more
    writer.write(writer.draft().event(run).event(run).close(run).consume(&message)).await;
    let (start, _) = followed(fixture, fixture.run(0), 1);
    assert_eq!(fixture.submit(&[start]).await, [Submitted::ExistingOver(run)]);
    assert_eq!(writer.inbox().await, []);
}

pub async fn message_that_follows_a_start_is_as_visible_as_the_start(fixture: &Fixture) {
    let Some(mut transaction) = fixture.harness.begin().await else { return };
    let (mut writer, run) = fixture.writer_and_run().await;
    let (start, follow_up) = followed(fixture, run, 1);
    transaction.submit(std::slice::from_ref(&start)).await.unwrap();
    assert_eq!(writer.inbox().await, []);
    transaction.rollback().await;
    assert_eq!((writer.inbox().await, fixture.find(WORKFLOW, "acme").await), (vec![], None));

    let Some(mut transaction) = fixture.harness.begin().await else { return };
    transaction.submit(std::slice::from_ref(&start)).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(bodies(&writer.inbox().await), [start.body, follow_up.body]);
}
