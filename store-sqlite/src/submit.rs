//! Submits messages to the inbox: looks up what is known of their runs, decides, and writes. It must not know what a message
//! says.

use std::collections::{BTreeMap, BTreeSet};

use pgworkflows_core::RunId;
use pgworkflows_core::id::MessageId;
use pgworkflows_core::store::{NewRun, StoreError, Submission, Submitted};

use crate::chain::{Known, known, known_current};
use crate::connection::{Listed, sql};
use crate::deliver::{Delivery, Opens, deliver};
use crate::transaction::Transaction;
use crate::values::get;

const SHARDS: &str = "select coalesce(max(first_shard + shard_count), 0) from queues";

const KEYS: Listed = Listed {
    text: "select k.workflow, k.key, k.run_id, k.input_digest
           from (values {}) as t
           cross join run_keys k on k.workflow = t.column1 and k.key = t.column2",
    width: 2,
};

const INSERT_KEYS: Listed =
    Listed { text: "insert into run_keys (workflow, key, run_id, input_digest) values {}", width: 4 };

const WAITING: Listed = Listed {
    text: "select i.message_id from (values {}) as t
           cross join inbox i on i.message_id = t.column1 and not i.opens",
    width: 1,
};

/// The messages to which a run has replied, or another one of its chain.
const REPLIED: Listed = Listed {
    text: "select t.column1 from (values {}) as t
           where exists (select 1 from replies r where r.message_id = t.column1 and r.run_id = t.column2)
              or exists (select 1 from replies r where r.message_id = t.column1 and exists (
                   select 1 from chains c where c.first_run = coalesce(
                       (select l.first_run from links l where l.run_id = t.column2), t.column2)))",
    width: 2,
};

/// Submits messages, and answers each of them.
pub(crate) async fn submit(
    transaction: &mut Transaction,
    submissions: &[Submission],
) -> Result<Vec<Submitted>, StoreError> {
    check_shards(transaction, submissions).await?;
    let mut desk = Desk::open(transaction, submissions).await?;
    let answers = submissions.iter().map(|submission| desk.answer(submission)).collect();
    let new_keys = std::mem::take(&mut desk.new_keys);
    transaction
        .write_all(&INSERT_KEYS, &new_keys, |a, ((workflow, key), held)| {
            a.add(*workflow)
                .add(*key)
                .add(held.run)
                .add(held.input_digest.as_ref().map(|digest| &digest[..]));
        })
        .await?;
    deliver(transaction, &desk.deliveries).await?;
    Ok(answers)
}

/// Every run that starts is in a shard of a queue. Of a run that cannot be here, another message is told so.
async fn check_shards(transaction: &mut Transaction, submissions: &[Submission]) -> Result<(), StoreError> {
    let starts = submissions.iter().filter(|submission| submission.opens.is_some());
    let Some(run) = starts.map(|start| start.run).max_by_key(|run| run.shard()) else { return Ok(()) };
    let shards = transaction.fetch_value::<u16>(sql(SHARDS)).await?.unwrap_or(0);
    if run.shard().get() < shards {
        return Ok(());
    }
    Err(StoreError::limit_exceeded(format!(
        "run {run} lives in shard {}, which belongs to no queue",
        run.shard()
    )))
}

/// The run that was started under a key.
#[derive(Clone, Copy)]
struct HeldKey {
    run: RunId,
    input_digest: Option<[u8; 32]>,
}

/// What is known of the runs, keys and messages of some submissions, and what was decided so far.
struct Desk<'a> {
    runs: BTreeMap<RunId, Known>,
    keys: BTreeMap<(String, String), HeldKey>,
    /// The receivers of messages that start no run, with the states of the current runs of their chains.
    receivers: BTreeMap<RunId, Known>,
    /// The messages that are in the inbox, and those that have a reply: they were refused, or are in the log.
    known: BTreeSet<MessageId>,
    new_keys: Vec<((&'a str, &'a str), HeldKey)>,
    deliveries: Vec<Delivery<'a>>,
}

impl<'a> Desk<'a> {
    async fn open(transaction: &mut Transaction, submissions: &'a [Submission]) -> Result<Self, StoreError> {
        let starts = submissions.iter().filter(|submission| submission.opens.is_some());
        let runs = known(transaction, starts.map(|start| start.run).collect()).await?;
        let keyed = submissions.iter().filter_map(|submission| {
            let new = submission.opens.as_ref()?;
            Some((new.workflow.as_str(), new.key.as_deref()?))
        });
        let keyed: Vec<_> = keyed.collect();
        let mut keys = BTreeMap::new();
        for row in transaction
            .fetch_all(&KEYS, &keyed, |a, (workflow, key)| _ = a.add(*workflow).add(*key), |_| {})
            .await?
        {
            let digest: Option<bytes::Bytes> = get(&row, 3)?;
            let input_digest = digest.and_then(|digest| digest.as_ref().try_into().ok());
            keys.insert((get(&row, 0)?, get(&row, 1)?), HeldKey { run: get(&row, 2)?, input_digest });
        }
        let follow_ups =
            submissions.iter().filter_map(|submission| submission.opens.as_ref()?.followed_by.as_ref());
        let plain = submissions.iter().filter(|submission| submission.opens.is_none());
        let messages: Vec<MessageId> = plain
            .clone()
            .map(|plain| plain.message)
            .chain(follow_ups.clone().map(|follow_up| follow_up.message))
            .collect();
        let receivers = plain.clone().map(|plain| plain.run);
        let receivers: Vec<RunId> = match follow_ups.count() {
            0 => receivers.collect(),
            _ => receivers.chain(keys.values().map(|held: &HeldKey| held.run)).collect(),
        };
        let receivers = known_current(transaction, receivers).await?;
        let waiting =
            transaction.fetch_all(&WAITING, &messages, |a, message| _ = a.add(*message), |_| {}).await?;
        let asked: Vec<(MessageId, RunId)> = plain.map(|plain| (plain.message, plain.run)).collect();
        let replied = transaction
            .fetch_all(&REPLIED, &asked, |a, (message, run)| _ = a.add(*message).add(*run), |_| {})
            .await?;
        let known = waiting.iter().chain(&replied).map(|row| get(row, 0)).collect::<Result<_, _>>()?;
        Ok(Self { runs, keys, receivers, known, new_keys: Vec::new(), deliveries: Vec::new() })
    }

    /// Decides on one submission, given those before it.
    fn answer(&mut self, submission: &'a Submission) -> Submitted {
        let Submission { message, run, body, opens } = submission;
        let Some(new) = opens else {
            let answer = self.known_message(*message, *run);
            return answer.unwrap_or_else(|| {
                self.insert(Delivery { message: *message, run: *run, body, opens: None });
                Submitted::Accepted
            });
        };
        if let Some(known) = self.known_start(*run, new) {
            return match (known, &new.followed_by) {
                (Submitted::Existing(existing), Some(follow_up)) => {
                    let known = self.known_message(follow_up.message, existing);
                    if known.is_none() {
                        let (message, body) = (follow_up.message, &follow_up.body);
                        self.insert(Delivery { message, run: existing, body, opens: None });
                    }
                    match known {
                        None | Some(Submitted::Accepted) => Submitted::Existing(existing),
                        Some(_) => Submitted::ExistingOver(existing),
                    }
                }
                (known, _) => known,
            };
        }
        if let Some(key) = &new.key {
            let held = HeldKey { run: *run, input_digest: new.input_digest };
            self.keys.insert((new.workflow.clone(), key.clone()), held);
            self.new_keys.push(((&new.workflow, key), held));
        }
        self.runs.insert(*run, Known::Open);
        self.receivers.insert(*run, Known::Open);
        self.insert(Delivery {
            message: *message,
            run: *run,
            body,
            opens: Some(Opens {
                workflow: &new.workflow,
                key: new.key.as_deref(),
                parent: new.parent,
                attributes: Some(&new.attributes),
            }),
        });
        if let Some(follow_up) = &new.followed_by {
            self.insert(Delivery {
                message: follow_up.message,
                run: *run,
                body: &follow_up.body,
                opens: None,
            });
        }
        Submitted::Accepted
    }

    fn insert(&mut self, delivery: Delivery<'a>) {
        if delivery.opens.is_none() {
            self.known.insert(delivery.message);
        }
        self.deliveries.push(delivery);
    }

    /// The answer to a start that inserts nothing.
    fn known_start(&self, run: RunId, new: &NewRun) -> Option<Submitted> {
        if self.runs.contains_key(&run) {
            return Some(Submitted::Accepted);
        }
        let held = self.keys.get(&(new.workflow.clone(), new.key.clone()?))?;
        Some(match (held.input_digest, new.input_digest) {
            (Some(one), Some(other)) if one != other => Submitted::KeyConflict(held.run),
            _ => Submitted::Existing(held.run),
        })
    }

    /// The answer to another message that inserts nothing. Even if it was sent before and still waits, it is too late for a run
    /// that is over.
    fn known_message(&self, message: MessageId, run: RunId) -> Option<Submitted> {
        match self.receivers.get(&run) {
            Some(Known::Over) => Some(Submitted::RunOver),
            Some(Known::Open) => self.known.contains(&message).then_some(Submitted::Accepted),
            None => Some(Submitted::UnknownRun),
        }
    }
}
