//! What a budget does to a call on the wire, and what it refuses to guess.

use std::sync::Arc;

use http::{Request, StatusCode};
use plimsoll::sim::Canned;
use serde_json::{Value, json};

use super::{CHAT, MESSAGES, chat, eventually, hard, plain, post, reason, row, under, with};
use crate::harness::{KEY, Reply, Rig};

/// A chat call that may produce so many tokens and does.
fn capped(tokens: u64, marks: &str) -> Value {
    let mut body = chat(&format!("[[tokens={tokens}]]{marks} hello"));
    body["max_tokens"] = json!(tokens);
    body
}

async fn send(rig: &Rig, method: &str, path: &str, body: &str) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {KEY}"))
        .header("plimsoll-tenant-id", "globex");
    rig.send(with(request, body.to_owned())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_cannot_be_metered_passes_and_says_so_in_its_row() {
    let rig = plain().await;
    rig.provider.enqueue(Canned::new(200, "application/json", "{\"data\":[]}"));
    let reply = send(&rig, "POST", "/openai/v1/images/generations", "any bytes at all").await;
    assert_eq!((reply.status, reply.text().as_str()), (StatusCode::OK, "{\"data\":[]}"));
    assert_eq!(rig.provider.requests()[0].body, "any bytes at all");
    let found = row(&rig, reply.header("plimsoll-request-id")).await;
    assert_eq!((&found["basis"], &found["cost_nano_usd"]), (&json!("unmetered"), &Value::Null), "{found}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_hard_budget_only_what_is_free_or_metered_passes() {
    let rig = under(&hard("$1/month")).await;
    let count = json!({ "model": "claude-sonnet-4-5", "messages": [] }).to_string();
    for (method, path, body, passes) in [
        ("POST", "/openai/v1/images/generations", "{}", false),
        ("POST", "/openai/v1/files", "{}", false),
        ("PUT", CHAT, "{}", false),
        ("POST", "/anthropic/v1/messages/batches", "{}", false),
        ("POST", "/gemini/v1beta/models/gemini-2.5-flash:predict", "{}", false),
        ("GET", "/openai/v1/realtime", "", false),
        ("GET", "/openai/v1/models", "", true),
        ("DELETE", "/openai/v1/files/file-1", "", true),
        ("POST", "/openai/v1/moderations", "{}", true),
        ("POST", "/anthropic/v1/messages/count_tokens", count.as_str(), true),
    ] {
        let before = rig.provider.requests().len();
        let reply = send(&rig, method, path, body).await;
        assert_eq!(rig.provider.requests().len() - before, usize::from(passes), "{method} {path}: {}", reply.text());
        if !passes {
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{method} {path}");
            assert_eq!(reason(path, &reply).0, "unmetered_path");
            assert_eq!(row(&rig, reply.header("plimsoll-request-id")).await["ending"], "refused");
        }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_the_ceiling_the_cap_is_lowered_to_what_fits() {
    let rig = under(&hard("$0.015/month")).await;
    let first = rig.chat("globex", "a", &capped(1_000, "")).await;
    assert_eq!((first.status, first.header("plimsoll-decision")), (StatusCode::OK, ""));
    row(&rig, first.header("plimsoll-request-id")).await;
    let reply = rig.chat("globex", "a", &capped(1_000, "")).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let seen = rig.provider.requests().pop().expect("a forwarded request");
    let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
    let clamp = body["max_tokens"].as_u64().expect("a cap");
    assert!((256..500).contains(&clamp), "{clamp}");
    let decision = reply.header("plimsoll-decision");
    assert!(decision.contains(&format!("clamp={clamp}")) && !decision.contains("cap="), "{decision}");
    let found = row(&rig, reply.header("plimsoll-request-id")).await;
    assert_eq!(found["decision"], decision);
    let spend = rig.admin("/api/v1/spend").await.json();
    assert!(spend["rows"][0]["cost_nano_usd"].as_i64().is_some_and(|nano| nano <= 15_000_000), "{spend}");
    let reply = rig.chat("globex", "a", &capped(1_000, "")).await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((reason(CHAT, &reply).0.as_str(), reply.header("retry-after")), ("budget_blocked", ""));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_holds_of_others_keep_from_fitting_may_try_again() {
    let policy = format!("{}defaults: {{ on_no_fit: reject }}\n", hard("$0.015/month"));
    let rig = Arc::new(under(&policy).await);
    let other = Arc::clone(&rig);
    let mut holding = tokio::task::JoinSet::new();
    holding.spawn(async move { other.chat("globex", "a", &capped(1_000, "[[delay=600]]")).await });
    eventually("the first call", async || rig.provider.requests().len() == 1).await;
    let reply = rig.chat("globex", "a", &capped(1_000, "")).await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{}", reply.text());
    assert_eq!(reason(CHAT, &reply), ("budget_reserved".to_owned(), "rate_limit_exceeded".to_owned()));
    let wait: u64 = reply.header("retry-after").parse().expect("whole seconds");
    assert!((1..=5).contains(&wait), "{wait}");
    assert_eq!(reply.header("x-should-retry"), "");
    // Another tenant has a counter of its own.
    assert_eq!(rig.chat("acme-corp", "a", &capped(1_000, "")).await.status, StatusCode::OK);
    assert_eq!(holding.join_all().await[0].status, StatusCode::OK);
    assert_eq!(rig.chat("globex", "a", &capped(300, "")).await.status, StatusCode::OK);
}

/// A ladder whose only step is in force once anything has been spent.
fn at_once(step: &str) -> String {
    format!(
        "version: 1\nmode: enforce\nroutes:\n  cheaper: {{ gpt-4o: gpt-4o-mini }}\nbudgets:\n  all: {{ per: [tenantId], \
         limit: $0.0001/month, escalation: e }}\nescalations:\n  e: {{ {step} }}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_that_would_starve_thinking_is_raised_above_its_budget() {
    let rig = under(&at_once("contain: { at: 100%, cap_output_tokens: 600 }")).await;
    let body = |thinking: Value, max: u64| {
        let messages = json!([{ "role": "user", "content": "[[tokens=400]] hello" }]);
        json!({ "model": "claude-sonnet-4-5", "max_tokens": max, "thinking": thinking, "messages": messages })
            .to_string()
    };
    let first = rig.send(with(post(MESSAGES), body(json!({ "type": "disabled" }), 1_000))).await;
    row(&rig, first.header("plimsoll-request-id")).await;
    let written = |rig: &Rig| -> Value {
        let seen = rig.provider.requests().pop().expect("a request");
        serde_json::from_slice::<Value>(&seen.body).expect("JSON")["max_tokens"].clone()
    };
    let thinking = body(json!({ "type": "enabled", "budget_tokens": 2_000 }), 4_000);
    let reply = rig.send(with(post(MESSAGES), thinking)).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let decision = reply.header("plimsoll-decision");
    assert!(decision.starts_with("cap=3024, cap-kept=\"thinking\", step=contain"), "{decision}");
    assert_eq!(written(&rig), 3_024);
    let reply = rig.send(with(post(MESSAGES), body(json!({ "type": "disabled" }), 4_000))).await;
    assert!(reply.header("plimsoll-decision").contains("cap=600"), "{}", reply.header("plimsoll-decision"));
    assert_eq!(written(&rig), 600);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_routed_call_says_what_was_asked_for_and_what_was_served() {
    let rig = under(&at_once("degrade: { at: 100%, route: cheaper }")).await;
    let first = rig.chat("globex", "a", &chat("hello")).await;
    row(&rig, first.header("plimsoll-request-id")).await;
    let reply = rig.chat("globex", "a", &chat("[[tokens=10]]")).await;
    let headers = (reply.header("plimsoll-model-requested"), reply.header("plimsoll-model-served"));
    assert_eq!(headers, ("gpt-4o", "gpt-4o-mini"));
    let found = row(&rig, reply.header("plimsoll-request-id")).await;
    assert_eq!((&found["model_requested"], &found["model_served"]), (&json!("gpt-4o"), &json!("gpt-4o-mini")));
    assert!(found["model_answered"].as_str().is_some_and(|model| model.starts_with("gpt-4o-mini")), "{found}");
    assert!(found["price_row"].as_str().is_some_and(|price| price.ends_with("/gpt-4o-mini")), "{found}");
    let seen: Value = serde_json::from_slice(&rig.provider.requests().pop().expect("a request").body).expect("JSON");
    assert_eq!(seen["model"], "gpt-4o-mini");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_that_nothing_fits_into_refuses_in_every_dialect_and_in_its_words() {
    let rig = under(&hard("$0.0001/month")).await;
    let classes = ["insufficient_quota", "rate_limit_error", "RESOURCE_EXHAUSTED"];
    for ((path, body), class) in super::each_dialect("hello").into_iter().zip(classes) {
        let reply = rig.send(with(post(path).header("plimsoll-endpoint-tag", "digest.weekly"), body)).await;
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{path}: {}", reply.text());
        assert_eq!(reason(path, &reply), ("budget_blocked".to_owned(), class.to_owned()));
        assert_eq!((reply.header("x-should-retry"), reply.header("retry-after")), ("false", ""));
        let text = reply.text();
        assert!(text.contains("digest.weekly is paused for this account") && !text.contains('$'), "{text}");
        for name in ["plimsoll-request-id", "plimsoll-policy", "plimsoll-model-requested", "server-timing"] {
            assert!(!reply.header(name).is_empty(), "{name}");
        }
    }
    assert!(rig.provider.requests().is_empty());
    rig.stop().await;
}
