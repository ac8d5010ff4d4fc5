//! How the text of a statement becomes a query. None is a compile-time literal, because the schema's name is
//! configurable. The text of each is next to the operation that uses it, so this file must not hold any.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, SqlSafeStr};

use crate::schema::Schema;

/// A statement, to which its parameters are bound in their order.
pub(crate) type PgQuery = Query<'static, Postgres, PgArguments>;

/// The statements of a store, with its schema's name inserted.
pub(crate) struct Statements {
    schema: Schema,
    /// Whether a connection may keep a statement prepared.
    prepared: bool,
    /// By the text with the placeholder. Each is inserted at its first use.
    filled: RwLock<BTreeMap<&'static str, Arc<str>>>,
}

impl Statements {
    /// The statements for one schema, which connections may keep prepared or not.
    pub(crate) fn new(schema: Schema, prepared: bool) -> Self {
        Self { schema, prepared, filled: RwLock::default() }
    }

    /// The statement of that text, which has the placeholder of the schema's name.
    pub(crate) fn query(&self, text: &'static str) -> PgQuery {
        // Safe: only a checked identifier is inserted into a literal.
        sqlx::query(AssertSqlSafe(self.fill(text)).into_sql_str()).persistent(self.prepared)
    }

    fn fill(&self, text: &'static str) -> Arc<str> {
        if let Some(filled) = self.filled.read().expect(NO_PANIC).get(text) {
            return Arc::clone(filled);
        }
        let mut all = self.filled.write().expect(NO_PANIC);
        Arc::clone(all.entry(text).or_insert_with(|| self.schema.fill(text).into()))
    }
}

const NO_PANIC: &str = "nothing panics while it holds the texts";

/// The text of a call of one of our SQL functions, with named arguments.
pub(crate) fn call(function: &str, arguments: &[&str]) -> String {
    let named = arguments.iter().zip(1..).map(|(name, number)| format!("{name} => ${number}"));
    format!("{function}({})", named.collect::<Vec<_>>().join(", "))
}

/// Declares the call of one of our SQL functions, with the name and the value of each argument. Defines `ARGUMENTS`, the
/// text `CALL`, and a function that binds the values in the same order. Each argument under `once` is one value; each
/// one under `for` is a column, bound as an array, or as null if there are no rows: PL/pgSQL makes an object of each array.
macro_rules! arguments {
    (
        $function:literal
        fn $bind:ident($($given:ident: $type:ty),+) {
            once => { $($name:ident: $value:expr,)+ }
            $(for $row:ident in $rows:expr => { $($column:ident: $cell:expr,)+ })+
        }
    ) => {
        pub(crate) const ARGUMENTS: &[&str] = &[$(stringify!($name),)+ $($(stringify!($column),)+)+];

        static CALL: std::sync::LazyLock<String> =
            std::sync::LazyLock::new(|| $crate::sql::call($function, ARGUMENTS));

        fn $bind(statements: &$crate::sql::Statements, $($given: $type),+) -> $crate::sql::PgQuery {
            let query = statements.query(&CALL) $(.bind($value))+;
            $(
                let has_rows = !$rows.is_empty();
                let query = query $(.bind(has_rows.then(|| $rows.iter().map(|$row| $cell).bind_iter())))+;
            )+
            query
        }
    };
}
pub(crate) use arguments;

#[cfg(test)]
mod tests {
    use super::call;

    #[test]
    fn call_passes_its_arguments_by_name() {
        assert_eq!(call("select f", &["p_one", "p_other"]), "select f(p_one => $1, p_other => $2)");
    }
}
