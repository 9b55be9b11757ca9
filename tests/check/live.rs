//! Warnings that need live knowledge: a ledger of the last days beside the policy.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use plimsoll::domain::attribution::Attribution;
use plimsoll::domain::clock::{Clock, SystemClock, Timestamp};
use plimsoll::domain::money::Money;
use plimsoll::domain::usage::Usage;
use plimsoll::ledger::Ledger;
use plimsoll::ledger::entry::LedgerEntry;

use super::{err, folder, out, plimsoll};
use crate::ledger_crash::attempt;

/// Calls of one kind, an hour ago.
struct Calls {
    tag: &'static str,
    model: &'static str,
    number: u64,
    dollars: i64,
    reasoning: u64,
}

const fn calls(tag: &'static str, number: u64, dollars: i64) -> Calls {
    Calls { tag, model: "gpt-4o", number, dollars, reasoning: 0 }
}

fn row(calls: &Calls, id: &str, admitted_at: Timestamp) -> LedgerEntry {
    let (model, output) = (Some(Arc::from(calls.model)), calls.reasoning + 10);
    LedgerEntry {
        admitted_at,
        attribution: Arc::new(Attribution { endpoint_tag: Arc::from(calls.tag), ..Attribution::default() }),
        model_requested: model.clone(),
        model_served: model.clone(),
        model_answered: model,
        usage: Usage { input: Some(10), output: Some(output), reasoning: Some(calls.reasoning), ..Usage::default() },
        cost: Some(Money::from_nano(calls.dollars * 1_000_000_000)),
        price: None,
        ..attempt(id, "globex")
    }
}

fn hours_ago(hours: i64) -> Timestamp {
    Timestamp::from_micros(SystemClock.now().micros() - hours * 3_600_000_000)
}

/// A ledger of such calls, the cost of each group on its first call.
fn ledger(path: &Path, groups: &[Calls], hours: i64) {
    let ledger = Ledger::open(path).expect("a ledger");
    for (group, calls) in groups.iter().enumerate() {
        for number in 0..calls.number {
            let calls = Calls { dollars: if number == 0 { calls.dollars } else { 0 }, ..*calls };
            ledger.permit().expect("a place").send(row(
                &calls,
                &format!("req_{hours}_{group}_{number}"),
                hours_ago(hours),
            ));
        }
    }
    ledger.flush().expect("written rows");
    ledger.close();
}

const POLICY: &str = "version: 1
mode: enforce
endpoints:
  support.*: { critical: true }
  digest.*: { critical: false }
budgets:
  digests:
    per: [tenantId]
    match: { endpointTag: digests.*, provider: openai }
    limit: $20/month
    escalation: { contain: { at: 100%, block: all } }
  contracts:
    per: [tenantId]
    match: { endpointTag: contract.* }
    limit: $20/month
    escalation:
      contain: { at: 100%, cap_output_tokens: 600 }
";

fn traffic() -> [Calls; 5] {
    [
        calls("digest.weekly", 30, 2),
        calls("digest.daily", 12, 1),
        calls("support.reply", 3, 1),
        calls("agent.plan", 2, 4),
        Calls { tag: "contract.review", model: "o3", number: 7, dollars: 2, reasoning: 4_096 },
    ]
}

/// What is said, without the last line, which says how long it took.
fn told(folder: &Path, words: &[&str]) -> String {
    let output = plimsoll(folder, &[&["check"], words].concat());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    err(&output)
}

#[test]
fn a_condition_that_was_never_true_is_named_and_one_that_may_have_been_is_not() {
    let never = [
        "endpointTag.startsWith('digests.')",
        "model == 'o3' && endpointTag != 'contract.review'",
        "provider == 'gemini'",
    ];
    let perhaps = ["endpointTag.startsWith('digest.')", "userId == 'nobody'", "provider == 'openai' || model == ''"];
    for (condition, expected) in never.map(|one| (one, 1)).into_iter().chain(perhaps.map(|one| (one, 0))) {
        let policy = POLICY.replace(
            "match: { endpointTag: digests.*, provider: openai }",
            &format!("match: {{ when: \"{condition}\" }}"),
        );
        let folder = folder(&policy);
        ledger(&folder.path().join("plimsoll.db"), &traffic(), 1);
        let told = told(folder.path(), &[]);
        assert_eq!(
            told.matches("warning[W201]: this condition was never true").count(),
            expected,
            "{condition}\n{told}"
        );
    }
}

#[test]
fn what_calls_really_carry_is_held_against_the_policy() {
    let folder = folder(POLICY);
    ledger(&folder.path().join("plimsoll.db"), &traffic(), 1);
    insta::assert_snapshot!(told(folder.path(), &[]), @r#"
    warning[W201]: this match has never matched a request
     --> policy.yaml:9:27
      |
    9 |     match: { endpointTag: digests.*, provider: openai }
      |                           ^^^^^^^^^ 0 of 5 tags seen in the last 7 days
      = help: did you mean `digest.*`? (2 tags, 42 requests)

    warning[W212]: a cap of 600 can return an empty answer from reasoning models
      --> policy.yaml:17:47
       |
    17 |       contain: { at: 100%, cap_output_tokens: 600 }
       |                                               ^^^ hidden reasoning counts toward the cap
       = note: `contract.review` spent 4 096 tokens on reasoning per request, in 7 requests to `o3`
       = help: cap_output_tokens: { all: 600, reasoning_models: 5000 }

    warning[W175]: plan `growth` is not defined in the policy
     --> tenants.csv:2:20
      |
    2 | globex,Globex GmbH,growth,,dana@example.com,199/month,https://app.example.com/upgrade
      |                    ^^^^^^

    warning[W175]: plan `enterprise` is not defined in the policy
     --> tenants.csv:3:21
      |
    3 | acme-corp,Acme Corp,enterprise,low_volume_high_stakes,lee@example.com,2400/month,
      |                     ^^^^^^^^^^

    warning[W175]: segment `low_volume_high_stakes` is not defined in the policy
     --> tenants.csv:3:32
      |
    3 | acme-corp,Acme Corp,enterprise,low_volume_high_stakes,lee@example.com,2400/month,
      |                                ^^^^^^^^^^^^^^^^^^^^^^

    warning[W175]: plan `starter` is not defined in the policy
     --> tenants.csv:4:17
      |
    4 | soylent,Soylent,starter,high_volume_low_risk,,29/month,https://app.example.com/upgrade
      |                 ^^^^^^^

    warning[W175]: segment `high_volume_low_risk` is not defined in the policy
     --> tenants.csv:4:25
      |
    4 | soylent,Soylent,starter,high_volume_low_risk,,29/month,https://app.example.com/upgrade
      |                         ^^^^^^^^^^^^^^^^^^^^

    warning[W231]: 2 endpointTags are not listed and therefore count as critical
      = help: list them under `endpoints:`, or add `"*": { critical: false }` there
      = tags: agent.plan (40% of spend), contract.review (20% of spend)
    "#);
    assert!(!told(folder.path(), &["--offline"]).contains("W2"));
}

#[test]
fn calls_of_last_month_are_no_live_knowledge() {
    let folder = folder(POLICY);
    ledger(&folder.path().join("old.db"), &traffic(), 24 * 8);
    assert!(!told(folder.path(), &["--ledger", "old.db"]).contains("W2"));
}

#[test]
fn a_ledger_that_is_missing_damaged_or_in_use_is_no_error() {
    let folder = folder(POLICY);
    assert!(!told(folder.path(), &[]).contains("live knowledge"), "none is at hand, and none was asked for");
    let missing = told(folder.path(), &["--ledger", "nowhere.db"]);
    assert!(missing.contains("note: warnings from live knowledge are left out"), "{missing}");
    fs::write(folder.path().join("broken.db"), "not a ledger").expect("a file");
    assert!(told(folder.path(), &["--ledger", "broken.db"]).contains("live knowledge are left out"));
    let path = folder.path().join("plimsoll.db");
    ledger(&path, &traffic(), 1);
    let running = Ledger::open(&path).expect("a ledger that a gateway runs on");
    assert!(told(folder.path(), &[]).contains("warning[W201]"), "read beside a running gateway");
    drop(running);
}

const UNWISE: &str = "version: 1
mode: enforce
plans: { starter: { llm_budget: $12/month }, growth: { llm_budget: $150/month }, enterprise: { llm_budget: $900/month } }
segments: { low_volume_high_stakes: { never: [block] } }
budgets:
  pool:
    match: { plan: [growth, enterprise] }
    limit: $4000/month
    escalation: strict
  everybody:
    limit: $9000/month
    escalation: { warning: { at: 80%, notify: [log] } }
  tests:
    match: { dataMode: [demo, test] }
    limit: $50/day
    escalation: strict
  research:
    per: [tenantId]
    match: { model: o3 }
    limit: $50/day
    escalation: { contain: { at: 100%, cap_output_tokens: { all: 900, non_critical: 400 } } }
escalations:
  strict:
    contain: { at: 100%, block: all }
    degrade: { at: 110%, cap_output_tokens: { all: 200, reasoning_models: 4000 } }
  forgotten:
    contain: { at: 100%, block: all }
";

#[test]
fn advice_needs_no_ledger_where_the_policy_says_enough() {
    let folder = folder(UNWISE);
    insta::assert_snapshot!(told(folder.path(), &[]), @r"
    warning[W221]: one tenant can use up this shared budget for another
     --> policy.yaml:7:5
      |
    7 |     match: { plan: [growth, enterprise] }
      |     ^^^^^ no `per`, and the escalation blocks
      = help: add `per: [tenantId]`, or use an escalation that only notifies

    warning[W212]: a cap of 400 can return an empty answer from reasoning models
      --> policy.yaml:21:85
       |
    21 |     escalation: { contain: { at: 100%, cap_output_tokens: { all: 900, non_critical: 400 } } }
       |                                                                                     ^^^ hidden reasoning counts toward the cap
       = note: `o3` reasons before it answers
       = help: cap_output_tokens: { all: 900, non_critical: 400, reasoning_models: 4000 }

    warning[W222]: `degrade` can never be reached
      --> policy.yaml:25:5
       |
    24 |     contain: { at: 100%, block: all }
       |     ------- refuses every request from 100% on
    25 |     degrade: { at: 110%, cap_output_tokens: { all: 200, reasoning_models: 4000 } }
       |     ^^^^^^^
       = help: begin `degrade` at 100% or less, or delete it

    warning[W223]: no budget uses escalation `forgotten`
      --> policy.yaml:26:3
       |
    26 |   forgotten:
       |   ^^^^^^^^^
       = help: name it in a budget, or delete it

    warning[W175]: segment `high_volume_low_risk` is not defined in the policy
     --> tenants.csv:4:25
      |
    4 | soylent,Soylent,starter,high_volume_low_risk,,29/month,https://app.example.com/upgrade
      |                         ^^^^^^^^^^^^^^^^^^^^
      = defined: low_volume_high_stakes
    ");
}

#[test]
fn an_expired_exception_says_what_is_in_force_again() {
    let policy = "version: 1
mode: enforce
plans: { growth: { llm_budget: $150/month }, enterprise: { llm_budget: 30% of revenue/month }, starter: { llm_budget: $12/month } }
segments: { low_volume_high_stakes: { never: [block] }, high_volume_low_risk: { never: [block] } }
budgets:
  tenant_month: { per: [tenantId], limit: plan.llm_budget, escalation: { warning: { at: 80%, notify: [log] } } }
exceptions:
  - { tenantId: acme-corp, budget: tenant_month, limit: $900/month, reason: r, approved_by: a@example.com, expires: 2026-01-31 }
";
    let folder = folder(policy);
    let told = told(folder.path(), &[]);
    assert!(told.contains("= note: acme-corp is measured against its normal $720/month again\n"), "{told}");
    let output = plimsoll(folder.path(), &["check"]);
    assert!(out(&output).contains("3 tenants covered, 1 warning"), "{}", out(&output));
}
