//! What to try: by hand with curl, or one order from its start to its receipt. It must not know how the API works.

use std::time::{SystemTime, UNIX_EPOCH};

use pgworkflows::serde_json::{Value, json};

use crate::http::request;
use crate::{AnyError, say};

/// What somebody may try.
pub(crate) fn curl_lines(address: &str) -> String {
    let order = new_order();
    format!(
        "try this, and `kill -9` any of the processes meanwhile:

    curl -i http://{address}/orders -H 'Content-Type: application/json' -H 'Idempotency-Key: order-1' -d '{order}'
    curl http://{address}/orders/$ORDER
    curl -X PUT http://{address}/orders/$ORDER/address -H 'Content-Type: application/json' -d '\"2 High Street\"'
    curl -X POST http://{address}/orders/$ORDER/shipment -H 'Content-Type: application/json' -d '\"TRACK-7\"'
    curl http://{address}/orders/$ORDER/receipt
"
    )
}

/// Places an order, moves, ships it, and waits for the receipt.
pub(crate) async fn order(address: &str) -> Result<(), AnyError> {
    // A key of its own for each demonstration. A browser would make one for each form that it shows.
    let key = format!("demo-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
    let placed = told(address, "POST /orders", Some(&key), Some(new_order())).await?;
    let again = told(address, "POST /orders", Some(&key), Some(new_order())).await?;
    if placed != again {
        return Err("the same key gave another order".into());
    }
    let order = placed["order"].as_str().ok_or("the order has no id")?;
    let moved = Some("2 High Street".into());
    told(address, &format!("PUT /orders/{order}/address"), Some(&key), moved).await?;
    told(address, &format!("GET /orders/{order}"), None, None).await?;
    told(address, &format!("POST /orders/{order}/shipment"), None, Some("TRACK-7".into())).await?;
    told(address, &format!("GET /orders/{order}/receipt"), None, None).await?;
    Ok(())
}

async fn told(address: &str, what: &str, key: Option<&str>, body: Option<Value>) -> Result<Value, AnyError> {
    let (status, answer) = request(address, what, key, body).await?;
    say(format!("api      {what}: {status} {answer}"));
    if status >= 400 { Err(format!("{what} was answered with {status}").into()) } else { Ok(answer) }
}

fn new_order() -> Value {
    json!({
        "item": "a teapot",
        "cents": 4_900,
        "card": "card-0001",
        "email": "ada@example.org",
        "address": "1 Main Street",
    })
}
