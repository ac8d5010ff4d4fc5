-- 0001: the log, the inbox, the runs, and the leases that decide who may write.
--
-- `@schema@` is the placeholder of the schema's name; the library replaces it. A released migration is never edited,
-- because its checksum is recorded in the table `migrations`.
--
-- Rows that are passed as arrays, one per column, are unnested in the select list of their insert. There the arrays
-- advance in step, and are not materialized first, as functions after FROM are.
--
-- Joins look up rows of large tables by `= any (array[x])` in the first column of their index. With a plain `=` the
-- planner may reverse the join while it believes the table to be empty, and then reads the whole table for each row.
--
-- Two rules hold for every function. A lock and the reads that depend on it are separate statements of a VOLATILE
-- function, because a statement that waited for a lock still reads with the snapshot from before the wait. Locks are
-- taken in one order: leases, ascending, then shards, ascending.

do $$
begin
    -- `create schema if not exists` requires the right to create schemas even if this one exists.
    if not exists (select from pg_catalog.pg_namespace where nspname = '@schema@') then
        create schema @schema@;
    end if;
end
$$;

-- The migrations that were applied to this schema.
create table @schema@.migrations (
    number     int primary key,
    name       text not null,
    checksum   bytea not null,
    applied_at timestamptz not null default clock_timestamp()
);

-- One row: decisions from the schema's creation that apply to all its users.
create table @schema@.settings (
    id                      smallint primary key default 1 check (id = 1),
    partition_width_seconds bigint not null default 2592000 check (partition_width_seconds > 0),
    -- Where the transaction ids in the inbox were assigned. They have no meaning elsewhere. See 0003.
    system_identifier       bigint,      -- the cluster's; null: the schema's owner may not read it
    database_oid            oid
);
insert into @schema@.settings default values;

-- -------------------------------------------------------------------------------------------------------
-- The log
-- -------------------------------------------------------------------------------------------------------

-- One row per frame, append-only: the events that one append wrote for one run. The view `history` shows the events. The
-- order of the columns needs no padding.
-- The ownership check keeps (shard, position) unique and gapless; the index serves lookups only.
create table @schema@.frames (
    run_id   uuid not null,
    position bigint not null,          -- of its last event: the greatest of a shard is one probe
    at       timestamptz not null,     -- when its first event happened
    seq      int not null,             -- the number of its first event
    count    int not null,             -- how many events it has
    shard    smallint not null,
    body     bytea not null,
    primary key (run_id, seq)
) partition by range (run_id);
create index frames_by_position on @schema@.frames (shard, position);

-- One row per run that is over. Partitioned like the log, so that both are dropped together.
-- status: 0 completed, 1 failed, 2 cancelled, 3 terminated, 4 continued as new, 5 failed and tried again, 6 timed out. After 4
-- and 5, another run of the chain goes on.
create table @schema@.closed_runs (
    run_id    uuid not null,
    closed_at timestamptz not null,
    shard     smallint not null,
    status    smallint not null,
    workflow  text not null,
    key       text,
    parent    uuid,                    -- the run that started it, if a run did
    outcome   bytea not null,
    primary key (run_id)
) partition by range (run_id);
-- The children of a run. Other runs take no room in it.
create index closed_runs_by_parent on @schema@.closed_runs (parent, run_id) where parent is not null;

-- For lists of the runs that did not complete: usually few among many. Those that completed have no entry, so it costs an append
-- nothing.
create index closed_runs_by_status on @schema@.closed_runs (status, run_id) where status <> 0;

-- One row per run that continues another: its place in their chain. Partitioned like the log.
create table @schema@.links (
    run_id      uuid not null,
    first_run   uuid not null,
    predecessor uuid not null,
    number      int not null,          -- of the run in its chain; that of the first run is 1
    primary key (run_id)
) partition by range (run_id);

-- One row per view of a run: the number of the event with its newest value. So nobody reads a whole history for a view. Only
-- the owner of a run writes its rows, in the append that logs the event. Partitioned like the log.
create table @schema@.published (
    run_id uuid not null,
    seq    int not null,
    name   text not null,
    primary key (run_id, name)
) partition by range (run_id);

-- One row per update that has a reply: what core wrote. The end of a run is the reply to all others. Only the owner of a run
-- writes its rows, in the append that consumes the message or logs the answer. Partitioned like the log, so that replies are
-- kept for as long as the run. The message comes first in the key, because any run of a chain may have replied.
create table @schema@.replies (
    run_id     uuid not null,
    message_id uuid not null,
    body       bytea not null,
    primary key (message_id, run_id)
) partition by range (run_id);

-- -------------------------------------------------------------------------------------------------------
-- Runs
-- -------------------------------------------------------------------------------------------------------

-- What runs are found by. A start writes the rows of its run, then only the owner of the run does. Not partitioned, because a
-- start must not need a partition.
create table @schema@.attributes (
    run_id uuid not null,
    name   text not null,
    value  text not null,
    primary key (run_id, name)
);
create index attributes_by_value on @schema@.attributes (name, value, run_id);

-- One row per run that is not over.
-- state: 0 pending, 1 busy, 2 parked, 3 stalled. `wake_at` is a parked run's earliest deadline. A pending row is not written
-- when its run begins: if the log has a frame of the run, it is that of a busy run, and `waiting_on` and `waits`
-- do not apply any more.
create table @schema@.open_runs (
    run_id     uuid primary key,
    wake_at    timestamptz,
    shard      smallint not null,
    state      smallint not null,
    workflow   text not null,
    key        text,
    parent     uuid,
    waiting_on text,
    -- The same as a JSON array, which the engine wrote; see the view `runs`.
    waits      text
) with (
    -- A row changes a few times in its short life: leave space for new versions in the same page, and vacuum before a
    -- fifth of the table is dead.
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000
);
-- The runs that a new owner loads, and pending ones.
create index open_runs_unparked on @schema@.open_runs (shard, run_id) where state in (0, 1, 3);
-- Deadlines: ten million sleeping runs cost one probe per shard and heartbeat.
create index open_runs_by_deadline on @schema@.open_runs (shard, wake_at, run_id)
    where wake_at is not null;
-- As for the runs that are over.
create index open_runs_by_parent on @schema@.open_runs (parent, run_id) where parent is not null;

-- For lists of the runs that stalled or were paused: usually few among many, and none on the way of a run that goes well.
create index open_runs_set_apart on @schema@.open_runs (state, run_id) where state in (3, 4);

-- The current run of each chain: the last one that is, or was, open. A row stays when the chain is over. A key leads to the
-- first run of a chain, so it is written once.
create table @schema@.chains (
    first_run   uuid primary key,
    current_run uuid not null
) with (
    -- A row changes with every run of its chain: leave space for new versions in the same page.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000
);

-- Idempotency keys. Only `submit` inserts them, never `append`, so no client's open transaction can block an append.
-- In the order of their bytes, so that those with a prefix are found by the primary key.
create table @schema@.run_keys (
    workflow     text not null,
    key          text collate pg_catalog."C" not null,
    run_id       uuid not null,
    input_digest bytea,
    primary key (workflow, key)
);

-- -------------------------------------------------------------------------------------------------------
-- The inbox
-- -------------------------------------------------------------------------------------------------------

-- Messages that wait to be logged. They are read by snapshots (`xid`), never from the highest number seen, because a
-- message may take its number early and commit late. No foreign key: its check would lock a row that appends delete.
create table @schema@.inbox (
    number       bigint generated always as identity,
    xid          xid8 not null default pg_current_xact_id(),
    run_id       uuid not null,
    message_id   uuid not null,
    submitted_at timestamptz not null default clock_timestamp(),
    shard        smallint not null,
    opens        boolean not null,       -- whether it starts its run
    body         bytea not null,
    primary key (shard, number)
) with (
    -- Every row is deleted soon, so vacuum by the count of dead rows, not by the table's size.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.5
);
-- Without the shard, so that every condition on this table fits only one index, and the planner has no choice.
create index inbox_by_transaction on @schema@.inbox (xid);
-- A message that is repeated while it waits is not inserted again. A start is recognised by its run instead.
create unique index inbox_by_message on @schema@.inbox (message_id) where not opens;

-- Messages that were accepted, but arrived in the log after their run was over.
create table @schema@.undelivered (
    run_id     uuid not null,
    number     bigint not null,
    message_id uuid not null,
    at         timestamptz not null default clock_timestamp(),
    body       bytea not null,
    primary key (run_id, number)
);

-- For frames, messages and outcomes of more than 2 kB. By default the server compresses them, by a method that takes up to
-- ten times as long as the rest of the insert, and stores outside of the row what is still large. lz4 takes next to nothing,
-- and the storage `main` keeps in the row what fits in a page. Partitions inherit both. Not every server has lz4: see
-- `make_partition`.
do $$
begin
    alter table @schema@.frames alter column body set storage main;
    if (select 'lz4' = any (enumvals) from pg_catalog.pg_settings where name = 'default_toast_compression') then
        alter table @schema@.frames alter column body set compression lz4;
        alter table @schema@.closed_runs alter column outcome set compression lz4;
        alter table @schema@.inbox alter column body set compression lz4;
    end if;
end
$$;

-- -------------------------------------------------------------------------------------------------------
-- Who may write
-- -------------------------------------------------------------------------------------------------------

create table @schema@.queues (
    name        text primary key,
    first_shard int not null,
    shard_count int not null check (shard_count > 0),
    -- 12 bits of a run's id hold its shard.
    check (first_shard >= 0 and first_shard + shard_count <= 4096)
);

-- What the workers of a queue can execute. A client finds the queue of a workflow here, also while no worker is live.
create table @schema@.builds (
    queue      text not null,
    -- A digest of the rest, so that two leases of one build are recognised without a look at it.
    build      uuid not null,
    -- How new the code is: a greater number is newer.
    generation bigint not null,
    workflows  text[] not null,       -- ascending
    -- When the last lease of it was claimed.
    claimed_at timestamptz not null default clock_timestamp(),
    primary key (queue, build)
);

-- Rights to write. An id is never reused, not even by a database that lost commits. So it is random: a sequence would
-- be restored too. A fenced lease stays fenced.
create table @schema@.leases (
    lease      bigint primary key
               default ('x' || left(replace(gen_random_uuid()::text, '-', ''), 15))::bit(60)::bigint,
    -- No foreign key: its check would lock the queue's row. A lease without shards is one of the queue's, too.
    queue      text not null,
    build      uuid not null,
    worker     text not null,
    claimed_at timestamptz not null default clock_timestamp(),
    renewed_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null,
    -- How many runs its processor had in memory at the last heartbeat.
    live_runs  int not null default 0,
    fenced     boolean not null default false,
    -- The run because of which the processor released the lease, if any. It became a suspect when this was written.
    at_fault   uuid
) with (
    -- Every worker updates its rows every few seconds: dead versions must not accumulate in a tiny table.
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500
);

create table @schema@.shards (
    shard          smallint primary key,
    queue          text not null references @schema@.queues,
    -- No foreign key: old leases are deleted, and a shard whose lease is missing is free.
    lease          bigint,
    claimed_at     timestamptz,
    -- The claim that took it. Random, as a lease: a lease may lose a shard and claim it again, and what it writes under the
    -- earlier claim follows an older log.
    claim          bigint,
    -- The highest position known to be used, in case the log no longer has it.
    position_floor bigint not null default 0,
    -- How many owners died, less the deaths that later owners took off.
    deaths         int not null default 0,
    -- The worker that owned it before, if its lease expired.
    former         text,
    -- The lease under which an append released it. While that is live, the shard goes to no worse build.
    released_by    bigint
) with (
    -- Every append reads this table: keep it to a few pages.
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500
);

-- The workflows of which a shard has or had open runs: its owner has to know them. Only the owner of a shard writes here, in
-- the append that begins the first run of a workflow. So whoever shares out the shards looks at no run. What nobody knows any
-- more is deleted by a claim, if it has no open run.
create table @schema@.shard_needs (
    shard    smallint not null,
    workflow text not null,
    primary key (shard, workflow)
);

-- Runs that may crash the processes that execute them. Usually there are none.
-- stage: 0 held, 1 tried, 2 set aside, 3 marked.
create table @schema@.suspects (
    run_id  uuid primary key,
    since   timestamptz not null default clock_timestamp(),
    shard   smallint not null
            generated always as (('x' || substr(run_id::text, 16, 3))::bit(12)::int::smallint) stored,
    stage   smallint not null,
    strikes int not null
);

-- The numbers of applied appends, at least the last two of each lease. Number 0 is the claim.
create table @schema@.appends (
    lease  bigint not null,
    number bigint not null,
    digest bytea not null,
    primary key (lease, number)
) with (
    -- A few hundred rows are inserted per second, and deleted in ranges of a thousand.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    -- Inserts alone leave no dead rows.
    autovacuum_vacuum_insert_threshold = -1
);

-- -------------------------------------------------------------------------------------------------------
-- Functions
-- -------------------------------------------------------------------------------------------------------

-- Error codes: PW001 fenced, PW002 conflict, PW003 refused configuration, PW004 moved here and not rewritten yet. PW101 and those
-- that follow are for people: see 0006.

-- Sets up a transaction. Every protocol here reads again after it has locked, which only READ COMMITTED allows.
create function @schema@.enter(p_lock_timeout text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception using errcode = 'PW003', message = format(
            'transactions of database `%s` are `%s` by default, but the log needs `read committed`: alter the '
            'database or the role to default_transaction_isolation = ''read committed''',
            current_database(), current_setting('transaction_isolation'));
    end if;
    -- Only for this transaction, so that no setting is left on a shared connection.
    perform set_config('lock_timeout', p_lock_timeout, true);
end
$$;

-- Refuses a batch that contradicts the log. A correct writer never sends one, so this is an assertion for tests. It
-- probes the log once per run, and every partition once per shard.
create function @schema@.verify(
    p_runs uuid[], p_seqs int[], p_counts int[], p_positions bigint[], p_shards smallint[],
    p_opened uuid[], p_closed uuid[], p_released smallint[], p_released_next bigint[]
) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run   uuid;
    v_shard smallint;
begin
    select t.run into v_run
    from (select f.run, f.seq, lag(f.seq + f.count) over (partition by f.run order by f.number) as next
          from unnest(p_runs, p_seqs, p_counts) with ordinality as f (run, seq, count, number)) t
    where t.seq <> coalesce(
        t.next,
        (select f.seq + f.count from @schema@.frames f where f.run_id = t.run order by f.seq desc limit 1),
        1)
    limit 1;
    if found then
        raise exception using errcode = 'PW002', message = format(
            'the frames of run %s do not follow those in the log', v_run);
    end if;

    select t.shard into v_shard
    from (select f.shard, f.position - f.count as before,
                 lag(f.position) over (partition by f.shard order by f.number) as last
          from unnest(p_shards, p_positions, p_counts) with ordinality as f (shard, position, count, number)) t
    join @schema@.shards s on s.shard = t.shard
    where t.before <> coalesce(
        t.last,
        greatest(s.position_floor, (select max(f.position) from @schema@.frames f where f.shard = t.shard)))
    limit 1;
    if found then
        raise exception using errcode = 'PW002', message = format(
            'the positions of shard %s do not follow those in the log', v_shard);
    end if;

    select t.shard into v_shard
    from (select r.shard, r.next, count(*) over (partition by r.shard) as times
          from unnest(p_released, p_released_next) as r (shard, next)) t
    join @schema@.shards s on s.shard = t.shard
    where t.times > 1 or t.next <> 1 + coalesce(
        (select max(f.position) from unnest(p_shards, p_positions) as f (shard, position) where f.shard = t.shard),
        greatest(s.position_floor, (select max(f.position) from @schema@.frames f where f.shard = t.shard)))
    limit 1;
    if found then
        raise exception using errcode = 'PW002', message = format(
            'shard %s is released twice, or at a position that does not follow its log', v_shard);
    end if;

    select t.run into v_run
    from unnest(p_runs || p_opened) as t (run)
    where exists (select from @schema@.closed_runs c where c.run_id = t.run)
       or t.run <> all (p_opened || p_closed)
          and not exists (select from @schema@.open_runs o where o.run_id = t.run)
    limit 1;
    if found then
        raise exception using errcode = 'PW002', message = format('run %s is over, or unknown', v_run);
    end if;
end
$$;

-- The current run of a run's chain: the run itself, unless it was continued. One probe for an open run, two for the first run
-- of a chain, four for another one.
create function @schema@.current_run(p_run uuid) returns uuid
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_current uuid;
begin
    if exists (select from @schema@.open_runs o where o.run_id = p_run) then
        return p_run;
    end if;
    select c.current_run into v_current from @schema@.chains c where c.first_run = p_run;
    if not found then
        select c.current_run into v_current
        from @schema@.links l
        cross join lateral (select * from @schema@.chains c where c.first_run = l.first_run offset 0) c
        where l.run_id = p_run;
    end if;
    return coalesce(v_current, p_run);
end
$$;

-- The append protocol, in the order of its steps. An append is applied at most once, however often it is sent. Arrays
-- without rows are null.
create function @schema@.append(
    p_lease           bigint,
    p_number          bigint,
    p_digest          bytea,
    p_lock_timeout    text,
    p_verify          boolean,           -- whether to compare the batch with the log
    p_shards          smallint[],        -- every shard that the lease has to own, once
    p_claims          bigint[],          -- by which claims
    p_frame_runs      uuid[],
    p_frame_seqs      int[],
    p_frame_counts    int[],
    p_frame_positions bigint[],
    p_frame_shards    smallint[],
    p_frame_times     timestamptz[],
    p_frame_bodies    bytea[],
    p_opened          uuid[],
    p_opened_shards   smallint[],
    p_opened_names    text[],
    p_opened_keys     text[],
    p_opened_parents  uuid[],
    p_opened_states   smallint[],
    p_opened_wake     timestamptz[],
    p_opened_waiting  text[],
    p_opened_waits    text[],
    p_updated         uuid[],
    p_updated_states  smallint[],
    p_updated_wake    timestamptz[],
    p_updated_waiting text[],
    p_updated_waits   text[],
    p_closed          uuid[],
    p_closed_shards   smallint[],
    p_closed_names    text[],
    p_closed_keys     text[],
    p_closed_parents  uuid[],
    p_closed_statuses smallint[],
    p_closed_times    timestamptz[],
    p_closed_outcomes bytea[],
    p_linked          uuid[],            -- opened runs that continue closed ones
    p_linked_firsts   uuid[],
    p_linked_after    uuid[],
    p_linked_numbers  int[],
    p_consumed_shards smallint[],
    p_consumed        bigint[],
    p_consumed_ids    uuid[],            -- after lost commits, a number may be another message's
    p_late_shards     smallint[],        -- undelivered messages
    p_late            bigint[],
    p_late_ids        uuid[],
    p_sent_runs       uuid[],            -- messages for other runs, in this order
    p_sent_shards     smallint[],
    p_sent_ids        uuid[],
    p_sent_bodies     bytea[],
    p_sent_workflows  text[],            -- null: it starts no run
    p_sent_parents    uuid[],            -- of the runs that they start
    p_sent_key_names  text[],            -- the run with this workflow and key receives it instead, if there is one
    p_sent_keys       text[],
    p_sent_otherwise  uuid[],            -- this run receives it instead, if its receiver does not exist
    p_task_runs       uuid[],            -- tasks: see 0005
    p_task_seqs       int[],
    p_task_queues     text[],
    p_task_activities text[],
    p_task_losses     int[],
    p_task_messages   uuid[],
    p_task_bodies     bytea[],
    p_task_lost       bytea[],
    p_task_executors  bigint[],          -- null: nobody has the task
    p_view_runs       uuid[],            -- where views were published last; each view of a run is named once
    p_view_names      text[],
    p_view_seqs       int[],
    p_attribute_runs   uuid[],           -- attributes that are set, or removed by null; each of a run is named once
    p_attribute_names  text[],
    p_attribute_values text[],
    p_reply_runs      uuid[],            -- replies to messages; the first reply to a message stays
    p_reply_messages  uuid[],
    p_reply_bodies    bytea[],
    p_suspects        uuid[],
    p_suspect_stages  smallint[],
    p_suspect_strikes int[],
    p_cleared         uuid[],            -- no longer suspects
    p_need_shards     smallint[],        -- what shards need from now on
    p_need_workflows  text[],
    p_released        smallint[],        -- shards that are free from now on
    p_released_next   bigint[],          -- the position of each one's next event
    p_notify          text,              -- the channel for the hints of this append; null: none
    p_hints           text,
    out now           timestamptz,
    out notified      boolean,           -- whether this transaction notifies; if not, the caller has to
    out mail          smallint[]         -- the shards of messages that runs received for others
) language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- Row by row, by a condition on an index. Statistics cannot keep up with `open_runs` and `inbox`, which are empty when
-- they are vacuumed and full a second later. Plans that read a whole table or index cost two thirds of the throughput,
-- and plans that are compiled first took a hundred times as long. See also the rule for joins at the top of this file.
set enable_seqscan = off
set enable_indexonlyscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
-- Planned once: planning anew for the arrays of each append took two fifths of a small append's time.
set plan_cache_mode = force_generic_plan
as $$
declare
    v_digest   bytea;
    v_shard    smallint;
    v_count    bigint;
    v_verdicts  smallint[];
    v_opened    uuid[];
    v_receivers uuid[];
    v_set       text;
begin
    -- 0. The isolation level. An assignment is evaluated without the executor, unlike `perform`.
    if current_setting('transaction_isolation') <> 'read committed' then
        perform @schema@.enter(p_lock_timeout);
    end if;
    v_set := set_config('lock_timeout', p_lock_timeout, true);

    -- 1. The lease. The lock makes no new row version; only the heartbeat renews.
    perform 1 from @schema@.leases l where l.lease = p_lease and not l.fenced for update;
    if not found then
        raise exception using errcode = 'PW001', message = format('lease %s is fenced', p_lease);
    end if;

    -- 2. The number, once, and after the previous one. 3. The shards: a transaction that moves a shard locks this lease's row
    -- first, so a plain read suffices here. One statement, because small appends are many.
    insert into @schema@.appends (lease, number, digest)
    select p_lease, p_number, p_digest
    where exists (select from @schema@.appends a where a.lease = p_lease and a.number = p_number - 1)
      and not exists (
          select from unnest(p_shards, p_claims) as t (shard, claim)
          left join @schema@.shards s on s.shard = t.shard and s.lease = p_lease and s.claim = t.claim
          where s.shard is null)
    on conflict do nothing;
    if not found then
        -- This append may have been applied before.
        select a.digest into v_digest from @schema@.appends a where a.lease = p_lease and a.number = p_number;
        if v_digest = p_digest then
            now := clock_timestamp();
            notified := false;
            return;
        elsif found then
            raise exception using errcode = 'PW001', message = format(
                'another batch was applied as append %s of lease %s', p_number, p_lease);
        end if;
        perform 1 from @schema@.appends a where a.lease = p_lease and a.number = p_number - 1;
        if not found then
            raise exception using errcode = 'PW001', message = format(
                'append %s of lease %s is missing: the database lost commits', p_number - 1, p_lease);
        end if;
        select t.shard into v_shard
        from unnest(p_shards, p_claims) as t (shard, claim)
        where not exists (
            select from @schema@.shards s where s.shard = t.shard and s.lease = p_lease and s.claim = t.claim)
        limit 1;
        raise exception using errcode = 'PW001', message = format(
            'shard %s does not belong to lease %s, or was claimed again', v_shard, p_lease);
    end if;
    -- Every thousandth append deletes the thousand numbers before the last two, which are all since the last deletion.
    if p_number % 1000 = 0 then
        delete from @schema@.appends a
        where a.lease = p_lease and a.number >= p_number - 1001 and a.number < p_number - 1;
    end if;

    -- 4. The content.
    if p_verify then
        perform @schema@.verify(
            p_frame_runs, p_frame_seqs, p_frame_counts, p_frame_positions, p_frame_shards,
            coalesce(p_opened, '{}'), coalesce(p_closed, '{}'), p_released, p_released_next);
    end if;
    insert into @schema@.frames (run_id, position, at, seq, count, shard, body)
    select unnest(p_frame_runs), unnest(p_frame_positions), unnest(p_frame_times), unnest(p_frame_seqs),
           unnest(p_frame_counts), unnest(p_frame_shards), unnest(p_frame_bodies);

    if cardinality(p_opened) > 0 then
        begin
            insert into @schema@.open_runs (run_id, shard, workflow, key, parent, state, wake_at, waiting_on, waits)
            select unnest(p_opened), unnest(p_opened_shards), unnest(p_opened_names), unnest(p_opened_keys),
                   unnest(p_opened_parents), unnest(p_opened_states),
                   unnest(p_opened_wake), unnest(p_opened_waiting), unnest(p_opened_waits);
        exception when unique_violation then
            -- The same start may have been submitted, because this append's outcome was unknown. `on conflict` is not used
            -- at first, because it costs each row half as much again.
            insert into @schema@.open_runs as o
                (run_id, shard, workflow, key, parent, state, wake_at, waiting_on, waits)
            select unnest(p_opened), unnest(p_opened_shards), unnest(p_opened_names), unnest(p_opened_keys),
                   unnest(p_opened_parents), unnest(p_opened_states),
                   unnest(p_opened_wake), unnest(p_opened_waiting), unnest(p_opened_waits)
            on conflict (run_id) do update
            set state = excluded.state, wake_at = excluded.wake_at, waiting_on = excluded.waiting_on,
                waits = excluded.waits
            where o.state = 0;
            get diagnostics v_count = row_count;
            if v_count <> cardinality(p_opened) then
                raise exception using errcode = 'PW002', message = format(
                    '%s of %s runs to be opened are open', cardinality(p_opened) - v_count, cardinality(p_opened));
            end if;
        end;
    end if;

    if cardinality(p_updated) > 0 then
        update @schema@.open_runs o
        set state = t.state, wake_at = t.wake_at, waiting_on = t.waiting_on, waits = t.waits
        from unnest(p_updated, p_updated_states, p_updated_wake, p_updated_waiting, p_updated_waits)
            as t (run_id, state, wake_at, waiting_on, waits)
        where o.run_id = any (array[t.run_id]);
        get diagnostics v_count = row_count;
        if v_count <> cardinality(p_updated) then
            raise exception using errcode = 'PW002', message = format(
                '%s of %s runs to be updated are not open', cardinality(p_updated) - v_count,
                cardinality(p_updated));
        end if;
    end if;

    if cardinality(p_closed) > 0 then
        -- A run that began and ended within this append has no row here.
        delete from @schema@.open_runs o where o.run_id = any (p_closed);
        insert into @schema@.closed_runs (run_id, shard, workflow, key, parent, status, closed_at, outcome)
        select unnest(p_closed), unnest(p_closed_shards), unnest(p_closed_names), unnest(p_closed_keys),
               unnest(p_closed_parents), unnest(p_closed_statuses), unnest(p_closed_times), unnest(p_closed_outcomes);
    end if;

    -- Only the owner of a chain's shard writes these rows.
    if cardinality(p_linked) > 0 then
        insert into @schema@.links (run_id, first_run, predecessor, number)
        select unnest(p_linked), unnest(p_linked_firsts), unnest(p_linked_after), unnest(p_linked_numbers);
        insert into @schema@.chains (first_run, current_run)
        select unnest(p_linked_firsts), unnest(p_linked)
        on conflict (first_run) do update set current_run = excluded.current_run;
    end if;

    if cardinality(p_consumed) > 0 then
        delete from @schema@.inbox i
        using unnest(p_consumed_shards, p_consumed, p_consumed_ids) as t (shard, number, message_id)
        where i.shard = any (array[t.shard]) and i.number = t.number and i.message_id = t.message_id;
        get diagnostics v_count = row_count;
        if v_count <> cardinality(p_consumed) then
            raise exception using errcode = 'PW002', message = format(
                '%s of %s consumed messages are not in the inbox', cardinality(p_consumed) - v_count,
                cardinality(p_consumed));
        end if;
    end if;

    if cardinality(p_late) > 0 then
        with moved as (
            delete from @schema@.inbox i
            using unnest(p_late_shards, p_late, p_late_ids) as t (shard, number, message_id)
            where i.shard = any (array[t.shard]) and i.number = t.number and i.message_id = t.message_id
            returning i.run_id, i.number, i.message_id, i.opens, i.body
        ), kept as (
            insert into @schema@.undelivered (run_id, number, message_id, body)
            select @schema@.current_run(m.run_id), m.number, m.message_id, m.body from moved m where not m.opens
        ), dropped as (
            -- A start that was submitted after its run had ended is not kept as undelivered.
            delete from @schema@.open_runs o using moved m where m.opens and o.run_id = any (array[m.run_id])
        )
        select count(*) into v_count from moved;
        if v_count <> cardinality(p_late) then
            raise exception using errcode = 'PW002', message = format(
                '%s of %s undelivered messages are not in the inbox', cardinality(p_late) - v_count,
                cardinality(p_late));
        end if;
    end if;

    if cardinality(p_suspects) > 0 then
        insert into @schema@.suspects (run_id, stage, strikes)
        select unnest(p_suspects), unnest(p_suspect_stages), unnest(p_suspect_strikes)
        on conflict (run_id) do update set stage = excluded.stage, strikes = excluded.strikes;
    end if;
    if cardinality(p_cleared) > 0 then
        delete from @schema@.suspects s where s.run_id = any (p_cleared);
    end if;

    if cardinality(p_need_shards) > 0 then
        insert into @schema@.shard_needs (shard, workflow)
        select unnest(p_need_shards), unnest(p_need_workflows)
        on conflict do nothing;
    end if;

    -- Only the sending runs use these ids, so this waits for no client's transaction. The shards may have any owner.
    if cardinality(p_sent_runs) > 0 then
        v_verdicts := array_fill(0::smallint, array[cardinality(p_sent_runs)]);
        v_opened := @schema@.open_pending(p_sent_runs, p_sent_shards, p_sent_workflows,
                                          array_fill(null::text, array[cardinality(p_sent_runs)]), p_sent_parents,
                                          v_verdicts);
        if array_remove(p_sent_keys, null) <> '{}' or array_remove(p_sent_otherwise, null) <> '{}' then
            v_receivers := @schema@.receivers(p_sent_runs, p_sent_key_names, p_sent_keys, p_sent_otherwise);
            if v_receivers <> p_sent_runs then
                p_sent_runs := v_receivers;
                p_sent_shards := array(
                    select @schema@.shard_of(t.run) from unnest(p_sent_runs) with ordinality as t (run, ord)
                    order by t.ord);
                mail := array(select distinct t.shard from unnest(p_sent_shards) as t (shard));
            end if;
        end if;
        perform @schema@.deliver(p_sent_ids, p_sent_runs, p_sent_shards, p_sent_bodies, p_sent_workflows,
                                 v_verdicts, v_opened);
    end if;

    if cardinality(p_task_runs) > 0 then
        perform @schema@.insert_tasks(p_task_runs, p_task_seqs, p_task_queues, p_task_activities, p_task_losses,
                                      p_task_messages, p_task_bodies, p_task_lost, p_task_executors);
    end if;

    if cardinality(p_view_runs) > 0 then
        insert into @schema@.published (run_id, name, seq)
        select unnest(p_view_runs), unnest(p_view_names), unnest(p_view_seqs)
        on conflict (run_id, name) do update set seq = excluded.seq;
    end if;

    -- Those with which a submitted run begins are there already.
    if cardinality(p_attribute_runs) > 0 then
        delete from @schema@.attributes a
        using unnest(p_attribute_runs, p_attribute_names, p_attribute_values) as t (run_id, name, value)
        where t.value is null and a.run_id = any (array[t.run_id]) and a.name = t.name;
        insert into @schema@.attributes (run_id, name, value)
        select t.run_id, t.name, t.value
        from unnest(p_attribute_runs, p_attribute_names, p_attribute_values) as t (run_id, name, value)
        where t.value is not null
        on conflict (run_id, name) do update set value = excluded.value where attributes.value <> excluded.value;
    end if;

    if cardinality(p_reply_runs) > 0 then
        insert into @schema@.replies (run_id, message_id, body)
        select unnest(p_reply_runs), unnest(p_reply_messages), unnest(p_reply_bodies)
        on conflict (run_id, message_id) do nothing;
    end if;

    -- The writer knows the positions, so nothing is read. The shards belong to this lease, by step 3.
    if cardinality(p_released) > 0 then
        update @schema@.shards s
        set lease = null, claimed_at = null, former = null, position_floor = greatest(s.position_floor, t.next - 1),
            released_by = p_lease
        from unnest(p_released, p_released_next) as t (shard, next)
        where s.shard = any (array[t.shard]);
    end if;

    notified := p_notify is not null and @schema@.notify_if_free(p_notify, p_hints);
    now := clock_timestamp();
end
$$;

-- Returns the queue of this name, and creates it if it does not exist. An existing queue keeps its number of shards. SECURITY
-- DEFINER: a client may make the queue in which it starts runs, but may not write to these tables.
create function @schema@.open_queue(
    p_name text, p_shards int, p_lock_timeout text,
    out first_shard int, out shard_count int
) language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    select q.first_shard, q.shard_count into first_shard, shard_count
    from @schema@.queues q where q.name = p_name;
    if found then
        return;
    end if;

    perform @schema@.enter(p_lock_timeout);
    -- Ranges are assigned consecutively, so only one queue is created at a time.
    lock table @schema@.queues in share row exclusive mode;
    select q.first_shard, q.shard_count into first_shard, shard_count
    from @schema@.queues q where q.name = p_name;
    if found then
        return;
    end if;

    select coalesce(max(q.first_shard + q.shard_count), 0) into first_shard from @schema@.queues q;
    shard_count := p_shards;
    if first_shard + p_shards > 4096 then
        raise exception using errcode = 'PW003', message = format(
            'queue `%s` asks for %s shards, but %s of 4096 are left', p_name, p_shards, 4096 - first_shard);
    end if;
    insert into @schema@.queues (name, first_shard, shard_count) values (p_name, first_shard, p_shards);
    insert into @schema@.shards (shard, queue)
    select n, p_name from generate_series(first_shard, first_shard + p_shards - 1) n;
end
$$;

-- The workflows that live leases of a queue know, if these do not all know the same ones; otherwise null. Then every lease
-- knows whatever any lease knows, and nobody has to look at what shards need.
create function @schema@.known_apart(p_queue text, p_at timestamptz) returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with live as (
        select distinct b.workflows
        from @schema@.leases l
        join @schema@.builds b on b.queue = l.queue and b.build = l.build
        where l.queue = p_queue and not l.fenced and l.expires_at > p_at
    )
    select array_agg(distinct w.workflow)
    from live v cross join unnest(v.workflows) as w (workflow)
    having (select count(*) from live) > 1
$$;

-- Whether a lease that knows these workflows may own a shard: it knows what the shard needs, as far as any live lease knows
-- it, or no live lease does.
create function @schema@.may_own(p_shard smallint, p_workflows text[], p_known text[], p_queue text, p_at timestamptz)
returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_needs text[] := array(
        select n.workflow from @schema@.shard_needs n where n.shard = p_shard and n.workflow = any (p_known));
begin
    return v_needs <@ p_workflows or not exists (
        select from @schema@.leases l
        join @schema@.builds b on b.queue = l.queue and b.build = l.build
        where l.queue = p_queue and not l.fenced and l.expires_at > p_at and v_needs <@ b.workflows);
end
$$;

-- Whether a lease that knows these workflows and is not outdated may claim a free shard: it may own it, and if a live lease that
-- may own it has released it, it knows all that that one knows.
create function @schema@.may_claim(
    p_shard smallint, p_released_by bigint, p_workflows text[], p_known text[], p_queue text, p_at timestamptz
) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select @schema@.may_own(p_shard, p_workflows, p_known, p_queue, p_at) and not exists (
        select from @schema@.leases l
        join @schema@.builds b on b.queue = l.queue and b.build = l.build
        where l.lease = p_released_by and not l.fenced and l.expires_at > p_at and not b.workflows <@ p_workflows
          and @schema@.may_own(p_shard, b.workflows, p_known, p_queue, p_at))
$$;

-- Whether a live lease of the queue is of a build that knows more workflows than this one, or the same ones and is newer.
create function @schema@.is_outdated(p_queue text, p_workflows text[], p_generation bigint, p_at timestamptz)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select exists (
        select from @schema@.leases l
        join @schema@.builds b on b.queue = l.queue and b.build = l.build
        where l.queue = p_queue and not l.fenced and l.expires_at > p_at
          and b.workflows @> p_workflows and (b.workflows <> p_workflows or b.generation > p_generation))
$$;

-- Forgets what shards of a lease need and its build does not know, if there is no open run of it. Nobody begins such runs while
-- the lease lives, and its row is locked. This reads all open runs, once, after a workflow was removed from all workers.
create function @schema@.forget_needs(p_lease bigint, p_workflows text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_unknown text[];
begin
    select array_agg(distinct n.workflow) into v_unknown
    from @schema@.shards s
    join @schema@.shard_needs n on n.shard = s.shard
    where s.lease = p_lease and n.workflow <> all (p_workflows);
    if v_unknown is null then
        return;
    end if;
    with open as materialized (
        select distinct o.shard, o.workflow from @schema@.open_runs o where o.workflow = any (v_unknown)
    )
    delete from @schema@.shard_needs n
    using @schema@.shards s
    where s.lease = p_lease and n.shard = s.shard and n.workflow = any (v_unknown)
      and not exists (select from open o where o.shard = n.shard and o.workflow = n.workflow);
end
$$;

-- Takes free shards of a queue under a lease, and returns the lease. A new lease gets no more than the mean, rounded up. A
-- lease of an outdated build gets none, and each lease only what it may own.
create function @schema@.claim(
    p_queue text, p_lease bigint, p_worker text, p_workflows text[], p_generation bigint, p_ttl_micros bigint, p_limit int,
    p_lock_timeout text,
    out lease bigint
) language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_ttl     interval := p_ttl_micros * interval '1 microsecond';
    v_owners  bigint[];
    v_fenced  bigint[];
    v_locked  smallint[];
    v_missing int;
    v_shards  int;
    v_limit   int := p_limit;
    v_build   uuid := md5(concat_ws(chr(10), p_generation, array_to_string(p_workflows, chr(10))))::uuid;
    v_now     timestamptz;
    v_known   text[];
    v_claim   bigint := ('x' || left(replace(gen_random_uuid()::text, '-', ''), 15))::bit(60)::bigint;
begin
    perform @schema@.enter(p_lock_timeout);
    perform @schema@.refuse_moved();
    select q.shard_count into v_shards from @schema@.queues q where q.name = p_queue;
    if not found then
        raise exception using errcode = 'PW003', message = format(
            'there is no queue `%s`: open it before claiming its shards', p_queue);
    end if;

    -- Expired leases. The statements under lock check them again.
    select coalesce(array_agg(distinct l.lease), '{}') into v_owners
    from @schema@.leases l
    where l.expires_at <= clock_timestamp() and not l.fenced and l.lease is distinct from p_lease
      and exists (select from @schema@.shards s where s.lease = l.lease and s.queue = p_queue);

    -- Lock the leases, ascending: those of the old owners and the caller's own.
    perform 1 from @schema@.leases l
    where l.lease = any (v_owners || p_lease) order by l.lease for update;

    if p_lease is null then
        insert into @schema@.builds as b (queue, build, generation, workflows)
        values (p_queue, v_build, p_generation, p_workflows)
        on conflict (queue, build) do update set claimed_at = clock_timestamp();
        insert into @schema@.leases (queue, build, worker, expires_at)
        values (p_queue, v_build, p_worker, clock_timestamp() + v_ttl)
        returning leases.lease into lease;
        insert into @schema@.appends (lease, number, digest) values (lease, 0, '');
    else
        update @schema@.leases l set expires_at = clock_timestamp() + v_ttl, renewed_at = clock_timestamp()
        where l.lease = p_lease and not l.fenced
        returning l.lease into lease;
        if not found then
            raise exception using errcode = 'PW001', message = format('lease %s is fenced', p_lease);
        end if;
    end if;

    with fenced as (
        update @schema@.leases l set fenced = true
        where l.lease = any (v_owners) and not l.fenced and l.expires_at <= clock_timestamp()
        returning l.lease
    )
    select coalesce(array_agg(f.lease), '{}') into v_fenced from fenced f;
    -- A fenced lease cannot append, so its numbers are not needed any more.
    delete from @schema@.appends a where a.lease = any (v_fenced);
    -- Fenced leases are kept for a day, for people to read.
    delete from @schema@.leases l
    where l.fenced and l.expires_at < clock_timestamp() - interval '1 day'
      and not exists (select from @schema@.shards s where s.lease = l.lease);
    -- Builds of a month ago, except the last of each queue.
    delete from @schema@.builds b
    where b.claimed_at < clock_timestamp() - interval '30 days'
      and not exists (select from @schema@.leases l where l.queue = b.queue and l.build = b.build)
      and exists (select from @schema@.builds n where n.queue = b.queue and n.claimed_at > b.claimed_at);

    if p_lease is null then
        select least(p_limit, ceil(v_shards::numeric / count(*))) into v_limit
        from @schema@.leases l
        where l.queue = p_queue and not l.fenced and l.expires_at > clock_timestamp();
    end if;

    v_now := clock_timestamp();
    if @schema@.is_outdated(p_queue, p_workflows, p_generation, v_now) then
        v_limit := 0;
    end if;
    v_known := @schema@.known_apart(p_queue, v_now);

    -- Take shards, ascending, and skip those that another claim has locked.
    loop
        select v_limit - count(*) into v_missing from @schema@.shards s where s.lease = claim.lease;
        exit when v_missing <= 0;
        select array_agg(f.shard) into v_locked from (
            select s.shard from @schema@.shards s
            where s.queue = p_queue
              and not exists (select from @schema@.leases l where l.lease = s.lease and not l.fenced)
              and (v_known is null
                   or @schema@.may_claim(s.shard, s.released_by, p_workflows, v_known, p_queue, v_now))
            order by s.shard limit v_missing for update of s skip locked
        ) f;
        exit when v_locked is null;
        -- The rows are locked now, but they were chosen by an older snapshot, so check again. Another claim may have
        -- taken some, which the next round sees.
        update @schema@.shards s
        set deaths = s.deaths + case when s.lease is null then 0 else 1 end,
            former = (select l.worker from @schema@.leases l where l.lease = s.lease),
            lease = claim.lease, claimed_at = clock_timestamp(), claim = v_claim, released_by = null
        where s.shard = any (v_locked)
          and not exists (select from @schema@.leases l where l.lease = s.lease and not l.fenced);
    end loop;
    perform @schema@.forget_needs(claim.lease, p_workflows);
end
$$;

-- The suspects among the runs of a lease's shards, ascending. Runs that are over or never started are removed first.
create function @schema@.claimed_suspects(p_lease bigint, p_lock_timeout text)
returns table (run_id uuid, stage smallint, strikes int)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- As in `append`.
set enable_seqscan = off
set enable_indexonlyscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    perform @schema@.enter(p_lock_timeout);
    delete from @schema@.suspects s
    where s.shard = any (array(select h.shard from @schema@.shards h where h.lease = p_lease))
      and (exists (select from @schema@.closed_runs c where c.run_id = s.run_id offset 0)
           or s.since < clock_timestamp() - interval '1 day'
              and not exists (select from @schema@.open_runs o where o.run_id = s.run_id offset 0));
    return query
    select s.run_id, s.stage, s.strikes from @schema@.suspects s
    where s.shard = any (array(select h.shard from @schema@.shards h where h.lease = p_lease))
    order by s.run_id;
end
$$;

-- Fences the lease and frees its shards at once. Returns true if it was valid. A run at fault gets one strike per
-- lease, even if the lease was fenced before.
create function @schema@.release(p_lease bigint, p_at_fault uuid, p_lock_timeout text) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_valid boolean;
begin
    perform @schema@.enter(p_lock_timeout);
    select not l.fenced into v_valid from @schema@.leases l where l.lease = p_lease for update;
    update @schema@.leases l set at_fault = p_at_fault
    where l.lease = p_lease and l.at_fault is null and p_at_fault is not null;
    if found and not exists (select from @schema@.closed(array[p_at_fault])) then
        insert into @schema@.suspects as s (run_id, stage, strikes) values (p_at_fault, 0, 1)
        on conflict (run_id) do update set strikes = s.strikes + 1;
    end if;
    if v_valid is not true then
        return false;
    end if;
    -- An owner that released its lease was not killed by a suspect.
    update @schema@.suspects s
    set stage = 0, strikes = case when s.run_id = p_at_fault then s.strikes else 0 end
    where s.stage = 1 and s.shard = any (array(select h.shard from @schema@.shards h where h.lease = p_lease));
    update @schema@.leases l set fenced = true where l.lease = p_lease;
    delete from @schema@.appends a where a.lease = p_lease;
    perform 1 from @schema@.shards s where s.lease = p_lease order by s.shard for update;
    update @schema@.shards s
    set lease = null, claimed_at = null, former = null,
        position_floor = greatest(
            s.position_floor, (select max(f.position) from @schema@.frames f where f.shard = s.shard))
    where s.lease = p_lease;
    return true;
end
$$;

-- When this server started, in microseconds since 1970. It names the server: after a failover or a restart it is another one.
create function @schema@.server_start() returns bigint
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint
$$;

-- What leases may own among the live leases of their queue, in the order of `p_leases`. 0 for one that is not live.
--
-- A lease shares its shards, and the free ones, with the live leases to which its shards may go: those whose builds know more
-- workflows, or the same ones and are not older. Where the mean is no whole number, those that come first get one more: those
-- that own more than the mean already, then the oldest.
create function @schema@.standings(
    p_queue text, p_leases bigint[], p_at timestamptz,
    out next_expiry bigint,                          -- microseconds
    out members bigint[], out places bigint[], out shared bigint[], out claimable bigint[], out outdated boolean[],
    out misplaced smallint[]                         -- shards of these leases that others have to own
) language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_free  bigint;
    v_known text[] := @schema@.known_apart(p_queue, p_at);
begin
    select count(*) into v_free
    from @schema@.shards s
    where s.queue = p_queue and not exists (
        select from @schema@.leases l where l.lease = s.lease and not l.fenced and l.expires_at > p_at);

    with live as (
        select l.lease, l.build, l.expires_at, l.claimed_at, b.generation, b.workflows, count(s.shard) as owned
        from @schema@.leases l
        join @schema@.builds b on b.queue = l.queue and b.build = l.build
        left join @schema@.shards s on s.lease = l.lease
        where l.queue = p_queue and not l.fenced and l.expires_at > p_at
        group by l.lease, b.queue, b.build
    ), member as (
        select own.lease as own, own.workflows, v.lease, v.owned, v.claimed_at,
               count(*) over one as members,
               v_free + sum(v.owned) over one as shared,
               bool_or(v.build <> own.build) over one as outdated
        from live own
        join live v on v.build = own.build or v.workflows @> own.workflows
                       and (v.workflows <> own.workflows or v.generation >= own.generation)
        where own.lease = any (p_leases)
        window one as (partition by own.lease)
    ), placed as (
        select m.*, row_number() over (
                   partition by m.own order by m.owned <= div(m.shared, m.members), m.claimed_at, m.lease) - 1 as place
        from member m
    )
    select (select extract(epoch from min(v.expires_at) - p_at) * 1000000 from live v where v.lease <> all (p_leases)),
           array_agg(coalesce(p.members, 0) order by t.ord),
           array_agg(coalesce(p.place, 0) order by t.ord),
           array_agg(coalesce(p.shared, 0)::bigint order by t.ord),
           array_agg(case
               when p.own is null or p.outdated then 0
               when v_known is null then v_free
               else (select count(*) from @schema@.shards s
                     where s.queue = p_queue
                       and not exists (select from live v where v.lease = s.lease)
                       and @schema@.may_claim(s.shard, s.released_by, p.workflows, v_known, p_queue, p_at))
           end order by t.ord),
           array_agg(coalesce(p.outdated, false) order by t.ord)
    into next_expiry, members, places, shared, claimable, outdated
    from unnest(p_leases) with ordinality as t (lease, ord)
    left join placed p on p.own = t.lease and p.lease = t.lease;

    if v_known is not null then
        select array_agg(s.shard order by s.shard) into misplaced
        from @schema@.shards s
        join @schema@.leases l on l.lease = s.lease and not l.fenced
        join @schema@.builds b on b.queue = l.queue and b.build = l.build
        where s.lease = any (p_leases) and not @schema@.may_own(s.shard, b.workflows, v_known, p_queue, p_at);
    end if;
end
$$;

-- The heartbeat of a process: renews its leases and looks for work. The answers are in the order of `p_leases`.
create function @schema@.heartbeat(
    p_queue text,
    p_leases bigint[],
    p_ttls bigint[],               -- microseconds; null: do not renew
    p_committed bigint[],          -- the last append that was acknowledged
    p_deaths_max int[],            -- reduce each shard's deaths to at most this
    p_servers bigint[],            -- which server the inbox was read from: `server_start`
    p_snapshots text[],            -- what was read of the inbox; null: nothing
    p_numbers bigint[],            -- the greatest message number read
    p_due_after timestamptz[],
    p_due_after_runs uuid[],
    p_due_until timestamptz[],
    p_live_runs int[],
    p_lock_timeout text,
    out at timestamptz, out held boolean[], out owned bigint[], out mail boolean[], out due boolean[],
    -- As in `standings`.
    out next_expiry bigint, out members bigint[], out places bigint[], out shared bigint[], out claimable bigint[],
    out outdated boolean[], out misplaced smallint[]
) language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_over bigint[];
begin
    perform @schema@.enter(p_lock_timeout);
    perform @schema@.refuse_moved();

    perform 1 from @schema@.leases l
    where l.lease = any (p_leases) and not l.fenced order by l.lease for update;
    -- A lease whose last append is missing is not held, because the database lost commits. Later appends may have been
    -- applied since the call was made, and old ones are trimmed.
    update @schema@.leases l
    set expires_at = clock_timestamp() + t.ttl * interval '1 microsecond', renewed_at = clock_timestamp(),
        live_runs = t.live_runs
    from unnest(p_leases, p_ttls, p_committed, p_live_runs) as t (lease, ttl, committed, live_runs)
    where l.lease = t.lease and t.ttl is not null and not l.fenced
      and exists (select from @schema@.appends a where a.lease = t.lease and a.number >= t.committed);

    -- Fence other leases that have expired, also those without shards: no claim would take over from a standby process
    -- that was killed. Shards still name their owner, and the claim that takes them counts its death. A locked lease is
    -- left for the next heartbeat, so that no two heartbeats wait for each other.
    select array_agg(o.lease) into v_over from (
        select l.lease from @schema@.leases l
        where not l.fenced and l.expires_at <= clock_timestamp() and l.lease <> all (p_leases)
        for update skip locked
    ) o;
    if v_over is not null then
        update @schema@.leases l set fenced = true where l.lease = any (v_over);
        delete from @schema@.appends a where a.lease = any (v_over);
    end if;

    -- Executors of tasks likewise: see 0005.
    perform @schema@.fence_executors(null);

    -- An owner that has worked long enough takes off deaths that others left.
    update @schema@.shards s set deaths = t.deaths_max
    from unnest(p_leases, p_committed, p_deaths_max) as t (lease, committed, deaths_max)
    join @schema@.leases l on l.lease = t.lease and not l.fenced
    where s.lease = t.lease and s.deaths > t.deaths_max
      and exists (select from @schema@.appends a where a.lease = t.lease and a.number >= t.committed);

    -- `limit 1` in the index's order makes each check one probe, whatever the statistics say.
    select array_agg(coalesce(not l.fenced, false) and exists (
               select from @schema@.appends a where a.lease = t.lease and a.number >= t.committed
           ) order by t.ord),
           array_agg((select count(*) from @schema@.shards s where s.lease = t.lease) order by t.ord),
           array_agg(exists (
               select from @schema@.shards s
               cross join lateral (
                   select from @schema@.inbox i
                   where i.shard = s.shard and i.number > t.read_up_to
                   order by i.number limit 1
               ) found
               where s.lease = t.lease
           ) or exists (
               select from (
                   (select i.shard from @schema@.inbox i
                    where i.xid >= pg_snapshot_xmax(t.snapshot::pg_snapshot) offset 0)
                   union all
                   (select i.shard from @schema@.inbox i
                    join pg_snapshot_xip(t.snapshot::pg_snapshot) x on i.xid = x offset 0)
               ) found
               join @schema@.shards s on s.shard = found.shard and s.lease = t.lease
           ) order by t.ord),
           array_agg(exists (
               select from @schema@.shards s
               cross join lateral (
                   select from @schema@.open_runs o
                   where o.shard = s.shard and o.wake_at is not null
                     and (o.wake_at, o.run_id) > (t.due_after, t.due_after_run) and o.wake_at <= t.due_until
                   order by o.wake_at, o.run_id limit 1
               ) found
               where s.lease = t.lease
           ) order by t.ord)
    into held, owned, mail, due
    from (
        -- What was read from another server counts for nothing.
        select u.*, case when u.server = @schema@.server_start() and u.snapshot is not null then u.number else 0 end
                    as read_up_to
        from unnest(p_leases, p_committed, p_servers, p_snapshots, p_numbers, p_due_after, p_due_after_runs, p_due_until)
            with ordinality as u (lease, committed, server, snapshot, number, due_after, due_after_run, due_until, ord)
    ) t
    left join @schema@.leases l on l.lease = t.lease;

    at := clock_timestamp();
    select s.next_expiry, s.members, s.places, s.shared, s.claimable, s.outdated, s.misplaced
    into next_expiry, members, places, shared, claimable, outdated, misplaced
    from @schema@.standings(p_queue, p_leases, at) s;
end
$$;

-- The two steps by which `submit` and `append` deliver messages. Each step considers only messages with verdict 0. A
-- message that opens a run has a workflow. They are planned under the settings of their callers.

-- Opens the runs of starts, and returns those that were opened. If a start was accepted before, its run has a row or is
-- over, and nothing changes.
create function @schema@.open_pending(
    p_runs uuid[], p_shards smallint[], p_workflows text[], p_keys text[], p_parents uuid[], p_verdicts smallint[]
) returns uuid[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_opened   uuid[];  -- ascending
    v_inserted boolean := false;
    v_over     uuid[];
begin
    if cardinality(p_runs) = 1 then
        if p_workflows[1] is null or p_verdicts[1] <> 0 then
            return '{}';
        end if;
        insert into @schema@.open_runs (run_id, shard, workflow, key, parent, state)
        values (p_runs[1], p_shards[1], p_workflows[1], p_keys[1], p_parents[1], 0)
        on conflict do nothing;
        if not found then
            return '{}';
        end if;
        -- As below.
        if exists (select from @schema@.closed_runs c where c.run_id = p_runs[1]) then
            delete from @schema@.open_runs o where o.run_id = p_runs[1];
            return '{}';
        end if;
        return p_runs;
    end if;

    select array_agg(t.run order by t.run) into v_opened
    from unnest(p_runs, p_workflows, p_verdicts) as t (run, workflow, verdict)
    where t.workflow is not null and t.verdict = 0;
    if v_opened is null then
        return '{}';
    end if;

    -- Rows are inserted in one order, so that two batches cannot wait for each other. As in `append`, `on conflict` is not
    -- used at first. But a single start may be one of many in its caller's transaction, where each block would be another
    -- subtransaction: more than 64 in one transaction slow down all sessions of the server.
    if cardinality(v_opened) > 1 then
        begin
            insert into @schema@.open_runs (run_id, shard, workflow, key, parent, state)
            select t.run, t.shard, t.workflow, t.key, t.parent, 0
            from unnest(p_runs, p_shards, p_workflows, p_keys, p_parents, p_verdicts)
                as t (run, shard, workflow, key, parent, verdict)
            where t.workflow is not null and t.verdict = 0
            order by t.run;
            v_inserted := true;
        exception when unique_violation then
            null;
        end;
    end if;
    if not v_inserted then
        with opened as (
            insert into @schema@.open_runs (run_id, shard, workflow, key, parent, state)
            select t.run, t.shard, t.workflow, t.key, t.parent, 0
            from unnest(p_runs, p_shards, p_workflows, p_keys, p_parents, p_verdicts)
                as t (run, shard, workflow, key, parent, verdict)
            where t.workflow is not null and t.verdict = 0
            order by t.run
            on conflict do nothing
            returning run_id
        )
        select coalesce(array_agg(o.run_id order by o.run_id), '{}') into v_opened from opened o;
    end if;

    -- The run may have ended in the meantime. A later statement sees that. By the array alone, the server would look into
    -- every partition.
    select array_agg(c.run_id) into v_over
    from @schema@.closed_runs c
    where c.run_id = any (v_opened) and c.run_id between v_opened[1] and v_opened[cardinality(v_opened)];
    if v_over is not null then
        delete from @schema@.open_runs o where o.run_id = any (v_over);
        select coalesce(array_agg(t.run), '{}') into v_opened
        from unnest(v_opened) as t (run) where t.run <> all (v_over);
    end if;
    return v_opened;
end
$$;

-- The runs that receive the messages of an append, in the order given: those with the given keys, and others instead of those
-- that do not exist. Keys are only read, so no client's transaction is waited for.
create function @schema@.receivers(p_runs uuid[], p_key_names text[], p_keys text[], p_otherwise uuid[]) returns uuid[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return array(
        select case
            when t.key is not null then coalesce(
                (select k.run_id from @schema@.run_keys k where k.workflow = t.workflow and k.key = t.key), t.run)
            when t.otherwise is null
              or exists (select from @schema@.open_runs o where o.run_id = t.run)
              or exists (select from @schema@.closed_runs c where c.run_id = t.run) then t.run
            else t.otherwise
        end
        from unnest(p_runs, p_key_names, p_keys, p_otherwise) with ordinality
            as t (run, workflow, key, otherwise, ord)
        order by t.ord);
end
$$;

-- Inserts messages into the inbox in the order given: the first start of each opened run, and other messages that do
-- not wait there yet.
create function @schema@.deliver(
    p_messages uuid[], p_runs uuid[], p_shards smallint[], p_bodies bytea[], p_workflows text[],
    p_verdicts smallint[], p_opened uuid[]
) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_each_opens boolean;
begin
    if cardinality(p_opened) = cardinality(p_runs) then
        -- Each message opens a different run, as in a batch of starts: insert all, in the order given.
        insert into @schema@.inbox (shard, run_id, message_id, opens, body)
        select unnest(p_shards), unnest(p_runs), unnest(p_messages), true, unnest(p_bodies);
        return;
    end if;
    -- If there are as many starts as opened runs, each has opened its own. Otherwise some came twice, or were too late. The
    -- search through an array takes time by its length, for each start.
    v_each_opens := cardinality(p_opened) = (
        select count(*) from unnest(p_workflows, p_verdicts) as t (workflow, verdict)
        where t.workflow is not null and t.verdict = 0);
    -- `order by` applies before the identity column draws its numbers, so numbers follow the given order.
    insert into @schema@.inbox (shard, run_id, message_id, opens, body)
    select t.shard, t.run, t.message, t.workflow is not null, t.body
    from (
        select *, row_number() over (partition by run, workflow is null order by ord) as nth
        from unnest(p_messages, p_runs, p_shards, p_bodies, p_workflows, p_verdicts) with ordinality
            as s (message, run, shard, body, workflow, verdict, ord)
    ) t
    where t.verdict = 0
      and (t.workflow is null or v_each_opens or (t.nth = 1 and t.run = any (p_opened)))
    order by t.ord
    on conflict (message_id) where not opens do nothing;
end
$$;

-- Inserts messages into the inbox in the order given, with the rows of the runs that they open.
-- A message that opens a run has a workflow. Runs inside the caller's transaction if there is one.
-- A start may be followed by a message, in the same transaction: see `follow`.
-- SECURITY DEFINER: so a client that may do nothing else with these tables can send messages, and cannot delete any.
-- verdict: 0 accepted, 1 a run with this key exists, 2 with another input, 3 the run is over, 4 unknown run, 5 a run with this
-- key exists and is over, so that the message that follows the start has no receiver.
create function @schema@.submit(
    p_messages uuid[], p_runs uuid[], p_shards smallint[], p_bodies bytea[],
    p_workflows text[], p_keys text[], p_parents uuid[], p_digests bytea[],
    p_follow_ids uuid[], p_follow_bodies bytea[],
    p_attribute_runs uuid[], p_attribute_names text[], p_attribute_values text[],
    p_notify text,                 -- the channel for the hints of this call; null: none
    p_hints text,                  -- null: notify in this transaction in any case, because only the caller commits
    p_lock_timeout text,           -- null: the caller's own
    p_checks_encoding boolean,     -- whether the caller sends UTF8, whatever its connection says
    out verdicts smallint[], out existing uuid[],
    out notified boolean           -- whether this transaction notifies; if not, the caller has to
) language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
-- As in `append`.
set enable_seqscan = off
set enable_indexonlyscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_opened uuid[];
    v_sent   boolean;
    v_set    text;
begin
    if p_lock_timeout is not null then
        v_set := set_config('lock_timeout', p_lock_timeout, true);
    end if;
    -- A caller's own connection may have another encoding, which would have garbled names and keys.
    if p_checks_encoding and current_setting('client_encoding') not in ('UTF8', 'SQL_ASCII') then
        raise exception using errcode = 'PW003', message = format(
            'this connection''s client_encoding is `%s`, but the library speaks UTF8: set client_encoding = ''UTF8''',
            current_setting('client_encoding'));
    end if;

    if array_remove(p_keys, null) = '{}' then
        verdicts := array_fill(0::smallint, array[cardinality(p_runs)]);
        existing := array_fill(null::uuid, array[cardinality(p_runs)]);
    else
        -- Keys, always in one order, so that two batches cannot wait for each other.
        insert into @schema@.run_keys (workflow, key, run_id, input_digest)
        select t.workflow, t.key, t.run, t.digest
        from unnest(p_workflows, p_keys, p_runs, p_digests) with ordinality
            as t (workflow, key, run, digest, ord)
        where t.workflow is not null and t.key is not null
        order by t.workflow, t.key, t.ord
        on conflict do nothing;

        -- A later statement sees the keys for which the one above waited.
        select array_agg(case
                   when k.run_id is null or k.run_id = t.run then 0
                   when k.input_digest <> t.digest then 2
                   else 1
               end order by t.ord),
               array_agg(case when k.run_id <> t.run then k.run_id end order by t.ord)
        into verdicts, existing
        from unnest(p_runs, p_workflows, p_keys, p_digests) with ordinality
            as t (run, workflow, key, digest, ord)
        left join @schema@.run_keys k on k.workflow = any (array[t.workflow]) and k.key = t.key;
    end if;

    v_opened := @schema@.open_pending(p_runs, p_shards, p_workflows, p_keys, p_parents, verdicts);
    if cardinality(p_attribute_runs) > 0 then
        insert into @schema@.attributes (run_id, name, value)
        select t.run_id, t.name, t.value
        from unnest(p_attribute_runs, p_attribute_names, p_attribute_values) as t (run_id, name, value)
        where t.run_id = any (v_opened)
        on conflict do nothing;
    end if;

    -- Other messages need an open run. Both lookups share a snapshot, so neither can miss a run that is just ending.
    if array_position(p_workflows, null) is not null then
        select array_agg(case
                   when t.workflow is not null then t.verdict
                   when exists (select from @schema@.open_runs o where o.run_id = t.run) then 0
                   -- A run of the same chain may go on, also when the row of this one was dropped with its partition.
                   when exists (
                       select from @schema@.open_runs o where o.run_id = @schema@.current_run(t.run)) then 0
                   when exists (select from @schema@.closed_runs c where c.run_id = t.run) then 3
                   else 4
               end order by t.ord)
        into verdicts
        from unnest(p_runs, p_workflows, verdicts) with ordinality as t (run, workflow, verdict, ord);
    end if;

    perform @schema@.deliver(p_messages, p_runs, p_shards, p_bodies, p_workflows, verdicts, v_opened);
    -- What has a reply is not delivered again: it was refused, or is in the log. The append that replies also deletes the message,
    -- for which the insertion above may have waited, so only a later statement is sure to see the reply.
    if array_position(p_workflows, null) is not null then
        delete from @schema@.inbox i
        using @schema@.replies_to(p_runs, p_messages) r
        where i.message_id = any (array[r.message_id]) and not i.opens and i.xid is not distinct from pg_current_xact_id();
    end if;
    v_sent := 0 = any (verdicts);
    if array_remove(p_follow_ids, null) <> '{}' then
        verdicts := @schema@.follow(p_follow_ids, p_follow_bodies, p_runs, existing, verdicts, v_opened);
        v_sent := v_sent or 1 = any (verdicts);
    end if;

    notified := false;
    if p_hints is not null then
        notified := p_notify is not null and v_sent and @schema@.notify_if_free(p_notify, p_hints);
    elsif p_notify is not null and v_sent then
        perform @schema@.notify_mail(p_notify, array(
            select @schema@.shard_of(coalesce(t.existing, t.run))
            from unnest(p_runs, existing, verdicts) as t (run, existing, verdict) where t.verdict in (0, 1)));
    end if;
end
$$;

-- Inserts the messages that follow starts: to the runs that were opened, or to those that have their keys. What a repeated
-- start opens no more, it has followed before. Returns the verdicts on the starts.
create function @schema@.follow(
    p_ids uuid[], p_bodies bytea[], p_runs uuid[], p_existing uuid[], p_verdicts smallint[], p_opened uuid[]
) returns smallint[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_verdicts smallint[];
begin
    select array_agg(case
               when t.id is null or t.verdict <> 1
                 or exists (select from @schema@.open_runs o where o.run_id = t.existing)
                 or exists (
                     select from @schema@.open_runs o where o.run_id = @schema@.current_run(t.existing)) then t.verdict
               else 5
           end order by t.ord)
    into v_verdicts
    from unnest(p_ids, p_existing, p_verdicts) with ordinality as t (id, existing, verdict, ord);

    insert into @schema@.inbox (shard, run_id, message_id, opens, body)
    select @schema@.shard_of(t.run), t.run, t.id, false, t.body
    from (
        select f.id, f.body, f.ord, coalesce(f.existing, f.run) as run
        from unnest(p_ids, p_bodies, p_runs, p_existing, v_verdicts) with ordinality
            as f (id, body, run, existing, verdict, ord)
        where f.id is not null and (f.verdict = 1 or f.verdict = 0 and f.run = any (p_opened))
    ) t
    order by t.ord
    on conflict (message_id) where not opens do nothing;
    return v_verdicts;
end
$$;

-- Notifies listeners when this transaction commits, unless that could make others wait, and returns whether it does. All
-- commits of the cluster that notify hold one lock, one after the other, until they are on disk. So only one transaction of
-- this schema notifies at a time. The hints are skipped if the notification queue is nearly full, because a session that
-- listens keeps a transaction open: a full queue would fail the commit.
create function @schema@.notify_if_free(p_channel text, p_hints text) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_channel is null or pg_notification_queue_usage() >= 0.9
       or not pg_try_advisory_xact_lock(hashtext('@schema@'), hashtext('pgworkflows: notify'))
    then
        return false;
    end if;
    perform pg_notify(p_channel, p_hints);
    return true;
end
$$;

-- Notifies listeners of mail in these shards when this transaction commits, unless the queue is nearly full, as above. A
-- notification may have 8,000 bytes, enough for a thousand shards.
create function @schema@.notify_mail(p_channel text, p_shards smallint[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if pg_notification_queue_usage() < 0.9 then
        perform pg_notify(p_channel, 'mail ' || string_agg(t.shard::text, ','))
        from (select s.shard, row_number() over (order by s.shard) - 1 as place
              from (select distinct u.shard from unnest(p_shards) as u (shard)) s) t
        group by t.place / 1000;
    end if;
end
$$;

-- Makes, or attaches again, the partitions for runs born at a time, and returns the partitions' end in milliseconds
-- since 1970. Tables are created separately and then attached, which takes a lock on the parent that blocks neither
-- readers nor appends. `create … partition of` would wait for one open reader and block every append meanwhile. A
-- partition that was detached still has the check that `detach concurrently` left, so attaching it again scans no rows.
--
-- A session that reads the list of partitions while one is attached may keep the list without it: PostgreSQL (14 to 18)
-- loses the invalidation that arrives meanwhile. It reads the list again after the parent's next change. So an append
-- that missed the partition sets `p_missed`, and a partition that is already attached gets a change of its parent that
-- alters nothing.
create function @schema@.make_partition(p_born_millis bigint, p_lock_timeout text, p_missed boolean default false)
returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_width  bigint := (select partition_width_seconds * 1000 from @schema@.settings);
    v_low    bigint := p_born_millis - p_born_millis % v_width;
    v_suffix text := to_char(to_timestamp(v_low / 1000) at time zone 'utc',
                             case when v_low % 86400000 = 0 then 'YYYYMMDD' else 'YYYYMMDD_HH24MISS' end);
    v_parent text;
    v_table  text;
begin
    -- Partitions are made two ahead, and no run born by this clock can need a later one.
    if v_low > extract(epoch from clock_timestamp()) * 1000 + 2 * v_width then
        raise exception using errcode = '22023', message = format(
            'a run cannot be born at %s, which has not come yet', to_timestamp(p_born_millis / 1000));
    end if;
    perform set_config('lock_timeout', p_lock_timeout, true);
    foreach v_parent in array array['frames', 'closed_runs', 'links', 'published', 'replies'] loop
        v_table := v_parent || '_' || v_suffix;
        if @schema@.is_partition(v_table) then
            if p_missed then
                execute format('alter table only @schema@.%I alter column run_id set statistics -1', v_parent);
            end if;
            continue;
        end if;
        -- One session at a time. A separate statement, so that the next check sees what another session made.
        execute format('lock table @schema@.%I in share update exclusive mode', v_parent);
        continue when @schema@.is_partition(v_table);
        if to_regclass(format('@schema@.%I', v_table)) is null then
            -- The log is append-only: vacuum has no dead rows to clean, and freezes every page on its first visit. The row of
            -- a view changes often: its new version stays in its page.
            execute format(
                'create table @schema@.%I (like @schema@.%I including all) with (%s)', v_table, v_parent,
                case v_parent when 'published' then 'fillfactor = 70' else 'autovacuum_freeze_min_age = 0' end);
            -- No query has a condition on a body, an outcome or a number, so their statistics would be useless.
            execute format('alter table @schema@.%I alter column %I set statistics 0', v_table,
                           case v_parent when 'closed_runs' then 'outcome' when 'published' then 'seq' when 'links' then 'number'
                           else 'body' end);
            -- Without lz4, only a frame that does not fit in a page is compressed. A parent cannot have this setting.
            if v_parent = 'frames' and exists (
                select from pg_catalog.pg_attribute a
                where a.attrelid = '@schema@.frames'::regclass and a.attname = 'body' and a.attcompression <> 'l')
            then
                execute format('alter table @schema@.%I set (toast_tuple_target = 8160)', v_table);
            end if;
        end if;
        execute format(
            'alter table @schema@.%I attach partition @schema@.%I for values from (%L) to (%L)',
            v_parent, v_table, @schema@.first_run_id(v_low), @schema@.first_run_id(v_low + v_width));
    end loop;
    return v_low + v_width;
end
$$;

-- Whether a table of this schema is attached to its parent.
create function @schema@.is_partition(p_table text) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select exists (
        select from pg_catalog.pg_class c
        where c.oid = to_regclass(format('@schema@.%I', p_table)) and c.relispartition)
$$;

-- The smallest id of a run born at that time, in milliseconds since 1970.
create function @schema@.first_run_id(p_millis bigint) returns uuid
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select (lpad(to_hex(p_millis), 12, '0') || '00000000000000000000')::uuid
$$;

-- -------------------------------------------------------------------------------------------------------
-- Views, for people
-- -------------------------------------------------------------------------------------------------------

-- Whether the log has a frame of a run. A function because of its settings, see 0002: a plan that was made while a partition
-- was empty would read the whole partition for each run.
create function @schema@.has_begun(p_run uuid) returns boolean
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return exists (select from @schema@.frames f where f.run_id = p_run);
end
$$;

-- The open runs. A pending one that has begun is busy.
create view @schema@.open_runs_shown as
select o.run_id, o.workflow, o.key, o.parent, o.shard, o.wake_at,
       case when b.begun then 1::smallint else o.state end as state,
       case when not b.begun then o.waiting_on end as waiting_on,
       case when not b.begun then o.waits end as waits,
       -- For conditions that fit an index.
       o.state as stored_state
from @schema@.open_runs o
cross join lateral (select o.state = 0 and @schema@.has_begun(o.run_id) as begun offset 0) b;

-- The terminal event of a run that is over, by its status.
create function @schema@.closed_event(p_status smallint) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select (array['run.completed', 'run.failed', 'run.cancelled', 'run.terminated', 'run.continued', 'run.retried',
                  'run.timed-out'])[p_status + 1]
$$;

-- The status of a run that is over, in words.
create function @schema@.closed_word(p_status smallint) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select substr(@schema@.closed_event(p_status), 5)
$$;

-- The fields of the terminal event of a run: see 0004.
create function @schema@.closed_data(p_status smallint, p_outcome bytea) returns jsonb
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return @schema@.event_data(@schema@.closed_event(p_status), p_outcome);
end
$$;

-- Of what an open run waits for, the first activity of which an attempt failed.
create function @schema@.failing(p_waits text) returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_path_query_first(p_waits::jsonb, '$[*] ? (exists (@.last_failure))')
$$;

-- Every run, in words: its status is that of `RunStatus` in Rust. `waits` is read from the row of an open run, without its history: a busy run has none, unless an attempt
-- of it has failed.
create view @schema@.runs as
select o.run_id, o.workflow, o.key, o.shard,
       (array['pending', 'running', 'waiting', 'stalled', 'paused'])[o.state + 1] as status,
       to_timestamp(('x' || substr(replace(o.run_id::text, '-', ''), 1, 12))::bit(48)::bigint / 1000.0)
           as started_at,
       o.wake_at, o.waiting_on, o.waits::jsonb as waits, null::timestamptz as closed_at,
       l.first_run, l.predecessor, l.number as chain_number, o.parent,
       (select jsonb_object_agg(a.name, a.value) from @schema@.attributes a where a.run_id = o.run_id) as attributes,
       (@schema@.failing(o.waits) ->> 'attempt')::int as attempt, @schema@.failing(o.waits) ->> 'last_failure' as last_failure,
       null::jsonb as result, null::jsonb as failure, null::text as reason
from @schema@.open_runs_shown o
left join @schema@.links l on l.run_id = o.run_id
union all
select c.run_id, c.workflow, c.key, c.shard,
       @schema@.closed_word(c.status),
       to_timestamp(('x' || substr(replace(c.run_id::text, '-', ''), 1, 12))::bit(48)::bigint / 1000.0),
       null, null, null, c.closed_at,
       l.first_run, l.predecessor, l.number, c.parent,
       (select jsonb_object_agg(a.name, a.value) from @schema@.attributes a where a.run_id = c.run_id),
       null, null,
       case when c.status = 0 then @schema@.closed_data(c.status, c.outcome) -> 'result' end,
       case when c.status in (1, 5) then @schema@.closed_data(c.status, c.outcome) -> 'failure' end,
       case when c.status in (2, 3) then @schema@.closed_data(c.status, c.outcome) ->> 'reason' end
from @schema@.closed_runs c
left join @schema@.links l on l.run_id = c.run_id;
