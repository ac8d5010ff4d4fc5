//! The statements that list runs: one for each index by which a list looks at few others. It must not know who asks.

use pgworkflows_core::store::{ClosedStatus, OpenState, RunFilter};

/// A list of the runs of a query, with their places in chains and their attributes.
macro_rules! listed {
    ($($runs:expr),+) => {
        concat!(
            "
    select r.*, l.first_run, l.predecessor, l.number,
           case when r.status in (4, 5) then @schema@.current_run(r.run_id) end as current_run,
           array(select a.name from @schema@.attributes a where a.run_id = r.run_id order by a.name) as attribute_names,
           array(select a.value from @schema@.attributes a where a.run_id = r.run_id order by a.name) as attribute_values
    from (",
            $($runs,)+
            "
    ) r
    left join lateral (select * from @schema@.links l where l.run_id = r.run_id offset 0) l on true
    order by r.run_id desc limit $7"
        )
    };
}

/// Each half returns up to the limit, by its primary key in descending order, or by an index that has what is asked for and little
/// else: then `open` and `ended` are conditions which fit that index, whatever the parameters are.
macro_rules! list {
    (open: $open:literal, ended: $ended:literal) => {
        listed!(
            "
        (select o.run_id, o.workflow, o.key, o.parent, o.state, o.wake_at, o.waiting_on, o.waits,
                null::smallint as status, null::timestamptz as closed_at, null::bytea as outcome
         from @schema@.open_runs_shown o
         where $1 and o.run_id < $3 and ($4::text is null or o.workflow = $4)
           and ($5::smallint is null or o.state = $5)",
            $open,
            "
         order by o.run_id desc limit $7)
        union all
        (select c.run_id, c.workflow, c.key, c.parent, null, null, null, null, c.status, c.closed_at, c.outcome
         from @schema@.closed_runs c
         where $2 and c.run_id < $3 and ($4::text is null or c.workflow = $4)",
            $ended,
            "
         order by c.run_id desc limit $7)"
        )
    };
}

const LIST: &str = list!(open: "", ended: " and ($6::smallint is null or c.status = $6)");

/// Runs that are stalled or paused.
const LIST_SET_APART: &str = list!(
    open: " and o.stored_state in (3, 4) and o.stored_state = $5",
    ended: " and $6::smallint is null"
);

/// Runs that are pending or busy. A pending row may be that of a busy run.
const LIST_UNPARKED: &str = list!(open: " and o.stored_state in (0, 1)", ended: " and $6::smallint is null");

/// The children of one run.
const LIST_CHILDREN: &str = list!(
    open: " and o.parent = $8",
    ended: " and c.parent = $8 and ($6::smallint is null or c.status = $6)"
);

/// Runs that ended otherwise than completed.
const LIST_NOT_COMPLETED: &str = list!(open: "", ended: " and c.status <> 0 and c.status = $6");

/// Runs that are not older than one, by their primary key whatever else is asked for: such a condition in the other statements
/// would keep the planner from their indexes.
const LIST_SINCE: &str = list!(
    open: " and o.run_id >= $9 and ($8::uuid is null or o.parent = $8)",
    ended: " and c.run_id >= $9 and ($8::uuid is null or c.parent = $8) and ($6::smallint is null or c.status = $6)"
);

/// Runs with an attribute, by the index of its values: each is looked up by its primary key.
const LIST_BY_ATTRIBUTE: &str = listed!(
    "
        select x.*
        from @schema@.attributes a
        cross join lateral (
            (select o.run_id, o.workflow, o.key, o.parent, o.state, o.wake_at, o.waiting_on, o.waits,
                    null::smallint as status, null::timestamptz as closed_at, null::bytea as outcome
             from @schema@.open_runs_shown o
             where $1 and o.run_id = a.run_id and ($4::text is null or o.workflow = $4)
               and ($5::smallint is null or o.state = $5) and ($8::uuid is null or o.parent = $8))
            union all
            (select c.run_id, c.workflow, c.key, c.parent, null, null, null, null, c.status, c.closed_at, c.outcome
             from @schema@.closed_runs c
             where $2 and c.run_id = a.run_id and ($4::text is null or c.workflow = $4)
               and ($6::smallint is null or c.status = $6) and ($8::uuid is null or c.parent = $8))
            offset 0
        ) x
        where a.name = $10 and a.value = $11 and a.run_id < $3 and a.run_id >= $9
          and not exists (
              select from rows from (pg_catalog.unnest($12::text[]), pg_catalog.unnest($13::text[])) as w (name, value)
              where not exists (
                  select from @schema@.attributes b
                  where b.run_id = a.run_id and b.name = w.name and b.value = w.value))
        order by a.run_id desc limit $7"
);

/// The statement that lists these runs without a look at many others.
pub(crate) fn list_statement(filter: &RunFilter) -> &'static str {
    if !filter.attributes.is_empty() {
        return LIST_BY_ATTRIBUTE;
    }
    if filter.since.is_some() {
        return LIST_SINCE;
    }
    if filter.parent.is_some() {
        return LIST_CHILDREN;
    }
    match (filter.state, filter.status) {
        (Some(OpenState::Stalled | OpenState::Paused), None) => LIST_SET_APART,
        (Some(OpenState::Pending | OpenState::Busy), None) => LIST_UNPARKED,
        (None, Some(status)) if status != ClosedStatus::Completed => LIST_NOT_COMPLETED,
        (Some(OpenState::Parked) | None, None) | (None, Some(_)) | (Some(_), Some(_)) => LIST,
    }
}
