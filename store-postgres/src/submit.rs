//! Submits messages by one call of the SQL function `submit` (see the migrations), which takes no lock that an append
//! waits for. It must not know what a message says.

use std::collections::BTreeSet;
use std::time::Duration;

use pgworkflows_core::RunId;
use pgworkflows_core::store::{FollowUp, Hint, StoreError, Submission, Submitted};
use sqlx::postgres::{PgBindIterExt, PgConnection, PgRow};
use sqlx::types::Uuid;

use crate::error::{is_lock_timeout, is_notification_queue_full, store_error};
use crate::key_holder;
use crate::notify::Notification;
use crate::options::milliseconds;
use crate::shared::{Shared, only};
use crate::sql::arguments;
use crate::values::{get, message_uuid, shard_number, uuid};

arguments! {
    "select verdicts, existing, notified from @schema@.submit"
    fn bind(
        submissions: &[Submission],
        attributes: &[GivenAttribute<'_>],
        notification: Option<&Notification>,
        lock_timeout: Option<&str>
    ) {
        once => {
            p_notify: notification.map(|notification| &*notification.channel),
            p_hints: notification.and_then(|notification| notification.hints.as_deref()),
            p_lock_timeout: lock_timeout,
            p_checks_encoding: true,
        }
        for sent in submissions => {
            p_messages: message_uuid(sent.message),
            p_runs: uuid(sent.run),
            p_shards: shard_number(sent.run.shard()),
            p_bodies: &sent.body[..],
            p_workflows: sent.opens.as_ref().map(|run| run.workflow.as_str()),
            p_keys: sent.opens.as_ref().and_then(|run| run.key.as_deref()),
            p_parents: sent.opens.as_ref().and_then(|run| run.parent.map(uuid)),
            p_digests: sent.opens.as_ref().and_then(|run| run.input_digest.map(Vec::from)),
            p_follow_ids: follow_up(sent).map(|follow_up| message_uuid(follow_up.message)),
            p_follow_bodies: follow_up(sent).map(|follow_up| &follow_up.body[..]),
        }
        for given in attributes => {
            p_attribute_runs: uuid(given.run),
            p_attribute_names: given.name,
            p_attribute_values: given.value,
        }
    }
}

/// An attribute with which a run starts.
struct GivenAttribute<'a> {
    run: RunId,
    name: &'a str,
    value: &'a str,
}

fn given_attributes(submissions: &[Submission]) -> Vec<GivenAttribute<'_>> {
    let starts = submissions.iter().filter_map(|sent| Some((sent.run, sent.opens.as_ref()?)));
    let given = starts.flat_map(|(run, opens)| {
        opens.attributes.iter().map(move |(name, value)| GivenAttribute { run, name, value })
    });
    given.collect()
}

/// Submits in a separate transaction, which also notifies unless that would delay other commits.
pub(crate) async fn submit(
    shared: &Shared,
    submissions: &[Submission],
) -> Result<Vec<Submitted>, StoreError> {
    if submissions.is_empty() {
        return Ok(Vec::new());
    }
    let lock_timeout = match is_keyed(submissions) {
        true => milliseconds(shared.options.key_timeout),
        false => shared.options.lock_timeout.clone(),
    };
    let notification = shared.notifier.within_call(&hints(submissions.iter()));
    let attributes = given_attributes(submissions);
    let bind =
        |notification| bind(&shared.statements, submissions, &attributes, notification, Some(&lock_timeout));
    let mut rows = shared.fetch_raw(bind(notification.as_ref())).await;
    if notification.is_some() && rows.as_ref().is_err_and(is_notification_queue_full) {
        rows = shared.fetch_raw(bind(None)).await;
    }
    let row = match rows {
        Err(error) if is_lock_timeout(&error) => {
            return Err(key_holder::held_error(shared, submissions, shared.options.key_timeout, error).await);
        }
        rows => only(rows.map_err(store_error)?)?,
    };
    let submitted = verdicts(&row, submissions)?;
    let accepted = submissions.iter().zip(&submitted);
    let accepted = accepted.filter(|(_, submitted)| **submitted == Submitted::Accepted);
    shared.notifier.notify(hints(accepted.map(|(submission, _)| submission)), get(&row, 2)?);
    // A run that has the key may live in another shard than the hints of the call named.
    let followed = submissions.iter().zip(&submitted).filter_map(|(submission, submitted)| match submitted {
        Submitted::Existing(run) if follow_up(submission).is_some() => Some(Hint::Mail(run.shard())),
        _ => None,
    });
    shared.notifier.notify(followed, false);
    Ok(submitted)
}

/// The message that follows a start.
fn follow_up(submission: &Submission) -> Option<&FollowUp> {
    submission.opens.as_ref()?.followed_by.as_ref()
}

/// The hints of these messages, each once.
fn hints<'a>(submissions: impl Iterator<Item = &'a Submission>) -> Vec<Hint> {
    let shards: BTreeSet<_> = submissions.map(|submission| submission.run.shard()).collect();
    shards.into_iter().map(Hint::Mail).collect()
}

/// Submits in the caller's transaction, and notifies inside it, because only the caller knows when it commits.
pub(crate) async fn submit_in(
    shared: &Shared,
    connection: &mut PgConnection,
    submissions: &[Submission],
) -> Result<Vec<Submitted>, StoreError> {
    if submissions.is_empty() {
        return Ok(Vec::new());
    }
    let notification = shared.notifier.within_transaction();
    let attributes = given_attributes(submissions);
    let query = bind(&shared.statements, submissions, &attributes, notification.as_ref(), None);
    match query.fetch_all(connection).await {
        // The connection's own setting decides how long the server waited.
        Err(error) if is_lock_timeout(&error) => {
            Err(key_holder::held_error(shared, submissions, Duration::ZERO, error).await)
        }
        rows => verdicts(&only(rows.map_err(store_error)?)?, submissions),
    }
}

fn is_keyed(submissions: &[Submission]) -> bool {
    submissions.iter().filter_map(|submission| submission.opens.as_ref()).any(|run| run.key.is_some())
}

fn verdicts(row: &PgRow, submissions: &[Submission]) -> Result<Vec<Submitted>, StoreError> {
    let verdicts: Vec<i16> = get(row, 0)?;
    let existing: Vec<Option<Uuid>> = get(row, 1)?;
    if verdicts.len() != submissions.len() || existing.len() != submissions.len() {
        return Err(StoreError::corrupt("the inbox's answer is for other messages than were submitted"));
    }
    verdicts.into_iter().zip(existing).map(|(verdict, existing)| submitted(verdict, existing)).collect()
}

fn submitted(verdict: i16, existing: Option<Uuid>) -> Result<Submitted, StoreError> {
    let existing = existing.map(|run| RunId::from_u128(run.as_u128()));
    Ok(match (verdict, existing) {
        (0, _) => Submitted::Accepted,
        (1, Some(run)) => Submitted::Existing(run),
        (2, Some(run)) => Submitted::KeyConflict(run),
        (3, _) => Submitted::RunOver,
        (4, _) => Submitted::UnknownRun,
        (5, Some(run)) => Submitted::ExistingOver(run),
        other => return Err(StoreError::corrupt(format!("{other:?} is no answer to a submission"))),
    })
}
