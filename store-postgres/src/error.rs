//! Maps errors of the driver and the server to errors of the seam. It must not know which statement failed.

use std::io;

use pgworkflows_core::store::StoreError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// The seam's error for a driver's error.
pub(crate) fn store_error(error: sqlx::Error) -> StoreError {
    use sqlx::Error;
    match &error {
        Error::Database(database) => match database.try_downcast_ref::<PgDatabaseError>() {
            Some(database) => {
                let definite = is_definite(database.severity(), database.code());
                let reason = describe(database);
                // A full notification queue is no fault of the request, which can be sent again.
                let is_full = is_full_queue(database.code(), database.file());
                let meaning = if is_full { Err(reason) } else { server_error(database.code(), &reason) };
                meaning.unwrap_or_else(|reason| unavailable(reason, definite, error))
            }
            None => StoreError::unavailable(error.to_string()),
        },
        Error::Encode(_) | Error::InvalidArgument(_) => StoreError::limit_exceeded(error.to_string()),
        Error::Configuration(_) => StoreError::misconfigured(error.to_string()),
        Error::Decode(_)
        | Error::ColumnDecode { .. }
        | Error::ColumnNotFound(_)
        | Error::ColumnIndexOutOfBounds { .. }
        | Error::TypeNotFound { .. }
        | Error::RowNotFound => StoreError::corrupt(error.to_string()),
        _ => unavailable(error.to_string(), false, error),
    }
}

/// Whether the error proves that the server rolled the statement back. An error that ends the session proves nothing:
/// the statement may have been committed before. A connection error may be from a pooler, which does not know the
/// outcome. And if a pooler mixes up statements, the answer may be to another client's statement. A server without disk
/// space says nothing of the statement, so no run may be blamed for it: the same is sent again.
fn is_definite(severity: PgSeverity, code: &str) -> bool {
    let is_answer = !code.starts_with("08") && code != DISK_FULL && !is_mixed_up_code(code);
    severity == PgSeverity::Error && is_answer
}

const DISK_FULL: &str = "53100";

fn unavailable(reason: String, definite: bool, source: sqlx::Error) -> StoreError {
    StoreError::Unavailable { reason, definite, source: Some(Box::new(source)) }
}

/// The meaning of a server's error code; `Err` with the reason if the same request may succeed later.
fn server_error(code: &str, reason: &str) -> Result<StoreError, String> {
    let reason = reason.to_owned();
    Ok(match code {
        // Raised by our own functions.
        "PW001" => StoreError::fenced(reason),
        "PW002" => StoreError::conflict(reason),
        "PW003" => StoreError::misconfigured(reason),
        // Undefined table, function or schema.
        "42P01" | "42883" | "3F000" => StoreError::misconfigured(format!(
            "{reason}; the schema is not migrated, or was migrated by another version of this library"
        )),
        // A cached plan went stale: another connection plans anew.
        "0A000" => return Err(reason),
        // The prepared statement does not exist on the pooler's connection, or another one has its name. Another
        // connection may work, so the request can be retried.
        "26000" | "42P05" => return Err(format!("{reason}: {MIXED_UP}")),
        // A right that the role lacks: once it is granted, the same request succeeds.
        "42501" => StoreError::misconfigured(format!(
            "{reason}; the owner of the schema grants it, such as by a role of `pgworkflows migrate --print-roles`"
        )),
        "57014" => {
            return Err(format!(
                "{reason}: if it was not cancelled by a person, alter the role to a longer `statement_timeout`"
            ));
        }
        _ => match &code[..code.len().min(2)] {
            // Data exceptions, such as a NUL in a text; limits of the program.
            "22" | "54" => StoreError::limit_exceeded(reason),
            // Passwords, databases, rights: once an administrator changes them, the same request succeeds.
            "28" | "3D" | "42" => StoreError::misconfigured(reason),
            // Integrity constraints, and a row that is named twice.
            "21" | "23" => StoreError::conflict(reason),
            // Internal errors, corrupted data or indexes.
            "XX" => StoreError::corrupt(reason),
            // The connection (08), an open or read-only transaction (25), a rollback by deadlock (40),
            // resources (53), a lock's timeout (55), shutdown, recovery, cancel (57), the system (58).
            _ => return Err(reason),
        },
    })
}

/// What a user can do about a pooler that mixes up prepared statements.
pub(crate) const MIXED_UP: &str = "\
    a pooler gives each transaction another connection of the server, and does not support prepared statements; \
    call `PostgresStore::builder(…).prepared_statements(false)`, or add `?statement-cache-capacity=0` to the \
    address, or use PgBouncer 1.21 or newer with `max_prepared_statements`";

/// Whether the server found another statement under this one's name, or none, or one with other parameters.
pub(crate) fn is_mixed_up(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| is_mixed_up_code(&code))
}

fn is_mixed_up_code(code: &str) -> bool {
    ["26000", "42P05", "08P01"].contains(&code)
}

/// Whether a wait for a lock timed out.
pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}

/// The driver's error for a wait that was given up.
pub(crate) fn timed_out(reason: &str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason))
}

fn describe(error: &PgDatabaseError) -> String {
    let mut text = error.message().to_owned();
    for part in [error.detail(), error.hint()].into_iter().flatten() {
        text.push_str(": ");
        text.push_str(part);
    }
    text
}

/// Whether a row has no partition. The server reports a check violation without a constraint's name; its message may be
/// in any language.
pub(crate) fn is_partition_missing(error: &sqlx::Error) -> bool {
    let database = error.as_database_error();
    let database = database.and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    database.is_some_and(|error| error.code() == "23514" && error.constraint().is_none())
}

/// Whether the schema's inbox has to be rewritten first, because it was moved here from another cluster or database.
pub(crate) fn is_moved(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "PW004")
}

/// Whether the notification queue is full. The error code alone says only that some limit was reached.
pub(crate) fn is_notification_queue_full(error: &sqlx::Error) -> bool {
    let database = error.as_database_error();
    let database = database.and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    database.is_some_and(|error| is_full_queue(error.code(), error.file()))
}

/// The message may be in any language, but the server names its source file, and only one holds the queue.
fn is_full_queue(code: &str, file: Option<&str>) -> bool {
    code == "54000" && file == Some("async.c")
}

/// Whether the connection may be used again after this error. It may not if the server is read-only or ended the session
/// because of a time limit (25): a new connection may lead to the new primary.
pub(crate) fn leaves_connection_usable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code != "42P05" && !["08", "57", "0A", "25", "26"].contains(&&code[..code.len().min(2)])
        }),
        sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_is_no_answer_to_a_statement() {
        assert!(!is_definite(PgSeverity::Error, DISK_FULL));
        // But a statement may be too large for the server's memory.
        assert!(is_definite(PgSeverity::Error, "53200"));
    }

    #[test]
    fn only_an_error_that_keeps_the_session_open_proves_that_nothing_was_written() {
        for (severity, code, expected) in [
            (PgSeverity::Error, "55P03", true),  // lock timeout
            (PgSeverity::Error, "57014", true),  // cancelled
            (PgSeverity::Fatal, "57P01", false), // terminated, maybe after its commit
            (PgSeverity::Panic, "XX000", false),
            (PgSeverity::Error, "08P01", false), // maybe from a pooler
            (PgSeverity::Error, "42P05", false), // maybe an answer to another client's statement
            (PgSeverity::Error, "26000", false),
        ] {
            assert_eq!(is_definite(severity, code), expected, "{severity:?} {code}");
        }
    }

    #[test]
    fn server_error_codes_are_mapped_to_errors_of_the_seam() {
        let meaning = |code| match server_error(code, "reason") {
            Ok(StoreError::Fenced { .. }) => "fenced",
            Ok(StoreError::Conflict { .. }) => "conflict",
            Ok(StoreError::Held { .. }) => "held",
            Ok(StoreError::LimitExceeded { .. }) => "refused",
            Ok(StoreError::Misconfigured { .. }) => "misconfigured",
            Ok(StoreError::Corrupt { .. }) => "corrupt",
            Ok(StoreError::Unavailable { .. }) | Err(_) => "unavailable",
        };
        for (code, expected) in [
            ("PW001", "fenced"),
            ("PW002", "conflict"),
            ("PW003", "misconfigured"),
            ("23505", "conflict"),
            ("21000", "conflict"),      // a row is named twice
            ("22021", "refused"),       // a NUL in a text
            ("54000", "refused"),       // program limit exceeded
            ("42501", "misconfigured"), // insufficient privilege
            ("42P01", "misconfigured"), // undefined table
            ("42P05", "unavailable"),   // a prepared statement of that name exists
            ("26000", "unavailable"),   // no prepared statement of that name
            ("XX001", "corrupt"),       // data corrupted
            ("08006", "unavailable"),   // connection failure
            ("PW004", "unavailable"),   // moved here, and not rewritten yet
            ("25006", "unavailable"),   // a standby
            ("40001", "unavailable"),   // serialization failure
            ("40P01", "unavailable"),   // deadlock
            ("53300", "unavailable"),   // too many connections
            ("55P03", "unavailable"),   // lock timeout
            ("57014", "unavailable"),   // cancelled
            ("57P01", "unavailable"),   // shutdown
            ("57P03", "unavailable"),   // recovery
        ] {
            assert_eq!(meaning(code), expected, "{code}");
        }
    }

    #[test]
    fn a_full_notification_queue_is_distinguished_from_other_limits() {
        assert!(is_full_queue("54000", Some("async.c")));
        // A row too large for an index.
        assert!(!is_full_queue("54000", Some("indextuple.c")));
        assert!(!is_full_queue("22023", Some("async.c")));
    }
}
