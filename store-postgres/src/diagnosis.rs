//! Examines a database for people: what is wrong or may become so, and what to do. It must not change anything.
//!
//! Connecting refuses what cannot work. This goes on after a refusal, and also looks at what only wears out with time: vacuum,
//! old transactions, partitions, leases that no worker takes over. The program `pgworkflows doctor` shows it.

mod clock;
mod server;
mod tables;

use std::fmt;

use pgworkflows_core::store::StoreError;
pub use pgworkflows_core::store::Verdict;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, SqlSafeStr};

use crate::connect::{connect_error, describe_address};
use crate::error::store_error;
use crate::options::{Builder, Options};
use crate::pooler::{self, Pooling};
use crate::{defaults, migrate};

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Check {
    /// Whether the server answers and admits the user.
    Connection,
    /// Whether the server's version, its encoding and its role as a primary are supported.
    Server,
    /// How far the server's clock is from the caller's.
    Clock,
    /// The settings with which sessions begin: isolation, read-only, time limits.
    Settings,
    /// Whether a pooler is in between, and can be used.
    Pooler,
    /// How many of the server's connections are in use.
    Connections,
    /// Whether a crash or a failover can lose what was acknowledged.
    Durability,
    /// Whether notifications arrive, and their queue has room.
    Notifications,
    /// What the user may do with the tables.
    Rights,
    /// Whether the tables are those of this version.
    Schema,
    /// Whether the partitions for runs of now and soon exist.
    Partitions,
    /// Whether vacuum keeps up, and tables are not bloated.
    Vacuum,
    /// Transactions that keep vacuum from its work, and the age of transaction ids.
    Transactions,
    /// Leases that expired with their shards.
    Leases,
}

impl Check {
    /// All checks, in their order.
    pub const ALL: [Self; 14] = [
        Self::Connection,
        Self::Server,
        Self::Clock,
        Self::Settings,
        Self::Pooler,
        Self::Connections,
        Self::Durability,
        Self::Notifications,
        Self::Rights,
        Self::Schema,
        Self::Partitions,
        Self::Vacuum,
        Self::Transactions,
        Self::Leases,
    ];

    /// A word that stays, for scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Clock => "clock",
            Self::Settings => "settings",
            Self::Pooler => "pooler",
            Self::Connections => "connections",
            Self::Durability => "durability",
            Self::Notifications => "notifications",
            Self::Rights => "rights",
            Self::Schema => "schema",
            Self::Partitions => "partitions",
            Self::Vacuum => "vacuum",
            Self::Transactions => "transactions",
            Self::Leases => "leases",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a check of a PostgreSQL found.
pub type Finding = pgworkflows_core::store::Finding<Check>;

impl Builder {
    /// Examines the database, without connecting a store and without changing anything: what is wrong or may become so, and what
    /// to do. Each [`Check`] has one finding, in order. If the server does not answer, or the tables are not there, those that
    /// need it are left out.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), pgworkflows::Error> {
    /// use pgworkflows::PostgresStore;
    /// use pgworkflows::diagnosis::Verdict;
    ///
    /// for finding in PostgresStore::builder("postgres://app:secret@localhost/app").diagnose().await? {
    ///     if finding.verdict == Verdict::Wrong {
    ///         println!("{}: {} ({:?})", finding.check, finding.found, finding.advice);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] if an option or the form of the address is refused.
    pub async fn diagnose(self) -> Result<Vec<Finding>, StoreError> {
        Ok(examine(&self.check()?).await)
    }
}

async fn examine(options: &Options) -> Vec<Finding> {
    let mut connection = match options.connect.connect().await {
        Ok(connection) => connection,
        Err(error) => {
            return vec![Finding::refused(Check::Connection, &connect_error(&options.connect, error))];
        }
    };
    let patient = &mut Patient { connection: &mut connection, options };
    let place = describe_address(&options.connect);
    let mut findings = vec![Finding::ok(Check::Connection, format!("{place} answers"))];
    findings.push(settle(Check::Server, server::version(patient).await));
    findings.push(settle(Check::Clock, clock::check(patient).await));
    let settings = defaults::check(patient.connection, options).await;
    findings.push(settle(
        Check::Settings,
        settings.map(|()| Finding::ok(Check::Settings, "isolation, read-only and time limits are as needed")),
    ));
    findings.push(pooler_between(options).await);
    findings.push(settle(Check::Connections, server::connections(patient).await));
    findings.push(settle(Check::Durability, server::durability(patient).await));
    findings.push(settle(Check::Notifications, server::notifications(patient).await));
    findings.push(settle(Check::Rights, tables::rights(patient).await));
    let schema = settle(Check::Schema, schema(patient).await);
    let is_there = schema.verdict == Verdict::Ok;
    findings.push(schema);
    if is_there {
        findings.push(settle(Check::Partitions, tables::partitions(patient).await));
        findings.push(settle(Check::Vacuum, tables::vacuum(patient).await));
        findings.push(settle(Check::Transactions, server::transactions(patient).await));
        findings.push(settle(Check::Leases, tables::leases(patient).await));
    }
    findings
}

/// A check that failed is a finding, too.
fn settle(check: Check, found: Result<Finding, StoreError>) -> Finding {
    found.unwrap_or_else(|error| Finding::refused(check, &error))
}

/// What is examined.
struct Patient<'a> {
    connection: &'a mut PgConnection,
    options: &'a Options,
}

impl Patient<'_> {
    /// Reads rows, in one protocol message, so that no pooler mixes up its answer.
    async fn read(&mut self, text: &str) -> Result<Vec<PgRow>, StoreError> {
        // Safe: only a checked identifier is inserted into our own statements.
        let read = sqlx::raw_sql(AssertSqlSafe(self.options.schema.fill(text)).into_sql_str());
        self.connection.fetch_all(read).await.map_err(store_error)
    }

    /// Reads the row of a statement that returns one.
    async fn read_one(&mut self, text: &str) -> Result<PgRow, StoreError> {
        crate::shared::only(self.read(text).await?)
    }
}

async fn pooler_between(options: &Options) -> Finding {
    match pooler::recognise(options).await {
        Ok(Pooling::PerConnection) => Finding::ok(Check::Pooler, "each connection keeps its session"),
        Ok(Pooling::PerTransaction) if options.listen_directly || options.listen.is_none() => Finding::ok(
            Check::Pooler,
            "a pooler gives each transaction a session, and statements work through it",
        ),
        Ok(Pooling::PerTransaction) => Finding::warning(
            Check::Pooler,
            "a pooler gives each transaction a session, so no notification arrives through it, and changes of other \
             processes are found by polling alone",
            "give workers a direct address for notifications (`Builder::listen_url`), or switch them off",
        ),
        Err(error) => Finding::refused(Check::Pooler, &error),
    }
}

async fn schema(patient: &mut Patient<'_>) -> Result<Finding, StoreError> {
    let schema = &patient.options.schema;
    let (missing, all) = migrate::lacking(patient.connection, schema).await?;
    let name = schema.as_str();
    Ok(match missing {
        0 => Finding::ok(Check::Schema, format!("schema `{name}` has all {all} migrations of this version")),
        missing => Finding::wrong(
            Check::Schema,
            format!("schema `{name}` lacks {missing} of {all} migrations"),
            "run `pgworkflows migrate`, or what `pgworkflows migrate --print` prints",
        ),
    })
}
