//! What a PostgreSQL server has done, from its own statistics. It must not know what it was asked to do.

use std::time::Duration;

use pgworkflows_benches::Failure;
use pgworkflows_benches::store::Address;
use sqlx::{Connection, PgConnection};

use crate::process::{cpu_with_children, parent_of};

/// A connection that reads the statistics.
#[derive(Debug)]
pub(crate) struct Server {
    connection: PgConnection,
    schema: String,
    /// The parent of all of the server's processes, if it runs on this machine.
    postmaster: Option<u32>,
}

/// The server's counters at one moment, since its first start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerReading {
    /// Bytes of write-ahead log.
    pub(crate) wal: i64,
    /// Transactions that wrote: each takes a transaction number.
    pub(crate) writes: i64,
    /// Processor time of all its processes; zero if it runs elsewhere.
    pub(crate) cpu: Duration,
}

impl Server {
    pub(crate) async fn connect(address: &Address) -> Result<Self, Failure> {
        let mut connection = PgConnection::connect(&address.url).await?;
        let backend: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await?;
        let postmaster = parent_of(u32::try_from(backend)?, "postgres");
        Ok(Self { connection, schema: address.schema.clone(), postmaster })
    }

    /// Reads the counters, without writing anything.
    pub(crate) async fn read(&mut self) -> Result<ServerReading, Failure> {
        let (wal, writes) = sqlx::query_as(
            "select (pg_current_wal_insert_lsn() - '0/0')::bigint,
                    pg_snapshot_xmax(pg_current_snapshot())::text::bigint",
        )
        .fetch_one(&mut self.connection)
        .await?;
        Ok(ServerReading { wal, writes, cpu: self.postmaster.map(cpu_with_children).unwrap_or_default() })
    }

    /// How many other clients are connected.
    pub(crate) async fn connections(&mut self) -> Result<i64, Failure> {
        let count = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where backend_type = 'client backend' and pid <> pg_backend_pid()",
        );
        Ok(count.fetch_one(&mut self.connection).await?)
    }

    /// Waits for the other clients to disconnect, two seconds at most: until then they may not have reported their rows to
    /// the statistics.
    pub(crate) async fn wait_for_others_to_leave(&mut self) -> Result<(), Failure> {
        for _ in 0..100 {
            if self.connections().await? == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Rows of the schema that were inserted, updated and deleted, as far as the statistics know.
    pub(crate) async fn rows(&mut self) -> Result<[f64; 3], Failure> {
        let rows: Vec<f64> = sqlx::query_scalar(
            "select array[coalesce(sum(n_tup_ins), 0), coalesce(sum(n_tup_upd), 0),
                          coalesce(sum(n_tup_del), 0)]::float8[]
             from pg_stat_all_tables where schemaname = $1",
        )
        .bind(&self.schema)
        .fetch_one(&mut self.connection)
        .await?;
        rows.try_into().map_err(|rows| format!("three sums, and not {rows:?}").into())
    }

    /// The server's version, for people.
    pub(crate) async fn version(&mut self) -> Result<String, Failure> {
        let version = sqlx::query_scalar("select split_part(version(), ' on ', 1)");
        Ok(version.fetch_one(&mut self.connection).await?)
    }
}
