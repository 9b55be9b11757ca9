//! `when:` of a `match`: what it says, what it is told, and that it is the CEL of others.

use plimsoll::domain::standing::Dimensions;
use plimsoll::domain::tenant::{Tenant, TenantId};
use plimsoll::policy::Policy;
use plimsoll::policy::budget::Dimension;
use plimsoll::policy::condition::{Condition, Fault, Patterns};
use plimsoll::policy::coverage::covers;
use plimsoll::policy::identity::Identity;
use plimsoll::policy::trace::why_not_counted;

use super::{compile_text, policy};

mod mistakes;
mod oracle;

/// A condition, whatever plans there are.
fn read(text: &str) -> Result<Condition, Vec<Fault>> {
    Condition::read(text, &|_, _| None, &Patterns::default())
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

/// As in RE2: in the words of all languages, every user with an umlaut would be another matter.
#[test]
fn classes_of_patterns_know_ascii() {
    for (pattern, fitting, other) in [
        ("^\\w+$", "aZ_9", "ä"),
        ("^\\W$", "ä", "a"),
        ("^\\d$", "7", "\u{667}"),
        ("^\\D$", "\u{667}", "7"),
        ("^a\\sb$", "a\tb", "a\u{a0}b"),
        ("^a\\Sb$", "a\u{a0}b", "a b"),
        ("a\\b", "aä", "ab"),
        ("a\\B", "ab", "aä"),
        ("^[\\w.-]+$", "a.b-c", "ä.b"),
        ("^[^\\W_]+$", "ab", "a_b"),
        ("^\\\\d$", "\\d", "7"),
        ("(?i)^Ä\\w$", "äB", "Ää"),
    ] {
        let condition = condition(&format!("userId.matches(r'{pattern}')"));
        let fits = |user| condition.holds(&Dimensions { user_id: Some(user), ..call() });
        assert!(fits(fitting) && !fits(other), "{pattern}");
    }
    condition("promptVersion.matches(r'^\\w{9}$')");
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
        ("not: { when: \"plan == 'growth'\" }", false),
        ("not: { plan: growth }", false),
        ("not: { plan: growth, model: o3 }", true),
        ("not: { plan: starter }", true),
    ] {
        let policy = with_match(matched);
        assert_eq!(policy.concerns(0, &growth), concerned, "{matched}");
        assert_eq!(covers(&policy, &growth, super::now()), concerned, "{matched}");
    }
}

/// Texts without a blank, which is what their one form has most of.
#[test]
fn what_is_kept_of_a_condition_is_within_the_limits_too() {
    let terms = |count: usize| (0..count).map(|at| format!("userId!='{at:02}'")).collect::<Vec<_>>().join("||");
    let (fits, longer) = (terms(55), terms(66));
    assert!(longer.chars().count() < 1_000, "what is written is short enough");
    let kept = identity(&fits);
    let counted = Identity::parse(&kept, &Patterns::default()).expect("our own text");
    assert!(counted.place(&call(), super::now()).is_some());
    let nots = |count: usize| format!("{}(plan=='a'==true)", "!".repeat(count));
    let deepest = condition(&nots(14));
    assert_eq!(read_again(&deepest), deepest);
    for (text, message) in [
        (longer, "as it is kept, this condition has 1184 characters, and 1000 are the most"),
        (nots(15), "as it is kept, this condition nests more than 16 deep"),
    ] {
        let faults = read(&text).err().unwrap_or_default();
        assert_eq!((faults[0].code, &*faults[0].message), ("E184", message));
    }
}

fn read_again(condition: &Condition) -> Condition {
    self::condition(&condition.to_string())
}

/// A policy of that many budgets, each with a condition of its own.
fn many(budgets: usize, when: impl Fn(usize) -> String) -> String {
    let budget = |at| format!("  b{at}: {{ match: {{ when: \"{}\" }}, limit: $1/day, escalation: e }}\n", when(at));
    let budgets: String = (0..budgets).map(budget).collect();
    format!(
        "version: 1\nmode: enforce\nescalations: {{ e: {{ contain: {{ at: 100%, block: all }} }} }}\nbudgets:\n{budgets}"
    )
}

#[test]
fn the_patterns_of_a_policy_share_one_room_and_what_is_written_twice_is_one() {
    let (same, shown) =
        compile_text(&many(500, |at| format!("model != '{at}' && userId.matches('^x(abcdefghijklmnop){{20}}')")));
    assert!(same.policy.is_some(), "{shown}");
    let (others, _) = compile_text(&many(300, |at| format!("userId.matches('^{at}(abcdefghijklmnop){{20}}')")));
    assert!(others.policy.is_none());
    let first = &others.diagnostics[0];
    assert_eq!((first.code, &*first.message), ("E184", "the patterns of a policy take at most 8 MiB together"));
    let (large, _) = compile_text(&many(200, |at| format!("userId.matches('{at}x{{1000}}{{1000}}')")));
    let refused = |message: &str| large.diagnostics.iter().filter(|fault| fault.message == message).count();
    assert_eq!(refused("this pattern would become too large"), 128, "each was as much work as the largest");
    assert_eq!(refused("the patterns of a policy take at most 8 MiB together"), 72);
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
    let read = Identity::parse(&one, &Patterns::default()).expect("our own text");
    let at = super::now();
    let starter = Dimensions { plan: Some("starter"), user_id: Some("u"), ..call() };
    assert!(read.place(&starter, at).is_some());
    assert!(read.place(&Dimensions { user_id: None, ..starter }, at).is_none());
    assert!(read.place(&Dimensions { model: "o3", ..starter }, at).is_none());
    let other = one.replace("userId != ''", "userId.lowerAscii() != ''");
    assert!(Identity::parse(&other, &Patterns::default()).is_none(), "of another version, and not guessed at");
}
