//! Thousands of calls with odd arguments: each succeeds, or fails with a code that the guide lists.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;

/// How many calls are made.
const CALLS: usize = 6_000;

/// Another number of calls, and the seed of their arguments: `1000000 42`.
const MORE: &str = "PGWORKFLOWS_SQL_CALLS";

/// How many of them are in one transaction.
const BATCH: usize = 300;

/// The codes of the guide.
const CODES: &[&str] = &["PW101", "PW102", "PW103", "PW104", "PW105", "PW106", "PW107", "PW003"];

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

fn call() -> impl Strategy<Value = String> {
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

#[tokio::test]
async fn no_argument_makes_anything_but_a_documented_code() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    sql.execute(
        "create function pg_temp.attempt(call text) returns text language plpgsql as $$
         begin
             execute 'select from pgworkflows.' || call;
             return 'ok';
         exception when others then
             return sqlstate || ' ' || sqlerrm;
         end
         $$",
    )
    .await;
    sql.run(r#"pgworkflows.start('trial', '{"company": "Acme", "seats": 3}', 'open')"#).await;
    let over = sql.run("pgworkflows.start('trial', key => 'over')").await;
    sql.text(&format!("pgworkflows.terminate('{over}', '')")).await;
    let talk = async {
        sql.until(&format!("pgworkflows.result('{over}')")).await;
    };
    worker(&world).run_until(talk).await.unwrap();
    sql.text("pgworkflows.open_executor('fuzz', lease => '1 day')").await;

    let more = std::env::var(MORE).unwrap_or_default();
    let mut more = more.split(' ').map(|number| number.parse::<usize>().ok());
    let (calls, seed) = (more.next().flatten().unwrap_or(CALLS), more.next().flatten().unwrap_or(7));
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed as u8; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), seed);
    let call = call();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..calls / BATCH {
        let calls: Vec<String> = (0..BATCH).map(|_| call.new_tree(&mut runner).unwrap().current()).collect();
        sql.execute("begin").await;
        let answers: Vec<String> =
            sqlx::query_scalar("select pg_temp.attempt(c.call) from unnest($1::text[]) with ordinality as c (call, n) order by n")
                .bind(&calls)
                .fetch_all(&mut sql.0)
                .await
                .unwrap();
        // The next calls meet what these have done.
        sql.execute("commit").await;
        for (call, answer) in calls.iter().zip(answers) {
            let code = answer.split(' ').next().unwrap_or_default();
            assert!(code == "ok" || CODES.contains(&code), "{call}: {answer}");
            *counts.entry(code.to_owned()).or_default() += 1;
        }
    }
    // The arguments are odd, and not all of them are: most codes are met often
    let often = |code: &str| counts.get(code).copied().unwrap_or_default();
    assert!(often("ok") > calls / 10, "{counts:?}");
    for code in ["PW101", "PW102", "PW103", "PW104", "PW105", "PW106", "PW107"] {
        assert!(often(code) > 0, "{code}: {counts:?}");
    }
    // And what was accepted can be read: by a worker, whose run goes on or stalls
    let worker = worker(&world);
    let unread = "select to_jsonb(true) where not exists (
                      select from pgworkflows.inbox i join pgworkflows.open_runs o using (run_id)
                      where o.workflow = 'trial' and i.shard < 4)";
    worker.run_until(async { drop(sql.until(unread).await) }).await.unwrap();
}
