//! The names that users give to workflows, activities, steps, signals and recorded values. They are stored and compared as
//! text, and must not know what they name.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use smol_str::SmolStr;

use crate::data::limits;

/// The name of a workflow, activity, step, signal or recorded value, from the code or from the log.
///
/// A name of at most 23 bytes is stored inline; clones of a longer one share its text.
///
/// ```
/// use pgworkflows::id::Name;
///
/// const CHARGE: Name = Name::from_static("charge-card");
/// assert_eq!(CHARGE, Name::from("charge-card"));
/// assert_eq!(CHARGE.to_uppercase(), "CHARGE-CARD");
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(SmolStr);

impl Name {
    /// Makes a name of a constant, without an allocation.
    pub const fn from_static(name: &'static str) -> Self {
        Self(SmolStr::new_static(name))
    }

    /// Checks a name, which must not be empty, long or unprintable because it is stored and shown.
    pub(crate) fn check(what: &str, name: &str) -> Result<(), String> {
        let problem = if name.is_empty() {
            "is empty".to_owned()
        } else if name.len() > limits::NAME_BYTES_MAX {
            format!("has {} bytes, and the limit is {}", name.len(), limits::NAME_BYTES_MAX)
        } else if name.chars().any(char::is_control) {
            "contains a control character".to_owned()
        } else {
            return Ok(());
        };
        let shown: String = name.chars().take(60).collect();
        Err(format!("the {what} {shown:?} {problem}; choose another"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Allows maps by name to be searched by text.
impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.into()
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
