-- 0001: the log, the inbox, the runs, and the leases that decide who may write.
--
-- Ids are 16 bytes, whose order is that of the ids. Times are microseconds since 1970. All writes are serial transactions, so
-- nothing here guards against two at a time. A released migration is never edited.

-- ---------------------------------------------------------------------------------------------------------
-- The log
-- ---------------------------------------------------------------------------------------------------------

-- One row per frame, append-only: the events that one append wrote for one run.
create table frames (
    run_id   blob not null,
    seq      integer not null,         -- the number of its first event
    count    integer not null,         -- how many events it has
    position integer not null,         -- of its last event, within the shard
    at       integer not null,         -- when its first event happened
    body     blob not null,
    primary key (run_id, seq)
) strict, without rowid;

-- One row per run that is over.
-- status: 0 completed, 1 failed, 2 cancelled, 3 terminated, 4 continued as new, 5 failed and tried again, 6 timed out. After 4
-- and 5, another run of the chain goes on.
create table closed_runs (
    run_id    blob not null primary key,
    closed_at integer not null,
    status    integer not null,
    workflow  text not null,
    key       text,
    parent    blob,                    -- the run that started it, if a run did
    outcome   blob not null
) strict, without rowid;
-- The children of a run.
create index closed_runs_by_parent on closed_runs (parent, run_id) where parent is not null;

-- One row per run that continues another: its place in their chain.
create table links (
    run_id      blob not null primary key,
    first_run   blob not null,
    predecessor blob not null,
    number      integer not null       -- of the run in its chain; that of the first run is 1
) strict, without rowid;

-- The current run of each chain: the last one that is, or was, open.
create table chains (
    first_run   blob not null primary key,
    current_run blob not null
) strict, without rowid;

-- One row per view of a run: the number of the event with its newest value.
create table published (
    run_id blob not null,
    name   text not null,
    seq    integer not null,
    primary key (run_id, name)
) strict, without rowid;

-- One row per message that has a reply. The message comes first, because any run of a chain may have replied.
create table replies (
    message_id blob not null,
    run_id     blob not null,
    body       blob not null,
    primary key (message_id, run_id)
) strict, without rowid;

-- ---------------------------------------------------------------------------------------------------------
-- Runs
-- ---------------------------------------------------------------------------------------------------------

-- What runs are found by.
create table attributes (
    run_id blob not null,
    name   text not null,
    value  text not null,
    primary key (run_id, name)
) strict, without rowid;
create index attributes_by_value on attributes (name, value, run_id);

-- One row per run that is not over.
-- state: 0 pending, 1 busy, 2 parked, 3 stalled, 4 paused. A pending row is not written when its run begins: if the log has a
-- frame of the run, it is that of a busy run.
create table open_runs (
    run_id     blob not null primary key,
    shard      integer not null,
    state      integer not null,
    workflow   text not null,
    key        text,
    parent     blob,                   -- the run that started it, if a run did
    wake_at    integer,
    waiting_on text,
    waits      text
) strict, without rowid;
-- The runs that a new owner loads, and pending ones.
create index open_runs_unparked on open_runs (shard, run_id) where state in (0, 1, 3);
-- Deadlines of all shards: one owner has most of them, so that few of its probes meet those of others.
create index open_runs_by_deadline on open_runs (wake_at, run_id, shard) where wake_at is not null;
-- The children of a run.
create index open_runs_by_parent on open_runs (parent, run_id) where parent is not null;

-- Idempotency keys, in the order of their bytes.
create table run_keys (
    workflow     text not null,
    key          text not null,
    run_id       blob not null,
    input_digest blob,
    primary key (workflow, key)
) strict, without rowid;

-- ---------------------------------------------------------------------------------------------------------
-- The inbox
-- ---------------------------------------------------------------------------------------------------------

-- Messages that wait to be logged. Transactions are serial, so a message with a lower number is never committed after one with
-- a greater number: a reader continues after the greatest number that it has read. A number is never given twice.
create table inbox (
    number     integer primary key autoincrement,
    shard      integer not null,
    run_id     blob not null,
    message_id blob not null,
    opens      integer not null,       -- whether it starts its run
    body       blob not null
) strict;
create index inbox_by_shard on inbox (shard);
-- A message that is repeated while it waits is not inserted again. A start is recognised by its run instead.
create unique index inbox_by_message on inbox (message_id) where not opens;

-- Messages that were accepted, but arrived in the log after their run was over.
create table undelivered (
    run_id blob not null,
    number integer not null,
    at     integer not null,
    body   blob not null,
    primary key (run_id, number)
) strict, without rowid;

-- ---------------------------------------------------------------------------------------------------------
-- Who may write
-- ---------------------------------------------------------------------------------------------------------

create table queues (
    name        text not null primary key,
    first_shard integer not null,
    shard_count integer not null
) strict, without rowid;

-- Which queues' workers know a workflow or knew it, and when the last of them claimed a lease.
create table known_workflows (
    workflow   text not null,
    queue      text not null,
    claimed_at integer not null,
    primary key (workflow, queue)
) strict, without rowid;

-- Rights to write. An id is random, so that a copy of the file never gives one a second time. A fenced lease stays fenced.
create table leases (
    lease         integer not null primary key,
    queue         text not null,
    worker        text not null,
    generation    integer not null,    -- of its worker's build
    workflows     text not null,       -- that its worker knows: ascending, one a line
    claimed_at    integer not null,
    renewed_at    integer not null,
    expires_at    integer not null,
    live_runs     integer not null default 0,
    fenced        integer not null default 0,
    blamed        integer not null default 0,   -- whether a run was blamed for its end
    -- The last two appends: a caller repeats only its last one.
    last_append   integer not null default 0,
    digest        blob not null default x'',
    digest_before blob
) strict;

create table shards (
    shard         integer not null primary key,
    queue         text not null,
    lease         integer,
    claim         integer not null default 0,   -- the claim that took it last
    next_position integer not null default 1,   -- of its next event
    deaths        integer not null default 0,
    former        text,                         -- the worker that owned it before, if its lease expired
    released_by   integer                       -- the lease under which an append released it
) strict;
create index shards_by_lease on shards (lease) where lease is not null;

-- The workflows of which a shard has or had open runs.
create table shard_needs (
    shard    integer not null,
    workflow text not null,
    primary key (shard, workflow)
) strict, without rowid;

-- Runs that may crash the processes that execute them. stage: 0 held, 1 tried, 2 set aside, 3 marked.
create table suspects (
    run_id  blob not null primary key,
    shard   integer not null,
    stage   integer not null,
    strikes integer not null
) strict, without rowid;

-- ---------------------------------------------------------------------------------------------------------
-- Tasks
-- ---------------------------------------------------------------------------------------------------------

-- One row per process that executes tasks. A fenced one goes when it has no tasks any more.
create table executors (
    executor   integer not null primary key,
    worker     text not null,
    renewed_at integer not null,
    expires_at integer not null,
    renewals   integer not null,
    fenced     integer not null default 0,
    queues     text not null,          -- that it serves: one a line
    activities text not null,          -- that it knows: one a line
    swept      blob not null default x''   -- the last run whose tasks it looked at
) strict;

-- One row per attempt of an activity that was handed out. `seq` is the number of the event that enqueued it.
create table tasks (
    task        integer primary key,
    run_id      blob not null,
    seq         integer not null,
    queue       text not null,
    activity    text not null,
    enqueued_at integer not null,
    ready_at    integer not null,      -- nobody claims it before
    executor    integer,               -- who has it; null: it is free
    claims      integer not null,      -- how often it was claimed
    losses      integer not null,      -- how many executors were lost while they had it
    losses_max  integer not null,      -- with more losses it is over
    message_id  blob not null,         -- of the message that tells the run how the task ended
    problem     text,                  -- why an executor could not begin it
    body        blob not null,
    lost        blob not null          -- the body of the message if the task is lost
) strict;
create unique index tasks_by_run on tasks (run_id, seq);
create index tasks_free on tasks (queue, activity, ready_at, run_id, seq) where executor is null;
create index tasks_claimed on tasks (executor) where executor is not null;

-- ---------------------------------------------------------------------------------------------------------
-- Hints
-- ---------------------------------------------------------------------------------------------------------

-- What commits changed, for other processes that wait: one row per commit that changed something of interest. Old rows are
-- deleted, but never the last one, so no number is given twice; whoever missed some looks at everything.
create table hints (
    number integer primary key,
    process integer not null,          -- who committed
    hints  text not null
) strict;

-- ---------------------------------------------------------------------------------------------------------
-- Whose file it is, and how many migrations it has
-- ---------------------------------------------------------------------------------------------------------

pragma application_id = 1885828966;     -- `pgwf`
pragma user_version = 1;
