//! `when:` of a `match`: what it says, what it is told, and that it is the CEL of others.

use plimsoll::domain::standing::Dimensions;
use plimsoll::domain::tenant::{Tenant, TenantId};
use plimsoll::policy::Policy;
use plimsoll::policy::budget::Dimension;
use plimsoll::policy::condition::{Condition, Fault};
use plimsoll::policy::coverage::covers;
use plimsoll::policy::trace::why_not_counted;

use super::{compile_text, policy};

mod mistakes;
mod oracle;

/// A condition, whatever plans there are.
fn read(text: &str) -> Result<Condition, Vec<Fault>> {
    Condition::read(text, &|_, _| None)
}

fn condition(text: &str) -> Condition {
    read(text).unwrap_or_else(|faults| unreachable!("{text}: {faults:?}"))
}

fn call<'a>() -> Dimensions<'a> {
    Dimensions {
        tenant_id: "globex",
        plan: Some("growth"),
        segment: None,
        endpoint_tag: "digest.weekly",
        prompt_version: "v3",
        data_mode: "real",
        environment: "prod",
        user_id: None,
        workflow_id: Some("wf-7"),
        provider: "openai",
        model: "gpt-4o",
    }
}

#[test]
fn a_condition_sees_every_dimension_and_what_is_absent_is_empty() {
    let values = ["globex", "growth", "", "digest.weekly", "v3", "real", "prod", "", "wf-7", "openai", "gpt-4o"];
    assert_eq!(values.len(), Dimension::ALL.len());
    for ((name, _), value) in Dimension::ALL.into_iter().zip(values) {
        assert!(condition(&format!("{name} == '{value}'")).holds(&call()), "{name}");
        assert!(!condition(&format!("{name} == '{value}x'")).holds(&call()), "{name}");
    }
}

#[test]
fn a_condition_means_what_it_says() {
    for (text, expected) in [
        ("endpointTag.startsWith('digest.') && !endpointTag.endsWith('daily')", true),
        ("plan == 'growth' ? userId == '' : userId != ''", true),
        ("(plan == 'growth' ? model : provider) == 'openai'", false),
        ("plan in ['starter', 'growth']", true),
        ("!(plan in ['starter'])", true),
        ("promptVersion.matches('^v[0-9]+$')", true),
        ("promptVersion.matches('[12]')", false),
        ("size(workflowId) == 4 && workflowId.size() > -1", true),
        ("size(userId) > 0", false),
        ("['mini', '4o'].exists(x, model.contains(x))", true),
        ("['mini', '4o'].all(x, model.contains(x))", false),
        ("['gpt', 'o'].all(x, ['-4o', '-5'].exists(y, model.contains(x) && model.endsWith(y)))", true),
        ("tenantId < 'h' && tenantId >= 'globex'", true),
        ("(plan == 'growth') == (model == 'gpt-4o')", true),
        ("plan != 'growth' || (dataMode == 'real') != (environment == 'prod')", false),
    ] {
        assert_eq!(condition(text).holds(&call()), expected, "{text}");
    }
}

#[test]
fn one_meaning_is_printed_in_one_way() {
    for (written, printed) in [
        ("plan==\"starter\"||( model != 'x' )", "plan == 'starter' || model != 'x'"),
        ("plan == 'a' && (model == 'b' && provider == 'c')", "plan == 'a' && model == 'b' && provider == 'c'"),
        ("(plan == 'a' || model == 'b') && userId != ''", "(plan == 'a' || model == 'b') && userId != ''"),
        ("plan.size() > 0x10", "size(plan) > 16"),
        ("model.matches('\\\\d+')", "model.matches(r'\\d+')"),
        ("plan == 'it\\'s \\u00e4\\n'", "plan == 'it\\'s ä\\n'"),
        ("[ 'a' , 'b', ].exists( x , plan == x )", "['a', 'b'].exists(x, plan == x)"),
        (
            "(plan == 'a' ? model : (userId == '' ? plan : 'x')) != ''",
            "(plan == 'a' ? model : userId == '' ? plan : 'x') != ''",
        ),
        ("!(plan == 'a') && !!plan.contains('b')", "!(plan == 'a') && !!plan.contains('b')"),
    ] {
        let read = condition(written);
        assert_eq!(read.to_string(), printed);
        assert_eq!(condition(printed), read, "{written}");
    }
}

#[test]
fn part_of_a_call_judges_what_it_can() {
    let tenant = |dimension| match dimension {
        Dimension::Plan => Some("growth"),
        Dimension::Segment => Some(""),
        _ => None,
    };
    for (text, may, must) in [
        ("plan == 'growth'", true, true),
        ("plan == 'starter'", false, false),
        ("plan == 'growth' && userId == ''", true, false),
        ("plan == 'starter' && userId == ''", false, false),
        ("plan == 'growth' || userId == ''", true, true),
        ("plan == 'growth' ? segment == '' : userId == ''", true, true),
        ("userId == '' ? plan == 'growth' : segment == ''", true, true),
        ("userId == '' ? plan == 'starter' : segment != ''", false, false),
        ("userId.contains(segment)", true, true),
        ("['a'].exists(x, plan == x && userId == x)", false, false),
    ] {
        let condition = condition(text);
        assert_eq!((condition.may_hold(&tenant), condition.must_hold(&tenant)), (may, must), "{text}");
    }
}

/// A policy of one budget with this `match`.
fn with_match(matched: &str) -> Policy {
    policy(&format!(
        "version: 1
mode: enforce
plans: {{ starter: {{ llm_budget: $12/month }}, growth: {{ llm_budget: $60/month }} }}
budgets:
  b: {{ match: {{ {matched} }}, limit: $1/day, escalation: {{ contain: {{ at: 100%, block: all }} }} }}
"
    ))
}

#[test]
fn a_condition_is_judged_beside_the_patterns_and_under_not() {
    for (matched, counts) in [
        ("model: gpt-*, when: \"userId == ''\"", true),
        ("model: gpt-*, when: \"userId != ''\"", false),
        ("model: o3, when: \"userId == ''\"", false),
        ("model: gpt-*, not: { when: \"userId == ''\" }", false),
        ("model: gpt-*, not: { when: \"userId != ''\" }", true),
        ("model: gpt-*, not: { provider: gemini, when: \"userId == ''\" }", true),
        ("when: \"userId == ''\", not: { not: { when: \"workflowId == 'wf-7'\" } }", true),
    ] {
        assert_eq!(with_match(matched).counts(0, &call()), counts, "{matched}");
    }
}

#[test]
fn what_is_not_counted_is_told_with_the_condition() {
    let why = |matched: &str| why_not_counted(&with_match(matched), 0, &call());
    assert_eq!(why("model: gpt-*, when: \"userId == ''\""), None);
    assert_eq!(why("when: \"( userId != '' )\"").as_deref(), Some("`when` is false: userId != ''"));
    assert_eq!(why("model: o3, when: \"userId != ''\"").as_deref(), Some("model is gpt-4o, not o3"));
    let left_out = why("not: { model: gpt-4o, when: \"userId == ''\" }");
    assert_eq!(left_out.as_deref(), Some("left out: model is gpt-4o, `when` is true: userId == ''"));
    assert_eq!(why("when: \"userId != ''\", not: { model: o3 }").as_deref(), Some("`when` is false: userId != ''"));
}

#[test]
fn whom_a_budget_concerns_is_judged_by_what_is_known_of_a_tenant() {
    let growth = Tenant { plan: Some("growth".into()), ..Tenant::unknown(TenantId::new("globex").expect("an id")) };
    for (matched, concerned) in [
        ("when: \"plan == 'growth' && userId != ''\"", true),
        ("when: \"plan == 'starter' && userId != ''\"", false),
        ("when: \"plan == 'starter' || userId != ''\"", true),
        ("when: \"tenantId.startsWith('glob')\"", true),
        ("when: \"segment != ''\"", false),
        ("not: { when: \"plan == 'growth' && userId != ''\" }", true),
    ] {
        let policy = with_match(matched);
        assert_eq!(policy.concerns(0, &growth), concerned, "{matched}");
        assert_eq!(covers(&policy, &growth, super::now()), concerned, "{matched}");
    }
    assert!(!covers(&with_match("not: { when: \"plan == 'growth'\" }"), &growth, super::now()));
}

fn identity(when: &str) -> String {
    let text = format!(
        "version: 1
mode: enforce
plans: {{ starter: {{ llm_budget: $12/month }} }}
budgets:
  b: {{ match: {{ model: gpt-*, when: \"{when}\" }}, limit: $1/day, escalation: {{ contain: {{ at: 100%, block: all }} }} }}
"
    );
    let (compiled, shown) = compile_text(&text);
    let policy = compiled.policy.unwrap_or_else(|| unreachable!("{shown}"));
    policy.budgets[0].identity.to_string()
}

#[test]
fn the_condition_belongs_to_what_a_budget_counts() {
    let one = identity("plan == 'starter' && userId != ''");
    assert!(one.contains(r#""when":"plan == 'starter' && userId != ''""#), "{one}");
    assert_eq!(one, identity("(plan=='starter')  &&  (userId != '')"), "blanks and brackets are no part of it");
    assert_ne!(one, identity("plan == 'starter' || userId != ''"));
    let read = plimsoll::policy::identity::Identity::parse(&one).expect("our own text");
    let at = super::now();
    let starter = Dimensions { plan: Some("starter"), user_id: Some("u"), ..call() };
    assert!(read.place(&starter, at).is_some());
    assert!(read.place(&Dimensions { user_id: None, ..starter }, at).is_none());
    assert!(read.place(&Dimensions { model: "o3", ..starter }, at).is_none());
    let other = one.replace("userId != ''", "userId.lowerAscii() != ''");
    assert!(plimsoll::policy::identity::Identity::parse(&other).is_none(), "of another version, and not guessed at");
}
