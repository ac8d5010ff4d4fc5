//! What a PostgreSQL server has done, from its own statistics. It must not know what it was asked to do.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::process::{cpu_with_children, parent_of};
use crate::Failure;
use crate::ground::Address;

/// A connection that asks about the server, and is in nobody's way.
#[derive(Debug)]
pub struct Server {
    connection: PgConnection,
    schema: String,
    /// The parent of all of the server's processes, if it runs on this machine.
    postmaster: Option<u32>,
}

/// The server's counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerReading {
    /// Bytes of write-ahead log since ever.
    pub wal: u64,
    /// Transactions that wrote, since ever: each takes one number.
    pub writes: u64,
    /// Processor time of all its processes; zero if it runs elsewhere.
    pub cpu: Duration,
}

/// Rows that were written to the tables of the schema, since ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rows {
    /// Inserted.
    pub inserted: u64,
    /// Updated.
    pub updated: u64,
    /// Deleted.
    pub deleted: u64,
}

impl Server {
    /// Connects.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn connect(address: &Address) -> Result<Self, Failure> {
        let mut connection = PgConnection::connect(&address.url).await?;
        let backend: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await?;
        let postmaster = parent_of(u32::try_from(backend)?, "postgres");
        Ok(Self { connection, schema: address.schema.clone(), postmaster })
    }

    /// Reads the counters, without writing anything.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn read(&mut self) -> Result<ServerReading, Failure> {
        let (wal, writes): (i64, i64) = sqlx::query_as(
            "select (pg_current_wal_insert_lsn() - '0/0')::bigint,
                    pg_snapshot_xmax(pg_current_snapshot())::text::bigint",
        )
        .fetch_one(&mut self.connection)
        .await?;
        let cpu = self.postmaster.map(cpu_with_children).unwrap_or_default();
        Ok(ServerReading { wal: u64::try_from(wal)?, writes: u64::try_from(writes)?, cpu })
    }

    /// How many other clients are connected.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn connections(&mut self) -> Result<u64, Failure> {
        let count: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where backend_type = 'client backend' and pid <> pg_backend_pid()",
        )
        .fetch_one(&mut self.connection)
        .await?;
        Ok(u64::try_from(count)?)
    }

    /// All rows written by clients that have disconnected. One that is still there may have told the statistics
    /// nothing yet, so this waits for them to go, two seconds at most.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn rows_at_rest(&mut self) -> Result<Rows, Failure> {
        for _ in 0..100 {
            if self.connections().await? == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.rows_now().await
    }

    /// The rows written, as far as the statistics know.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn rows_now(&mut self) -> Result<Rows, Failure> {
        let (inserted, updated, deleted): (i64, i64, i64) = sqlx::query_as(
            "select coalesce(sum(n_tup_ins), 0)::bigint, coalesce(sum(n_tup_upd), 0)::bigint,
                    coalesce(sum(n_tup_del), 0)::bigint
             from pg_stat_all_tables where schemaname = $1",
        )
        .bind(&self.schema)
        .fetch_one(&mut self.connection)
        .await?;
        Ok(Rows {
            inserted: u64::try_from(inserted)?,
            updated: u64::try_from(updated)?,
            deleted: u64::try_from(deleted)?,
        })
    }

    /// The server's version, for people.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn version(&mut self) -> Result<String, Failure> {
        Ok(sqlx::query_scalar("select split_part(version(), ' on ', 1)")
            .fetch_one(&mut self.connection)
            .await?)
    }
}
