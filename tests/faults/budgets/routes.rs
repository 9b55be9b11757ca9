//! Every way in, and models without a price: C3, C5.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use plimsoll::wire::{Family, Operation, Target, operation};
use serde_json::{Value, json};

use super::{Log, ask, hard, three_figures};
use crate::harness::{KEY, Reply, Rig, Setup};

/// What a hard budget must do with a POST to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Metered under this dialect, and held to the budget.
    Metered(&'static str),
    /// Costs nothing.
    Free,
    /// May cost money and cannot be metered: refused.
    Refused,
}
use Class::{Free, Metered, Refused};

/// Every path that the gateway knows and every one of the providers' that costs money otherwise, by what a POST means.
const ROUTES: &[(Family, &str, Class)] = &[
    (Family::OpenAi, "/v1/chat/completions", Metered("openai-chat")),
    (Family::OpenAi, "/chat/completions", Metered("openai-chat")),
    (Family::OpenAi, "/api/v1/chat/completions", Metered("openai-chat")),
    (Family::OpenAi, "/openai/v1/chat/completions", Metered("openai-chat")),
    (Family::OpenAi, "/v1/completions", Metered("openai-completions")),
    (Family::OpenAi, "/v1/responses", Metered("openai-responses")),
    (Family::OpenAi, "/v1/embeddings", Metered("openai-embeddings")),
    (Family::OpenAi, "/v1/moderations", Free),
    (Family::OpenAi, "/v1/responses/input_tokens", Free),
    (Family::OpenAi, "/v1/responses/compact", Refused),
    (Family::OpenAi, "/v1/responses/resp_1/cancel", Refused),
    (Family::OpenAi, "/v1/conversations", Refused),
    (Family::OpenAi, "/v1/images/generations", Refused),
    (Family::OpenAi, "/v1/images/edits", Refused),
    (Family::OpenAi, "/v1/images/variations", Refused),
    (Family::OpenAi, "/v1/audio/speech", Refused),
    (Family::OpenAi, "/v1/audio/transcriptions", Refused),
    (Family::OpenAi, "/v1/audio/translations", Refused),
    (Family::OpenAi, "/v1/videos", Refused),
    (Family::OpenAi, "/v1/batches", Refused),
    (Family::OpenAi, "/v1/files", Refused),
    (Family::OpenAi, "/v1/uploads", Refused),
    (Family::OpenAi, "/v1/fine_tuning/jobs", Refused),
    (Family::OpenAi, "/v1/assistants", Refused),
    (Family::OpenAi, "/v1/threads/runs", Refused),
    (Family::OpenAi, "/v1/vector_stores", Refused),
    (Family::OpenAi, "/v1/evals", Refused),
    (Family::OpenAi, "/v1/realtime/sessions", Refused),
    (Family::OpenAi, "/v1/realtime", Refused),
    (Family::OpenAi, "/v1/models", Refused),
    (Family::OpenAi, "/v1/anything/else", Refused),
    (Family::OpenAi, "/", Refused),
    (Family::Anthropic, "/v1/messages", Metered("anthropic-messages")),
    (Family::Anthropic, "/v1/messages/count_tokens", Metered("anthropic-count-tokens")),
    (Family::Anthropic, "/v1/messages/batches", Refused),
    (Family::Anthropic, "/v1/complete", Refused),
    (Family::Anthropic, "/v1/files", Refused),
    (Family::Gemini, "/v1beta/models/gemini-2.5-flash:generateContent", Metered("gemini-generate")),
    (Family::Gemini, "/v1/models/gemini-2.5-flash:generateContent", Metered("gemini-generate")),
    (Family::Gemini, "/v1alpha/models/gemini-2.5-flash:generateContent", Metered("gemini-generate")),
    (Family::Gemini, "/v1beta/models/gemini-2.5-flash:streamGenerateContent", Metered("gemini-stream")),
    (Family::Gemini, "/v1beta/models/gemini-2.5-flash:countTokens", Metered("gemini-count-tokens")),
    (Family::Gemini, "/v1beta/models/gemini-embedding-001:embedContent", Metered("gemini-embed")),
    (Family::Gemini, "/v1beta/models/gemini-embedding-001:batchEmbedContents", Metered("gemini-embed")),
    (Family::Gemini, "/v1beta/models/gemini-2.5-flash:batchGenerateContent", Refused),
    (Family::Gemini, "/v1beta/models/imagen-4:predict", Refused),
    (Family::Gemini, "/v1beta/models/veo-3:predictLongRunning", Refused),
    (Family::Gemini, "/v1beta/cachedContents", Refused),
    (Family::Gemini, "/upload/v1beta/files", Refused),
    (Family::Gemini, "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", Refused),
];

/// Words of `wire/operation.rs` that are no path of their own: beginnings, and ends that open a session.
const PARTS: [&str; 9] =
    ["/openai/v1/", "/api/v1/", "/v1/", "/", "/v1beta/models/", "/v1/models/", "/v1alpha/models/", "/ws/", "realtime"];

/// The texts between quotation marks in a file of the source, its tests left out.
fn literals(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire").join(file);
    let text = fs::read_to_string(path).expect("a source file");
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The names of all dialects: what their files return from `fn name`.
fn dialects() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire");
    let mut names = BTreeSet::new();
    for file in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path()) {
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a source file");
        for body in text.split("fn name(&self) -> &'static str {").skip(1) {
            names.extend(body.split('"').nth(1).map(str::to_owned));
        }
    }
    names
}

fn meaning(family: Family, method: &Method, path: &str) -> Class {
    match operation(family, &Target { method, path, query: None }) {
        Operation::Known(dialect) => Metered(dialect.name()),
        Operation::Free => Free,
        Operation::Unmetered => Refused,
    }
}

// Mutation: a new arm in `wire/operation.rs`, such as `"images/generations" => Some(&OpenAiChat)` or one more free path.
#[test]
fn c3_every_route_that_the_source_knows_is_classified_here() {
    for (family, path, class) in ROUTES {
        assert_eq!(meaning(*family, &Method::POST, path), *class, "POST {path}");
    }
    let ends = |word: &str| ROUTES.iter().any(|(_, path, class)| *class != Refused && path.ends_with(word));
    for word in literals("operation.rs") {
        assert!(PARTS.contains(&word.as_str()) || ends(&word), "`{word}` of operation.rs is not classified");
    }
    for name in dialects() {
        assert!(
            ROUTES.iter().any(|(.., class)| matches!(class, Metered(known) if *known == name)),
            "no route for {name}"
        );
    }
}

/// A call in the shape of its path, dear enough for any budget.
fn body(path: &str) -> String {
    let messages = json!([{ "role": "user", "content": "hello" }]);
    if path.ends_with("/messages") || path.ends_with("count_tokens") {
        json!({ "model": "claude-sonnet-4-5", "max_tokens": 1_000, "messages": messages })
    } else if path.ends_with("/embeddings") {
        json!({ "model": "text-embedding-3-small", "input": "hello" })
    } else if path.contains(":embed") {
        json!({ "content": { "parts": [{ "text": "hello" }] } })
    } else if path.contains(":batchEmbed") {
        json!({ "requests": [{ "content": { "parts": [{ "text": "hello" }] } }] })
    } else if path.contains(':') {
        json!({ "contents": [{ "role": "user", "parts": [{ "text": "hello" }] }] })
    } else if path.ends_with("/chat/completions") {
        json!({ "model": "gpt-4o", "messages": messages })
    } else if path.ends_with("/completions") {
        json!({ "model": "gpt-4o", "prompt": "hello" })
    } else if path.ends_with("/responses") {
        json!({ "model": "gpt-4o", "input": "hello" })
    } else {
        json!({})
    }
    .to_string()
}

async fn send(rig: &Rig, method: &Method, path: &str) -> Reply {
    let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {KEY}"));
    let request = request.header("plimsoll-tenant-id", "globex");
    let body = if *method == Method::POST { body(path) } else { String::new() };
    rig.send(request.body(Full::from(body)).expect("a request")).await
}

/// Sends every method to every path and returns how many were refused and how many were free.
async fn walk(rig: &Rig, room: bool) -> (usize, usize) {
    let methods =
        [Method::GET, Method::HEAD, Method::OPTIONS, Method::DELETE, Method::POST, Method::PUT, Method::PATCH];
    let (mut refused, mut free) = (0, 0);
    for (family, path, _) in ROUTES {
        for method in &methods {
            let before = rig.provider.requests().len();
            let reply = send(rig, method, &format!("/{}{path}", family.as_str())).await;
            let passed = rig.provider.requests().len() - before == 1;
            let means = meaning(*family, method, path);
            let is_free = matches!(means, Free | Metered("anthropic-count-tokens" | "gemini-count-tokens"));
            assert_eq!(passed, is_free || (room && means != Refused), "{method} {path}: {}", reply.text());
            if !passed {
                // A budget without room speaks first; one with room says that this way in cannot be metered.
                let expected = if room { StatusCode::FORBIDDEN } else { StatusCode::TOO_MANY_REQUESTS };
                assert_eq!(reply.status, expected, "{method} {path}: {}", reply.text());
            }
            refused += usize::from(!passed);
            free += usize::from(is_free);
        }
    }
    (refused, free)
}

// Mutation: `can_cost` in `gateway/admit.rs` says no to `Operation::Unmetered`; or a dialect's `bills` says no.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c3_under_a_hard_budget_every_route_and_method_is_free_or_metered_or_refused() {
    let rig = Rig::start(Setup { policy: Some(&hard("$0/month")), ..Setup::default() }).await;
    let (refused, free) = walk(&rig, false).await;
    assert!(refused > 150 && free > 100, "{refused} refused, {free} free");
    // Other ways to write the same paths lead to the same budget.
    for path in ["/v1/chat/completions", "/@endpointTag=a/openai/v1/chat/completions", "/v1/messages"] {
        assert_eq!(send(&rig, &Method::POST, path).await.status, StatusCode::TOO_MANY_REQUESTS, "{path}");
    }
    assert!(rig.provider.bill().iter().all(|line| !line.billed), "the provider bills something");
    let spend = rig.admin("/api/v1/spend?since=2000-01-01T00:00:00Z").await.json();
    assert_eq!((&spend["rows"][0]["cost_nano_usd"], &spend["rows"][0]["in_doubt_nano_usd"]), (&json!(0), &json!(0)));
    rig.stop().await;

    let rig = Rig::start(Setup { policy: Some(&hard("$100/month")), ..Setup::default() }).await;
    let (refused, _) = walk(&rig, true).await;
    assert!(refused > 100, "{refused} refused");
    rig.stop().await;
}

const PRICES: &str = "
version: 1
as_of: 2026-11-16
models:
  gift-llm: { provider: openai, input: 0, output: 0, context: 8000, max_output: 4000 }
";

fn of_model(model: &str) -> Value {
    let mut body = ask(5, "");
    body["model"] = json!(model);
    body
}

// Mutation: `reserve` in `gateway/admit.rs` lets a call without a price pass with a hold of 0; a price of 0 is read as none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c5_without_a_price_a_hard_budget_refuses_and_a_price_of_nothing_is_a_price() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("prices.yaml"), PRICES).expect("a file");
    let config = format!("prices: [\"{}\"]\n", folder.path().join("prices.yaml").display());
    let setup = |policy| Rig::start(Setup { policy, config: &config, ..Setup::default() });

    let policy = hard("$1/month");
    let rig = setup(Some(policy.as_str())).await;
    let mut nameless = ask(5, "");
    nameless.as_object_mut().expect("an object").remove("model");
    for (body, says) in [(of_model("acme-llm-1"), "`acme-llm-1`"), (of_model("gpt-4o-"), "`gpt-4o-`"), (nameless, "")] {
        let reply = rig.chat("globex", "a", &body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.text());
        let error = &reply.json()["error"];
        assert_eq!((&error["code"], &error["param"]), (&json!("unpriced_model"), &json!("model")), "{error}");
        assert!(reply.text().contains(says), "{error}");
    }
    assert!(rig.provider.requests().is_empty(), "a call without a price was sent");
    let gift = rig.chat("globex", "a", &of_model("gift-llm")).await;
    assert_eq!(gift.status, StatusCode::OK, "{}", gift.text());
    let found = rig.rows(gift.header("plimsoll-request-id")).await.remove(0);
    assert_eq!((&found["cost_nano_usd"], &found["basis"]), (&json!(0), &json!("exact")), "{found}");
    assert!(found["price_row"].as_str().is_some_and(|row| row.ends_with("/gift-llm")), "{found}");
    let mut log = Log::default();
    log.reply(&rig.chat("globex", "a", &ask(5, "")).await);
    let spend = rig.admin("/api/v1/spend?by=model").await.json();
    assert!(
        spend["rows"].as_array().is_some_and(|rows| rows.iter().all(|row| row["unpriced_requests"] == 0)),
        "{spend}"
    );
    rig.stop().await;

    // Without a hard budget tokens are metered, and the cost is unknown, never 0.
    let rig = setup(None).await;
    let reply = rig.chat("globex", "a", &of_model("acme-llm-1")).await;
    assert_eq!(reply.status, StatusCode::OK);
    let found = rig.rows(reply.header("plimsoll-request-id")).await.remove(0);
    assert_eq!((&found["cost_nano_usd"], &found["price_row"]), (&Value::Null, &Value::Null), "{found}");
    assert_eq!((&found["output_tokens"], &found["basis"]), (&json!(5), &json!("exact")));
    let spend = rig.admin("/api/v1/spend").await.json();
    assert_eq!((&spend["rows"][0]["unpriced_requests"], &spend["rows"][0]["cost_nano_usd"]), (&json!(1), &json!(0)));
    assert!(rig.admin("/metrics").await.text().contains("plimsoll_unpriced_requests_total"));
    rig.stop().await;

    let rig = setup(None).await;
    let mut log = Log::default();
    log.reply(&rig.chat("globex", "a", &ask(7, "")).await);
    three_figures(&rig, &log).await;
}
