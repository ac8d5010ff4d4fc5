-- 0005: tasks, which any process may execute, and the executors that have them.
--
-- No append locks a row of `tasks`: `append` only inserts. A transaction of the user's may hold the row of its own task for as
-- long as it is open. So all other statements that change a task skip rows that somebody else has locked, and whoever sent
-- them asks again. The order of locks is: executors, then tasks, then the inbox. A transaction of the user's locks no
-- executor.

-- One row per process that executes tasks. An id is random, as that of a lease. A fenced executor has no rights any more; its
-- row goes when it has no tasks any more.
create table @schema@.executors (
    executor   bigint primary key
               default ('x' || left(replace(gen_random_uuid()::text, '-', ''), 15))::bit(60)::bigint,
    worker     text not null,
    claimed_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null,
    renewals   bigint not null default 0,
    held_from  bigint not null default 0,  -- it has no task that was claimed before this renewal
    fenced     boolean not null default false,
    queues     text[] not null,            -- the activity queues that it serves
    activities text[] not null,            -- the activities that it knows
    swept      uuid not null default '00000000-0000-0000-0000-000000000000'  -- the last run whose tasks it looked at
) with (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500
);

-- One row per attempt of an activity that was handed out. `seq` is the number of the event that enqueued it.
create table @schema@.tasks (
    run_id      uuid not null,
    seq         int not null,
    enqueued_at timestamptz not null default clock_timestamp(),
    ready_at    timestamptz not null default clock_timestamp(),  -- nobody claims it before
    executor    bigint,                    -- who has it; null: it is free
    renewal     bigint not null default 0, -- the last one of that executor's lease when it was claimed
    claims      int not null default 0,    -- how often it was claimed
    losses      int not null default 0,    -- how many executors were lost while they had it
    losses_max  int not null,              -- with more losses it is over
    queue       text not null,
    activity    text not null,
    message_id  uuid not null,             -- of the message that tells the run how the task ended
    problem     text,                      -- why an executor could not begin it
    body        bytea not null,
    lost        bytea not null,            -- the body of the message if the task is lost
    primary key (run_id, seq)
) with (
    -- As the inbox: every row is deleted soon.
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.5
);
-- From when on there may be free tasks of an activity in a queue. While somebody's old transaction keeps dead rows, a claim does
-- not read again those of all tasks that ever were ready. A task of an append that takes longer than a second to commit may be
-- missed; every sixteenth renewal of an executor looks at all.
create table @schema@.task_heads (
    queue      text not null,
    activity   text not null,
    ready_from timestamptz not null,
    freed      bigint not null default 0,  -- how often tasks were freed that had been claimed before
    primary key (queue, activity)
) with (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500
);

-- Each condition fits one of these. The first serves claims: the tasks that are ready first.
create index tasks_free on @schema@.tasks (queue, activity, ready_at) where executor is null;
-- The second begins with what an executor may still have: while somebody's old transaction keeps dead rows, those of all that it
-- ever had are not read again.
-- Tasks that are named are found by their key: no condition of theirs may fit one of these, and `is not distinct from` does not.
create index tasks_claimed on @schema@.tasks (executor, renewal) where executor is not null;

do $$
begin
    alter table @schema@.tasks alter column body set storage main;
    if (select 'lz4' = any (enumvals) from pg_catalog.pg_settings where name = 'default_toast_compression') then
        alter table @schema@.tasks alter column body set compression lz4;
    end if;
end
$$;

-- The shard in a run's id.
create function @schema@.shard_of(p_run uuid) returns smallint
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select ('x' || substr(p_run::text, 16, 3))::bit(12)::int::smallint
$$;

-- Puts the messages that tell how tasks ended into the inbox, in the order given. A run that is over gets none.
create function @schema@.tell_runs(p_runs uuid[], p_messages uuid[], p_bodies bytea[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    insert into @schema@.inbox (shard, run_id, message_id, opens, body)
    select @schema@.shard_of(t.run), t.run, t.message, false, t.body
    from unnest(p_runs, p_messages, p_bodies) with ordinality as t (run, message, body, ord)
    where exists (select from @schema@.open_runs o where o.run_id = t.run offset 0)
    order by t.ord
    on conflict (message_id) where not opens do nothing;
end
$$;

-- Inserts the tasks of an append, which waits for nobody who has a task. An executor may have a task from the beginning,
-- because it executes the attempt already. If it is over by now, the task counts as lost. A task of the queue of an executor
-- that is over is lost for good.
create function @schema@.insert_tasks(
    p_runs uuid[], p_seqs int[], p_queues text[], p_activities text[], p_losses_max int[], p_messages uuid[],
    p_bodies bytea[], p_lost bytea[], p_executors bigint[]
) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    -- The executor that has each task, or that alone may have it.
    v_needed   bigint[];
    v_live     bigint[] := '{}';
    v_runs     uuid[];
    v_messages uuid[];
    v_bodies   bytea[];
begin
    select array_agg(coalesce(t.executor, @schema@.executor_of(t.queue)) order by t.ord)
    into v_needed
    from unnest(p_executors, p_queues) with ordinality as t (executor, queue, ord);
    -- Nobody fences these executors before the tasks are there.
    if cardinality(array_remove(v_needed, null)) > 0 then
        select coalesce(array_agg(l.executor), '{}') into v_live from (
            select e.executor from @schema@.executors e
            where e.executor = any (v_needed) and not e.fenced
            for share
        ) l;
    end if;
    insert into @schema@.tasks
        (run_id, seq, queue, activity, losses_max, message_id, body, lost, executor, renewal, claims, losses)
    select t.run, t.seq, t.queue, t.activity, t.losses_max, t.message, t.body, t.lost,
           case when t.executor = any (v_live) then t.executor end,
           coalesce((select e.renewals from @schema@.executors e where e.executor = t.executor), 0),
           (t.executor is not null)::int, (t.executor is not null and t.executor <> all (v_live))::int
    from unnest(p_runs, p_seqs, p_queues, p_activities, p_losses_max, p_messages, p_bodies, p_lost, p_executors, v_needed)
        as t (run, seq, queue, activity, losses_max, message, body, lost, executor, needed)
    where t.needed is null or t.needed = any (v_live) or t.executor is not null and t.losses_max > 0;

    select array_agg(t.run), array_agg(t.message), array_agg(t.lost) into v_runs, v_messages, v_bodies
    from unnest(p_runs, p_losses_max, p_messages, p_lost, p_executors, v_needed)
        as t (run, losses_max, message, lost, executor, needed)
    where t.needed is not null and t.needed <> all (v_live) and (t.executor is null or t.losses_max = 0);
    if v_runs is not null then
        perform @schema@.tell_runs(v_runs, v_messages, v_bodies);
    end if;
end
$$;

-- Ends tasks because too many executors were lost with them, and tells their runs. The caller has locked the rows.
create function @schema@.fail_tasks(p_runs uuid[], p_seqs int[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_runs     uuid[];
    v_messages uuid[];
    v_bodies   bytea[];
begin
    with gone as (
        delete from @schema@.tasks t using unnest(p_runs, p_seqs) as g (run, seq)
        where t.run_id = any (array[g.run]) and t.seq = g.seq
        returning t.run_id, t.message_id, t.lost
    )
    select array_agg(g.run_id), array_agg(g.message_id), array_agg(g.lost) into v_runs, v_messages, v_bodies
    from gone g;
    if v_runs is not null then
        perform @schema@.tell_runs(v_runs, v_messages, v_bodies);
    end if;
end
$$;

-- The activity queue that an executor alone serves. Its tasks are lost with the executor.
create function @schema@.queue_of(p_executor bigint) returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select 'executor:' || p_executor
$$;

-- The executor that alone serves this activity queue, if one does.
create function @schema@.executor_of(p_queue text) returns bigint
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select case when q.number <= 9223372036854775807 then q.number::bigint end
    from (select substring(p_queue from '^executor:([1-9][0-9]{0,18})$')::numeric) as q (number)
$$;

-- An executor is lost: counts a loss for each of its tasks, a thousand at a time, and frees them. One that may not be lost
-- once more is over, and so are those that nobody else may have. A row that somebody has locked is left for the next call.
-- Returns whether none is left. The caller has locked the executor.
create function @schema@.lose_tasks(p_executor bigint) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_free_runs uuid[];
    v_free_seqs int[];
    v_over_runs uuid[];
    v_over_seqs int[];
    v_from      bigint := (select e.held_from from @schema@.executors e where e.executor = p_executor);
begin
    select array_agg(l.run_id) filter (where l.survives), array_agg(l.seq) filter (where l.survives),
           array_agg(l.run_id) filter (where not l.survives), array_agg(l.seq) filter (where not l.survives)
    into v_free_runs, v_free_seqs, v_over_runs, v_over_seqs
    from (
        select t.run_id, t.seq, t.losses < t.losses_max as survives from @schema@.tasks t
        where t.executor = p_executor and t.renewal >= v_from limit 1000 for update skip locked
    ) l;
    if v_free_runs is not null then
        update @schema@.tasks t set executor = null, losses = t.losses + 1
        from unnest(v_free_runs, v_free_seqs) as l (run, seq)
        where t.run_id = any (array[l.run]) and t.seq = l.seq;
        perform @schema@.note_freed(v_free_runs, v_free_seqs);
    end if;
    if v_over_runs is not null then
        perform @schema@.fail_tasks(v_over_runs, v_over_seqs);
    end if;
    -- Its own queue
    select array_agg(l.run_id), array_agg(l.seq) into v_over_runs, v_over_seqs from (
        select t.run_id, t.seq from @schema@.tasks t
        where t.queue = @schema@.queue_of(p_executor) and t.executor is null limit 1000 for update skip locked
    ) l;
    if v_over_runs is not null then
        perform @schema@.fail_tasks(v_over_runs, v_over_seqs);
    end if;
    return not exists (select from @schema@.tasks t where t.executor = p_executor and t.renewal >= v_from)
       and not exists (
           select from @schema@.tasks t where t.queue = @schema@.queue_of(p_executor) and t.executor is null);
end
$$;

-- Deletes tasks of runs that are over, of which nobody said so: the owner of a run died before it withdrew them. Each call
-- looks at the tasks of the next hundred runs, and at all dead rows between them. The caller has locked the executor.
create function @schema@.sweep_tasks(p_executor bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_from  uuid;
    v_run   uuid;
    v_gone  uuid[] := '{}';
    v_runs  uuid[];
    v_seqs  int[];
begin
    select e.swept into v_from from @schema@.executors e where e.executor = p_executor;
    v_run := v_from;
    for i in 1 .. 100 loop
        select t.run_id into v_run from @schema@.tasks t where t.run_id > v_run order by t.run_id limit 1;
        if v_run is null then
            -- From the beginning, the next time.
            v_run := '00000000-0000-0000-0000-000000000000';
            exit;
        end if;
        if not exists (select from @schema@.open_runs o where o.run_id = v_run) then
            v_gone := v_gone || v_run;
        end if;
    end loop;
    if v_run <> v_from then
        update @schema@.executors e set swept = v_run where e.executor = p_executor;
    end if;
    if cardinality(v_gone) > 0 then
        select array_agg(l.run_id), array_agg(l.seq) into v_runs, v_seqs from (
            select t.run_id, t.seq from unnest(v_gone) as g (run)
            join @schema@.tasks t on t.run_id = any (array[g.run])
            limit 1000 for update of t skip locked
        ) l;
        delete from @schema@.tasks t using unnest(v_runs, v_seqs) as l (run, seq)
        where t.run_id = any (array[l.run]) and t.seq = l.seq;
    end if;
end
$$;

-- Fences the executors whose leases have expired, except the caller's own, and frees their tasks. One that is locked is left
-- for the next call.
create function @schema@.fence_executors(p_own bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_over     bigint[];
    v_executor bigint;
begin
    select array_agg(o.executor) into v_over from (
        select e.executor from @schema@.executors e
        where (e.fenced or e.expires_at <= clock_timestamp()) and e.executor is distinct from p_own
        for update skip locked
    ) o;
    if v_over is null then
        return;
    end if;
    update @schema@.executors e set fenced = true where e.executor = any (v_over) and not e.fenced;
    foreach v_executor in array v_over loop
        if @schema@.lose_tasks(v_executor) then
            delete from @schema@.executors e where e.executor = v_executor;
        end if;
    end loop;
end
$$;

-- Moves heads to where their first free tasks are. Nobody waits for this, and it does nothing to a head if tasks were freed
-- since it was read.
create function @schema@.move_heads(p_heads @schema@.task_heads[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    with still as (
        select h.queue, h.activity, n.ready_from
        from unnest(p_heads) n
        join @schema@.task_heads h on h.queue = any (array[n.queue]) and h.activity = any (array[n.activity])
        where h.freed = n.freed
        for update of h skip locked
    )
    update @schema@.task_heads h set ready_from = s.ready_from from still s
    where h.queue = any (array[s.queue]) and h.activity = any (array[s.activity]);
    insert into @schema@.task_heads (queue, activity, ready_from)
    select n.queue, n.activity, n.ready_from from unnest(p_heads) n order by n.queue, n.activity
    on conflict do nothing;
end
$$;

-- Tasks that had been claimed are free again, with the time at which they were ready first.
create function @schema@.note_freed(p_runs uuid[], p_seqs int[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_head record;
begin
    -- Only one transaction at a time has several heads locked that others wait for.
    perform pg_advisory_xact_lock(hashtext('@schema@'), hashtext('pgworkflows: heads'));
    for v_head in
        select t.queue, t.activity, min(t.ready_at) filter (where t.executor is null) as ready_at
        from unnest(p_runs, p_seqs) as l (run, seq)
        join @schema@.tasks t on t.run_id = any (array[l.run]) and t.seq = l.seq
        group by t.queue, t.activity
    loop
        -- `least` ignores null.
        update @schema@.task_heads h set ready_from = least(h.ready_from, v_head.ready_at), freed = h.freed + 1
        where h.queue = v_head.queue and h.activity = v_head.activity;
    end loop;
end
$$;

-- Renews the lease of an executor, or makes a new one, and claims tasks under it.
create function @schema@.claim_tasks(
    p_executor     bigint,           -- null: a new one
    p_renewals     bigint,           -- how many renewals were acknowledged
    p_worker       text,
    p_ttl_micros   bigint,           -- null: do not renew
    p_queues       text[],
    p_limits       int[],            -- how many tasks of each queue
    p_activities   text[],
    p_bytes        bigint,           -- of bodies; the first task is claimed whatever its size
    p_lock_timeout text,
    out executor bigint, out at timestamptz, out more boolean,
    out held_runs uuid[], out held_seqs int[], out held_claims int[],
    out runs uuid[], out seqs int[], out claims int[], out queues text[], out bodies bytea[]
) language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- As in `append`.
set enable_seqscan = off
set enable_indexonlyscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_expires timestamptz := clock_timestamp() + p_ttl_micros * interval '1 microsecond';
    v_now     timestamptz := clock_timestamp();
    v_renewal bigint := 1;
    v_from    bigint := 0;
    v_oldest  bigint;
    v_kind    record;
    v_queue   int := 0;
    v_left    int;
    v_total   bigint := 0;
    v_fit     int;
    v_runs    uuid[];
    v_seqs    int[];
    v_sizes   int[];
    v_gone    uuid[];
    v_taken   record;
    v_heads   @schema@.task_heads[] := '{}';
    v_all     boolean := false;
begin
    perform @schema@.enter(p_lock_timeout);
    more := false;
    runs := '{}'; seqs := '{}'; claims := '{}'; queues := '{}'; bodies := '{}';

    if p_executor is null then
        insert into @schema@.executors (worker, expires_at, renewals, queues, activities)
        values (p_worker, coalesce(v_expires, v_now), 1, p_queues, p_activities)
        returning executors.executor into executor;
    elsif p_ttl_micros is not null then
        update @schema@.executors e
        set expires_at = v_expires, renewals = greatest(e.renewals, p_renewals + 1), queues = p_queues,
            activities = p_activities
        where e.executor = p_executor and not e.fenced and e.renewals >= p_renewals
        returning e.executor, e.renewals, e.held_from into executor, v_renewal, v_from;
    else
        -- Nobody fences it before these tasks are claimed.
        select e.executor, e.renewals into executor, v_renewal from @schema@.executors e
        where e.executor = p_executor and not e.fenced and e.renewals >= p_renewals for share;
    end if;
    if executor is null then
        raise exception using errcode = 'PW001', message = format(
            'executor %s is fenced, or the database lost commits', p_executor);
    end if;

    if p_ttl_micros is not null then
        perform @schema@.fence_executors(executor);
        -- Tasks are rarely forgotten, or missed.
        v_all := v_renewal % 16 = 1;
        if v_all then
            perform @schema@.sweep_tasks(executor);
        end if;
        -- In no order, which would make another index than that of the executor seem fit.
        select coalesce(array_agg(t.run_id), '{}'), coalesce(array_agg(t.seq), '{}'), coalesce(array_agg(t.claims), '{}'),
               coalesce(min(t.renewal), v_renewal)
        into held_runs, held_seqs, held_claims, v_oldest
        from @schema@.tasks t where t.executor = claim_tasks.executor and t.renewal >= v_from;
        if v_oldest > v_from then
            update @schema@.executors e set held_from = v_oldest where e.executor = claim_tasks.executor;
        end if;
    end if;

    -- Queue by queue. Of one queue, first the activity whose first task was ready first.
    v_now := clock_timestamp();
    for v_kind in
        select q.ord, q.queue, q.wanted, a.activity, h.ready_from, h.freed, first.ready_at
        from unnest(p_queues, p_limits) with ordinality as q (queue, wanted, ord)
        cross join unnest(p_activities) as a (activity)
        left join @schema@.task_heads h on h.queue = any (array[q.queue]) and h.activity = any (array[a.activity])
        cross join lateral (
            select t.ready_at from @schema@.tasks t
            where t.queue = q.queue and t.activity = a.activity and t.executor is null
              and t.ready_at >= case when v_all then '-infinity' else coalesce(h.ready_from, '-infinity') end
            order by t.ready_at limit 1
        ) first
        where q.wanted > 0 and first.ready_at <= v_now
        order by q.ord, first.ready_at
    loop
        if v_kind.ord <> v_queue then
            v_queue := v_kind.ord;
            v_left := v_kind.wanted;
        end if;
        continue when v_left = 0;
        if v_kind.queue <> @schema@.queue_of(executor)
           and (v_kind.ready_from is null or v_kind.ready_at < v_kind.ready_from
                or v_kind.ready_at > v_kind.ready_from + interval '2 seconds') then
            v_heads := v_heads || row(v_kind.queue, v_kind.activity, v_kind.ready_at - interval '1 second',
                                      coalesce(v_kind.freed, 0))::@schema@.task_heads;
        end if;
        select array_agg(l.run_id), array_agg(l.seq), array_agg(l.size) into v_runs, v_seqs, v_sizes from (
            select t.run_id, t.seq, octet_length(t.body) as size from @schema@.tasks t
            where t.queue = v_kind.queue and t.activity = v_kind.activity and t.executor is null
              and t.ready_at between v_kind.ready_at and v_now
            order by t.ready_at limit v_left for update skip locked
        ) l;
        continue when v_runs is null;

        -- A task whose run is over was not withdrawn in time. Those after it are still to be claimed.
        select array_agg(l.run) into v_gone from unnest(v_runs) as l (run)
        where not exists (select from @schema@.open_runs o where o.run_id = l.run offset 0);
        if v_gone is not null then
            more := true;
            delete from @schema@.tasks t using unnest(v_runs, v_seqs) as l (run, seq)
            where t.run_id = any (array[l.run]) and t.seq = l.seq and l.run = any (v_gone);
            select array_agg(l.run order by l.ord), array_agg(l.seq order by l.ord), array_agg(l.size order by l.ord)
            into v_runs, v_seqs, v_sizes
            from unnest(v_runs, v_seqs, v_sizes) with ordinality as l (run, seq, size, ord)
            where l.run <> all (v_gone);
            continue when v_runs is null;
        end if;

        select count(*), coalesce(max(l.total), v_total) into v_fit, v_total from (
            select s.ord, v_total + sum(s.size) over (order by s.ord) as total
            from unnest(v_sizes) with ordinality as s (size, ord)
        ) l
        where l.total <= p_bytes or l.ord = 1 and cardinality(runs) = 0;
        if v_fit > 0 then
            with taken as (
                update @schema@.tasks t
                set executor = claim_tasks.executor, renewal = v_renewal, claims = t.claims + 1, problem = null
                from unnest(v_runs[:v_fit], v_seqs[:v_fit]) with ordinality as l (run, seq, ord)
                where t.run_id = any (array[l.run]) and t.seq = l.seq
                returning l.ord, t.run_id, t.seq, t.claims, t.queue, t.body
            )
            select array_agg(t.run_id order by t.ord) as runs, array_agg(t.seq order by t.ord) as seqs,
                   array_agg(t.claims order by t.ord) as claims, array_agg(t.queue order by t.ord) as queues,
                   array_agg(t.body order by t.ord) as bodies
            into v_taken from taken t;
            runs := runs || v_taken.runs;
            seqs := seqs || v_taken.seqs;
            claims := claims || v_taken.claims;
            queues := queues || v_taken.queues;
            bodies := bodies || v_taken.bodies;
            v_left := v_left - v_fit;
        end if;
        if v_fit < cardinality(v_runs) then
            more := true;
            exit;
        end if;
    end loop;
    if v_heads <> '{}' then
        perform @schema@.move_heads(v_heads);
    end if;
    at := clock_timestamp();
end
$$;

-- Ends tasks, and tells their runs how. Returns for each whether the executor had it by this very claim; null if somebody has
-- it locked, such as a transaction that settles it by itself.
create function @schema@.settle_tasks(
    p_executor bigint, p_runs uuid[], p_seqs int[], p_claims int[], p_bodies bytea[],
    p_notify text, p_hints text,     -- as in `append`
    p_lock_timeout text,
    out held boolean[], out notified boolean
) language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_ords     bigint[];
    v_ord      bigint;
    v_runs     uuid[];
    v_messages uuid[];
    v_bodies   bytea[];
begin
    perform @schema@.enter(p_lock_timeout);
    notified := false;
    held := array_fill(false, array[cardinality(p_runs)]);
    -- Nobody fences it before its outcomes are committed.
    perform 1 from @schema@.executors e where e.executor = p_executor and not e.fenced for share;
    if not found then
        return;
    end if;
    with had as (
        select s.ord, s.body, t.run_id, t.seq
        from unnest(p_runs, p_seqs, p_claims, p_bodies) with ordinality as s (run, seq, claim, body, ord)
        join @schema@.tasks t on t.run_id = any (array[s.run]) and t.seq = s.seq
        where t.executor is not distinct from p_executor and t.claims = s.claim
        for update of t skip locked
    ), gone as (
        delete from @schema@.tasks t using had h
        where t.run_id = any (array[h.run_id]) and t.seq = h.seq
        returning h.ord, t.run_id, t.message_id, h.body
    )
    select array_agg(g.ord order by g.ord), array_agg(g.run_id order by g.ord), array_agg(g.message_id order by g.ord),
           array_agg(g.body order by g.ord)
    into v_ords, v_runs, v_messages, v_bodies from gone g;
    if v_ords is not null then
        perform @schema@.tell_runs(v_runs, v_messages, v_bodies);
        foreach v_ord in array v_ords loop
            held[v_ord] := true;
        end loop;
        notified := @schema@.notify_if_free(p_notify, p_hints);
    end if;
    if cardinality(v_ords) = cardinality(p_runs) then
        return;
    end if;
    -- What is still there was skipped.
    for v_ord in
        select s.ord from unnest(p_runs, p_seqs, p_claims) with ordinality as s (run, seq, claim, ord)
        join @schema@.tasks t on t.run_id = any (array[s.run]) and t.seq = s.seq
        where t.executor is not distinct from p_executor and t.claims = s.claim
    loop
        held[v_ord] := null;
    end loop;
end
$$;

-- Gives tasks back, and ends the executor if asked to. Returns the queues whose tasks are free.
create function @schema@.return_tasks(
    p_executor bigint, p_runs uuid[], p_seqs int[], p_claims int[],
    p_begun boolean[], p_pauses bigint[], p_problems text[],   -- pauses in microseconds
    p_ends boolean, p_lock_timeout text
) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_over_runs uuid[];
    v_over_seqs int[];
    v_ords      bigint[];
    v_queues    text[];
begin
    perform @schema@.enter(p_lock_timeout);
    perform 1 from @schema@.executors e where e.executor = p_executor and not e.fenced for update;
    if not found then
        return '{}';
    end if;
    -- One that survives no loss is over if its execution began. One that is locked is left: if its transaction is rolled back,
    -- it is lost with the executor.
    select array_agg(l.run_id) filter (where l.is_over), array_agg(l.seq) filter (where l.is_over),
           array_agg(l.ord) filter (where not l.is_over)
    into v_over_runs, v_over_seqs, v_ords
    from (
        select r.ord, t.run_id, t.seq, r.begun and t.losses_max = 0 as is_over
        from unnest(p_runs, p_seqs, p_claims, p_begun) with ordinality as r (run, seq, claim, begun, ord)
        join @schema@.tasks t on t.run_id = any (array[r.run]) and t.seq = r.seq
        where t.executor is not distinct from p_executor and t.claims = r.claim
        for update of t skip locked
    ) l;
    if v_over_runs is not null then
        perform @schema@.fail_tasks(v_over_runs, v_over_seqs);
    end if;
    with freed as (
        update @schema@.tasks t
        set executor = null, problem = r.problem,
            ready_at = case when r.pause > 0 then clock_timestamp() + r.pause * interval '1 microsecond'
                            else t.ready_at end
        from unnest(p_runs, p_seqs, p_pauses, p_problems) with ordinality as r (run, seq, pause, problem, ord)
        where r.ord = any (v_ords) and t.run_id = any (array[r.run]) and t.seq = r.seq
        returning t.queue
    )
    select coalesce(array_agg(distinct f.queue), '{}') into v_queues from freed f;
    perform @schema@.note_freed(p_runs, p_seqs);
    if p_ends then
        update @schema@.executors e set fenced = true where e.executor = p_executor;
        if @schema@.lose_tasks(p_executor) then
            delete from @schema@.executors e where e.executor = p_executor;
        end if;
    end if;
    return v_queues;
end
$$;

-- Deletes tasks whose outcome is not awaited any more, and tells the runs of those that have a body that it came to nothing.
-- Returns for each whether somebody has it locked, so that it is still there.
create function @schema@.withdraw_tasks(
    p_runs uuid[], p_seqs int[], p_bodies bytea[],
    p_notify text, p_hints text,     -- as in `append`
    p_lock_timeout text,
    out locked boolean[], out notified boolean
) language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_runs     uuid[];
    v_messages uuid[];
    v_bodies   bytea[];
begin
    perform @schema@.enter(p_lock_timeout);
    notified := false;
    with free as (
        select w.ord, w.body, t.run_id, t.seq
        from unnest(p_runs, p_seqs, p_bodies) with ordinality as w (run, seq, body, ord)
        join @schema@.tasks t on t.run_id = any (array[w.run]) and t.seq = w.seq
        for update of t skip locked
    ), gone as (
        delete from @schema@.tasks t using free f
        where t.run_id = any (array[f.run_id]) and t.seq = f.seq
        returning f.ord, t.run_id, t.message_id, f.body
    )
    select array_agg(g.run_id order by g.ord), array_agg(g.message_id order by g.ord), array_agg(g.body order by g.ord)
    into v_runs, v_messages, v_bodies from gone g where g.body is not null;
    if v_runs is not null then
        perform @schema@.tell_runs(v_runs, v_messages, v_bodies);
        notified := @schema@.notify_if_free(p_notify, p_hints);
    end if;
    select array_agg(t.seq is not null order by w.ord) into locked
    from unnest(p_runs, p_seqs) with ordinality as w (run, seq, ord)
    left join @schema@.tasks t on t.run_id = any (array[w.run]) and t.seq = w.seq;
end
$$;

-- Begins the transaction of a task: marks it, and limits how long each of its statements, and each pause between them, may
-- take. So a process that stops in the middle holds nothing for ever. `transaction_timeout` exists since PostgreSQL 17.
create function @schema@.begin_own_task(p_mark text, p_limit_millis bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name text;
    v_now  text;
begin
    perform set_config('pgworkflows.task', p_mark, true);
    if p_limit_millis is null then
        return;
    end if;
    foreach v_name in array array['statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout'] loop
        -- With its unit, such as `30s`. A shorter limit stays.
        v_now := current_setting(v_name, true);
        if v_now = '0' or v_now::interval > p_limit_millis * interval '1 millisecond' then
            perform set_config(v_name, p_limit_millis::text, true);
        end if;
    end loop;
end
$$;

-- Ends a task in the transaction of its own writes, and tells its run how. Returns false if the executor does not have it any
-- more, or if its run is over: then the transaction must be rolled back.
create function @schema@.settle_task(p_executor bigint, p_run uuid, p_seq int, p_claim int, p_body bytea) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_message uuid;
begin
    delete from @schema@.tasks t
    where t.run_id = p_run and t.seq = p_seq and t.executor is not distinct from p_executor and t.claims = p_claim
      and exists (select from @schema@.open_runs o where o.run_id = p_run)
    returning t.message_id into v_message;
    if v_message is null then
        return false;
    end if;
    insert into @schema@.inbox (shard, run_id, message_id, opens, body)
    values (@schema@.shard_of(p_run), p_run, v_message, false, p_body)
    on conflict (message_id) where not opens do nothing;
    return true;
end
$$;

-- The same for a transaction that `begin_own_task` marked. The mark shows that it is still the transaction that began with it, and
-- not one that follows.
create function @schema@.settle_own_task(
    p_mark text, p_executor bigint, p_run uuid, p_seq int, p_claim int, p_body bytea
) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('pgworkflows.task', true) is distinct from p_mark then
        raise exception using errcode = 'PW005', message = 'the transaction of the task has ended already';
    end if;
    return @schema@.settle_task(p_executor, p_run, p_seq, p_claim, p_body);
end
$$;

-- The activity queues that have tasks, for people.
create view @schema@.activity_queues as
select t.queue, t.activity,
       count(*) filter (where t.executor is null) as waiting,
       count(*) filter (where t.executor is not null) as claimed,
       min(t.enqueued_at) filter (where t.executor is null) as waiting_since,
       (select count(*) from @schema@.executors e
        where not e.fenced and e.expires_at > clock_timestamp()
          and t.queue = any (e.queues) and t.activity = any (e.activities)) as executors,
       max(t.problem) filter (where t.executor is null) as problem
from @schema@.tasks t
group by t.queue, t.activity;
