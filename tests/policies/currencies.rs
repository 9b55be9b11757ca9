//! Policies that are not written in dollars: what their limits come to, and what they are told when a rate is missing.

use std::sync::Arc;

use plimsoll::domain::money::Money;
use plimsoll::domain::tenant::{Revenue, Tenant, TenantId};
use plimsoll::domain::window::Period;

use super::decisions::{facts, tagged};
use super::{compile_text, policy};

const EUROS: &str = "version: 1
mode: enforce
currency: EUR
exchange: { EUR: 1.08 USD, GBP: $1.3 }
plans: { p: { llm_budget: 12 EUR/month }, q: { llm_budget: $12/month }, r: { llm_budget: 25% of revenue/month } }
endpoints: { contract.*: { planned_cost: 0.180 EUR/workflow } }
budgets:
  company: { limit: 60000 EUR/month, escalation: e }
  day: { limit: $25/day, escalation: e }
  tenant: { per: [tenantId], limit: plan.llm_budget, escalation: e }
  pounds: { per: [tenantId], limit: 10 GBP/week, escalation: e }
escalations: { e: { warning: { at: 80%, notify: [log] } } }
exceptions:
  - { tenantId: friend, budget: pounds, limit: 20 EUR/week, reason: r, approved_by: a, expires: 2027-01-01 }
";

fn tenant(name: &str, plan: &str) -> Tenant {
    let revenue = Some(Revenue { amount: Money::from_nano(200_000_000_000), per: Period::Month });
    let id = TenantId::new(name).expect("an id");
    Tenant { plan: Some(Arc::from(plan)), revenue, ..Tenant::unknown(id) }
}

#[test]
fn limits_of_every_currency_are_counted_in_dollars() {
    let policy = policy(EUROS);
    let attribution = tagged("x");
    let limit = |tenant: &Tenant, budget: &str| {
        let at = policy.budget_named(budget).expect("a budget");
        let counted = policy.counted(&facts(tenant, &attribution));
        let limit = counted.into_iter().find(|counted| counted.budget == at).and_then(|counted| counted.limit);
        limit.map(|limit| Money::from_nano(limit).to_string())
    };
    let (p, q, r) = (tenant("t", "p"), tenant("t", "q"), tenant("t", "r"));
    assert_eq!(limit(&p, "company").as_deref(), Some("$64800.00"));
    assert_eq!(limit(&p, "day").as_deref(), Some("$25.00"), "a dollar stays a dollar");
    assert_eq!(limit(&p, "tenant").as_deref(), Some("$12.96"));
    assert_eq!(limit(&q, "tenant").as_deref(), Some("$12.00"));
    assert_eq!(limit(&r, "tenant").as_deref(), Some("$54.00"), "a quarter of 200 EUR");
    assert_eq!(limit(&p, "pounds").as_deref(), Some("$13.00"));
    assert_eq!(limit(&tenant("friend", "p"), "pounds").as_deref(), Some("$21.60"), "an exception in another currency");
    let planned = policy.endpoint("contract.review").and_then(|endpoint| endpoint.planned_cost);
    assert_eq!(planned.map(|(cost, _)| cost.to_string()).as_deref(), Some("$0.1944"));
}

#[test]
fn a_rate_moves_the_limit_and_not_the_counter() {
    let (one, other) = (policy(EUROS), policy(&EUROS.replace("1.08", "1.17")));
    let attribution = tagged("x");
    let tenant = tenant("t", "p");
    for (one, other) in one.budgets.iter().zip(&other.budgets) {
        assert_eq!(one.identity, other.identity);
    }
    assert_ne!(one.counted(&facts(&tenant, &attribution)), other.counted(&facts(&tenant, &attribution)));
}

#[test]
fn a_revenue_beyond_all_numbers_is_still_a_limit() {
    let policy = policy(&EUROS.replace("25% of", "100000% of"));
    let mut rich = tenant("t", "r");
    rich.revenue = Some(Revenue { amount: Money::from_nano(i64::MAX), per: Period::Minute });
    let attribution = tagged("x");
    let at = policy.budget_named("tenant").expect("a budget");
    let counted = policy.counted(&facts(&rich, &attribution));
    let limit = counted.into_iter().find(|counted| counted.budget == at).and_then(|counted| counted.limit);
    assert_eq!(limit, Some(i64::MAX));
}

#[test]
fn a_missing_rate_is_said_once_where_it_is_missing() {
    let text = "version: 1
mode: enforce
currency: EUR
budgets:
  a: { limit: 20 EUR/day, escalation: e }
  b: { limit: 20 GPB/day, escalation: e }
  c: { limit: 20 CHF/day, escalation: e }
exchange: { GBP: 1.3 USD, USD: 1 USD, franc: 1.2 USD, SEK: about 10 }
escalations: { e: { warning: { at: 80%, notify: [log] } } }
";
    insta::assert_snapshot!(compile_text(text).1, @r"
    error[E126]: there is no exchange rate for `EUR`
     --> policy.yaml:3:11
      |
    3 | currency: EUR
      |           ^^^ worth how many USD?
      = help: add `exchange: { EUR: … USD }` at the top of the policy, with what one EUR is worth

    error[E126]: there is no exchange rate for `GPB`
     --> policy.yaml:6:15
      |
    6 |   b: { limit: 20 GPB/day, escalation: e }
      |               ^^^^^^^^^^ worth how many USD?
      = help: did you mean `GBP`?

    error[E126]: there is no exchange rate for `CHF`
     --> policy.yaml:7:15
      |
    7 |   c: { limit: 20 CHF/day, escalation: e }
      |               ^^^^^^^^^^ worth how many USD?
      = help: add `exchange: { CHF: … USD }` at the top of the policy, with what one CHF is worth

    error[E126]: the dollar needs no rate
     --> policy.yaml:8:27
      |
    8 | exchange: { GBP: 1.3 USD, USD: 1 USD, franc: 1.2 USD, SEK: about 10 }
      |                           ^^^ always 1 USD
      = help: leave it out: the ledger is in USD

    error[E126]: `franc` is not the code of a currency
     --> policy.yaml:8:39
      |
    8 | exchange: { GBP: 1.3 USD, USD: 1 USD, franc: 1.2 USD, SEK: about 10 }
      |                                       ^^^^^
      = help: write three capital letters: `EUR: 1.08 USD`

    error[E122]: `about 10` is not a rate
     --> policy.yaml:8:60
      |
    8 | exchange: { GBP: 1.3 USD, USD: 1 USD, franc: 1.2 USD, SEK: about 10 }
      |                                                            ^^^^^^^^
      = help: write how many dollars one SEK is worth: `1.08 USD`, with at most nine decimals
    ");
}
