//! What cannot be counted or was configured away: refused before it leaves, in the operator's own words.

use http::StatusCode;
use plimsoll::config::Settings;
use plimsoll::sim::Canned;
use serde_json::json;

use super::{CHAT, chat, hard, plain, post, reason, row, under, with};
use crate::harness::Rig;

const RESPONSES: &str = "/openai/v1/responses";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_the_background_is_refused_under_a_hard_budget_only() {
    let body = |background: bool| json!({ "model": "gpt-4o", "input": "hello", "background": background }).to_string();
    let rig = under(&hard("$1/month")).await;
    let reply = rig.send(with(post(RESPONSES), body(true))).await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", reply.text());
    assert_eq!(reason(RESPONSES, &reply).0, "unmetered_path");
    assert!(rig.provider.requests().is_empty());
    assert_eq!(rig.send(with(post(RESPONSES), body(false))).await.status, StatusCode::OK);
    rig.stop().await;
    let rig = plain().await;
    assert_eq!(rig.send(with(post(RESPONSES), body(true))).await.status, StatusCode::OK);
    assert_eq!(rig.provider.requests()[0].body, body(true));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_without_a_price_is_refused_everywhere_when_the_policy_says_so() {
    let rig = under("version: 1\nmode: enforce\ndefaults: { on_unpriced_model: reject }\n").await;
    let mut body = chat("hello");
    body["model"] = json!("acme-llm-1");
    let reply = rig.chat("globex", "a", &body).await;
    assert_eq!((reply.status, reason(CHAT, &reply).0.as_str()), (StatusCode::BAD_REQUEST, "unpriced_model"));
    assert!(rig.provider.requests().is_empty());
    assert_eq!(rig.chat("globex", "a", &chat("hello")).await.status, StatusCode::OK);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_at_the_hold_speaks_with_the_ladders_own_status_and_message() {
    let own = "block: all, status: 402, message: \"Ask Dana for more.\"";
    let rig = under(&hard("$0.0001/month").replace("block: all", own)).await;
    let reply = rig.chat("globex", "a", &chat("hello")).await;
    assert_eq!(reply.status, StatusCode::PAYMENT_REQUIRED, "{}", reply.text());
    assert_eq!(reason(CHAT, &reply).0, "budget_blocked");
    assert!(reply.text().contains("Ask Dana for more.") && !reply.text().contains("is paused"), "{}", reply.text());
    let decision = reply.header("plimsoll-decision");
    assert!(decision.starts_with("block, ") && decision.contains("budget=\"all\""), "{decision}");
    let found = row(&rig, reply.header("plimsoll-request-id")).await;
    assert_eq!((&found["decision"], &found["status"]), (&json!(decision), &json!(402)), "{found}");
    assert!(rig.provider.requests().is_empty());
    let metrics = rig.admin("/metrics").await.text();
    let counted = metrics.lines().find(|line| line.starts_with("plimsoll_decisions") && line.contains("block"));
    assert!(counted.is_some_and(|line| line.ends_with(" 1")), "{counted:?}");
    rig.stop().await;
}

#[test]
fn two_keys_with_the_same_secret_are_a_mistake() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("plimsoll.yaml");
    let secret = "the-same-secret-twice";
    let keys = format!(
        "keys:\n  - {{ name: one, secret: {secret}, tenant: globex }}\n  - {{ name: two, secret: {secret}, tenant: acme }}\n"
    );
    std::fs::write(&file, keys).expect("a file");
    let Err(broken) = Settings::load(Some(&file), &|_: &str| None) else { panic!("the second key shadows the first") };
    let lines: Vec<String> = broken.diagnostics.iter().map(plimsoll::diagnostic::Diagnostic::one_line).collect();
    assert!(matches!(lines.as_slice(), [line] if line.contains(":3:") && line.contains("E033")), "{lines:?}");
    assert!(!lines[0].contains(secret), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_cannot_speak_in_our_name() {
    let rig = plain().await;
    let canned = Canned::new(200, "application/json", "{}")
        .with_header("plimsoll-decision", "block")
        .with_header("Plimsoll-Anything", "forged")
        .with_header("plimsoll-request-id", "req_forged")
        .with_header("x-theirs", "kept");
    rig.provider.enqueue(canned);
    let reply = rig.chat("globex", "a", &chat("hello")).await;
    assert_eq!((reply.header("plimsoll-decision"), reply.header("plimsoll-anything")), ("", ""));
    assert_eq!((reply.headers.get_all("plimsoll-request-id").iter().count(), reply.header("x-theirs")), (1, "kept"));
    assert_ne!(reply.header("plimsoll-request-id"), "req_forged");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_without_a_body_arrives_with_a_length_of_zero() {
    let rig: Rig = plain().await;
    rig.provider.enqueue(Canned::new(200, "application/json", "{}"));
    let reply = rig.send(with(post("/openai/v1/responses/resp_1/cancel"), "")).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let seen = rig.provider.requests().pop().expect("a request");
    let lengths: Vec<_> = seen.headers.get_all("content-length").iter().collect();
    assert_eq!(lengths, ["0"]);
    assert!(!seen.headers.contains_key("transfer-encoding"));
    rig.stop().await;
}
