//! Rewrites the inbox of a schema that was moved here from another cluster or database, before any worker uses it. The
//! migrations give the reason. It must not know what messages say.

use std::time::Duration;

use pgworkflows_core::store::StoreError;
use sqlx::postgres::PgRow;

use crate::error::{is_moved, store_error};
use crate::session::PostgresSession;
use crate::shared::only;
use crate::sql::PgQuery;
use crate::values::get;

const LOCATION: &str = "select @schema@.is_moved(), @schema@.system_identifier() is not null";

const REWRITE_INBOX: &str = "select @schema@.rewrite_inbox($1, $2)";

/// How many messages are rewritten in one transaction: less than a second's work for a busy server.
const MESSAGES_PER_REWRITE: i64 = 10_000;

/// How long to wait before the next check, while another process rewrites the inbox.
const PAUSE: Duration = Duration::from_millis(50);

/// Rewrites the inbox if the schema was moved here. The first process does it, and the others wait.
pub(crate) async fn rewrite_if_moved(session: &mut PostgresSession) -> Result<(), StoreError> {
    let mut location = locate(session).await?;
    if !location.is_cluster_known {
        tracing::warn!(
            schema = session.shared.options.schema.as_str(),
            "the owner of the schema may not call pg_control_system(): a move to another cluster may go unnoticed \
             until a message of its inbox is refused; grant execute on that function to the owner"
        );
    }
    let mut rewritten = 0;
    while location.is_moved {
        let query = session.query(REWRITE_INBOX);
        let query = query.bind(MESSAGES_PER_REWRITE).bind(&session.shared.options.lock_timeout);
        match get::<Option<i64>>(&session.fetch_one(query).await?, 0)? {
            Some(messages) => {
                rewritten += messages;
                tracing::warn!(
                    schema = session.shared.options.schema.as_str(),
                    rewritten,
                    "the schema was moved here from another cluster or database: leases from there are fenced, and \
                     the messages in its inbox are rewritten before any worker claims a shard"
                );
            }
            None => tokio::time::sleep(PAUSE).await,
        }
        location = locate(session).await?;
    }
    Ok(())
}

/// Runs a statement that returns one row. If it is refused because the schema was moved, rewrites the inbox and runs the
/// statement again.
pub(crate) async fn fetch_or_rewrite(
    session: &mut PostgresSession,
    query: impl Fn(&PostgresSession) -> PgQuery,
) -> Result<PgRow, StoreError> {
    let first = query(session);
    match session.fetch_raw(first).await? {
        Err(error) if is_moved(&error) => {
            rewrite_if_moved(session).await?;
            let again = query(session);
            session.fetch_one(again).await
        }
        rows => only(rows.map_err(store_error)?),
    }
}

/// Whether the schema is where it was made.
struct Location {
    is_moved: bool,
    /// Whether the schema's owner may read the cluster's identifier.
    is_cluster_known: bool,
}

async fn locate(session: &mut PostgresSession) -> Result<Location, StoreError> {
    let query = session.query(LOCATION);
    let row = &session.fetch_one(query).await?;
    Ok(Location { is_moved: get(row, 0)?, is_cluster_known: get(row, 1)? })
}
