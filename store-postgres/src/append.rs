//! Appends a batch: one round trip to the SQL function `append`, which holds the protocol (see the migrations).

use std::collections::BTreeSet;

use pgworkflows_core::RunId;
use pgworkflows_core::store::{Append, Appended, Frame, Hint, QueueHash, StoreError};
use sqlx::postgres::PgBindIterExt;

use crate::error::{is_notification_queue_full, is_partition_missing, store_error};
use crate::notify::Notification;
use crate::options::Options;
use crate::partition;
use crate::session::PostgresSession;
use crate::shared::{Shared, only};
use crate::sql::arguments;
use crate::values::{
    Time, closed_status_number, get, message_uuid, open_state_number, shard_id, shard_number,
    suspect_stage_number, timestamp, uuid,
};

arguments! {
    "select now, notified, mail from @schema@.append"
    fn bind(
        options: &Options,
        append: &Append,
        notification: Option<&Notification>
    ) {
        once => {
            p_lease: append.lease.get().cast_signed(),
            p_number: append.number.get().cast_signed(),
            p_digest: &append.digest[..],
            p_lock_timeout: &options.lock_timeout,
            p_verify: options.verify,
            p_notify: notification.map(|notification| &*notification.channel),
            p_hints: notification.and_then(|notification| notification.hints.as_deref()),
        }
        for owned in append.shards => {
            p_shards: shard_number(owned.shard),
            p_claims: owned.claim.get().cast_signed(),
        }
        for frame in append.frames => {
            p_frame_runs: uuid(frame.run),
            p_frame_seqs: frame.seq.get().cast_signed(),
            p_frame_counts: frame.count.cast_signed(),
            p_frame_positions: frame.position.get().cast_signed(),
            p_frame_shards: shard_number(frame.run.shard()),
            p_frame_times: Time(frame.at),
            p_frame_bodies: &frame.body[..],
        }
        for opened in append.opened => {
            p_opened: uuid(opened.run),
            p_opened_shards: shard_number(opened.run.shard()),
            p_opened_names: &*opened.workflow,
            p_opened_keys: opened.key.as_deref(),
            p_opened_parents: opened.parent.map(uuid),
            p_opened_states: open_state_number(opened.row.state),
            p_opened_wake: opened.row.wake_at.map(Time),
            p_opened_waiting: opened.row.waiting_on.as_deref(),
            p_opened_waits: opened.row.waits.as_deref(),
        }
        for updated in append.updated => {
            p_updated: uuid(updated.run),
            p_updated_states: open_state_number(updated.row.state),
            p_updated_wake: updated.row.wake_at.map(Time),
            p_updated_waiting: updated.row.waiting_on.as_deref(),
            p_updated_waits: updated.row.waits.as_deref(),
        }
        for closed in append.closed => {
            p_closed: uuid(closed.run),
            p_closed_shards: shard_number(closed.run.shard()),
            p_closed_names: &*closed.workflow,
            p_closed_keys: closed.key.as_deref(),
            p_closed_parents: closed.parent.map(uuid),
            p_closed_statuses: closed_status_number(closed.status),
            p_closed_times: Time(closed.closed_at),
            p_closed_outcomes: &closed.outcome[..],
        }
        for linked in append.links => {
            p_linked: uuid(linked.run),
            p_linked_firsts: uuid(linked.link.first),
            p_linked_after: uuid(linked.link.predecessor),
            p_linked_numbers: linked.link.number.cast_signed(),
        }
        for message in append.consumed => {
            p_consumed_shards: shard_number(message.shard),
            p_consumed: message.number.get().cast_signed(),
            p_consumed_ids: message_uuid(message.message),
        }
        for message in append.undelivered => {
            p_late_shards: shard_number(message.shard),
            p_late: message.number.get().cast_signed(),
            p_late_ids: message_uuid(message.message),
        }
        for message in append.sent => {
            p_sent_runs: uuid(message.run),
            p_sent_shards: shard_number(message.run.shard()),
            p_sent_ids: message_uuid(message.message),
            p_sent_bodies: &message.body[..],
            p_sent_workflows: message.opens.as_ref().map(|child| &*child.workflow),
            p_sent_parents: message.opens.as_ref().map(|child| uuid(child.parent)),
            p_sent_key_names: message.key.as_ref().map(|key| key.workflow.as_str()),
            p_sent_keys: message.key.as_ref().map(|key| key.key.as_str()),
            p_sent_otherwise: message.otherwise.map(uuid),
        }
        for task in append.tasks => {
            p_task_runs: uuid(task.id.run),
            p_task_seqs: task.id.seq.get().cast_signed(),
            p_task_queues: &*task.queue,
            p_task_activities: &*task.activity,
            p_task_losses: i32::try_from(task.losses_max).unwrap_or(i32::MAX),
            p_task_messages: message_uuid(task.message),
            p_task_bodies: &task.body[..],
            p_task_lost: &task.lost[..],
            p_task_executors: task.executor.map(|executor| executor.get().cast_signed()),
        }
        for published in append.views => {
            p_view_runs: uuid(published.run),
            p_view_names: &*published.view,
            p_view_seqs: published.seq.get().cast_signed(),
        }
        for change in append.attributes => {
            p_attribute_runs: uuid(change.run),
            p_attribute_names: &*change.attribute,
            p_attribute_values: change.value.as_deref(),
        }
        for reply in append.replies => {
            p_reply_runs: uuid(reply.run),
            p_reply_messages: message_uuid(reply.message),
            p_reply_bodies: &reply.body[..],
        }
        for suspect in append.suspects => {
            p_suspects: uuid(suspect.run),
            p_suspect_stages: suspect_stage_number(suspect.stage),
            p_suspect_strikes: suspect.strikes.cast_signed(),
        }
        for run in append.cleared => {
            p_cleared: uuid(*run),
        }
        for need in append.needs => {
            p_need_shards: shard_number(need.shard),
            p_need_workflows: &*need.workflow,
        }
        for released in append.released => {
            p_released: shard_number(released.shard),
            p_released_next: released.next_position.get().cast_signed(),
        }
    }
}

/// How often an append is sent in all. It is sent again without a notification that the server refuses, and after a missing
/// partition was made. Another session may detach that partition again, or the server may miss it again.
const ATTEMPTS_MAX: usize = 4;

/// Appends a batch, and makes partitions that are missing.
pub(crate) async fn append(session: &mut PostgresSession, append: &Append) -> Result<Appended, StoreError> {
    check_order(append)?;
    let hints = hints(append);
    let mut notification = session.shared.notifier.within_call(&hints);
    for _ in 0..ATTEMPTS_MAX {
        let Shared { statements, options, .. } = &*session.shared;
        let query = bind(statements, options, append, notification.as_ref());
        match session.fetch_raw(query).await? {
            Ok(rows) => {
                let row = only(rows)?;
                let mail: Option<Vec<i16>> = get(&row, 2)?;
                session.shared.notifier.notify(hints, get(&row, 1)?);
                if let Some(mail) = mail {
                    // Only the server knows where these messages went.
                    let mail = mail.into_iter().map(|shard| shard_id(shard).map(Hint::Mail));
                    session.shared.notifier.notify(mail.collect::<Result<Vec<_>, _>>()?, false);
                }
                return Ok(Appended { now: timestamp(&row, 0)? });
            }
            Err(error) if notification.is_some() && is_notification_queue_full(&error) => notification = None,
            // The server rolled the append back, so its number is still free.
            Err(error) if is_partition_missing(&error) => {
                partition::make_for(session, runs_written(append)).await?;
            }
            Err(error) => return Err(store_error(error)),
        }
    }
    let reason =
        "partitions of the log are detached as fast as they are attached: stop whatever detaches them"
            .to_owned();
    Err(StoreError::Unavailable { reason, definite: true, source: None })
}

/// The hints that an append gives, each once.
fn hints(append: &Append) -> Vec<Hint> {
    let closed: BTreeSet<_> = append.closed.iter().map(|closed| closed.run.shard()).collect();
    let mail: BTreeSet<_> = append.sent.iter().map(|message| message.run.shard()).collect();
    let tasks: BTreeSet<_> = append.tasks.iter().map(|task| QueueHash::of(&task.queue)).collect();
    let published = append.views.iter().map(|published| published.run);
    let replied = append.replies.iter().map(|reply| reply.run);
    let published: BTreeSet<_> = published.chain(replied).map(|run: RunId| run.shard()).collect();
    let released = (!append.released.is_empty()).then_some(Hint::Released);
    let closed = closed.into_iter().map(Hint::Notice);
    let published = published.into_iter().map(Hint::Published);
    let mail = mail.into_iter().map(Hint::Mail);
    closed.chain(published).chain(mail).chain(tasks.into_iter().map(Hint::Tasks)).chain(released).collect()
}

/// Refuses an empty frame and a gap in the numbers of a batch, so that a bug of ours is found before it reaches the log.
fn check_order(append: &Append) -> Result<(), StoreError> {
    if let Some(Frame { run, seq, .. }) = append.frames.iter().find(|frame| frame.count == 0) {
        return Err(StoreError::conflict(format!("the frame of run {run} at event {seq} is empty")));
    }
    for pair in append.frames.windows(2) {
        let [before, frame] = pair else { continue };
        if before.run == frame.run && frame.seq != before.next_seq() {
            return Err(StoreError::conflict(format!(
                "event {} of run {} follows a frame whose next event is {}",
                frame.seq,
                frame.run,
                before.next_seq()
            )));
        }
        if before.run.shard() == frame.run.shard() && frame.first_position() != before.position.next() {
            return Err(StoreError::conflict(format!(
                "position {} of shard {} follows position {}",
                frame.first_position(),
                frame.run.shard(),
                before.position
            )));
        }
    }
    Ok(())
}

fn runs_written(append: &Append) -> impl Iterator<Item = RunId> {
    let closed = append.closed.iter().map(|closed| closed.run);
    let replied = append.replies.iter().map(|reply| reply.run);
    append.frames.iter().map(|frame| frame.run).chain(closed).chain(replied)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use pgworkflows_core::Timestamp;
    use pgworkflows_core::id::{AppendNo, EventSeq, LeaseId, Position, ShardId};

    use super::*;

    /// A frame with these numbers: of its first event, of its events, and the position of the last one.
    fn frame(seq: u32, count: u32, position: u64) -> Frame {
        let run = RunId::new(Timestamp::from_micros(0), ShardId::new(1).unwrap(), 1);
        let (seq, position) = (EventSeq::new(seq), Position::new(position));
        Frame { run, seq, count, position, at: Timestamp::from_micros(0), body: Bytes::new() }
    }

    #[test]
    fn a_gap_is_refused_before_it_is_sent() {
        let check = |frames: &[Frame]| {
            check_order(&Append { frames: frames.to_vec(), ..Append::new(LeaseId::FIRST, AppendNo::FIRST) })
        };
        assert!(check(&[frame(1, 2, 2), frame(3, 1, 3)]).is_ok());
        for frames in [
            [frame(1, 2, 2), frame(4, 1, 3)],
            [frame(1, 2, 2), frame(2, 2, 4)],
            [frame(1, 2, 2), frame(3, 1, 4)],
            [frame(1, 2, 2), frame(3, 0, 2)],
        ] {
            assert!(matches!(check(&frames), Err(StoreError::Conflict { .. })), "{frames:?}");
        }
    }
}
