//! What runs are found by: written with their starts and by their owners, and read with their descriptions. It must not know a
//! statement of another file.

use std::collections::BTreeMap;

use pgworkflows_core::RunId;
use pgworkflows_core::id::Name;
use pgworkflows_core::store::{AttributeChange, Attributes, RunFilter, RunPage, StoreError};

use crate::connection::{Connection, Listed, sql};
use crate::transaction::Transaction;
use crate::values::{Arguments, RUN_MAX, get};

const SET: Listed = Listed {
    text: "insert into attributes (run_id, name, value) values {}
           on conflict (run_id, name) do update set value = excluded.value where value <> excluded.value",
    width: 3,
};

const REMOVE: Listed =
    Listed { text: "delete from attributes where (run_id, name) in (values {})", width: 2 };

const OF_RUNS: Listed = Listed {
    text: "select a.run_id, a.name, a.value from (values {}) as t
           cross join attributes a on a.run_id = t.column1 order by a.run_id, a.name",
    width: 1,
};

/// Runs with an attribute, the newest first.
const RUNS: &str = "
    select run_id from attributes where name = ?1 and value = ?2 and run_id < ?3 and run_id >= ?4
    order by run_id desc limit ?5 offset ?6";

/// Writes the attributes of runs that are started.
pub(crate) async fn begin<'a>(
    transaction: &mut Transaction,
    runs: impl Iterator<Item = (RunId, &'a Attributes)>,
) -> Result<(), StoreError> {
    let set: Vec<_> =
        runs.flat_map(|(run, own)| own.iter().map(move |(name, value)| (run, name, value))).collect();
    set_all(transaction, &set).await
}

/// Changes the attributes of an append's runs.
pub(crate) async fn change(
    transaction: &mut Transaction,
    changes: &[AttributeChange],
) -> Result<(), StoreError> {
    let removed: Vec<_> = changes.iter().filter(|change| change.value.is_none()).collect();
    transaction
        .write_all(&REMOVE, &removed, |a, removed| _ = a.add(removed.run).add(removed.attribute.as_str()))
        .await?;
    let set =
        changes.iter().filter_map(|change| Some((change.run, &change.attribute, change.value.as_deref()?)));
    set_all(transaction, &set.collect::<Vec<_>>()).await
}

async fn set_all(transaction: &mut Transaction, set: &[(RunId, &Name, &str)]) -> Result<(), StoreError> {
    let add = |a: &mut Arguments, (run, name, value): &(RunId, &Name, &str)| {
        a.add(*run).add(name.as_str()).add(*value);
    };
    transaction.write_all(&SET, set, add).await
}

/// The attributes of these runs.
pub(crate) async fn of_runs(
    connection: &mut Connection,
    runs: &[RunId],
) -> Result<BTreeMap<RunId, Attributes>, StoreError> {
    let mut all: BTreeMap<RunId, Attributes> = BTreeMap::new();
    for row in connection.fetch_all(&OF_RUNS, runs, |a, run| _ = a.add(*run), |_| {}).await? {
        let own = all.entry(get(&row, 0)?).or_default();
        own.set(get(&row, 1)?, Some(get(&row, 2)?));
    }
    Ok(all)
}

/// A page of the runs that have the first of some attributes, after so many others.
pub(crate) async fn runs_with(
    connection: &mut Connection,
    filter: &RunFilter,
    page: &RunPage,
    after: u32,
) -> Result<Vec<RunId>, StoreError> {
    let Some((name, value)) = filter.attributes.iter().next() else { return Ok(Vec::new()) };
    let select = sql(RUNS)
        .bind(name.as_str())
        .bind(value)
        .bind(page.before.unwrap_or(RUN_MAX))
        .bind(filter.since.unwrap_or(RunId::from_u128(0)))
        .bind(i64::from(page.limit))
        .bind(i64::from(after));
    connection.fetch(select).await?.iter().map(|row| get(row, 0)).collect()
}
