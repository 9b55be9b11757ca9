//! What counts as a request: one per intention of a client, whatever its SDK sends on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use plimsoll::domain::clock::{Clock, ManualClock, Timestamp};
use serde_json::{Value, json};

use super::{CHAT, chat, eventually, post, reason, row, under, with};
use crate::harness::{KEY, Reply, Rig, Setup};

/// A rate in force from the first call on, and a quota of requests that only counts.
const SLOWED: &str = r"
version: 1
mode: enforce
budgets:
  pace:  { per: [tenantId], limit: $0/day, escalation: { contain: { at: 100%, throttle: 1 requests/min } } }
  quota: { per: [tenantId], limit: 100 requests/day, escalation: { warning: { at: 90%, notify: [log] } } }
";

fn quota(limit: u32) -> String {
    format!(
        "version: 1\nmode: enforce\nbudgets:\n  quota: {{ per: [tenantId], limit: {limit} requests/day, escalation: \
         {{ contain: {{ at: 100%, block: all }} }} }}\n"
    )
}

fn noon() -> Timestamp {
    Timestamp::from_jiff("2026-11-10T11:00:00Z".parse().expect("a moment"))
}

/// A chat call as an SDK sends it: its text, its count of retries, and the application's name for it.
async fn attempt(rig: &Rig, prompt: &str, retry: u32, external: &str) -> Reply {
    let mut request = post(CHAT).header("x-stainless-retry-count", retry);
    if !external.is_empty() {
        request = request.header("plimsoll-external-request-id", external);
    }
    rig.send(with(request, chat(prompt).to_string())).await
}

/// What a budget of requests has counted for the tenant.
async fn used(rig: &Rig, budget: &str) -> i64 {
    let tenant = rig.admin("/api/v1/tenants/globex").await.json();
    let budgets = tenant["budgets"].as_array().cloned().unwrap_or_default();
    let found = budgets.iter().find(|found| found["name"] == budget).unwrap_or_else(|| panic!("{tenant}"));
    found["used"].as_i64().expect("a number")
}

/// Waits until this many requests and attempts are in the ledger, and as many requests in the quota.
async fn counted(rig: &Rig, requests: i64, attempts: i64) {
    let mut spend = Value::Null;
    for _ in 0..250 {
        spend = rig.admin("/api/v1/spend").await.json()["rows"][0].clone();
        if spend["attempts"] == attempts {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((&spend["requests"], &spend["attempts"]), (&json!(requests), &json!(attempts)), "{spend}");
    assert_eq!(used(rig, "quota").await, requests);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_a_request_only_when_what_it_repeats_was_refused_by_us() {
    let clock = Arc::new(ManualClock::at(noon()));
    let policy = Some(SLOWED);
    let rig = Rig::start(Setup { policy, clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Setup::default() }).await;
    let passes = async |prompt: &str, retry, external: &str| {
        clock.advance(Duration::from_mins(2));
        let reply = attempt(&rig, prompt, retry, external).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    };
    passes("first", 0, "").await;
    counted(&rig, 1, 1).await;

    let refused = attempt(&rig, "second", 0, "").await;
    assert_eq!(reason(CHAT, &refused).0, "throttled", "{}", refused.text());
    assert_eq!(row(&rig, refused.header("plimsoll-request-id")).await["ending"], "refused");
    counted(&rig, 1, 1).await;
    passes("second", 1, "").await;
    counted(&rig, 2, 2).await;
    // The same again repeats a call that was admitted, and so does a retry of the first.
    passes("second", 2, "").await;
    passes("first", 1, "").await;
    counted(&rig, 2, 4).await;

    passes("third", 0, "order-17").await;
    passes("third, in other words", 0, "order-17").await;
    counted(&rig, 3, 6).await;
    // Attempts belong together for a while, not for ever.
    clock.advance(Duration::from_mins(11));
    passes("third", 0, "order-17").await;
    counted(&rig, 4, 7).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_refused_under_its_own_name_begins_a_request_when_it_passes() {
    let clock = Arc::new(ManualClock::at(noon()));
    let policy = Some(SLOWED);
    let rig = Rig::start(Setup { policy, clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Setup::default() }).await;
    assert_eq!(attempt(&rig, "first", 0, "").await.status, StatusCode::OK);
    assert_eq!(reason(CHAT, &attempt(&rig, "second", 0, "order-18").await).0, "throttled");
    clock.advance(Duration::from_mins(2));
    assert_eq!(attempt(&rig, "second", 1, "order-18").await.status, StatusCode::OK);
    counted(&rig, 2, 2).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_quota_of_three_requests_admits_exactly_three_of_fifty_racers_and_touches_no_body() {
    let rig = Arc::new(under(&quota(3)).await);
    // Odd spacing, no cap, no model that has a price: none of it is a request quota's business but the price.
    let body =
        "{ \"messages\":[{\"content\":\"hello\" ,\"role\":\"user\"}],\n \"model\" : \"gpt-4o\", \"zeta\": 1.50 }";
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let rig = Arc::clone(&rig);
        racers.spawn(async move { rig.send(with(post(CHAT), body)).await });
    }
    let mut outcomes: BTreeMap<u16, usize> = BTreeMap::new();
    for reply in racers.join_all().await {
        *outcomes.entry(reply.status.as_u16()).or_default() += 1;
        if reply.status == StatusCode::OK {
            let decision = reply.header("plimsoll-decision");
            assert!(!decision.contains("cap") && !decision.contains("clamp"), "{decision}");
        } else {
            assert!(
                ["budget_blocked", "budget_reserved"].contains(&reason(CHAT, &reply).0.as_str()),
                "{}",
                reply.text()
            );
        }
    }
    assert_eq!(outcomes, BTreeMap::from([(200, 3), (429, 47)]));
    assert!(rig.provider.requests().iter().all(|seen| seen.body == body), "a body was touched");
    counted(&rig, 3, 3).await;
    let reply = rig.send(with(post(CHAT), body)).await;
    assert_eq!(reason(CHAT, &reply).0, "budget_blocked", "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_free_passes_a_tenant_that_is_blocked_and_is_no_request() {
    let rig = under(&quota(1)).await;
    assert_eq!(rig.chat("globex", "a", &chat("hello")).await.status, StatusCode::OK);
    counted(&rig, 1, 1).await;
    let count = json!({ "model": "claude-sonnet-4-5", "messages": [{ "role": "user", "content": "hello" }] });
    let tokens = json!({ "contents": [{ "role": "user", "parts": [{ "text": "hello" }] }] });
    for (method, path, body) in [
        ("GET", "/openai/v1/models", String::new()),
        ("POST", "/anthropic/v1/messages/count_tokens", count.to_string()),
        ("POST", "/gemini/v1beta/models/gemini-2.5-flash:countTokens", tokens.to_string()),
    ] {
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {KEY}"));
        let reply = rig.send(with(request.header("plimsoll-tenant-id", "globex"), body)).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.text());
        assert_eq!(reply.header("plimsoll-decision"), "", "{path}");
        let found = row(&rig, reply.header("plimsoll-request-id")).await;
        assert_eq!((&found["cost_nano_usd"], &found["logical"]), (&json!(0), &json!(false)), "{found}");
    }
    counted(&rig, 1, 4).await;
    eventually("the block", async || {
        rig.chat("globex", "a", &chat("hello")).await.status == StatusCode::TOO_MANY_REQUESTS
    })
    .await;
    rig.stop().await;
}
