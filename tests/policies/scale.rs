//! Many tenants, many budgets, many exceptions: the same answers as with few. How long it takes, `cargo bench --bench policy` says.

use std::fmt::Write as _;
use std::sync::Arc;

use plimsoll::diagnostic::Source;
use plimsoll::directory::{Directory, KnownNames};
use plimsoll::domain::attribution::Attribution;
use plimsoll::domain::standing::Counted;
use plimsoll::domain::tenant::{Tenant, TenantId};
use plimsoll::policy::{CallFacts, Policy};
use proptest::prelude::*;

use super::decisions::{facts, tagged};
use super::{compile_text, policy};

fn tenant(number: usize) -> Tenant {
    let id = TenantId::new(&format!("tenant-{number}")).expect("an id");
    Tenant { plan: Some(Arc::from(format!("p{}", number % 20))), ..Tenant::unknown(id) }
}

/// Budgets per plan and feature, and an exception for every third tenant.
fn large(budgets: usize, exceptions: usize) -> String {
    let mut text = "version: 1\nmode: enforce\nplans:\n".to_owned();
    for plan in 0..20 {
        writeln!(text, "  p{plan}: {{ llm_budget: ${}/month }}", plan + 1).expect("a text");
    }
    text.push_str("budgets:\n  all: { per: [tenantId], limit: plan.llm_budget, escalation: e }\n");
    for budget in 1..budgets {
        let plan = budget % 20;
        writeln!(text, "  b{budget}: {{ per: [tenantId], match: {{ plan: p{plan}, endpointTag: f{budget}.* }}, limit: $5/day, escalation: e }}")
            .expect("a text");
    }
    text.push_str(
        "escalations: { e: { warning: { at: 80%, notify: [log] }, contain: { at: 100%, block: all } } }\nexceptions:\n",
    );
    // Backwards, so that nothing is sorted by accident.
    for exception in (0..exceptions).rev() {
        let number = exception * 3;
        writeln!(text, "  - {{ tenantId: tenant-{number}, budget: all, limit: $900/month, reason: r, approved_by: a, expires: 2027-01-31 }}")
            .expect("a text");
        writeln!(text, "  - {{ tenantId: tenant-{number}, budget: b7, never: [block], reason: r, approved_by: a, expires: 2027-01-31 }}")
            .expect("a text");
    }
    text
}

// Mutations: exceptions are not sorted; the search for them stops one too early; budgets of other plans count.
#[test]
fn each_tenant_finds_its_own_among_many_budgets_and_exceptions() {
    let policy = policy(&large(500, 2_000));
    assert_eq!((policy.budgets.len(), policy.exceptions.len()), (500, 4_000));
    for number in [0, 1, 2, 3, 299, 300, 2_997, 5_997, 5_998, 6_000, 99_999] {
        let tenant = tenant(number);
        let own = 20 * 3 + number % 20;
        let attribution = tagged(&format!("f{own}.x"));
        let facts = facts(&tenant, &attribution);
        let counted: Vec<_> = policy
            .counted(&facts)
            .iter()
            .map(|counted| {
                (policy.budgets[counted.budget].name.to_string(), counted.limit.map(|nano| nano / 1_000_000_000))
            })
            .collect();
        let excepted = number % 3 == 0 && number < 6_000;
        let limit = if excepted { 900 } else { i64::try_from(number % 20 + 1).expect("a small number") };
        assert_eq!(counted, [("all".to_owned(), Some(limit)), (format!("b{own}"), Some(5))], "{number}");
        assert_eq!(policy.exceptions_of(&tenant, facts.now).count(), if excepted { 2 } else { 0 }, "{number}");
    }
}

/// What `match` may say, and what calls say: starts of each other, literals and patterns, and nothing.
const PATTERNS: [&str; 9] = ["a", "ab", "a.b", "a*", "a.*", "ab*c", "*", "*b", "gpt-4o"];
const VALUES: [&str; 8] = ["a", "ab", "a.b", "a.b.c", "abc", "b", "gpt-4o-2024-08-06", "gpt-4o-mini"];
const DIMENSIONS: [&str; 6] = ["tenantId", "plan", "endpointTag", "userId", "workflowId", "model"];

fn a_budget() -> impl Strategy<Value = String> {
    let patterns = || prop::collection::vec(prop::sample::select(PATTERNS.to_vec()), 1..4);
    let matches = || prop::collection::btree_map(prop::sample::select(DIMENSIONS.to_vec()), patterns(), 0..3);
    let per = prop::sample::select(vec!["[]", "[tenantId]", "[tenantId, workflowId]"]);
    let written = |matches: std::collections::BTreeMap<&str, Vec<&str>>| -> Vec<String> {
        matches.iter().map(|(dimension, globs)| format!("{dimension}: {globs:?}")).collect()
    };
    (matches(), prop::option::of(matches()), per).prop_map(move |(all, not, per)| {
        let mut conditions = written(all);
        let not = not.map(written).filter(|not| !not.is_empty());
        conditions.extend(not.map(|not| format!("not: {{ {} }}", not.join(", "))));
        let period = if per.contains("workflowId") { "workflow" } else { "day" };
        let matches =
            if conditions.is_empty() { String::new() } else { format!("match: {{ {} }}, ", conditions.join(", ")) };
        format!("{{ per: {per}, {matches}limit: $5/{period}, escalation: e }}")
    })
}

prop_compose! {
    fn a_caller()(said in prop::array::uniform5(prop::option::of(prop::sample::select(VALUES.to_vec()))),
                  tenant in prop::sample::select(VALUES.to_vec())) -> (Tenant, Attribution, &'static str) {
        let [plan, tag, user, workflow, model] = said;
        let id = TenantId::new(tenant).expect("an id");
        let attribution = Attribution {
            user_id: user.map(Arc::from),
            workflow_id: workflow.map(Arc::from),
            ..tagged(tag.unwrap_or_default())
        };
        (Tenant { plan: plan.map(Arc::from), ..Tenant::unknown(id) }, attribution, model.unwrap_or_default())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    // Mutations: of two starts of one value only the longer is found; a budget is filed under a pattern that begins with `*`;
    // what is found is left in the order of the files, or twice.
    #[test]
    fn what_is_looked_up_is_what_a_walk_over_all_budgets_finds(
        budgets in prop::collection::vec(a_budget(), 0..60), callers in prop::collection::vec(a_caller(), 20),
    ) {
        let mut text = "version: 1\nmode: enforce\nplans: { a: {}, ab: {}, a.b: {}, gpt-4o: {} }\n".to_owned();
        text.push_str("escalations: { e: { contain: { at: 100%, block: all } } }\nbudgets:\n");
        for (at, budget) in budgets.iter().enumerate() {
            writeln!(text, "  b{at}: {budget}").expect("a text");
        }
        let policy = if budgets.is_empty() { Policy::empty() } else { compile_text(&text).0.policy.expect("a policy") };
        prop_assert_eq!(policy.budgets.len(), budgets.len());
        for (tenant, attribution, model) in &callers {
            let facts = CallFacts { model, ..facts(tenant, attribution) };
            let dimensions = policy.dimensions(tenant, attribution, facts.provider, model);
            let walked = (0..budgets.len()).filter(|budget| policy.counts(*budget, &dimensions));
            let walked: Vec<Counted> =
                walked.map(|budget| Counted { budget, limit: policy.limit(budget, tenant, facts.now) }).collect();
            prop_assert_eq!(policy.counted(&facts).to_vec(), walked);
        }
    }
}

#[test]
fn two_exceptions_for_one_tenant_and_budget_are_found_among_many() {
    let text = format!(
        "{}  - {{ tenantId: tenant-2997, never: [route], reason: r, approved_by: a, expires: 2027-01-31 }}\n",
        large(3, 1_000).replace("budget: b7", "budget: b1")
    );
    let (compiled, shown) = compile_text(&text);
    let twins: Vec<_> = compiled.diagnostics.iter().filter(|one| one.code == "E165").collect();
    assert_eq!(twins.len(), 1, "{shown}");
    assert_eq!(compiled.diagnostics.len(), 1, "{shown}");
}

#[test]
fn a_hundred_thousand_tenants_are_read_whole_and_their_mistakes_stay_small() {
    let plans: Vec<String> = (0..500).map(|plan| format!("plan_with_a_rather_long_name_{plan}")).collect();
    let names: Vec<&str> = plans.iter().map(String::as_str).collect();
    let mut csv = "tenantId,plan\n".to_owned();
    for number in 0..100_000 {
        writeln!(csv, "tenant-{number},{}", if number % 2 == 0 { names[number % 500] } else { "gone" })
            .expect("a text");
    }
    csv.push_str("tenant-77,gone\n");
    let source = Source::new("tenants.csv", &csv);
    let (directory, found) = Directory::parse(&source, Some(KnownNames { plans: &names, segments: &[] }));
    assert_eq!(directory.len(), 100_000);
    let twins: Vec<_> = found.iter().filter(|one| one.code == "E172").collect();
    assert_eq!((twins.len(), twins[0].place.as_ref().map(|place| place.line)), (1, Some(100_002)));
    assert_eq!(found.iter().filter(|one| one.code == "W175").count(), 50_001);
    let listing = found.iter().filter(|one| !one.notes.is_empty()).count();
    assert_eq!(listing, plimsoll::diagnostic::MOST_SHOWN, "the names are listed beside what is shown, and no more");
    assert_eq!(directory.tenant("tenant-99998").and_then(|tenant| tenant.plan.clone()).as_deref(), Some(names[498]));
}
