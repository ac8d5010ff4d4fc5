//! In which queue a client starts a run. These tests must not know what else is in a start.

use std::time::Duration;

use super::fake::{FakeStore, SHARDS};
use super::{Fixture, Greeting, fixture};
use crate::client::Client;

/// The queues of the store, and how often it was asked for the queue of a workflow.
fn asked(store: &FakeStore) -> (Vec<String>, u32) {
    let mut state = store.state();
    (std::mem::take(&mut state.opened), state.queues_asked)
}

fn known_in(queues: &[&str]) -> Fixture {
    let fixture = fixture();
    fixture.store.state().queues = queues.iter().map(|queue| (*queue).to_owned()).collect();
    fixture
}

async fn start(client: &Client) -> Result<(), crate::error::Error> {
    client.start::<Greeting>(String::new()).await.map(drop)
}

#[tokio::test]
async fn run_is_started_in_the_queue_that_knows_its_workflow() {
    let Fixture { client, store, host } = known_in(&["mails"]);
    futures::future::join_all((0..10).map(|_| start(&client))).await;
    assert_eq!(asked(&store), (vec!["mails".to_owned()], 1), "it is asked for once");

    // When the workflow has moved to another queue, then the client notices that after a minute
    store.state().queues = vec!["letters".to_owned()];
    host.advance(Duration::from_secs(59)).await;
    start(&client).await.unwrap();
    assert_eq!(asked(&store), (vec![], 1));
    host.advance(Duration::from_secs(1)).await;
    start(&client).await.unwrap();
    assert_eq!(asked(&store), (vec!["letters".to_owned()], 2));
}

#[tokio::test]
async fn workflow_that_no_worker_ever_knew_is_started_in_the_default_queue_until_one_does() {
    let Fixture { client, store, host } = known_in(&[]);
    start(&client).await.unwrap();
    start(&client).await.unwrap();
    assert_eq!(asked(&store), (vec!["default".to_owned()], 1));
    store.state().queues = vec!["mails".to_owned()];
    host.advance(Duration::from_secs(1)).await;
    start(&client).await.unwrap();
    assert_eq!(asked(&store), (vec!["mails".to_owned()], 2));
}

#[tokio::test]
async fn default_queue_is_taken_if_it_is_one_of_several() {
    let Fixture { client, store, .. } = known_in(&["a", "default", "z"]);
    start(&client).await.unwrap();
    assert_eq!(asked(&store).0, ["default"]);
}

#[tokio::test]
async fn start_names_the_queues_among_which_it_cannot_choose() {
    let Fixture { client, store, .. } = known_in(&["letters", "mails"]);
    let error = start(&client).await.unwrap_err();
    assert!(error.is_invalid());
    let expected = "workers of the queues `letters`, `mails` know workflow `greeting`";
    assert!(error.to_string().contains(expected) && error.to_string().contains("Client::builder"), "{error}");
    assert!(store.state().submitted.is_empty());
}

#[tokio::test]
async fn client_with_a_queue_asks_for_no_other() {
    let store = FakeStore::default();
    store.state().queues = vec!["letters".to_owned(), "mails".to_owned()];
    let client = Client::builder(store.clone()).queue("mails").build().unwrap();
    start(&client).await.unwrap();
    assert_eq!(asked(&store), (vec!["mails".to_owned()], 0));
}

#[tokio::test]
async fn start_in_a_queue_with_another_number_of_shards_is_refused() {
    let store = FakeStore::default();
    let client = Client::builder(store.clone()).queue("mails").queue_shards(128).build().unwrap();
    let error = start(&client).await.unwrap_err();
    let expected =
        format!("queue `mails` has {SHARDS} shards, and 128 were asked for: a queue keeps the number");
    assert!(error.is_misconfigured() && error.to_string().contains(&expected), "{error}");
    assert!(store.state().submitted.is_empty());
}
