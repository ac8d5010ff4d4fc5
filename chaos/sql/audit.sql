-- What the server itself saw of the protocol, noted by triggers. No worker is trusted for it.
--
-- The moments of two writers of one lease or shard are in the order of their commits, because each is drawn while the
-- writer holds the lock of the lease or shard.

create sequence chaos.moments;

-- Appends that were applied. A transaction is one append.
create table chaos.appended (
    moment      bigint not null default nextval('chaos.moments'),
    transaction xid8 not null default pg_current_xact_id(),
    lease       bigint not null,
    number      bigint not null
);

-- Frames that were written.
create table chaos.written (
    moment      bigint not null default nextval('chaos.moments'),
    transaction xid8 not null default pg_current_xact_id(),
    at          timestamptz not null default clock_timestamp(),
    run_id      uuid not null,
    seq         int not null,
    count       int not null,
    shard       smallint not null
);

-- Leases that lost their right to write.
create table chaos.fenced (
    moment      bigint not null default nextval('chaos.moments'),
    lease       bigint not null
);

-- Shards that got another owner.
create table chaos.owned (
    moment      bigint not null default nextval('chaos.moments'),
    shard       smallint not null,
    lease       bigint
);

create function chaos.note_append() returns trigger language plpgsql as $$
begin
    insert into chaos.appended (lease, number) values (new.lease, new.number);
    return null;
end
$$;

create function chaos.note_frames() returns trigger language plpgsql as $$
begin
    insert into chaos.written (run_id, seq, count, shard) select f.run_id, f.seq, f.count, f.shard from frames_written f;
    return null;
end
$$;

create function chaos.note_fence() returns trigger language plpgsql as $$
begin
    insert into chaos.fenced (lease) values (new.lease);
    return null;
end
$$;

create function chaos.note_owner() returns trigger language plpgsql as $$
begin
    insert into chaos.owned (shard, lease) values (new.shard, new.lease);
    return null;
end
$$;

-- Number 0 is the claim.
create trigger audit after insert on pgworkflows.appends
    for each row when (new.number > 0) execute function chaos.note_append();
create trigger audit after insert on pgworkflows.frames
    referencing new table as frames_written for each statement execute function chaos.note_frames();
create trigger audit after update on pgworkflows.leases
    for each row when (new.fenced and not old.fenced) execute function chaos.note_fence();
create trigger audit after update on pgworkflows.shards
    for each row when (new.lease is distinct from old.lease) execute function chaos.note_owner();
