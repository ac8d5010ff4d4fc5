-- What the checks read: the log, event by event, with the data of the events that matter to them.

create table chaos.events as
select f.run_id, f.shard, e.seq, e.position, e.at, e.name, e.problem,
       case when e.name not in ('activity.scheduled', 'activity.completed', 'activity.cancelled', 'run.adopted')
           then pgworkflows.event_data(e.name, e.body)
           when e.name like 'activity.%' then jsonb_build_object('id', pgworkflows.event_data(e.name, e.body)->'id')
       end as data
from pgworkflows.frames f
cross join lateral pgworkflows.frame_events(f.seq, f.count, f.position, f.at, f.body) e;
create unique index on chaos.events (run_id, seq);
create index on chaos.events (name);
create index on chaos.events ((data->>'message')) where name in ('update.replied', 'update.dropped');

-- Runs, with the token that the client gave them, or their parent. Those of a chain have the id of the first one.
create table chaos.runs as
select e.run_id, e.data->>'workflow' as workflow, e.data->'input'->>'token' as token,
       coalesce((e.data->'chain'->>'first')::uuid, e.run_id) as first,
       (e.data->'chain'->>'predecessor')::uuid as predecessor, (e.data->>'parent')::uuid as parent
from chaos.events e where e.name = 'run.started';
create index on chaos.runs (token);
create index on chaos.runs (run_id);
create index on chaos.runs (first);
create index on chaos.runs (predecessor);

-- How runs ended, in the words of the journals.
create table chaos.ends as
select e.run_id, e.seq,
       case e.name
           when 'run.completed' then jsonb_build_object('end', 'completed', 'result', e.data->'result')
           when 'run.failed' then jsonb_build_object('end', 'failed', 'error', e.data->'failure'->>'type')
           when 'run.cancelled' then '{"end": "cancelled"}'
           when 'run.continued' then '{"end": "continued"}'
           else '{"end": "terminated"}'
       end as outcome
from chaos.events e where e.name in ('run.completed', 'run.failed', 'run.cancelled', 'run.terminated', 'run.continued');
create index on chaos.ends (run_id);

create index on chaos.written (run_id, seq);
create index on chaos.appended (transaction);
create index on chaos.appended (lease);
create index on chaos.owned (shard, moment);

-- Of each fact of the journals, what the checks join by.
create table chaos.notes as
select f.number, f.fact->>'fact' as kind, f.fact->>'token' as token, (f.fact->>'run')::uuid as run_id, f.fact
from chaos.facts f;
create index on chaos.notes (kind, token);

analyze;
