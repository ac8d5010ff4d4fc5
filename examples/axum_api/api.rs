//! The HTTP API: it starts orders, shows them, and tells them what happens. It must not execute anything.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use pgworkflows::error::ErrorKind;
use pgworkflows::prelude::*;
use pgworkflows::serde_json::{Value, json};
use pgworkflows::{AnyStore, Error, RunId};
use tokio::net::TcpListener;

use crate::AnyError;
use crate::order::{MOVE, Order, PaymentError, Receipt, SHIPPED, STAGE, order};

/// How long a request waits for an answer of its order. What it asked for goes on after that.
const PATIENCE: Duration = Duration::from_secs(20);

/// Serves the API until it is asked to end.
pub(crate) async fn serve(
    listener: TcpListener,
    store: AnyStore,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), AnyError> {
    let routes = Router::new()
        .route("/orders", post(place))
        .route("/orders/{order}", get(show).delete(cancel))
        .route("/orders/{order}/address", put(change_address))
        .route("/orders/{order}/shipment", post(ship))
        .route("/orders/{order}/receipt", get(receipt))
        .with_state(Client::new(store));
    axum::serve(listener, routes).with_graceful_shutdown(shutdown).await?;
    Ok(())
}

/// Starts an order. The same `Idempotency-Key` is the same order, however often it is sent.
async fn place(
    State(client): State<Client>,
    headers: HeaderMap,
    Json(new): Json<Order>,
) -> Result<Response, Problem> {
    let run = client.start::<order>(new).key(idempotency_key(&headers)?).await?;
    let status = if run.is_existing() { StatusCode::OK } else { StatusCode::CREATED };
    let location = [(header::LOCATION, format!("/orders/{}", run.run_id()))];
    Ok((status, location, Json(json!({ "order": run.run_id() }))).into_response())
}

/// Shows where an order is. This wakes nothing: it is one look into the database.
async fn show(State(client): State<Client>, Path(id): Path<RunId>) -> Result<Json<Value>, Problem> {
    let run = client.handle::<order>(id);
    let (info, stage) = tokio::try_join!(run.describe(), run.view(STAGE))?;
    Ok(Json(json!({ "status": info.status, "stage": stage, "waits": info.waits })))
}

/// Cancels an order, which refunds what was paid.
async fn cancel(State(client): State<Client>, Path(id): Path<RunId>) -> Result<StatusCode, Problem> {
    client.handle::<order>(id).cancel().reason("by the customer").await?;
    Ok(StatusCode::ACCEPTED)
}

/// Asks an order to change its address, and waits for its answer.
async fn change_address(
    State(client): State<Client>,
    Path(id): Path<RunId>,
    headers: HeaderMap,
    Json(address): Json<String>,
) -> Result<Json<Value>, Problem> {
    let change = client.handle::<order>(id).update(MOVE, address).timeout(PATIENCE);
    let replaced = change.key(idempotency_key(&headers)?).await?;
    Ok(Json(json!({ "replaced": replaced })))
}

/// Tells an order that it was shipped.
async fn ship(
    State(client): State<Client>,
    Path(id): Path<RunId>,
    Json(tracking): Json<String>,
) -> Result<StatusCode, Problem> {
    // Its own number is the key: the warehouse may send it twice.
    client.handle::<order>(id).signal(SHIPPED, tracking.clone()).key(tracking).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Waits for the end of an order.
async fn receipt(State(client): State<Client>, Path(id): Path<RunId>) -> Result<Json<Receipt>, Problem> {
    Ok(Json(client.handle::<order>(id).result().timeout(PATIENCE).await?))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let key = headers.get("idempotency-key").map(|key| key.to_str()).transpose();
    key.map_err(|_| Problem(StatusCode::BAD_REQUEST, "the Idempotency-Key is not ASCII".to_owned()))
}

/// Why a request is not answered as it hoped: a status, and words for people.
struct Problem(StatusCode, String);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Invalid | ErrorKind::Payload | ErrorKind::UpdateRefused => StatusCode::BAD_REQUEST,
            ErrorKind::RunFailed if error.typed() == Some(PaymentError::Declined) => {
                StatusCode::PAYMENT_REQUIRED
            }
            ErrorKind::RunFailed => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::UnknownRun => StatusCode::NOT_FOUND,
            ErrorKind::KeyConflict => StatusCode::CONFLICT,
            ErrorKind::RunOver
            | ErrorKind::UpdateDropped
            | ErrorKind::RunCancelled
            | ErrorKind::RunTerminated
            | ErrorKind::RunTimedOut => StatusCode::GONE,
            // It goes on. Ask again.
            ErrorKind::TimedOut => StatusCode::ACCEPTED,
            ErrorKind::TooManyUpdates => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::KeyHeld | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            // Its words are for operators.
            eprintln!("{error}");
            return Self(status, error.kind().to_string());
        }
        Self(status, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(status, message) = self;
        (status, Json(json!({ "message": message }))).into_response()
    }
}
