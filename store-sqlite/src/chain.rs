//! Where a run is: open, over, or gone on as another run of its chain. It must not know why a caller asks.

use std::collections::BTreeMap;

use pgworkflows_core::RunId;
use pgworkflows_core::store::StoreError;

use crate::connection::{Connection, Listed};
use crate::values::get;

/// The current run of a run's chain, as an expression: the run itself, unless it was continued. An open run is the current one.
macro_rules! current_run {
    ($run:literal) => {
        concat!(
            "coalesce((select c.current_run from chains c where c.first_run = coalesce(",
            "(select l.first_run from links l where l.run_id = ",
            $run,
            "), ",
            $run,
            ")), ",
            $run,
            ")"
        )
    };
}
pub(crate) use current_run;

/// What the store knows of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Open,
    Over,
}

const KNOWN: Listed = Listed {
    text: "with t (run) as (values {})
           select run, exists (select 1 from open_runs o where o.run_id = run),
                  exists (select 1 from closed_runs c where c.run_id = run)
           from t",
    width: 1,
};

const KNOWN_CURRENT: Listed = Listed {
    text: concat!(
        "with t (run) as (values {}), r (run, now) as (select run, ",
        current_run!("run"),
        " from t)
        select run, exists (select 1 from open_runs o where o.run_id = now),
               exists (select 1 from closed_runs c where c.run_id = now)
        from r"
    ),
    width: 1,
};

/// Which of these runs exist.
pub(crate) async fn known(
    connection: &mut Connection,
    runs: Vec<RunId>,
) -> Result<BTreeMap<RunId, Known>, StoreError> {
    look_up(connection, &KNOWN, runs).await
}

/// Which of these runs exist, each with the state of the current run of its chain.
pub(crate) async fn known_current(
    connection: &mut Connection,
    runs: Vec<RunId>,
) -> Result<BTreeMap<RunId, Known>, StoreError> {
    look_up(connection, &KNOWN_CURRENT, runs).await
}

async fn look_up(
    connection: &mut Connection,
    listed: &Listed,
    mut runs: Vec<RunId>,
) -> Result<BTreeMap<RunId, Known>, StoreError> {
    runs.sort_unstable();
    runs.dedup();
    let mut known = BTreeMap::new();
    for row in connection.fetch_all(listed, &runs, |a, run| _ = a.add(*run), |_| {}).await? {
        let state = match (get(&row, 1)?, get(&row, 2)?) {
            (true, _) => Some(Known::Open),
            (false, true) => Some(Known::Over),
            (false, false) => None,
        };
        let run = get(&row, 0)?;
        known.extend(state.map(|state| (run, state)));
    }
    Ok(known)
}
