//! A store by its address, so that a program chooses one when it starts. It must not know what a store does.

use std::sync::Arc;

use pgworkflows_core::Error;
use pgworkflows_core::store::{Store, StoreError};

/// Any store, as [`connect`] gives it. It is a store itself: [`Client::new`](crate::Client::new) and
/// [`Worker::builder`](crate::Worker::builder) take it. Clones share everything.
///
/// A store that was made with options of its own becomes one by `Arc::new(store)`.
pub type AnyStore = Arc<dyn Store>;

/// Connects to the store at an address:
///
/// * `postgres://user:password@host:5432/database` (or `postgresql://…`): PostgreSQL, with the default options and
///   migrated, as [`PostgresStore::connect`](crate::PostgresStore::connect) does. Needs the feature `postgres`, which is
///   on by default.
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
/// [`Error::is_misconfigured`] if the address has another form, or its store's feature is off, or the database refuses
/// what the address says; [`Error::is_unavailable`] if the database does not answer. No error shows the address's
/// password.
pub async fn connect(url: &str) -> Result<AnyStore, Error> {
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("postgres" | "postgresql") => postgres(url).await,
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

#[cfg(feature = "memory")]
fn memory(url: &str) -> Result<AnyStore, Error> {
    match url {
        "memory:" => Ok(Arc::new(crate::MemoryStore::new())),
        _ => {
            Err(StoreError::misconfigured("a memory store has no name or place: its address is `memory:`")
                .into())
        }
    }
}

#[cfg(not(feature = "memory"))]
fn memory(_url: &str) -> Result<AnyStore, Error> {
    Err(switched_off("memory"))
}

#[cfg(any(test, not(all(feature = "postgres", feature = "memory"))))]
fn switched_off(feature: &str) -> Error {
    StoreError::misconfigured(format!(
        "this program was built without the feature `{feature}` of the crate `pgworkflows`, which the address needs: \
         add it with `cargo add pgworkflows --features {feature}`"
    ))
    .into()
}

/// Only a scheme is shown, since anything else of an address may be a password.
fn unknown(url: &str) -> Error {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    let scheme =
        scheme.filter(|scheme| scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)));
    let what = match scheme {
        Some(scheme) => format!("`{scheme}://` is not the address of a store that is known here"),
        None => "the address does not begin with the scheme of a store".to_owned(),
    };
    let forms = "write `postgres://user:password@host:5432/database` or `memory:`";
    StoreError::misconfigured(format!("{what}: {forms}")).into()
}

#[cfg(test)]
mod tests {
    use super::{switched_off, unknown};

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
            ("", "does not begin"),
        ] {
            let error = unknown(url);
            assert!(error.is_misconfigured(), "{url}");
            let said = format!("{error} {error:?}");
            assert!(said.contains(named) && said.contains("postgres://user:password@host"), "{said}");
            assert!(!said.contains("ter2"), "{said}");
        }
    }
}
