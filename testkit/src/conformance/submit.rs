//! Starts and messages: accepted once, keys that hold, and refusals that say why.
#![expect(missing_docs, reason = "the name of each case is the fact that it shows")]

use pgworkflows_core::id::MessageId;
use pgworkflows_core::store::{OpenRow, OpenState, Submission, Submitted};

use super::Harness;
use super::fixture::{Ground, WORKFLOW, bodies, busy, parked};

pub async fn start_opens_a_pending_run(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let run = ground.run(0);
    ground.accept(&ground.keyed(run, "trial", "acme", None)).await;

    let described = ground.store.query().describe(run).await.unwrap().expect("it exists");
    assert_eq!((described.run, described.workflow.as_str()), (run, "trial"));
    assert_eq!(described.key.as_deref(), Some("acme"));
    assert_eq!(described.open, Some(OpenRow { state: OpenState::Pending, ..OpenRow::default() }));
    assert_eq!(described.closed, None);
    assert_eq!(ground.history_len(run).await, 0);
}

pub async fn repeated_start_is_accepted_and_changes_nothing(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let start = ground.start(ground.run(0));
    ground.accept(&start).await;
    ground.accept(&start).await;
    assert_eq!(writer.inbox().await.len(), 1);
}

pub async fn repeated_start_of_a_logged_run_is_accepted_and_changes_nothing(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let start = ground.start(ground.run(0));
    ground.accept(&start).await;
    let message = writer.inbox().await.remove(0);
    let row = parked(None);
    writer.write(writer.draft().event(start.run).update(start.run, row.clone()).consume(&message)).await;

    ground.accept(&start).await;
    assert_eq!(writer.inbox().await, []);
    assert_eq!(ground.open_row(start.run).await, Some(row));
}

pub async fn repeated_start_of_a_run_that_is_over_is_accepted_and_changes_nothing(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open_and_close(run).await;

    // A local start whose acknowledgement was lost is submitted under the same id.
    ground.accept(&ground.start(run)).await;
    assert_eq!(writer.inbox().await, []);
    assert_eq!(ground.open_row(run).await, None);
}

pub async fn repeated_start_with_a_key_is_accepted(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let start = ground.keyed(ground.run(0), "trial", "acme", Some(1));
    ground.accept(&start).await;
    ground.accept(&start).await;
}

pub async fn start_under_a_known_key_returns_the_run(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let (run, other) = (ground.run(0), ground.run(0));
    ground.accept(&ground.keyed(run, "trial", "acme", Some(1))).await;

    let answers = ground.submit(&[ground.keyed(other, "trial", "acme", Some(1))]).await;
    assert_eq!(answers, [Submitted::Existing(run)]);
    assert_eq!(ground.store.query().describe(other).await.unwrap(), None);
    assert_eq!(writer.inbox().await.len(), 1);
}

pub async fn start_under_a_known_key_with_another_input_is_refused(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let (run, other) = (ground.run(0), ground.run(0));
    ground.accept(&ground.keyed(run, "trial", "acme", Some(1))).await;

    let answers = ground.submit(&[ground.keyed(other, "trial", "acme", Some(2))]).await;
    assert_eq!(answers, [Submitted::KeyConflict(run)]);
    assert_eq!(ground.store.query().describe(other).await.unwrap(), None);
    assert_eq!(writer.inbox().await.len(), 1);
}

pub async fn input_is_compared_only_where_both_sides_know_it(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let (known, unknown) = (ground.run(0), ground.run(0));
    ground.accept(&ground.keyed(known, "trial", "known", Some(1))).await;
    ground.accept(&ground.keyed(unknown, "trial", "unknown", None)).await;

    let answers = ground
        .submit(&[
            ground.keyed(ground.run(0), "trial", "known", None),
            ground.keyed(ground.run(0), "trial", "unknown", Some(2)),
        ])
        .await;
    assert_eq!(answers, [Submitted::Existing(known), Submitted::Existing(unknown)]);
}

pub async fn key_is_unique_per_workflow(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    ground.accept(&ground.keyed(ground.run(0), "trial", "acme", Some(1))).await;
    ground.accept(&ground.keyed(ground.run(0), "invoice", "acme", Some(2))).await;
}

pub async fn key_holds_beyond_the_end_of_its_run(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    ground.accept(&ground.keyed(run, WORKFLOW, "acme", None)).await;
    let message = writer.inbox().await.remove(0);
    writer.write(writer.draft().event(run).event(run).close(run).consume(&message)).await;

    let answers = ground.submit(&[ground.keyed(ground.run(0), WORKFLOW, "acme", None)]).await;
    assert_eq!(answers, [Submitted::Existing(run)]);
}

pub async fn two_starts_under_one_key_in_one_submit_are_one_run(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let run = ground.run(0);
    let answers = ground
        .submit(&[
            ground.keyed(run, "trial", "acme", Some(1)),
            ground.keyed(ground.run(0), "trial", "acme", Some(1)),
            ground.keyed(ground.run(0), "trial", "acme", Some(2)),
        ])
        .await;
    assert_eq!(answers, [Submitted::Accepted, Submitted::Existing(run), Submitted::KeyConflict(run)]);
}

pub async fn message_for_an_unknown_run_is_refused(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    assert_eq!(ground.submit(&[ground.signal(ground.run(0))]).await, [Submitted::UnknownRun]);
    assert_eq!(writer.inbox().await, []);
}

pub async fn message_for_a_run_that_is_over_is_refused(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open_and_close(run).await;
    assert_eq!(ground.submit(&[ground.signal(run)]).await, [Submitted::RunOver]);
    assert_eq!(writer.inbox().await, []);
}

pub async fn message_for_a_pending_run_is_accepted(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let run = ground.run(0);
    ground.accept(&ground.start(run)).await;
    ground.accept(&ground.signal(run)).await;
}

pub async fn message_for_a_run_that_began_without_one_is_accepted(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    writer.open(run, busy()).await;
    let signal = ground.signal(run);
    ground.accept(&signal).await;
    assert_eq!(bodies(&writer.inbox().await), [signal.body]);
}

pub async fn start_and_its_signal_may_be_submitted_together(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let run = ground.run(0);
    let (start, signal) = (ground.start(run), ground.signal(run));
    let answers = ground.submit(&[start.clone(), signal.clone()]).await;
    assert_eq!(answers, [Submitted::Accepted; 2]);
    assert_eq!(bodies(&writer.inbox().await), [start.body, signal.body]);
}

pub async fn refusal_of_one_does_not_keep_the_others_out(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let (start, other) = (ground.start(ground.run(0)), ground.start(ground.run(1)));
    let answers = ground.submit(&[start, ground.signal(ground.run(2)), other]).await;
    assert_eq!(answers, [Submitted::Accepted, Submitted::UnknownRun, Submitted::Accepted]);
    assert_eq!(writer.inbox().await.len(), 2);
}

pub async fn nothing_submitted_is_nothing_answered(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    assert_eq!(ground.submit(&[]).await, []);
}

pub async fn large_body_comes_back_as_it_was(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let mut writer = ground.writer().await;
    let body: Vec<u8> = (0..2_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    let message = MessageId::from_u128(7);
    let start = Submission { message, body: body.into(), ..ground.start(ground.run(0)) };
    ground.accept(&start).await;
    assert!(writer.inbox().await[0].body == start.body);
}

pub async fn start_in_a_rolled_back_transaction_never_existed(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let Some(mut transaction) = harness.begin().await else { return };
    let mut writer = ground.writer().await;
    let start = ground.keyed(ground.run(0), "trial", "acme", Some(1));
    transaction.submit(std::slice::from_ref(&start)).await.unwrap();
    transaction.rollback().await;

    assert_eq!(ground.store.query().describe(start.run).await.unwrap(), None);
    assert_eq!(ground.store.query().find("trial", "acme").await.unwrap(), None);
    assert_eq!(writer.inbox().await, []);
    ground.accept(&ground.keyed(ground.run(0), "trial", "acme", Some(2))).await;
}

pub async fn start_in_a_committed_transaction_exists(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let Some(mut transaction) = harness.begin().await else { return };
    let mut writer = ground.writer().await;
    let start = ground.keyed(ground.run(0), "trial", "acme", Some(1));
    transaction.submit(std::slice::from_ref(&start)).await.unwrap();
    assert_eq!(ground.store.query().describe(start.run).await.unwrap(), None, "not before it commits");
    transaction.commit().await.unwrap();

    assert_eq!(ground.store.query().find("trial", "acme").await.unwrap(), Some(start.run));
    assert_eq!(bodies(&writer.inbox().await), [start.body]);
}

pub async fn transaction_sees_what_it_started_itself(harness: &dyn Harness) {
    let ground = Ground::new(harness).await;
    let Some(mut transaction) = harness.begin().await else { return };
    let run = ground.run(0);
    let answers =
        transaction.submit(&[ground.keyed(run, "trial", "acme", None), ground.signal(run)]).await.unwrap();
    assert_eq!(answers, [Submitted::Accepted; 2]);
    let again = transaction.submit(&[ground.keyed(ground.run(0), "trial", "acme", None)]).await.unwrap();
    assert_eq!(again, [Submitted::Existing(run)]);
    transaction.commit().await.unwrap();
}
