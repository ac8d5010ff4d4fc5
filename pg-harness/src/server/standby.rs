//! A standby that takes the place of its server without losing an acknowledged commit. It must not know what is stored.

use std::time::Duration;

use super::{Postgres, run};
use crate::error::Error;
use crate::sql;

/// Waits some seconds until commits wait for the standby, and fails if they do not. A transaction sees the same statistics
/// until it forgets them.
const WAIT_FOR_THE_STANDBY: &str = "DO $$ BEGIN
    FOR i IN 1 .. 500 LOOP
        EXIT WHEN EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync');
        PERFORM pg_sleep(0.02), pg_stat_clear_snapshot();
        ASSERT i < 500, 'the standby does not stream';
    END LOOP;
END $$";

/// How often that is tried: a busy machine takes long.
const WAITS: u32 = 20;

impl Postgres {
    /// Starts a standby of this server on the same machine. From then on, a commit is acknowledged after the standby has
    /// written it. The standby applies it `lag` later, so whoever reads there sees an older state.
    ///
    /// # Errors
    ///
    /// Returns an error if this server does not run, or the standby cannot be made.
    pub fn start_standby(&self, lag: Duration) -> Result<Self, Error> {
        let parent = self.directory.parent().unwrap_or(&self.directory);
        let mut standby = Self::in_a_fresh_directory(self.installation.clone(), self.account, parent)?;
        let mut backup = self.program("pg_basebackup");
        backup.args(["--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--no-sync"]);
        backup.args(["--username=postgres", "--host=127.0.0.1", "--port"]).arg(self.port.to_string());
        run(backup.arg("--pgdata").arg(standby.data_dir()))?;
        let lag = format!("{}ms", lag.as_millis());
        let settings = [("recovery_min_apply_delay", &*lag), ("wal_retrieve_retry_interval", "100ms")];
        standby.append_settings(settings.into_iter())?;
        standby.launch_on_a_free_port()?;
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")?;
        self.execute("SELECT pg_reload_conf()")?;
        let mut streams = self.execute(WAIT_FOR_THE_STANDBY);
        for _ in 1..WAITS {
            if streams.is_ok() {
                break;
            }
            streams = self.execute(WAIT_FOR_THE_STANDBY);
        }
        streams.map(|()| standby)
    }

    /// Makes a standby accept writes, after it has applied all that it has. Its former server should be stopped before, and
    /// not be started again.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not a running standby, or is not promoted within a minute.
    pub fn promote(&self) -> Result<(), Error> {
        let mut promote = self.program("pg_ctl");
        promote.args(["promote", "--wait", "--timeout=60", "--silent", "-D"]).arg(self.data_dir());
        run(&mut promote)?;
        // It may be the copy of a server that had a standby, and has none itself.
        self.execute("ALTER SYSTEM RESET synchronous_standby_names")?;
        self.execute("SELECT pg_reload_conf()")
    }

    fn execute(&self, statement: &str) -> Result<(), Error> {
        sql::execute(&self.url(), statement)
    }
}
