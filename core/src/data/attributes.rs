//! Attributes: what a run is labelled with, so that people find it. It must not know who sets them.

use std::collections::BTreeMap;
use std::fmt;

use crate::data::limits;
use crate::data::name::Name;

/// The attributes of a run: texts by their names. Boxed, because most runs have none.
#[derive(Clone, Default, PartialEq, Eq)]
#[expect(clippy::box_collection, reason = "every run is smaller by 16 bytes")]
pub struct Attributes(Option<Box<BTreeMap<Name, String>>>);

impl Attributes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |attributes| attributes.len())
    }

    /// The attributes, ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &str)> {
        self.0.iter().flat_map(|attributes| attributes.iter()).map(|(name, value)| (name, value.as_str()))
    }

    /// Whether this attribute has this value.
    pub fn has(&self, name: &str, value: &str) -> bool {
        self.0.as_ref().and_then(|attributes| attributes.get(name)).is_some_and(|found| found == value)
    }

    /// Sets an attribute, or removes it.
    pub fn set(&mut self, name: Name, value: Option<String>) {
        match (value, &mut self.0) {
            (Some(value), attributes) => {
                attributes.get_or_insert_default().insert(name, value);
            }
            (None, Some(attributes)) => {
                attributes.remove(&name);
                if attributes.is_empty() {
                    self.0 = None;
                }
            }
            (None, None) => {}
        }
    }

    /// Checks an attribute before it is set.
    pub(crate) fn check(name: &str, value: Option<&str>) -> Result<(), String> {
        Name::check("name of an attribute", name)?;
        value.map_or(Ok(()), |value| Name::check(&format!("value of attribute `{name}`"), value))
    }

    /// Checks all of them.
    pub(crate) fn check_all(&self) -> Result<(), String> {
        self.iter().try_for_each(|(name, value)| Self::check(name, Some(value)))
    }

    /// About how many bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Checks how many a run is to have.
    pub(crate) fn check_count(count: usize) -> Result<(), String> {
        let max = limits::ATTRIBUTES_MAX;
        if count > max {
            return Err(format!(
                "the run would have {count} attributes, and the limit is {max}: attributes are for what runs are found by; publish \
                 a view of what is to be read"
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl FromIterator<(Name, String)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (Name, String)>>(attributes: I) -> Self {
        let mut all = Self::default();
        attributes.into_iter().for_each(|(name, value)| all.set(name, Some(value)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_is_set_replaced_and_removed() {
        let mut attributes = Attributes::default();
        attributes.set("region".into(), None);
        assert!(attributes.is_empty());
        attributes.set("region".into(), Some("eu".to_owned()));
        attributes.set("region".into(), Some("us".to_owned()));
        attributes.set("customer".into(), Some("42".to_owned()));
        assert!(attributes.has("region", "us") && !attributes.has("region", "eu"));
        assert_eq!(
            attributes.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["customer", "region"]
        );
        attributes.set("region".into(), None);
        attributes.set("customer".into(), None);
        assert_eq!(attributes, Attributes::default());
    }

    #[test]
    fn bad_attribute_is_named_with_its_limit() {
        for (name, value, problem) in [
            ("", Some("eu"), "the name of an attribute \"\" is empty"),
            ("region", Some(""), "the value of attribute `region` \"\" is empty"),
            (
                "region",
                Some("e\0u"),
                "the value of attribute `region` \"e\\0u\" contains a control character",
            ),
            ("r\n", None, "the name of an attribute \"r\\n\" contains a control character"),
        ] {
            assert!(Attributes::check(name, value).unwrap_err().starts_with(problem), "{name:?}, {value:?}");
        }
        let long = Attributes::check("region", Some(&"x".repeat(256))).unwrap_err();
        assert!(long.contains("has 256 bytes, and the limit is 255"), "{long}");
        assert_eq!(Attributes::check("region", None), Ok(()));

        assert_eq!(Attributes::check_count(limits::ATTRIBUTES_MAX), Ok(()));
        let refused = Attributes::check_count(limits::ATTRIBUTES_MAX + 1).unwrap_err();
        assert!(refused.starts_with("the run would have 33 attributes, and the limit is 32"), "{refused}");
    }
}
