//! Reads `--name value` from a command line. It must not know which names there are.

use std::fmt;
use std::ops::RangeInclusive;

/// What was given on the command line and not yet asked for.
#[derive(Debug)]
pub struct Arguments {
    given: Vec<(String, Option<String>)>,
}

/// A command line that says nothing sensible.
#[derive(Debug, PartialEq, Eq)]
pub struct Misuse(String);

impl Misuse {
    /// A misuse, in words.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

impl Arguments {
    /// Takes a command line apart. `flags` are the names that have no value.
    ///
    /// # Errors
    /// If a word is out of place, a value is missing, or a name is given twice.
    pub fn read(words: impl IntoIterator<Item = String>, flags: &[&str]) -> Result<Self, Misuse> {
        let mut words = words.into_iter();
        let mut given: Vec<(String, Option<String>)> = Vec::new();
        while let Some(name) = words.next() {
            if !name.starts_with("--") {
                return Err(Misuse(format!("`{name}` stands alone; give it as `--name {name}`")));
            }
            if given.iter().any(|(earlier, _)| *earlier == name) {
                return Err(Misuse(format!("{name} is given twice; give it once")));
            }
            let value = if flags.contains(&&*name) {
                None
            } else {
                Some(words.next().ok_or_else(|| Misuse(format!("{name} has no value; give one after it")))?)
            };
            given.push((name, value));
        }
        Ok(Self { given })
    }

    /// Whether a flag was given.
    pub fn flag(&mut self, name: &str) -> bool {
        self.take(name).is_some()
    }

    /// The value of a name, if it was given.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.take(name).flatten()
    }

    /// A whole number of a range.
    ///
    /// # Errors
    /// If the value is none.
    pub fn number(&mut self, name: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64, Misuse> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            Misuse(format!(
                "{name} is `{text}`; give a whole number from {} to {}",
                range.start(),
                range.end()
            ))
        })
    }

    /// One of several words.
    ///
    /// # Errors
    /// If the value is none of them.
    pub fn choice<T: Copy>(&mut self, name: &str, default: T, of: &[(&str, T)]) -> Result<T, Misuse> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let found = of.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = of.iter().map(|(word, _)| *word).collect();
            Misuse(format!("{name} is `{text}`; give one of: {}", words.join(", ")))
        })
    }

    /// Refuses what nobody has asked for.
    ///
    /// # Errors
    /// If there is any such name.
    pub fn finish(self) -> Result<(), Misuse> {
        match self.given.first() {
            None => Ok(()),
            Some((name, _)) => Err(Misuse(format!("{name} is no option here"))),
        }
    }

    fn take(&mut self, name: &str) -> Option<Option<String>> {
        let index = self.given.iter().position(|(given, _)| given == name)?;
        Some(self.given.remove(index).1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Arguments, Misuse};

    fn read(line: &str) -> Result<Arguments, Misuse> {
        Arguments::read(line.split_whitespace().map(str::to_owned), &["--json"])
    }

    #[test]
    fn values_flags_and_defaults_are_told_apart() {
        let mut arguments = read("--runs 7 --json --store memory").unwrap();

        assert_eq!(arguments.number("--runs", 1, 1..=10), Ok(7));
        assert_eq!(arguments.number("--steps", 3, 1..=10), Ok(3));
        assert_eq!(arguments.choice("--store", 0, &[("postgres", 0), ("memory", 1)]), Ok(1));
        assert!(arguments.flag("--json"));
        assert!(!arguments.flag("--full"));
        assert_eq!(arguments.finish(), Ok(()));
    }

    #[test]
    fn errors_name_the_option_its_value_and_what_to_give() {
        let message = |outcome: Result<u64, Misuse>| outcome.unwrap_err().to_string();

        let number = read("--runs 11").unwrap().number("--runs", 1, 1..=10);
        assert_eq!(message(number), "--runs is `11`; give a whole number from 1 to 10");
        let word = read("--store disk").unwrap().choice("--store", 0, &[("postgres", 0), ("memory", 1)]);
        assert_eq!(message(word), "--store is `disk`; give one of: postgres, memory");
        assert_eq!(read("--runs").unwrap_err().to_string(), "--runs has no value; give one after it");
        assert_eq!(read("--runs 1 --runs 2").unwrap_err().to_string(), "--runs is given twice; give it once");
        assert!(read("7").is_err());
        assert_eq!(read("--rums 7").unwrap().finish().unwrap_err().to_string(), "--rums is no option here");
    }
}
