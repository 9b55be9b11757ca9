//! `defaults:` on the wire: what clients see of their budgets, and what becomes of calls while the ledger cannot be written.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{CHAT, chat, eventually, post, reason, row, under, with};
use crate::harness::{KEY, Receiver, Rig, Setup};

/// One budget per tenant and one for all of them, of which nobody is shown anything.
fn policy(defaults: &str) -> String {
    format!(
        "version: 1\nmode: enforce\ndefaults: {{ {defaults} }}\nbudgets:\n  own: {{ per: [tenantId], limit: $10/month, escalation: e }}\n  \
         tokens: {{ per: [tenantId], limit: 1M tokens/day, escalation: e }}\n  shared: {{ limit: $100/month, escalation: e }}\n\
         escalations: {{ e: {{ warning: {{ at: 90%, notify: [log] }} }} }}\n"
    )
}

async fn own(rig: &Rig, path: &str) -> Value {
    let request = Request::get(path).header("authorization", format!("Bearer {KEY}"));
    rig.send(request.header("plimsoll-tenant-id", "globex").body(Full::default()).expect("a request")).await.json()
}

/// Spends one cent, and what is shown of it afterwards: header, quota, cost of the request.
async fn shown(defaults: &str) -> (String, Value, Value) {
    let rig = under(&policy(defaults)).await;
    let reply = rig.send(with(post(CHAT), chat("[[tokens=1000]] hello").to_string())).await;
    let id = reply.header("plimsoll-request-id").to_owned();
    row(&rig, &id).await;
    let header =
        rig.send(with(post(CHAT), chat("[[tokens=1]] x").to_string())).await.header("plimsoll-budget").to_owned();
    let quota = own(&rig, "/plimsoll/v1/quota").await["budgets"].clone();
    let cost = own(&rig, &format!("/plimsoll/v1/requests/{id}")).await["attempts"][0]["cost_nano_usd"].clone();
    rig.stop().await;
    (header, quota, cost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_see_shares_unless_the_policy_says_otherwise() {
    let (header, quota, cost) = shown("").await;
    assert!(header.starts_with("\"own\";state=ok;used=0;t="), "{header}");
    assert!(!header.contains("spent") && !header.contains("shared"), "{header}");
    assert_eq!(
        (quota.as_array().map(Vec::len), &quota[0]["used_percent"], &quota[0]["limit"]),
        (Some(2), &json!(0), &Value::Null)
    );
    assert_eq!(cost, Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_see_amounts_where_the_policy_shows_them() {
    let (header, quota, cost) = shown("expose_to_clients: { budget: amount, cost: amount }").await;
    let cents = quota[0]["used"].as_str().expect("an amount").to_owned();
    assert!(
        header.contains(";spent=\"0.010") && header.contains(";limit=\"10.00\";unit=\"USD\", \"tokens\""),
        "{header}"
    );
    assert!(header.ends_with(";limit=\"1000000\";unit=\"tokens\""), "{header}");
    assert!(cents.starts_with("0.010"), "{cents}");
    assert_eq!(
        (&quota[0]["limit"], &quota[0]["unit"], &quota[1]["unit"]),
        (&json!("10.00"), &json!("USD"), &json!("tokens"))
    );
    assert!(cost.as_i64().is_some_and(|cost| cost > 10_000_000), "{cost}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_see_nothing_where_the_policy_hides_it() {
    let (header, quota, cost) = shown("expose_to_clients: { budget: never, cost: never }").await;
    assert_eq!((header.as_str(), quota, cost), ("", json!([]), Value::Null));
    let hard = format!(
        "version: 1\nmode: enforce\ndefaults: {{ expose_to_clients: {{ budget: {} }} }}\n\
         budgets: {{ b: {{ per: [tenantId], limit: $0/month, escalation: {{ contain: {{ at: 100%, block: all }} }} }} }}\n",
        "never"
    );
    let rig = under(&hard).await;
    let reply = rig.send(with(post(CHAT), chat("x").to_string())).await;
    assert_eq!(reason(CHAT, &reply).0, "budget_blocked");
    assert_eq!(reply.json()["error"]["plimsoll"]["used_percent"], Value::Null);
    rig.stop().await;
}

/// Breaks the ledger under a running gateway: the next row cannot be written.
async fn break_ledger(rig: &Rig) {
    let ledger = rusqlite::Connection::open(rig.folder.path().join("plimsoll.db")).expect("the ledger");
    ledger.execute_batch("ALTER TABLE entry RENAME TO lost").expect("a broken ledger");
    rig.send(with(post(CHAT), chat("x").to_string())).await;
    let ready = async || {
        let request = Request::get("/readyz").body(Full::default()).expect("a request");
        crate::harness::send(rig.node.admin_address(), request).await.status
    };
    eventually("a ledger that fails", async || ready().await == StatusCode::SERVICE_UNAVAILABLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_ledger_calls_pass_loudly_or_not_at_all_and_people_are_told() {
    for (allow, status) in [("all", StatusCode::OK), ("none", StatusCode::SERVICE_UNAVAILABLE)] {
        let receiver = Receiver::start().await;
        let config =
            format!("notify:\n  oncall: {{ webhook: \"{}\", secret: \"a-webhook-secret\" }}\n", receiver.url());
        let policy = policy(&format!("on_ledger_unavailable: {{ allow: {allow}, alert: oncall }}"));
        let rig = Rig::start(Setup { policy: Some(&policy), config: &config, ..Setup::default() }).await;
        break_ledger(&rig).await;
        let reply = rig.send(with(post(CHAT), chat("x").to_string())).await;
        assert_eq!(reply.status, status, "{allow}: {}", reply.text());
        assert_eq!(reply.header("plimsoll-warning").is_empty(), allow == "none", "loudly");
        let models = Request::get("/openai/v1/models").header("authorization", format!("Bearer {KEY}"));
        let models = rig.send(models.body(Full::default()).expect("a request")).await;
        assert_eq!(models.status, StatusCode::OK, "what costs nothing passes");
        // It is looked for every five seconds, which is all that `wait_for` has.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let told = receiver.wait_for("data.ledger_unavailable").await;
        assert!(
            told["data"]["message"].as_str().is_some_and(|text| text.starts_with("the ledger cannot be written")),
            "{told}"
        );
        rig.stop().await;
    }
}
