//! What must be true of everything that was acknowledged to a client. It must not know what a run does.

use super::Check;

pub(super) const CHECKS: &[Check] = &[
    Check {
        what: "an acknowledged start has its run",
        counter_examples: "
            select format('%s: run %s', n.token, n.run_id) from chaos.notes n
            where n.kind in ('started', 'told', 'signalled', 'answered', 'cancelled')
              and not exists (select from chaos.runs r where r.run_id = n.run_id and r.token = n.token)",
    },
    Check {
        what: "a start makes one run at most",
        counter_examples: "
            select format('%s: %s runs', token, count(*)) from chaos.runs
            where run_id = first group by token having count(*) > 1",
    },
    Check {
        what: "every run was started by somebody, as what it is",
        counter_examples: "
            select format('run %s: %s, %s', r.run_id, r.workflow, r.token) from chaos.runs r
            where r.parent is null and not exists (select from chaos.notes n where n.kind = 'starts' and n.token = r.token
                                and n.fact->>'workflow' = r.workflow)",
    },
    Check {
        what: "a start that is rolled back makes no run",
        counter_examples: "
            select format('%s: run %s', n.token, r.run_id) from chaos.notes n join chaos.runs r using (token)
            where n.kind = 'starts' and n.fact->>'manner' = 'rolled-back'",
    },
    Check {
        what: "a row and the run that was started in its transaction exist both, or neither does",
        counter_examples: "
            select format('%s: row %s, run %s', n.token, o.token, r.run_id) from chaos.notes n
            left join chaos.orders o using (token) left join chaos.runs r using (token)
            where n.kind = 'starts' and n.fact->>'manner' in ('in-transaction', 'rolled-back')
              and (o.token is null) <> (r.run_id is null)",
    },
    Check {
        what: "a run ends as its input says",
        counter_examples: "
            select format('%s: run %s ended with %s, and not with %s', n.token, r.run_id, e.outcome, n.fact->'expected')
            from chaos.notes n join chaos.runs r using (token) left join chaos.ends e on e.run_id = r.run_id
            where n.kind = 'starts' and n.fact->'expected'->>'end' <> 'open'
              and e.outcome is distinct from n.fact->'expected' and e.outcome is distinct from '{\"end\": \"continued\"}'",
    },
    Check {
        what: "a client is told what the log says",
        counter_examples: "
            select format('%s: run %s ended with %s, and its client was told %s', n.token, n.run_id, e.outcome, n.fact->'outcome')
            from chaos.notes n
            left join lateral (
                select e.outcome from chaos.runs r join chaos.ends e using (run_id)
                where r.first = n.run_id and e.outcome <> '{\"end\": \"continued\"}'
            ) e on true
            where n.kind = 'told' and e.outcome is distinct from n.fact->'outcome'",
    },
    Check {
        // A worker may have died before.
        what: "a client is told how its run ended",
        counter_examples: "
            select format('%s: run %s', s.token, s.run_id) from chaos.notes s
            where s.kind = 'started' and s.token not like 'worker-%' and not exists (select from chaos.notes n where n.kind = 'told' and n.token = s.token)",
    },
    Check {
        what: "no client is refused",
        counter_examples: "
            select format('%s: %s', n.token, n.fact->>'error') from chaos.notes n where n.kind = 'refused'",
    },
    Check {
        what: "an acknowledged signal is received",
        counter_examples: "
            select format('%s: run %s: signal %s', n.token, n.run_id, n.fact->'number') from chaos.notes n
            where n.kind = 'signalled' and not exists (
                select from chaos.runs r join chaos.events e using (run_id)
                where r.first = n.run_id and e.name = 'signal.received' and e.data->'payload' = n.fact->'number')",
    },
    Check {
        what: "signals that are sent one after the other are received in that order, once",
        counter_examples: "
            select format('run %s: signal %s after signal %s', run_id, number, before)
            from (select run_id, (data->>'payload')::int as number,
                         lag((data->>'payload')::int) over (partition by run_id order by seq) as before
                  from chaos.events where name = 'signal.received') e
            where number <= before",
    },
    Check {
        what: "a signal whose row was committed is received",
        counter_examples: "
            select format('%s: signal %s', l.token, l.number) from chaos.letters l
            where not exists (
                select from chaos.runs r join chaos.events e using (run_id)
                where r.token = l.token and e.name = 'signal.received' and (e.data->>'payload')::int = l.number)",
    },
];
