//! The SQL functions: calls with odd arguments. Each succeeds, or fails with a code that the guide lists.
//!
//! A server tells a fuzzer nothing of the paths that it takes, and an answer takes a round trip. So bytes are the seed of many calls,
//! which one statement makes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pgworkflows::prelude::*;
use pgworkflows::{Error, PostgresStore, RunId};
use pgworkflows_pg_harness::{Database, Postgres};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// The codes of the guide.
const CODES: [&str; 8] = ["PW101", "PW102", "PW103", "PW104", "PW105", "PW106", "PW107", "PW003"];

/// Makes a call, and tells how it ended. What a failed one did is rolled back.
const ATTEMPT: &str = "
    create function pg_temp.attempt(call text) returns text language plpgsql as $$
    begin
        execute 'select from pgworkflows.' || call;
        return 'ok';
    exception when others then
        return sqlstate || ' ' || sqlerrm;
    end
    $$";

/// Makes many.
const ATTEMPTS: &str =
    "select pg_temp.attempt(c.call) from unnest($1::text[]) with ordinality as c (call, n) order by n";

/// Waits for a signal, and answers updates until then.
#[derive(Debug)]
pub struct Trial;

/// What [`Trial`] takes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Signup {
    company: String,
    seats: u32,
}

const UPGRADE: Signal<bool> = Signal::new("upgrade");
const ADD: Update<u32, u32> = Update::new("add-seats").check(|seats| match seats {
    0 => Err("no seats".into()),
    _ => Ok(()),
});

impl Workflow for Trial {
    const NAME: &'static str = "trial";
    type Input = Signup;
    type Output = String;

    async fn run(ctx: Context, signup: Signup) -> WorkflowResult<String> {
        let seats = Shared::new(signup.seats);
        let state = seats.clone();
        let adding = ctx.serve(ADD, async move |more| {
            state.with(|seats| {
                *seats = seats.saturating_add(more);
                *seats
            })
        });
        let upgraded = ctx.wait_for(UPGRADE).await?;
        adding.drain().await?;
        Ok(format!("{} upgraded to {} seats: {upgraded}", signup.company, seats.with(|seats| *seats)))
    }
}

/// A database with a run that is open, `('trial', 'open')`, one that is over, `('trial', 'over')`, and the executor `fuzz`.
#[derive(Debug)]
pub struct Functions {
    connection: PgConnection,
    store: PostgresStore,
    _database: Database,
}

impl Functions {
    /// Makes the database.
    ///
    /// # Errors
    /// Returns the error of the store, which does not answer, say.
    ///
    /// # Panics
    /// Panics if there is no server.
    pub async fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let database = Postgres::shared().create_database()?;
        let store = PostgresStore::builder(database.url()).connect().await?;
        let client = Client::builder(store.clone()).queue_shards(4).build()?;
        client.start_named("trial", serde_json::json!({"company": "Acme", "seats": 3})).key("open").await?;
        let over = client.start_named("trial", serde_json::json!(null)).key("over").await?;
        over.terminate("").await?;
        let mut functions =
            Self { connection: PgConnection::connect(database.url()).await?, store, _database: database };
        functions.worker()?.run_until(async { drop(over.result().await) }).await?;
        functions.connection.execute(ATTEMPT).await?;
        functions.connection.execute("select pgworkflows.open_executor('fuzz', lease => '1 day')").await?;
        Ok(functions)
    }

    /// A worker that knows the workflow.
    ///
    /// # Errors
    /// Returns the error of its builder.
    pub fn worker(&self) -> Result<Worker, Error> {
        let worker = Worker::builder(self.store.clone()).queue_shards(4).workflow::<Trial>();
        worker.heartbeat_interval(Duration::from_millis(50)).build()
    }

    /// Makes that many calls in one transaction, and keeps or forgets what they did. Returns how many of them ended with each code,
    /// or `ok`.
    ///
    /// # Errors
    /// Returns the driver's error if the connection ended.
    ///
    /// # Panics
    /// Panics if a call ends with a code that is not documented.
    pub async fn attempt(
        &mut self,
        seed: &[u8],
        calls: usize,
        keep: bool,
    ) -> Result<BTreeMap<String, usize>, sqlx::Error> {
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(seed).for_each(|(byte, given)| *byte = *given);
        let mut runner =
            TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let call = call();
        let calls: Vec<String> = (0..calls)
            .map(|_| call.new_tree(&mut runner).expect("no value is filtered out").current())
            .collect();
        let mut transaction = self.connection.begin().await?;
        let answers: Vec<String> =
            sqlx::query_scalar(ATTEMPTS).bind(&calls).fetch_all(&mut *transaction).await?;
        if keep {
            transaction.commit().await?
        } else {
            transaction.rollback().await?
        }
        let mut counts = BTreeMap::new();
        for (call, answer) in calls.iter().zip(answers) {
            let code = answer.split(' ').next().unwrap_or_default();
            assert!(code == "ok" || CODES.contains(&code), "{call}: {answer}");
            *counts.entry(code.to_owned()).or_default() += 1;
        }
        Ok(counts)
    }

    /// How many rows a condition holds for, such as `pgworkflows.inbox where shard < 4`.
    ///
    /// # Errors
    /// Returns the driver's error.
    pub async fn count(&mut self, from: &str) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {from}")))
            .fetch_one(&mut self.connection)
            .await
    }
}

/// A literal that cannot end before its end.
fn literal(text: &str) -> String {
    let mut escaped = String::from("U&'");
    for c in text.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' => escaped.push(c),
            _ => write!(escaped, "\\+{:06x}", u32::from(c)).unwrap(),
        }
    }
    escaped + "'"
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just("null".to_owned()),
        2 => Just("''".to_owned()),
        4 => "[a-z]{1,8}".prop_map(|text| literal(&text)),
        4 => any::<String>().prop_map(|text| literal(&text.replace('\0', ""))),
        2 => (250_usize..260).prop_map(|length| format!("repeat('ö', {length} / 2) || repeat('n', {length} % 2)")),
        1 => (4090_usize..4100).prop_map(|length| format!("repeat('r', {length})")),
        1 => Just("repeat('x', 100000)".to_owned()),
        1 => any::<u32>().prop_map(|c| literal(&char::from_u32(c % 0xa0).filter(|c| *c != '\0').unwrap_or(' ').to_string())),
    ]
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(|text| Value::from(text.replace('\0', ""))),
    ];
    let tree = leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-zé\\\\\"]{0,4}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop_oneof![
        1 => Just("null".to_owned()),
        8 => tree.prop_map(|value| format!("{}::jsonb", literal(&value.to_string()))),
        1 => (120_usize..135).prop_map(|levels| format!("(repeat('[', {levels}) || repeat(']', {levels}))::jsonb")),
        1 => (120_usize..135).prop_map(|levels| format!("(repeat('{{\"a\":', {levels}) || '1' || repeat('}}', {levels}))::jsonb")),
        1 => (300_i32..320, any::<bool>()).prop_map(|(exponent, negative)| {
            format!("'[{}1e{exponent}]'::jsonb", if negative { "-" } else { "" })
        }),
        1 => (-400_i32..0).prop_map(|exponent| format!("'1e{exponent}'::jsonb")),
        1 => Just("to_jsonb(repeat('y', 2097160))".to_owned()),
        1 => Just("jsonb_build_object('a', repeat('[', 200))".to_owned()),
    ]
}

fn interval() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("interval '0'".to_owned()),
        any::<i32>().prop_map(|months| format!("make_interval(months => {months})")),
        any::<i32>().prop_map(|days| format!("make_interval(days => {days})")),
        any::<i32>().prop_map(|seconds| format!("interval '1 microsecond' * {seconds}")),
        (1..100_000).prop_map(|seconds| format!("interval '{seconds} s'")),
        (1..150).prop_map(|years| format!("interval '{years} years -3 days'")),
    ]
}

fn time() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("timestamptz 'infinity'".to_owned()),
        Just("timestamptz '-infinity'".to_owned()),
        Just("timestamptz '4713-01-02 00:00+00 BC'".to_owned()),
        Just("timestamptz '294276-12-31 00:00+00'".to_owned()),
        any::<i32>().prop_map(|seconds| format!("clock_timestamp() + interval '1 s' * {seconds}")),
        (-3_000_000..3_000_000).prop_map(|days| format!("clock_timestamp() + interval '1 day' * {days} / 8")),
    ]
}

/// A run: one that is open, one that is over, or one that does not exist.
fn run() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just("null".to_owned()),
        6 => Just("pgworkflows.run_of('trial', 'open')".to_owned()),
        3 => Just("pgworkflows.run_of('trial', 'over')".to_owned()),
        2 => any::<u128>().prop_map(|run| format!("'{run:032x}'::uuid")),
    ]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        (-2_i32..5).prop_map(|n| n.to_string()),
        any::<i32>().prop_map(|n| n.to_string())
    ]
}

/// The place in a trace, mostly, or something that is none.
fn traceparent() -> impl Strategy<Value = String> {
    prop_oneof![2 => "'[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}'", 1 => "'0{2}-0{32}-[0-9a-f]{16}-01'", 1 => text()]
}

fn executor() -> impl Strategy<Value = String> {
    let open = "(select max(executor) from pgworkflows.executors where worker = 'fuzz' and not fenced)";
    prop_oneof![4 => Just(open.to_owned()), 1 => any::<i64>().prop_map(|n| format!("({n})")), 1 => Just("null".to_owned())]
}

fn task() -> impl Strategy<Value = String> {
    prop_oneof![
        text(),
        (any::<u64>(), any::<u128>(), 0..1_000_000_000_u32, 0..9_u32, any::<u32>(), any::<bool>()).prop_map(
            |(executor, run, seq, claim, call, transactional)| {
                let run = RunId::from_u128(run);
                format!("'{executor}/{run}/{seq}/{claim}/{call}{}'", if transactional { "/t" } else { "" })
            }
        ),
    ]
}

fn boolean() -> impl Strategy<Value = String> {
    prop_oneof![Just("null".to_owned()), Just("true".to_owned()), Just("false".to_owned())]
}

/// A call of a function of the SQL interface: everything after its schema.
pub fn call() -> impl Strategy<Value = String> {
    let workflow = prop_oneof![2 => Just("'trial'".to_owned()), 1 => text()];
    let queue = prop_oneof![6 => Just("null".to_owned()), 1 => Just("'default'".to_owned()), 1 => text()];
    let optional = |strategy: BoxedStrategy<String>| prop_oneof![3 => Just("null".to_owned()), 1 => strategy];
    let trace = || optional(traceparent().boxed());
    prop_oneof![
        6 => (
            (workflow, json(), optional(text().boxed()), queue, optional(interval().boxed()), optional(time().boxed())),
            (optional(interval().boxed()), optional(interval().boxed()), number(), optional(text().boxed()), json(), boolean(), trace()),
        ).prop_map(|((w, i, k, q, d, s), (l, g, n, e, p, t, c))| {
            format!("start({w}, {i}, {k}, {q}, {d}, {s}, {l}, {g}, {n}, {e}, {p}, {t}, {c})")
        }),
        4 => (run(), text(), json(), text(), boolean(), trace())
            .prop_map(|(r, n, p, k, t, c)| format!("signal({r}, {n}, {p}, {k}, {t}, {c})")),
        2 => (run(), text(), json(), text(), boolean(), trace())
            .prop_map(|(r, n, p, k, t, c)| format!("update({r}, {n}, {p}, {k}, {t}, {c})")),
        1 => (run(), text()).prop_map(|(r, w)| format!("cancel({r}, {w})")),
        1 => (run(), text()).prop_map(|(r, w)| format!("terminate({r}, {w})")),
        1 => (run(), text()).prop_map(|(r, w)| format!("pause({r}, {w})")),
        1 => (run(), boolean()).prop_map(|(r, t)| format!("resume({r}, {t})")),
        1 => (run(), boolean()).prop_map(|(r, t)| format!("retry_now({r}, {t})")),
        1 => run().prop_map(|r| format!("result({r})")),
        1 => run().prop_map(|r| format!("status({r})")),
        1 => (run(), any::<u128>()).prop_map(|(r, u)| format!("reply({r}, '{u:032x}')")),
        1 => (text(), text()).prop_map(|(w, k)| format!("run_of({w}, {k})")),
        1 => (text(), number()).prop_map(|(q, n)| format!("create_queue({q}, {n} / 1000)")),
        1 => (text(), text(), interval()).prop_map(|(w, q, l)| format!("open_executor({w}, array[{q}], lease => {l})")),
        2 => (executor(), text(), number(), text()).prop_map(|(e, q, n, a)| {
            format!("claim_tasks({e}, {q}, {n}, array[{a}])")
        }),
        1 => (executor(), text(), number()).prop_map(|(e, q, n)| format!("claim_tasks({e}, {q}, {n})")),
        1 => (executor(), task(), interval()).prop_map(|(e, t, l)| format!("renew_executor({e}, array[{t}], {l})")),
        2 => (task(), json()).prop_map(|(t, r)| format!("complete_task({t}, {r})")),
        2 => (task(), text(), text(), boolean(), json()).prop_map(|(t, k, m, r, d)| format!("fail_task({t}, {k}, {m}, {r}, {d})")),
        1 => (task(), interval()).prop_map(|(t, p)| format!("release_task({t}, {p})")),
        1 => executor().prop_map(|e| format!("close_executor({e})")),
    ]
}
