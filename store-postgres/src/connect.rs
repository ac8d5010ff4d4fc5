//! Opens connections, checks the server, and turns failures into errors that a person can act on. Passwords never
//! appear in them.

use std::io::ErrorKind;

use pgworkflows_core::store::StoreError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Executor, Row};

use crate::error::store_error;

/// The oldest supported server: `DETACH PARTITION … CONCURRENTLY` needs PostgreSQL 14.
const SERVER_VERSION_MIN: i32 = 140_000;

/// Opens a connection, and refuses a server or database that cannot be used.
pub(crate) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let mut connection = options.connect().await.map_err(|error| connect_error(options, error))?;
    // All checks in one round trip. A connection may live for weeks.
    let checks = "select pg_catalog.current_setting('server_version_num')::int,
                         pg_catalog.current_setting('server_version'),
                         pg_catalog.current_setting('server_encoding'),
                         pg_catalog.pg_is_in_recovery()";
    let row = connection.fetch_one(sqlx::raw_sql(checks)).await.map_err(store_error)?;
    let (number, version): (i32, String) = (row.get(0), row.get(1));
    check_version(number, &version)?;
    let (encoding, standby): (String, bool) = (row.get(2), row.get(3));
    check_encoding(&encoding, options)?;
    if standby {
        return Err(StoreError::unavailable(standby_refused(options)));
    }
    Ok(connection)
}

/// Whether a connection leads to a standby. Nothing is read from one, because it lags.
pub(crate) async fn is_standby(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let row = connection.fetch_one(sqlx::raw_sql("select pg_catalog.pg_is_in_recovery()")).await?;
    row.try_get(0)
}

/// The reason for refusing a standby.
pub(crate) fn standby_refused(options: &PgConnectOptions) -> String {
    format!(
        "{} is a standby; give the address of the primary, or promote this server",
        describe_address(options)
    )
}

pub(crate) fn check_version(number: i32, version: &str) -> Result<(), StoreError> {
    if number < SERVER_VERSION_MIN {
        return Err(StoreError::misconfigured(format!(
            "the server is PostgreSQL {version}, but 14 or newer is needed: upgrade the server"
        )));
    }
    Ok(())
}

/// Names, keys and reasons may be any text. A database with another encoding refuses some text, or garbles it.
pub(crate) fn check_encoding(encoding: &str, options: &PgConnectOptions) -> Result<(), StoreError> {
    if encoding != "UTF8" {
        return Err(StoreError::misconfigured(format!(
            "{} is encoded in {encoding}, but UTF8 is needed: an encoding cannot be changed, so create a new \
             database with `encoding 'UTF8' template template0`",
            describe_address(options)
        )));
    }
    Ok(())
}

/// Where an address points, without the password.
pub(crate) fn describe_address(options: &PgConnectOptions) -> String {
    let user = options.get_username();
    let database = options.get_database().unwrap_or(user);
    match options.get_socket() {
        Some(path) => format!("database `{database}` at {} as user `{user}`", path.display()),
        None => {
            format!("database `{database}` at {}:{} as user `{user}`", options.get_host(), options.get_port())
        }
    }
}

pub(crate) fn connect_error(options: &PgConnectOptions, error: sqlx::Error) -> StoreError {
    let address = describe_address(options);
    if let Some(reason) = untrusted(&error) {
        return StoreError::misconfigured(format!("{address}: {reason}"));
    }
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    match code.as_str() {
        "28P01" | "28000" => StoreError::misconfigured(format!(
            "{address}: the server refused the user ({error}); check user and password{}",
            encryption_advice(options.get_ssl_mode())
        )),
        "3D000" => StoreError::misconfigured(format!(
            "{address}: there is no such database; create it, or correct the address"
        )),
        "42501" => StoreError::misconfigured(format!(
            "{address}: the user may not connect to the database ({error})"
        )),
        _ => match store_error(error) {
            StoreError::Unavailable { reason, definite, source } => {
                StoreError::Unavailable { reason: format!("{address}: {reason}"), definite, source }
            }
            StoreError::Misconfigured { reason } => StoreError::misconfigured(format!("{address}: {reason}")),
            other => other,
        },
    }
}

/// Why there is no encrypted connection, if that is what failed, and what to do.
fn untrusted(error: &sqlx::Error) -> Option<String> {
    match error {
        sqlx::Error::Tls(_) => Some(format!(
            "{error}; check `sslmode` in the address, and build with the feature `tls` of `pgworkflows` for any mode but `disable`"
        )),
        // What is wrong with a certificate arrives as data that cannot be read.
        sqlx::Error::Io(problem) if problem.kind() == ErrorKind::InvalidData => Some(format!(
            "the server cannot be trusted ({problem}); give the certificate of its authority as `sslrootcert` in the address, and the \
             host by the name that is in the server's certificate"
        )),
        _ => None,
    }
}

/// What else to check if a server refuses a user whose connection may not be encrypted: many do so for that reason.
fn encryption_advice(mode: PgSslMode) -> &'static str {
    let may_be_plain = matches!(mode, PgSslMode::Disable | PgSslMode::Allow) || cfg!(not(feature = "tls"));
    if may_be_plain {
        ", and whether the server demands encryption: then add `sslmode=verify-full` to the address, and build with the feature `tls`"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_older_than_14_is_refused_with_its_version() {
        let error = check_version(130_011, "13.11 (Debian 13.11-0+deb11u1)").unwrap_err();
        assert!(matches!(error, StoreError::Misconfigured { .. }));
        assert!(error.to_string().contains("PostgreSQL 13.11"), "{error}");
        assert!(error.to_string().contains("14 or newer"), "{error}");
        assert!(check_version(140_000, "14.0").is_ok());
        assert!(check_version(180_001, "18.1").is_ok());
    }
}
