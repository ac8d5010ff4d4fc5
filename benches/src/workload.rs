//! What one run does, and how a client takes it from its start to its result. It must not know how many there are.

use std::time::{Duration, Instant};

use chrono::Utc;
use pgworkflows::{Client, Error};

use crate::definitions::{Activities, FanOut, GO, Signals, Steps, Timers};

/// A kind of run with its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// So many activities, one after the other.
    Activities(u32),
    /// So many steps, one after the other.
    Steps(u32),
    /// So many activities at the same time.
    FanOut(u32),
    /// One timer, due so long after the start.
    Timers(Duration),
    /// One timer, due at a fixed time in microseconds since 1970.
    TimerAt(i64),
    /// So many signals, each sent when the one before was accepted.
    Signals(u32),
}

/// What the client saw of one run.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// From before the start was sent until the result was there.
    pub latency: Duration,
    /// From the time when the timer was due until the result was there, by this machine's clock: for timers.
    pub lateness: Option<Duration>,
}

impl Workload {
    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Activities(_) => "activities",
            Self::Steps(_) => "steps",
            Self::FanOut(_) => "fanout",
            Self::Timers(_) | Self::TimerAt(_) => "timers",
            Self::Signals(_) => "signals",
        }
    }

    /// What its durable calls are called, and how many a run makes.
    pub fn calls(self) -> (&'static str, u32) {
        match self {
            Self::Activities(count) | Self::FanOut(count) => ("activities", count),
            Self::Steps(count) => ("steps", count),
            Self::Timers(_) | Self::TimerAt(_) => ("timers", 1),
            Self::Signals(count) => ("signals", count),
        }
    }

    /// Starts one run and waits for its result.
    ///
    /// # Errors
    /// Whatever the client reports.
    pub async fn complete(self, client: &Client) -> Result<Seen, Error> {
        let began = Instant::now();
        let mut due = None;
        match self {
            Self::Activities(count) => drop(client.start::<Activities>(count).await?.result().await?),
            Self::Steps(count) => drop(client.start::<Steps>(count).await?.result().await?),
            Self::FanOut(width) => drop(client.start::<FanOut>(width).await?.result().await?),
            Self::Timers(after) => {
                let at = Utc::now().timestamp_micros() + i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
                due = Some(at);
                client.start::<Timers>(at).await?.result().await?;
            }
            Self::TimerAt(at) => {
                due = Some(at);
                client.start::<Timers>(at).await?.result().await?;
            }
            Self::Signals(count) => {
                let run = client.start::<Signals>(count).await?;
                for number in 0..count {
                    run.signal(GO, u64::from(number)).await?;
                }
                run.result().await?;
            }
        }
        let since = |due: i64| {
            Duration::from_micros(u64::try_from(Utc::now().timestamp_micros() - due).unwrap_or_default())
        };
        Ok(Seen { latency: began.elapsed(), lateness: due.map(since) })
    }
}
