//! An idempotency key as callers give it: a text, or none. It must not know what the key is for.

use std::borrow::Cow;

use crate::data::name::Name;

/// What every `.key(…)` takes: an idempotency key, or an `Option` of one. `None` leaves the request as it was.
///
/// ```
/// # use pgworkflows::prelude::*;
/// # use pgworkflows::payload::Payload;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgworkflows::Error> {
/// let client = Client::new(pgworkflows::MemoryStore::new());
/// // A handler of a web service passes on the key that its caller may have sent.
/// let start = async |key: Option<&str>| {
///     client.start_named("reminder", Payload::encode("feed the cat").unwrap()).key(key).await
/// };
/// let first = start(Some("request:7")).await?;
/// assert_eq!(start(Some("request:7")).await?.run_id(), first.run_id());
/// assert_ne!(start(None).await?.run_id(), first.run_id());
/// # Ok(())
/// # }
/// ```
///
/// It is made of `&str`, `String`, `&String`, `Cow<str>`, `Box<str>` and [`Name`], and of an `Option` of whatever a `String` is made
/// of. A bare `None` does not say of what it is an option: write `None::<String>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionalKey(Option<String>);

impl OptionalKey {
    /// The key, if there is one.
    pub(crate) fn into_text(self) -> Option<String> {
        self.0
    }
}

impl<T: Into<String>> From<Option<T>> for OptionalKey {
    fn from(key: Option<T>) -> Self {
        Self(key.map(Into::into))
    }
}

macro_rules! key_from {
    ($($text:ty),*) => {
        $(
            impl From<$text> for OptionalKey {
                fn from(key: $text) -> Self {
                    Self(Some(key.into()))
                }
            }
        )*
    };
}

key_from!(&str, String, &String, Cow<'_, str>, Box<str>, Name);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_a_text_or_an_option_of_one() {
        fn key(given: impl Into<OptionalKey>) -> Option<String> {
            given.into().into_text()
        }
        let text = "order:7".to_owned();
        let expected = Some(text.clone());
        for given in [
            key("order:7"),
            key(&text),
            key(format!("order:{}", 7)),
            key(Cow::from("order:7")),
            key(text.clone().into_boxed_str()),
            key(Name::from_static("order:7")),
            key(Some("order:7")),
            key(Some(&text)),
            key(expected.as_deref()),
            key(expected.clone()),
        ] {
            assert_eq!(given, expected);
        }
        assert_eq!(key(None::<String>), None);
        // It is refused like every empty key, where the request is checked.
        assert_eq!(key(""), Some(String::new()));
    }
}
