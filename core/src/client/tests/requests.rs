//! Starts, signals, cancellations and terminations: what the store receives, and how its answers are returned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};

use super::fake::{FIRST_SHARD, FakeStore, ManualHost, NOW, SHARDS, settle};
use super::{Fixture, Greeting, WAVE, fixture, spawn};
use crate::client::Client;
use crate::client::handle::RunHandle;
use crate::client::request::Request;
use crate::data::attributes::Attributes;
use crate::data::chain::{KnownMessage, KnownMessages};
use crate::data::id::{EventSeq, LeaseId, MessageId, RunId, ShardId};
use crate::data::limits;
use crate::data::name::Name;
use crate::data::payload::Payload;
use crate::data::time::Timestamp;
use crate::error::Error;
use crate::log::event::Event;
use crate::log::message::Message;
use crate::log::wire;
use crate::store::Store;
use crate::store::append::OpenRow;
use crate::store::error::StoreError;
use crate::store::inbox::Submitted;
use crate::testing::workflow;
use crate::workflow::signal::Signal;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn some_run(random: u64) -> RunId {
    RunId::new(NOW, ShardId::new(FIRST_SHARD + 1).unwrap(), random)
}

fn last_message(store: &FakeStore) -> Message {
    wire::decode_message(&store.state().submitted.last().unwrap().body).unwrap()
}

fn start_at(message: Message) -> Option<Timestamp> {
    match message {
        Message::Start { start_at, .. } => start_at,
        other => panic!("not a start: {other:?}"),
    }
}

/// The message of the error for invalid input, after checking that the store received nothing.
fn refused<T: std::fmt::Debug>(fixture: &Fixture, result: Result<T, Error>) -> String {
    let error = result.unwrap_err();
    assert!(error.is_invalid(), "{error:?}");
    assert!(fixture.store.state().submitted.is_empty());
    error.to_string()
}

#[tokio::test]
async fn start_opens_a_run_in_a_shard_of_the_queue() {
    let Fixture { client, store, .. } = fixture();
    for _ in 0..100 {
        let run = client.start::<Greeting>("Ada".to_owned()).await.unwrap();
        assert!(!run.is_existing());
        let state = store.state();
        let submission = state.submitted.last().unwrap();
        assert_eq!(submission.run, run.run_id());
        assert_eq!(submission.message.as_u128(), run.run_id().as_u128());
        assert!((FIRST_SHARD..FIRST_SHARD + SHARDS).contains(&run.run_id().shard().get()));
        assert_eq!(run.run_id().born(), NOW);
        let opens = submission.opens.as_ref().unwrap();
        assert_eq!((opens.workflow.as_str(), &opens.key, opens.input_digest), ("greeting", &None, None));
    }
    let mut shards: Vec<_> =
        store.state().submitted.iter().map(|submission| submission.run.shard()).collect();
    shards.sort();
    shards.dedup();
    assert!(shards.len() > 30, "100 runs went to {} of 64 shards", shards.len());
}

#[tokio::test]
async fn key_decides_the_shard_and_input_the_digest() {
    let Fixture { client, store, .. } = fixture();
    let one = client.start::<Greeting>("Ada".to_owned()).key("signup:42").await.unwrap();
    let other = client.start::<Greeting>("Bob".to_owned()).key("signup:42").await.unwrap();
    // SHA-256 of `signup:42` begins with 7818b55c555cee12; stored runs depend on this number.
    assert_eq!(one.run_id().shard().get(), FIRST_SHARD + (0x7818_b55c_555c_ee12_u64 % 64) as u16);
    assert_eq!(one.run_id().shard(), other.run_id().shard());
    let opens = store.state().submitted[0].opens.clone().unwrap();
    assert_eq!(opens.key.as_deref(), Some("signup:42"));
    assert_eq!(opens.input_digest, Some(Payload::encode("Ada").unwrap().canonical_digest()));
}

#[tokio::test]
async fn start_and_signal_by_name_send_their_payload_as_it_is() {
    let Fixture { client, store, .. } = fixture();
    let json = |text: &str| Payload::from_json(text).unwrap();
    let run = client.start_named("farewell", json(r#"{"to": "Ada"}"#)).key("ada").await.unwrap();
    let Message::Start { workflow, input, .. } = last_message(&store) else { panic!("no start") };
    assert_eq!((workflow.as_str(), input), ("farewell", json(r#"{"to": "Ada"}"#)));
    let opens = store.state().submitted[0].opens.clone().unwrap();
    let typed = Payload::encode(&BTreeMap::from([("to", "Ada")])).unwrap();
    assert_eq!((opens.workflow.as_str(), opens.input_digest), ("farewell", Some(typed.canonical_digest())));
    client.signal_named(run.run_id(), "wave", json("3")).await.unwrap();
    let Message::Signal { signal, payload, .. } = last_message(&store) else { panic!("no signal") };
    assert_eq!((signal.as_str(), payload), ("wave", json("3")));
}

#[tokio::test]
async fn start_and_signal_by_name_are_checked_as_typed_ones_are() {
    let fixture = fixture();
    let (client, run) = (&fixture.client, some_run(1));
    let long = || Payload::from_json(format!("{:?}", "x".repeat(100))).unwrap();
    let error = refused(&fixture, client.start_named("farewell", long()).await);
    assert!(
        error.contains("the input of workflow `farewell` has 102 bytes, and the limit is 100"),
        "{error}"
    );
    let error = refused(&fixture, client.signal_named(run, "wave", long()).await);
    assert!(error.contains("the content of signal `wave` has 102 bytes"), "{error}");
    let one = || Payload::encode(&1).unwrap();
    assert!(refused(&fixture, client.start_named("", one()).await).contains("workflow"));
    assert!(refused(&fixture, client.signal_named(run, "a\nb", one()).await).contains("control character"));
    let run = client.handle::<Greeting>(run);
    assert!(refused(&fixture, run.update_named("", one()).await).contains("the update \"\" is empty"));
    let error = refused(&fixture, run.update_named("ask", long()).await);
    assert!(error.contains("the request of update `ask` has 102 bytes, and the limit is 100"), "{error}");
}

#[tokio::test]
async fn key_that_is_none_changes_nothing() {
    let Fixture { client, store, .. } = fixture();
    let key = || store.state().submitted.last().unwrap().opens.as_ref().unwrap().key.clone();
    client.start::<Greeting>("Ada".to_owned()).key(None::<String>).await.unwrap();
    assert_eq!(key(), None);
    let run = client.start::<Greeting>("Ada".to_owned()).key("signup:42").key(None::<&str>).await.unwrap();
    assert_eq!(key().as_deref(), Some("signup:42"));
    run.signal(WAVE, 3).key(Some("wave:1")).key(None::<String>).await.unwrap();
    let Message::Signal { key, .. } = last_message(&store) else { panic!("no signal") };
    assert_eq!(key.as_deref(), Some("wave:1"));
}

#[tokio::test]
async fn unanswered_start_is_resent_unchanged() {
    let Fixture { client, store, host } = fixture();
    for _ in 0..3 {
        store.state().submit_answers.push_back(Err(StoreError::unavailable("connection lost")));
    }
    let start = client.start::<Greeting>("Ada".to_owned());
    let started = spawn(start);
    for _ in 0..3 {
        assert!(!started.is_finished());
        host.advance(Duration::from_secs(2)).await;
    }
    let run = started.await.unwrap().unwrap();
    let submitted = &store.state().submitted;
    assert_eq!(submitted.len(), 4);
    assert!(submitted.iter().all(|submission| *submission == submitted[0]));
    assert_eq!(run.run_id(), submitted[0].run);
}

#[tokio::test]
async fn start_gives_up_after_five_retries() {
    let Fixture { client, store, host } = fixture();
    for _ in 0..10 {
        store.state().submit_answers.push_back(Err(StoreError::unavailable("connection lost")));
    }
    let started = spawn(client.start::<Greeting>("Ada".to_owned()));
    for _ in 0..5 {
        host.advance(Duration::from_secs(2)).await;
    }
    let error = started.await.unwrap().unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    assert_eq!(store.state().submitted.len(), 6);
}

#[tokio::test]
async fn held_key_is_reported_at_once() {
    let Fixture { client, store, .. } = fixture();
    store.state().submit_answers.push_back(Err(StoreError::held("key `a` is held by process 7")));
    let error = client.start::<Greeting>("Ada".to_owned()).key("a").await.unwrap_err();
    assert!(error.is_key_held() && !error.is_unavailable(), "{error:?}");
    assert_eq!(error.to_string(), "key `a` is held by process 7");
    assert_eq!(store.state().submitted.len(), 1);
}

#[tokio::test]
async fn definite_error_is_not_retried() {
    let Fixture { client, store, .. } = fixture();
    store.state().submit_answers.push_back(Err(StoreError::limit_exceeded("too old")));
    client.start::<Greeting>("Ada".to_owned()).await.unwrap_err();
    assert_eq!(store.state().submitted.len(), 1);
}

#[tokio::test]
async fn concurrent_starts_share_a_transaction() {
    let Fixture { client, store, .. } = fixture();
    let starts = (0..100).map(|number| client.start::<Greeting>(format!("guest {number}")).into_future());
    let runs = futures::future::try_join_all(starts).await.unwrap();
    let state = store.state();
    assert_eq!(state.submitted.len(), 100);
    assert!(state.submit_calls < 10, "{} transactions", state.submit_calls);
    let submitted: BTreeSet<RunId> = state.submitted.iter().map(|submission| submission.run).collect();
    assert_eq!(submitted, runs.iter().map(RunHandle::run_id).collect());
}

#[tokio::test]
async fn transaction_is_limited_in_bytes() {
    let (store, host) = (FakeStore::default(), Arc::new(ManualHost::new()));
    let client = Client::builder(store.clone()).host(host).build().unwrap();
    let large = "x".repeat(1 << 20);
    let starts = (0..30).map(|_| client.start::<Greeting>(large.clone()).into_future());
    futures::future::try_join_all(starts).await.unwrap();
    let state = store.state();
    assert_eq!(state.submitted.len(), 30);
    assert!(state.submit_bytes_max <= limits::CLIENT_BATCH_BYTES_MAX, "{} bytes", state.submit_bytes_max);
    assert!(state.submit_calls < 20, "{} transactions", state.submit_calls);
}

#[tokio::test]
async fn start_with_a_key_has_its_own_transaction() {
    let Fixture { client, store, .. } = fixture();
    let starts = (0..10).map(|number| {
        client.start::<Greeting>("Ada".to_owned()).key(format!("guest {number}")).into_future()
    });
    futures::future::try_join_all(starts).await.unwrap();
    assert_eq!(store.state().submit_calls, 10);
}

#[tokio::test]
async fn refused_start_fails_alone_in_its_batch() {
    let Fixture { client, store, .. } = fixture();
    let refusals = || Err(StoreError::limit_exceeded("too old"));
    // Both batches are refused, and then the first of the single submissions.
    store.state().submit_answers.extend([refusals(), refusals(), refusals()]);
    let starts = (0..10).map(|number| client.start::<Greeting>(format!("guest {number}")).into_future());
    let results = futures::future::join_all(starts).await;
    let refused = results.iter().filter(|result| result.is_err()).count();
    assert!((1..=3).contains(&refused), "{refused} of 10");
}

#[tokio::test]
async fn known_key_gives_a_handle_of_the_existing_run() {
    let Fixture { client, store, .. } = fixture();
    let existing = some_run(1);
    store.state().submit_answers.push_back(Ok(Submitted::Existing(existing)));
    let run = client.start::<Greeting>("Ada".to_owned()).key("ada").await.unwrap();
    assert!(run.is_existing());
    assert_eq!(run.run_id(), existing);
}

#[tokio::test]
async fn repeated_start_that_finds_itself_is_not_an_existing_run() {
    let Fixture { client, store, .. } = fixture();
    let prepared = client.start::<Greeting>("Ada".to_owned()).key("ada").prepare().await.unwrap();
    let own = prepared.submission().run;
    let run = prepared.answered(Submitted::Existing(own)).unwrap();
    assert!(!run.is_existing());
    assert!(store.state().submitted.is_empty());
}

#[tokio::test]
async fn key_with_another_input_is_an_error_that_names_both() {
    let Fixture { client, store, .. } = fixture();
    let holder = some_run(1);
    store.state().submit_answers.push_back(Ok(Submitted::KeyConflict(holder)));
    let error = client.start::<Greeting>("Ada".to_owned()).key("ada").await.unwrap_err();
    assert!(error.is_key_conflict());
    assert_eq!(error.run(), Some(holder));
    assert!(error.to_string().contains("`ada`"), "{error}");
}

#[tokio::test]
async fn caller_chooses_what_a_key_compares() {
    let Fixture { client, store, .. } = fixture();
    let start = || client.start::<Greeting>("Ada".to_owned());
    start().key("ada").key_only("ada").await.unwrap();
    start().key_with_digest("ada", [7; 32]).await.unwrap();
    let opens: Vec<_> =
        store.state().submitted.iter().flat_map(|submission| submission.opens.clone()).collect();
    assert_eq!(opens.iter().map(|opens| opens.input_digest).collect::<Vec<_>>(), [None, Some([7; 32])]);
    assert!(opens.iter().all(|opens| opens.key.as_deref() == Some("ada")));

    store.state().submit_answers.push_back(Ok(Submitted::KeyConflict(some_run(1))));
    let error = start().key_with_digest("ada", [8; 32]).await.unwrap_err().to_string();
    assert!(error.contains("under the key `ada` with another digest; use another key"), "{error}");
}

#[tokio::test]
async fn key_conflict_says_where_the_inputs_differ_and_shows_neither() {
    workflow!(Tag, "tag", |_, _: BTreeMap<String, Vec<u32>>| -> () { Ok(()) });
    let input = |lists: &[(&str, &[u32])]| -> BTreeMap<_, _> {
        lists.iter().map(|(name, list)| ((*name).to_owned(), list.to_vec())).collect()
    };
    // Given a run that was started with another input
    let Fixture { client, store, .. } = fixture();
    let theirs = input(&[("set", &[11, 12]), ("list", &[1]), ("same", &[5])]);
    let started = Event::RunStarted {
        parent: None,
        parent_call: None,
        workflow: Name::from_static("tag"),
        input: Payload::encode(&theirs).unwrap(),
        key: Some("k".to_owned()),
        start_at: None,
        deadline: None,
        grace_until: None,
        lease: LeaseId::FIRST,
        chain: None,
        run_retry: None,
        trace: None,
        carried: None,
        attributes: Attributes::default(),
    };
    store.state().frames = vec![crate::testing::frame(some_run(1), EventSeq::FIRST, NOW, &[started])];
    store.state().submit_answers.push_back(Ok(Submitted::KeyConflict(some_run(1))));

    // When its key is used again
    let ours = input(&[("set", &[12, 11]), ("list", &[2]), ("same", &[5])]);
    let error = client.start::<Tag>(ours).key("k").await.unwrap_err();

    // Then the error names the places
    assert!(error.is_key_conflict());
    let expected = "with another input, which differs in `list[0]`, `set` (the same items in another order); use \
                    another key for another start, or `key_only` where the key alone is to count";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[tokio::test]
async fn payload_that_its_type_cannot_read_never_reaches_the_store() {
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(untagged)]
    enum Amount {
        Wide { cents: u128 },
    }
    workflow!(Pay, "pay", |_, _: Vec<Amount>| -> () { Ok(()) });
    const PAID: Signal<Amount> = Signal::new("paid");
    let Fixture { client, store, .. } = fixture();
    let start = client.start::<Pay>(vec![Amount::Wide { cents: 1 }]).await.unwrap_err();
    let signal = client.signal(some_run(1), PAID, Amount::Wide { cents: 1 }).await.unwrap_err();
    assert!(start.is_payload() && signal.is_payload());
    assert!(start.to_string().contains("the input of workflow `pay`"), "{start}");
    assert!(start.to_string().contains("`[0].cents`: it has 128 bits"), "{start}");
    assert!(signal.to_string().contains("the content of signal `paid`"), "{signal}");
    assert!(store.state().submitted.is_empty());
}

#[tokio::test]
async fn payload_over_the_limit_never_reaches_the_store() {
    let fixture = fixture();
    let message = refused(&fixture, fixture.client.start::<Greeting>("x".repeat(101)).await);
    assert!(
        message.contains("the input of workflow `greeting` has 103 bytes, and the limit is 100"),
        "{message}"
    );
    let long: Signal<String> = Signal::new("long");
    let message = refused(&fixture, fixture.client.signal(some_run(1), long, "x".repeat(101)).await);
    assert!(message.contains("the content of signal `long` has 103 bytes"), "{message}");
}

#[tokio::test]
async fn bad_keys_and_names_are_refused() {
    let fixture = fixture();
    for key in ["", "a\u{0}b", &"k".repeat(256)] {
        refused(&fixture, fixture.client.start::<Greeting>(String::new()).key(key).await);
        refused(&fixture, fixture.client.signal(some_run(1), WAVE, 1).key(key).await);
        refused(&fixture, fixture.client.find::<Greeting>(key).await);
    }
    let nameless: Signal<u32> = Signal::new("");
    refused(&fixture, fixture.client.signal(some_run(1), nameless, 1).await);
    let message = refused(&fixture, fixture.client.cancel(some_run(1)).reason("r".repeat(4097)).await);
    assert!(message.contains("4097 bytes, and the limit is 4096"), "{message}");
    refused(&fixture, fixture.client.terminate(some_run(1), "r".repeat(4097)).await);
}

#[tokio::test]
async fn delay_counts_from_the_time_of_the_store() {
    let Fixture { client, store, host } = fixture();
    client.start::<Greeting>(String::new()).await.unwrap();
    assert_eq!(start_at(last_message(&store)), None);
    host.advance(Duration::from_secs(10)).await;
    let run = client.start::<Greeting>(String::new()).delay(DAY).await.unwrap();
    let now = NOW.saturating_add(Duration::from_secs(10));
    assert_eq!(start_at(last_message(&store)), Some(now.saturating_add(DAY)));
    assert_eq!(run.run_id().born(), now);
    let time: DateTime<Utc> = Utc.with_ymd_and_hms(2030, 1, 1, 0, 0, 0).unwrap();
    client.start::<Greeting>(String::new()).delay(DAY).start_at(time).await.unwrap();
    assert_eq!(start_at(last_message(&store)), Some(time.into()));
}

#[tokio::test]
async fn impossible_delay_is_refused() {
    let fixture = fixture();
    let start = || fixture.client.start::<Greeting>(String::new());
    let message = refused(&fixture, start().delay(Duration::ZERO).await);
    assert!(message.contains("delayed by zero"), "{message}");
    let message = refused(&fixture, start().delay(Duration::MAX).await);
    assert!(message.contains("beyond the latest time"), "{message}");
    let message = refused(&fixture, start().start_at(DateTime::<Utc>::MAX_UTC).await);
    assert!(message.contains("9999-12-31T23:59:59"), "{message}");
}

#[tokio::test]
async fn store_time_is_read_at_most_once_a_minute() {
    let Fixture { client, store, host } = fixture();
    let starts = (0..10).map(|_| client.start::<Greeting>(String::new()).into_future());
    futures::future::join_all(starts).await;
    host.advance(Duration::from_secs(59)).await;
    client.start::<Greeting>(String::new()).await.unwrap();
    assert_eq!(store.state().queue_asked, 1);
    host.advance(Duration::from_secs(1)).await;
    client.start::<Greeting>(String::new()).await.unwrap();
    assert_eq!(store.state().queue_asked, 2);
}

#[tokio::test]
async fn keyed_signal_has_the_same_id_from_every_sender() {
    let (one, other) = (fixture(), fixture());
    other.client.signal(some_run(9), WAVE, 9).await.unwrap();
    one.client.signal(some_run(1), WAVE, 1).key("k").await.unwrap();
    other.client.signal(some_run(1), WAVE, 2).key("k").await.unwrap();
    let id = |fixture: &Fixture| fixture.store.state().submitted.last().unwrap().message;
    assert_eq!(id(&one), id(&other));
    // Messages in flight depend on this number.
    assert_eq!(id(&one), MessageId::from_u128(0x536b_69c0_5078_3910_916e_05e8_f09d_e45b));
    let same = id(&one);
    one.client.signal(some_run(2), WAVE, 1).key("k").await.unwrap();
    assert_ne!(id(&one), same);
    one.client.signal(some_run(1), WAVE, 1).key("l").await.unwrap();
    assert_ne!(id(&one), same);
    let shorter: Signal<u32> = Signal::new("wav");
    one.client.signal(some_run(1), shorter, 1).key("ek").await.unwrap();
    assert_ne!(id(&one), same);
}

#[tokio::test]
async fn signals_without_a_key_differ() {
    let Fixture { client, store, .. } = fixture();
    client.signal(some_run(1), WAVE, 1).await.unwrap();
    client.signal(some_run(1), WAVE, 1).await.unwrap();
    let state = store.state();
    assert_ne!(state.submitted[0].message, state.submitted[1].message);
}

#[tokio::test]
async fn messages_contain_what_the_caller_passed() {
    let Fixture { client, store, .. } = fixture();
    let run = client.handle::<Greeting>(some_run(1));
    run.signal(WAVE, 7).key("k").await.unwrap();
    let Message::Signal { signal, payload, key, trace: None } = last_message(&store) else { panic!() };
    assert_eq!((&*signal, payload.decode::<u32>().unwrap(), key.as_deref()), ("wave", 7, Some("k")));
    run.cancel().await.unwrap();
    assert_eq!(last_message(&store), Message::Cancel { reason: None, parent: None });
    run.cancel().reason("changed my mind").await.unwrap();
    assert_eq!(
        last_message(&store),
        Message::Cancel { reason: Some("changed my mind".to_owned()), parent: None }
    );
    run.terminate("stuck").await.unwrap();
    assert_eq!(last_message(&store), Message::Terminate { reason: "stuck".to_owned(), parent: None });
    run.resume().await.unwrap();
    assert_eq!(last_message(&store), Message::Resume {});
    assert!(store.state().submitted.iter().all(|submission| submission.opens.is_none()));
}

#[tokio::test]
async fn finished_and_unknown_runs_refuse_messages() {
    let Fixture { client, store, .. } = fixture();
    store.state().submit_answers.extend([Ok(Submitted::RunOver), Ok(Submitted::UnknownRun)]);
    let run = client.handle::<Greeting>(some_run(1));
    let error = run.signal(WAVE, 1).await.unwrap_err();
    assert!(error.is_run_over() && error.run() == Some(run.run_id()), "{error:?}");
    let error = run.cancel().await.unwrap_err();
    assert!(error.is_unknown_run() && error.to_string().contains(&run.run_id().to_string()), "{error}");
}

#[tokio::test]
async fn message_that_may_have_ended_its_run_is_not_called_refused() {
    let Fixture { client, store, host } = fixture();
    let answers = [Err(StoreError::unavailable("connection lost")), Ok(Submitted::RunOver)];
    store.state().submit_answers.extend(answers);
    let sent = spawn(client.cancel(some_run(1)));
    host.advance(Duration::from_secs(2)).await;
    let error = sent.await.unwrap().unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("read its history"), "{error}");
}

#[tokio::test]
async fn message_that_another_run_of_the_chain_received_was_accepted() {
    // Given a chain that is over, whose last run knows that its predecessor has logged a signal
    let Fixture { client, store, host } = fixture();
    let (first, last) = (some_run(1), some_run(2));
    store.describe_as(first, "greeting", OpenRow::default());
    store.describe_as(last, "greeting", OpenRow::default());
    store.state().described.get_mut(&first).unwrap().current = Some(last);
    let signal = || client.signal(first, WAVE, 1).key("once");
    let message = signal().prepare().await.unwrap().submission().message;
    let messages = KnownMessages(vec![KnownMessage { message, at: NOW }]);
    store.state().frames =
        vec![crate::testing::frame(last, EventSeq::FIRST, NOW, &[Event::MessagesKnown { messages }])];

    // When the answer to the first try is lost, and the second is told that the run is over
    for (key, was_received) in [("once", true), ("other", false)] {
        let answers = [Err(StoreError::unavailable("connection lost")), Ok(Submitted::RunOver)];
        store.state().submit_answers.extend(answers);
        let sent = spawn(signal().key(key));
        host.advance(Duration::from_secs(2)).await;

        // Then the client knows what was received
        assert_eq!(sent.await.unwrap().is_ok(), was_received, "{key}");
    }
}

#[tokio::test]
async fn prepared_request_returns_its_store() {
    let shared: std::sync::Arc<dyn Store> = std::sync::Arc::new(FakeStore::default());
    let client = Client::builder(FakeStore::default()).build().unwrap();
    let prepared = client.cancel(some_run(1)).prepare().await.unwrap();
    assert!(prepared.store_as::<FakeStore>().is_ok());
    assert!(prepared.store_as::<std::sync::Arc<dyn Store>>().unwrap_err().is_foreign_transaction());
    let client = Client::builder(shared).build().unwrap();
    let prepared = client.cancel(some_run(1)).prepare().await.unwrap();
    assert!(prepared.store_as::<FakeStore>().is_ok());
}

#[tokio::test]
async fn impossible_settings_are_refused() {
    let builder = || Client::builder(FakeStore::default());
    for bad in [
        builder().queue(""),
        builder().queue("a\nb"),
        builder().queue_shards(0),
        builder().queue_shards(4097),
        builder().poll_interval(Duration::ZERO),
    ] {
        assert!(bad.build().unwrap_err().is_invalid());
    }
    assert!(builder().queue("mails").queue_shards(4096).build().is_ok());
    settle().await;
}

#[test]
fn client_outside_of_a_runtime_is_refused() {
    let error = Client::builder(FakeStore::default()).build().unwrap_err();
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}

#[test]
fn requests_can_travel_between_threads() {
    fn is_send<T: Send>(_: impl FnOnce(Client) -> T) {}
    struct Local;
    impl crate::workflow::Workflow for Local {
        const NAME: &'static str = "local";
        // An input that must stay in its thread does not keep the start there.
        type Input = std::marker::PhantomData<*const ()>;
        type Output = std::marker::PhantomData<*const ()>;
        async fn run(
            _: crate::workflow::context::Context,
            input: Self::Input,
        ) -> crate::workflow::error::WorkflowResult<Self::Output> {
            Ok(input)
        }
    }
    is_send(|client| async move {
        let run = client.start::<Local>(std::marker::PhantomData).key("k").await?;
        run.signal(WAVE, 1).await?;
        run.result().await.map(drop)
    });
}

#[tokio::test]
async fn description_of_an_unknown_queue_names_it_and_says_what_creates_it() {
    let Fixture { client, .. } = fixture();
    let error = client.queue("emials").describe().await.unwrap_err();
    assert!(error.is_invalid());
    assert!(error.to_string().contains("there is no queue `emials` yet: a worker that serves it"), "{error}");
}

#[tokio::test]
async fn client_that_is_told_two_types_of_one_name_is_not_built() {
    let told = || Client::builder(FakeStore::default()).host(Arc::new(ManualHost::new())).signal(WAVE);
    let refused = |error: Error| {
        assert!(error.is_invalid(), "{error}");
        error.to_string()
    };
    assert!(told().signal(WAVE).build().is_ok(), "the same type may be told again");
    let error = refused(told().signal(Signal::<String>::new(WAVE.name())).build().unwrap_err());
    assert!(error.contains("signal `wave` takes u32, and that it takes alloc::string::String"), "{error}");
    let error = refused(told().signal(Signal::<u32>::new("wa\0ve")).build().unwrap_err());
    assert!(error.contains(r#"the signal "wa\0ve" contains a control character"#), "{error}");
}

#[tokio::test]
async fn builders_are_futures_that_macros_join() {
    let Fixture { client, .. } = fixture();
    let (one, other) = futures::try_join!(
        client.start::<Greeting>("Ada".to_owned()),
        client.start::<Greeting>("Bob".to_owned()).key("guest:bob"),
    )
    .expect("both start");
    let (signalled, cancelled, runs) = futures::join!(
        one.signal(WAVE, 1).key("wave:1"),
        other.cancel().reason("no"),
        client.list().limit(5)
    );
    assert!(signalled.is_ok() && cancelled.is_ok() && runs.is_ok());
    // One that is never polled sends nothing.
    drop(one.terminate("never sent"));
}

#[tokio::test]
#[should_panic = "an option was set after the builder was first polled"]
async fn option_after_the_first_poll_is_a_panic_and_not_ignored() {
    let Fixture { client, store, .. } = fixture();
    store.state().submit_answers.push_back(Err(StoreError::unavailable("connection lost")));
    let mut start = client.start::<Greeting>("Ada".to_owned());
    assert!(futures::poll!(&mut start).is_pending());
    drop(start.key("too late"));
}
