//! Routes with several targets and service tiers, on the wire: what the provider is sent, and that nobody is left to guess it.

use serde_json::{Value, json};

use super::{CHAT, MESSAGES, chat, post, row, under, with};
use crate::harness::Rig;

const POLICY: &str = "version: 1
mode: enforce
routes:
  down: { gpt-4o: [gpt-3.5-turbo, gpt-4o-mini], gpt-4.1: { model: gpt-4.1, service_tier: flex }, claude-opus-4-5: claude-haiku-4-5 }
plans: { p: { route: down } }
defaults: { plan: p }
";

/// What the provider was sent last.
fn sent(rig: &Rig) -> Value {
    serde_json::from_slice(&rig.provider.requests().last().expect("a request").body).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_model_that_can_answer_is_asked_and_named() {
    let rig = under(POLICY).await;
    let reply = rig.send(with(post(CHAT), chat("hello").to_string())).await;
    assert_eq!(sent(&rig)["model"], "gpt-3.5-turbo");
    assert_eq!(reply.header("plimsoll-model-served"), "gpt-3.5-turbo");
    let mut picture = chat("hello");
    picture["messages"][0]["content"] = json!([{ "type": "text", "text": "what is this" }, { "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } }]);
    let reply = rig.send(with(post(CHAT), picture.to_string())).await;
    assert_eq!(sent(&rig)["model"], "gpt-4o-mini", "the first target is known to see nothing");
    assert_eq!(reply.header("plimsoll-decision"), "route=\"gpt-4o-mini\", by=\"plan.p\"");
    let long = chat(&"word ".repeat(9_000));
    let reply = rig.send(with(post(CHAT), long.to_string())).await;
    assert_eq!(
        (sent(&rig)["model"].as_str(), reply.header("plimsoll-model-served")),
        (Some("gpt-4o-mini"), "gpt-4o-mini")
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_tier_is_written_and_said() {
    let rig = under(POLICY).await;
    let mut body = chat("hello");
    body["model"] = json!("gpt-4.1-2025-04-14");
    let reply = rig.send(with(post(CHAT), body.to_string())).await;
    assert_eq!((&sent(&rig)["service_tier"], &sent(&rig)["model"]), (&json!("flex"), &json!("gpt-4.1-2025-04-14")));
    assert_eq!(reply.header("plimsoll-decision"), "route;service-tier=\"flex\", by=\"plan.p\"");
    let found = row(&rig, reply.header("plimsoll-request-id")).await;
    assert_eq!(found["decision"], "route;service-tier=\"flex\", by=\"plan.p\"");
    body["service_tier"] = json!("priority");
    rig.send(with(
        post("/openai/v1/responses"),
        json!({ "model": "gpt-4.1", "input": "x", "service_tier": "auto" }).to_string(),
    ))
    .await;
    assert_eq!(sent(&rig)["service_tier"], "flex");
    rig.send(with(post(CHAT), body.to_string())).await;
    assert_eq!(sent(&rig)["service_tier"], "flex", "in place of the client's");
    let message = json!({ "model": "claude-opus-4-5", "max_tokens": 10, "messages": [] });
    rig.send(with(post(MESSAGES), message.to_string())).await;
    assert_eq!((&sent(&rig)["service_tier"], &sent(&rig)["model"]), (&Value::Null, &json!("claude-haiku-4-5")));
    rig.stop().await;
}
