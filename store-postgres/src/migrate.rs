//! Applies the migrations to a schema: each once, in order, by the first process that connects. It must not know what a
//! migration does.
//!
//! The driver's own migrator takes a session-level advisory lock, which does not work through a pooler in transaction
//! mode. This one takes a transaction-level lock, and applies all missing migrations in one transaction.

use pgworkflows_core::store::StoreError;
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Executor, Row, SqlSafeStr};

use crate::connect::connect;
use crate::defaults;
use crate::error::store_error;
use crate::options::Options;
use crate::schema::Schema;

/// One migration. Once released it is never changed.
struct Migration {
    number: i32,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        name: "log_inbox_leases",
        sql: include_str!("../migrations/0001_log_inbox_leases.sql"),
    },
    Migration { number: 2, name: "reads", sql: include_str!("../migrations/0002_reads.sql") },
    Migration { number: 3, name: "moved", sql: include_str!("../migrations/0003_moved.sql") },
    Migration { number: 4, name: "history", sql: include_str!("../migrations/0004_history.sql") },
    Migration { number: 5, name: "tasks", sql: include_str!("../migrations/0005_tasks.sql") },
    Migration { number: 6, name: "sql", sql: include_str!("../migrations/0006_sql.sql") },
];

impl Migration {
    /// The checksum of the text, in hexadecimal. The text still has the placeholder, so it is the same in every schema.
    fn checksum(&self) -> String {
        Sha256::digest(self.sql).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The migration's SQL and the row that records it.
    fn script(&self, schema: &Schema) -> String {
        let checksum = self.checksum();
        format!(
            "{}{}\ninsert into {}.migrations (number, name, checksum)\n\
             values ({}, '{}', decode('{checksum}', 'hex'));\n",
            schema.fill(self.sql),
            schema.fill(REVOKE),
            schema.as_str(),
            self.number,
            self.name
        )
    }
}

/// PostgreSQL lets everybody execute a new function. This takes that right back for the functions of this transaction, and leaves
/// others alone that a user may have in the same schema. `roles.sql` grants it to roles.
const REVOKE: &str = "
do $$
declare
    v_function regprocedure;
begin
    for v_function in
        select p.oid from pg_catalog.pg_proc p
        where p.pronamespace = '@schema@'::regnamespace and p.xmin = pg_current_xact_id()::xid
    loop
        execute format('revoke all on function %s from public', v_function);
    end loop;
end
$$;
";

/// Our names are qualified by the schema, so every other name must be the server's, whatever the session's path is.
const SEARCH_PATH: &str = "set local search_path = pg_catalog, pg_temp";

/// Another process may migrate for longer than the role's time limits allow, and so may this one. The limits are lifted
/// for this transaction only, because a pooler may share the connection.
const NO_TIME_LIMITS: &str = "
    select pg_catalog.set_config(name, '0', true) from pg_catalog.pg_settings
    where name in ('lock_timeout', 'statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')";

/// The script of all migrations, for a person to run.
pub(crate) fn script(schema: &Schema) -> String {
    let mut text = format!("begin;\n{SEARCH_PATH};\n\n");
    for migration in MIGRATIONS {
        text.push_str(&migration.script(schema));
        text.push('\n');
    }
    text.push_str("commit;\n");
    text
}

/// The script that makes the roles, for a person to run.
pub(crate) fn roles_script(schema: &Schema) -> String {
    format!("begin;\n{SEARCH_PATH};\n\n{}\ncommit;\n", schema.fill(ROLES))
}

const ROLES: &str = include_str!("../migrations/roles.sql");

/// Brings the schema up to date, or checks that it is up to date.
pub(crate) async fn migrate(options: &Options) -> Result<(), StoreError> {
    let schema = &options.schema;
    let mut connection = connect(&options.connect).await?;
    defaults::check(&mut connection, options).await?;

    // Without a lock: an up-to-date schema needs one read, and no right to change the schema.
    let missing = missing(&mut connection, schema).await?;
    if missing.is_empty() {
        return Ok(());
    }
    if !options.migrate {
        return Err(StoreError::misconfigured(format!(
            "schema `{}` lacks {} of {} migrations: run `pgworkflows migrate`, connect once with `migrate(true)`, or run \
             what `PostgresStore::migrations_sql` prints",
            schema.as_str(),
            missing.len(),
            MIGRATIONS.len()
        )));
    }
    // This connection has no other use: on an error it is dropped, and the server rolls back.
    run(&mut connection, "begin isolation level read committed".to_owned()).await?;
    run(&mut connection, SEARCH_PATH.to_owned()).await?;
    run(&mut connection, NO_TIME_LIMITS.to_owned()).await?;
    run(&mut connection, format!("select pg_advisory_xact_lock({})", lock_key(schema))).await?;
    apply_missing(&mut connection, options).await?;
    run(&mut connection, "commit".to_owned()).await
}

/// Applies what is missing, under the lock. It reads again, because another process may have migrated meanwhile.
async fn apply_missing(connection: &mut PgConnection, options: &Options) -> Result<(), StoreError> {
    let schema = &options.schema;
    for migration in missing(connection, schema).await? {
        run(connection, migration.script(schema)).await.map_err(|error| match error {
            StoreError::Misconfigured { reason } => StoreError::misconfigured(format!(
                "migration {} ({}) of schema `{}` failed: {reason}",
                migration.number,
                migration.name,
                schema.as_str()
            )),
            other => other,
        })?;
        if migration.number == 1 {
            run(
                connection,
                format!(
                    "update {}.settings set partition_width_seconds = {}",
                    schema.as_str(),
                    options.partition_width_seconds
                ),
            )
            .await?;
        }
    }
    Ok(())
}

/// How many of the migrations of this version a schema lacks, and how many there are.
pub(crate) async fn lacking(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<(usize, usize), StoreError> {
    Ok((missing(connection, schema).await?.len(), MIGRATIONS.len()))
}

/// The migrations that this schema lacks.
async fn missing(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<&'static Migration>, StoreError> {
    // From the catalog's tables, because `to_regclass` reads a cache which may miss what another process created while
    // this one waited for the lock.
    let exists =
        "select 1 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                  where n.nspname = '@schema@' and c.relname = 'migrations'";
    if read(connection, schema.fill(exists)).await?.is_empty() {
        return Ok(MIGRATIONS.iter().collect());
    }
    let applied =
        "select number, name, pg_catalog.encode(checksum, 'hex') from @schema@.migrations order by number";
    let applied = read(connection, schema.fill(applied)).await?;
    for row in &applied {
        let (number, name, checksum): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
        match MIGRATIONS.iter().find(|migration| migration.number == number) {
            Some(migration) if migration.checksum() == checksum => {}
            Some(_) => {
                return Err(StoreError::corrupt(format!(
                    "migration {number} ({name}) of schema `{}` was applied with a different text than \
                     this version's: the schema was made by a development version, or the record was changed by hand",
                    schema.as_str()
                )));
            }
            None => {
                return Err(StoreError::misconfigured(format!(
                    "schema `{}` was migrated by a newer version of this library: it has migration {number} \
                     ({name}), and {} is the last that this version knows; use the newer version",
                    schema.as_str(),
                    MIGRATIONS.len()
                )));
            }
        }
    }
    let last = applied.last().map_or(0, |row| row.get::<i32, _>(0));
    Ok(MIGRATIONS.iter().filter(|migration| migration.number > last).collect())
}

async fn run(connection: &mut PgConnection, script: String) -> Result<(), StoreError> {
    // Safe: only a checked identifier is inserted into our own scripts.
    let script = sqlx::raw_sql(AssertSqlSafe(script).into_sql_str());
    connection.execute(script).await.map(drop).map_err(store_error)
}

/// A read without parameters. It is one protocol message, so no pooler can mix up its answer.
async fn read(connection: &mut PgConnection, text: String) -> Result<Vec<PgRow>, StoreError> {
    // Safe as above.
    let read = sqlx::raw_sql(AssertSqlSafe(text).into_sql_str());
    connection.fetch_all(read).await.map_err(store_error)
}

/// The advisory lock's key, one per schema. It is a hash, because all users of a database share the space of keys.
fn lock_key(schema: &Schema) -> i64 {
    let digest: [u8; 32] = Sha256::digest(format!("pgworkflows migrations of {}", schema.as_str())).into();
    digest.iter().take(8).fold(0, |key, byte| key << 8 | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{append, submit};

    #[test]
    fn migrations_are_numbered_without_a_gap() {
        let numbers: Vec<_> = MIGRATIONS.iter().map(|migration| migration.number).collect();
        assert_eq!(numbers, (1..=MIGRATIONS.len() as i32).collect::<Vec<_>>());
    }

    #[test]
    fn the_script_for_a_person_contains_no_placeholder() {
        let script = script(&Schema::new("flows").unwrap());
        assert!(!script.contains(crate::schema::PLACEHOLDER), "{script}");
        assert!(script.contains("create table flows.frames"), "{script}");
        assert!(script.contains("insert into flows.migrations"), "{script}");
    }

    #[test]
    fn no_script_depends_on_the_settings_of_a_session() {
        let script = script(&Schema::new("flows").unwrap());
        // `standard_conforming_strings` decides what a backslash in a literal means.
        assert!(!script.contains('\\'), "{script}");
        for function in script.split("create function ").skip(1) {
            let (head, _) = function.split_once("$$").unwrap();
            assert!(head.contains("set search_path = pg_catalog, pg_temp"), "{head}");
        }
    }

    /// The names of the parameters in a function's declaration.
    fn parameters(function: &str) -> Vec<String> {
        let script = script(&Schema::new("flows").unwrap());
        let (_, declared) = script.split_once(&format!("create function flows.{function}(")).unwrap();
        let (declared, _) = declared.split_once("language plpgsql").unwrap();
        let words = declared.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(|word| word.starts_with("p_")).map(str::to_owned).collect()
    }

    #[test]
    fn call_names_every_parameter_of_its_function_once() {
        for (function, arguments) in [("append", append::ARGUMENTS), ("submit", submit::ARGUMENTS)] {
            let mut arguments = arguments.to_vec();
            let mut parameters = parameters(function);
            arguments.sort_unstable();
            parameters.sort_unstable();
            assert_eq!(arguments, parameters, "{function}");
        }
    }
}
