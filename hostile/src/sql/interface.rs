//! The functions for callers, as the database describes them. It must not know what is passed to them.

use arbitrary::{Result, Unstructured};
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::arguments::{Known, literal};

/// Every parameter of every function for callers: parameters of others have names that begin with `p_`.
const PARAMETERS: &str = "
    select p.oid::text, p.proname::text, a.name, format_type(a.type, null), pg_get_function_arg_default(p.oid, a.n::int)
    from pg_proc p
    cross join lateral unnest(p.proargnames[:p.pronargs], p.proargtypes::oid[]) with ordinality as a (name, type, n)
    where p.pronamespace = 'pgworkflows'::regnamespace
      and not exists (select from unnest(p.proargnames[:p.pronargs]) as n (name) where n.name ~ '^p_')
    order by p.oid, a.n";

/// Makes calls, and tells how each ended.
const ATTEMPTS: &str = "
    select pg_temp.attempt(c.function, c.arguments::text[])
    from unnest($1::int[], $2::text[]) with ordinality as c (function, arguments, n) order by c.n";

/// The functions.
#[derive(Debug)]
pub(super) struct Interface {
    functions: Vec<Function>,
}

#[derive(Debug)]
struct Function {
    oid: String,
    name: String,
    parameters: Vec<Parameter>,
}

#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    /// Its type, as the server writes it.
    pub(super) kind: String,
    /// Its value in a call without it, if it may be left out.
    pub(super) default: Option<Option<String>>,
}

impl Interface {
    /// Reads what functions there are, and prepares the connection to call them.
    pub(super) async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let parameters: Vec<(String, String, String, String, Option<String>)> =
            sqlx::query_as(PARAMETERS).fetch_all(&mut *connection).await?;
        let mut functions: Vec<Function> = Vec::new();
        for (oid, function, name, kind, default) in parameters {
            let default = match default {
                Some(value) => Some(text(connection, &value).await?),
                None => None,
            };
            let parameter = Parameter { name, kind, default };
            match functions.last_mut().filter(|last| last.oid == oid) {
                Some(last) => last.parameters.push(parameter),
                None => functions.push(Function { oid, name: function, parameters: vec![parameter] }),
            }
        }
        connection.execute(AssertSqlSafe(attempt(&functions))).await?;
        Ok(Self { functions })
    }

    /// A call: the number of a function, and the literal of an array of its arguments.
    pub(super) fn call(&self, u: &mut Unstructured<'_>, known: &Known<'_>) -> Result<(i32, String)> {
        let number = u.choose_index(self.functions.len())?;
        let parameters = &self.functions[number].parameters;
        // Half of the calls give one argument that they need not give, so that nothing else is wrong with them.
        let only = if u.ratio(1, 2)? && !parameters.is_empty() {
            Some(u.choose_index(parameters.len())?)
        } else {
            None
        };
        let argument = |(at, parameter): (usize, &Parameter)| match (&parameter.default, only) {
            (Some(default), Some(only)) if only != at => Ok(default.clone()),
            (Some(default), None) if u.ratio(3, 4)? => Ok(default.clone()),
            (Some(_) | None, _) => known.argument(u, parameter),
        };
        let arguments = parameters.iter().enumerate().map(argument).collect::<Result<Vec<_>>>()?;
        Ok((i32::try_from(number).unwrap_or_default(), literal(&arguments)))
    }

    /// Makes calls. Each returns `ok`, or the code and the message of its error, and then has done nothing.
    pub(super) async fn attempt(
        &self,
        connection: &mut PgConnection,
        functions: &[i32],
        arguments: &[String],
    ) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar(ATTEMPTS).bind(functions).bind(arguments).fetch_all(connection).await
    }

    pub(super) fn name(&self, function: i32) -> &str {
        usize::try_from(function).map_or("", |number| &self.functions[number].name)
    }
}

/// The text of a constant expression.
async fn text(connection: &mut PgConnection, expression: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(AssertSqlSafe(format!("select ({expression})::text"))).fetch_one(connection).await
}

/// Defines a function that calls one of these, whose plans the server keeps.
fn attempt(functions: &[Function]) -> String {
    let argument = |(at, parameter): (usize, &Parameter)| match parameter.kind.as_str() {
        // In seconds.
        "timestamp with time zone" => format!("to_timestamp(a[{}]::float8)", at + 1),
        kind => format!("a[{}]::{kind}", at + 1),
    };
    let call = |(number, Function { name, parameters, .. }): (usize, &Function)| {
        let arguments: Vec<String> = parameters.iter().enumerate().map(argument).collect();
        format!("when {number} then perform pgworkflows.{name}({});", arguments.join(", "))
    };
    let calls: String = functions.iter().enumerate().map(call).collect();
    format!(
        "create function pg_temp.attempt(f int, a text[]) returns text language plpgsql as $$
         begin
             case f {calls} end case;
             return 'ok';
         exception when others then
             return sqlstate || ' ' || sqlerrm;
         end
         $$"
    )
}
