//! Everything that runs: the server, and the processes, each with its own proxy. It must not know in which order it is disturbed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use pgworkflows::PostgresStore;
use pgworkflows::sqlx::{self, Connection, PgConnection, raw_sql};
use pgworkflows_pg_harness::{Database, Postgres};
use pgworkflows_testkit::runtime::dice::Dice;
use tokio::process::Child;
use tokio::sync::{MutexGuard, watch};

use crate::options::Options;
use crate::process::{Group, stop};
use crate::slot::{Role, Slot};
use crate::workload::KINDS;

/// How many runs a client drives at a time.
const CLIENT_LANES: u64 = 8;

/// How many runs a worker drives at a time, as a client.
const WORKER_LANES: u64 = 2;

/// How many in a thousand of the faults of workers meet one that owns shards.
const OWNERS: u64 = 600;

/// How long a worker may take to shut down: many times its grace and the handover.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(120);

/// How many connections the server allows for each process, and for this program: twice what they need.
const CONNECTIONS: u64 = 50;

/// How much of the write-ahead log a server on a small disk keeps between two checkpoints, about.
const MAX_WAL_ON_A_SMALL_DISK: &str = "128MB";

/// How long a statement of this program may take.
const STATEMENT_PATIENCE: Duration = Duration::from_secs(120);

/// Everything that runs. The processes end before the server does.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) group: Group,
    pub(crate) slots: Vec<Slot>,
    database: Database,
    /// The server that has the database now. A promoted standby takes its place.
    server: Mutex<Arc<Postgres>>,
    /// The small disk of the server, if it has one.
    pub(crate) server_dir: Option<PathBuf>,
    /// Held by the one fault that restarts or replaces the server, or takes all of its connections or its disk.
    pub(crate) server_turn: tokio::sync::Mutex<()>,
    /// Logs and journals.
    pub(crate) directory: PathBuf,
    pub(crate) lease_ttl: Duration,
    /// The names of the kinds of runs that are started.
    kinds: Vec<&'static str>,
    calm: watch::Sender<bool>,
    /// The names of the workers that own shards, as last heard.
    owners: Mutex<Vec<String>>,
    violations: Mutex<Vec<String>>,
}

impl Scene {
    /// Starts the server, makes its tables, and makes a place for each process.
    pub(crate) async fn new(options: &Options) -> anyhow::Result<Self> {
        let connections = CONNECTIONS * (options.workers() + options.clients() + 1);
        let server = Postgres::builder().setting("log_min_messages", "warning");
        let mut server = server.setting("max_connections", connections.to_string());
        if let Some(directory) = options.server_dir() {
            server = server.parent_dir(directory).setting("max_wal_size", MAX_WAL_ON_A_SMALL_DISK);
        }
        let server = Arc::new(server.start()?);
        let directory =
            std::env::temp_dir().join(format!("pgworkflows-chaos-{}-{}", options.seed(), std::process::id()));
        std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let database = server.create_database()?;
        make_tables(database.url()).await?;
        let mut scene = Self {
            group: Group::new()?,
            slots: Vec::new(),
            database,
            server: Mutex::new(server),
            server_dir: options.server_dir().map(Into::into),
            server_turn: tokio::sync::Mutex::default(),
            directory,
            lease_ttl: options.lease_ttl(),
            kinds: options.kinds().into_iter().map(|kind| KINDS[kind].name).collect(),
            calm: watch::Sender::new(false),
            owners: Mutex::default(),
            violations: Mutex::default(),
        };
        scene.add_slots(options).await?;
        Ok(scene)
    }

    async fn add_slots(&mut self, options: &Options) -> anyhow::Result<()> {
        let dice = Dice::new(options.seed());
        for number in 1..=options.workers() {
            self.add_slot(Role::Worker, number, WORKER_LANES, dice.fork(number)).await?;
        }
        for number in 1..=options.clients() {
            self.add_slot(Role::Client, number, CLIENT_LANES, dice.fork(1_000 + number)).await?;
        }
        Ok(())
    }

    async fn add_slot(&mut self, role: Role, number: u64, lanes: u64, mut dice: Dice) -> anyhow::Result<()> {
        let name = match role {
            Role::Worker => format!("worker-{number}"),
            Role::Client => format!("client-{number}"),
        };
        let arguments = [
            ("--directory", self.directory.to_string_lossy().into_owned()),
            ("--seed", dice.number().to_string()),
            ("--lanes", lanes.to_string()),
            ("--lease-ttl-millis", self.lease_ttl.as_millis().to_string()),
            ("--kinds", self.kinds.join(",")),
        ];
        let arguments = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        let log = self.directory.join(format!("{name}.log"));
        self.slots.push(Slot::new(role, name, &self.url(), arguments, (dice, log)).await?);
        Ok(())
    }

    /// Starts all processes.
    pub(crate) async fn begin(&self) -> anyhow::Result<()> {
        for slot in &self.slots {
            *slot.process.lock().await = Some(slot.spawn(&self.group, &[])?);
        }
        Ok(())
    }

    /// The server that has the database now.
    pub(crate) fn server(&self) -> Arc<Postgres> {
        Arc::clone(&self.server.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Leads everybody to another server, which has the same data.
    pub(crate) fn move_to(&self, server: Postgres) -> anyhow::Result<()> {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(server);
        let url = self.url();
        self.slots.iter().try_for_each(|slot| slot.redirect(&url))
    }

    /// The database on the server that has it now.
    fn url(&self) -> String {
        let server = self.server().url();
        let server = server.rsplit_once('/').map_or(&*server, |(server, _)| server);
        format!("{server}/{}", self.database.name())
    }

    /// The name of the database.
    pub(crate) fn database(&self) -> &str {
        self.database.name()
    }

    /// A connection without a proxy. No statement on it takes forever.
    pub(crate) async fn connect(&self) -> anyhow::Result<PgConnection> {
        let mut connection = PgConnection::connect(&self.url()).await?;
        let patience = format!("set statement_timeout = {}", STATEMENT_PATIENCE.as_millis());
        raw_sql(sqlx::AssertSqlSafe(patience)).execute(&mut connection).await?;
        Ok(connection)
    }

    /// A place of that role whose process no other fault disturbs; more often than not an owner of shards. `None` if there is
    /// none.
    pub(crate) fn victim(
        &self,
        role: Role,
        dice: &mut Dice,
    ) -> Option<(&Slot, MutexGuard<'_, Option<Child>>)> {
        let mut free: Vec<_> = self
            .of_role(role, dice)
            .into_iter()
            .filter_map(|slot| Some((slot, slot.process.try_lock().ok()?)))
            .filter(|(_, process)| process.is_some())
            .collect();
        let drawn = dice.below((free.len() as u64).max(1)) as usize;
        (drawn < free.len()).then(|| free.swap_remove(drawn))
    }

    /// The places of that role; more often than not only those whose workers own shards.
    pub(crate) fn of_role(&self, role: Role, dice: &mut Dice) -> Vec<&Slot> {
        let of_role = || self.slots.iter().filter(|slot| slot.role == role);
        let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let owning: Vec<&Slot> = of_role().filter(|slot| owners.contains(&slot.name)).collect();
        if !owning.is_empty() && dice.chance(OWNERS) { owning } else { of_role().collect() }
    }

    /// Waits for that time, or until everything is to be calm.
    pub(crate) async fn lasts(&self, time: Duration) {
        let mut calm = self.calm.subscribe();
        // The sender lives as long as `self`.
        let _ = tokio::time::timeout(time, calm.wait_for(|calm| *calm)).await;
    }

    /// Faults end early from now on.
    pub(crate) fn calm_down(&self) {
        self.calm.send_replace(true);
    }

    /// Whether faults are to end.
    pub(crate) fn is_calm(&self) -> bool {
        *self.calm.borrow()
    }

    /// Notes what must not happen.
    pub(crate) fn violated(&self, what: impl Into<String>) {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).push(what.into());
    }

    /// What must not have happened so far.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes processes that ended by themselves, and starts workers again.
    pub(crate) fn look_after(&self) -> anyhow::Result<()> {
        for slot in &self.slots {
            // Somebody who disturbs it looks after it.
            let Ok(mut process) = slot.process.try_lock() else { continue };
            let Some(status) = process.as_mut().map(Child::try_wait).transpose()?.flatten() else { continue };
            self.violated(format!("{} ended by itself with {status}; its log says why", slot.name));
            *process = match slot.role {
                Role::Worker => Some(slot.spawn(&self.group, &[])?),
                // It would use its tokens again.
                Role::Client => None,
            };
        }
        Ok(())
    }

    /// Shuts a worker down. It is a violation if that takes too long, or fails.
    pub(crate) async fn stop(&self, slot: &Slot, worker: &mut Child) {
        if let Err(problem) = stop(worker, SHUTDOWN_PATIENCE).await {
            self.violated(format!("{}: {problem:#}", slot.name));
            // It may have ended.
            let _ = worker.kill().await;
        }
    }

    /// Asks the server who owns shards. While it does not answer, they are those that are known.
    pub(crate) async fn look_for_owners(&self) -> anyhow::Result<()> {
        let owners = sqlx::query_scalar(
            "select distinct l.worker from pgworkflows.leases l join pgworkflows.shards s using (lease)
             where not l.fenced and l.expires_at > clock_timestamp()",
        );
        let owners = owners.fetch_all(&mut self.connect().await?).await?;
        *self.owners.lock().unwrap_or_else(PoisonError::into_inner) = owners;
        Ok(())
    }

    /// How often statements were cut, by their kind.
    pub(crate) fn cuts_made(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (kind, count) in self.slots.iter().flat_map(Slot::cuts_made) {
            *all.entry(kind).or_default() += count;
        }
        all
    }

    /// How many notifications were lost.
    pub(crate) fn lost_notifications(&self) -> u64 {
        self.slots.iter().map(|slot| slot.link().lost_notifications()).sum()
    }
}

/// Makes the tables of the engine and of its users, and the triggers that note what the server sees.
pub(crate) async fn make_tables(url: &str) -> anyhow::Result<()> {
    PostgresStore::connect(url).await?;
    let mut connection = PgConnection::connect(url).await?;
    for script in [include_str!("../sql/users.sql"), include_str!("../sql/audit.sql")] {
        raw_sql(script).execute(&mut connection).await.context("the tables cannot be made")?;
    }
    Ok(())
}
