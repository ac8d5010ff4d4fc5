-- 0002: the frequent reads of workers and clients.
--
-- They are functions because of their settings: each reads run by run or shard by shard, by a condition on an index,
-- whatever the statistics say. A partition that was analyzed before its first run started looks empty until the next
-- analyze, a minute later. Until then every lookup of a run would read the whole partition.
--
-- `offset 0` and `limit 1` keep the planner from joining instead. STABLE: a function reads with the snapshot of the
-- statement that calls it.

-- The next `p_limit` pending, busy and stalled runs, and whether they have begun: by shard, in the order given, and then by
-- id. The answer begins after the run `p_after` of the shard `p_after_shard`. A partial index returns the runs, so that
-- parked ones, however many, are not read; nor are more runs than are returned, since one shard is read after the other.
create function @schema@.unparked(p_shards smallint[], p_after_shard smallint, p_after uuid, p_limit bigint)
returns table (run_id uuid, begun boolean)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    select o.run_id, o.state <> 0 or exists (select from @schema@.frames f where f.run_id = o.run_id offset 0)
    from unnest(p_shards) s (shard)
    cross join lateral (
        select o.run_id, o.state from @schema@.open_runs o
        where o.shard = s.shard and o.state in (0, 1, 3)
          and o.run_id > case s.shard when p_after_shard then p_after
                         else '00000000-0000-0000-0000-000000000000' end
        order by o.run_id limit p_limit
    ) o
    where s.shard >= p_after_shard
    limit p_limit;
end
$$;

-- The frames of given runs, in the order given; those of the first run begin after event `p_after`. A run without frames
-- has one row of nulls, if it is known. The first frame beyond `p_bytes` comes without its body and ends the answer.
--
-- Rows are taken from the query one by one until the bytes are used up; later rows are not read. So the order must need
-- no sorting: run by run, since the settings allow no other join, and each run by its index.
create function @schema@.load_runs(p_runs uuid[], p_after int, p_bytes bigint, p_bytes_without_body int)
returns table (run_id uuid, seq int, count int, "position" bigint, at timestamptz, body bytea)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_bytes bigint := 0;
begin
    for run_id, seq, count, "position", at, body in
        select r.run_id, f.seq, f.count, f.position, f.at, f.body
        from (
            select t.run_id, case t.number when 1 then p_after else 0 end as after
            from unnest(p_runs) with ordinality t (run_id, number)
        ) r
        left join lateral (
            select * from @schema@.frames f
            where f.run_id = r.run_id and f.seq > r.after order by f.seq offset 0
        ) f on true
    loop
        if seq is not null then
            v_bytes := v_bytes + octet_length(body) + p_bytes_without_body;
            if v_bytes > p_bytes and v_bytes > octet_length(body) + p_bytes_without_body then
                body := null;
            end if;
        elsif not exists (select from @schema@.open_runs o where o.run_id = load_runs.run_id)
          and not exists (select from @schema@.closed_runs c where c.run_id = load_runs.run_id) then
            continue;
        end if;
        return next;
        exit when seq is not null and body is null;
    end loop;
end
$$;

-- The end of the last run of the chain of a run that was continued, once that is over; nothing for no run.
create function @schema@.end_of_chain(p_run uuid) returns setof @schema@.closed_runs
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_last uuid := @schema@.current_run(p_run);
begin
    return query select * from @schema@.closed_runs c where c.run_id = v_last and c.status not in (4, 5);
end
$$;

-- The given runs that are over. The runs ascend: by the array alone, the server would look into every partition. A run that was
-- continued has the end of its chain. That is found by a function, because a subquery over the partitions would be prepared for
-- every run, and cost more than all else.
create function @schema@.closed(p_runs uuid[]) returns setof @schema@.closed_runs
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    select c.run_id, coalesce(e.closed_at, c.closed_at), c.shard, coalesce(e.status, c.status), c.workflow, c.key,
           c.parent, case when e.status is null then c.outcome else e.outcome end
    from @schema@.closed_runs c
    left join lateral @schema@.end_of_chain(case when c.status in (4, 5) then c.run_id end) e on true
    where c.run_id = any (p_runs) and c.run_id between p_runs[1] and p_runs[cardinality(p_runs)]
      and (e.status is not null or c.status not in (4, 5));
end
$$;

-- The frame with the newest value of a view of a chain's current run, and the number of the event in it: two lookups beside that
-- of the run, however long the history is.
create function @schema@.find_view(p_run uuid, p_name text)
returns table (run_id uuid, published int, seq int, count int, "position" bigint, at timestamptz, body bytea)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_run uuid := @schema@.current_run(p_run);
begin
    return query
    select v_run, p.seq, f.seq, f.count, f.position, f.at, f.body
    from @schema@.published p
    cross join lateral (
        select * from @schema@.frames f
        where f.run_id = v_run and f.seq <= p.seq order by f.seq desc limit 1
    ) f
    where p.run_id = v_run and p.name = p_name;
end
$$;

-- The last event of each of these runs that published a view; for a run that another one continues, the greatest number.
create function @schema@.last_published(p_runs uuid[]) returns table (run_id uuid, seq int)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    select r.run_id, coalesce(c.seq, l.seq)
    from unnest(p_runs) r (run_id)
    cross join lateral (select max(p.seq) from @schema@.published p where p.run_id = r.run_id offset 0) l (seq)
    left join lateral (
        select 2147483647 from @schema@.closed_runs c where c.run_id = r.run_id and c.status in (4, 5) offset 0
    ) c (seq) on true
    where coalesce(c.seq, l.seq) is not null;
end
$$;

-- The replies to these messages of these runs. The runs ascend.
create function @schema@.replies_to(p_runs uuid[], p_messages uuid[]) returns setof @schema@.replies
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    select r.*
    from unnest(p_runs, p_messages) t (run_id, message_id)
    cross join lateral (
        select * from @schema@.replies r where r.run_id = t.run_id and r.message_id = t.message_id offset 0
    ) r
    union all
    -- Another run of the chain may have replied.
    select t.run_id, t.message_id, r.body
    from unnest(p_runs, p_messages) t (run_id, message_id)
    cross join lateral (
        select from @schema@.chains c
        where c.first_run
            = coalesce((select l.first_run from @schema@.links l where l.run_id = t.run_id offset 0), t.run_id)
        offset 0
    ) c
    cross join lateral (
        select r.body from @schema@.replies r
        where r.message_id = t.message_id and r.run_id <> t.run_id offset 0
    ) r;
end
$$;

-- Parked runs with deadlines after `(p_after, p_after_run)` and up to `p_until`, in order, at most `p_limit`.
create function @schema@.due_runs(
    p_shards smallint[], p_after timestamptz, p_after_run uuid, p_until timestamptz, p_limit bigint
) returns table (wake_at timestamptz, run_id uuid)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    select d.wake_at, d.run_id
    from unnest(p_shards) s (shard)
    cross join lateral (
        select o.wake_at, o.run_id from @schema@.open_runs o
        where o.shard = s.shard and o.wake_at is not null
          and (o.wake_at, o.run_id) > (p_after, p_after_run) and o.wake_at <= p_until
        order by o.wake_at, o.run_id limit p_limit
    ) d
    order by d.wake_at, d.run_id limit p_limit;
end
$$;

-- The messages that became visible since a snapshot, in the order of numbers, up to the limits. They are found by
-- transaction, so that a backlog of messages that were read before costs nothing, nor do dead rows.
--
-- The first message beyond `p_bytes` comes without its body and ends the answer. A body's length is known without
-- reading it.
create function @schema@.inbox_news(
    p_shards smallint[], p_snapshot pg_snapshot,
    p_greatest bigint,             -- the greatest number that was read
    p_limit bigint, p_bytes bigint,
    p_starts boolean               -- whether starts are returned
) returns table (number bigint, run_id uuid, current_run uuid, message_id uuid, body bytea)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    -- The check is made here, because a call of a function for it costs more than the check.
    if exists (select from @schema@.inbox i where i.xid >= pg_snapshot_xmax(pg_current_snapshot())) then
        perform @schema@.refuse_foreign();
    end if;
    return query
    select m.number, m.run_id, case when m.opens then m.run_id else @schema@.current_run(m.run_id) end,
           m.message_id, case when m.nth = 1 or m.bytes <= p_bytes then m.body end
    from (
        select m.*, row_number() over w as nth, sum(octet_length(m.body)) over w as bytes
        from (
            select m.number, m.run_id, m.message_id, m.opens, m.body
            from (
                -- Begun after the snapshot.
                select m.number, m.run_id, m.message_id, m.opens, m.body
                from (select * from @schema@.inbox i where i.xid >= pg_snapshot_xmax(p_snapshot) offset 0) m
                where m.shard = any (p_shards) and (p_starts or not m.opens)
                union all
                -- In progress at the snapshot: usually none.
                select m.number, m.run_id, m.message_id, m.opens, m.body
                from pg_snapshot_xip(p_snapshot) x (xid)
                cross join lateral (select * from @schema@.inbox i where i.xid = x.xid offset 0) m
                where m.shard = any (p_shards) and (p_starts or not m.opens)
                union all
                -- A transaction id that was reused after a crash: it counts as finished in the snapshot, but its
                -- numbers were never read. Shard by shard, so that each shard is read only after that number.
                select m.number, m.run_id, m.message_id, m.opens, m.body
                from unnest(p_shards) s (shard)
                cross join lateral (
                    select * from @schema@.inbox i
                    where i.shard = s.shard and i.number > p_greatest and pg_visible_in_snapshot(i.xid, p_snapshot)
                      and (p_starts or not i.opens)
                    order by i.number limit p_limit
                ) m
            ) m
            order by m.number limit p_limit
        ) m
        window w as (order by m.number rows unbounded preceding)
    ) m
    where m.nth <= 2 or m.bytes - octet_length(m.body) <= p_bytes
    order by m.number;
end
$$;

-- One page of a longer read of the inbox, in the order of numbers: the messages after a number that were visible in a
-- snapshot, without those that were read before. The limit of bytes works as in `inbox_news`.
--
-- However many shards there are, and however many messages wait, it looks at some times as many as the limit. If the page does
-- not go to the end, the last row has no run, and the number up to which it goes: there may be no message at all before that.
create function @schema@.inbox_page(
    p_shards smallint[], p_behind bigint,
    p_snapshot pg_snapshot,        -- null: all that is visible now
    p_read pg_snapshot,            -- what was read before; null: nothing
    p_greatest bigint,             -- the greatest number read then
    p_limit bigint, p_bytes bigint,
    p_starts boolean               -- whether starts are returned
) returns table (number bigint, run_id uuid, current_run uuid, message_id uuid, body bytea)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_until bigint;
begin
    perform @schema@.refuse_foreign();
    -- Numbers are unique, so a range of them has no more messages than its length. Where they are sparse, the range goes to where
    -- the first shard has had its share. If no shard has more than that, there is no need for a range.
    select greatest(min(h.first) + 4 * p_limit, min(h.nth)) into v_until
    from unnest(p_shards) s (shard)
    cross join lateral (
        select (select i.number from @schema@.inbox i
                where i.shard = s.shard and i.number > p_behind
                order by i.number limit 1) as first,
               (select i.number from @schema@.inbox i
                where i.shard = s.shard and i.number > p_behind
                order by i.number limit 1 offset p_limit / cardinality(p_shards)) as nth,
               (select i.number from @schema@.inbox i
                where i.shard = s.shard
                order by i.number desc limit 1) as last
    ) h
    having greatest(min(h.first) + 4 * p_limit, min(h.nth)) < max(h.last) and min(h.nth) is not null;
    return query
    select m.number, m.run_id, case when m.opens then m.run_id else @schema@.current_run(m.run_id) end,
           m.message_id, case when m.nth = 1 or m.bytes <= p_bytes then m.body end
    from (
        select m.*, row_number() over w as nth, sum(octet_length(m.body)) over w as bytes
        from (
            select m.number, m.run_id, m.message_id, m.opens, m.body
            from unnest(p_shards) s (shard)
            -- Shard by shard, so that each shard is read by its index in the order of numbers, and only up to the
            -- limit.
            cross join lateral (
                select * from @schema@.inbox i
                where i.shard = s.shard and i.number > p_behind
                  and i.number <= coalesce(v_until, 9223372036854775807)
                  and (p_snapshot is null or pg_visible_in_snapshot(i.xid, p_snapshot))
                  and (p_read is null or i.number > p_greatest or not pg_visible_in_snapshot(i.xid, p_read))
                  and (p_starts or not i.opens)
                order by i.number limit p_limit
            ) m
            order by m.number limit p_limit
        ) m
        window w as (order by m.number rows unbounded preceding)
    ) m
    where m.nth <= 2 or m.bytes - octet_length(m.body) <= p_bytes
    order by m.number;
    return query
    select v_until, null::uuid, null::uuid, null::uuid, null::bytea where v_until is not null;
end
$$;

-- The runs of a workflow with keys from `p_from` to `p_to` and after `p_after`, in the order of the keys, and whether they are
-- open.
create function @schema@.keyed_runs(p_workflow text, p_from text, p_to text, p_after text, p_limit bigint)
returns table (key text, run_id uuid, is_open boolean)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
    return query
    select k.key, k.run_id, exists (
        select from @schema@.open_runs o where o.run_id = @schema@.current_run(k.run_id) offset 0)
    from @schema@.run_keys k
    where k.workflow = p_workflow and k.key >= p_from and k.key <= p_to and k.key > p_after
    order by k.key limit p_limit;
end
$$;
