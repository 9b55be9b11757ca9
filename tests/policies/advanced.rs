//! The advanced example of the documentation: everything of the language at once. Its plans stand in a file of their own, as
//! it says itself: in practice it is split by owner.

use std::sync::Arc;

use plimsoll::diagnostic::{Source, render};
use plimsoll::domain::attribution::{Attribution, Environment};
use plimsoll::domain::money::Money;
use plimsoll::domain::tenant::{Revenue, Tenant, TenantId};
use plimsoll::domain::window::Period;
use plimsoll::policy::Policy;
use plimsoll::policy::plan::Exposure;

use super::compile_all;
use super::decisions::{facts, tagged};

const ADVANCED: &str = include_str!("advanced.yaml");
const PLANS: &str = "plans: { growth: { llm_budget: 140 EUR/month } }\n";

fn compiled(text: &str) -> (Option<Policy>, String) {
    let sources = [Source::new("advanced.yaml", text), Source::new("plans.yaml", PLANS)];
    let compiled = compile_all(&sources);
    (compiled.policy, render(&compiled.diagnostics, &sources))
}

/// The example without rolling windows, budgets per workflow, budgets within others and queues.
fn calendar() -> Policy {
    let mut text: String = ADVANCED
        .lines()
        .filter(|line| !line.contains("within: company_month"))
        .fold(String::new(), |text, line| text + line + "\n");
    for (one, other) in [("rolling 1 hour", "hour"), ("0.80 EUR/workflow", "0.80 EUR/day"), (", queue: 3 s", "")] {
        assert!(text.contains(one), "{one}");
        text = text.replace(one, other);
    }
    let (policy, shown) = compiled(&text);
    assert_eq!(shown, "");
    policy.expect("a policy without errors")
}

fn globex() -> Tenant {
    let revenue = Some(Revenue { amount: Money::from_nano(200_000_000_000), per: Period::Month });
    Tenant { plan: Some(Arc::from("growth")), revenue, ..Tenant::unknown(TenantId::new("globex").expect("an id")) }
}

#[test]
fn only_windows_and_what_belongs_to_them_may_be_refused() {
    let sources = [Source::new("advanced.yaml", ADVANCED), Source::new("plans.yaml", PLANS)];
    let lines: Vec<&str> = ADVANCED.lines().collect();
    for one in compile_all(&sources).diagnostics {
        let line = one.place.as_ref().and_then(|place| lines.get(usize::try_from(place.line).ok()? - 1));
        let line = line.expect("a line of the example");
        let belongs = ["within:", "rolling", "/workflow", "queue:"].iter().any(|word| line.contains(word));
        assert!(belongs && (one.code == "E190" || !one.is_error()), "{}", one.one_line());
    }
}

#[test]
fn the_example_means_what_it_says() {
    let policy = calendar();
    assert_eq!(policy.not_in_force(), ["segments.rag_heavy.watch", "segments.tool_heavy.watch"]);
    let defaults = &policy.defaults;
    assert_eq!(
        (defaults.expose_to_clients.budget, defaults.expose_to_clients.cost),
        (Exposure::Percent, Exposure::Never)
    );
    assert_eq!((defaults.on_ledger_unavailable.refuses, defaults.on_ledger_unavailable.alert.len()), (false, 1));
    assert!(!policy.is_critical("anything.else") && policy.is_critical("contract.review"));
    let (globex, staging) = (globex(), Attribution { environment: Environment::Staging, ..tagged("digest.x") });
    let counted = policy.counted(&facts(&globex, &staging));
    let limits: Vec<String> = counted
        .iter()
        .map(|counted| {
            let limit = counted.limit.map(|limit| Money::from_nano(limit).to_string()).unwrap_or_default();
            format!("{} {limit}", policy.budgets[counted.budget].name)
        })
        .collect();
    assert_eq!(
        limits,
        [
            "company_month $64800.00",
            "growth_tighter $54.00",
            "staging $27.00",
            "tenant_burst $5.40",
            "tenant_month $151.20"
        ]
    );
}

#[test]
fn the_exception_of_the_example_swaps_the_ladder_and_says_when_it_ends() {
    let policy = calendar();
    let exception = &policy.exceptions[0];
    assert_eq!((&*exception.tenant, exception.approved_by.len()), ("globex", 2));
    assert!(exception.ladder.as_ref().is_some_and(|ladder| *ladder.name == *"watch"));
    let rule = exception.when_expired.as_ref().expect("a notice");
    assert_eq!(rule.notify.len(), 2);
    assert_eq!(rule.before.map(|before| before.as_secs() / 86_400), Some(14));
}
