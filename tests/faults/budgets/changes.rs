//! Changes while calls are in flight, and bills above the hold: C4, C8, C10.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use plimsoll::domain::clock::SystemClock;
use plimsoll::sim::{BillLine, Canned, Script};
use serde_json::json;

use super::{Log, admin, apply, ask, hard, reason, standing, three_figures, under_way, used};
use crate::harness::{Rig, Setup};

async fn slowly(policy: &str, tenants: Option<&str>) -> Rig {
    let script = Script { token_delay: Duration::from_millis(1), tokens_per_event: 10, ..Script::default() };
    Rig::start(Setup { policy: Some(policy), tenants, script, ..Setup::default() }).await
}

/// Two plans, each with a budget of its own for its tenants.
const PLANS: &str = r"
version: 1
mode: enforce
defaults: { on_no_fit: reject }
plans:
  starter: { llm_budget: $0.02/month }
  growth:  { llm_budget: $5/month }
budgets:
  small: { per: [tenantId], match: { plan: starter }, limit: plan.llm_budget, escalation: stop }
  large: { per: [tenantId], match: { plan: growth }, limit: plan.llm_budget, escalation: stop }
escalations:
  stop: { contain: { at: 100%, block: all } }
";

// Mutation: `Control::apply` validates and writes the file but does not swap; `put_tenant` in `node/view.rs` does not reload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c4_what_the_api_accepts_is_read_back_and_in_force_for_the_very_next_call() {
    let rig = slowly(&hard("$5/month"), None).await;
    let mut log = Log::default();
    log.reply(&rig.chat("globex", "a", &ask(10, "")).await);
    for (limit, passes) in [("$0/month", false), ("$5/month", true), ("$0.0000001/month", false)] {
        let accepted = admin(&rig, "POST", "/api/v1/policy", &hard(limit)).await;
        assert_eq!(accepted.status, StatusCode::OK, "{}", accepted.text());
        let (accepted, read) = (accepted.json(), rig.admin("/api/v1/policy").await.json());
        assert_eq!((&read["revision"], &read["last_reload"]["ok"]), (&accepted["revision"], &json!(true)));
        assert_eq!(std::fs::read_to_string(rig.policy_file()).expect("a file"), hard(limit));
        let reply = rig.chat("globex", "a", &ask(10, "")).await;
        assert!(
            accepted["revision"].as_str().is_some_and(|text| text == reply.header("plimsoll-policy")),
            "{accepted}"
        );
        if passes {
            log.reply(&reply);
        } else {
            assert_eq!(reason(&reply), "budget_blocked", "{limit}");
        }
    }
    apply(&rig, PLANS).await;
    for (plan, tokens, passes) in [("starter", 5_000, false), ("growth", 1_000, true), ("starter", 5_000, false)] {
        let put = admin(&rig, "PUT", "/api/v1/tenants/globex", &json!({ "plan": plan }).to_string()).await;
        assert_eq!(put.status, StatusCode::OK, "{}", put.text());
        let read = rig.admin("/api/v1/tenants/globex").await.json();
        assert_eq!((&read, &read["plan"]), (&put.json(), &json!(plan)));
        let reply = rig.chat("globex", "a", &ask(tokens, "")).await;
        if passes {
            log.reply(&reply);
        } else {
            assert_eq!(reason(&reply), "budget_blocked", "{plan}");
        }
    }
    three_figures(&rig, &log).await;
    let rig = rig.restart(Arc::new(SystemClock)).await;
    assert_eq!(rig.admin("/api/v1/tenants/globex").await.json()["plan"], "starter");
    assert_eq!(reason(&rig.chat("globex", "a", &ask(5_000, "")).await), "budget_blocked");
    three_figures(&rig, &log).await;
    rig.stop().await;
}

// Mutation: `Cell::settle` posts at most the hold; or `seed` in `control/mod.rs` skips budgets that come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c8_limits_lowered_below_spend_raised_deleted_and_brought_back_under_calls_in_flight() {
    let rig = slowly(&hard("$0.05/month"), None).await;
    let mut log = Log::default();
    let first = under_way(&rig, "globex", 1_000).await;
    apply(&rig, &hard("$0.005/month")).await;
    assert_eq!(reason(&rig.chat("globex", "a", &ask(100, "")).await), "budget_reserved", "the hold is in the way");
    log.finish(first).await;
    assert_eq!(used(&rig, "globex", "all").await, log.nano(), "the hold settled where it was taken");
    let shown = standing(&rig, "globex", "all").await.expect("a budget");
    assert!(shown["used_percent"].as_u64().is_some_and(|percent| percent >= 200), "the debt shows: {shown}");
    assert_eq!(reason(&rig.chat("globex", "a", &ask(100, "")).await), "budget_blocked", "the debt blocks");

    apply(&rig, &hard("$0.05/month")).await;
    let second = under_way(&rig, "globex", 400).await;
    apply(&rig, &hard("$0.05/month").replace("all:", "other:").replace("tenantId", "endpointTag")).await;
    log.reply(&rig.chat("globex", "a", &ask(100, "")).await);
    log.finish(second).await;
    assert!(standing(&rig, "globex", "all").await.is_none());
    apply(&rig, &hard("$0.05/month")).await;
    assert_eq!(used(&rig, "globex", "all").await, log.nano(), "it comes back with everything");
    let third = under_way(&rig, "globex", 400).await;
    apply(&rig, &hard("$0.05/month").replace("all:", "other:").replace("tenantId", "endpointTag")).await;
    apply(&rig, &hard("$0.05/month")).await;
    log.finish(third).await;
    assert_eq!(used(&rig, "globex", "all").await, log.nano());
    three_figures(&rig, &log).await;
    rig.stop().await;
}

// Mutation: `Call::account` is looked up again at settlement; `catch_up` posts to budgets that do not count the call's plan.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c8_a_tenant_that_changes_plan_under_a_call_pays_it_on_the_plan_that_admitted_it() {
    let rig = slowly(PLANS, None).await;
    let plan = async |name: &str| {
        let put = admin(&rig, "PUT", "/api/v1/tenants/globex", &json!({ "plan": name }).to_string()).await;
        assert_eq!(put.status, StatusCode::OK, "{}", put.text());
    };
    plan("starter").await;
    let (mut all, mut growth) = (Log::default(), Log::default());
    let stream = under_way(&rig, "globex", 1_000).await;
    plan("growth").await;
    assert_eq!(used(&rig, "globex", "large").await, 0);
    let reply = rig.chat("globex", "a", &ask(3_000, "[[tokens=300]]")).await;
    growth.reply(&reply);
    all.reply(&reply);
    let id = all.finish(stream).await;
    let row = rig.rows(&id).await.remove(0);
    assert_eq!(row["plan"], "starter", "{row}");
    assert_eq!(used(&rig, "globex", "large").await, growth.nano(), "the old plan's call is not the new plan's");
    plan("starter").await;
    assert_eq!(used(&rig, "globex", "small").await, all.nano() - growth.nano());
    assert_eq!(reason(&rig.chat("globex", "a", &ask(1_000, "")).await), "budget_blocked", "two do not fit");
    let rig = rig.restart(Arc::new(SystemClock)).await;
    assert_eq!(used(&rig, "globex", "small").await, all.nano() - growth.nano(), "and so the ledger says");
    three_figures(&rig, &all).await;
    rig.stop().await;
}

// Mutation: `Cell::settle` posts `cost.min(hold)`; or `close` in `gateway/settle.rs` cuts the cost to what was held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c10_a_provider_that_ignores_the_cap_makes_debt_that_blocks() {
    let rig = Rig::start(Setup { policy: Some(&hard("$0.02/month")), ..Setup::default() }).await;
    let usage = json!({ "prompt_tokens": 20, "completion_tokens": 5_000, "total_tokens": 5_020 });
    let message = json!({ "role": "assistant", "content": "much more than was asked for" });
    let answer = json!({ "id": "c1", "object": "chat.completion", "model": "gpt-4o-2024-08-06", "usage": usage,
        "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] });
    let mut canned = Canned::new(200, "application/json", answer.to_string());
    canned.bill = Some(BillLine {
        model: "gpt-4o-2024-08-06".to_owned(),
        input_tokens: 20,
        output_tokens: 5_000,
        status: 200,
        billed: true,
        finished: true,
        ..BillLine::default()
    });
    rig.provider.enqueue(canned);
    let mut log = Log::default();
    let reply = rig.chat("globex", "a", &ask(100, "")).await;
    log.reply(&reply);
    let row = rig.rows(reply.header("plimsoll-request-id")).await.remove(0);
    assert_eq!((row["cost_nano_usd"].as_u64(), &row["basis"]), (Some(log.nano()), &json!("exact")), "{row}");
    assert!(log.nano() > 50_000_000, "the case is none: a hundred tokens were held");
    assert_eq!(used(&rig, "globex", "all").await, log.nano());
    assert_eq!(reason(&rig.chat("globex", "a", &ask(1, "")).await), "budget_blocked");
    // Half of the debt is not enough room; what is above it is.
    apply(&rig, &hard("$0.05/month")).await;
    assert_eq!(reason(&rig.chat("globex", "a", &ask(1, "")).await), "budget_blocked");
    apply(&rig, &hard("$0.06/month")).await;
    log.reply(&rig.chat("globex", "a", &ask(1, "")).await);
    three_figures(&rig, &log).await;
    rig.stop().await;
}
