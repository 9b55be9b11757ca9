//! Providers and streams (rows B).

use std::time::Duration;

use ::bytes::Bytes;
use http::Request;
use http_body_util::Full;
use plimsoll::sim::Script;
use serde_json::{Value, json};

use super::{Agreed, Told, agree, marked};
use crate::harness::{Exchange, KEY, Rig, Setup};

const CHAT: &str = "/openai/v1/chat/completions";

/// A hard budget per tenant with room for every call of these tests.
const ROOMY: &str = "
version: 1
mode: enforce
budgets:
  all: { per: [tenantId], limit: $1000/month, escalation: stop }
escalations:
  stop: { contain: { at: 100%, block: all } }
";

async fn rig(script: Script) -> Rig {
    Rig::start(Setup { policy: Some(ROOMY), script, ..Setup::default() }).await
}

/// A marked chat call of tenant `globex`.
fn call(nonce: &str, body: &Value) -> Request<Full<Bytes>> {
    call_at(CHAT, nonce, body)
}

fn call_at(path: &str, nonce: &str, body: &Value) -> Request<Full<Bytes>> {
    let post = Request::post(path)
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {KEY}"))
        .header("plimsoll-tenant-id", "globex");
    marked(post, nonce).body(Full::new(Bytes::from(body.to_string()))).expect("a request")
}

/// A chat whose answer has so many tokens.
fn chat(tokens: u64, stream: bool) -> Value {
    json!({ "model": "gpt-4o", "max_tokens": 1_000, "stream": stream,
        "messages": [{ "role": "user", "content": format!("[[tokens={tokens}]] tell me a story") }] })
}

/// Sends a call and leaves as soon as `enough` bytes of the answer were read.
async fn leave_after(rig: &Rig, nonce: &str, body: &Value, enough: usize) -> Told {
    let mut exchange = Exchange::open(rig.node.data_address(), call(nonce, body)).await;
    let mut read = 0;
    while read < enough {
        let Some(bytes) = exchange.next().await else { break };
        read += bytes.expect("no cut").len();
    }
    Told::part(nonce, &exchange)
}

// Mutation: in `Tapped::drop` do not read on (`filter(|_| false)`): the row is partial and below the bill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_a_provider_that_bills_on_is_read_to_its_end_without_the_client() {
    let script = Script { token_delay: Duration::from_millis(1), ..Script::default() };
    let rig = rig(script).await;
    let mut log = Vec::new();
    for at in 0..8 {
        log.push(leave_after(&rig, &format!("b3-{at}"), &chat(200, true), 1 + at * 600).await);
    }
    for Agreed { rows, lines, charged, billed, .. } in agree(&rig, &log).await {
        assert_eq!((rows[0].basis.as_str(), rows[0].ending.as_str()), ("exact", "client_gone"), "{rows:?}");
        assert_eq!((charged, lines[0].output_tokens), (billed, 200));
    }
    rig.stop().await;
}
