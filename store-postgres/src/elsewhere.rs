//! Finds the schema of a run that a schema does not have: several may be in one database, and people name the wrong one. It
//! must not know what a run does.

use pgworkflows_core::RunId;
use pgworkflows_core::store::StoreError;

use crate::schema::Schema;
use crate::shared::Shared;
use crate::sql::Statements;
use crate::values::{get, uuid};

/// At most so many schemas are looked at.
const SCHEMAS_MAX: i64 = 50;

/// The schemas that look like one of this library, and which the role may read.
const SCHEMAS: &str = "
    select n.nspname::text from pg_catalog.pg_namespace n
    where pg_catalog.has_schema_privilege(n.oid, 'usage')
      and not exists (
          select from pg_catalog.unnest('{migrations,open_runs,closed_runs}'::text[]) t (name)
          where not coalesce(pg_catalog.has_table_privilege(pg_catalog.to_regclass(
              pg_catalog.quote_ident(n.nspname) || '.' || t.name), 'select'), false))
    order by n.nspname limit $1";

const HAS_RUN: &str = "
    select exists (select from @schema@.open_runs o where o.run_id = $1)
        or exists (select from @schema@.closed_runs c where c.run_id = $1)";

/// The schemas of this database that have a run, ascending.
pub(crate) async fn schemas_with(shared: &Shared, run: RunId) -> Result<Vec<String>, StoreError> {
    let rows = shared.fetch(shared.statements.query(SCHEMAS).bind(SCHEMAS_MAX)).await?;
    let mut found = Vec::new();
    for row in &rows {
        // A name that this library would not have given is not one of its schemas.
        let Ok(schema) = Schema::new(&get::<String>(row, 0)?) else { continue };
        let statements = Statements::new(schema.clone(), shared.options.prepared_statements);
        let row = shared.fetch_one(statements.query(HAS_RUN).bind(uuid(run))).await?;
        if get(&row, 0)? {
            found.push(schema.as_str().to_owned());
        }
    }
    Ok(found)
}
