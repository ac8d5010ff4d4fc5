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
        what: "a balance is the sum of its movements",
        counter_examples: "
            select format('account %s has %s, and its movements make %s', account, a.balance, 1000 + m.moved)
            from chaos.accounts a
            join (select account, sum(amount) as moved from chaos.movements group by account) m using (account)
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
            select format('%s: %s', m.token, m.part) from chaos.movements m
            where not exists (select from chaos.runs r where r.token = m.token)",
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
