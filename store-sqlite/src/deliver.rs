//! Puts messages into the inbox, with the rows of the runs that they start. It must not know who sends them.

use bytes::Bytes;
use pgworkflows_core::RunId;
use pgworkflows_core::id::MessageId;
use pgworkflows_core::store::{Attributes, Hint, StoreError};

use crate::attributes;
use crate::connection::Listed;
use crate::transaction::Transaction;

/// A message to be put into the inbox.
pub(crate) struct Delivery<'a> {
    pub(crate) message: MessageId,
    pub(crate) run: RunId,
    pub(crate) body: &'a Bytes,
    /// For a start, the run that it creates, which does not exist.
    pub(crate) opens: Option<Opens<'a>>,
}

/// A run that a start creates.
#[derive(Clone, Copy)]
pub(crate) struct Opens<'a> {
    pub(crate) workflow: &'a str,
    pub(crate) key: Option<&'a str>,
    pub(crate) parent: Option<RunId>,
    /// What it is found by.
    pub(crate) attributes: Option<&'a Attributes>,
}

const OPEN: Listed = Listed {
    text: "insert into open_runs (run_id, shard, workflow, key, parent, state) values {}",
    width: 6,
};

/// A message that waits already is not inserted again.
const INSERT: Listed = Listed {
    text: "insert into inbox (shard, run_id, message_id, opens, body) values {} on conflict do nothing",
    width: 5,
};

/// A task's end is told to a run that is open.
const TELL: Listed = Listed {
    text: "insert into inbox (shard, run_id, message_id, opens, body)
           select t.column1, t.column2, t.column3, t.column4, t.column5
           from (values {}) as t
           where exists (select 1 from open_runs o where o.run_id = t.column2)
           on conflict do nothing",
    width: 5,
};

/// The state of a pending run, as it is stored.
const PENDING: i64 = 0;

/// Delivers messages in the given order.
pub(crate) async fn deliver(
    transaction: &mut Transaction,
    deliveries: &[Delivery<'_>],
) -> Result<(), StoreError> {
    let opened = deliveries.iter().filter_map(|delivery| Some((delivery.run, delivery.opens?)));
    let opened: Vec<_> = opened.collect();
    transaction
        .write_all(&OPEN, &opened, |a, (run, opens)| {
            let Opens { workflow, key, parent, .. } = *opens;
            a.add(*run).add(run.shard()).add(workflow).add(key).add(parent).add(PENDING);
        })
        .await?;
    attributes::begin(transaction, opened.iter().filter_map(|(run, opens)| Some((*run, opens.attributes?))))
        .await?;
    insert(transaction, &INSERT, deliveries).await
}

/// Delivers messages in the given order, except those to runs that are over.
pub(crate) async fn tell(
    transaction: &mut Transaction,
    deliveries: &[Delivery<'_>],
) -> Result<(), StoreError> {
    insert(transaction, &TELL, deliveries).await
}

async fn insert(
    transaction: &mut Transaction,
    listed: &Listed,
    deliveries: &[Delivery<'_>],
) -> Result<(), StoreError> {
    transaction
        .write_all(listed, deliveries, |a, delivery| {
            let Delivery { message, run, body, opens } = delivery;
            a.add(run.shard()).add(*run).add(*message).add(opens.is_some()).add(&body[..]);
        })
        .await?;
    transaction.hint_all(deliveries.iter().map(|delivery| Hint::Mail(delivery.run.shard())));
    Ok(())
}
