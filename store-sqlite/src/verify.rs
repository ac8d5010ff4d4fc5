//! Compares a batch with the log before it is written. A correct writer never sends one that contradicts it, so this is an
//! assertion. It must not know what an event says.

use std::collections::{BTreeMap, BTreeSet};

use pgworkflows_core::RunId;
use pgworkflows_core::id::EventSeq;
use pgworkflows_core::store::{Append, Frame, RunLink, StoreError};

use crate::chain::{Known, known};
use crate::connection::Listed;
use crate::transaction::Transaction;
use crate::values::get;

/// The number of each run's next event: one probe for a run, however long its history is.
const NEXT_SEQS: Listed = Listed {
    text: "select t.column1, coalesce(
               (select f.seq + f.count from frames f where f.run_id = t.column1 order by f.seq desc limit 1), 1)
           from (values {}) as t",
    width: 1,
};

/// Refuses a batch that contradicts the log.
pub(crate) async fn verify(transaction: &mut Transaction, append: &Append) -> Result<(), StoreError> {
    if !append.shards.iter().map(|owned| owned.shard).eq(append.shards_written()) {
        return Err(StoreError::conflict("an append that was not sealed does not name its shards"));
    }
    let named = append.frames.iter().map(|frame| frame.run);
    let named = named
        .chain(append.opened.iter().map(|opened| opened.run))
        .chain(append.closed.iter().map(|closed| closed.run));
    let runs: Vec<RunId> = named.collect::<BTreeSet<_>>().into_iter().collect();
    let rows = transaction.fetch_all(&NEXT_SEQS, &runs, |a, run| _ = a.add(*run), |_| {}).await?;
    let next = |row| Ok((get(row, 0)?, get(row, 1)?));
    let next_seqs = rows.iter().map(next).collect::<Result<BTreeMap<RunId, EventSeq>, StoreError>>()?;
    let known = known(transaction, runs).await?;
    check_rows(append, &known, &next_seqs)?;
    check_seqs(append, next_seqs)?;
    check_links(append)
}

/// A run is opened once, and what is written to is open, or begins here.
fn check_rows(
    append: &Append,
    known: &BTreeMap<RunId, Known>,
    next_seqs: &BTreeMap<RunId, EventSeq>,
) -> Result<(), StoreError> {
    if let Some(opened) = append.opened.iter().find(|opened| known.get(&opened.run) == Some(&Known::Over)) {
        return Err(StoreError::conflict(format!("run {} was opened before", opened.run)));
    }
    let opened = append.opened.iter().map(|opened| opened.run);
    let beginning: BTreeSet<RunId> = opened
        .chain(append.closed.iter().map(|closed| closed.run))
        .filter(|run| next_seqs.get(run) == Some(&EventSeq::FIRST))
        .collect();
    let written = append.frames.iter().map(|frame| frame.run);
    for run in written.chain(append.closed.iter().map(|closed| closed.run)) {
        match known.get(&run) {
            Some(Known::Open) => {}
            Some(Known::Over) => {
                return Err(StoreError::conflict(format!("run {run} is over: nothing comes after its end")));
            }
            None if beginning.contains(&run) => {}
            None => return Err(StoreError::conflict(format!("there is no run {run}"))),
        }
    }
    let with_events: BTreeSet<RunId> = append.frames.iter().map(|frame| frame.run).collect();
    match beginning.iter().find(|run| !with_events.contains(run)) {
        Some(run) => Err(StoreError::conflict(format!("run {run} begins without an event"))),
        None => Ok(()),
    }
}

/// The frames of each run continue where its log ends.
fn check_seqs(append: &Append, mut next_seqs: BTreeMap<RunId, EventSeq>) -> Result<(), StoreError> {
    for frame @ Frame { run, seq, .. } in &append.frames {
        let next = next_seqs.entry(*run).or_insert(EventSeq::FIRST);
        if seq != next {
            return Err(StoreError::conflict(format!("the next event of run {run} is {next}, not {seq}")));
        }
        *next = frame.next_seq();
    }
    Ok(())
}

/// Each run that continues another begins in this append, and the other ends in it.
fn check_links(append: &Append) -> Result<(), StoreError> {
    let opened: BTreeSet<RunId> = append.opened.iter().map(|opened| opened.run).collect();
    let closed: BTreeSet<RunId> = append.closed.iter().map(|closed| closed.run).collect();
    let is_sound = |RunLink { run, link }: &&RunLink| {
        opened.contains(run) && closed.contains(&link.predecessor) && run.shard() == link.first.shard()
    };
    match append.links.iter().find(|link| !is_sound(link)) {
        Some(RunLink { run, link }) => Err(StoreError::conflict(format!(
            "run {run} continues run {}, but the one does not begin, or the other does not end",
            link.predecessor
        ))),
        None => Ok(()),
    }
}
