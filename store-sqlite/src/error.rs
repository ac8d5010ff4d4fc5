//! Maps errors of the driver and of SQLite to errors of the seam. It must not know which statement failed.

use std::path::Path;

use pgworkflows_core::store::StoreError;

/// The primary result codes of SQLite that are told apart.
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const READONLY: i32 = 8;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const TOOBIG: i32 = 18;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const NOTADB: i32 = 26;
}

/// Whether the transaction goes on after an error: the statement alone was undone, because of its content.
pub(crate) fn leaves_transaction(error: &sqlx::Error) -> bool {
    matches!(primary(error), Some(code::CONSTRAINT | code::TOOBIG))
}

/// The seam's error for an error of a statement on this file.
pub(crate) fn store_error(file: &Path, error: sqlx::Error) -> StoreError {
    let file = file.display();
    match primary(&error) {
        Some(code::CONSTRAINT) => StoreError::conflict(error.to_string()),
        Some(code::TOOBIG) => StoreError::limit_exceeded(error.to_string()),
        Some(code::READONLY) => StoreError::misconfigured(format!(
            "`{file}` cannot be written ({error}): give this user the right to write the file and its directory"
        )),
        Some(code::CANTOPEN) => StoreError::misconfigured(format!(
            "`{file}` cannot be opened ({error}): check that its directory exists, and that this user may create files there"
        )),
        Some(code::NOTADB) => StoreError::misconfigured(format!(
            "`{file}` is not a SQLite database: give the path of another file, or of one that does not exist yet"
        )),
        Some(code::CORRUPT) => StoreError::corrupt(format!(
            "`{file}` is damaged, or its disk fails to read it ({error}): keep a copy of it, and restore a backup, or try `sqlite3 {file} \
             .recover`"
        )),
        // Says nothing of the request, so nothing is to be blamed for it: the same is sent again.
        Some(code::FULL) => unavailable(
            format!(
                "there is no room for `{file}` ({error}): free space on its disk, or raise `size_max` if it is set"
            ),
            error,
        ),
        Some(code::BUSY) => unavailable(
            format!(
                "`{file}` is locked by a program that does not belong to PgWorkflows, such as an open transaction of a SQLite \
                 shell ({error}): end it"
            ),
            error,
        ),
        Some(code::IOERR) => unavailable(
            format!(
                "`{file}` cannot be read or written ({error}): see whether its disk is there, and has no errors"
            ),
            error,
        ),
        Some(_) | None => unavailable(format!("`{file}`: {error}"), error),
    }
}

/// SQLite's primary result code.
fn primary(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i32>().ok().map(|code| code & 0xff)
}

/// The seam's error for an error of a statement on a file that could be opened before: what keeps it from being opened now may pass.
/// A client that waits for a result goes on waiting then.
pub(crate) fn later_error(file: &Path, error: sqlx::Error) -> StoreError {
    match primary(&error) {
        Some(code::CANTOPEN) => unavailable(
            format!(
                "`{}` cannot be opened, and could be before ({error}): see whether it is still there, and whether this process may \
                 open so many files",
                file.display()
            ),
            error,
        ),
        Some(_) | None => store_error(file, error),
    }
}

fn unavailable(reason: String, source: sqlx::Error) -> StoreError {
    StoreError::Unavailable { reason, definite: false, source: Some(Box::new(source)) }
}
