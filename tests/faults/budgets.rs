//! Rows C1 to C15 on one node: racers, boundaries, changes under way and arithmetic. C11 is a model, in `models/tests/`.
//!
//! Over the wire three figures must agree: what clients were told, what the ledger holds, what the provider bills. Prices are
//! those of `gpt-4o`: $2.50 and $10 per million, whole nano-dollars per token.

mod arithmetic;
mod boundaries;
mod changes;
mod racers;
mod routes;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::harness::{ADMIN_TOKEN, Exchange, KEY, Reply, Rig, send};

const CHAT: &str = "/openai/v1/chat/completions";
const INPUT_NANO: u64 = 2_500;
const OUTPUT_NANO: u64 = 10_000;

/// A hard budget per tenant; a call that does not fit is refused and never clamped.
fn hard(limit: &str) -> String {
    format!(
        "version: 1\nmode: enforce\ndefaults: {{ on_no_fit: reject }}\nbudgets:\n  all: {{ per: [tenantId], limit: {limit}, \
         escalation: {{ contain: {{ at: 100%, block: all }} }} }}\n"
    )
}

/// A chat call that may produce so many tokens and does, unless a mark says fewer; its hold is a cent for a thousand, and a
/// little for the input.
fn ask(tokens: u64, marks: &str) -> Value {
    let produced = if marks.contains("[[tokens=") { String::new() } else { format!("[[tokens={tokens}]]") };
    json!({ "model": "gpt-4o", "max_tokens": tokens,
        "messages": [{ "role": "user", "content": format!("{produced}{marks}") }] })
}

fn post(tenant: &str, body: &Value) -> Request<Full<Bytes>> {
    let request = Request::post(CHAT).header("authorization", format!("Bearer {KEY}"));
    let request = request.header("plimsoll-tenant-id", tenant).header("content-type", "application/json");
    request.body(Full::new(Bytes::from(body.to_string()))).expect("a request")
}

/// A call on the admin listener.
async fn admin(rig: &Rig, method: &str, path: &str, body: &str) -> Reply {
    let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {ADMIN_TOKEN}"));
    send(rig.node.admin_address(), request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request")).await
}

/// Puts a policy in force.
async fn apply(rig: &Rig, policy: &str) {
    let reply = admin(rig, "POST", "/api/v1/policy", policy).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
}

/// What a budget shows for a tenant: `used`, `used_percent` and more. `None`: it does not count this tenant.
async fn standing(rig: &Rig, tenant: &str, budget: &str) -> Option<Value> {
    let view = rig.admin(&format!("/api/v1/tenants/{tenant}")).await.json();
    view["budgets"].as_array()?.iter().find(|found| found["name"] == budget).cloned()
}

async fn used(rig: &Rig, tenant: &str, budget: &str) -> u64 {
    let found = standing(rig, tenant, budget).await.unwrap_or_else(|| panic!("no budget `{budget}` for {tenant}"));
    found["used"].as_u64().unwrap_or_else(|| panic!("{found}"))
}

/// Why a call was refused.
fn reason(reply: &Reply) -> String {
    reply.json()["error"]["plimsoll"]["reason"].as_str().unwrap_or_default().to_owned()
}

/// Opens a stream of so many tokens and reads its first bytes: from here on the provider bills.
async fn under_way(rig: &Rig, tenant: &str, tokens: u64) -> Exchange {
    under_way_of(rig, tenant, &ask(tokens, "")).await
}

/// The same of a given call, as a stream that says its usage.
async fn under_way_of(rig: &Rig, tenant: &str, call: &Value) -> Exchange {
    let mut body = call.clone();
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    let mut answer = Exchange::open(rig.node.data_address(), post(tenant, &body)).await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.next().await.expect("an event").expect("no cut");
    answer
}

/// What clients were told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Log {
    calls: u64,
    input: u64,
    output: u64,
}

impl Log {
    fn note(&mut self, text: &str) {
        let usage = |line: &str| serde_json::from_str::<Value>(line).ok().filter(|json| json["usage"].is_object());
        let said = text.lines().filter_map(|line| usage(line.strip_prefix("data: ").unwrap_or(line))).next_back();
        let said = said.unwrap_or_else(|| panic!("no usage in {text}"));
        self.calls += 1;
        self.input += said["usage"]["prompt_tokens"].as_u64().expect("input tokens");
        self.output += said["usage"]["completion_tokens"].as_u64().expect("output tokens");
    }

    fn reply(&mut self, reply: &Reply) {
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        self.note(&reply.text());
    }

    /// Reads a stream to its end and returns its request.
    async fn finish(&mut self, mut answer: Exchange) -> String {
        // What came before was read by `under_way`; the usage is at the end.
        let mut text = Vec::new();
        while let Some(bytes) = answer.next().await {
            text.extend_from_slice(&bytes.expect("no cut"));
        }
        self.note(&String::from_utf8_lossy(&text));
        answer.header("plimsoll-request-id")
    }

    fn nano(&self) -> u64 {
        self.input * INPUT_NANO + self.output * OUTPUT_NANO
    }
}

/// The client's log, the ledger and the provider's bill agree, once everything is written.
async fn three_figures(rig: &Rig, log: &Log) {
    let mut sums = Value::Null;
    for _ in 0..500 {
        sums = rig.admin("/api/v1/spend?since=2000-01-01T00:00:00Z").await.json()["rows"][0].clone();
        if sums["attempts"] == log.calls {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (in_doubt, cost) = (sums["in_doubt_nano_usd"].as_u64(), sums["cost_nano_usd"].as_u64());
    assert_eq!((in_doubt, cost), (Some(0), Some(log.nano())), "{sums}");
    let ledger = |name: &str| sums[name].as_u64().expect("a number");
    let ledger = Log { calls: ledger("attempts"), input: ledger("input_tokens"), output: ledger("output_tokens") };
    let lines: Vec<_> = rig.provider.bill().into_iter().filter(|line| line.billed).collect();
    let bill = Log {
        calls: lines.len() as u64,
        input: lines.iter().map(|line| line.input_tokens).sum(),
        output: lines.iter().map(|line| line.output_tokens).sum(),
    };
    assert_eq!((log, &ledger), (&bill, &bill));
}
