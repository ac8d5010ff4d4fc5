//! An event's stored name. Stores keep it as text and compare nothing but text.

use std::borrow::Cow;
use std::fmt;

/// An event's stored name, such as `timer.fired`. Stored names never follow a Rust rename.
///
/// The names that this build knows cost no allocation; others, of a newer build, are kept as they are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventName(Cow<'static, str>);

impl EventName {
    /// A name of this build.
    pub const fn from_static(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The name as a store kept it.
    pub fn from_stored(name: &str) -> Self {
        match super::STORED_NAMES.iter().find(|known| **known == name) {
            Some(known) => Self(Cow::Borrowed(known)),
            None => Self(Cow::Owned(name.to_owned())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
