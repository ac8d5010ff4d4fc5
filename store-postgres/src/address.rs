//! Reads the address of a database. It opens no connection, and shows nothing that may be a part of a password.

use std::str::FromStr;

use pgworkflows_core::store::StoreError;
use sqlx::postgres::PgConnectOptions;

const FORM: &str = "it must have the form postgres://user:password@host:5432/database";

/// The parameters that the driver knows. It logs others with their values, and `sslpassword` is one of those.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Parameters of encryption that other drivers know. Without them, a connection is no less safe.
const DISPENSABLE: [&str; 8] = [
    "sslpassword",
    "sslnegotiation",
    "sslcompression",
    "sslcertmode",
    "sslsni",
    "sslkeylogfile",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
];

/// Reads an address. What it asks for in parameters that are not known is ignored, as other drivers do, and logged without its value.
pub(crate) fn read(url: &str) -> Result<PgConnectOptions, StoreError> {
    let refuse =
        |what: &str| Err(StoreError::misconfigured(format!("the address of the database {what}: {FORM}")));
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let Some(rest) = rest else { return refuse("does not begin with `postgres://`") };
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    if is_cut(place, parameters) {
        return refuse(
            "has an `@` after its host, so what is before it is not read as user and password; write `/` as `%2F`, `?` as `%3F`, \
             `#` as `%23` and `@` as `%40` in these",
        );
    }
    check_encryption(parameters)?;
    check_files(parameters)?;
    let known = known(parameters);
    let url = if parameters.is_empty() { url } else { &format!("postgres://{place}?{known}") };
    let options = PgConnectOptions::from_str(url).map_err(|error| {
        StoreError::misconfigured(format!("the address of the database cannot be read ({error}): {FORM}"))
    })?;
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("pgworkflows"),
    };
    // By default the driver sets the digits of floats when a session starts. PgBouncer refuses that, and no statement
    // here needs it.
    Ok(options.extra_float_digits(None))
}

/// Whether a password with a `/`, `?` or `#` in it makes the address something else: then a part of the password is taken for a port,
/// a database or a parameter, which errors show.
fn is_cut(place: &str, parameters: &str) -> bool {
    let after_host = place.find(['/', '#']).map_or("", |at| &place[at..]);
    after_host.contains('@') || parameters.split('&').any(|parameter| name_of(parameter).contains('@'))
}

/// Refuses parameters of encryption that the driver does not know, such as `sslmod`: ignored, they would leave a connection less
/// safe than its user believes.
fn check_encryption(parameters: &str) -> Result<(), StoreError> {
    let is_misread = |name: &&str| {
        let word = name.to_ascii_lowercase();
        let is_meant = word.starts_with("ssl") || word.starts_with("tls");
        is_meant && !PARAMETERS.contains(name) && !DISPENSABLE.contains(name)
    };
    match parameters.split('&').map(name_of).find(is_misread) {
        Some(name) => Err(StoreError::misconfigured(format!(
            "the parameter `{}` of the address is not known, so the connection might be less safe than it asks for: those that are              known are `sslmode`, `sslrootcert`, `sslcert` and `sslkey`; correct it, or leave it out",
            shown(name)
        ))),
        None => Ok(()),
    }
}

/// Refuses certificates and keys that cannot be read. The driver would not say which.
fn check_files(parameters: &str) -> Result<(), StoreError> {
    const FILES: [&str; 7] =
        ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];
    for parameter in parameters.split('&') {
        let Some((name, path)) = parameter.split_once('=').filter(|(name, _)| FILES.contains(name)) else {
            continue;
        };
        // The driver also takes the content itself, and a path with escapes.
        if path.starts_with("-----") || path.contains(['%', '+']) {
            continue;
        }
        std::fs::File::open(path).map_err(|error| {
            StoreError::misconfigured(format!(
                "the file `{path}`, which `{name}` of the address names, cannot be read ({error}): correct the path, or allow this \
                 user to read it"
            ))
        })?;
    }
    Ok(())
}

/// The parameters that the driver knows.
fn known(parameters: &str) -> String {
    let is_known = |parameter: &&str| {
        let name = name_of(parameter);
        // As in `options[lock_timeout]=1s`.
        PARAMETERS.contains(&name) || name.starts_with("options[") || name.starts_with("options%5")
    };
    let (known, others): (Vec<&str>, Vec<&str>) =
        parameters.split('&').filter(|parameter| !parameter.is_empty()).partition(is_known);
    for other in others {
        tracing::warn!(
            parameter = shown(name_of(other)),
            "the address of the database has a parameter that is not known, and is ignored"
        );
    }
    known.join("&")
}

fn name_of(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or_default()
}

/// The name of a parameter as it is shown, unless it may be a part of something else.
fn shown(name: &str) -> &str {
    let is_name = name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if is_name { name } else { "…" }
}

/// Whether the address switches prepared statements off, by the driver's own parameter.
pub(crate) fn forbids_prepared_statements(url: &str) -> bool {
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    parameters.split('&').any(|parameter| parameter == "statement-cache-capacity=0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::describe_address;

    #[test]
    fn parameters_that_are_not_known_are_left_out() {
        assert_eq!(known("sslmode=require&channel_binding=require&&user=x"), "sslmode=require&user=x");
        assert_eq!(known("sslpassword=hunter2&pasword=hunter2"), "");
        assert_eq!(
            known("options[lock_timeout]=1&options%5Ba%5D=2&optionsx=3"),
            "options[lock_timeout]=1&options%5Ba%5D=2"
        );
        let options = read("postgres://app@db:5433/app?sslpassword=x&application_name=ours").unwrap();
        assert_eq!(describe_address(&options), "database `app` at db:5433 as user `app`");
        assert_eq!(options.get_application_name(), Some("ours"));
    }

    #[test]
    fn mistyped_parameter_of_encryption_is_refused() {
        for parameter in ["sslmod=verify-full", "SSLMODE=require", "ssl=true", "tls=on", "sslcrl=revoked.crl"]
        {
            let error = read(&format!("postgres://app@db/app?{parameter}")).unwrap_err().to_string();
            let name = parameter.split('=').next().unwrap();
            assert!(error.contains(&format!("`{name}`")) && error.contains("`sslmode`"), "{error}");
        }
        let odd = read("postgres://app@db/app?ssl%20hunter2").unwrap_err().to_string();
        assert!(odd.contains("`…`") && !odd.contains("hunter2"), "{odd}");
    }

    #[test]
    fn password_that_cuts_the_address_is_refused_and_not_shown() {
        for url in [
            "postgres://app:123/hunter2@db/app",
            "postgres://app:123?hunter2@db/app",
            "postgres://app:123?user=x&hunter2@db/app",
            "postgres://app:123#hunter2@db/app",
            "postgres://app/hunter2@db/app",
        ] {
            let error = read(url).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(
                text.contains("`%2F`") && !text.contains("hunter2") && !text.contains("123"),
                "{url}: {text}"
            );
        }
        for url in ["postgres://a%40b:c%2Fd@db/x%40y", "postgres://app:p@ss@db/app?application_name=me@home"]
        {
            read(url).unwrap();
        }
    }
}
