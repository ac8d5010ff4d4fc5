//! The statements, each built once per store. None is a compile-time literal, because the schema's name is
//! configurable. The text of each is next to the operation that uses it, so this file must not hold any.

use std::sync::Arc;

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, SqlSafeStr};

use crate::schema::Schema;
use crate::{append, durability, inbox, key_holder, lease, moved, partition, query, recover, room, submit};

/// One statement, with the schema's name inserted.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    text: Arc<str>,
    /// Whether a connection may keep it prepared.
    prepared: bool,
}

impl Statement {
    /// A query whose parameters are to be bound.
    pub(crate) fn query(&self) -> Query<'static, Postgres, PgArguments> {
        // Safe: only a checked identifier was inserted into a literal.
        sqlx::query(AssertSqlSafe(Arc::clone(&self.text)).into_sql_str()).persistent(self.prepared)
    }
}

/// The text of a call of one of our SQL functions, with named arguments.
fn call(function: &str, arguments: &[&str]) -> String {
    let named = arguments.iter().zip(1..).map(|(name, number)| format!("{name} => ${number}"));
    format!("{function}({})", named.collect::<Vec<_>>().join(", "))
}

/// Declares the arguments of one of our SQL functions, each with its name and its value. Defines `ARGUMENTS`, for the
/// text of the call, and a function that binds the values in the same order. Each argument under `once` is one value;
/// each one under `for` is a column, bound as an array.
macro_rules! arguments {
    (
        fn $bind:ident($($given:ident: $type:ty),+) {
            once => { $($name:ident: $value:expr,)+ }
            $(for $row:ident in $rows:expr => { $($column:ident: $cell:expr,)+ })+
        }
    ) => {
        pub(crate) const ARGUMENTS: &[&str] = &[$(stringify!($name),)+ $($(stringify!($column),)+)+];

        fn $bind(
            query: Query<'static, Postgres, PgArguments>,
            $($given: $type),+
        ) -> Query<'static, Postgres, PgArguments> {
            query $(.bind($value))+ $($(.bind($rows.iter().map(|$row| $cell).bind_iter()))+)+
        }
    };
}
pub(crate) use arguments;

/// Every statement of a store.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) submit: Statement,
    pub(crate) key_holder: Statement,
    pub(crate) room: Statement,
    pub(crate) durability: Statement,
    pub(crate) inbox_news: Statement,
    pub(crate) inbox_page: Statement,
    pub(crate) append: Statement,
    pub(crate) make_partition: Statement,
    pub(crate) location: Statement,
    pub(crate) rewrite_inbox: Statement,
    pub(crate) open_queue: Statement,
    pub(crate) claim: Statement,
    pub(crate) claimed_shards: Statement,
    pub(crate) claimed_suspects: Statement,
    pub(crate) heartbeat: Statement,
    pub(crate) release: Statement,
    pub(crate) unparked: Statement,
    pub(crate) load_runs: Statement,
    pub(crate) due_runs: Statement,
    pub(crate) closed: Statement,
    pub(crate) describe: Statement,
    pub(crate) undelivered: Statement,
    pub(crate) find: Statement,
    pub(crate) list: Statement,
    pub(crate) history: Statement,
}

impl Statements {
    /// The statements for one schema, which connections may keep prepared or not.
    pub(crate) fn new(schema: &Schema, prepared: bool) -> Self {
        let statement = |text: &str| Statement { text: schema.fill(text).into(), prepared };
        Self {
            submit: statement(&call(submit::SUBMIT, submit::ARGUMENTS)),
            key_holder: statement(key_holder::KEY_HOLDER),
            room: statement(room::ROOM),
            durability: statement(durability::DURABILITY),
            inbox_news: statement(inbox::NEWS),
            inbox_page: statement(inbox::PAGE),
            append: statement(&call(append::APPEND, append::ARGUMENTS)),
            make_partition: statement(partition::MAKE),
            location: statement(moved::LOCATION),
            rewrite_inbox: statement(moved::REWRITE_INBOX),
            open_queue: statement(lease::OPEN_QUEUE),
            claim: statement(lease::CLAIM),
            claimed_shards: statement(lease::CLAIMED_SHARDS),
            claimed_suspects: statement(lease::CLAIMED_SUSPECTS),
            heartbeat: statement(lease::HEARTBEAT),
            release: statement(lease::RELEASE),
            unparked: statement(recover::UNPARKED),
            load_runs: statement(recover::LOAD_RUNS),
            due_runs: statement(recover::DUE_RUNS),
            closed: statement(query::CLOSED),
            describe: statement(query::DESCRIBE),
            undelivered: statement(query::UNDELIVERED),
            find: statement(query::FIND),
            list: statement(query::LIST),
            history: statement(query::HISTORY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate;

    /// The names of the parameters in a function's declaration.
    fn parameters(function: &str) -> Vec<String> {
        let script = migrate::script(&Schema::new("flows").unwrap());
        let (_, declared) = script.split_once(&format!("create function flows.{function}(")).unwrap();
        let (declared, _) = declared.split_once("language plpgsql").unwrap();
        let words = declared.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(|word| word.starts_with("p_")).map(str::to_owned).collect()
    }

    #[test]
    fn call_names_every_parameter_of_its_function_once() {
        for (function, arguments) in [("append", append::ARGUMENTS), ("submit", submit::ARGUMENTS)] {
            let mut arguments = arguments.to_vec();
            let mut parameters = parameters(function);
            arguments.sort_unstable();
            parameters.sort_unstable();
            assert_eq!(arguments, parameters, "{function}");
        }
    }

    #[test]
    fn call_passes_its_arguments_by_name() {
        assert_eq!(call("select f", &["p_one", "p_other"]), "select f(p_one => $1, p_other => $2)");
    }
}
