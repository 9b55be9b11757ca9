//! What a segment does on the wire: the gate before flagship models, and results of tools that are too long.

use http::StatusCode;
use serde_json::{Value, json};

use super::{CHAT, MESSAGES, chat, post, reason, row, with};
use crate::harness::{Rig, Setup};

const POLICY: &str = "version: 1
mode: enforce
segments:
  stakes:
    never: [route]
    flagship: { allow: [gpt-4o], promptVersion: [contract_v7] }
    otherwise: { route: cheaper }
    limits: { max_tool_output_tokens: 100 }
routes: { cheaper: { gpt-4o: gpt-4o-mini } }
";
const TENANTS: &str = "tenantId,segment\nglobex,stakes\n";

async fn start() -> Rig {
    Rig::start(Setup { policy: Some(POLICY), tenants: Some(TENANTS), ..Setup::default() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unapproved_prompt_is_served_by_another_model_and_told() {
    let rig = start().await;
    let body = chat("hello").to_string();
    let reply = rig.send(with(post(CHAT), body.clone())).await;
    assert_eq!(reply.header("plimsoll-decision"), "route=\"gpt-4o-mini\", by=\"segment.stakes\"");
    assert_eq!(reply.header("plimsoll-model-served"), "gpt-4o-mini");
    let reply = rig.send(with(post(CHAT).header("plimsoll-prompt-version", "contract_v7"), body)).await;
    assert_eq!((reply.header("plimsoll-decision"), reply.header("plimsoll-model-served")), ("", "gpt-4o"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_result_of_a_tool_is_refused_in_each_dialect_and_never_cut() {
    let rig = start().await;
    let approved = |path| post(path).header("plimsoll-prompt-version", "contract_v7");
    let calls = |text: &str| -> [(&'static str, Value); 3] {
        let chat =
            json!([{ "role": "user", "content": "x" }, { "role": "tool", "tool_call_id": "c", "content": text }]);
        let input = json!([{ "type": "function_call_output", "call_id": "c", "output": text }]);
        let result =
            json!([{ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "c", "content": text }] }]);
        [
            (CHAT, json!({ "model": "gpt-4o", "messages": chat })),
            ("/openai/v1/responses", json!({ "model": "gpt-4o", "input": input })),
            (MESSAGES, json!({ "model": "claude-haiku-4-5", "max_tokens": 50, "messages": result })),
        ]
    };
    for (path, body) in calls(&"x".repeat(400)) {
        let reply = rig.send(with(approved(path), body.to_string())).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.text());
        assert_eq!(*rig.provider.requests().last().expect("a request").body, *body.to_string().as_bytes(), "untouched");
    }
    let before = rig.provider.requests().len();
    for (path, body) in calls(&"x".repeat(404)) {
        let reply = rig.send(with(approved(path), body.to_string())).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(reason(path, &reply).0, "tool_output_too_long");
        assert!(reply.text().contains("has about 101 tokens and may have 100"), "{}", reply.text());
        assert_eq!(reply.header("x-should-retry"), "false");
        assert_eq!(reply.header("plimsoll-decision"), "block;tool-output=101, by=\"segment.stakes\"");
        let found = row(&rig, reply.header("plimsoll-request-id")).await;
        assert_eq!(
            (&found["ending"], &found["decision"]),
            (&json!("refused"), &json!("block;tool-output=101, by=\"segment.stakes\""))
        );
    }
    assert_eq!(rig.provider.requests().len(), before, "nothing was sent");
    rig.stop().await;
}
