-- Roles for the schema `@schema@`, which must hold nothing but the library's own. It may be run as often as you like: after an
-- upgrade, run it again. The caller has to be a superuser, or a role that may create roles and owns the schema.
--
--   @schema@_owner    owns everything: for whoever migrates
--   @schema@_worker   executes runs and tasks: writes to the tables, and never changes or deletes what the log has
--   @schema@_client   starts runs, sends messages to them, and reads; it writes to no table by itself
--   @schema@_reader   reads
--
-- They cannot log in: `grant @schema@_client to app`.

do $$
declare
    v_role   text;
    v_object record;
begin
    foreach v_role in array array['owner', 'worker', 'client', 'reader'] loop
        v_role := '@schema@_' || v_role;
        -- The roles belong to the whole cluster, where another database may have the same schema.
        begin
            if not exists (select from pg_roles r where r.rolname = v_role) then
                execute format('create role %I nologin', v_role);
            end if;
        exception when duplicate_object or unique_violation then
            null;
        end;
    end loop;
    if not pg_has_role('@schema@_owner', 'usage') then
        execute format('grant %I to %I', '@schema@_owner', current_user);
    end if;

    alter schema @schema@ owner to @schema@_owner;
    for v_object in
        select format('alter table %s owner to @schema@_owner', c.oid::regclass) as command
        from pg_class c
        where c.relnamespace = '@schema@'::regnamespace and c.relkind in ('r', 'p', 'v')
          and c.relowner <> '@schema@_owner'::regrole
        union all
        select format('alter function %s owner to @schema@_owner', p.oid::regprocedure)
        from pg_proc p
        where p.pronamespace = '@schema@'::regnamespace and p.proowner <> '@schema@_owner'::regrole
    loop
        execute v_object.command;
    end loop;
end
$$;

-- What an earlier version granted.
revoke all on schema @schema@ from public, @schema@_worker, @schema@_client, @schema@_reader;
revoke all on all tables in schema @schema@ from public, @schema@_worker, @schema@_client, @schema@_reader;
revoke all on all functions in schema @schema@ from public, @schema@_worker, @schema@_client, @schema@_reader;

grant usage on schema @schema@ to @schema@_worker, @schema@_client, @schema@_reader;

-- Everybody reads, through the tables as through the views. Partitions are read and written through their parents only.
do $$
declare
    v_table regclass;
begin
    for v_table in
        select c.oid from pg_class c
        where c.relnamespace = '@schema@'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition
    loop
        execute format('grant select on %s to @schema@_worker, @schema@_client, @schema@_reader', v_table);
    end loop;
end
$$;

-- Readers. These functions change nothing, and read what the tables show.
do $$
declare
    v_function regprocedure;
begin
    for v_function in
        select p.oid from pg_proc p
        where p.pronamespace = '@schema@'::regnamespace and p.proname in (
            'changes', 'check_known', 'check_name', 'check_run', 'closed', 'closed_data', 'closed_event', 'closed_word',
            'current_run', 'database_oid', 'end_of_chain', 'event_data', 'failing', 'find_view', 'first_run_id', 'frame_events', 'has_begun',
            'is_moved', 'keyed_runs', 'last_published', 'load_runs', 'queues_of', 'refuse', 'refuse_over', 'refuse_unknown', 'replies_to',
            'reply', 'result', 'run_of', 'server_start', 'shard_of', 'status', 'system_identifier')
    loop
        execute format('grant execute on function %s to @schema@_reader, @schema@_client', v_function);
    end loop;

    -- Clients. `submit`, `open_queue`, `make_partition` and `rewrite_inbox` write with the rights of the owner; the others end in
    -- one of them.
    for v_function in
        select p.oid from pg_proc p
        where p.pronamespace = '@schema@'::regnamespace and p.proname in (
            'beginning', 'cancel', 'cbor_fields', 'cbor_head', 'cbor_json', 'cbor_map', 'cbor_number', 'cbor_text', 'cbor_time', 'cbor_trace',
            'check_limit', 'check_payload', 'check_reason', 'checked_attributes', 'create_queue', 'make_partition', 'message_body', 'message_id',
            'new_run_id', 'open_queue', 'pause', 'place_in', 'resume', 'retry_now', 'rewrite_inbox', 'send', 'shards_for',
            'signal', 'start', 'submit', 'terminate', 'update')
    loop
        execute format('grant execute on function %s to @schema@_client', v_function);
    end loop;
end
$$;

-- Workers. What is not named here, nobody but the owner writes.
grant execute on all functions in schema @schema@ to @schema@_worker;
grant insert on @schema@.frames, @schema@.closed_runs, @schema@.links, @schema@.replies, @schema@.undelivered
    to @schema@_worker;
grant insert, update on @schema@.chains, @schema@.published, @schema@.task_heads to @schema@_worker;
grant insert, delete on @schema@.appends, @schema@.inbox, @schema@.shard_needs to @schema@_worker;
grant insert, update, delete on @schema@.attributes, @schema@.builds, @schema@.executors, @schema@.leases, @schema@.open_runs, @schema@.suspects,
    @schema@.tasks to @schema@_worker;
grant update on @schema@.shards to @schema@_worker;
