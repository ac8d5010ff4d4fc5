-- 0006: what people and programs call in SQL: starts, messages, results and tasks, from psql, a trigger or any language.
--
-- Every call is a part of the caller's own transaction, and is committed or rolled back with it. Messages are written as
-- `core/src/log/wire.rs` describes them, and go the way of every client's, through `submit`. So an open transaction of a caller
-- blocks no append. `docs/sql.md` is the guide.
--
-- Parameters have the names that callers use: `key => 'order:7'`. A text may come from a column with a collation of its own,
-- which would keep indexes from being used, so each is given the default collation first.
--
-- Error codes: PW101 an argument is out of its range, PW102 so is a payload, PW103 unknown run, PW104 the run is over, PW105 no
-- such queue, PW106 the task is not held any more, PW107 the executor is over.

-- -------------------------------------------------------------------------------------------------------
-- Arguments
-- -------------------------------------------------------------------------------------------------------

-- Refuses a call.
create function @schema@.refuse(p_code text, p_message text, p_hint text) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using errcode = p_code, message = p_message, hint = p_hint;
end
$$;

-- A name or a key as it is stored: 1 to 255 bytes without control characters.
create function @schema@.check_name(p_what text, p_name text) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name    constant text collate pg_catalog."default" := p_name;
    v_problem text;
begin
    if v_name is null then
        perform @schema@.refuse('PW101', format('the %s is null', p_what), format('pass the %s', p_what));
    end if;
    if v_name = '' then
        v_problem := 'is empty';
    elsif octet_length(v_name) > 255 then
        v_problem := format('has %s bytes, and the limit is 255', octet_length(v_name));
    elsif v_name ~ ('[' || chr(1) || '-' || chr(31) || chr(127) || '-' || chr(159) || ']') then
        v_problem := 'contains a control character';
    else
        return v_name;
    end if;
    perform @schema@.refuse('PW101', format('the %s %s %s', p_what, to_json(left(v_name, 60)), v_problem), 'choose another');
end
$$;

-- A reason as it is stored, of up to 4096 bytes; null if there is none.
create function @schema@.check_reason(p_what text, p_reason text) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_reason constant text collate pg_catalog."default" := p_reason;
begin
    if octet_length(v_reason) > 4096 then
        perform @schema@.refuse('PW101', format(
            'the reason of the %s, %s…, has %s bytes, and the limit is 4096',
            p_what, to_json(left(v_reason, 60)), octet_length(v_reason)), 'shorten it');
    end if;
    return v_reason;
end
$$;

-- A run that a caller names.
create function @schema@.check_run(p_run uuid) returns uuid
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_run is null then
        perform @schema@.refuse('PW101', 'the run is null', 'pass the id that `start` or `run_of` returned');
    end if;
    return p_run;
end
$$;

-- How long a lease is asked for.
create function @schema@.check_lease(p_lease interval) returns interval
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_lease is null or p_lease < interval '1 second' or p_lease > interval '1 day' then
        perform @schema@.refuse('PW101', format('the lease is %s', coalesce(p_lease::text, 'null')),
                                'give at least a second and at most a day');
    end if;
    return p_lease;
end
$$;

-- The bytes of a payload in JSON; null is JSON's null. Every worker has to be able to read it: `jsonb` may be nested more
-- deeply, and have greater numbers, than other readers of JSON accept.
create function @schema@.check_payload(p_what text, p_payload jsonb) returns bytea
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_text constant text := coalesce(p_payload::text, 'null');
begin
    if octet_length(v_text) > 2097152 then
        perform @schema@.refuse('PW102', format(
            '%s has %s bytes, and the limit is 2097152', p_what, octet_length(v_text)),
            'pass a reference to the data instead');
    end if;
    -- Only a text with that many brackets, or with so long a number, is looked at closely.
    if octet_length(translate(v_text, '[{', '')) <= octet_length(v_text) - 128
       and jsonb_path_exists(p_payload, 'strict $.**{127} ? (@.type() == "array" || @.type() == "object")')
    then
        perform @schema@.refuse('PW102', format('%s is nested more than 127 levels deep', p_what), 'nest it less deeply');
    end if;
    if strpos(translate(v_text, '123456789', '000000000'), repeat('0', 309)) > 0
       and jsonb_path_exists(p_payload, 'strict $.** ? (@.type() == "number" && (@ > 1.79e308 || @ < -1.79e308))')
    then
        perform @schema@.refuse('PW102', format('%s has a number beyond 1.79e308', p_what), 'pass such numbers as texts');
    end if;
    return convert_to(v_text, 'UTF8');
end
$$;

-- -------------------------------------------------------------------------------------------------------
-- The stored form of messages: see `core/src/log/wire.rs`
-- -------------------------------------------------------------------------------------------------------

-- These are in PL/pgSQL because it keeps the plans of a session: the server would read and plan each one in SQL again for each
-- statement that calls it, which takes longer than all else that a call does.

-- The head of a CBOR item, in its shortest form.
create function @schema@.cbor_head(p_major int, p_value bigint) returns bytea
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return decode(case
        when p_value < 24 then lpad(to_hex(p_major * 32 + p_value), 2, '0')
        when p_value < 256 then to_hex(p_major * 32 + 24) || lpad(to_hex(p_value), 2, '0')
        when p_value < 65536 then to_hex(p_major * 32 + 25) || lpad(to_hex(p_value), 4, '0')
        when p_value < 4294967296 then to_hex(p_major * 32 + 26) || lpad(to_hex(p_value), 8, '0')
        else to_hex(p_major * 32 + 27) || lpad(to_hex(p_value), 16, '0')
    end, 'hex');
end
$$;

create function @schema@.cbor_number(p_value bigint) returns bytea
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return case when p_value < 0 then @schema@.cbor_head(1, -1 - p_value) else @schema@.cbor_head(0, p_value) end;
end
$$;

create function @schema@.cbor_text(p_value text) returns bytea
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return @schema@.cbor_head(3, octet_length(p_value)) || convert_to(p_value, 'UTF8');
end
$$;

-- A time, as microseconds since 1970.
create function @schema@.cbor_time(p_value timestamptz) returns bytea
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return @schema@.cbor_number((extract(epoch from p_value) * 1000000)::bigint);
end
$$;

-- A place in a trace, of a W3C `traceparent`: 25 bytes, the trace, the span and the flags. One that is not valid is ignored.
create function @schema@.cbor_trace(p_value text) returns bytea
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return case
        when p_value ~ '^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$'
        then @schema@.cbor_head(2, 25) || decode(substr(replace(p_value, '-', ''), 3), 'hex')
    end;
end
$$;

-- A payload in JSON: `[1, bytes]`.
create function @schema@.cbor_json(p_json bytea) returns bytea
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return decode('8201', 'hex') || @schema@.cbor_head(2, octet_length(p_json)) || p_json;
end
$$;

-- An array of fields. One that is absent is null, and left out at the end.
create function @schema@.cbor_fields(p_fields bytea[]) returns bytea
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_kept int := cardinality(p_fields);
    v_body bytea := '';
begin
    while v_kept > 0 and p_fields[v_kept] is null loop
        v_kept := v_kept - 1;
    end loop;
    for i in 1 .. v_kept loop
        v_body := v_body || coalesce(p_fields[i], decode('f6', 'hex'));
    end loop;
    return @schema@.cbor_head(4, v_kept) || v_body;
end
$$;

-- A map of texts; null if there are none.
create function @schema@.cbor_map(p_names text[], p_values text[]) returns bytea
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select @schema@.cbor_head(5, cardinality(p_names)) || string_agg(
        @schema@.cbor_text(t.name) || @schema@.cbor_text(t.value), ''::bytea order by t.number)
    from unnest(p_names, p_values) with ordinality as t (name, value, number)
$$;

-- A message of the kind with this code.
create function @schema@.message_body(p_code int, variadic p_fields bytea[]) returns bytea
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return @schema@.cbor_fields(array[@schema@.cbor_number(1), @schema@.cbor_number(p_code)] || p_fields);
end
$$;

-- The id of a message with a key, equal for every sender: see `keyed_message` in `core/src/client/message.rs`. Without a key, a
-- random one.
create function @schema@.message_id(p_kind text, p_run uuid, p_name text, p_key text) returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return case when p_key is null then gen_random_uuid() else encode(substring(sha256(
        convert_to(p_kind, 'UTF8') || uuid_send(p_run) || int4send(octet_length(p_name))
        || convert_to(p_name, 'UTF8') || convert_to(p_key, 'UTF8')), 1, 16), 'hex')::uuid end;
end
$$;

-- -------------------------------------------------------------------------------------------------------
-- Starts
-- -------------------------------------------------------------------------------------------------------

-- The queues whose live leases know a workflow, or that of the last lease that knew it.
create function @schema@.queues_of(p_workflow text) returns setof text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with known as (
        select b.queue, max(b.claimed_at) as claimed_at, bool_or(exists (
                   select from @schema@.leases l
                   where l.queue = b.queue and l.build = b.build and not l.fenced
                     and l.expires_at > clock_timestamp())) as live
        from @schema@.builds b
        where p_workflow = any (b.workflows)
        group by b.queue
    ), found as (
        (select k.queue from known k where k.live)
        union all
        (select k.queue from known k
         where not exists (select from known other where other.live)
         order by k.claimed_at desc limit 1)
    )
    select f.queue from found f order by f.queue collate pg_catalog."C"
$$;

-- Makes a queue with that many shards, unless it exists. A worker that serves it would make it as well.
create function @schema@.create_queue(queue text, shards int default 64) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '5s'
as $$
declare
    v_queue constant text := @schema@.check_name('queue', queue);
begin
    if shards is null or shards not between 1 and 4096 then
        perform @schema@.refuse('PW101', format('queue `%s` is to have %s shards', v_queue, coalesce(shards::text, 'null')),
                                'give 1 to 4096');
    end if;
    perform @schema@.open_queue(v_queue, shards, '5s');
end
$$;

-- The shards of the queue in which a workflow is started: of that which the caller names, or of that whose workers know it.
create function @schema@.shards_for(p_workflow text, p_queue text, out first_shard int, out shard_count int)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_queue  text := p_queue;
    v_queues text[];
begin
    if v_queue is null then
        v_queues := array(select q from @schema@.queues_of(p_workflow) q);
        if cardinality(v_queues) > 1 and 'default' <> all (v_queues) then
            perform @schema@.refuse('PW105', format(
                'workers of the queues `%s` know workflow `%s`, so it is not clear where to start a run',
                array_to_string(v_queues, '`, `'), p_workflow), 'name the queue: `queue => …`');
        end if;
        v_queue := case when cardinality(v_queues) = 1 then v_queues[1] else 'default' end;
    end if;
    select q.first_shard, q.shard_count into first_shard, shard_count from @schema@.queues q where q.name = v_queue;
    if not found then
        perform @schema@.refuse('PW105', format('there is no queue `%s` in schema `@schema@`', v_queue), format(
            'check its name, start a worker that serves it, or make it: select @schema@.create_queue(%L)', v_queue));
    end if;
end
$$;

-- The id of a new run: see `RunId` in `core/src/data/id.rs`.
create function @schema@.new_run_id(p_at timestamptz, p_shard int) returns uuid
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
    -- The second half of a random UUID has the variant and 62 random bits.
    select (lpad(to_hex(floor(extract(epoch from p_at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(p_shard), 3, '0')
            || substr(replace(gen_random_uuid()::text, '-', ''), 17))::uuid
$$;

-- Where a run is started among the shards of its queue: with a key, where every client starts it.
create function @schema@.place_in(p_key text, p_shards int) returns int
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
    -- The first 8 bytes, big endian, as an unsigned number.
    select ((('x00000000' || substr(d.hex, 1, 8))::bit(64)::bigint::numeric * 4294967296
             + ('x00000000' || substr(d.hex, 9, 8))::bit(64)::bigint) % p_shards)::int
    from (select coalesce(
        encode(sha256(convert_to(p_key, 'UTF8')), 'hex'), replace(gen_random_uuid()::text, '-', '')) as hex) d
$$;

-- When a delayed run begins; null: at once.
create function @schema@.beginning(p_workflow text, p_now timestamptz, p_delay interval, p_start_at timestamptz)
returns timestamptz
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_latest constant timestamptz := to_timestamp(253402300799);
begin
    if p_delay is not null and p_start_at is not null then
        perform @schema@.refuse('PW101', format('the start of workflow `%s` has a `delay` and a `start_at`', p_workflow),
                                'give one of them');
    elsif p_delay <= interval '0' then
        perform @schema@.refuse('PW101', format('the start of workflow `%s` is delayed by %s', p_workflow, p_delay),
                                'give more than zero, or omit `delay` to start at once');
    elsif p_delay > interval '9000 years' or p_now + p_delay > v_latest then
        perform @schema@.refuse('PW101', format(
            'the start of workflow `%s` is delayed by %s, beyond the latest time there is, %s', p_workflow, p_delay, v_latest),
            'use a shorter delay');
    elsif p_start_at > v_latest or p_start_at = '-infinity' then
        perform @schema@.refuse('PW101', format(
            'the start of workflow `%s` is set to %s, and the latest time there is is %s', p_workflow, p_start_at, v_latest),
            'start it at a time before that');
    end if;
    return coalesce(p_start_at, p_now + p_delay);
end
$$;

-- The attributes of a start, checked: their names, and their values in the same order. Both are null if there are none.
create function @schema@.checked_attributes(p_workflow text, p_attributes jsonb, out names text[], out texts text[])
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_bad record;
begin
    if p_attributes is null then
        return;
    elsif jsonb_typeof(p_attributes) <> 'object' then
        perform @schema@.refuse('PW101', format('the attributes of the start of workflow `%s` are %s', p_workflow,
            left(p_attributes::text, 60)), 'pass an object of texts, such as {"customer": "42"}');
    end if;
    select @schema@.check_name('name of an attribute', e.key) as key, e.value into v_bad
    from jsonb_each(p_attributes) e where jsonb_typeof(e.value) <> 'string' limit 1;
    if found then
        perform @schema@.refuse('PW101', format('the value of attribute `%s` is %s, and values are texts', v_bad.key,
            left(v_bad.value::text, 60)), format('pass %s', to_json(v_bad.value::text)));
    end if;
    select array_agg(@schema@.check_name('name of an attribute', e.key) order by e.key collate pg_catalog."C"),
           array_agg(@schema@.check_name(format('value of attribute `%s`', e.key), e.value) order by e.key collate pg_catalog."C")
    into names, texts
    from jsonb_each_text(p_attributes) e;
    if cardinality(names) > 32 then
        perform @schema@.refuse('PW101', format('the run would have %s attributes, and the limit is 32', cardinality(names)),
                                'attributes are for what runs are found by: pass the others in the input');
    end if;
end
$$;

-- Checks how long a run, or its grace, may take.
create function @schema@.check_limit(p_workflow text, p_what text, p_limit interval) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_limit <= interval '0' or p_limit > interval '36500 days' then
        perform @schema@.refuse('PW101', format(
            'the %s of the start of workflow `%s` is %s', p_what, p_workflow, p_limit),
            'give more than zero and at most 100 years');
    end if;
end
$$;

-- Starts a run, and returns its id. If there is a run with the key, it returns the id of that one; inputs are not compared.
create function @schema@.start(
    workflow     text,
    input        jsonb default 'null',
    key          text default null,         -- unique per workflow
    queue        text default null,         -- null: that whose workers know the workflow
    delay        interval default null,     -- when it begins
    start_at     timestamptz default null,  -- the same, as a time
    deadline     interval default null,     -- when it is cancelled, counted from its beginning
    grace        interval default null,     -- after its deadline, when it is ended
    max_attempts int default 1,             -- of the whole run
    signal       text default null,         -- a signal that follows: to the run with the key, if there is one
    payload      jsonb default 'null',      -- what the signal says
    notify       boolean default true,      -- whether the commit notifies workers; without, they look within seconds
    traceparent  text default null,         -- the place in a trace that the run continues, as W3C Trace Context writes it
    attributes   jsonb default null         -- what the run is found by: an object of texts
) returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_workflow constant text := @schema@.check_name('workflow', workflow);
    v_key      constant text := case when key is not null then @schema@.check_name('key', key) end;
    v_queue    constant text := case when queue is not null then @schema@.check_name('queue', queue) end;
    v_input    constant bytea := @schema@.check_payload(format('the input of workflow `%s`', v_workflow), input);
    v_latest   constant timestamptz := to_timestamp(253402300799);
    v_now      constant timestamptz := clock_timestamp();
    v_start_at constant timestamptz := @schema@.beginning(v_workflow, v_now, delay, start_at);
    v_begin    constant timestamptz := greatest(v_now, v_start_at);
    v_deadline timestamptz;
    v_grace    timestamptz;
    v_names    text[];
    v_values   text[];
    v_follows  bytea;
    v_first    int;
    v_count    int;
    v_run      uuid;
    v_verdict  smallint;
    v_existing uuid;
begin
    perform @schema@.check_limit(v_workflow, 'deadline', deadline);
    perform @schema@.check_limit(v_workflow, 'grace', grace);
    if grace is not null and deadline is null then
        perform @schema@.refuse('PW101', format('the start of workflow `%s` has a grace without a deadline', v_workflow),
                                'set the `deadline` that it follows');
    elsif max_attempts is null or max_attempts < 1 then
        perform @schema@.refuse('PW101', format(
            'max_attempts of the start of workflow `%s` is %s', v_workflow, coalesce(max_attempts::text, 'null')),
            'the first attempt counts, so give at least 1');
    end if;
    select a.names, a.texts into v_names, v_values from @schema@.checked_attributes(v_workflow, attributes) a;
    -- `least` ignores null.
    v_deadline := case when deadline is not null then least(v_begin + deadline, v_latest) end;
    v_grace := case when grace is not null then least(v_deadline + grace, v_latest) end;
    if signal is not null then
        v_follows := @schema@.message_body(
            2, @schema@.cbor_text(@schema@.check_name('signal', signal)),
            @schema@.cbor_json(@schema@.check_payload(format('the content of signal `%s`', signal), payload)),
            null, @schema@.cbor_trace(traceparent));
    end if;

    select s.first_shard, s.shard_count into v_first, v_count from @schema@.shards_for(v_workflow, v_queue) s;
    v_run := @schema@.new_run_id(v_now, v_first + @schema@.place_in(v_key, v_count));
    select s.verdicts[1], s.existing[1] into v_verdict, v_existing
    from @schema@.submit(
        -- A run is started once, so its id can be the message's id.
        p_messages => array[v_run], p_runs => array[v_run], p_shards => array[@schema@.shard_of(v_run)],
        p_bodies => array[@schema@.message_body(
            1, @schema@.cbor_text(v_workflow), @schema@.cbor_json(v_input), @schema@.cbor_text(v_key),
            @schema@.cbor_time(v_start_at), null, null,
            case when max_attempts > 1 then @schema@.cbor_fields(array[@schema@.cbor_number(max_attempts)]) end,
            @schema@.cbor_time(v_deadline), @schema@.cbor_time(v_grace), @schema@.cbor_trace(traceparent),
            @schema@.cbor_map(v_names, v_values))],
        p_workflows => array[v_workflow], p_keys => array[v_key], p_parents => array[null::uuid],
        p_digests => array[null::bytea],
        p_follow_ids => array[case when v_follows is not null then gen_random_uuid() end],
        p_follow_bodies => array[v_follows],
        p_attribute_runs => array(select v_run from unnest(v_names)), p_attribute_names => v_names,
        p_attribute_values => v_values,
        p_notify => case when notify is not false then '@schema@_hints' end, p_hints => null, p_lock_timeout => null,
        p_checks_encoding => false) s;
    if v_verdict = 5 then
        perform @schema@.refuse_over(v_existing);
    end if;
    return coalesce(v_existing, v_run);
end
$$;

-- The run of a workflow that was started with this key, if there is one.
create function @schema@.run_of(workflow text, key text) returns uuid
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_workflow constant text := @schema@.check_name('workflow', workflow);
    v_key      constant text := @schema@.check_name('key', key);
begin
    return (select k.run_id from @schema@.run_keys k where k.workflow = v_workflow and k.key = v_key);
end
$$;

-- -------------------------------------------------------------------------------------------------------
-- Messages to a run
-- -------------------------------------------------------------------------------------------------------

-- Refuses a call because a run is over.
create function @schema@.refuse_over(p_run uuid) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    perform @schema@.refuse('PW104', format('run %s is over', p_run), format(
        'how it ended: select @schema@.result(%L)', p_run));
end
$$;

-- Refuses a call because a run does not exist.
create function @schema@.refuse_unknown(p_run uuid) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    perform @schema@.refuse('PW103', format('there is no run %s in schema `@schema@`', p_run),
                            'check the id: `start` returned it, and the view `runs` has all; old runs are not kept for ever');
end
$$;

-- Sends a message to a run, or to the run of its chain that goes on.
create function @schema@.send(p_run uuid, p_message uuid, p_body bytea, p_notify boolean) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_verdict smallint;
begin
    select s.verdicts[1] into v_verdict
    from @schema@.submit(
        p_messages => array[p_message], p_runs => array[p_run], p_shards => array[@schema@.shard_of(p_run)],
        p_bodies => array[p_body], p_workflows => array[null::text], p_keys => array[null::text],
        p_parents => array[null::uuid], p_digests => array[null::bytea],
        p_follow_ids => array[null::uuid], p_follow_bodies => array[null::bytea],
        p_attribute_runs => null, p_attribute_names => null, p_attribute_values => null,
        p_notify => case when p_notify is not false then '@schema@_hints' end, p_hints => null, p_lock_timeout => null,
        p_checks_encoding => false) s;
    if v_verdict = 3 then
        perform @schema@.refuse_over(p_run);
    elsif v_verdict <> 0 then
        perform @schema@.refuse_unknown(p_run);
    end if;
end
$$;

-- Sends a signal to a run. With the same key, it is received once.
create function @schema@.signal(
    run uuid, name text, payload jsonb default 'null', key text default null, notify boolean default true,
    traceparent text default null
) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run  constant uuid := @schema@.check_run(run);
    v_name constant text := @schema@.check_name('signal', name);
    v_key  constant text := case when key is not null then @schema@.check_name('key', key) end;
    v_json constant bytea := @schema@.check_payload(format('the content of signal `%s`', v_name), payload);
begin
    perform @schema@.send(
        v_run, @schema@.message_id('', v_run, v_name, v_key), @schema@.message_body(
            2, @schema@.cbor_text(v_name), @schema@.cbor_json(v_json), @schema@.cbor_text(v_key),
            @schema@.cbor_trace(traceparent)), notify);
end
$$;

-- Asks a run to cancel itself.
create function @schema@.cancel(run uuid, reason text default null, notify boolean default true) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform @schema@.send(
        @schema@.check_run(run), gen_random_uuid(),
        @schema@.message_body(3, @schema@.cbor_text(@schema@.check_reason('cancellation', reason))), notify);
end
$$;

-- Ends a run without asking its code.
create function @schema@.terminate(run uuid, reason text, notify boolean default true) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform @schema@.send(
        @schema@.check_run(run), gen_random_uuid(),
        @schema@.message_body(4, @schema@.cbor_text(
            coalesce(@schema@.check_reason('termination', reason), ''))), notify);
end
$$;

-- Pauses a run.
create function @schema@.pause(run uuid, reason text default null, notify boolean default true) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform @schema@.send(
        @schema@.check_run(run), gen_random_uuid(),
        @schema@.message_body(23, @schema@.cbor_text(@schema@.check_reason('pause', reason))), notify);
end
$$;

-- Ends the pause of a run, and has it tried again if it was set aside or has stalled.
create function @schema@.resume(run uuid, notify boolean default true) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform @schema@.send(@schema@.check_run(run), gen_random_uuid(), @schema@.message_body(7, null::bytea), notify);
end
$$;

-- Has the attempts of a run that wait for their time begin at once.
create function @schema@.retry_now(run uuid, notify boolean default true) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform @schema@.send(@schema@.check_run(run), gen_random_uuid(), @schema@.message_body(11, null::bytea), notify);
end
$$;

-- Sends an update to a run, and returns the id by which `reply` finds the answer. With the same key, it is the same update.
create function @schema@.update(
    run uuid, name text, request jsonb default 'null', key text default null, notify boolean default true,
    traceparent text default null
) returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run     constant uuid := @schema@.check_run(run);
    v_name    constant text := @schema@.check_name('update', name);
    v_key     constant text := case when key is not null then @schema@.check_name('key', key) end;
    v_json    constant bytea := @schema@.check_payload(format('the request of update `%s`', v_name), request);
    v_message constant uuid := @schema@.message_id('update', v_run, v_name, v_key);
begin
    perform @schema@.send(v_run, v_message, @schema@.message_body(
        17, @schema@.cbor_text(v_name), @schema@.cbor_json(v_json), @schema@.cbor_text(v_key),
        @schema@.cbor_trace(traceparent)), notify);
    return v_message;
end
$$;

-- -------------------------------------------------------------------------------------------------------
-- What became of them
-- -------------------------------------------------------------------------------------------------------

-- Refuses an id that is of no run.
create function @schema@.check_known(p_run uuid) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
begin
    if not exists (select from @schema@.open_runs o where o.run_id = p_run)
       and not exists (select from @schema@.closed_runs c where c.run_id = p_run) then
        perform @schema@.refuse_unknown(p_run);
    end if;
end
$$;

-- How a run ended, or the run of its chain that went on: its status in words, when it ended, and its result, failure or reason.
-- Null while it is open.
create function @schema@.result(run uuid) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run    constant uuid := @schema@.check_run(run);
    v_closed record;
begin
    select c.status, c.closed_at, c.outcome into v_closed from @schema@.closed(array[v_run]) c;
    if not found then
        perform @schema@.check_known(v_run);
        return null;
    end if;
    return jsonb_build_object('status', @schema@.closed_word(v_closed.status), 'closed_at', v_closed.closed_at)
        || @schema@.closed_data(v_closed.status, v_closed.outcome);
end
$$;

-- What a run does, or the run of its chain that goes on, in the words of the view `runs`.
create function @schema@.status(run uuid) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run    constant uuid := @schema@.check_run(run);
    v_status text;
begin
    select r.status into v_status from @schema@.runs r where r.run_id = @schema@.current_run(v_run);
    if v_status is null then
        perform @schema@.refuse_unknown(v_run);
    end if;
    return v_status;
end
$$;

-- The reply to an update of a run: its status (answered, refused, dropped, too-many, ending) and the answer or the refusal. Null
-- while there is none. The end of a run drops its other updates.
create function @schema@.reply(run uuid, update uuid) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_run  constant uuid := @schema@.check_run(run);
    v_body bytea;
    v_kind int;
begin
    if update is null then
        perform @schema@.refuse('PW101', 'the update is null', 'pass the id that `update` returned');
    end if;
    select r.body into v_body from @schema@.replies_to(array[v_run], array[reply.update]) r limit 1;
    if v_body is null then
        perform @schema@.check_known(v_run);
        return (select '{"status": "dropped"}'::jsonb from @schema@.closed(array[v_run]));
    end if;
    -- `[version, kind, …]`
    v_kind := get_byte(v_body, 2);
    return jsonb_build_object('status', coalesce(
            (array['answered', 'refused', 'dropped', 'too-many', 'ending'])[v_kind + 1], 'unknown'))
        || @schema@.event_data(
            case v_kind when 0 then 'reply-answered' when 1 then 'reply-refused' else 'reply' end, v_body) - 'kind';
end
$$;

-- -------------------------------------------------------------------------------------------------------
-- Tasks: see 0005
-- -------------------------------------------------------------------------------------------------------

-- A task, as callers name it: its executor, run, number, claim and durable call, and `t` if it is transactional.
create function @schema@.task_name(p_executor bigint, p_run uuid, p_seq int, p_claim int, p_call text, p_transactional boolean)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select concat_ws('/', p_executor, p_run, p_seq, p_claim, p_call, case when p_transactional then 't' end)
$$;

create function @schema@.task_parts(
    p_task text,
    out executor bigint, out run uuid, out seq int, out claim int, out call bigint, out transactional boolean
) language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_task  constant text collate pg_catalog."default" := p_task;
    v_parts text[];
begin
    v_parts := regexp_match(v_task, '^([0-9]{1,19})/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/([0-9]{1,9})/([0-9]{1,9})/([0-9]{1,10})(/t)?$');
    if v_parts is null or v_parts[1]::numeric > 9223372036854775807 then
        perform @schema@.refuse('PW101', format('%s is not a task', coalesce(to_json(left(v_task, 120))::text, 'null')),
                                'pass what the column `task` of `claim_tasks` has');
    end if;
    executor := v_parts[1];
    run := v_parts[2];
    seq := v_parts[3];
    claim := v_parts[4];
    call := v_parts[5];
    transactional := v_parts[6] is not null;
end
$$;

-- Notifies workers of free tasks in these queues when this transaction commits: see `QueueHash` in `core/src/store/tasks.rs`.
create function @schema@.notify_tasks(p_queues text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if cardinality(p_queues) > 0 and pg_notification_queue_usage() < 0.9 then
        perform pg_notify('@schema@_hints', 'tasks ' || string_agg(
            ('x00000000' || substr(encode(sha256(convert_to(q.queue, 'UTF8')), 'hex'), 1, 8))::bit(64)::bigint::text, ','))
        from unnest(p_queues) as q (queue);
    end if;
end
$$;

-- A transaction of a caller may stay open, so none of these functions locks what a heartbeat or an append waits for: neither the
-- heads of queues, which only the library's own calls move, nor an executor's row beyond share mode, except to renew it. Heartbeats
-- of workers fence executors, and free their tasks.

-- Makes an executor: the right of a process to execute tasks, until its lease ends. What it serves is for people to see.
create function @schema@.open_executor(
    worker text, queues text[] default '{}', activities text[] default '{}', lease interval default '1 minute'
) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_worker   constant text := @schema@.check_name('worker', worker);
    v_lease    constant interval := @schema@.check_lease(lease);
    v_executor bigint;
begin
    insert into @schema@.executors (worker, expires_at, queues, activities)
    values (v_worker, clock_timestamp() + v_lease,
            array(select @schema@.check_name('activity queue', q) from unnest(open_executor.queues) q),
            array(select @schema@.check_name('activity', a) from unnest(open_executor.activities) a))
    returning executor into v_executor;
    return v_executor;
end
$$;

-- Refuses a call because an executor is over.
create function @schema@.refuse_fenced(p_executor bigint) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    perform @schema@.refuse('PW107', format('executor %s is over', coalesce(p_executor::text, 'null')),
        'its lease ended before it was renewed, so others execute its tasks: open another with `open_executor`');
end
$$;

-- The activities with free tasks in a queue, a thousand at most.
create function @schema@.waiting_activities(p_queue text) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_sort = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_activities text[] := '{}';
    v_activity   text := '';
begin
    for i in 1 .. 1000 loop
        select t.activity into v_activity from @schema@.tasks t
        where t.queue = p_queue and t.executor is null and t.activity > v_activity
        order by t.activity limit 1;
        exit when not found;
        v_activities := v_activities || v_activity;
    end loop;
    return v_activities;
end
$$;

-- Claims up to `n` tasks of an activity queue, and up to 8 MiB of them. A task is the executor's until it ends or is released, or
-- until the lease ends.
create function @schema@.claim_tasks(
    executor   bigint,
    queue      text,
    n          int default 1,
    activities text[] default null         -- null: any
) returns table (
    task text, activity text, input jsonb, attempt int, run uuid, workflow text, key text, idempotency_key text,
    scheduled_at timestamptz, start_to_close interval, traceparent text
) language plpgsql volatile
set search_path = pg_catalog, pg_temp
-- As the other `claim_tasks`.
set enable_seqscan = off
set enable_indexonlyscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_queue      constant text := @schema@.check_name('activity queue', queue);
    v_now        constant timestamptz := clock_timestamp();
    v_renewal    bigint;
    v_activities text[];
    v_activity   text;
    v_task       record;
    v_data       jsonb;
    v_left       int := n;
    v_bytes      bigint := 8388608;
begin
    if n is null or n not between 1 and 1000 then
        perform @schema@.refuse('PW101', format('%s tasks are asked for', coalesce(n::text, 'null')), 'ask for 1 to 1000');
    end if;
    if activities is null then
        v_activities := @schema@.waiting_activities(v_queue);
    else
        v_activities := array(select distinct @schema@.check_name('activity', a) from unnest(activities) a);
    end if;
    -- Nobody fences it before this claim is committed.
    select e.renewals into v_renewal from @schema@.executors e
    where e.executor = claim_tasks.executor and not e.fenced and e.expires_at > clock_timestamp() for share;
    if not found then
        perform @schema@.refuse_fenced(executor);
    end if;

    -- The activity whose first task was ready first is the first.
    for v_activity in
        select a.activity
        from unnest(v_activities) as a (activity)
        cross join lateral (
            select t.ready_at from @schema@.tasks t
            where t.queue = v_queue and t.activity = a.activity and t.executor is null
            order by t.ready_at limit 1
        ) first
        order by first.ready_at
    loop
        for v_task in
            select t.run_id, t.seq, t.claims + 1 as claim, t.body from @schema@.tasks t
            where t.queue = v_queue and t.activity = v_activity and t.executor is null and t.ready_at <= v_now
            order by t.ready_at limit v_left for update skip locked
        loop
            if not exists (select from @schema@.open_runs o where o.run_id = v_task.run_id) then
                delete from @schema@.tasks t where t.run_id = v_task.run_id and t.seq = v_task.seq;
                continue;
            end if;
            v_data := @schema@.event_data('task', v_task.body);
            if v_data ? 'error' then
                -- A worker of a newer build may read it.
                update @schema@.tasks t
                set ready_at = v_now + interval '30 seconds', problem = format('task: %s', v_data ->> 'error')
                where t.run_id = v_task.run_id and t.seq = v_task.seq;
                continue;
            end if;
            update @schema@.tasks t
            set executor = claim_tasks.executor, renewal = v_renewal, claims = v_task.claim, problem = null
            where t.run_id = v_task.run_id and t.seq = v_task.seq;
            task := @schema@.task_name(executor, v_task.run_id, v_task.seq, v_task.claim, v_data ->> 'id',
                                       (v_data #>> '{options,transactional}')::boolean);
            activity := v_activity;
            input := v_data -> 'input';
            attempt := v_data ->> 'attempt';
            run := v_task.run_id;
            workflow := v_data ->> 'workflow';
            key := v_data ->> 'key';
            idempotency_key := concat(run, ':', v_data ->> 'id');
            scheduled_at := v_data ->> 'scheduled_at';
            start_to_close := ((v_data #>> '{options,start_to_close}') || ' seconds')::interval;
            -- 25 bytes: the trace, the span, the flags.
            traceparent := '00-' || left(v_data ->> 'trace', 32) || '-' || substr(v_data ->> 'trace', 33, 16) || '-'
                || right(v_data ->> 'trace', 2);
            return next;
            v_left := v_left - 1;
            v_bytes := v_bytes - octet_length(v_task.body);
            exit when v_left = 0 or v_bytes <= 0;
        end loop;
        exit when v_left = 0 or v_bytes <= 0;
    end loop;
end
$$;

-- Renews the lease of an executor, and returns those of the named tasks that it still has. The run of one that it has not is not
-- interested any more.
create function @schema@.renew_executor(executor bigint, tasks text[] default '{}', lease interval default '1 minute')
returns setof text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_lease constant interval := @schema@.check_lease(lease);
begin
    update @schema@.executors e set expires_at = clock_timestamp() + v_lease
    where e.executor = renew_executor.executor and not e.fenced and e.expires_at > clock_timestamp();
    if not found then
        perform @schema@.refuse_fenced(executor);
    end if;
    return query
    select n.task
    from unnest(renew_executor.tasks) as n (task)
    cross join lateral @schema@.task_parts(n.task) p
    join @schema@.tasks t on t.run_id = any (array[p.run]) and t.seq = p.seq
    where p.executor = renew_executor.executor and t.executor is not distinct from p.executor and t.claims = p.claim;
end
$$;

-- Ends the lease of an executor. Others get its tasks at the next heartbeat of a worker.
create function @schema@.close_executor(executor bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    update @schema@.executors e set expires_at = clock_timestamp()
    where e.executor = close_executor.executor and not e.fenced and e.expires_at > clock_timestamp();
    if not found then
        perform @schema@.refuse_fenced(executor);
    end if;
end
$$;

-- Refuses a call because an executor does not have a task.
create function @schema@.refuse_lost(p_executor bigint, p_run uuid, p_call bigint) returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    perform @schema@.refuse('PW106', format(
        'executor %s does not have the task of call %s of run %s any more', p_executor, p_call, p_run),
        'its lease ended, or the run gave the activity up or is over: roll back what was done for it');
end
$$;

-- Ends a task with an outcome, in the caller's own transaction. It locks no executor: only the row of the task decides.
create function @schema@.end_task(p_task text, p_outcome bytea, p_completed boolean, p_notify boolean) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_task record;
begin
    select t.* into v_task from @schema@.task_parts(p_task) t;
    if not @schema@.settle_task(
        v_task.executor, v_task.run, v_task.seq, v_task.claim, @schema@.message_body(
            5, @schema@.cbor_number(v_task.call), @schema@.cbor_number(v_task.seq), p_outcome,
            -- Committed with what this transaction writes.
            case when v_task.transactional and p_completed then decode('f5', 'hex') end))
    then
        perform @schema@.refuse_lost(v_task.executor, v_task.run, v_task.call);
    end if;
    if p_notify is not false then
        perform @schema@.notify_mail('@schema@_hints', array[@schema@.shard_of(v_task.run)]);
    end if;
end
$$;

-- Completes a task with a result, in the caller's own transaction.
create function @schema@.complete_task(task text, result jsonb default 'null', notify boolean default true) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform @schema@.end_task(task, @schema@.cbor_fields(array[
        @schema@.cbor_number(0), @schema@.cbor_json(@schema@.check_payload('the result of the task', result))]), true, notify);
end
$$;

-- Ends the attempt of a task with a failure. If it is retryable, the activity's retry policy decides whether another attempt
-- follows.
create function @schema@.fail_task(
    task text, type text, message text, retryable boolean default true, details jsonb default null,
    notify boolean default true
) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform @schema@.end_task(task, @schema@.cbor_fields(array[
        @schema@.cbor_number(1),
        @schema@.cbor_fields(array[
            @schema@.cbor_text(@schema@.cut_text(type)), @schema@.cbor_text(@schema@.cut_text(message)),
            case when retryable is false then decode('f4', 'hex') end,
            null,
            case when details is not null then
                @schema@.cbor_json(@schema@.check_payload('the details of the failure', details)) end])]), false, notify);
end
$$;

-- A text of a failure as it is recorded; longer ones are cut.
create function @schema@.cut_text(p_text text) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select case when length(p_text) > 10000 then left(p_text, 10000) || '… (cut)' else coalesce(p_text, '') end
$$;

-- Gives a task back, for others or after a pause. One that must not be repeated is lost.
create function @schema@.release_task(task text, pause interval default '0', notify boolean default true) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_task record;
    v_row  record;
begin
    if pause is null or pause < interval '0' or pause > interval '36500 days' then
        perform @schema@.refuse('PW101', format('the pause of the task is %s', coalesce(pause::text, 'null')),
                                'give zero or more, and at most 100 years');
    end if;
    select p.* into v_task from @schema@.task_parts(release_task.task) p;
    -- It is ready anew, so that no claim has passed over its time already.
    update @schema@.tasks t set executor = null, ready_at = clock_timestamp() + pause
    where t.run_id = v_task.run and t.seq = v_task.seq and t.executor is not distinct from v_task.executor
      and t.claims = v_task.claim
    returning t.queue, t.losses_max into v_row;
    if not found then
        perform @schema@.refuse_lost(v_task.executor, v_task.run, v_task.call);
    elsif v_row.losses_max = 0 then
        perform @schema@.fail_tasks(array[v_task.run], array[v_task.seq]);
        if notify is not false then
            perform @schema@.notify_mail('@schema@_hints', array[@schema@.shard_of(v_task.run)]);
        end if;
    elsif notify is not false then
        perform @schema@.notify_tasks(array[v_row.queue]);
    end if;
end
$$;
