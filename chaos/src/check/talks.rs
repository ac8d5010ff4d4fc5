//! What must be true of updates, of chains and of families. It must not know what is asked for.

use super::Check;

pub(super) const CHECKS: &[Check] = &[
    Check {
        what: "a run that continues as new is followed by one run, which says so",
        counter_examples: "
            select format('run %s: continues as run %s, and is the predecessor of %s', e.run_id, e.data->>'successor', s.runs)
            from chaos.events e
            cross join lateral (
                select coalesce(array_agg(r.run_id::text), '{}') as runs from chaos.runs r where r.predecessor = e.run_id
            ) s
            where e.name = 'run.continued' and s.runs <> array[e.data->>'successor']
            union all
            select format('run %s: follows run %s, which did not continue', r.run_id, r.predecessor) from chaos.runs r
            where r.predecessor is not null
              and not exists (select from chaos.events e where e.run_id = r.predecessor and e.name = 'run.continued')",
    },
    Check {
        what: "an update with a key is one update of its chain, and has one reply",
        counter_examples: "
            select format('run %s: key %s: messages %s, %s replies', u.first, u.key, u.messages, u.replies)
            from (
                select r.first, e.data->>'key' as key, array_agg(distinct e.data->>'message') as messages,
                       (select count(*) from chaos.events a
                        where a.name in ('update.replied', 'update.dropped')
                          and a.data->>'message' = any (array_agg(distinct e.data->>'message'))) as replies
                from chaos.events e join chaos.runs r using (run_id)
                where e.name = 'update.received' group by r.first, e.data->>'key'
            ) u
            where cardinality(u.messages) <> 1 or u.replies <> 1",
    },
    Check {
        what: "an answer in the log can be read by clients",
        counter_examples: "
            select format('run %s: message %s', a.run_id, a.data->>'message') from chaos.events a
            where a.name = 'update.replied'
              and not exists (select from pgworkflows.replies p
                              where p.run_id = a.run_id and p.message_id = (a.data->>'message')::uuid)",
    },
    Check {
        what: "a client is answered what the log says",
        counter_examples: "
            select format('%s: run %s: update %s was answered %s', n.token, n.run_id, n.fact->'number', n.fact->'answer')
            from chaos.notes n
            where n.kind = 'answered' and not exists (
                select from chaos.runs r
                join chaos.events e on e.run_id = r.run_id and e.name = 'update.received'
                join chaos.events a on a.name = 'update.replied' and a.data->>'message' = e.data->>'message'
                where r.first = n.run_id and e.data->>'key' = n.fact->>'number' and a.data->'answer' = n.fact->'answer')",
    },
    Check {
        what: "a parent is told of its child once, what the child returned",
        counter_examples: "
            select format('run %s: child %s of %s ended with %s, and it was told %s',
                          s.run_id, s.data->>'child', c.parent, n.outcome, t.results)
            from chaos.events s
            left join chaos.runs c on c.run_id = (s.data->>'child')::uuid
            left join chaos.ends n on n.run_id = c.run_id
            cross join lateral (
                select coalesce(array_agg(t.data->'result'), '{}') as results from chaos.events t
                where t.run_id = s.run_id and t.name in ('child.completed', 'child.failed')
                  and t.data->'id' = s.data->'id'
            ) t
            where s.name = 'child.started'
              and (t.results <> array[n.outcome->'result'] or n.outcome is null or c.parent is distinct from s.run_id)",
    },
];
