//! One tenant walks the whole ladder, from ok to block, while the policy file is edited on the way. Wire, headers, ledger,
//! metrics and webhook are checked at each step.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use plimsoll::domain::clock::{Clock, ManualClock, Timestamp};
use plimsoll::sim::Script;
use serde_json::{Value, json};

use crate::harness::{Receiver, Reply, Rig, Setup};

const POLICY: &str = r"
version: 1
mode: enforce
timezone: Europe/Berlin
plans:
  growth: { llm_budget: $1/month }
endpoints:
  checkout.*: { critical: true }
  digest.*: { critical: false }
routes:
  cheaper: { gpt-4o: gpt-4o-mini }
budgets:
  tenant_month: { per: [tenantId], limit: plan.llm_budget, escalation: standard }
escalations:
  standard:
    warning: { at: 80%, notify: [oncall] }
    contain: { at: 100%, cap_output_tokens: 600, throttle: { non_critical: 3 requests/min } }
    degrade: { at: 110%, route: { non_critical: cheaper } }
    decide:  { at: 125%, ask: account_owner, within: 2 days, otherwise: { block: non_critical } }
";

const TENANTS: &str = "tenantId,name,plan,segment,account_owner,revenue,upgrade_url\n\
    globex,Globex GmbH,growth,,dana@example.com,199/month,https://app.example.com/upgrade\n";

fn noon() -> Timestamp {
    Timestamp::from_jiff("2026-11-10T11:00:00Z".parse().expect("a moment"))
}

/// A chat call whose answer has `tokens` output tokens. With gpt-4o a thousand of them are one cent.
fn ask(tokens: u64) -> Value {
    json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": format!("[[tokens={tokens}]] hello") }] })
}

/// Spends about `cents` on a critical endpoint, and waits until it is posted.
async fn spend(rig: &Rig, cents: u64) -> Reply {
    rig.chat("globex", "checkout.summary", &ask(cents * 1_000)).await
}

async fn used_percent(rig: &Rig) -> u64 {
    let tenant = rig.admin("/api/v1/tenants/globex").await.json();
    tenant["budgets"][0]["used_percent"].as_u64().unwrap_or(0)
}

/// Sets what is used by spending up to a share of the dollar; answers are uncapped until 100 %.
async fn spend_to(rig: &Rig, percent: u64) {
    for _ in 0..400 {
        let used = used_percent(rig).await;
        if used >= percent {
            return;
        }
        spend(rig, (percent - used).clamp(1, 14)).await;
    }
    panic!("the tenant never reached {percent} %");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "one walk up one ladder reads best from top to bottom")]
async fn a_tenant_climbs_from_ok_to_block() {
    let receiver = Receiver::start().await;
    let clock = Arc::new(ManualClock::at(noon()));
    let config = format!(
        "notify:\n  oncall: {{ webhook: \"{}\", secret: \"a-webhook-secret\" }}\n  default: {{ webhook: \"{}\", secret: \"a-webhook-secret\" }}\n",
        receiver.url(),
        receiver.url()
    );
    let rig = Rig::start(Setup {
        policy: Some(POLICY),
        tenants: Some(TENANTS),
        config: &config,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        script: Script::default(),
        ..Setup::default()
    })
    .await;

    // ok: nothing is touched.
    let reply = spend(&rig, 1).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    assert_eq!(reply.header("plimsoll-decision"), "");
    assert!(
        reply.header("plimsoll-budget").starts_with("\"tenant_month\";state=ok;used=0;t="),
        "{}",
        reply.header("plimsoll-budget")
    );

    // warning: told, not touched.
    spend_to(&rig, 80).await;
    let reply = rig.chat("globex", "digest.weekly", &ask(10)).await;
    assert_eq!(reply.header("plimsoll-decision"), "");
    assert!(reply.header("plimsoll-budget").contains("state=warning"), "{}", reply.header("plimsoll-budget"));
    let warning = receiver.wait_for("budget.warning").await;
    assert_eq!(warning["data"]["tenant"]["tenantId"], "globex");
    assert_eq!(warning["data"]["budget"]["limit"]["amount"], "1.00");

    // contain: answers are capped everywhere, digests are slowed down.
    spend_to(&rig, 100).await;
    let reply = spend(&rig, 2).await;
    assert!(reply.header("plimsoll-decision").contains("cap=600"), "{}", reply.header("plimsoll-decision"));
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "length");
    assert_eq!(reply.json()["usage"]["completion_tokens"], 600);
    receiver.wait_for("budget.exceeded").await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(rig.chat("globex", "digest.weekly", &ask(1)).await);
    }
    let throttled = statuses.last().expect("four answers");
    assert_eq!(throttled.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(throttled.json()["error"]["code"], "rate_limit_exceeded");
    let wait: u64 = throttled.header("retry-after").parse().expect("whole seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(
        throttled.header("plimsoll-decision").contains("throttle=\"refused\""),
        "{}",
        throttled.header("plimsoll-decision")
    );

    // degrade: digests get the cheaper model, checkout does not.
    spend_to(&rig, 110).await;
    clock.advance(Duration::from_mins(3));
    let reply = rig.chat("globex", "digest.weekly", &ask(2_000)).await;
    assert_eq!(reply.header("plimsoll-model-requested"), "gpt-4o");
    assert_eq!(reply.header("plimsoll-model-served"), "gpt-4o-mini");
    assert!(reply.header("plimsoll-decision").contains("step=degrade"), "{}", reply.header("plimsoll-decision"));
    assert!(reply.json()["model"].as_str().is_some_and(|model| model.starts_with("gpt-4o-mini")));
    let reply = spend(&rig, 1).await;
    assert_eq!(reply.header("plimsoll-model-served"), "gpt-4o");

    // decide: asked, and nothing more happens before the deadline.
    spend_to(&rig, 125).await;
    let asked = receiver.wait_for("decision.requested").await;
    assert_eq!(asked["data"]["transition"]["step"], "decide");
    clock.advance(Duration::from_mins(3));
    assert_eq!(rig.chat("globex", "digest.weekly", &ask(1)).await.status, StatusCode::OK);

    // After two days the default is in force: digests stop, checkout goes on.
    clock.advance(Duration::from_hours(48));
    let reply = rig.chat("globex", "digest.weekly", &ask(1)).await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(reply.header("x-should-retry"), "false");
    assert_eq!(reply.header("retry-after"), "");
    assert_eq!(reply.json()["error"]["code"], "insufficient_quota");
    assert_eq!(reply.json()["error"]["plimsoll"]["reason"], "budget_blocked");
    let rows = rig.rows(reply.header("plimsoll-request-id")).await;
    assert_eq!(rows[0]["ending"], "refused");
    assert!(rows[0]["decision"].as_str().is_some_and(|decision| decision.contains("block")));
    assert_eq!(spend(&rig, 1).await.status, StatusCode::OK);

    // An edit raises the budget: in force within a second, and the usage is kept.
    fs::write(rig.policy_file(), POLICY.replace("$1/month", "$10/month")).expect("a policy");
    let changed = async {
        while !rig.chat("globex", "digest.weekly", &ask(1)).await.header("plimsoll-policy").starts_with("r2") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), changed).await.expect("the edit is in force within a second");
    let reply = rig.chat("globex", "digest.weekly", &ask(1)).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.header("plimsoll-budget").contains("state=ok;used=1"), "{}", reply.header("plimsoll-budget"));

    // A bad edit changes nothing and is shown.
    fs::write(rig.policy_file(), POLICY.replace("limit: plan", "limits: plan")).expect("a policy");
    tokio::time::sleep(Duration::from_millis(700)).await;
    let policy = rig.admin("/api/v1/policy").await.json();
    assert_eq!(policy["last_reload"]["ok"], false);
    assert!(policy["last_reload"]["diagnostics"].to_string().contains("E104"), "{policy}");
    assert!(policy["revision"].as_str().is_some_and(|revision| revision.starts_with("r2 ")));
    let metrics = rig.admin("/metrics").await.text();
    assert!(metrics.contains("plimsoll_policy_last_reload_successful 0"), "{metrics}");

    // Every step was announced once; the books agree with the provider's own.
    let kinds = receiver.kinds();
    for kind in ["budget.warning", "budget.exceeded", "decision.requested"] {
        assert_eq!(kinds.iter().filter(|seen| *seen == kind).count(), 1, "{kinds:?}");
    }
    let totals = rig.provider.totals();
    let spend = rig.admin("/api/v1/spend?by=tenantId").await.json();
    assert_eq!(spend["rows"][0]["input_tokens"], totals.input_tokens);
    assert_eq!(spend["rows"][0]["output_tokens"], totals.output_tokens);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exception_ends_on_its_date() {
    let policy = format!(
        "{POLICY}exceptions:\n  - {{ tenantId: globex, budget: tenant_month, never: [cap_output_tokens], reason: renewal, approved_by: dana, \
         expires: 2026-11-12 }}\n"
    );
    let clock = Arc::new(ManualClock::at(noon()));
    let rig = Rig::start(Setup {
        policy: Some(&policy),
        tenants: Some(TENANTS),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..Setup::default()
    })
    .await;
    spend_to(&rig, 100).await;
    let decision = |reply: Reply| reply.header("plimsoll-decision").to_owned();
    assert_eq!(decision(spend(&rig, 1).await), "");
    // The last moment of the day in Berlin, and the first after it.
    clock.set(Timestamp::from_jiff("2026-11-12T22:59:59Z".parse().expect("a moment")));
    assert_eq!(decision(spend(&rig, 1).await), "");
    clock.set(Timestamp::from_jiff("2026-11-12T23:00:00Z".parse().expect("a moment")));
    assert!(decision(spend(&rig, 1).await).contains("cap=600"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_survive_a_restart() {
    let rig = Rig::start(Setup { policy: Some(POLICY), tenants: Some(TENANTS), ..Setup::default() }).await;
    spend_to(&rig, 30).await;
    let before = rig.admin("/api/v1/tenants/globex").await.json();
    let rig = rig.restart(Arc::new(plimsoll::domain::clock::SystemClock)).await;
    let after = rig.admin("/api/v1/tenants/globex").await.json();
    assert_eq!(before["budgets"][0]["used"], after["budgets"][0]["used"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_hard_budget_is_never_overshot_by_racing_calls() {
    let policy = "version: 1\nmode: enforce\nbudgets:\n  all: { per: [tenantId], limit: $0.05/month, escalation: stop }\nescalations:\n  stop: { contain: { at: 100%, block: all } }\n";
    let rig = Arc::new(Rig::start(Setup { policy: Some(policy), ..Setup::default() }).await);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let rig = Arc::clone(&rig);
        calls.spawn(async move {
            let mut body = ask(1_000);
            body["max_tokens"] = json!(1_000);
            rig.chat("globex", "digest.weekly", &body).await.status
        });
    }
    let statuses = calls.join_all().await;
    let passed = statuses.iter().filter(|status| **status == StatusCode::OK).count();
    // One call costs a cent and a little; the last ones are clamped to what is left.
    assert!((4..=12).contains(&passed), "{passed} of 200 passed");
    let mut spend = Value::Null;
    for _ in 0..100 {
        spend = rig.admin("/api/v1/spend").await.json();
        if spend["rows"][0]["attempts"] == passed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(spend["rows"][0]["attempts"], passed);
    assert!(spend["rows"][0]["cost_nano_usd"].as_i64().is_some_and(|nano| nano <= 50_000_000), "{spend}");
    assert_eq!(rig.provider.requests().len(), passed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dry_run_says_what_it_would_do_and_does_nothing() {
    let policy = POLICY.replace("mode: enforce", "mode: dry_run");
    let rig = Rig::start(Setup { policy: Some(&policy), tenants: Some(TENANTS), ..Setup::default() }).await;
    spend_to(&rig, 112).await;
    let reply = rig.chat("globex", "digest.weekly", &ask(2_000)).await;
    assert_eq!(reply.header("plimsoll-decision"), "");
    assert!(reply.header("plimsoll-would").contains("route=\"gpt-4o-mini\""), "{}", reply.header("plimsoll-would"));
    assert_eq!(reply.json()["usage"]["completion_tokens"], 2_000);
    let sent = rig.provider.requests();
    assert_eq!(sent.last().map(|seen| seen.body.clone()), Some(ask(2_000).to_string().into()));
    rig.stop().await;
}

// Mutations: `restore_steps` leaves out decisions; the deadline counts from the restart; each call opens a decision of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_is_opened_once_in_a_window_and_its_deadline_survives_a_restart() {
    let receiver = Receiver::start().await;
    let config = format!("notify:\n  default: {{ webhook: \"{}\", secret: \"a-webhook-secret\" }}\n", receiver.url());
    let clock = Arc::new(ManualClock::at(noon()));
    let policy = POLICY.replace("oncall", "log").replace(
        "otherwise: { block: non_critical }",
        "choices: [approve_overrun, enforce_quota, upsell], otherwise: { block: non_critical }, status: 402, message: Ask your owner.",
    );
    let rig = Rig::start(Setup {
        policy: Some(&policy),
        tenants: Some(TENANTS),
        config: &config,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..Setup::default()
    })
    .await;
    spend_to(&rig, 125).await;
    receiver.wait_for("decision.requested").await;
    let digest = async |rig: &Rig| {
        clock.advance(Duration::from_mins(1));
        rig.chat("globex", "digest.weekly", &ask(1)).await
    };
    clock.advance(Duration::from_hours(30));
    assert_eq!(digest(&rig).await.status, StatusCode::OK, "there is time to answer");
    let rig = rig.restart(Arc::clone(&clock) as Arc<dyn Clock>).await;
    clock.advance(Duration::from_hours(17));
    assert_eq!(digest(&rig).await.status, StatusCode::OK);
    // Two days after it was asked, and not after the restart; an edit of the policy changes nothing about that.
    clock.advance(Duration::from_hours(1));
    let blocked = digest(&rig).await;
    assert_eq!(blocked.status, StatusCode::PAYMENT_REQUIRED, "{}", blocked.text());
    let message = blocked.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("Ask your owner."), "{message}");
    fs::write(rig.policy_file(), policy.replace("at: 125%", "at: 120%")).expect("a policy");
    rig.node.reload();
    assert_eq!(digest(&rig).await.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(spend(&rig, 1).await.status, StatusCode::OK, "a critical endpoint goes on");
    let asked = receiver.kinds().iter().filter(|kind| *kind == "decision.requested").count();
    assert_eq!(asked, 1, "one decision per tenant and window");
    // The next window begins with nothing decided.
    clock.set(Timestamp::from_jiff("2026-12-01T11:00:00Z".parse().expect("a moment")));
    assert_eq!(digest(&rig).await.status, StatusCode::OK);
    rig.stop().await;
}

// Mutations: grace moves every step; grace is added to the step's own threshold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grace_puts_off_refusals_and_nothing_else() {
    let policy = "version: 1
mode: enforce
budgets:
  month:
    per: [tenantId]
    limit: $0.10/month
    grace: 20%
    escalation: { contain: { at: 50%, cap_output_tokens: 2000, block: non_critical }, degrade: { at: 100%, cap_output_tokens: 1000 } }
endpoints: { digest.*: { critical: false } }
";
    let clock = Arc::new(ManualClock::at(noon()));
    let rig = Rig::start(Setup {
        policy: Some(policy),
        tenants: Some("tenantId\nglobex\n"),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..Setup::default()
    })
    .await;
    for (percent, status, decision) in
        [(60, StatusCode::OK, ""), (102, StatusCode::OK, "cap=1000"), (120, StatusCode::TOO_MANY_REQUESTS, "block")]
    {
        for _ in 0..100 {
            let used = used_percent(&rig).await;
            if used >= percent {
                break;
            }
            rig.chat("globex", "checkout", &ask((percent - used).clamp(1, 5) * 100)).await;
        }
        let reply = rig.chat("globex", "digest.weekly", &ask(1)).await;
        assert_eq!(reply.status, status, "{percent}");
        assert!(
            reply.header("plimsoll-decision").contains(decision),
            "{percent}: {}",
            reply.header("plimsoll-decision")
        );
    }
    rig.stop().await;
}
