//! Waits for conditions, never for times.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything that has to come about may take. Reached only by a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// Waits until the condition answers, and gives its answer.
pub(crate) async fn until<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, condition).await
}

/// As [`until`], where taking longer is a failure of its own.
pub(crate) async fn until_within<T>(
    patience: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(answer) = condition().await {
            return answer;
        }
        assert!(Instant::now() < end, "waited {patience:?} in vain for this: {what}");
        sleep(GLANCE).await;
    }
}
