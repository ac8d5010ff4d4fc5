//! Measures how long each append takes, from the request to the answer.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use pgworkflows::store::{Append, Appended, Session, StoreError};
use pgworkflows_tests::Interceptor;
use tokio::time::Instant;

/// How long the appends of a store took.
#[derive(Debug, Default)]
pub(crate) struct AppendTimes(Mutex<Vec<Duration>>);

impl AppendTimes {
    /// The times since the last call.
    pub(crate) fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[async_trait]
impl Interceptor for AppendTimes {
    async fn append(&self, session: &mut dyn Session, append: &Append) -> Result<Appended, StoreError> {
        let begun = Instant::now();
        let appended = session.append(append).await;
        self.0.lock().unwrap().push(begun.elapsed());
        appended
    }
}
