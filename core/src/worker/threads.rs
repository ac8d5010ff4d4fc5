//! Where a part of a worker runs: on a thread of its own with a reactor of its own, or inside of the caller's future. It
//! must not know what the part does.

use std::pin::pin;

use futures::future::{BoxFuture, Either, select};
use tokio::sync::oneshot;

use crate::error::Error;
use crate::guard::caught;
use crate::host::{Host, ThreadFuture};

/// A part of a worker, before it runs.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) work: Box<dyn FnOnce() -> Work + Send>,
    /// What the part is given, where it runs on after nobody waits for it any more: it ends with that.
    pub(super) abandoned: BoxFuture<'static, ()>,
}

/// A part at work, on the thread that polls it.
pub(super) type Work = ThreadFuture;

/// Runs a part on a thread of its own. What is returned waits for its end, and dropping it abandons the part.
pub(super) fn on_a_thread(job: Job) -> Result<BoxFuture<'static, Result<(), Error>>, Error> {
    let Job { name, work, abandoned } = job;
    let failed =
        |error: std::io::Error| Error::invalid(format!("thread `{name}` cannot be started: {error}"));
    let reactor = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (mut ended, end) = oneshot::channel();
    let body = move || {
        let worked = caught(|| {
            reactor.block_on(async {
                let abandoned = async {
                    ended.closed().await;
                    abandoned.await;
                };
                match select(pin!(abandoned), work()).await {
                    Either::Left(_) => Ok(()),
                    Either::Right((worked, _)) => worked,
                }
            })
        });
        // Nobody may be waiting for it any more.
        drop(ended.send(worked));
    };
    std::thread::Builder::new().name(name.clone()).spawn(body).map_err(failed)?;
    Ok(Box::pin(async move {
        match end.await {
            Ok(Ok(worked)) => worked,
            Ok(Err(panicked)) => Err(Error::gave_up(format!("thread `{name}` is gone: {panicked}"))),
            Err(_) => Err(Error::gave_up(format!("thread `{name}` is gone, nobody knows why"))),
        }
    }))
}

/// Runs a part inside of what is returned. Dropping that is a crash.
pub(super) fn right_here(host: &dyn Host, job: Job) -> Result<Work, Error> {
    Ok(host.thread((job.work)()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(work: impl FnOnce() -> Work + Send + 'static) -> Job {
        Job { name: "job".to_owned(), work: Box::new(work), abandoned: Box::pin(async {}) }
    }

    #[tokio::test]
    async fn thread_that_panics_is_an_error_and_not_silence() {
        let ended = on_a_thread(job(|| Box::pin(async { panic!("out of luck") }))).unwrap().await;
        let error = ended.unwrap_err();
        assert!(error.is_gave_up(), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("thread `job` is gone: out of luck (at "), "{text}");
    }

    #[tokio::test]
    async fn part_ends_when_nobody_waits_for_it() {
        // Given a part that waits for ever, on a thread
        let (held, released) = oneshot::channel::<()>();
        let work = on_a_thread(job(move || {
            Box::pin(async move {
                let _held = held;
                std::future::pending().await
            })
        }));
        // When nobody waits for its end any more, then it is dropped
        drop(work);
        assert!(released.await.is_err());
    }
}
