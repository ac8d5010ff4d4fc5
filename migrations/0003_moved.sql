-- 0003: a schema that was moved: dumped and restored, replicated logically, or copied together with its database.
--
-- The inbox is read by the transaction ids of its rows, which are valid in one cluster only. A foreign id may be
-- greater than every id of this cluster, or equal one in progress, and cannot be told from a local id. So `settings`
-- records where the ids were assigned. In another place, no shard can be claimed before the inbox is rewritten.

-- The cluster's identifier; null if the schema's owner may not read it.
create function @schema@.system_identifier() returns bigint
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    if has_function_privilege('pg_control_system()', 'execute') then
        return (select c.system_identifier from pg_control_system() c);
    end if;
    return null;
end
$$;

-- The database's oid in its cluster.
create function @schema@.database_oid() returns oid
language sql stable set search_path = pg_catalog, pg_temp as $$
    select d.oid from pg_database d where d.datname = current_database()
$$;

-- Whether the ids in the inbox were assigned elsewhere. If the cluster's identifier is unknown, the cluster counts as
-- unchanged, and only `refuse_foreign` protects the inbox.
create function @schema@.is_moved() returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
    select s.database_oid is distinct from @schema@.database_oid()
        or s.system_identifier is distinct from coalesce(@schema@.system_identifier(), s.system_identifier)
    from @schema@.settings s
$$;

-- Refuses calls until the inbox is rewritten. The library rewrites it and repeats the call.
create function @schema@.refuse_moved() returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    if @schema@.is_moved() then
        raise exception using errcode = 'PW004',
            message = 'schema `@schema@` was moved here from another cluster or database, and is being put in order';
    end if;
end
$$;

-- Rewrites up to `p_limit` messages of a moved inbox, and returns how many. After the last ones, the schema counts as
-- not moved. Returns null if there is nothing to do, or if another session is rewriting: check again later.
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
    -- One session at a time. After the last rewrite, no other session may rewrite messages that owners are reading.
    perform 1 from @schema@.settings s for update skip locked;
    if not found or not @schema@.is_moved() then
        return null;
    end if;

    -- Leases from elsewhere are fenced. As in `release`, this counts as no death, since no run killed an owner.
    perform 1 from @schema@.leases l where not l.fenced order by l.lease for update;
    update @schema@.leases l set fenced = true where not l.fenced;
    delete from @schema@.appends;
    update @schema@.suspects s set stage = 0 where s.stage = 1;
    perform 1 from @schema@.shards s where s.lease is not null order by s.shard for update;
    update @schema@.shards s set lease = null, claimed_at = null, former = null where s.lease is not null;

    -- 0 is no transaction's id and is less than all of them, so a first read has these messages in the order of their
    -- numbers. Messages that were submitted here in the meantime may be included, because no owner has read them.
    update @schema@.inbox i set xid = '0'
    where i.ctid = any (array(select m.ctid from @schema@.inbox m where m.xid > '0' order by m.xid limit p_limit));
    get diagnostics v_rewritten = row_count;
    if v_rewritten < p_limit then
        -- Logical replication copies numbers, but not the state of their sequence. One probe per shard finds the
        -- greatest.
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

-- Refuses an inbox with a message of a transaction that this cluster has not begun yet, in the snapshot of the
-- statement that reads it. Such a message arrived from elsewhere after the inbox was rewritten, or the move was not
-- detected.
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

-- A new schema counts as not moved.
update @schema@.settings
set system_identifier = @schema@.system_identifier(), database_oid = @schema@.database_oid();
