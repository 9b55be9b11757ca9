//! What a plan must not overlook: every change of the language's keys is a difference.

use plimsoll::policy::difference::Differences;

use super::policy;

pub(super) const WHOLE: &str = "version: 1
mode: enforce
currency: EUR
timezone: Europe/Berlin
exchange: { EUR: 1.08 USD }
defaults:
  plan: growth
  on_missing_tenant: reject
  on_unpriced_model: reject
  on_no_fit: reject
  on_ledger_unavailable: { allow: all, alert: oncall }
  expose_to_clients: { budget: percent, cost: never }
plans:
  starter: { llm_budget: 12 EUR/month }
  growth: { llm_budget: 150 EUR/month, target_margin: 70%, cap_output_tokens: 900, upgrade_url: \"https://a.example\", message: words }
segments:
  rag: { cap_output_tokens: 500, route: cheaper, limits: { max_tool_output_tokens: 8000 }, watch: { tool_output_tokens: above 4000, steps: above 12, avgInputTokens: above 6000, retrieval.k: above 13 } }
  stakes: { never: [throttle, block], flagship: { allow: [gpt-4o], promptVersion: [v7, v8] }, otherwise: { route: cheaper } }
endpoints:
  digest.*: { critical: false, planned_cost: 0.02 EUR/request, owner: team-growth }
routes:
  cheaper: { gpt-4o: [gpt-4o-mini, { model: gpt-4o, service_tier: flex }] }
budgets:
  company: { limit: 60000 EUR/month, escalation: watch }
  tenant: { per: [tenantId], within: company, limit: plan.llm_budget, grace: 30%, review_by: 2026-12-15, escalation: standard }
  burst: { per: [tenantId], match: { endpointTag: digest.*, not: { plan: starter } }, limit: 5 EUR/rolling 1 hour, escalation: smooth }
escalations:
  standard:
    warning: { at: 80%, notify: [account_owner] }
    spend_alert: { at: forecast 110%, notify: [finance] }
    contain: { at: 100%, cap_output_tokens: { all: 800, reasoning_models: 4000 }, throttle: { non_critical: 20 requests/min } }
    degrade: { at: 110%, route: { non_critical: cheaper }, rollout: 25% of tenants }
    decide: { at: 125%, ask: account_owner, choices: [approve_overrun, upsell], within: 2 days, otherwise: { block: non_critical } }
  smooth:
    contain: { at: 100%, throttle: { all: 60 requests/min, queue: 3 s }, status: 402, message: slowly }
  watch:
    warning: { at: 90%, notify: [finance] }
exceptions:
  - tenantId: globex
    budget: tenant
    escalation: watch
    never: [route]
    reason: partner
    approved_by: [dana@example.com]
    ticket: FIN-501
    expires: 2027-02-28
    when_expired: { notify: [finance], before: 14 days }
";

/// One edit per key, each a legal policy.
const EDITS: [(&str, &str); 49] = [
    ("mode: enforce", "mode: dry_run"),
    ("timezone: Europe/Berlin", "timezone: UTC"),
    ("1.08 USD", "1.09 USD"),
    ("  on_missing_tenant: reject\n", ""),
    ("  on_unpriced_model: reject\n", ""),
    ("  on_no_fit: reject\n", ""),
    ("allow: all, alert: oncall", "allow: none, alert: oncall"),
    ("alert: oncall", "alert: finance"),
    ("budget: percent", "budget: never"),
    ("150 EUR/month", "151 EUR/month"),
    ("target_margin: 70%", "target_margin: 71%"),
    ("cap_output_tokens: 900", "cap_output_tokens: 901"),
    ("https://a.example", "https://b.example"),
    ("message: words", "message: others"),
    ("cap_output_tokens: 500", "cap_output_tokens: 501"),
    ("max_tool_output_tokens: 8000", "max_tool_output_tokens: 8001"),
    ("above 4000", "above 4001"),
    ("above 12", "above 11"),
    ("above 6000", "above 6001"),
    ("retrieval.k: above 13", "retrieval.j: above 13"),
    ("never: [throttle, block]", "never: [throttle]"),
    ("allow: [gpt-4o]", "allow: [gpt-4o, o3]"),
    ("[v7, v8]", "[v7]"),
    ("critical: false", "critical: true"),
    ("0.02 EUR/request", "0.03 EUR/request"),
    ("owner: team-growth", "owner: team-other"),
    ("service_tier: flex", "service_tier: default"),
    ("[gpt-4o-mini, { model: gpt-4o, service_tier: flex }]", "[{ model: gpt-4o, service_tier: flex }, gpt-4o-mini]"),
    ("60000 EUR/month", "60001 EUR/month"),
    (" within: company,", ""),
    (" grace: 30%,", ""),
    ("review_by: 2026-12-15", "review_by: 2026-12-16"),
    ("rolling 1 hour", "rolling 2 hours"),
    (", not: { plan: starter }", ""),
    ("at: 80%", "at: 81%"),
    ("forecast 110%", "forecast 111%"),
    ("all: 800", "all: 801"),
    ("reasoning_models: 4000", "reasoning_models: 4001"),
    ("20 requests/min", "21 requests/min"),
    ("25% of tenants", "26% of tenants"),
    ("choices: [approve_overrun, upsell]", "choices: [upsell]"),
    ("within: 2 days", "within: 3 days"),
    ("otherwise: { block: non_critical }", "otherwise: { block: all }"),
    ("queue: 3 s", "queue: 2 s"),
    ("status: 402", "status: 403"),
    ("message: slowly", "message: slower"),
    ("ticket: FIN-501", "ticket: FIN-502"),
    ("before: 14 days", "before: 15 days"),
    ("notify: [finance], before", "notify: [oncall], before"),
];

// Mutation: leave any field out of `src/policy/difference/describe.rs`.
#[test]
fn an_edit_of_any_key_is_a_difference() {
    let old = policy(WHOLE);
    assert_eq!(Differences::between(&old, &policy(WHOLE)).rules, [], "the same text is the same policy");
    let overlooked: Vec<&str> = EDITS
        .into_iter()
        .filter(|(from, to)| {
            assert!(WHOLE.contains(from), "{from}");
            Differences::between(&old, &policy(&WHOLE.replacen(from, to, 1))).rules.is_empty()
        })
        .map(|(from, _)| from)
        .collect();
    assert!(overlooked.is_empty(), "a plan does not see a change of {overlooked:?}");
}
