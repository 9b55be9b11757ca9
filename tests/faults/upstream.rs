//! Providers and streams (rows B).

mod answers;
mod cancel;
mod cuts;
mod ends;

use std::time::Duration;

use ::bytes::Bytes;
use http::Request;
use http_body_util::Full;
use plimsoll::sim::Script;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Told, marked};
use crate::harness::{Exchange, KEY, Rig, Setup};

const CHAT: &str = "/openai/v1/chat/completions";
const MESSAGES: &str = "/anthropic/v1/messages";
const STREAM: &str = "/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";

/// A hard budget per tenant with room for every call of these tests.
const ROOMY: &str = "
version: 1
mode: enforce
budgets:
  all: { per: [tenantId], limit: $1000/month, escalation: stop }
escalations:
  stop: { contain: { at: 100%, block: all } }
";

/// Counted and never held.
const SOFT: &str = "
version: 1
mode: enforce
budgets:
  all: { per: [tenantId], limit: $1000/month, escalation: { warning: { at: 90%, notify: [log] } } }
";

/// How many rounds a long test runs: few in CI, as many as the environment says elsewhere.
#[expect(clippy::disallowed_methods, reason = "the length of a test is no setting of the gateway")]
fn rounds(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

/// Numbers that look random and are the same in every run (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % end.max(1) as u64).expect("a small number")
    }
}

async fn roomy(script: Script) -> Rig {
    Rig::start(Setup { policy: Some(ROOMY), script, ..Setup::default() }).await
}

/// A marked call of tenant `globex`.
fn call(path: &str, nonce: &str, body: &Value) -> Request<Full<Bytes>> {
    let post = Request::post(path)
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {KEY}"))
        .header("plimsoll-tenant-id", "globex");
    marked(post, nonce).body(Full::new(Bytes::from(body.to_string()))).expect("a request")
}

/// A chat with these marks in its prompt.
fn chat(marks: &str, stream: bool) -> Value {
    json!({ "model": "gpt-4o", "max_tokens": 1_000, "stream": stream,
        "messages": [{ "role": "user", "content": format!("{marks} tell me a story") }] })
}

/// A streamed call of each dialect with these marks in its prompt.
fn each_stream(marks: &str) -> [(&'static str, Value); 3] {
    let text = format!("{marks} tell me a story");
    let message = json!({ "model": "claude-sonnet-4-5", "max_tokens": 1_000, "stream": true,
        "messages": [{ "role": "user", "content": text }] });
    let generate = json!({ "contents": [{ "role": "user", "parts": [{ "text": text }] }],
        "generationConfig": { "maxOutputTokens": 1_000 } });
    [(CHAT, chat(marks, true)), (MESSAGES, message), (STREAM, generate)]
}

/// Sends a call and reads its answer to the end.
async fn hear(rig: &Rig, nonce: &str, path: &str, body: &Value) -> (Told, crate::harness::Reply) {
    let reply = rig.send(call(path, nonce, body)).await;
    (Told::of(nonce, &reply), reply)
}

/// Sends a call and leaves as soon as `enough` bytes of the answer were read.
async fn leave(address: std::net::SocketAddr, request: Request<Full<Bytes>>, nonce: String, enough: usize) -> Told {
    let mut exchange = Exchange::open(address, request).await;
    let mut read = 0;
    while read < enough {
        let Some(Ok(bytes)) = exchange.next().await else { break };
        read += bytes.len();
    }
    Told::part(&nonce, &exchange)
}

/// Runs calls, so many at once, and gathers what their clients were told.
async fn at_once<F>(width: usize, calls: impl IntoIterator<Item = F>) -> Vec<Told>
where
    F: Future<Output = Told> + Send + 'static,
{
    let (mut running, mut log) = (JoinSet::new(), Vec::new());
    for call in calls {
        while running.len() >= width {
            log.push(running.join_next().await.expect("a running call").expect("no panic"));
        }
        running.spawn(call);
    }
    while let Some(told) = running.join_next().await {
        log.push(told.expect("no panic"));
    }
    log
}

/// A provider that takes `millis` for a token.
fn talks(millis: u64) -> Script {
    Script { token_delay: Duration::from_millis(millis), ..Script::default() }
}
