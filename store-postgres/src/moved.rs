//! A schema that was moved here from another cluster or database: what has to be done before anybody works on it. Why is
//! written in the migrations. It must not know what messages say.

use std::time::Duration;

use pgworkflows_core::store::StoreError;
use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::Query;

use crate::error::{is_moved, store_error};
use crate::session::PostgresSession;
use crate::values::get;

pub(crate) const PLACE: &str = "select @schema@.is_moved(), @schema@.system_identifier() is not null";

pub(crate) const REWRITE_INBOX: &str = "select @schema@.rewrite_inbox($1, $2)";

/// How many messages are rewritten in one transaction: less than a second's work of a busy server.
const MESSAGES_PER_REWRITE: i64 = 10_000;

/// How long to wait before looking again, while another process rewrites.
const PAUSE: Duration = Duration::from_millis(50);

/// Puts the schema in order if it was moved here; whoever comes first does it, and the others wait.
pub(crate) async fn settle(session: &mut PostgresSession) -> Result<(), StoreError> {
    let mut place = look(session).await?;
    if !place.is_cluster_known {
        tracing::warn!(
            schema = session.shared.schema.as_str(),
            "the owner of the schema may not call pg_control_system(), so that a move to another cluster may go \
             unnoticed until a message of its inbox is refused: grant execute on that function"
        );
    }
    let mut rewritten = 0;
    while place.is_moved {
        let query = session.shared.statements.rewrite_inbox.query();
        let query = query.bind(MESSAGES_PER_REWRITE).bind(&session.shared.lock_timeout);
        match get::<Option<i64>>(only(&session.fetch(query).await?)?, 0)? {
            Some(messages) => {
                rewritten += messages;
                tracing::warn!(
                    schema = session.shared.schema.as_str(),
                    rewritten,
                    "the schema was moved here from another cluster or database: leases from there are fenced, and \
                     the messages in its inbox are rewritten before anybody claims a shard"
                );
            }
            None => tokio::time::sleep(PAUSE).await,
        }
        place = look(session).await?;
    }
    Ok(())
}

/// Runs a statement that a moved schema refuses; if it does, puts the schema in order and runs the statement again.
pub(crate) async fn fetch_settled(
    session: &mut PostgresSession,
    query: impl Fn(&PostgresSession) -> Query<'static, Postgres, PgArguments>,
) -> Result<Vec<PgRow>, StoreError> {
    let first = query(session);
    match session.fetch_raw(first).await? {
        Err(error) if is_moved(&error) => {
            settle(session).await?;
            let again = query(session);
            session.fetch(again).await
        }
        rows => rows.map_err(store_error),
    }
}

/// Where the schema is.
struct Place {
    is_moved: bool,
    /// Whether the server says which cluster this is.
    is_cluster_known: bool,
}

async fn look(session: &mut PostgresSession) -> Result<Place, StoreError> {
    let query = session.shared.statements.place.query();
    let rows = session.fetch(query).await?;
    let row = only(&rows)?;
    Ok(Place { is_moved: get(row, 0)?, is_cluster_known: get(row, 1)? })
}

fn only(rows: &[PgRow]) -> Result<&PgRow, StoreError> {
    rows.first().ok_or_else(|| store_error(sqlx::Error::RowNotFound))
}
