//! `plimsoll explain`: a call that nobody made, a request of the ledger, a tenant.

use std::sync::Arc;
use std::time::Duration;

use plimsoll::domain::clock::{Clock, ManualClock, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::{Folder, Ran, root, run};
use crate::harness::{Rig, Setup};

const POLICY: &str = "version: 1
mode: enforce
plans: { growth: { llm_budget: $0.02/month } }
endpoints: { digest.*: { critical: false } }
routes: { cheaper: { gpt-4o: gpt-4o-mini } }
budgets:
  tenant_month: { per: [tenantId], limit: plan.llm_budget, escalation: standard }
  everybody: { limit: $1/day, escalation: { warning: { at: 1%, notify: [log] } } }
  digests: { mode: dry_run, per: [tenantId], match: { endpointTag: digest.* }, limit: 10 requests/day, escalation: { contain: { at: 10%, block: all } } }
  agents: { per: [tenantId, userId], match: { endpointTag: agent.* }, limit: $1/day, escalation: standard }
escalations:
  standard:
    warning: { at: 20%, notify: [log] }
    contain: { at: 40%, cap_output_tokens: 600 }
    degrade: { at: 90%, route: { non_critical: cheaper } }
";

const TENANTS: &str = "tenantId,plan,account_owner\nglobex,growth,dana@example.com\n";

#[test]
fn a_call_that_nobody_made_is_explained_by_files_alone() {
    let question = r#"{"tenantId":"globex","endpointTag":"digest.weekly","promptVersion":"digest_v7","model":"gpt-4o",
        "max_tokens":4000,"at":"2026-11-25 10:14","used":{"tenant_month":"112%","digest_quota":"41%"}}"#;
    let ran = run(&root(), &["explain", "--request", question, "--ledger", "no.db"]);
    assert_eq!((ran.code, ran.note.as_str()), (0, ""));
    let text = ran
        .out
        .split_once("   policy ")
        .map(|(head, rest)| format!("{head}\n{}", rest.split_once('\n').expect("lines").1));
    insta::assert_snapshot!(text.expect("a revision"), @r"
    globex · digest.weekly · digest_v7 · real/prod · 2026-11-25T10:14:00+01:00
    asked gpt-4o, max_tokens 4000   served gpt-4o-mini, max_tokens 600

      counted in    used  step     asks for                                                                           result
      digest_quota  41%   ok       —                                                                                  —                                        realistic.yaml:32
      tenant_month  112%  degrade  cap 600 output tokens; 20 requests/min on non_critical; → cheaper on non_critical  cap 600, 20 requests/min, → gpt-4o-mini  realistic.yaml:57
      agent_tokens  –     —        endpointTag is digest.weekly, not agent.*                                          not counted                              realistic.yaml:45
      non_billable  –     —        dataMode is real, not demo or test                                                 not counted                              realistic.yaml:41
      starter_pool  –     —        plan is growth, not starter                                                        not counted                              realistic.yaml:37
      exceptions  none for globex
      floors      digest.weekly is non_critical: every step may act on it (realistic.yaml:19)
    ");
}

#[test]
fn exceptions_plans_and_dry_runs_are_part_of_the_account() {
    let folder = Folder::of(&[
        (
            "policies/policy.yaml",
            &POLICY.replace("llm_budget: $0.02/month", "llm_budget: $10/month, cap_output_tokens: 500"),
        ),
        (
            "policies/exceptions.yaml",
            "exceptions:\n  - { tenantId: globex, budget: tenant_month, never: [route], reason: pilot, approved_by: dana, expires: 2027-01-31 }\n",
        ),
        ("policies/tenants.csv", TENANTS),
    ]);
    let question = "{ tenantId: globex, endpointTag: digest.x, model: gpt-4o, at: 2026-11-25, used: { tenant_month: 100%, digests: 10% } }";
    let ran = folder.run(&["explain", "--request", question, "-o", "json"]);
    let found: Value = serde_json::from_str(&ran.out).expect("one JSON object");
    let account = &found["account"];
    assert_eq!(account["budgets"][0]["rule"], "digests", "{account}");
    assert_eq!((&account["budgets"][0]["dry_run"], &account["budgets"][0]["result"]), (&json!(true), &json!("block")));
    assert_eq!((&account["budgets"][2]["step"], &account["budgets"][2]["result"]), (&json!("degrade"), &json!("")));
    assert_eq!(account["always"][0]["rule"], "plans.growth");
    assert_eq!(account["always"][0]["result"], "cap 500");
    assert_eq!(account["exceptions"][0]["written"], json!({"file": "exceptions.yaml", "line": 2}));
    assert_eq!(account["floor"]["written"], json!({"file": "policy.yaml", "line": 4}));
}

#[test]
fn a_wrong_question_is_shown_with_its_place_and_what_is_missing_is_named() {
    let folder = Folder::of(&[("policies/policy.yaml", POLICY)]);
    let ran = folder.run(&["explain", "--request", "{ tenantId: globex, model: gpt-4o, maxtokens: 3 }"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.note.contains("error[E104]: unknown key `maxtokens`") && ran.note.contains("--> --request:1:36"),
        "{}",
        ran.note
    );
    assert!(ran.note.contains("did you mean `max_tokens`?"), "{}", ran.note);
    for (arguments, says) in [
        (&["explain", "tenant"][..], "which tenant?"),
        (&["explain", "req_1"], "there is no ledger here"),
        (&["explain", "req_1", "more"], "`more` is one word too many"),
        (&["explain", "req_1", "--url", "http://127.0.0.1:9"], "cannot be asked"),
        (&["explain", "req_1", "--url", "http://example.com"], "does not go to `example.com` in plain text"),
    ] {
        let Ran { code, note, .. } = folder.run(arguments);
        assert_eq!(code, 2, "{arguments:?}");
        assert!(note.contains(says), "{arguments:?}: {note}");
    }
}

/// A gateway whose tenant has spent half of its allowance, and the id of its last call.
async fn busy() -> (Rig, String) {
    let rig = Rig::start(Setup { policy: Some(POLICY), tenants: Some(TENANTS), ..Setup::default() }).await;
    let id = spend_two_cents(&rig).await;
    (rig, id)
}

/// The id of the second of two calls.
async fn spend_two_cents(rig: &Rig) -> String {
    // A thousand output tokens of `gpt-4o` cost one cent.
    let body = json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": "[[tokens=1000]]" }] });
    let mut id = String::new();
    for _ in 0..2 {
        id = rig.chat("globex", "digest.weekly", &body).await.header("plimsoll-request-id").to_owned();
        rig.rows(&id).await;
    }
    id
}

// Mutation: in `Vantage::usage` take the window that holds the present, which is one bucket of sixty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_budget_stands_where_all_of_its_window_puts_it_live_and_by_files() {
    let half_an_hour = Duration::from_mins(30);
    let now = SystemClock.now();
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(now.micros() - 1_800_000_000)));
    let policy = "version: 1\nmode: enforce\nbudgets:\n  burst: { per: [tenantId], limit: $0.04/rolling 1 hour, escalation: e }\n\
                  escalations: { e: { warning: { at: 10%, notify: [log] } } }\n";
    let tenants = Some("tenantId\nglobex\n");
    let setup =
        Setup { policy: Some(policy), tenants, clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Setup::default() };
    let rig = Rig::start(setup).await;
    spend_two_cents(&rig).await;
    clock.advance(half_an_hour);
    let url = format!("http://{}", rig.node.admin_address());
    for place in [&[][..], &["--url", url.as_str()]] {
        let ran = run(rig.folder.path(), &[&["explain", "tenant", "globex"], place].concat());
        assert!(ran.out.contains("burst       50%   warning"), "{place:?}\n{}{}", ran.out, ran.note);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_a_running_gateway_is_explained_as_its_counters_stood() {
    let (rig, id) = busy().await;
    let url = format!("http://{}", rig.node.admin_address());
    let ran = run(rig.folder.path(), &["explain", &id, "--url", &url]);
    assert_eq!(ran.code, 0, "{}", ran.note);
    let there = ran.out.clone();
    for says in [
        "globex · digest.weekly · real/prod · ",
        "tenant_month  5",
        "contain  cap 600 output tokens",
        "everybody     1%",
        "dry run, would: block",
        "agents        –     —        endpointTag is digest.weekly, not agent.*",
        "recorded: cap=600, step=contain, budget=\"tenant_month\"",
    ] {
        assert!(there.contains(says), "{says} in\n{there}");
    }
    // The same from the ledger's file, beside the running gateway.
    let here = run(rig.folder.path(), &["explain", &id]);
    assert_eq!(here.code, 0, "{}", here.note);
    let table = |text: &str| text.lines().skip(1).take(9).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(table(&here.out), table(&there));
    let unknown = run(rig.folder.path(), &["explain", "req_unknown", "--url", &url]);
    assert_eq!((unknown.code, unknown.note.contains("there is no `req_unknown`")), (1, true), "{}", unknown.note);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_and_a_hypothetical_call_are_measured_with_the_live_counters() {
    let (rig, _) = busy().await;
    let url = format!("http://{}", rig.node.admin_address());
    let tenant = run(rig.folder.path(), &["explain", "tenant", "globex", "--url", &url]);
    assert_eq!(tenant.code, 0, "{}", tenant.note);
    for says in [
        "globex · growth · owner dana@example.com   policy r1 ",
        "digests       20%   contain  block all requests",
        "next: degrade at 90%, gpt-4o → gpt-4o-mini on non_critical",
        "agents has a counter per tenantId, userId: explain a request to see one",
    ] {
        assert!(tenant.out.contains(says), "{says} in\n{}", tenant.out);
    }
    let here = run(rig.folder.path(), &["explain", "tenant", "globex"]);
    let table = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(table(&here.out), table(&tenant.out), "{}", here.note);
    let question = "{ tenantId: globex, endpointTag: digest.x, model: gpt-4o, used: { everybody: 0% } }";
    let call = run(rig.folder.path(), &["explain", "--request", question, "--url", &url]);
    for says in ["everybody     0%    ok", "digests       20%   contain", "served gpt-4o, max_tokens 600"] {
        assert!(call.out.contains(says), "{says} in\n{}{}", call.out, call.note);
    }
    assert_eq!(run(rig.folder.path(), &["explain", "tenant", "nobody", "--url", &url]).code, 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_because_nobody_answered_is_explained_by_the_step_that_asked() {
    let ladder = "    decide: { at: 30%, ask: account_owner, within: 1 s, otherwise: { block: non_critical } }\n";
    let policy = POLICY.split("    warning: { at: 20%").next().expect("a head").to_owned() + ladder;
    let rig = Rig::start(Setup { policy: Some(&policy), tenants: Some(TENANTS), ..Setup::default() }).await;
    let body = json!({ "model": "gpt-4o", "messages": [{ "role": "user", "content": "[[tokens=1000]]" }] });
    let mut replies = Vec::new();
    for pause in [0, 0, 1_200] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let reply = rig.chat("globex", "digest.weekly", &body).await;
        rig.rows(reply.header("plimsoll-request-id")).await;
        replies.push(reply);
    }
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status.as_u16()).collect();
    assert_eq!(statuses, [200, 200, 429]);
    let url = format!("http://{}", rig.node.admin_address());
    let (passed, refused) = (replies[1].header("plimsoll-request-id"), replies[2].header("plimsoll-request-id"));
    for more in [&["--url", &url][..], &[]] {
        let explain = |id: &str| run(rig.folder.path(), &[&["explain", id], more].concat()).out;
        let row = |text: &str| text.lines().find(|line| line.starts_with("  tenant_month")).expect("a row").to_owned();
        let text = explain(refused);
        assert!(row(&text).contains("block non_critical requests  block "), "{text}");
        assert!(text.contains("refused with 429") && text.contains("recorded: block, step=decide"), "{text}");
        let text = explain(passed);
        assert!(row(&text).contains("block non_critical requests  — "), "{text}");
    }
    rig.stop().await;
}
