//! Shows on a terminal that something takes long. It must not know what.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::time::{Instant, interval_at};

/// What takes less than this is not worth a line.
const QUIET: Duration = Duration::from_secs(1);

/// Waits for a future. If it takes more than a second, a line on the standard error says so, if that is a terminal, until it is
/// done.
pub(crate) async fn shown<T>(what: &str, work: impl Future<Output = T>) -> T {
    if !std::io::stderr().is_terminal() {
        return work.await;
    }
    let began = Instant::now();
    let mut work = std::pin::pin!(work);
    let mut ticks = interval_at(began + QUIET, QUIET);
    let mut line = Line { is_shown: false };
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = ticks.tick() => line.show(&format!("{what}: {} s", began.elapsed().as_secs())),
        }
    }
}

/// The line, which goes when it is dropped.
struct Line {
    is_shown: bool,
}

impl Line {
    fn show(&mut self, text: &str) {
        self.is_shown = true;
        drop(write!(anstream::stderr(), "\r\u{1b}[2K{text}"));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_shown {
            drop(write!(anstream::stderr(), "\r\u{1b}[2K"));
        }
    }
}
