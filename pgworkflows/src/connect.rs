//! Connects to a store by its address, so that a program chooses its store at run time. It must not know what a store does.

use std::sync::Arc;

use pgworkflows_core::Error;
use pgworkflows_core::store::{Store, StoreError};

/// Any store, as [`connect`] returns it. It is a store itself: pass it to [`Client::new`](crate::Client::new) and
/// [`Worker::builder`](crate::Worker::builder). Clones share everything.
///
/// `Arc::new(store)` turns a store with custom options into an `AnyStore`.
pub type AnyStore = Arc<dyn Store>;

/// Connects to the store at an address:
///
/// * `postgres://user:password@host:5432/database` (or `postgresql://…`): PostgreSQL with the default options, whose schema
///   is created and migrated as by [`PostgresStore::connect`](crate::PostgresStore::connect). Needs the feature `postgres`,
///   which is on by default.
/// * `sqlite:path/to/file.db`: a file, which is created if it does not exist, as by
///   [`SqliteStore::open`](crate::SqliteStore::open). Needs the feature `sqlite`.
/// * `memory:`: a new, empty store in this process. Needs the feature `memory`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let url = std::env::var("PGWORKFLOWS_URL").unwrap_or("memory:".to_owned());
/// let client = pgworkflows::Client::new(pgworkflows::connect(&url).await?);
/// let error = pgworkflows::connect("mysql://app:secret@localhost/app").await.unwrap_err();
/// assert!(error.is_misconfigured());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// * [`Error::is_misconfigured`]: the address has another form, its store's feature is off, the database refuses the
///   address's user, password or options, or the file cannot be a store's.
/// * [`Error::is_unavailable`]: the database does not answer, or the disk is full.
///
/// No error contains the password of the address.
pub async fn connect(url: &str) -> Result<AnyStore, Error> {
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("postgres" | "postgresql") => postgres(url).await,
        Some("sqlite") => sqlite(url).await,
        Some("memory") => memory(url),
        _ => Err(unknown(url)),
    }
}

#[cfg(feature = "postgres")]
async fn postgres(url: &str) -> Result<AnyStore, Error> {
    Ok(Arc::new(crate::PostgresStore::connect(url).await?))
}

#[cfg(not(feature = "postgres"))]
async fn postgres(_url: &str) -> Result<AnyStore, Error> {
    Err(switched_off("postgres"))
}

#[cfg(feature = "sqlite")]
async fn sqlite(url: &str) -> Result<AnyStore, Error> {
    Ok(Arc::new(crate::SqliteStore::open(sqlite_path(url)?).await?))
}

#[cfg(not(feature = "sqlite"))]
async fn sqlite(_url: &str) -> Result<AnyStore, Error> {
    Err(switched_off("sqlite"))
}

/// The path in an address `sqlite:path`. As in other programs, `sqlite://` begins a path as well.
#[cfg(any(test, feature = "sqlite"))]
fn sqlite_path(url: &str) -> Result<&std::path::Path, Error> {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = path.strip_prefix("//").unwrap_or(path);
    let problem = match path {
        "" => "it has no path",
        ":memory:" => "a store in memory is at `memory:`",
        _ if path.contains('?') => {
            "it has no options, so it cannot contain `?`; `SqliteStore::builder` has them"
        }
        _ => return Ok(std::path::Path::new(path)),
    };
    let form = "the address of a SQLite file is `sqlite:` and its path, such as `sqlite:runs.db`";
    Err(StoreError::misconfigured(format!("`{url}`: {problem}; {form}")).into())
}

#[cfg(feature = "memory")]
fn memory(url: &str) -> Result<AnyStore, Error> {
    match url {
        "memory:" => Ok(Arc::new(crate::MemoryStore::new())),
        _ => {
            Err(StoreError::misconfigured("a memory store has no name or path; its address is `memory:`")
                .into())
        }
    }
}

#[cfg(not(feature = "memory"))]
fn memory(_url: &str) -> Result<AnyStore, Error> {
    Err(switched_off("memory"))
}

#[cfg(any(test, not(all(feature = "postgres", feature = "sqlite", feature = "memory"))))]
fn switched_off(feature: &str) -> Error {
    StoreError::misconfigured(format!(
        "this program was built without the feature `{feature}` of the crate `pgworkflows`, which the address needs; \
         add it with `cargo add pgworkflows --features {feature}`"
    ))
    .into()
}

/// The error of an unknown address. It shows at most the scheme, since any other part may be a password.
fn unknown(url: &str) -> Error {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    let scheme =
        scheme.filter(|scheme| scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)));
    let what = match scheme {
        Some(scheme) => format!("`{scheme}://` is not the address of a known store"),
        None if url.is_empty() => "the address of the store is empty".to_owned(),
        None => "the address does not begin with the scheme of a store".to_owned(),
    };
    let forms = "use `postgres://user:password@host:5432/database`, `sqlite:path/to/file.db` or `memory:`";
    StoreError::misconfigured(format!("{what}; {forms}")).into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{sqlite_path, switched_off, unknown};

    #[test]
    fn address_of_a_sqlite_file_is_its_path() {
        for (url, path) in [
            ("sqlite:runs.db", "runs.db"),
            ("sqlite:/var/lib/runs.db", "/var/lib/runs.db"),
            ("sqlite://runs.db", "runs.db"),
            ("sqlite:///var/lib/runs.db", "/var/lib/runs.db"),
        ] {
            assert_eq!(sqlite_path(url).unwrap(), Path::new(path));
        }
        for (url, named) in
            [("sqlite:", "no path"), ("sqlite::memory:", "`memory:`"), ("sqlite:runs.db?mode=ro", "`?`")]
        {
            let error = sqlite_path(url).unwrap_err();
            assert!(error.is_misconfigured());
            assert!(error.to_string().contains(named) && error.to_string().contains(url), "{error}");
        }
    }

    #[test]
    fn feature_that_is_off_is_named_with_what_turns_it_on() {
        let error = switched_off("memory");
        assert!(error.is_misconfigured());
        assert!(error.to_string().contains("`cargo add pgworkflows --features memory`"), "{error}");
    }

    #[test]
    fn unknown_address_is_refused_without_its_password() {
        for (url, named) in [
            ("mysql://app:hunter2@db/app", "`mysql://`"),
            ("app:hunter2@db:5432/app", "does not begin"),
            ("hunter2", "does not begin"),
            ("hun/ter2://db", "does not begin"),
            ("", "is empty"),
        ] {
            let error = unknown(url);
            assert!(error.is_misconfigured(), "{url}");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(named) && shown.contains("postgres://user:password@host"), "{shown}");
            assert!(!shown.contains("ter2"), "{shown}");
        }
    }
}
