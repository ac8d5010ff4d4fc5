//! The bytes that SQL writes are those that a client in Rust writes.

use std::fmt::Write as _;

use pgworkflows_core::chrono::DateTime;
use pgworkflows_core::client::Request;
use pgworkflows_core::payload::Payload;
use pgworkflows_core::trace::{TraceContext, TracePropagator, tracing};

use super::*;

/// What a client would submit: the id and the body of its message.
async fn prepared(request: impl Request) -> (String, String) {
    let prepared = request.prepare().await.unwrap();
    let submission = prepared.submission();
    (RunId::from_u128(submission.message.as_u128()).to_string(), hex(&submission.body))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What SQL put into the inbox last: the id and the body of its message.
async fn sent(sql: &mut Caller) -> (String, String) {
    let last = "select jsonb_build_array(message_id, encode(body, 'hex')) from pgworkflows.inbox order by number desc limit 1";
    let Value::Array(last) = sql.json(last).await else { panic!("nothing was sent") };
    (last[0].as_str().unwrap().to_owned(), last[1].as_str().unwrap().to_owned())
}

/// A payload as `jsonb` shows it.
fn json(text: &str) -> Payload {
    Payload::from_json(text).unwrap()
}

#[tokio::test]
async fn starts_have_the_bytes_of_a_client() {
    let world = World::new().await;
    let (mut sql, client) = (Caller::new(&world).await, client(&world));
    let at = "2100-01-01 12:00:00.123456+00";
    let time = DateTime::parse_from_rfc3339("2100-01-01T12:00:00.123456Z").unwrap().to_utc();
    let old = DateTime::parse_from_rfc3339("0044-03-15T12:00:00Z").unwrap().to_utc();
    let hour = Duration::from_secs(3600);
    let start = |name: &str, input: &str| client.start_named(name.to_owned(), json(input));
    // Lengths on both sides of each form of a head
    for length in [1, 23, 24, 255] {
        let name = "n".repeat(length);
        sql.text(&format!("pgworkflows.start('{name}')")).await;
        assert_eq!(sent(&mut sql).await.1, prepared(start(&name, "null")).await.1, "{length}");
    }
    for length in [21, 22, 253, 254, 65_533, 65_534] {
        let input = format!("\"{}\"", "i".repeat(length));
        sql.text(&format!("pgworkflows.start('trial', '{input}')")).await;
        assert_eq!(sent(&mut sql).await.1, prepared(start("trial", &input)).await.1, "{length}");
    }
    let limited = || start("trial", "[1]").start_at(time).deadline(hour);
    for (options, rust) in [
        ("key => 'ö'", start("trial", "[1]").key_only("ö")),
        (&*format!("start_at => '{at}'"), start("trial", "[1]").start_at(time)),
        ("start_at => '0044-03-15 12:00+00'", start("trial", "[1]").start_at(old)),
        (&*format!("start_at => '{at}', deadline => '1 h'"), limited()),
        (&*format!("start_at => '{at}', deadline => '1 h', grace => '1 h'"), limited().grace(hour)),
        ("attributes => '{}'", start("trial", "[1]")),
        (
            r#"attributes => '{"größe": "groß", "a": "b", "B": "c"}'"#,
            start("trial", "[1]").attribute("größe", "groß").attribute("a", "b").attribute("B", "c"),
        ),
        ("max_attempts => 5", start("trial", "[1]").retry(RetryPolicy::exponential().max_attempts(5))),
    ] {
        sql.text(&format!("pgworkflows.start('trial', '[1]', {options})")).await;
        assert_eq!(sent(&mut sql).await.1, prepared(rust).await.1, "{options}");
    }
}

#[tokio::test]
async fn messages_have_the_bytes_of_a_client_and_with_a_key_its_ids() {
    let world = World::new().await;
    let (mut sql, client) = (Caller::new(&world).await, client(&world));
    let run = sql.run("pgworkflows.start('trial')").await;
    let handle = client.handle::<Trial>(run);
    let content = || json(r#"{"seats": 5, "company": "Acme"}"#);

    sql.text(&format!("pgworkflows.signal('{run}', 'größe', '{{\"company\":\"Acme\",\"seats\":5}}', 'ö')"))
        .await;
    assert_eq!(sent(&mut sql).await, prepared(handle.signal_named("größe", content()).key("ö")).await);
    for (call, body) in [
        (
            format!("signal('{run}', 'upgrade')"),
            prepared(handle.signal_named("upgrade", json("null"))).await.1,
        ),
        (format!("cancel('{run}')"), prepared(handle.cancel()).await.1),
        (format!("cancel('{run}', '')"), prepared(handle.cancel().reason("")).await.1),
        (format!("cancel('{run}', 'because')"), prepared(handle.cancel().reason("because")).await.1),
        (format!("terminate('{run}', 'stuck')"), prepared(handle.terminate("stuck")).await.1),
        (format!("pause('{run}')"), prepared(handle.pause()).await.1),
        (format!("pause('{run}', 'why')"), prepared(handle.pause().reason("why")).await.1),
        (format!("resume('{run}')"), prepared(handle.resume()).await.1),
        (format!("retry_now('{run}')"), prepared(handle.retry_now()).await.1),
    ] {
        sql.text(&format!("pgworkflows.{call}")).await;
        assert_eq!(sent(&mut sql).await.1, body, "{call}");
    }
}

/// A propagator whose programs are all at one place.
#[derive(Debug)]
struct At(TraceContext);

impl TracePropagator for At {
    fn current(&self) -> Option<TraceContext> {
        Some(self.0)
    }

    fn continue_in(&self, _: &tracing::Span, _: &TraceContext) {}
}

#[tokio::test]
async fn place_in_a_trace_has_the_bytes_of_a_client_and_one_that_is_not_valid_none() {
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let at = At(TraceContext::parse(valid).unwrap());
    let traced = Client::builder(world.store.clone()).trace_propagator(at).build().unwrap();
    let plain = client(&world);
    let mut bad = ["", "00", "ö", &valid[..54], "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"]
        .map(str::to_owned)
        .to_vec();
    bad.extend([
        valid.replacen("00", "ff", 1),
        valid.replace('b', "B"),
        format!("{valid}\n"),
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned(),
    ]);
    let is_valid =
        std::iter::once((valid.to_owned(), &traced)).chain(bad.into_iter().map(|bad| (bad, &plain)));
    for (traceparent, client) in is_valid {
        let trace = format!("traceparent => '{traceparent}'");
        let run = sql.run(&format!("pgworkflows.start('trial', {trace})")).await;
        assert_eq!(
            sent(&mut sql).await.1,
            prepared(client.start_named("trial", json("null"))).await.1,
            "{trace}"
        );
        sql.text(&format!("pgworkflows.signal('{run}', 'upgrade', {trace})")).await;
        let signal = client.signal_named(run, "upgrade", json("null"));
        assert_eq!(sent(&mut sql).await.1, prepared(signal).await.1, "{trace}");
        sql.text(&format!("pgworkflows.signal('{run}', 'upgrade', key => 'k', {trace})")).await;
        let signal = client.signal_named(run, "upgrade", json("null")).key("k");
        assert_eq!(sent(&mut sql).await, prepared(signal).await, "{trace}");
    }
}

/// Messages of which no client is the sender are pinned by the golden file of the stored form.
#[tokio::test]
async fn outcomes_of_tasks_have_the_stored_form() {
    let golden = include_str!("../../../../core/src/log/wire/golden/messages.txt");
    let body = |title: &str| {
        let (_, rest) = golden.split_once(&format!("# {title}\n")).unwrap();
        rest.lines().next().unwrap().to_owned()
    };
    let world = World::new().await;
    let mut sql = Caller::new(&world).await;
    let number = |number: u32| format!("pgworkflows.cbor_number({number})");
    for (title, code, fields) in [
        ("cancel, least", 3, "null::bytea".to_owned()),
        ("terminate, least", 4, "pgworkflows.cbor_text('')".to_owned()),
        ("task-lost, all", 6, format!("{}, {}, {}", number(100_000), number(u32::MAX), number(6))),
        (
            "task-ended, committed",
            5,
            format!(
                "{}, {}, pgworkflows.cbor_fields(array[{}, decode('47826441636d6503', 'hex')]), decode('f5', 'hex')",
                number(1),
                number(3),
                number(0)
            ),
        ),
    ] {
        let written = sql.text(&format!("encode(pgworkflows.message_body({code}, {fields}), 'hex')")).await;
        assert_eq!(written, body(title), "{title}");
    }
}
