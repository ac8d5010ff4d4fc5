//! The API and its three workers as four processes, one of which is killed. It must not know how they are programmed.

#[path = "../axum_api/http.rs"]
mod http;
mod support;

use pgworkflows::serde_json::{Value, json};
use support::{Process, program};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How long the bank takes that never answers before its worker is killed.
const FOR_EVER: &str = "3600";

/// The four processes on one file.
struct Shop {
    address: String,
    url: String,
    name: &'static str,
    _others: [Process; 3],
    payments: Process,
}

impl Shop {
    /// Opens a shop whose bank takes that many seconds.
    fn open(name: &'static str, bank: &str) -> Self {
        let url = format!("sqlite:{}", support::empty(&format!("{name}.db")).join("orders.db").display());
        let start = |arguments: &[&str]| start(name, &url, bank, arguments);
        let api = start(&["api", "127.0.0.1:0"]);
        let line = api.line_with("the API is at ");
        let address = line.split("http://").nth(1).unwrap().to_owned();
        let others = [api, start(&["worker", "orders"]), start(&["worker", "email"])];
        let payments = start(&["worker", "payments"]);
        Self { address, url, name, _others: others, payments }
    }

    async fn ask(&self, request: &str, key: Option<&str>, body: Option<Value>) -> Result<(u16, Value)> {
        http::request(&self.address, request, key, body).await
    }

    /// Places an order with this card. Returns the path of the order.
    async fn place(&self, card: &str) -> Result<String> {
        let (status, placed) = self.ask("POST /orders", Some(card), Some(order(card, 4_900))).await?;
        assert_eq!(status, 201, "{placed}");
        Ok(format!("/orders/{}", placed["order"].as_str().unwrap()))
    }

    /// The receipt of an order, or why there is none. A request waits for a while only.
    async fn receipt(&self, order: &str) -> Result<(u16, Value)> {
        loop {
            let (status, receipt) = self.ask(&format!("GET {order}/receipt"), None, None).await?;
            if status != 202 {
                return Ok((status, receipt));
            }
        }
    }
}

fn start(name: &str, url: &str, bank: &str, arguments: &[&str]) -> Process {
    let mut process = program("axum_api", &format!("{name}-{}", arguments.join("-").replace(':', "-")));
    Process::start(process.args(arguments).env("DATABASE_URL", url).env("BANK_SECONDS", bank))
}

fn order(card: &str, cents: u64) -> Value {
    let (email, address) = ("ada@example.org", "1 Main Street");
    json!({ "item": "a teapot", "cents": cents, "card": card, "email": email, "address": address })
}

#[tokio::test]
async fn killed_payments_worker_loses_no_order() -> Result<()> {
    // Given an order whose payment the bank does not answer
    let mut shop = Shop::open("axum_api_killed", FOR_EVER);
    let order = shop.place("card-0001").await?;
    let asked = shop.payments.line_with("asks the bank");
    // When the payments worker is killed, and another one is started, to which the bank answers
    let again = start(shop.name, &shop.url, "0", &["worker", "payments"]);
    std::mem::replace(&mut shop.payments, again).kill();
    let (_, shown) = shop.ask(&format!("GET {order}"), None, None).await?;
    assert_eq!(shown["stage"], "paying");
    // Then it asks for the same payment again, and the order goes its way
    assert_eq!(shop.payments.line_with("asks the bank"), asked);
    let shipment = format!("POST {order}/shipment");
    assert_eq!(shop.ask(&shipment, None, Some("TRACK-7".into())).await?.0, 202);
    let (status, receipt) = shop.receipt(&order).await?;
    assert_eq!((status, &receipt["tracking"]), (200, &"TRACK-7".into()), "{receipt}");
    assert!(asked.ends_with(receipt["payment"].as_str().unwrap()), "{asked}: {receipt}");
    Ok(())
}

#[tokio::test]
async fn api_answers_with_the_status_that_fits() -> Result<()> {
    let shop = Shop::open("axum_api_statuses", "0");

    // A key is one order. Another order under it is a conflict.
    let paid = shop.place("card-0001").await?;
    let (status, again) =
        shop.ask("POST /orders", Some("card-0001"), Some(order("card-0001", 4_900))).await?;
    assert_eq!((status, paid.ends_with(again["order"].as_str().unwrap())), (200, true));
    let conflict = shop.ask("POST /orders", Some("card-0001"), Some(order("card-0001", 100))).await?;
    assert_eq!(conflict.0, 409, "{}", conflict.1);

    // What is no order, no id, and no order's id.
    assert_eq!(shop.ask("POST /orders", None, Some(json!({ "item": "a teapot" }))).await?.0, 422);
    assert_eq!(shop.ask("GET /orders/7", None, None).await?.0, 400);
    let unknown = "GET /orders/019b76da-0000-7000-8000-000000000000";
    assert_eq!(shop.ask(unknown, None, None).await?.0, 404);

    // An update with its answer, and one that is refused.
    let change = format!("PUT {paid}/address");
    let (status, changed) = shop.ask(&change, Some("move-1"), Some("2 High Street".into())).await?;
    assert_eq!((status, &changed["replaced"]), (200, &"1 Main Street".into()));
    assert_eq!(shop.ask(&change, Some("move-1"), Some("2 High Street".into())).await?, (200, changed));
    assert_eq!(shop.ask(&change, None, Some(" ".into())).await?.0, 400);

    // An order that is cancelled, one whose card is declined, and both are over.
    assert_eq!(shop.ask(&format!("DELETE {paid}"), None, None).await?.0, 202);
    assert_eq!(shop.receipt(&paid).await?.0, 410);
    let declined = shop.place("card-0002").await?;
    assert_eq!(shop.receipt(&declined).await?.0, 402);
    assert_eq!(shop.ask(&format!("DELETE {declined}"), None, None).await?.0, 410);
    Ok(())
}
