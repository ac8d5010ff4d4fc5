//! A calm system violates nothing, and every check finds a counter-example that was made for it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::try_join_all;
use pgworkflows::sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, raw_sql};
use pgworkflows::{Client, PostgresStore};
use pgworkflows_pg_harness::{Database, Postgres};
use pgworkflows_testkit::runtime::dice::Dice;
use tokio::sync::oneshot;

use super::{checks, read, violations};
use crate::hand::Hand;
use crate::journal::Journal;
use crate::role::{SHARDS, worker};
use crate::scene::make_tables;
use crate::workload::{KINDS, Task};

/// How many runs of each kind there are.
const RUNS: u64 = 8;

/// A way to violate a check: statements before the log and the journals are read, or after.
struct Case {
    what: &'static str,
    before: &'static str,
    after: &'static str,
}

const fn before(what: &'static str, before: &'static str) -> Case {
    Case { what, before, after: "" }
}

const fn after(what: &'static str, after: &'static str) -> Case {
    Case { what, before: "", after }
}

/// Inserts a copy of a frame with such an event after the end of its run.
macro_rules! repeated {
    ($code:literal) => {
        concat!(
            "insert into pgworkflows.frames (run_id, seq, position, at, count, shard, body)
             select f.run_id, l.seq + l.count, l.position + f.count, l.at, f.count, f.shard, f.body
             from pgworkflows.frames f
             join pgworkflows.frames l on l.run_id = f.run_id
              and l.seq = (select max(m.seq) from pgworkflows.frames m where m.run_id = f.run_id)
             where exists (select from pgworkflows.frame_events(f.seq, f.count, f.position, f.at, f.body) e
                           where e.name = '",
            $code,
            "') limit 1"
        )
    };
}

const CASES: &[Case] = &[
    before(
        "every frame can be read",
        "update pgworkflows.frames set body = '\\x00' where position = 3 and shard = (select min(shard) from pgworkflows.frames where position = 3)",
    ),
    before(
        "the events of a run are numbered 1, 2, 3, …",
        "delete from pgworkflows.frames where (run_id, seq) = (
             select f.run_id, f.seq from pgworkflows.frames f
             join pgworkflows.frames l on l.run_id = f.run_id and l.seq > f.seq
             where f.seq > 1 limit 1)",
    ),
    before(
        "the positions of a shard are 1, 2, 3, …",
        "update pgworkflows.frames f set position = position + 1
         where position = (select max(position) from pgworkflows.frames m where m.shard = f.shard)",
    ),
    before(
        "the events of a run are in the order of their positions and times",
        "update pgworkflows.frames f set at = at - interval '1 hour' where seq > 1",
    ),
    before("a run begins with `run.started`, once", repeated!("run.started")),
    before("a run ends once, and nothing follows", repeated!("run.completed")),
    before("a run that is over is closed, and no run is open", "delete from pgworkflows.closed_runs"),
    before(
        "no message waits",
        "insert into pgworkflows.inbox (run_id, message_id, shard, opens, body)
         values (gen_random_uuid(), gen_random_uuid(), 0, false, '')",
    ),
    before("a call has one outcome, or was committed after it was given up", repeated!("activity.completed")),
    before("a message is received once", repeated!("signal.received")),
    // One event, `run.stalled`, with the reason `x`.
    before(
        "no run stalls",
        "update pgworkflows.frames set count = 1, body = '\\x8312004482016178' where seq > 1",
    ),
    before(
        "nothing is committed under a lease that was fenced",
        "insert into chaos.appended (lease, number) select lease, 1000 from chaos.fenced limit 1",
    ),
    before(
        "an append is applied once",
        "insert into chaos.appended (lease, number) select lease, number from chaos.appended limit 1",
    ),
    before("the appends of a lease are numbered 1, 2, 3, …", "delete from chaos.appended where number = 2"),
    before("only the owner of a shard writes to it", "update chaos.owned set lease = lease + 1"),
    before(
        "what was written is in the log, and nothing else is",
        "insert into chaos.written (run_id, seq, count, shard) values (gen_random_uuid(), 1, 1, 0)",
    ),
    before(
        "no timer fires early, by the server's clock at the commit",
        "update chaos.written set at = at - interval '1 hour'",
    ),
    before("no event has a time after its commit", "update chaos.written set at = at - interval '1 hour'"),
    after(
        "an acknowledged start has its run",
        "insert into chaos.notes (kind, token, run_id, fact) values ('started', 'ghost', gen_random_uuid(), '{}')",
    ),
    after(
        "a start makes one run at most",
        "insert into chaos.runs select * from chaos.runs where run_id = first limit 1",
    ),
    after(
        "every run was started by somebody, as what it is",
        "delete from chaos.notes where kind = 'starts'",
    ),
    after(
        "a start that is rolled back makes no run",
        r#"update chaos.notes set fact = jsonb_set(fact, '{manner}', '"rolled-back"') where kind = 'starts'"#,
    ),
    before(
        "a row and the run that was started in its transaction exist both, or neither does",
        "delete from chaos.orders",
    ),
    after("a run ends as its input says", r#"update chaos.ends set outcome = '{"end": "terminated"}'"#),
    after("a client is told what the log says", r#"update chaos.ends set outcome = '{"end": "terminated"}'"#),
    after("a client is told how its run ended", "delete from chaos.notes where kind = 'told'"),
    after(
        "no client is refused",
        "insert into chaos.notes (kind, token, fact) values ('refused', 'x', '{}')",
    ),
    after("an acknowledged signal is received", "delete from chaos.events where name = 'signal.received'"),
    after(
        "signals that are sent one after the other are received in that order, once",
        "update chaos.events set data = jsonb_set(data, '{payload}', '0') where name = 'signal.received'",
    ),
    before(
        "a signal whose row was committed is received",
        "insert into chaos.letters (token, number) values ('calm-signals-0', 99)",
    ),
    after(
        "a run that continues as new is followed by one run, which says so",
        "update chaos.runs set predecessor = null",
    ),
    after(
        "an update with a key is one update of its chain, and has one reply",
        "delete from chaos.events where name = 'update.replied'",
    ),
    before("an answer in the log can be read by clients", "delete from pgworkflows.replies"),
    after(
        "a client is answered what the log says",
        "update chaos.events set data = jsonb_set(data, '{answer}', '0') where name = 'update.replied'",
    ),
    after(
        "a parent is told of its child once, what the child returned",
        "update chaos.events set data = jsonb_set(data, '{result}', '100') where name = 'child.completed'",
    ),
    before(
        "money is neither made nor lost",
        "update chaos.accounts set balance = balance + 1 where account = 0",
    ),
    before(
        "a balance is the sum of its movements and payments",
        "update chaos.accounts set balance = balance + 1",
    ),
    before(
        "a transfer that is over has both of its movements",
        "delete from chaos.movements where part = 'deposit'",
    ),
    before(
        "money moves for runs alone",
        "insert into chaos.movements (token, part, account, amount) values ('ghost', 'deposit', 0, 1)",
    ),
    before(
        "a payment is made once at most, and if and only if its run was told so",
        "insert into chaos.payments select * from chaos.payments limit 1",
    ),
    after(
        "a payment that is not given up is made, unless too many processes died with it",
        "update chaos.ends set outcome = '{\"end\": \"completed\", \"result\": false}'",
    ),
    before(
        "what is executed at most once is executed at most once, and once if it completed",
        "insert into chaos.executions select token from chaos.executions",
    ),
];

/// A database in which some runs of each kind were completed, and the journal of their client.
struct Calm {
    database: Database,
    directory: PathBuf,
}

impl Calm {
    async fn new() -> anyhow::Result<Self> {
        let database = Postgres::shared().create_database()?;
        make_tables(database.url()).await?;
        let directory = std::env::temp_dir().join(format!("pgworkflows-chaos-calm-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let this = Self { database, directory };
        let users = PgPool::connect(this.database.url()).await?;
        let store = PostgresStore::connect(this.database.url()).await?;
        let client = Client::builder(store.clone()).queue_shards(SHARDS).build()?;
        let journal = Arc::new(Journal::open(&this.directory.join("calm.journal"))?);
        let hand = Hand { client, users: users.clone(), journal };
        let (stop, stopped) = oneshot::channel::<()>();
        let worker = tokio::spawn(worker(store, &users).build()?.run_until(async {
            drop(stopped.await);
        }));
        let dice = Dice::new(1);
        let runs = KINDS.iter().flat_map(|kind| (0..RUNS).map(move |number| (kind, number)));
        let drives = runs.map(|(kind, number)| {
            let token = format!("calm-{}-{number}", kind.name);
            (kind.drive)(Task { hand: hand.clone(), dice: dice.fork(number), token })
        });
        try_join_all(drives).await?;
        drop(stop);
        worker.await??;
        Ok(this)
    }

    /// What is violated after these changes, which are undone.
    async fn violated_by(&self, before: &'static str, after: &'static str) -> anyhow::Result<Vec<String>> {
        let mut connection = PgConnection::connect(self.database.url()).await?;
        let mut transaction = connection.begin().await?;
        raw_sql(AssertSqlSafe(before)).execute(&mut *transaction).await?;
        read(&mut transaction, &self.directory).await?;
        raw_sql(AssertSqlSafe(after)).execute(&mut *transaction).await?;
        let found = violations(&mut transaction).await?;
        transaction.rollback().await?;
        Ok(found)
    }
}

impl Drop for Calm {
    fn drop(&mut self) {
        // Nothing can be done about what is left.
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calm_system_violates_nothing_and_every_check_finds_its_counter_example() {
    let calm = Calm::new().await.unwrap();
    assert_eq!(calm.violated_by("", "").await.unwrap(), [""; 0]);

    for case in CASES {
        let found = calm.violated_by(case.before, case.after).await.unwrap();
        let expected = format!("not true: {}: ", case.what);
        assert!(found.iter().any(|violation| violation.starts_with(&expected)), "{expected}{found:#?}");
    }

    let tried: BTreeSet<&str> = CASES.iter().map(|case| case.what).collect();
    let all: BTreeSet<&str> = checks().map(|check| check.what).collect();
    assert_eq!(tried, all, "every check needs a counter-example");
}
