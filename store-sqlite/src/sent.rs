//! The messages that an append sends to other runs. It must not know which events sent them.

use std::collections::BTreeMap;

use pgworkflows_core::RunId;
use pgworkflows_core::id::Name;
use pgworkflows_core::store::{RunKey, SentMessage, StoreError};

use crate::chain::{Known, known};
use crate::connection::Listed;
use crate::deliver::{Delivery, Opens, deliver};
use crate::transaction::Transaction;
use crate::values::get;

const RUNS_OF_KEYS: Listed = Listed {
    text: "select k.workflow, k.key, k.run_id
           from (values {}) as t
           cross join run_keys k on k.workflow = t.column1 and k.key = t.column2",
    width: 2,
};

/// Puts the messages into the inbox, in the given order.
pub(crate) async fn send(transaction: &mut Transaction, sent: &[SentMessage]) -> Result<(), StoreError> {
    if sent.is_empty() {
        return Ok(());
    }
    let keys = runs_of_keys(transaction, sent).await?;
    // A plain message is delivered whether its run exists or not.
    let asked = sent.iter().filter(|sent| sent.opens.is_some() || sent.otherwise.is_some());
    let mut runs = known(transaction, asked.map(|sent| sent.run).collect()).await?;
    let before = runs.clone();
    // The receiver of a message may be a run that the same append starts, also later in the list.
    runs.extend(sent.iter().filter(|sent| sent.opens.is_some()).map(|sent| (sent.run, Known::Open)));
    let receiver = |sent: &SentMessage| match &sent.key {
        Some(key) => keys.get(key).copied().unwrap_or(sent.run),
        None => sent.otherwise.filter(|_| !runs.contains_key(&sent.run)).unwrap_or(sent.run),
    };
    let mut started = before;
    let mut deliveries = Vec::with_capacity(sent.len());
    for message in sent {
        let SentMessage { message: id, body, opens, .. } = message;
        let run = receiver(message);
        // A start is recognised by its run, which an earlier one may have created.
        if opens.is_some() && started.insert(run, Known::Open).is_some() {
            continue;
        }
        let opens = opens.as_ref().map(|child| Opens {
            workflow: child.workflow.as_str(),
            key: None,
            parent: Some(child.parent),
            attributes: None,
        });
        deliveries.push(Delivery { message: *id, run, body, opens });
    }
    deliver(transaction, &deliveries).await
}

async fn runs_of_keys(
    transaction: &mut Transaction,
    sent: &[SentMessage],
) -> Result<BTreeMap<RunKey, RunId>, StoreError> {
    let mut keys: Vec<&RunKey> = sent.iter().filter_map(|sent| sent.key.as_ref()).collect();
    keys.sort_unstable();
    keys.dedup();
    let rows = transaction.fetch_all(
        &RUNS_OF_KEYS,
        &keys,
        |a, key| _ = a.add(key.workflow.as_str()).add(key.key.as_str()),
        |_| {},
    );
    let found = |row| Ok((RunKey { workflow: get::<Name>(row, 0)?, key: get(row, 1)? }, get(row, 2)?));
    rows.await?.iter().map(found).collect()
}
