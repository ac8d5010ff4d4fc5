//! The schema: what a file is, and how it is brought up to date. It must not know what is stored in it.

use pgworkflows_core::store::StoreError;

use crate::connection::{Connection, sql};
use crate::file::File;
use crate::turn::Queue;
use crate::values::get;

/// The migrations, in order. Each sets `user_version` to its number. A released one is never edited.
pub(crate) const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_runs.sql")];

/// Marks a file as one of PgWorkflows: `pgwf`. The first migration sets it.
const APPLICATION: i64 = 0x7067_7766;

/// What a file is. It is one statement and so one snapshot, because another process may be creating the content meanwhile.
const CONTENT: &str = "select application_id, user_version, (select count(*) from sqlite_schema)
    from pragma_application_id, pragma_user_version";

/// Refuses a file that is no store of this version or an older one, or that lacks migrations which are not wanted.
pub(crate) async fn check(file: &File) -> Result<(), StoreError> {
    let applied =
        if file.path.exists() { version(file, &mut file.connect_visitor().await?).await? } else { 0 };
    if file.migrate || applied == MIGRATIONS.len() {
        return Ok(());
    }
    Err(StoreError::misconfigured(format!(
        "`{}` lacks {} of {} migrations: run `pgworkflows migrate`, or open it once with `migrate(true)`",
        file.path.display(),
        MIGRATIONS.len() - applied,
        MIGRATIONS.len()
    )))
}

/// Brings the file up to date, or creates its content, and returns the connection that writes.
pub(crate) async fn migrate(file: &File, queue: &Queue) -> Result<Connection, StoreError> {
    // Several processes may do this at the same time.
    let _turn = queue.wait().map_err(|error| file.unavailable("the queue of its processes", &error))?;
    let mut connection = file.connect_writer().await?;
    connection.execute(sql("begin immediate")).await?;
    let applied = version(file, &mut connection).await?;
    for migration in &MIGRATIONS[applied..] {
        connection.script(migration).await?;
    }
    connection.execute(sql("commit")).await?;
    Ok(connection)
}

/// How many migrations a file has; 0 if it is empty.
pub(crate) async fn version(file: &File, connection: &mut Connection) -> Result<usize, StoreError> {
    let row = connection.fetch_first(sql(CONTENT)).await?;
    let row = row.ok_or_else(|| StoreError::corrupt("SQLite does not tell what a file is"))?;
    let (application, version, tables) = (get::<i64>(&row, 0)?, get::<i64>(&row, 1)?, get::<i64>(&row, 2)?);
    let shown = file.path.display();
    match (application, usize::try_from(version)) {
        (APPLICATION, Ok(version)) if version <= MIGRATIONS.len() => Ok(version),
        (APPLICATION, _) => Err(StoreError::misconfigured(format!(
            "`{shown}` has version {version} of the schema, and this program knows versions up to {}: use the newer version of \
             PgWorkflows that wrote it, or another file",
            MIGRATIONS.len()
        ))),
        (0, Ok(0)) if tables == 0 => Ok(0),
        _ => Err(StoreError::misconfigured(format!(
            "`{shown}` is the SQLite database of another program (application_id {application:#x}, user_version {version}, \
             {tables} tables and indexes): give the path of another file, or of one that does not exist yet"
        ))),
    }
}
