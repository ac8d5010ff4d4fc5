//! What one run does, and how a client takes it from its start to its result. It must not know how many runs there are.

use std::time::{Duration, Instant};

use chrono::Utc;
use clap::{Args, ValueEnum};
use pgworkflows::{Client, Error};
use pgworkflows_benches::definitions::{
    ADD, Activities, Answers, ChainSoFar, Continues, Family, FanOut, GO, Nothing, Pauses, Signals, Steps,
    Tasks, Timers,
};
use serde::Serialize;

/// What each run does.
#[derive(Clone, Copy, Debug, Args, Serialize)]
pub(crate) struct Workload {
    /// What each run does.
    #[arg(long = "workload", value_name = "NAME", default_value = "activities")]
    #[serde(rename = "workload")]
    pub(crate) kind: Kind,

    /// Activities, steps, signals, children or updates per run, or runs per chain.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) size: u32,

    /// How many milliseconds after its start the timer of a run is due, or how long each of `--workload pauses` takes.
    #[arg(
        long,
        value_name = "MILLISECONDS",
        default_value = "100",
        value_parser = clap::value_parser!(i64).range(0..=3_600_000)
    )]
    pub(crate) sleep_ms: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Activities, one after the other.
    Activities,
    /// Steps, one after the other.
    Steps,
    /// Activities, all at the same time.
    Fanout,
    /// Activities, all at the same time, which another process executes.
    Tasks,
    /// Activities that take `--sleep-ms`, all at the same time.
    Pauses,
    /// Signals, each sent after the previous one was accepted.
    Signals,
    /// Nothing: they end at once.
    Starts,
    /// Children that end at once, all at the same time.
    Children,
    /// Updates, each sent after the answer to the previous one.
    Updates,
    /// Continues as new: a run is a chain of `--size` runs.
    Continue,
    /// One timer.
    Timers,
    /// One timer; all timers are due within one second.
    Burst,
}

/// What the client saw of one run.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// From before the start was sent until the result arrived.
    pub(crate) latency: Duration,
    /// From the time when the timer was due until the result arrived, by this machine's clock.
    pub(crate) lateness: Option<Duration>,
    /// From before an update was sent until its answer arrived, or from before the last signal until the result that follows.
    pub(crate) ways: Vec<Duration>,
    /// How long the second and the last thousand of a chain's runs took, in milliseconds.
    pub(crate) thousands: Option<(f64, f64)>,
}

impl Workload {
    /// One activity.
    pub(crate) const ONE_ACTIVITY: Self = Self { kind: Kind::Activities, size: 1, sleep_ms: 0 };

    /// What its durable calls are called, and how many a run makes.
    pub(crate) fn calls(self) -> (&'static str, u32) {
        match self.kind {
            Kind::Activities | Kind::Fanout | Kind::Pauses => ("activities", self.size),
            Kind::Tasks => ("tasks", self.size),
            Kind::Steps => ("steps", self.size),
            Kind::Signals => ("signals", self.size),
            Kind::Starts => ("starts", 1),
            Kind::Children => ("children", self.size),
            Kind::Updates => ("updates", self.size),
            Kind::Continue => ("continuations", self.size),
            Kind::Timers | Kind::Burst => ("timers", 1),
        }
    }

    /// Starts one run and waits for its result.
    pub(crate) async fn complete(self, client: &Client, due_micros: Option<i64>) -> Result<Seen, Error> {
        let began = Instant::now();
        let (mut due, mut ways, mut thousands) = (None, Vec::new(), None);
        match self.kind {
            Kind::Activities => drop(client.start::<Activities>(self.size).await?.result().await?),
            Kind::Steps => drop(client.start::<Steps>(self.size).await?.result().await?),
            Kind::Fanout => drop(client.start::<FanOut>(self.size).await?.result().await?),
            Kind::Tasks => drop(client.start::<Tasks>(self.size).await?.result().await?),
            Kind::Pauses => {
                let millis = u64::try_from(self.sleep_ms).unwrap_or_default();
                client.start::<Pauses>((self.size, millis)).await?.result().await?;
            }
            Kind::Signals => {
                let run = client.start::<Signals>(self.size).await?;
                let mut sent = Instant::now();
                for number in 0..self.size {
                    sent = Instant::now();
                    run.signal(GO, u64::from(number)).await?;
                }
                run.result().await?;
                ways.push(sent.elapsed());
            }
            Kind::Starts => drop(client.start::<Nothing>(0).await?.result().await?),
            Kind::Children => drop(client.start::<Family>(self.size).await?.result().await?),
            Kind::Updates => {
                let run = client.start::<Answers>(self.size).await?;
                for number in 0..self.size {
                    let sent = Instant::now();
                    run.update(ADD, u64::from(number)).await?;
                    ways.push(sent.elapsed());
                }
                run.result().await?;
            }
            Kind::Continue => {
                let chain = ChainSoFar { length: self.size, ..ChainSoFar::default() };
                thousands = client.start::<Continues>(chain).await?.result().await?.thousands();
            }
            Kind::Timers | Kind::Burst => {
                let at = due_micros.unwrap_or_else(|| Utc::now().timestamp_micros() + 1_000 * self.sleep_ms);
                due = Some(at);
                client.start::<Timers>(at).await?.result().await?;
            }
        }
        let since = |due: i64| {
            Duration::from_micros(u64::try_from(Utc::now().timestamp_micros() - due).unwrap_or_default())
        };
        Ok(Seen { latency: began.elapsed(), lateness: due.map(since), ways, thousands })
    }
}
