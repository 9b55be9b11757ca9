//! What people get wrong, and the words they are told.

use plimsoll::diagnostic::Source;

use super::{MINIMAL, REALISTIC, compile_all, compile_text};

/// The realistic policy with one slip.
fn slip(right: &str, wrong: &str) -> String {
    assert!(REALISTIC.contains(right), "{right}");
    let (compiled, shown) = compile_text(&REALISTIC.replacen(right, wrong, 1));
    assert_eq!(compiled.policy.is_none(), compiled.diagnostics.iter().any(|one| one.is_error()));
    shown
}

#[test]
fn the_shipped_policies_are_clean() {
    for text in [REALISTIC, MINIMAL] {
        let (compiled, shown) = compile_text(text);
        assert_eq!(shown, "");
        assert!(compiled.policy.is_some());
    }
}

#[test]
fn unknown_key() {
    insta::assert_snapshot!(slip("    limit: plan.llm_budget", "    limits: plan.llm_budget"), @"");
}

#[test]
fn amount_without_a_period() {
    insta::assert_snapshot!(slip("    limit: $20/month", "    limit: $20"), @"");
}

#[test]
fn thousands_separator_in_braces() {
    insta::assert_snapshot!(slip("30% of revenue/month, target", "$4,000/month, target"), @"");
}

#[test]
fn unquoted_star() {
    insta::assert_snapshot!(slip("  digest.*:           { critical: false, planned_cost: $0.020/request }", "  *: { critical: false }"), @"");
}

#[test]
fn undefined_reference() {
    insta::assert_snapshot!(slip("escalation: standard", "escalation: standrad"), @"");
}

#[test]
fn ladder_out_of_order() {
    insta::assert_snapshot!(slip("at: 110%", "at: 90%"), @"");
}

#[test]
fn route_that_costs_more() {
    insta::assert_snapshot!(slip("gpt-4o: gpt-4o-mini", "gpt-4o-mini: gpt-4o"), @"");
}

#[test]
fn exception_without_approval() {
    insta::assert_snapshot!(slip("    approved_by: dana@example.com\n", ""), @"");
}

#[test]
fn exception_with_a_past_date() {
    insta::assert_snapshot!(slip("2027-01-31", "2026-11-11"), @"");
}

#[test]
fn all_mistakes_are_shown_in_one_run() {
    let text = "version: 1
mode: enforced
timezone: Europe/Berln
plans:
  starter: { llm_budgt: $12/month }
endpoints:
  *: { critical: no }
  *.internal: { critical: true }
budgets:
  a:
    per: [tenant_id]
    match: { endpoint_tag: x, dataMode: prod }
    limit: $4,000/month
    escalation:
      contain: { at: 100%, throttle: 20/min, cap_output_tokens: 0, block: some }
      decide: { at: 120%, ask: account_owner, block: all, within: soon, otherwise: { block: all } }
      panic: { at: 200% }
  b: { limit: $5/rolling 1 hour, escalation: nothing, within: a }
  b: { limit: 3% of revenue/month, escalation: {} }
budget: {}
";
    let (_, shown) = compile_text(text);
    insta::assert_snapshot!(shown, @"");
}

#[test]
fn broken_yaml_is_placed() {
    insta::assert_snapshot!(compile_text("version: 1\nmode: enforce\nbudgets:\n\ta: {}\n").1, @"");
    insta::assert_snapshot!(compile_text("version: 1\nmode: [enforce\n").1, @"");
    insta::assert_snapshot!(compile_text("version: 1\nmode: dry_run\n---\nversion: 1\n").1, @"");
}

#[test]
fn files_of_a_directory_are_merged_and_may_not_define_a_name_twice() {
    let main =
        Source::new("main.yaml", "version: 1\nmode: enforce\nbudgets:\n  a: { limit: $1/day, escalation: stop }\n");
    let steps = Source::new("steps.yaml", "escalations:\n  stop: { contain: { at: 100%, block: all } }\n");
    let compiled = compile_all(&[main.clone(), steps.clone()]);
    assert!(compiled.diagnostics.is_empty());
    assert!(compiled.policy.is_some_and(|policy| policy.budgets.len() == 1 && policy.budgets[0].hard));
    let again = Source::new("zagain.yaml", "mode: dry_run\nbudgets:\n  a: { limit: $1/day, escalation: stop }\n");
    let sources = [main, steps, again];
    let compiled = compile_all(&sources);
    insta::assert_snapshot!(plimsoll::diagnostic::render(&compiled.diagnostics, &sources), @"");
}

#[test]
fn anchors_are_allowed_and_bombs_are_not() {
    let text = "version: 1\nmode: enforce\nbudgets:\n  a: { limit: $1/day, escalation: &stop { contain: { at: 100%, block: all } } }\n  b: { limit: $1/day, escalation: *stop }\n";
    assert_eq!(compile_text(text).1, "");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let one = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [one.as_str(); 10].join(", ")));
    }
    assert!(compile_text(&bomb).1.contains("at most 100000 values"));
    assert!(compile_text(&"[".repeat(5_000)).0.policy.is_none());
}

#[test]
fn what_is_not_acted_on_is_named() {
    let names = super::policy(REALISTIC).not_in_force();
    assert_eq!(
        names,
        [
            "alerts.concentration",
            "alerts.cost_drift",
            "alerts.negative_margin",
            "alerts.retry_storm",
            "margin.infra_estimate",
            "margin.review"
        ]
    );
    assert!(super::policy(MINIMAL).not_in_force().is_empty());
}
