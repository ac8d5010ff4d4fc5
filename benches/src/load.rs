//! One load, from its warm-up to its figures. It must not know how they are printed.

use std::time::{Duration, Instant};

use chrono::Utc;
use pgworkflows::Client;

use crate::Failure;
use crate::arguments::Database;
use crate::drive::{Driven, Pace, drive, drive_each};
use crate::ground::Ground;
use crate::measure::{Distribution, Figure, Server, ServerReading, cpu, peak_memory};
use crate::options::{ClientProcess, Due, LoadOptions};
use crate::workers::Workers;
use crate::workload::{Seen, Workload};

/// What a load came to: the figures of each repetition, in the same order.
#[derive(Debug)]
pub struct Measured {
    /// Where it was measured.
    pub store: String,
    /// The figures.
    pub repetitions: Vec<Vec<Figure>>,
}

/// Measures what the options say.
///
/// # Errors
/// Whatever goes wrong: a load with failures has no figures.
pub async fn load(options: &LoadOptions) -> Result<Measured, Failure> {
    let Database { url, schema } = &options.database;
    let ground = Ground::open(options.store, url.as_deref(), schema).await?;
    let mut server = match &ground.address {
        Some(address) => Some(Server::connect(address).await?),
        None => None,
    };
    let store = match &mut server {
        Some(server) => server.version().await?,
        None => "memory".to_owned(),
    };
    let workers = match &ground.address {
        Some(address) if options.client == ClientProcess::Other => {
            Workers::outside(address, options.workers)?
        }
        _ => Workers::inside(&ground.store, options.workers)?,
    };
    let client = Client::new(std::sync::Arc::clone(&ground.store));
    let mut rig = Rig { options, client, server, workers, completed: 0 };
    let rows_before = match &mut rig.server {
        Some(server) => server.rows_now().await?,
        None => Default::default(),
    };
    rig.warm_up().await?;
    let mut repetitions = Vec::new();
    for _ in 0..options.repeat {
        repetitions.push(rig.repetition().await?);
    }
    let Rig { server, workers, client, completed, .. } = rig;
    workers.stop().await?;
    drop((client, ground.store));
    if let Some(mut server) = server {
        let rows = server.rows_at_rest().await?;
        let figures = [
            Figure::new(
                "rows_inserted_per_run",
                (rows.inserted - rows_before.inserted) as f64 / completed as f64,
            ),
            Figure::new(
                "rows_updated_per_run",
                (rows.updated - rows_before.updated) as f64 / completed as f64,
            ),
            Figure::new(
                "rows_deleted_per_run",
                (rows.deleted - rows_before.deleted) as f64 / completed as f64,
            ),
        ];
        for repetition in &mut repetitions {
            repetition.extend(figures.iter().cloned());
        }
    }
    Ok(Measured { store, repetitions })
}

/// Everything that takes part while the load goes on.
struct Rig<'a> {
    options: &'a LoadOptions,
    client: Client,
    server: Option<Server>,
    workers: Workers,
    /// Runs so far, warm-up included.
    completed: u64,
}

/// All counters at one moment.
struct Reading {
    at: Instant,
    server: ServerReading,
    client_cpu: Duration,
    worker_cpu: Duration,
}

impl Rig<'_> {
    async fn warm_up(&mut self) -> Result<(), Failure> {
        // One at least: it waits until the workers have come up.
        let runs = self.options.warm_up().max(1);
        self.drive(self.options.workload(), self.pace(runs)).await.map(drop)
    }

    async fn repetition(&mut self) -> Result<Vec<Figure>, Failure> {
        let options = self.options;
        let mut figures = Vec::new();
        if options.latency_runs > 0 {
            let one_at_a_time = Pace { runs: options.latency_runs, clients: 1, in_flight: 1 };
            let idle = self.drive(options.workload(), one_at_a_time).await?;
            figures.extend(latencies(&idle.seen, "idle_"));
        }
        let before = self.read().await?;
        let driven = match options.due {
            Due::Each => self.drive(options.workload(), self.pace(options.runs)).await?,
            Due::SameSecond => self.drive_to_the_second(options.lead()).await?,
        };
        let after = self.read().await?;
        figures.extend(latencies(&driven.seen, ""));
        self.throughput(&driven, &before, &after, &mut figures).await?;
        Ok(figures)
    }

    fn pace(&self, runs: u64) -> Pace {
        Pace { runs, clients: self.options.clients, in_flight: self.options.in_flight }
    }

    async fn drive(&mut self, workload: Workload, pace: Pace) -> Result<Driven, Failure> {
        self.completed += pace.runs;
        drive(&self.client, workload, pace).await
    }

    /// All runs are started at once, and their timers are spread evenly over one second.
    async fn drive_to_the_second(&mut self, lead: Duration) -> Result<Driven, Failure> {
        let runs = self.options.runs;
        let second = Utc::now().timestamp_micros() + i64::try_from(lead.as_micros())?;
        let due = move |number: u64| {
            Workload::TimerAt(second + i64::try_from(number * 1_000_000 / runs).unwrap_or_default())
        };
        self.completed += runs;
        drive_each(&self.client, Pace { in_flight: runs, ..self.pace(runs) }, due).await
    }

    async fn read(&mut self) -> Result<Reading, Failure> {
        let server = match &mut self.server {
            Some(server) => server.read().await?,
            None => ServerReading::default(),
        };
        Ok(Reading {
            at: Instant::now(),
            server,
            client_cpu: cpu("self"),
            worker_cpu: self.workers.processes().iter().map(|process| cpu(&process.to_string())).sum(),
        })
    }

    async fn throughput(
        &mut self,
        driven: &Driven,
        before: &Reading,
        after: &Reading,
        figures: &mut Vec<Figure>,
    ) -> Result<(), Failure> {
        let runs = driven.seen.len() as f64;
        let seconds = driven.took.as_secs_f64();
        let (calls, per_run) = self.options.workload().calls();
        let mut add = |name: &str, value: f64| figures.push(Figure::new(name, value));
        add("seconds", seconds);
        add("runs_per_second", runs / seconds);
        add(&format!("{calls}_per_second"), runs * f64::from(per_run) / seconds);

        let client = (after.client_cpu - before.client_cpu).as_secs_f64();
        let worker = (after.worker_cpu - before.worker_cpu).as_secs_f64();
        let server = after.server.cpu.saturating_sub(before.server.cpu).as_secs_f64();
        let elapsed = (after.at - before.at).as_secs_f64();
        add("client_cpu_seconds", client);
        add("worker_cpu_seconds", worker);
        add("server_cpu_seconds", server);
        add("cpu_us_per_run", (client + worker + server) * 1e6 / runs);
        add("cores_used", (client + worker + server) / elapsed);
        add("client_peak_memory_mib", mebibytes(peak_memory("self")));
        for process in self.workers.processes() {
            add("worker_peak_memory_mib", mebibytes(peak_memory(&process.to_string())));
        }
        if let Some(probe) = &mut self.server {
            add("write_commits_per_run", (after.server.writes - before.server.writes) as f64 / runs);
            add("wal_bytes_per_run", (after.server.wal - before.server.wal) as f64 / runs);
            add("connections", probe.connections().await? as f64);
        }
        Ok(())
    }
}

fn latencies(seen: &[Seen], prefix: &str) -> Vec<Figure> {
    let latency = Distribution::new(seen.iter().map(|seen| seen.latency).collect());
    let lateness: Vec<Duration> = seen.iter().filter_map(|seen| seen.lateness).collect();
    let mut figures = latency.figures(&format!("{prefix}latency"));
    if !lateness.is_empty() {
        figures.extend(Distribution::new(lateness).figures(&format!("{prefix}lateness")));
    }
    figures
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
