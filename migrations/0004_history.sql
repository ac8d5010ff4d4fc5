-- 0004: the log for people: each event with its fields, decoded to `jsonb`.

-- The events of a frame, in order, from the stored form that `core/src/log/wire/frame.rs` describes. If the frame cannot
-- be read to its end, the last row has the problem instead of an event, at the frame's last position. A time is null if it
-- is more than 2,283 years from the frame's, or the frame's is not in the years 1 to 9999.
--
-- As in `event_data`, no step may raise an error.
create function @schema@.frame_events(p_seq int, p_count int, p_position bigint, p_at timestamptz, p_body bytea)
returns table (seq int, "position" bigint, name text, at timestamptz, body bytea, problem jsonb)
language plpgsql immutable strict parallel safe cost 1000 rows 2
set search_path = pg_catalog, pg_temp
as $$
declare
    v_size    constant int := octet_length(p_body);
    -- Read once, as in `event_data`. A head has at most 9 bytes: with these after the end, each can be read.
    v_body    constant bytea := case when v_size <= 33554432 then p_body || decode('000000000000000000', 'hex') end;
    v_items   constant bigint := 3 * p_count::bigint;
    v_problem text := case
        when v_size > 33554432 then 'more than 32 MiB'
        when p_count < 1 then 'it has no event'
        when p_seq not between 1 and 2147483647 - p_count then 'its last event has no number'
        when p_position < p_count then 'its first event has no position'
    end;
    v_item    int := 0;     -- 0: the array; then three for each event: a code, a difference of time, and a body
    v_from    int := 0;     -- where the item begins
    v_at      int := 0;
    v_byte    int;
    v_bytes   int;
    v_value   bigint;       -- the number in the item's head
    v_since   bigint := 0;  -- since the frame's time, in microseconds
begin
    seq := p_seq;
    at := p_at;
    while v_problem is null loop
        v_from := v_at;
        v_byte := get_byte(v_body, v_at);
        v_value := v_byte & 31;
        v_at := v_at + 1;
        if v_value > 23 then
            v_bytes := case when v_value < 28 then 1 << (v_value - 24)::int end;
            v_value := ('x' || lpad(encode(substring(v_body, v_at + 1, v_bytes), 'hex'), 16, '0'))::bit(64)::bigint;
            v_at := v_at + coalesce(v_bytes, 0);
        end if;

        if v_at > v_size then
            v_problem := 'cut short';
        elsif v_value is null then
            v_problem := 'a reserved head';
        elsif v_item = 0 then
            if v_byte >> 5 <> 4 or v_value <> v_items then
                v_problem := 'not an array of three items for each event';
            end if;
        elsif v_item % 3 = 1 then
            if v_byte >> 5 <> 0 or v_value not between 0 and 255 then
                v_problem := 'not a code';
            end if;
            name := case v_value
                when 1 then 'run.started'
                when 2 then 'run.adopted'
                when 3 then 'activity.scheduled'
                when 4 then 'activity.attempt-started'
                when 5 then 'activity.attempt-failed'
                when 33 then 'retry.requested'
                when 6 then 'activity.attempt-lost'
                when 29 then 'activity.enqueued'
                when 7 then 'activity.completed'
                when 8 then 'activity.failed'
                when 9 then 'activity.cancelled'
                when 10 then 'step.completed'
                when 11 then 'step.failed'
                when 12 then 'timer.started'
                when 13 then 'timer.fired'
                when 14 then 'timer.cancelled'
                when 15 then 'signal.received'
                when 31 then 'signal.sent'
                when 34 then 'child.started'
                when 48 then 'child.carried'
                when 35 then 'child.bound'
                when 36 then 'child.completed'
                when 37 then 'child.failed'
                when 38 then 'child.cancel-requested'
                when 39 then 'child.cancelled'
                when 40 then 'update.received'
                when 41 then 'update.replied'
                when 42 then 'update.dropped'
                when 16 then 'value.recorded'
                when 60 then 'queue.resolved'
                when 30 then 'view.published'
                when 61 then 'attribute.set'
                when 17 then 'cancel.requested'
                when 53 then 'deadline.passed'
                when 55 then 'run.paused'
                when 56 then 'run.unpaused'
                when 18 then 'run.stalled'
                when 19 then 'run.resumed'
                when 20 then 'run.ending'
                when 21 then 'compensation.registered'
                when 22 then 'compensation.scheduled'
                when 23 then 'compensation.completed'
                when 24 then 'compensation.failed'
                when 52 then 'compensation.discarded'
                when 50 then 'compensations.begun'
                when 51 then 'compensations.ended'
                when 25 then 'run.completed'
                when 26 then 'run.failed'
                when 27 then 'run.cancelled'
                when 54 then 'run.timed-out'
                when 28 then 'run.terminated'
                when 45 then 'run.continued'
                when 46 then 'run.retried'
                when 47 then 'messages.known'
                else 'kind-' || v_value
            end;
        elsif v_item % 3 = 2 then
            if v_byte >> 5 > 1 or v_value < 0 then
                v_problem := 'not a difference of time';
            elsif v_byte > 0 then
                v_since := case when greatest(v_value, abs(v_since)) < 1::bigint << 56
                    then v_since + case v_byte >> 5 when 0 then v_value else -1 - v_value end end;
                at := case when p_at between to_timestamp(-62135596800) and to_timestamp(253402300799)
                    then p_at + v_since * interval '1 microsecond' end;
            end if;
        elsif v_byte >> 5 <> 2 then
            v_problem := 'not a body';
        elsif v_value not between 0 and v_size - v_at then
            v_problem := 'cut short';
        elsif v_item = v_items and v_value < v_size - v_at then
            v_problem := format('%s bytes too many', v_size - v_at - v_value);
        else
            "position" := p_position - p_count + v_item / 3;
            body := substring(v_body, v_at + 1, v_value::int);
            return next;
            exit when v_item = v_items;
            v_at := v_at + v_value::int;
            seq := seq + 1;
        end if;
        v_item := v_item + 1;
    end loop;

    if v_problem is not null then
        "position" := p_position;
        name := null;
        body := null;
        problem := jsonb_build_object('bytes', v_size, 'error', format(
            'the frame of %s events at event %s: %s, at byte %s', p_count, p_seq, v_problem, v_from));
        return next;
    end if;
end
$$;

-- The fields of an event by their names, from the stored form that `core/src/log/wire.rs` describes.
--
-- A field without a value is left out; a default that is not empty is written out. Message ids are UUIDs as text, times
-- are ISO 8601 in UTC (or a number of microseconds since 1970, outside of the years 1 to 9999), durations are seconds,
-- and payloads are their values. Bytes become base64. What `jsonb` cannot hold becomes an object:
--
--   {"$float": "NaN"}                   "Infinity" and "-Infinity" likewise
--   {"$text": base64}                   a text with U+0000, or that is not UTF-8
--   {"$map": [[key, value], …]}         a map with a key that is no text, or that comes twice
--   {"$simple": number}                 undefined (23), or another simple value
--   {"$tag": number, "value": …}        a tagged value; a bignum (tags 2 and 3) of at most 23 bytes is a number
--   {"$json": text}                     a payload of JSON that is not valid, or that `jsonb` refuses
--   {"$encoding": number, "bytes": n}   a payload of n bytes in another encoding
--
-- A body that cannot be read as this event becomes {"error": "what, at byte n", "bytes": its length}, and so does one
-- beyond the limits of 32 MiB, 4,194,304 values and 256 levels. If it is CBOR nevertheless, such as that of an event of a
-- newer version, `fields` has its content.
--
-- It is one loop with a stack of its own, because PL/pgSQL is slow at calls. No step of it may raise an error: in
-- parallel queries, PostgreSQL before 17 forbids the exception block that would catch it. So everything is checked
-- before it is converted. `chr(92)` is a backslash.
create function @schema@.event_data(p_name text, p_body bytea) returns jsonb
language plpgsql immutable strict parallel safe cost 5000
set search_path = pg_catalog, pg_temp
set extra_float_digits = 1
as $$
declare
    -- What an operator returns is neither compressed nor stored elsewhere. A parameter may be, and every access to it
    -- would read all of it again.
    v_body   constant bytea := p_body || ''::bytea;
    v_size   constant int := octet_length(v_body);
    -- The event's version, and its fields: the name and the type of each; `?` is one that may be absent.
    v_layout constant text := case p_name
        when 'run.started' then '1 workflow text input payload lease number key text? start_at time? parent uuid? parent_call number? chain link? run_retry runretry? deadline time? grace_until time? trace hex? carried number? attributes map?'
        when 'run.adopted' then '1 lease number worker text'
        when 'activity.scheduled' then '1 id number activity text input payload options options?'
        when 'activity.attempt-started' then '1 id number attempt number'
        when 'activity.attempt-failed' then '1 id number attempt number failure failure retry_at time'
        when 'retry.requested' then '1 message uuid'
        when 'activity.attempt-lost' then '1 id number attempt number'
        when 'activity.enqueued' then '1 id number attempt number queue text executor number?'
        when 'activity.completed' then '1 id number result payload'
        when 'activity.failed' then '1 id number failure failure'
        when 'activity.cancelled' then '1 id number'
        when 'step.completed' then '1 id number step text result payload'
        when 'step.failed' then '1 id number step text failure failure'
        when 'timer.started' then '1 id number fire_at time'
        when 'timer.fired' then '1 id number'
        when 'timer.cancelled' then '1 id number'
        when 'signal.received' then '1 message uuid signal text payload payload key text? sender uuid? trace hex?'
        when 'signal.sent' then '1 id number to recipient signal text payload payload'
        when 'child.started' then '1 id number child uuid workflow text input payload key text? at_end text? deadline time? grace_until time?'
        when 'child.carried' then '1 id number child uuid workflow text on_cancel text? at_end text? key text? input payload? deadline time? grace_until time? given_up text?'
        when 'child.bound' then '1 id number'
        when 'child.completed' then '1 id number result payload'
        when 'child.failed' then '1 id number failure failure'
        when 'child.cancel-requested' then '1 id number'
        when 'child.cancelled' then '1 id number policy text?'
        when 'update.received' then '1 message uuid update text request payload key text? trace hex?'
        when 'update.replied' then '1 id number message uuid update text answer payload'
        when 'update.dropped' then '1 id number message uuid update text'
        when 'value.recorded' then '1 name text value payload'
        when 'queue.resolved' then '1 queue text first_shard number shard_count number'
        when 'view.published' then '1 view text value payload'
        when 'attribute.set' then '1 attribute text value text?'
        when 'cancel.requested' then '1 message uuid reason text?'
        when 'deadline.passed' then '1 deadline time'
        when 'run.paused' then '1 message uuid reason text?'
        when 'run.unpaused' then '1 message uuid'
        when 'run.stalled' then '1 reason text'
        when 'run.resumed' then '1 released number'
        when 'run.ending' then '1 outcome outcome left hex?'
        when 'compensation.registered' then '1 id number activity text input payload options options?'
        when 'compensation.scheduled' then '1 id number'
        when 'compensation.completed' then '1 id number'
        when 'compensation.failed' then '1 id number failure failure'
        when 'compensation.discarded' then '1 id number'
        when 'compensations.begun' then '1 id number'
        when 'compensations.ended' then '1 id number uncompensated uncompensated[]?'
        when 'run.completed' then '1 result payload'
        when 'run.failed' then '1 failure failure uncompensated uncompensated[]?'
        when 'run.cancelled' then '1 reason text? uncompensated uncompensated[]?'
        when 'run.timed-out' then '1 deadline time grace_until time? uncompensated uncompensated[]? skipped text[]?'
        when 'run.terminated' then '1 message uuid reason text skipped text[]?'
        when 'run.continued' then '1 successor uuid'
        when 'run.retried' then '1 successor uuid failure failure retry_at time uncompensated uncompensated[]?'
        when 'messages.known' then '1 messages hex'
        -- What is no event, but has this form: see `core/src/log/wire/task.rs` and `reply.rs`.
        when 'task' then '1 id number attempt number activity text input payload scheduled_at time workflow text options options? key text? trace hex?'
        when 'reply-answered' then '1 kind number answer payload'
        when 'reply-refused' then '1 kind number refusal text'
        when 'reply' then '1 kind number'
    end;

    -- The problem for which the body is read as plain CBOR. An event is an array of its version and its fields.
    v_error text := case
        when v_layout is null then 'an event that this schema does not know, at byte 0'
        when v_size < 2 then format('cut short, at byte %s', v_size)
        when get_byte(v_body, 0) not between 129 and 151 then 'not an array of fields, at byte 0'
        when get_byte(v_body, 1) <> split_part(v_layout, ' ', 1)::int
            then format('version %s, which this schema does not know, at byte 1', get_byte(v_body, 1))
    end;
    v_problem text;

    -- The JSON so far, in pieces.
    v_out   text[];
    v_piece text;

    -- The level of the next value, and the levels around it. Its shape is a letter: body, fields, list (of failed
    -- compensations), array, map, pairs (of a map that is no object) or tag.
    v_shape   "char";
    v_count   int;       -- how many items it has; negative: up to a break
    v_index   int;       -- how many of them have begun
    v_start   int;       -- its first piece
    v_fields  text;      -- the layout of the fields
    v_depth   int;
    v_shapes  "char"[];
    v_counts  int[];
    v_indexes int[];
    v_starts  int[];
    v_layouts text[];
    v_opened  "char";    -- the shape of the level that this value opens
    v_seen    text[];    -- the keys of all maps, in buckets by their hash
    v_moved   text[];    -- pieces of a map that is no object

    -- The next value.
    v_at         int;
    v_limit      int;      -- the end of the payload, or of the body
    v_is_payload boolean;  -- whether the current field is a payload, which ends at v_limit
    v_is_known   boolean;  -- whether the next value continues the current field
    v_name       text;     -- the field's name
    v_type       text;     -- the field's type; null: any value
    v_byte       int;
    v_bits       int;
    v_value      bigint;   -- the number in the head; less 2⁶⁴ if it does not fit
    v_number     numeric;
    v_string     bytea;
    v_chunks     bytea[];
    v_text       text;
    v_json       text;
    v_former     text;     -- the part of the field before this one: an encoding, seconds
    v_exponent   int;
    v_greatest   int;
    v_fraction   int;
    v_bucket     int;
begin
    if v_size > 33554432 then
        return jsonb_build_object('error', 'more than 32 MiB, at byte 33554432', 'bytes', v_size);
    end if;

    -- The body is read once or, if it turns out not to be this event, a second time as plain CBOR.
    <<readings>>
    loop
        if v_error is null then
            v_shape := 'f';
            v_fields := v_layout;
            v_count := get_byte(v_body, 0) - 129;
            v_out := '{"{"}';
            v_at := 2;
        else
            v_shape := 'b';
            v_count := 1;
            v_out := '{}';
            v_at := 0;
        end if;
        v_index := 0;
        v_depth := 0;
        v_opened := null;
        v_seen := '{}';
        v_limit := v_size;
        v_type := null;
        v_is_payload := false;
        v_is_known := false;
        v_problem := null;

        <<items>>
        loop
            -- What is next: a field, the end of the level, or an item.
            if v_shape = 'f' then
                if v_is_known then
                    v_is_known := false;
                else
                    if v_is_payload then
                        if v_at < v_limit then
                            v_problem := format('%s bytes too many in the payload', v_limit - v_at);
                            exit items;
                        end if;
                        v_limit := v_size;
                        v_is_payload := false;
                    end if;
                    v_index := v_index + 1;
                    v_name := split_part(v_fields, ' ', 2 * v_index);
                    if v_name = '' then
                        if v_index <= v_count then
                            v_problem := format('%s more fields than this schema knows', v_count - v_index + 1);
                            exit items;
                        end if;
                        v_out := v_out || '}'::text;
                        exit items when v_depth = 0;
                        v_shape := v_shapes[v_depth];
                        v_count := v_counts[v_depth];
                        v_index := v_indexes[v_depth];
                        v_fields := v_layouts[v_depth];
                        v_type := 'uncompensated';  -- if these were an item of a list
                        v_depth := v_depth - 1;
                        continue items;
                    end if;
                    v_type := split_part(v_fields, ' ', 2 * v_index + 1);
                    if v_index > v_count or (case when v_at < v_limit then get_byte(v_body, v_at) = 246 end) then
                        -- It is absent.
                        if right(v_type, 1) <> '?' then
                            v_problem := format('field `%s` is missing', v_name);
                            exit items;
                        end if;
                        v_at := v_at + (v_index <= v_count)::int;
                        v_piece := case v_name
                            when 'retryable' then 'true'
                            when 'on_cancel' then '"request-and-wait"'
                            when 'at_end' then '"request-and-wait"'
                            when 'policy' then '"request-and-wait"'
                            when 'initial' then '1'
                            when 'delay_max' then '100'
                            when 'retry' then '{"max_attempts":1,"initial":1,"delay_max":100}'
                            when 'options' then '{"retry":{"max_attempts":1,"initial":1,"delay_max":100}}'
                        end;
                        if v_piece is not null then
                            v_out := v_out || (
                                case right(v_out[cardinality(v_out)], 1) when '{' then '"' else ',"' end
                                || v_name || '":' || v_piece);
                        end if;
                        continue items;
                    end if;
                    v_type := rtrim(v_type, '?');
                end if;
            elsif v_index = v_count or (case
                when v_count < 0 and v_at < v_limit and (v_index % 2 = 0 or v_shape = 'a')
                then get_byte(v_body, v_at) = 255 end)
            then
                exit items when v_shape = 'b';
                v_at := v_at + (v_count < 0)::int;
                v_out := v_out || case v_shape when 'm' then '}' when 'p' then ']]}' when 't' then '}' else ']' end;
                v_shape := v_shapes[v_depth];
                v_count := v_counts[v_depth];
                v_index := v_indexes[v_depth];
                v_start := v_starts[v_depth];
                v_depth := v_depth - 1;
                continue items;
            else
                v_index := v_index + 1;
            end if;

            -- Its head.
            if v_at >= v_limit or cardinality(v_out) > 4194304 then
                v_problem := case when v_at >= v_limit then 'cut short' else 'more than 4,194,304 values' end;
                exit items;
            end if;
            v_byte := get_byte(v_body, v_at);
            v_value := v_byte & 31;
            v_at := v_at + 1;
            if v_value > 23 then
                v_bits := case when v_value < 28 then 8 << (v_value - 24)::int else 0 end;
                if v_bits = 8 and v_at < v_limit then
                    v_value := get_byte(v_body, v_at);
                elsif v_bits > 0 and v_bits / 8 <= v_limit - v_at then
                    v_value := ('x' || lpad(encode(substring(v_body, v_at + 1, v_bits / 8), 'hex'), 16, '0'))
                               ::bit(64)::bigint;
                elsif v_type is null and v_byte in (95, 127, 159, 191) then
                    v_value := -1;
                else
                    v_problem := case
                        when v_bits > 0 then 'cut short in a head'
                        when v_byte = 255 then 'a break instead of a value'
                        when v_value = 31 then 'an indefinite length'
                        else 'a reserved head'
                    end;
                    exit items;
                end if;
                v_at := v_at + v_bits / 8;
            end if;
            if v_type is not null and (case v_byte >> 5
                when 0 then v_type not in ('number', 'time', 'duration', 'seconds', 'nanoseconds', 'encoding', 'status')
                when 1 then v_type <> 'time'
                when 2 then v_type not in ('payload', 'uuid', 'encoded', 'hex')
                when 3 then v_type <> 'text'
                when 4 then v_type in ('number', 'text', 'uuid', 'hex', 'time', 'bool', 'seconds', 'nanoseconds', 'encoding',
                                       'encoded', 'status', 'map')
                when 5 then v_type <> 'map'
                else v_type <> 'bool' or v_byte not in (244, 245)
            end) then
                v_problem := format('not of type `%s`', v_type);
                exit items;
            end if;

            if v_byte >= 64 and v_byte < 128 then
                -- Bytes or text.
                if v_value between 0 and v_limit - v_at then
                    v_string := substring(v_body, v_at + 1, v_value::int);
                elsif v_byte in (95, 127) then
                    -- Chunks, each with a head of its own, up to a break.
                    v_chunks := '{}';
                    loop
                        v_bits := case when v_at < v_limit then get_byte(v_body, v_at) end;
                        v_at := v_at + 1;
                        exit when v_bits = 255;
                        v_value := v_bits & 31;
                        if v_bits >> 5 = v_byte >> 5 and v_value < 27 then
                            v_bits := case v_value when 24 then 1 when 25 then 2 when 26 then 4 else 0 end;
                            if v_bits > 0 then
                                v_value := ('x' || lpad(encode(substring(v_body, v_at + 1, v_bits), 'hex'), 16, '0'))
                                           ::bit(64)::bigint;
                            end if;
                            v_at := v_at + v_bits;
                        else
                            v_at := v_limit + 1;
                        end if;
                        if v_at > v_limit or v_value > v_limit - v_at then
                            v_problem := 'chunks without an end';
                            exit items;
                        end if;
                        v_chunks := v_chunks || substring(v_body, v_at + 1, v_value::int);
                        v_at := v_at + v_value::int;
                    end loop;
                    v_string := coalesce((select string_agg(c.chunk, ''::bytea order by c.number)
                                          from unnest(v_chunks) with ordinality c (chunk, number)), '');
                    v_value := 0;
                else
                    v_problem := format('cut short: %s bytes announced, %s left',
                        case when v_value < 0 then v_value + 18446744073709551616 else v_value end, v_limit - v_at);
                    exit items;
                end if;

                if v_byte >= 96 or v_type = 'encoded' and v_former = '1' then
                    -- `escape` leaves ASCII as it is, and writes other bytes with a backslash.
                    v_text := encode(v_string, 'escape');
                    if strpos(v_text, chr(92)) > 0 then
                        v_text := case
                            when encode(v_string, 'hex') ~ (
                                '^(?:0[1-9a-f]|[1-7].|(?:c[2-9a-f]|d.)[89ab].'
                                '|(?:e0[ab]|e[1-9a-cef][89ab]|ed[89]).[89ab].'
                                '|(?:f0[9ab]|f[1-3][89ab]|f48).[89ab].[89ab].)*$')
                            then convert_from(v_string, 'UTF8')
                        end;
                    end if;
                    v_piece := coalesce(
                        to_json(v_text)::text,
                        '{"$text":"' || translate(encode(v_string, 'base64'), chr(10), '') || '"}');
                    if v_byte < 96 then
                        -- It is JSON if it can be reduced to one value: strings become chr(2), numbers and words `0`,
                        -- then arrays and objects of these `0`, the innermost first. Backslashes are chr(1) meanwhile.
                        -- Strings with U+0000 or half a surrogate pair stay, because `jsonb` cannot hold them.
                        v_json := regexp_replace(
                            translate(v_text, chr(92), chr(1)),
                            replace(replace(replace(
                                '"(?:[^"!-?]|!(?:["!/bfnrt]|u(?:[1-9a-ce-fA-CE-F]xxx|0[1-9a-fA-F]xx|00[1-9a-fA-F]x'
                                '|000[1-9a-fA-F]|[dD][0-7]xx|[dD][89abAB]xx!u[dD][c-fC-F]xx)))*"',
                                'x', '[0-9a-fA-F]'), '-?', '-' || chr(31)), '!', chr(1)),
                            chr(2), 'g');
                        v_json := regexp_replace(
                            v_json, '-?(?:0|[1-9][0-9]*)(?:[.][0-9]+)?(?:[eE][-+]?[0-9]{1,3})?|true|false|null',
                            '0', 'g');
                        v_json := translate(v_json, ' ' || chr(9) || chr(10) || chr(13), '');
                        for v_level in 1 .. 256 loop
                            v_former := v_json;
                            v_json := regexp_replace(v_json, translate(
                                '[[](?:[0s](?:,[0s])*)?[]]|[{](?:s:[0s](?:,s:[0s])*)?[}]', 's', chr(2)), '0', 'g');
                            exit when v_json = v_former;
                        end loop;
                        v_piece := case
                            when v_json in ('0', chr(2)) and translate(v_text, chr(1) || chr(2), '') = v_text
                             and strpos(translate(v_text, '123456789', '000000000'), repeat('0', 1000)) = 0
                            then v_text
                            else '{"$json":' || v_piece || '}'
                        end;
                    end if;
                elsif v_type = 'payload' or v_type = 'encoded' and v_former = '0' then
                    -- The value in these bytes takes the place of the field.
                    v_limit := v_at + v_value::int;
                    v_is_payload := true;
                    v_type := null;
                    v_is_known := true;
                    continue items;
                elsif v_type = 'encoded' then
                    v_piece := '{"$encoding":' || v_former || ',"bytes":' || v_value || '}';
                elsif v_type = 'uuid' then
                    if v_value <> 16 then
                        v_problem := format('%s bytes instead of 16', v_value);
                        exit items;
                    end if;
                    v_piece := '"' || encode(v_string, 'hex')::uuid || '"';
                elsif v_type = 'hex' then
                    v_piece := '"' || encode(v_string, 'hex') || '"';
                else
                    v_piece := '"' || translate(encode(v_string, 'base64'), chr(10), '') || '"';
                end if;
                v_at := v_at + v_value::int;

            elsif v_byte < 64 then
                -- An integer.
                v_piece := case
                    when v_byte < 32 and v_value >= 0 then v_value::text
                    when v_value >= 0 then (-1 - v_value)::text
                    when v_byte < 32 then (v_value + 18446744073709551616)::text
                    else (-1 - (v_value + 18446744073709551616))::text
                end;
                if v_type <> 'number' then
                    if v_type = 'seconds' or v_type = 'encoding' then
                        v_former := v_piece;
                        v_type := case v_type when 'seconds' then 'nanoseconds' else 'encoded' end;
                        v_is_known := true;
                        continue items;
                    elsif v_type = 'nanoseconds' then
                        if v_value not between 1 and 999999999 then
                            v_problem := format('%s nanoseconds', v_piece);
                            exit items;
                        end if;
                        v_piece := v_former || '.' || rtrim(lpad(v_piece, 9, '0'), '0');
                    elsif v_type = 'status' then
                        if v_value not between 0 and 2 then
                            v_problem := format('outcome %s, which this schema does not know', v_piece);
                            exit items;
                        end if;
                        v_fields := v_fields || case v_value
                            when 0 then ' result payload' when 1 then ' failure failure' else '' end;
                        v_piece := case v_value
                            when 0 then '"completed"' when 1 then '"failed"' else '"cancelled"' end;
                    elsif v_type = 'time' and v_value between 0 and
                          (case when v_byte < 32 then 253402300799999999 else 62135596799999999 end)
                    then
                        v_value := v_piece;
                        v_piece := left(to_json(
                            date '1970-01-01' + (v_value / 86400000000)::int
                            + v_value % 86400000000 * interval '1 microsecond')::text, -1) || '+00:00"';
                    end if;
                end if;

            elsif v_byte < 192 then
                -- An array, which may have fields, or a map.
                if v_byte in (159, 191) then
                    v_value := -1;
                elsif v_value < 0 or v_value > (v_limit - v_at) / ((v_byte >> 5) - 3) then
                    v_problem := format('cut short: %s items announced, %s bytes left',
                        case when v_value < 0 then v_value + 18446744073709551616 else v_value end, v_limit - v_at);
                    exit items;
                elsif v_byte >= 160 then
                    v_value := 2 * v_value;
                end if;
                v_opened := case when v_byte >= 160 then 'm' when v_type is null or v_type = 'text[]' then 'a'
                    when v_type = 'uncompensated[]' then 'l' else 'f' end;
                if v_opened = 'f' then
                    if v_type = 'payload' or v_type = 'duration' then
                        if v_value <> 2 then
                            v_problem := format('%s items instead of 2', v_value);
                            exit items;
                        end if;
                        v_type := case v_type when 'payload' then 'encoding' else 'seconds' end;
                        v_opened := null;
                        v_is_known := true;
                        continue items;
                    end if;
                    v_layouts[v_depth + 1] := v_fields;
                    v_fields := case v_type
                        when 'failure' then
                            'failure type text message text retryable bool? cause failure? details payload?'
                        when 'options' then
                            'options retry retry? start_to_close duration? schedule_to_close duration? '
                            'at_most_once bool? queue text? transactional bool?'
                        when 'retry' then
                            'retry max_attempts number? initial duration? delay_max duration? non_retryable text[]?'
                        when 'uncompensated' then 'uncompensated activity text failure failure'
                        when 'outcome' then 'outcome status status'
                        when 'recipient' then 'recipient run uuid? workflow text? key text?'
                        when 'link' then 'link first uuid predecessor uuid number number'
                        when 'runretry' then 'runretry attempt number policy retry'
                    end;
                end if;
                v_piece := case when v_opened = 'm' or v_opened = 'f' then '{' else '[' end;

            elsif v_byte < 224 then
                -- A tag.
                v_bits := case when v_value in (2, 3) and v_at < v_limit then get_byte(v_body, v_at) - 64 end;
                if v_bits between 0 and least(23, v_limit - v_at - 1) then
                    -- With a bignum.
                    v_number := 0;
                    for v_digit in 1 .. v_bits loop
                        v_number := v_number * 256 + get_byte(v_body, v_at + v_digit);
                    end loop;
                    v_piece := case v_value when 2 then v_number else -1 - v_number end;
                    v_at := v_at + 1 + v_bits;
                else
                    v_piece := '{"$tag":' || case when v_value < 0 then v_value + 18446744073709551616 else v_value end
                        || ',"value":';
                    v_opened := 't';
                    v_value := 1;
                end if;

            elsif v_byte between 249 and 251 then
                -- A float. Its power of two is halved, so that neither half is too large or too small.
                v_fraction := case v_bits when 16 then 10 when 32 then 23 else 52 end;
                v_greatest := (1 << (v_bits - v_fraction - 1)) - 1;
                v_exponent := (v_value >> v_fraction) & v_greatest;
                v_text := case (v_value >> (v_bits - 1)) & 1 when 1 then '-' else '' end;
                v_value := v_value & ((1::bigint << v_fraction) - 1);
                if v_exponent = v_greatest then
                    v_piece := '{"$float":"' || case v_value when 0 then v_text || 'Infinity' else 'NaN' end || '"}';
                else
                    v_value := v_value + case when v_exponent > 0 then 1::bigint << v_fraction else 0 end;
                    v_exponent := greatest(v_exponent, 1) - v_greatest / 2 - v_fraction;
                    v_piece := v_text
                        || v_value * 2::float8 ^ (v_exponent / 2) * 2::float8 ^ (v_exponent - v_exponent / 2);
                end if;

            else
                -- A boolean, null, or another simple value.
                v_piece := case
                    when v_byte = 244 then 'false'
                    when v_byte = 245 then 'true'
                    when v_byte = 246 then 'null'
                    when v_byte < 248 or v_value > 31 then '{"$simple":' || v_value || '}'
                end;
                if v_piece is null then
                    v_problem := 'a reserved simple value';
                    exit items;
                end if;
            end if;

            if v_shape = 'm' and v_index % 2 = 1 then
                -- A key. Line feeds delimit it, because no JSON text contains one.
                v_text := chr(10) || v_start || v_piece || chr(10);
                v_bucket := hashtext(v_text) & 1023;
                if v_byte < 96 or v_byte > 127 or left(v_piece, 1) <> '"' or strpos(v_seen[v_bucket], v_text) > 0 then
                    -- No object can have this key: the map becomes one of pairs, with the entries so far.
                    v_json := '';
                    if v_index > 1 then
                        v_moved := '{}';
                        for v_from in v_start + 1 .. cardinality(v_out) loop
                            v_moved := v_moved || v_out[v_from];
                            v_out[v_from] := '';
                        end loop;
                        v_json := (
                            select string_agg('[' || to_json(e.key) || ',' || e.value, '],' order by e.number)
                            from json_each(('{' || array_to_string(v_moved, '') || '}')::json)
                                with ordinality e (key, value, number));
                    end if;
                    v_out[v_start] := left(v_out[v_start], -1) || '{"$map":[' || v_json;
                    v_shape := 'p';
                else
                    v_seen[v_bucket] := coalesce(v_seen[v_bucket], '') || v_text;
                end if;
            end if;
            v_out := v_out || (case v_shape
                when 'f' then case right(v_out[cardinality(v_out)], 1) when '{' then '"' else ',"' end || v_name || '":'
                when 'm' then case when v_index % 2 = 0 then ':' when v_index > 1 then ',' else '' end
                when 'p' then case when v_index % 2 = 0 then ',' when v_index > 1 then '],[' else '[' end
                else case when v_index > 1 then ',' else '' end
            end || v_piece);
            if v_opened is not null then
                if v_depth = 256 then
                    v_problem := 'more than 256 levels';
                    exit items;
                end if;
                v_depth := v_depth + 1;
                v_shapes[v_depth] := v_shape;
                v_counts[v_depth] := v_count;
                v_indexes[v_depth] := v_index;
                v_starts[v_depth] := v_start;
                v_shape := v_opened;
                v_count := v_value;
                v_index := 0;
                v_start := cardinality(v_out);
                v_type := case v_opened when 'l' then 'uncompensated' end;
                v_opened := null;
            end if;
        end loop;

        if v_problem is null and v_at < v_size then
            v_problem := format('%s bytes too many', v_size - v_at);
        end if;
        exit readings when v_problem is null or v_error is not null;
        v_error := v_problem || ', at byte ' || v_at;
    end loop;

    if v_problem is not null then
        return jsonb_build_object('error', v_error, 'bytes', v_size);
    elsif v_error is not null then
        return format('{"error":%s,"bytes":%s,"fields":%s}', to_json(v_error), v_size, array_to_string(v_out, ''))
               ::jsonb;
    end if;
    return array_to_string(v_out, '')::jsonb;
end
$$;

-- The events of a shard after a position, the oldest first: for a follower, which passes the last position that it has
-- seen. One owner at a time appends to a shard, and positions have no gaps, so it misses none.
--
-- No more frames are read than are needed: a frame has at least one event after the position.
create function @schema@.changes(p_shard smallint, p_after bigint, p_limit int)
returns table (run_id uuid, seq int, "position" bigint, name text, at timestamptz, data jsonb)
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
    select f.run_id, e.seq, e.position, e.name, e.at, coalesce(@schema@.event_data(e.name, e.body), e.problem)
    from @schema@.frames f
    cross join lateral @schema@.frame_events(f.seq, f.count, f.position, f.at, f.body) e
    where f.shard = p_shard and f.position > p_after and e.position > p_after
    order by f.position limit p_limit;
end
$$;

-- Every event, with its fields by their names.
create view @schema@.history as
select f.run_id, e.seq, e.name, e.at, f.shard, e.position, octet_length(e.body) as body_bytes,
       coalesce(@schema@.event_data(e.name, e.body), e.problem) as data
from @schema@.frames f
cross join lateral @schema@.frame_events(f.seq, f.count, f.position, f.at, f.body) e;

-- The views of all runs: the newest value of each, when it was published, and by which event.
create view @schema@.views as
select p.run_id, p.name, coalesce(e.data -> 'value', e.data) as value, e.at, p.seq
from @schema@.published p
cross join lateral (
    select * from @schema@.frames f
    where f.run_id = p.run_id and f.seq <= p.seq order by f.seq desc limit 1
) f
cross join lateral (
    select coalesce(@schema@.event_data(e.name, e.body), e.problem) as data, e.at
    from @schema@.frame_events(f.seq, f.count, f.position, f.at, f.body) e where e.seq = p.seq
) e;
