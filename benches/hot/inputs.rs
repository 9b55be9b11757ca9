//! The fixed inputs: the same bytes, policy, tenants and moment in every run and on every machine.

use std::fmt::Write as _;
use std::sync::Arc;

use plimsoll::control;
use plimsoll::diagnostic::Source;
use plimsoll::domain::attribution::Attribution;
use plimsoll::domain::clock::Timestamp;
use plimsoll::domain::price::PriceBook;
use plimsoll::domain::tenant::{Tenant, TenantId};
use plimsoll::policy::{self, Policy, Surroundings};

pub(crate) const POLICY: &str = include_str!("../../policies/realistic.yaml");
pub(crate) const TENANTS: &str = include_str!("../../policies/tenants.csv");

/// A Monday in November 2026: the policy's exception applies, no window begins or ends near it.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_795_428_000);

/// A chat of about so many bytes: turns of 400 bytes, with escapes and a limit of its own.
pub(crate) fn chat(bytes: usize, stream: bool) -> Vec<u8> {
    const TURN: &str = "All work and no play makes a dull gateway,\\nsaid the \\\"auditor\\\"; so we counted again. ";
    let turn = TURN.repeat(4);
    let mut body = format!(
        r#"{{"model":"gpt-4o","stream":{stream},"temperature":0.2,"max_tokens":1000,"messages":[{{"role":"system","content":"Be brief."}}"#
    );
    for role in ["user", "assistant"].iter().cycle() {
        if body.len() + turn.len() + 60 > bytes {
            break;
        }
        let _ = write!(body, r#",{{"role":"{role}","content":"{turn}"}}"#);
    }
    let rest = "x".repeat(bytes.saturating_sub(body.len() + r#",{"role":"user","content":""}]}"#.len()));
    let _ = write!(body, r#",{{"role":"user","content":"{rest}"}}]}}"#);
    body.into_bytes()
}

/// A stream of `events` events with text, then the usage and the end, one chunk each.
pub(crate) fn stream(events: usize) -> Vec<Vec<u8>> {
    let head = r#"{"id":"chatcmpl-123","object":"chat.completion.chunk","created":1795428000,"model":"gpt-4o-2024-08-06","system_fingerprint":"fp_44709d6fcb""#;
    let mut chunks: Vec<Vec<u8>> = (0..events)
        .map(|event| {
            format!(
                "data: {head},\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word{event}\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
            )
            .into_bytes()
        })
        .collect();
    let usage = r#""usage":{"prompt_tokens":512,"completion_tokens":64,"total_tokens":576,"prompt_tokens_details":{"cached_tokens":128},"completion_tokens_details":{"reasoning_tokens":0}}"#;
    chunks.push(
        format!("data: {head},\"choices\":[{{\"index\":0,\"delta\":{{}},\"logprobs\":null,\"finish_reason\":\"stop\"}}]}}\n\n")
            .into_bytes(),
    );
    chunks.push(format!("data: {head},\"choices\":[],{usage}}}\n\ndata: [DONE]\n\n").into_bytes());
    chunks
}

/// `policies/realistic.yaml`, compiled.
pub(crate) fn policy() -> Policy {
    let prices = PriceBook::builtin();
    let targets = ["slack:llm-margin", "finance", "oncall"].map(str::to_owned);
    let compiled = policy::compile(
        &[Source::new("realistic.yaml", POLICY)],
        &Surroundings {
            prices: &|model| control::model_facts(&prices, model),
            price_table: "built-in table",
            notify_targets: &targets,
            now: NOW,
        },
    );
    compiled.policy.expect("the realistic policy compiles")
}

/// A tenant of the directory.
pub(crate) fn tenant(name: &str, plan: &str, segment: Option<&str>) -> Tenant {
    let id = TenantId::new(name).expect("a valid name");
    Tenant { plan: Some(Arc::from(plan)), segment: segment.map(Arc::from), ..Tenant::unknown(id) }
}

/// A call of the weekly digest, which is not critical.
pub(crate) fn attribution() -> Attribution {
    Attribution {
        endpoint_tag: Arc::from("digest.weekly"),
        prompt_version: Arc::from("v7"),
        user_id: Some(Arc::from("user-4711")),
        ..Attribution::default()
    }
}
