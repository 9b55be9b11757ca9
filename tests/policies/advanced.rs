//! The advanced example of the documentation: everything of the language at once. Its plans stand in a file of their own, as
//! it says itself: in practice it is split by owner.

use std::sync::Arc;

use plimsoll::control::oversubscribed;
use plimsoll::diagnostic::{Source, render};
use plimsoll::directory::{Directory, KnownNames};
use plimsoll::domain::attribution::{Attribution, Environment};
use plimsoll::domain::money::Money;
use plimsoll::domain::tenant::{Revenue, Tenant, TenantId};
use plimsoll::domain::window::Period;
use plimsoll::policy::Policy;
use plimsoll::policy::plan::Exposure;

use super::decisions::{facts, tagged};
use super::{compile_all, now};

const ADVANCED: &str = include_str!("../../policies/advanced/advanced.yaml");
const PLANS: &str = include_str!("../../policies/advanced/plans.yaml");
const TENANTS: &str = include_str!("../../policies/advanced/tenants.csv");

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
fn the_whole_example_is_accepted_with_one_warning() {
    let (policy, shown) = compiled(ADVANCED);
    insta::assert_snapshot!(shown, @r#"
    warning[W146]: budget `agent_workflow` blocks by a workflow: this is no exact ceiling
      --> advanced.yaml:58:7
       |
    58 |       contain: { at: 100%, block: all, message: "This run reached its budget. Start a new run or upgrade." }
       |       ^^^^^^^
       = note: a call is refused once the limit is used up; calls in flight then can go beyond it
       = help: for an exact ceiling add a budget of a calendar period with `block: all`
    "#);
    let policy = policy.expect("a policy without errors");
    let source = Source::new("tenants.csv", TENANTS);
    let (plans, segments) = (policy.plan_names(), policy.segment_names());
    let (directory, found) = Directory::parse(&source, Some(KnownNames { plans: &plans, segments: &segments }));
    assert_eq!((directory.iter().count(), render(&found, &[source])), (4, String::new()));
    assert!(oversubscribed(&policy, &directory, now()).is_empty());
}

#[test]
fn the_example_means_what_it_says() {
    let policy = calendar();
    assert!(policy.not_in_force().is_empty());
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
