//! Runs a part of a worker: on its own thread with its own reactor, or inside the caller's future. It must not know what
//! the part does.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use futures::future::{BoxFuture, Either, select};
use tokio::sync::oneshot;

use crate::error::Error;
use crate::guard::caught;
use crate::host::{Host, ThreadFuture};

/// A part of a worker, before it runs.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) work: Box<dyn FnOnce() -> Work + Send>,
    /// Runs once its future is dropped; the part itself is dropped when this completes.
    pub(super) abandoned: BoxFuture<'static, ()>,
}

/// A running part, on the thread that polls it.
pub(super) type Work = ThreadFuture;

/// Runs a part on its own thread. The returned future waits for its end; dropping the future abandons the part.
pub(super) fn on_own_thread(job: Job) -> Result<BoxFuture<'static, Result<(), Error>>, Error> {
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
        // The receiver may have been dropped.
        drop(ended.send(worked));
    };
    std::thread::Builder::new().name(name.clone()).spawn(body).map_err(failed)?;
    Ok(Box::pin(async move {
        match end.await {
            Ok(Ok(worked)) => worked,
            Ok(Err(panicked)) => Err(Error::gave_up(format!("thread `{name}` panicked: {panicked}"))),
            Err(_) => Err(Error::gave_up(format!("thread `{name}` ended for an unknown reason"))),
        }
    }))
}

/// Runs a part inside the returned future. Dropping the future is a crash.
pub(super) fn on_this_thread(host: &dyn Host, job: Job) -> Result<Work, Error> {
    Ok(host.thread((job.work)()))
}

/// Lets every other ready future of this thread go first.
pub(super) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|task| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(work: impl FnOnce() -> Work + Send + 'static) -> Job {
        Job { name: "job".to_owned(), work: Box::new(work), abandoned: Box::pin(async {}) }
    }

    #[tokio::test]
    async fn panic_of_a_thread_is_an_error() {
        let ended = on_own_thread(job(|| Box::pin(async { panic!("out of luck") }))).unwrap().await;
        let error = ended.unwrap_err();
        assert!(error.is_gave_up(), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("thread `job` panicked: out of luck (at "), "{text}");
    }

    #[tokio::test]
    async fn part_is_dropped_when_nobody_waits_for_it() {
        // Given a part that waits forever, on its own thread
        let (held, released) = oneshot::channel::<()>();
        let work = on_own_thread(job(move || {
            Box::pin(async move {
                let _held = held;
                std::future::pending().await
            })
        }));
        // When the future that waits for its end is dropped, then so is the part
        drop(work);
        assert!(released.await.is_err());
    }
}
