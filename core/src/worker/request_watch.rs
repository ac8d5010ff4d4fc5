//! Watches requests to the store that are sent one at a time, and logs how long they have gone unanswered. It must not know
//! what is asked.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{Either, select};

use crate::data::limits;
use crate::host::Host;
use crate::store::error::StoreError;
use crate::worker::setbacks::waiting_helps;

/// Watches the requests that one part of a worker sends to the store.
#[derive(Debug)]
pub(crate) struct RequestWatch {
    /// What to log if no answer arrives.
    problem: &'static str,
    worker: String,
    processor: Option<usize>,
    silence: Mutex<Option<Silence>>,
}

/// A request without an answer so far. An error that waiting may cure does not count as an answer.
#[derive(Clone, Copy, Debug)]
struct Silence {
    since: Duration,
    tries: u32,
    /// How many runs wait for the answer.
    runs: usize,
    /// When to log it as an error next.
    error_at: Duration,
}

impl RequestWatch {
    pub(super) fn new(problem: &'static str, worker: &str, processor: Option<usize>) -> Self {
        Self { problem, worker: worker.to_owned(), processor, silence: Mutex::default() }
    }

    /// Sends a request for which `runs` runs wait, and logs when its answer takes long. A retry of the request must go through
    /// the same watch.
    pub(super) async fn watch<T>(
        &self,
        host: &dyn Host,
        runs: usize,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.sent(host.monotonic(), runs);
        let mut request = pin!(request);
        let answer = loop {
            let patience = host.sleep(self.until_error(host.monotonic()));
            match select(request.as_mut(), patience).await {
                Either::Left((answer, _)) => break answer,
                Either::Right(_) => self.log_silence(host.monotonic(), "no answer yet"),
            }
        };
        match &answer {
            Err(error) if waiting_helps(error) => self.log_silence(host.monotonic(), &error.to_string()),
            Ok(_) | Err(_) => self.answered(host.monotonic()),
        }
        answer
    }

    /// Nobody waits for the answer any more.
    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    /// How long there has been no answer; `None` if nothing is unanswered.
    pub(super) fn silence(&self, now: Duration) -> Option<Duration> {
        self.unanswered(now).map(|(lasting, ..)| lasting)
    }

    /// How long there has been no answer, after how many tries, and how many runs wait for it.
    pub(super) fn unanswered(&self, now: Duration) -> Option<(Duration, u32, usize)> {
        let Silence { since, tries, runs, .. } = (*self.lock())?;
        Some((now.saturating_sub(since), tries, runs))
    }

    fn sent(&self, now: Duration, runs: usize) {
        let silence = Silence { since: now, tries: 0, runs, error_at: now + limits::UNANSWERED_ERROR };
        self.lock().get_or_insert(silence).tries += 1;
    }

    /// How long until it is logged as an error.
    fn until_error(&self, now: Duration) -> Duration {
        self.lock().map_or(limits::UNANSWERED_ERROR, |silence| silence.error_at.saturating_sub(now))
    }

    /// Logs that no answer arrived: each try as a warning at first, later an error at intervals.
    fn log_silence(&self, now: Duration, why: &str) {
        let mut guard = self.lock();
        let Some(silence) = guard.as_mut() else { return };
        let Silence { since, tries, runs, error_at } = *silence;
        let lasting = now.saturating_sub(since);
        let is_error = now >= error_at;
        if is_error {
            silence.error_at = now + limits::UNANSWERED_ERROR;
        }
        drop(guard);
        let Self { problem, worker, processor, .. } = self;
        let runs = (runs > 0).then_some(runs);
        if is_error {
            tracing::error!(%worker, processor, ?lasting, tries, runs, "{problem}: {why}");
        } else if lasting < limits::UNANSWERED_ERROR {
            tracing::warn!(%worker, processor, ?lasting, tries, runs, "{problem}: {why}");
        } else {
            tracing::debug!(%worker, processor, ?lasting, tries, runs, "{problem}: {why}");
        }
    }

    fn answered(&self, now: Duration) {
        let Some(Silence { since, tries, .. }) = self.lock().take() else { return };
        let lasting = now.saturating_sub(since);
        if lasting >= limits::UNANSWERED_ERROR {
            let Self { problem, worker, processor, .. } = self;
            tracing::info!(%worker, processor, ?lasting, tries, "the store answers again; before that, {problem}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Silence>> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
