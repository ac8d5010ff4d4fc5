//! Tests of the client, with a scripted store and in virtual time. They must not need a worker.

mod described;
pub(crate) mod fake;
mod local;
mod queues;
mod reads;
mod requests;
mod results;

use std::sync::Arc;

use self::fake::{FakeStore, ManualHost};
use crate::client::Client;
use crate::testing::workflow;
use crate::workflow::signal::Signal;

// Its input may have any length.
workflow!(Greeting, "greeting", |_, name: String| -> String { Ok(name) });

const WAVE: Signal<u32> = Signal::new("wave");

/// A client with its store and its host.
struct Fixture {
    client: Client,
    store: FakeStore,
    host: Arc<ManualHost>,
}

fn fixture() -> Fixture {
    let store = FakeStore::default();
    let host = Arc::new(ManualHost::new());
    let client = Client::builder(store.clone()).host(host.clone()).payload_bytes_max(100).build();
    Fixture { client: client.expect("the settings are good"), store, host }
}

/// Executes a request concurrently with the test.
#[expect(clippy::disallowed_methods, reason = "each test has its own runtime")]
fn spawn<T: Send + 'static>(request: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::task::spawn(request)
}
