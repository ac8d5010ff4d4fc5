-- 0003: a schema that was moved: dumped and restored, replicated logically, or copied together with its database.
--
-- The inbox is read by the transaction ids of its rows, which count in one cluster alone. One from elsewhere may be ahead
-- of all that were given here, or equal one that is in progress, and nothing tells it from ours. So `settings` says where
-- the ids were given. In another place nobody claims a shard before the inbox is rewritten.

-- The cluster's own number; null if the schema's owner may not ask for it.
create function @schema@.system_identifier() returns bigint
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    if has_function_privilege('pg_control_system()', 'execute') then
        return (select c.system_identifier from pg_control_system() c);
    end if;
    return null;
end
$$;

-- The number that the cluster gave to this database.
create function @schema@.database_oid() returns oid
language sql stable set search_path = pg_catalog, pg_temp as $$
    select d.oid from pg_database d where d.datname = current_database()
$$;

-- Whether the ids in the inbox were given elsewhere. A cluster whose number is not known passes for the one of before:
-- then `refuse_foreign` is what is left.
create function @schema@.is_moved() returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
    select s.database_oid is distinct from @schema@.database_oid()
        or s.system_identifier is distinct from coalesce(@schema@.system_identifier(), s.system_identifier)
    from @schema@.settings s
$$;

-- Refuses what has to wait until the inbox is rewritten. The library does that and asks again.
create function @schema@.refuse_moved() returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    if @schema@.is_moved() then
        raise exception using errcode = 'PW004',
            message = 'schema `@schema@` was moved here from another cluster or database, and is being put in order';
    end if;
end
$$;

-- Rewrites the next messages of a moved inbox, so many at most, and tells how many; after the last ones the schema
-- belongs here. Null if there is nothing to do, or somebody else is doing it: look again.
create function @schema@.rewrite_inbox(p_limit bigint, p_lock_timeout text) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    v_numbers   regclass := pg_get_serial_sequence('@schema@.inbox', 'number');
    v_rewritten bigint;
    v_greatest  bigint;
begin
    perform @schema@.enter(p_lock_timeout);
    -- One at a time. When the last one is through, no other may rewrite what owners read by then.
    perform 1 from @schema@.settings s for update skip locked;
    if not found or not @schema@.is_moved() then
        return null;
    end if;

    -- Nobody goes on under a lease from elsewhere. As in `release`, that is no death: nothing was killed by what it did.
    perform 1 from @schema@.leases l where not l.fenced order by l.lease for update;
    update @schema@.leases l set fenced = true where not l.fenced;
    delete from @schema@.appends;
    update @schema@.suspects s set stage = 0 where s.stage = 1;
    perform 1 from @schema@.shards s where s.lease is not null order by s.shard for update;
    update @schema@.shards s set lease = null, claimed_at = null, former = null where s.lease is not null;

    -- 0 is no transaction's id and lies before all of them, so that a first read sees these messages in the order of
    -- their numbers. A message that was submitted here in the meantime may be among them: nobody has read it.
    update @schema@.inbox i set xid = '0'
    where i.ctid = any (array(select m.ctid from @schema@.inbox m where m.xid > '0' order by m.xid limit p_limit));
    get diagnostics v_rewritten = row_count;
    if v_rewritten < p_limit then
        -- Logical replication carries numbers, but not which comes next. The greatest is found by one probe per shard.
        select greatest(
            (select max((select max(i.number) from @schema@.inbox i where i.shard = s.shard))
             from generate_series(0, 4095) s (shard)),
            (select max(u.number) from @schema@.undelivered u)
        ) into v_greatest;
        if v_greatest > nextval(v_numbers) then
            perform setval(v_numbers, v_greatest);
        end if;
        update @schema@.settings
        set system_identifier = @schema@.system_identifier(), database_oid = @schema@.database_oid();
    end if;
    return v_rewritten;
end
$$;

-- Refuses an inbox with a message of a transaction that this cluster has yet to begin, as seen by the statement that
-- reads it: it came from elsewhere after the inbox was rewritten, or without a trace.
create function @schema@.refuse_foreign() returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    v_next   xid8 := pg_snapshot_xmax(pg_current_snapshot());
    v_number bigint;
    v_xid    xid8;
begin
    select i.number, i.xid into v_number, v_xid
    from @schema@.inbox i where i.xid >= v_next order by i.xid limit 1;
    if found then
        raise exception using errcode = 'PW003', message = format(
            'message %s of the inbox of schema `@schema@` was written by transaction %s, but %s is the next that this '
            'cluster begins: the message was restored or replicated from another one. When no more of them come, set '
            'database_oid of @schema@.settings to null, and the inbox will be put in order', v_number, v_xid, v_next);
    end if;
end
$$;

-- A new schema belongs where it is made.
update @schema@.settings
set system_identifier = @schema@.system_identifier(), database_oid = @schema@.database_oid();
