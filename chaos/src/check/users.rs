//! What must be true of the users' tables. It must not know the log's form.

use super::Check;

pub(super) const CHECKS: &[Check] = &[
    Check {
        what: "money is neither made nor lost",
        counter_examples: "
            select format('the balances add up to %s, and not to %s', sum(balance), 1000 * count(*))
            from chaos.accounts having sum(balance) <> 1000 * count(*)",
    },
    Check {
        what: "a balance is the sum of its movements and payments",
        counter_examples: "
            select format('account %s has %s, and its movements and payments make %s', account, a.balance, 1000 + m.moved)
            from chaos.accounts a
            join (
                select t.account, sum(t.amount) as moved
                from (select account, amount from chaos.movements
                      union all select source, -amount from chaos.payments
                      union all select target, amount from chaos.payments) t
                group by t.account
            ) m using (account)
            where a.balance <> 1000 + m.moved",
    },
    Check {
        what: "a transfer that is over has both of its movements",
        counter_examples: "
            select format('%s, a %s: %s', r.token, r.workflow, m.parts)
            from chaos.runs r
            left join lateral (
                select array_agg(part order by part) as parts from chaos.movements m where m.token = r.token
            ) m on true
            where r.workflow in ('transfer', 'refund')
              and m.parts is distinct from case r.workflow
                  when 'transfer' then '{deposit,withdrawal}'::text[] else '{refund,withdrawal}'::text[] end",
    },
    Check {
        what: "money moves for runs alone",
        counter_examples: "
            select format('%s: %s', m.token, m.part)
            from (select token, part from chaos.movements union all select token, 'payment' from chaos.payments) m
            where not exists (select from chaos.runs r where r.token = m.token)",
    },
    Check {
        what: "a payment is made once at most, and if and only if its run was told so",
        counter_examples: "
            select format('%s: run %s: paid %s times, and its run was told so %s times', r.token, r.run_id, p.paid, t.told)
            from chaos.runs r
            cross join lateral (select count(*) as paid from chaos.payments p where p.token = r.token) p
            cross join lateral (
                select (select count(*) from chaos.events e where e.run_id = r.run_id and e.name = 'activity.completed')
                     + (select count(*) from pgworkflows.undelivered u where u.run_id = r.run_id) as told
            ) t
            where r.workflow = 'payment' and (p.paid > 1 or p.paid <> t.told)",
    },
    Check {
        what: "a payment that is not given up is made, unless too many processes died with it",
        counter_examples: "
            select format('%s: run %s: %s', r.token, r.run_id, n.outcome)
            from chaos.runs r
            join chaos.events e on e.run_id = r.run_id and e.name = 'run.started'
            left join chaos.ends n on n.run_id = r.run_id
            where r.workflow = 'payment' and e.data->'input'->'patience' = '\"Never\"'
              and n.outcome->'result' is distinct from 'true'
              and not exists (select from chaos.events l where l.run_id = r.run_id and l.name = 'activity.attempt-lost')",
    },
    Check {
        what: "what is executed at most once is executed at most once, and once if it completed",
        counter_examples: "
            select format('%s: run %s: %s, and %s executions', r.token, r.run_id, e.outcome, x.executions)
            from chaos.runs r
            left join chaos.ends e using (run_id)
            cross join lateral (select count(*) as executions from chaos.executions x where x.token = r.token) x
            where r.workflow = 'once'
              and (x.executions > 1 or x.executions = 0 and e.outcome->'result' = 'true')",
    },
];
