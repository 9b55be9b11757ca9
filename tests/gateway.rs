//! Wire behaviour over real sockets, a sentence a test. The provider's own books are the oracle: what it saw, what it sent,
//! what it billed.

mod books;
mod boot;
mod budgets;
mod bytes;
mod conditions;
mod counting;
mod defaults;
mod endings;
mod ends;
mod identity;
mod limits;
mod line;
mod links;
mod load;
mod refusals;
mod reload;
mod replay;
mod routing;
mod segments;
mod tls;
mod watching;
mod windows;

use std::time::Duration;

use ::bytes::Bytes;
use http::Request;
use http::request::Builder;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::harness::{KEY, Reply, Rig, Setup};

/// The inference paths of the three dialects.
const CHAT: &str = "/openai/v1/chat/completions";
const MESSAGES: &str = "/anthropic/v1/messages";
const GENERATE: &str = "/gemini/v1beta/models/gemini-2.5-flash:generateContent";

/// A hard budget per tenant. With `gpt-4o` a thousand output tokens cost one cent.
fn hard(limit: &str) -> String {
    format!(
        "version: 1\nmode: enforce\nbudgets:\n  all: {{ per: [tenantId], limit: {limit}, escalation: stop }}\n\
         escalations:\n  stop: {{ contain: {{ at: 100%, block: all }} }}\n"
    )
}

async fn plain() -> Rig {
    Rig::start(Setup::default()).await
}

async fn under(policy: &str) -> Rig {
    Rig::start(Setup { policy: Some(policy), ..Setup::default() }).await
}

/// A POST of tenant `globex` under the trusted backend's key.
fn post(path: &str) -> Builder {
    anonymous(path).header("authorization", format!("Bearer {KEY}")).header("plimsoll-tenant-id", "globex")
}

/// A POST without any credential.
fn anonymous(path: &str) -> Builder {
    Request::post(path).header("content-type", "application/json")
}

fn with(builder: Builder, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    builder.body(Full::new(body.into())).expect("a request")
}

fn chat(prompt: &str) -> Value {
    json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": prompt }] })
}

/// A small call of each dialect.
fn each_dialect(prompt: &str) -> [(&'static str, String); 3] {
    let messages = json!([{ "role": "user", "content": prompt }]);
    let message = json!({ "model": "claude-sonnet-4-5", "max_tokens": 100, "messages": messages });
    let generate = json!({ "contents": [{ "role": "user", "parts": [{ "text": prompt }] }] });
    [(CHAT, chat(prompt).to_string()), (MESSAGES, message.to_string()), (GENERATE, generate.to_string())]
}

/// The machine-readable reason of a refusal, and the error's class, wherever the dialect puts them.
fn reason(path: &str, reply: &Reply) -> (String, String) {
    let body = reply.json();
    let error = &body["error"];
    let (reason, class) = if path.starts_with("/gemini") {
        (&error["details"][0]["reason"], &error["status"])
    } else if path.starts_with("/anthropic") {
        assert_eq!(body["type"], "error", "{body}");
        (&error["plimsoll"]["reason"], &error["type"])
    } else {
        (&error["plimsoll"]["reason"], &error["code"])
    };
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (word(reason).to_ascii_lowercase(), word(class))
}

/// The only row of an answer's request.
async fn row(rig: &Rig, request_id: &str) -> Value {
    let rows = rig.rows(request_id).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].clone()
}

/// Asks again until `done`, for at most five seconds.
async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..250 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not happen within 5 s");
}
