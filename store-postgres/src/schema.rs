//! The schema's name: the only identifier that is inserted into statements, and therefore checked first.

use std::fmt;

use pgworkflows_core::store::StoreError;

/// The placeholder of the schema's name in every statement and migration.
pub(crate) const PLACEHOLDER: &str = "@schema@";

/// PostgreSQL truncates identifiers after 63 bytes. The name of the notification channel is the schema's name and a
/// suffix, and has to fit.
const BYTES_MAX: usize = 48;

/// A name that is safe in a statement without quotes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Schema(String);

impl Schema {
    /// Checks a name.
    pub(crate) fn new(name: &str) -> Result<Self, StoreError> {
        let refuse = |rule: &str| {
            Err(StoreError::misconfigured(format!("`{name}` cannot be the name of the schema: {rule}")))
        };
        let mut bytes = name.bytes();
        if !bytes.next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            return refuse("a name begins with a lower-case letter or an underscore");
        }
        if !bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
            return refuse("a name consists of lower-case letters, digits and underscores");
        }
        if name.len() > BYTES_MAX {
            return refuse(&format!("it has {} characters, but {BYTES_MAX} is the maximum", name.len()));
        }
        if name.starts_with("pg_") {
            return refuse("PostgreSQL reserves names that begin with `pg_`");
        }
        if RESERVED.contains(&name) {
            return refuse("it is a reserved word of SQL; choose another name");
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The statement with the name in place of the placeholder.
    pub(crate) fn fill(&self, statement: &str) -> String {
        statement.replace(PLACEHOLDER, &self.0)
    }

    /// The notification channel.
    pub(crate) fn channel(&self) -> String {
        format!("{}_hints", self.0)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// PostgreSQL's reserved key words (appendix C of its manual), which cannot be unquoted identifiers.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_accepted() {
        for name in ["pgworkflows", "_a", "a1_b2", &"x".repeat(48)] {
            assert_eq!(Schema::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_bad_name_is_refused_with_its_value_and_the_rule() {
        for (name, rule) in [
            ("", "begins with"),
            ("1a", "begins with"),
            ("Acme", "begins with"),
            ("a-b", "consists of"),
            ("a\"; drop schema public; --", "consists of"),
            ("größe", "consists of"),
            (&*"x".repeat(49), "48 is the maximum"),
            ("pg_flows", "`pg_`"),
            ("order", "reserved word of SQL"),
        ] {
            let error = Schema::new(name).unwrap_err().to_string();
            assert!(error.contains(rule) && error.contains(&format!("`{name}`")), "{error}");
        }
    }
}
