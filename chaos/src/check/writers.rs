//! What the server's triggers saw: who wrote, and when. It must not know what was written.

use super::Check;

pub(super) const CHECKS: &[Check] = &[
    Check {
        what: "nothing is committed under a lease that was fenced",
        counter_examples: "
            select format('append %s of lease %s, which was fenced before', a.number, a.lease)
            from chaos.appended a join chaos.fenced f using (lease) where a.moment > f.moment",
    },
    Check {
        what: "an append is applied once",
        counter_examples: "
            select format('append %s of lease %s: %s times', number, lease, count(*))
            from chaos.appended group by lease, number having count(*) > 1",
    },
    Check {
        what: "the appends of a lease are numbered 1, 2, 3, …",
        counter_examples: "
            select format('lease %s: append %s follows append %s', lease, number, before)
            from (select lease, number, lag(number, 1, 0::bigint) over (partition by lease order by moment) as before
                  from chaos.appended) a
            where number <> before + 1",
    },
    Check {
        what: "only the owner of a shard writes to it",
        counter_examples: "
            select format('run %s: event %s was written by lease %s, and shard %s belonged to %s',
                          w.run_id, w.seq, a.lease, w.shard, o.lease)
            from chaos.written w
            left join chaos.appended a using (transaction)
            left join lateral (
                select o.lease from chaos.owned o where o.shard = w.shard and o.moment < a.moment
                order by o.moment desc limit 1
            ) o on true
            where o.lease is distinct from a.lease or a.lease is null",
    },
    Check {
        what: "what was written is in the log, and nothing else is",
        counter_examples: "
            select format('run %s: frame at event %s: written %s, in the log %s',
                          coalesce(w.run_id, f.run_id), coalesce(w.seq, f.seq), w.count, f.count)
            from chaos.written w
            full join pgworkflows.frames f on f.run_id = w.run_id and f.seq = w.seq
            where w.count is distinct from f.count",
    },
    Check {
        what: "no timer fires early, by the server's clock at the commit",
        counter_examples: "
            select format('run %s: event %s was committed at %s, and is due at %s', e.run_id, e.seq, w.at, s.data->>'fire_at')
            from chaos.events e
            join chaos.events s on s.run_id = e.run_id and s.name = 'timer.started' and s.data->>'id' = e.data->>'id'
            join chaos.written w on w.run_id = e.run_id and e.seq >= w.seq and e.seq < w.seq + w.count
            where e.name = 'timer.fired'
              and least(w.at, e.at) < (s.data->>'fire_at')::timestamptz",
    },
    Check {
        what: "no event has a time after its commit",
        counter_examples: "
            select format('run %s: event %s has the time %s, and was committed at %s', e.run_id, e.seq, e.at, w.at)
            from chaos.events e
            join chaos.written w on w.run_id = e.run_id and e.seq >= w.seq and e.seq < w.seq + w.count
            where e.at > w.at",
    },
];
