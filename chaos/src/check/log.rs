//! What must be true of the log alone. It must not know what was asked for.

use super::Check;

pub(super) const CHECKS: &[Check] = &[
    Check {
        what: "every frame can be read",
        counter_examples: "select format('run %s: %s', run_id, problem) from chaos.events where problem is not null",
    },
    Check {
        what: "the events of a run are numbered 1, 2, 3, …",
        counter_examples: "
            select format('run %s: event %s follows event %s', run_id, seq, before)
            from (select run_id, seq, lag(seq, 1, 0) over (partition by run_id order by seq) as before
                  from chaos.events) e
            where seq <> before + 1",
    },
    Check {
        what: "the positions of a shard are 1, 2, 3, …",
        counter_examples: "
            select format('shard %s: position %s follows position %s', shard, position, before)
            from (select shard, position, lag(position, 1, 0::bigint) over (partition by shard order by position) as before
                  from chaos.events) e
            where position <> before + 1",
    },
    Check {
        what: "the events of a run are in the order of their positions and times",
        counter_examples: "
            select format('run %s: event %s at %s, position %s', run_id, seq, at, position)
            from (select *, lag(position) over (partition by run_id order by seq) as position_before,
                         lag(at) over (partition by run_id order by seq) as at_before
                  from chaos.events) e
            where position <= position_before or at < at_before",
    },
    Check {
        what: "a run begins with `run.started`, once",
        counter_examples: "
            select format('run %s: event %s is %s', run_id, seq, name) from chaos.events
            where (seq = 1) <> (name = 'run.started')",
    },
    Check {
        what: "a run ends once, and nothing follows",
        counter_examples: "
            select format('run %s: ends %s, last event %s',
                          e.run_id, coalesce(array_agg(n.seq) filter (where n.seq is not null), '{}'), e.last)
            from (select run_id, max(seq) as last from chaos.events group by run_id) e
            left join chaos.ends n using (run_id)
            group by e.run_id, e.last
            having count(n.seq) <> 1 or max(n.seq) <> e.last",
    },
    Check {
        what: "a run that is over is closed, and no run is open",
        counter_examples: "
            select format('run %s is open: %s', r.run_id, to_jsonb(r)) from pgworkflows.runs r where r.closed_at is null
            union all
            select format('run %s is over, and not closed', n.run_id) from chaos.ends n
            where not exists (select from pgworkflows.closed_runs c where c.run_id = n.run_id)
            union all
            select format('run %s is closed, and not over', c.run_id) from pgworkflows.closed_runs c
            where not exists (select from chaos.ends n where n.run_id = c.run_id)",
    },
    Check {
        what: "no message waits",
        counter_examples: "select format('message %s to run %s', number, run_id) from pgworkflows.inbox",
    },
    Check {
        // What is committed although its run has given it up happened all the same.
        what: "a call has one outcome, or was committed after it was given up",
        counter_examples: "
            select format('run %s: call %s has %s', run_id, data->>'id', array_agg(name order by seq))
            from chaos.events
            where name in ('activity.completed', 'activity.failed', 'activity.cancelled', 'timer.fired', 'timer.cancelled',
                           'compensation.completed', 'compensation.failed', 'step.completed', 'step.failed',
                           'child.completed', 'child.failed', 'child.cancelled')
            group by run_id, data->>'id' having count(*) > 1
               and (array_agg(name order by seq) <> '{activity.cancelled,activity.completed}'
                    or run_id not in (select run_id from chaos.runs where workflow = 'payment'))",
    },
    Check {
        what: "a message is received once",
        counter_examples: "
            select format('run %s: message %s', run_id, data->>'message') from chaos.events
            where name in ('signal.received', 'update.received', 'cancel.requested')
            group by run_id, data->>'message' having count(*) > 1",
    },
    Check {
        what: "no run stalls",
        counter_examples: "
            select format('run %s: event %s: %s', run_id, seq, data->>'reason') from chaos.events
            where name = 'run.stalled'",
    },
];
