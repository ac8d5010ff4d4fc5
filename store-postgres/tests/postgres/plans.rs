//! Query plans must not depend on statistics. After a burst the tables are full of rows that have not been analyzed
//! yet, or were analyzed while the tables were empty.

use std::collections::BTreeMap;
use std::time::Duration;

use pgworkflows_core::id::{EventSeq, RunId, ShardId};
use pgworkflows_core::store::{
    AttributeChange, Build, ChildRun, Claim, ClosedRun, Frame, InboxCursor, InboxRead, Load, OpenState,
    RunFilter, RunPage, SentMessage, Store, Unparked,
};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgTransaction, Row};

use crate::support::*;

/// Enough rounds for each statement to get its generic plan, which is made while the tables are empty.
const ROUNDS: u16 = 60;

/// Runs that start and end in each round.
const RUNS: u16 = 50;

/// Runs and messages that stay during all rounds, and must not be read.
const STAYING: u16 = 400;

#[tokio::test]
async fn no_statement_of_a_run_reads_a_whole_table() {
    let world = World::new().await;
    let writer = world.writer().await;
    no_round_reads_a_whole_table(world, writer).await;
}

#[tokio::test]
async fn tables_that_were_nearly_empty_when_analyzed_are_not_read_whole() {
    let world = World::new().await;
    let mut writer = world.writer().await;
    // Given tables that were analyzed when the first run started
    begin(&world, &mut writer, &[world.run(0)]).await;
    vacuum(&world, "").await;
    // And, for the tables that empty again, the state after a vacuum: many pages with almost no rows
    let runs: Vec<RunId> = (0..STAYING).map(|number| world.run(number % 4)).collect();
    begin(&world, &mut writer, &runs).await;
    end(&mut writer, &runs).await;
    let last = world.run(0);
    begin(&world, &mut writer, &[last]).await;
    world.submit(signal(last, "not consumed")).await;
    writer.read(1).await.unwrap();
    vacuum(&world, "pgworkflows.open_runs, pgworkflows.inbox").await;
    no_round_reads_a_whole_table(world, writer).await;
}

#[tokio::test]
async fn page_of_the_inbox_looks_at_few_messages_however_many_wait_in_however_many_shards() {
    const SHARDS: u16 = 64;
    const LIMIT: u32 = 100;
    // Dense numbers, of which each shard has its share or one shard has the first half; and sparse ones
    for (shard, apart) in [("n % 64", 1), ("case when n <= 3200 then 0 else n % 64 end", 1), ("n % 64", 1000)]
    {
        // Given a backlog
        let world = World::new().await;
        world.execute(format!("alter table pgworkflows.inbox alter number set increment by {apart}")).await;
        world
            .execute(format!(
                "insert into pgworkflows.inbox (shard, run_id, message_id, opens, body)
                 select {shard}, gen_random_uuid(), gen_random_uuid(), false, '\\x00' from generate_series(1, 6400) n"
            ))
            .await;
        let mut session = world.store.session().await.unwrap();
        let database = world.database.url().to_owned();
        let before = Counted::read(&database).await;
        // When it is read from the beginning to the end
        let shards: Vec<ShardId> = (0..SHARDS).map(|number| ShardId::new(number).unwrap()).collect();
        let (mut cursor, mut numbers, mut pages) = (InboxCursor::default(), Vec::new(), 0);
        loop {
            let read =
                InboxRead { shards: shards.clone(), cursor, limit: LIMIT, bytes: usize::MAX, starts: true };
            let page = session.read_inbox(&read).await.unwrap();
            numbers.extend(page.messages.iter().map(|message| message.number.get()));
            pages += 1;
            if !page.more {
                break;
            }
            cursor = page.cursor;
        }
        // Then each message is read once, in order
        assert!(numbers.is_sorted() && numbers.len() == 6_400, "{} messages", numbers.len());
        drop((session, world.store));
        // And no page looked at as many as all shards have up to the limit, which are 6,464
        let entries = Counted::read_until(&database, |counted| {
            let inbox = counted.since(&before).find(|(name, _)| *name == "inbox").map(|(_, table)| table)?;
            (inbox.entries >= 6_400).then_some(inbox.entries)
        });
        let (entries, of_a_page) = (entries.await, i64::from(LIMIT) * 8 + i64::from(SHARDS) * 5);
        assert!(
            entries <= i64::from(pages) * of_a_page,
            "{shard}, {apart}: {entries} entries in {pages} pages"
        );
        assert!(pages <= 110, "{shard}, {apart}: {pages} pages");
    }
}

#[tokio::test]
async fn runs_that_are_over_are_looked_up_in_their_own_partition() {
    // Given a log with an older partition
    let world = World::new().await;
    let long_ago = "(extract(epoch from now() - interval '1 year') * 1000)::bigint";
    world.execute(format!("select pgworkflows.make_partition({long_ago}, '1s')")).await;
    let mut writer = world.writer().await;
    let database = world.database.url().to_owned();
    let before = Counted::read(&database).await;

    // When runs are started, end, and are awaited
    let runs: Vec<RunId> = (0..RUNS).map(|number| world.run(number % 4)).collect();
    begin(&world, &mut writer, &runs).await;
    end(&mut writer, &runs).await;
    assert_eq!(world.closed(&runs).await.len(), runs.len());

    // Then no lookup read the older partition
    drop((writer, world.store));
    let closed = |counted: &Counted| {
        let tables = counted.since(&before).filter(|(name, _)| name.starts_with("closed_runs"));
        tables.map(|(_, table)| table).collect::<Vec<_>>()
    };
    let tables = Counted::read_until(&database, |counted| {
        let tables = closed(counted);
        tables.iter().any(|table| table.entries >= i64::from(RUNS)).then_some(tables)
    });
    let read = tables.await.iter().filter(|table| table.lookups + table.scans > 0).count();
    assert_eq!(read, 1, "one partition was read");
}

#[tokio::test]
async fn backlog_of_starts_is_read_once_in_pages() {
    // Given starts in all shards that no worker has begun
    let world = World::new().await;
    let mut writer = world.writer().await;
    let starts: Vec<_> = (0..STAYING).map(|number| start(world.run(number % 4), None, "go")).collect();
    world.store.submit(&starts).await.unwrap();
    let shards = (0..4).map(|shard| ShardId::new(shard).unwrap()).collect();
    let database = world.database.url().to_owned();
    let before = Counted::read(&database).await;

    // When a new owner looks for those that have begun, some at a time
    let mut unparked = Unparked { shards, after: None, limit: 20 };
    let mut pages = 0;
    loop {
        let found = writer.session.unparked(&unparked).await.unwrap();
        assert_eq!(found.runs, []);
        pages += 1;
        if found.cut.is_none() {
            break;
        }
        unparked.after = found.cut;
    }
    assert_eq!(pages, STAYING / 20 + 1);

    // Then each page read its own starts only
    drop((writer, world.store));
    let entries = |counted: &Counted| {
        let (_, open_runs) = counted.since(&before).find(|(name, _)| *name == "open_runs")?;
        (open_runs.entries >= i64::from(STAYING)).then_some(open_runs.entries)
    };
    let entries = Counted::read_until(&database, entries).await;
    assert!(entries <= 2 * i64::from(STAYING), "{entries} entries of the index for {STAYING} starts");
}

#[tokio::test]
async fn workers_that_differ_share_shards_without_a_look_at_runs() {
    // Given open runs in shards that need workflows, and two workers of which one knows more than the other
    let world = World::new().await;
    let mut owner = world.writer().await;
    let runs: Vec<RunId> = (0..STAYING).map(|number| world.run(number % 4)).collect();
    begin(&world, &mut owner, &runs).await;
    world
        .execute(
            "insert into pgworkflows.shard_needs (shard, workflow)
             select shard, workflow from pgworkflows.shards, unnest('{a, b}'::text[]) as w (workflow)",
        )
        .await;
    let build = |workflows: &[&str]| Build {
        generation: 1,
        workflows: workflows.iter().map(|workflow| (*workflow).into()).collect(),
    };
    let mut session = world.session().await;
    owner.session.release(&release(owner.lease)).await.unwrap();
    let mut join = async |build: &Build, limit| {
        let claim = Claim { build: build.clone(), ..claim(None, TTL, limit) };
        session.claim(&claim).await.unwrap()
    };
    let (some, more) = (build(&["a", "b"]), build(&["a", "b", "c"]));
    let (one, other) = (join(&some, 4).await, join(&more, 4).await);
    assert_eq!((one.shards.len(), other.shards.len()), (4, 0));
    drop((owner, session));
    let database = world.database.url().to_owned();
    let before = Counted::read(&database).await;

    // When they send heartbeats and make claims
    let mut writer = Writer::new(world.session().await, &one);
    for _ in 0..ROUNDS {
        let answer = heartbeat(&mut writer, Some(TTL)).await;
        assert!(answer.leases[0].standing.outdated);
        let claim = Claim { build: more.clone(), ..claim(Some(other.lease), TTL, 4) };
        writer.session.claim(&claim).await.unwrap();
    }

    // Then nothing read a run
    drop((writer, world.store));
    let read = Counted::read_until(&database, |counted| {
        // Each heartbeat looks for messages, and for deadlines, of which there are none.
        let of =
            |table: &str| counted.since(&before).find(|(name, _)| *name == table).map(|(_, table)| table);
        let (inbox, open_runs) = (of("inbox")?, of("open_runs")?);
        (inbox.lookups >= i64::from(ROUNDS)).then_some((open_runs.scans, open_runs.entries))
    });
    assert_eq!(read.await, (0, 0));
}

#[tokio::test]
async fn renewal_of_an_executor_does_not_read_again_what_it_once_had() {
    // Given an old transaction, because of which no dead row goes, and an executor
    let world = World::new().await;
    let (_old, mut connection) = with_tasks(&world).await;
    execute(&mut connection, claim_tasks("1", 0, 0, true)).await;
    let before = pages_read(&mut connection, &claim_tasks("1", 0, 0, true)).await;

    // When it has claimed and settled many tasks, some between each two renewals
    execute_all(&mut connection, true, 0).await;
    execute(&mut connection, claim_tasks("1", ROUNDS + 1, 0, true)).await;

    // Then its next renewal reads about as much as its first
    let after = pages_read(&mut connection, &claim_tasks("1", ROUNDS + 2, 0, true)).await;
    assert!(after <= 4 * before, "{before} pages at first, and {after} at last");
}

#[tokio::test]
async fn claim_of_tasks_does_not_read_again_those_that_were_claimed_before() {
    // Given the same, and what a claim reads at first
    let world = World::new().await;
    let (_old, mut connection) = with_tasks(&world).await;
    execute(&mut connection, claim_tasks("1", 0, 0, true)).await;
    execute(&mut connection, claim_tasks("1", 1, 1, false)).await;
    let before = pages_read(&mut connection, &claim_tasks("1", 1, 1, false)).await;

    // When nearly all tasks were claimed and settled
    execute_all(&mut connection, false, 2).await;

    // Then a claim reads about as much
    let after = pages_read(&mut connection, &claim_tasks("1", 1, 1, false)).await;
    assert!(after <= 4 * before, "{before} pages at first, and {after} at last");
    // And the first task, which is lost with its executor, is claimed before the last ones
    execute(&mut connection, "update pgworkflows.executors set expires_at = now() where executor = 1").await;
    execute(&mut connection, claim_tasks("null", 0, 0, true)).await;
    let other = "(select max(executor) from pgworkflows.executors)";
    let first: i32 = sqlx::query_scalar(AssertSqlSafe(claim_tasks(other, 1, 1, false)))
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(first, 1);
}

#[tokio::test]
async fn tasks_are_settled_and_returned_by_their_keys() {
    // Given tasks of an executor, in a table that was empty when it was vacuumed
    let world = World::new().await;
    let (old, mut connection) = with_tasks(&world).await;
    drop(old);
    execute(&mut connection, "create table kept as select * from pgworkflows.tasks").await;
    execute(&mut connection, "delete from pgworkflows.tasks").await;
    execute(&mut connection, "vacuum (analyze, truncate) pgworkflows.tasks").await;
    execute(&mut connection, "insert into pgworkflows.tasks select * from kept").await;
    execute(&mut connection, claim_tasks("1", 0, RUNS, true)).await;

    // When it returns and settles some
    execute(&mut connection, "begin").await;
    let scans = "select pg_stat_get_xact_numscans('pgworkflows.tasks_claimed'::regclass)";
    let before: i64 = sqlx::query_scalar(scans).fetch_one(&mut connection).await.unwrap();
    for call in [
        "return_tasks(1, array_agg(run_id), array_agg(seq), array_agg(1), array_agg(false), array_agg(0::bigint),
                      array_agg(null::text), false, '10s') from kept where seq <= 10",
        "settle_tasks(1, array_agg(run_id), array_agg(seq), array_agg(1), array_agg(body), null, null, '10s')
         from kept where seq between 11 and 20",
    ] {
        execute(&mut connection, format!("select pgworkflows.{call}")).await;
    }

    // Then nothing read all that it has
    let after: i64 = sqlx::query_scalar(scans).fetch_one(&mut connection).await.unwrap();
    assert_eq!(after, before);
    execute(&mut connection, "commit").await;
    assert_eq!(world.count("tasks").await, i64::from(ROUNDS * RUNS + 4 - 10));
}

/// A transaction because of which no dead row goes, an executor, and tasks that were ready one after the other.
async fn with_tasks(world: &World) -> (PgTransaction<'static>, PgConnection) {
    let mut old = world.begin().await;
    execute(&mut old, "create table old (number int)").await;
    let mut connection = world.connection().await;
    let tasks = format!(
        "insert into pgworkflows.open_runs (run_id, shard, workflow, state)
         values ('01910000-0000-7000-8000-000000000001', 0, 'trial', 2);
         insert into pgworkflows.tasks (run_id, seq, queue, activity, losses_max, message_id, body, lost, ready_at)
         select '01910000-0000-7000-8000-000000000001', n, 'gpu', 'render', 4, gen_random_uuid(), '', '',
                now() - interval '1 day' + n * interval '1 second'
         from generate_series(1, {}) n;
         insert into pgworkflows.executors (executor, worker, expires_at, queues, activities)
         values (1, 'test', now() + interval '1 hour', '{{}}', '{{}}')",
        ROUNDS * RUNS + 4
    );
    execute(&mut connection, tasks).await;
    (old, connection)
}

/// Claims that many tasks.
fn claim_tasks(executor: &str, renewals: u16, count: u16, renew: bool) -> String {
    let ttl = if renew { "3600000000" } else { "null" };
    format!(
        "select seqs[1] from pgworkflows.claim_tasks(
             {executor}, {renewals}, 'test', {ttl}, '{{gpu}}', '{{{count}}}', '{{render}}', 1000000, '10s')"
    )
}

/// Claims nearly all tasks, in parts, and settles them, but not the first ones.
async fn execute_all(connection: &mut PgConnection, renew: bool, kept: u16) {
    for round in 1..=ROUNDS {
        let renewals = if renew { round } else { 1 };
        execute(&mut *connection, claim_tasks("1", renewals, RUNS, renew)).await;
        let settle = format!(
            "select pgworkflows.settle_tasks(
                 1, array_agg(run_id), array_agg(seq), array_agg(claims), array_agg(body), null, null, '10s')
             from pgworkflows.tasks where executor = 1 and seq > {kept}"
        );
        execute(&mut *connection, settle).await;
    }
}

/// How many pages a statement reads, with all that it calls.
async fn pages_read(connection: &mut PgConnection, sql: &str) -> u64 {
    let explain = format!("explain (analyze, buffers, timing off) {sql}");
    let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(connection).await.unwrap();
    let hits = plan.iter().find_map(|line| line.split_once("shared hit=")).unwrap().1;
    hits.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[tokio::test]
async fn runs_are_shown_without_reading_the_whole_log() {
    // Given runs that have begun, whose rows are still pending, in a log that was empty when it was analyzed
    let world = World::new().await;
    let mut writer = world.writer().await;
    vacuum(&world, "").await;
    let runs: Vec<RunId> = (0..RUNS).map(|number| world.run(number % 4)).collect();
    begin(&world, &mut writer, &runs).await;
    let database = world.database.url().to_owned();
    let before = Counted::read(&database).await;

    // When they are listed and described, so often that the statements get their generic plans
    let page = RunPage { before: None, limit: u32::from(RUNS) };
    for _ in 0..ROUNDS {
        assert_eq!(world.store.query().list(&RunFilter::default(), &page).await.unwrap().len(), runs.len());
        assert!(world.store.query().describe(runs[0]).await.unwrap().is_some());
    }

    // Then the log was read by its index
    drop((writer, world.store));
    let (scans, _) = Counted::read_log(&database, &before, i64::from(ROUNDS) * i64::from(RUNS)).await;
    assert_eq!(scans, 0);
}

#[tokio::test]
async fn children_of_a_run_are_listed_by_their_parent_whatever_else_there_is() {
    // Given many runs of a log that was empty when it was analyzed, and few children of one of them, open and over
    let world = World::new().await;
    let mut writer = world.writer().await;
    vacuum(&world, "").await;
    let runs: Vec<RunId> = (0..STAYING).map(|number| world.run(number % 4)).collect();
    begin(&world, &mut writer, &runs[1..]).await;
    end(&mut writer, &runs[1..runs.len() / 2]).await;
    let children: Vec<RunId> = (0..4).map(|shard| world.run(shard)).collect();
    let mut batch = writer.batch().event(runs[0], 1).opened(runs[0], OpenState::Busy, None);
    for child in &children {
        let opens = Some(ChildRun { workflow: "trial".into(), parent: runs[0] });
        batch = batch.sent(SentMessage { opens, ..note(*child, "go") });
    }
    writer.append(batch).await.unwrap();
    let page = writer.read(9).await.unwrap();
    let mut batch = writer.batch().consumed(&page);
    for child in &children[..2] {
        batch = batch.event(*child, 1);
        batch.append.closed.push(ClosedRun { parent: Some(runs[0]), ..closed_run(*child) });
    }
    for child in &children[2..] {
        batch = batch.event(*child, 1);
    }
    writer.append(batch).await.unwrap();
    let database = world.database.url().to_owned();
    let before = Counted::read(&database).await;

    // When they are listed so often that the statement gets its generic plan
    let filter = RunFilter { parent: Some(runs[0]), ..RunFilter::default() };
    for _ in 0..ROUNDS {
        let listed = world.store.query().list(&filter, &RunPage { before: None, limit: 100 }).await.unwrap();
        assert_eq!(listed.len(), children.len());
    }

    // Then only they were read, but for the first five lists, which are planned for tables that look empty: each of these may
    // read the rows of runs that are over whole
    drop((writer, world.store));
    let read = |counted: &Counted| {
        let tables = counted.since(&before);
        let tables = tables.filter(|(name, _)| *name == "open_runs" || name.starts_with("closed_runs"));
        let sum = tables.fold((0, 0), |sum, (_, table)| (sum.0 + table.scans, sum.1 + table.entries));
        (sum.1 >= 3 * i64::from(ROUNDS)).then_some(sum)
    };
    let (scans, entries) = Counted::read_until(&database, read).await;
    assert!(scans <= 5 * 4, "{scans} scans in {ROUNDS} lists");
    assert!(
        entries <= 10 * i64::from(ROUNDS),
        "{entries} entries of indexes in {ROUNDS} lists of 4 children"
    );
}

#[tokio::test]
async fn runs_are_listed_by_an_attribute_whatever_else_there_is() {
    // Given runs of a database that was empty when it was analyzed, some with a rare value of an attribute that many others have
    let world = World::new().await;
    let mut writer = world.writer().await;
    vacuum(&world, "").await;
    let runs: Vec<RunId> = (0..STAYING).map(|number| world.run(number % 4)).collect();
    begin(&world, &mut writer, &runs).await;
    end(&mut writer, &runs[..runs.len() / 2]).await;
    let mut batch = writer.batch().event(runs[runs.len() - 1], 2);
    for (number, run) in runs.iter().enumerate().filter(|(number, _)| number % 2 == 0) {
        let value = Some(if number % 100 == 0 { "rare" } else { "usual" }.to_owned());
        batch.append.attributes.push(AttributeChange { run: *run, attribute: "kind".into(), value });
    }
    let rare = runs.iter().step_by(100).count();
    writer.append(batch).await.unwrap();
    for others in [
        "attributes select gen_random_uuid(), 'kind', 'usual' from generate_series(1, 20000)",
        "open_runs (run_id, shard, state, workflow)
         select pgworkflows.new_run_id(now(), 1), 1, 2, 'other' from generate_series(1, 20000)",
        "closed_runs (run_id, closed_at, shard, status, workflow, outcome)
         select pgworkflows.new_run_id(now(), 1), now(), 1, 0, 'other', '' from generate_series(1, 20000)",
    ] {
        execute(&mut world.connection().await, format!("insert into pgworkflows.{others}")).await;
    }
    let database = world.database.url().to_owned();
    let before = Counted::read(&database).await;

    // When the few are listed so often that the statement gets its generic plan
    let attributes = [("kind".into(), "rare".to_owned())].into_iter().collect();
    let filter = RunFilter { attributes, ..RunFilter::default() };
    let page = RunPage { before: None, limit: 100 };
    for _ in 0..ROUNDS {
        assert_eq!(world.store.query().list(&filter, &page).await.unwrap().len(), rare);
        assert!(world.store.query().horizon(&filter, &page).await.unwrap().is_none());
    }

    // Then only they were read, but for the first lists, as above
    drop((writer, world.store));
    let read = |counted: &Counted| {
        let tables = counted.since(&before);
        let is_of_runs =
            |name: &str| ["open_runs", "attributes"].contains(&name) || name.starts_with("closed_runs");
        let sum = tables
            .filter(|(name, _)| is_of_runs(name))
            .fold((0, 0), |sum, (_, table)| (sum.0 + table.scans, sum.1 + table.entries));
        (sum.1 >= 2 * rare as i64 * i64::from(ROUNDS)).then_some(sum)
    };
    let (scans, entries) = Counted::read_until(&database, read).await;
    assert!(scans <= 5 * 4, "{scans} scans in {ROUNDS} lists");
    assert!(
        entries <= 10 * rare as i64 * i64::from(ROUNDS),
        "{entries} entries of indexes in {ROUNDS} lists of {rare} runs"
    );
}

#[tokio::test]
async fn no_more_of_a_history_is_read_than_fits() {
    // Given a history that is much longer than one part, in a table that was empty when it was analyzed
    let world = World::new().await;
    let mut writer = world.writer().await;
    vacuum(&world, "").await;
    let run = world.run(0);
    let batch = writer.batch().opened(run, OpenState::Busy, None);
    writer.append((1..=LONG).fold(batch, |batch, seq| batch.event(run, seq))).await.unwrap();
    let database = world.database.url().to_owned();
    let before = Counted::read(&database).await;

    // When it is loaded in parts of ten frames
    let (mut after, mut parts) = (None, 0);
    loop {
        let bytes = 10 * (Frame::BYTES_WITHOUT_BODY + "event 1234".len());
        let loaded = writer.session.load(&Load { runs: vec![run], after, bytes }).await.unwrap();
        after = loaded.histories[0].frames.last().map(|frame| frame.seq);
        parts += 1;
        if loaded.cut.is_none() {
            break;
        }
    }
    assert!(
        after == Some(EventSeq::new(LONG)) && parts >= i64::from(LONG / 12),
        "{parts} parts up to {after:?}"
    );

    // Then each part read only a little ahead
    drop((writer, world.store));
    let (scans, entries) = Counted::read_log(&database, &before, LONG.into()).await;
    assert!(scans == 0 && entries <= 100 * parts, "{scans} scans and {entries} entries for {parts} parts");
}

#[tokio::test]
async fn view_of_a_long_history_is_found_by_two_lookups() {
    // Given a long history whose views were published near its beginning and near its end
    let world = World::new().await;
    let mut writer = world.writer().await;
    vacuum(&world, "").await;
    let run = world.run(0);
    let batch = writer.batch().opened(run, OpenState::Busy, None);
    let batch = (1..=LONG).fold(batch, |batch, seq| batch.event(run, seq));
    let published = batch.published(run, "early", 2).published(run, "late", LONG - 1);
    writer.append(published).await.unwrap();
    let mut connection = world.connection().await;

    // When they are read, so often that the statement gets its generic plan
    for view in ["early", "late"] {
        let sql = format!("select * from pgworkflows.find_view('{run}', '{view}')");
        for _ in 0..5 {
            pages_read(&mut connection, &sql).await;
        }
        // Then each read a few pages, where the history has many times as many
        let (pages, whole) = (
            pages_read(&mut connection, &sql).await,
            pages_read(&mut connection, &format!("select * from pgworkflows.history where run_id = '{run}'"))
                .await,
        );
        assert!(pages <= 12 && whole > 3 * pages, "{view}: {pages} of {whole} pages");
    }
}

#[tokio::test]
async fn follower_reads_no_more_events_than_it_gets() {
    // Given a shard with many events, in a table that was empty when it was analyzed
    let world = World::new().await;
    let mut writer = world.writer().await;
    vacuum(&world, "").await;
    let run = world.run(0);
    let batch = writer.batch().opened(run, OpenState::Busy, None);
    writer.append((1..=LONG).fold(batch, |batch, seq| batch.event(run, seq))).await.unwrap();
    let database = world.database.url().to_owned();
    let before = Counted::read(&database).await;

    // When a follower reads it to the end, ten events at a time
    let mut connection = world.connection().await;
    for after in (0..i64::from(LONG)).step_by(10) {
        let sql = "select max(position) from pgworkflows.changes(0::smallint, $1, 10)";
        let last: i64 = sqlx::query_scalar(sql).bind(after).fetch_one(&mut connection).await.unwrap();
        assert_eq!(last, after + 10);
    }

    // Then it read each event once, or little more
    connection.close().await.unwrap();
    let (scans, entries) = Counted::read_log(&database, &before, LONG.into()).await;
    assert!(scans == 0 && entries <= 2 * i64::from(LONG), "{scans} scans and {entries} entries");
}

async fn no_round_reads_a_whole_table(world: World, mut writer: Writer) {
    // Given tables that keep every row version, dead or alive
    for table in ["open_runs", "inbox"] {
        world.execute(format!("alter table pgworkflows.{table} set (autovacuum_enabled = off)")).await;
    }
    let staying: Vec<RunId> = (0..STAYING).map(|number| world.run(number % 4)).collect();
    begin(&world, &mut writer, &staying).await;
    let signals: Vec<_> = staying.iter().map(|run| signal(*run, "not consumed")).collect();
    world.store.submit(&signals).await.unwrap();
    writer.read(2 * u32::from(STAYING)).await.unwrap();
    let database = world.database.url().to_owned();
    let before = Counted::read(&database).await;

    // When many runs begin, park and end
    for _ in 0..ROUNDS {
        let runs: Vec<RunId> = (0..RUNS).map(|number| world.run(number % 4)).collect();
        begin(&world, &mut writer, &runs).await;
        assert_eq!(writer.load(&runs).await.len(), runs.len());
        let parked = runs.iter().fold(writer.batch(), |batch, run| batch.updated(*run, OpenState::Parked));
        writer.append(parked).await.unwrap();
        end(&mut writer, &runs).await;
        assert_eq!(world.closed(&runs).await.len(), runs.len());
    }

    // Then no statement read a whole table or index, in any round
    drop((writer, world.store));
    let after = Counted::read_complete(&database, &before).await;
    for (table, Table { inserted, scans, entries, .. }) in after.since(&before) {
        // The server may count a statement from before the first round late.
        assert!(scans < i64::from(ROUNDS / 10), "{table} was read whole {scans} times in {ROUNDS} rounds");
        assert!(entries <= 10 * inserted, "{entries} entries of the indexes of {table} for {inserted} rows");
    }
}

/// The number of events in a long history.
const LONG: u32 = 3000;

/// Vacuums and analyzes these tables, or all.
async fn vacuum(world: &World, tables: &str) {
    world.execute(format!("vacuum analyze {tables}")).await;
}

/// Starts runs through the inbox and logs their first events.
async fn begin(world: &World, writer: &mut Writer, runs: &[RunId]) {
    let starts: Vec<_> = runs.iter().map(|run| start(*run, Some(&run.to_string()), "go")).collect();
    world.store.submit(&starts).await.unwrap();
    let page = writer.read(2 * runs.len() as u32).await.unwrap();
    let begun = runs.iter().fold(writer.batch().consumed(&page), |batch, run| batch.event(*run, 1));
    writer.append(begun).await.unwrap();
}

/// Logs the last events of runs.
async fn end(writer: &mut Writer, runs: &[RunId]) {
    let ended = runs.iter().fold(writer.batch(), |batch, run| batch.event(*run, 2).closed(*run));
    writer.append(ended).await.unwrap();
}

/// The server's statistics of the tables through which runs pass.
#[derive(Clone)]
struct Counted {
    tables: BTreeMap<String, Table>,
}

#[derive(Clone, Copy)]
struct Table {
    inserted: i64,
    scans: i64,
    lookups: i64,
    entries: i64,
}

impl Counted {
    async fn read(database: &str) -> Self {
        let mut connection = PgConnection::connect(database).await.unwrap();
        let rows = sqlx::query(
            "select t.relname::text, t.n_tup_ins, t.seq_scan, sum(i.idx_scan)::bigint, sum(i.idx_tup_read)::bigint
             from pg_stat_user_tables t join pg_stat_user_indexes i using (relid)
             where t.relname = any ('{open_runs, attributes, run_keys, inbox}') or t.relname ~ '^(closed_runs|frames)_'
             group by t.relname, t.n_tup_ins, t.seq_scan",
        );
        let rows = rows.fetch_all(&mut connection).await.unwrap();
        let table = |row: &PgRow| Table {
            inserted: row.get(1),
            scans: row.get(2),
            lookups: row.get(3),
            entries: row.get(4),
        };
        Self { tables: rows.iter().map(|row| (row.get(0), table(row))).collect() }
    }

    /// Once each of the runs is counted where it began and where it ended, which are rows of different sessions.
    async fn read_complete(database: &str, before: &Self) -> Self {
        let all = i64::from(ROUNDS) * i64::from(RUNS);
        Self::read_until(database, |counted| {
            let inserted = |tables: &str| -> i64 {
                let of = counted.since(before).filter(|(name, _)| name.starts_with(tables));
                of.map(|(_, table)| table.inserted).sum()
            };
            (inserted("inbox") >= all && inserted("closed_runs") >= all).then(|| counted.clone())
        })
        .await
    }

    /// The scans of the log's tables and the entries read from their indexes, once there is a scan or that many entries.
    async fn read_log(database: &str, before: &Self, entries: i64) -> (i64, i64) {
        Self::read_until(database, |counted| {
            let log = counted.since(before).filter(|(name, _)| name.starts_with("frames"));
            let sum = log.fold((0, 0), |sum, (_, table)| (sum.0 + table.scans, sum.1 + table.entries));
            (sum.0 > 0 || sum.1 >= entries).then_some(sum)
        })
        .await
    }

    /// The server publishes a session's statistics at its end, or a little later.
    async fn read_until<T>(database: &str, complete: impl Fn(&Self) -> Option<T>) -> T {
        for _ in 0..600 {
            if let Some(counted) = complete(&Self::read(database).await) {
                return counted;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server never published all statistics");
    }

    /// The difference of two readings, table by table.
    fn since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'a str, Table)> {
        self.tables.iter().map(|(name, now)| {
            let before = before.tables[name];
            let change = Table {
                inserted: now.inserted - before.inserted,
                scans: now.scans - before.scans,
                lookups: now.lookups - before.lookups,
                entries: now.entries - before.entries,
            };
            (name.as_str(), change)
        })
    }
}
