//! Starts that are handed to a processor of this process, and starts that fall back to the store.

use std::sync::{Arc, Mutex};

use super::fake::{FIRST_SHARD, FakeStore, NOW, settle};
use super::{Fixture, Greeting, fixture, spawn};
use crate::data::id::ShardId;
use crate::data::limits;
use crate::data::payload::Payload;
use crate::log::event::Event;
use crate::log::message::{Flag, Message};
use crate::log::wire;
use crate::store::Store;
use crate::store::append::{ClosedRun, ClosedStatus};
use crate::store::switchboard::{Connection, LocalStart};
use crate::store::watch::Notice;

/// A fake processor of one of the queue's shards.
struct Processor {
    shard: ShardId,
    starts: Arc<Mutex<Vec<LocalStart>>>,
    _connection: Connection,
}

impl Processor {
    fn of(store: &FakeStore) -> Self {
        let shard = ShardId::new(FIRST_SHARD + 7).unwrap();
        let starts = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&starts);
        let switchboard = store.switchboard().expect("this store has one");
        let connection = switchboard.connect(move |start| {
            taken.lock().unwrap().push(start);
            true
        });
        connection.serve([shard]);
        Self { shard, starts, _connection: connection }
    }

    fn take(&self) -> LocalStart {
        self.starts.lock().unwrap().remove(0)
    }
}

fn repeated(store: &FakeStore) -> bool {
    match wire::decode_message(&store.state().submitted.last().unwrap().body).unwrap() {
        Message::Start { repeated: Flag(repeated), .. } => repeated,
        other => panic!("not a start: {other:?}"),
    }
}

#[tokio::test]
async fn start_is_handed_to_the_processor_of_this_process_and_needs_no_store() {
    let Fixture { client, store, .. } = fixture();
    let processor = Processor::of(&store);
    let starting = spawn(client.start::<Greeting>("Ada".to_owned()));
    settle().await;
    let start = processor.take();
    assert_eq!((start.run.shard(), &*start.workflow, start.run.born()), (processor.shard, "greeting", NOW));
    assert_eq!(start.input.decode::<String>().unwrap(), "Ada");
    assert!(!starting.is_finished(), "the run is not in the log yet");
    start.accepted.send(()).unwrap();
    let run = starting.await.unwrap().unwrap();
    assert_eq!((run.run_id(), run.is_existing()), (start.run, false));

    // Its result does not need the store either
    let result = spawn(run.result());
    let completed = Event::RunCompleted { result: Payload::encode("Hello").unwrap() };
    let closed = ClosedRun {
        run: start.run,
        workflow: start.workflow,
        key: None,
        parent: None,
        status: ClosedStatus::Completed,
        closed_at: NOW,
        outcome: wire::encode_event(&completed),
    };
    start.closed.send(Notice::Closed(closed)).unwrap();
    assert_eq!(result.await.unwrap().unwrap(), "Hello");
    assert_eq!(store.closed_reads(), 0);
    assert_eq!(store.state().submit_calls, 0);
}

#[tokio::test]
async fn dropped_start_is_submitted_under_the_same_id_as_repeated() {
    let Fixture { client, store, .. } = fixture();
    let processor = Processor::of(&store);
    let starting = spawn(client.start::<Greeting>("Ada".to_owned()));
    settle().await;
    let start = processor.take().run;
    let run = starting.await.unwrap().unwrap();
    assert_eq!(run.run_id(), start);
    assert_eq!(store.state().submitted.last().unwrap().run, start);
    assert!(repeated(&store));
}

#[tokio::test]
async fn start_that_a_processor_keeps_waiting_is_submitted_after_a_while() {
    let Fixture { client, store, host } = fixture();
    let processor = Processor::of(&store);
    let starting = spawn(client.start::<Greeting>("Ada".to_owned()));
    settle().await;
    let kept = processor.take();
    host.advance(limits::LOCAL_START_PATIENCE).await;
    let run = starting.await.unwrap().unwrap();
    assert_eq!(run.run_id(), kept.run);
    assert!(repeated(&store));
    // The processor sees this before it begins the run
    assert!(kept.accepted.is_closed());
}

#[tokio::test]
async fn result_of_a_run_that_left_memory_comes_from_the_store() {
    let Fixture { client, store, .. } = fixture();
    let processor = Processor::of(&store);
    let starting = spawn(client.start::<Greeting>("Ada".to_owned()));
    settle().await;
    let start = processor.take();
    start.accepted.send(()).unwrap();
    let run = starting.await.unwrap().unwrap();
    let result = spawn(run.result());
    store.close(run.run_id(), &Event::RunCompleted { result: Payload::encode("Hello").unwrap() });
    drop(start.closed);
    assert_eq!(result.await.unwrap().unwrap(), "Hello");
}

#[tokio::test]
async fn start_with_a_key_goes_to_the_store() {
    let Fixture { client, store, .. } = fixture();
    let processor = Processor::of(&store);
    client.start::<Greeting>("Ada".to_owned()).key("signup:42").await.unwrap();
    assert!(processor.starts.lock().unwrap().is_empty());
    assert!(!repeated(&store));
}
