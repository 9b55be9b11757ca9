//! What people get wrong, and the words they are told.

use std::fmt::Write as _;

use plimsoll::diagnostic::{Diagnostic, Source};

use super::{MINIMAL, REALISTIC, compile_all, compile_text};

/// The realistic policy with one slip.
fn slip(right: &str, wrong: &str) -> String {
    assert!(REALISTIC.contains(right), "{right}");
    let (compiled, shown) = compile_text(&REALISTIC.replacen(right, wrong, 1));
    assert_eq!(compiled.policy.is_none(), compiled.diagnostics.iter().any(Diagnostic::is_error));
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
    insta::assert_snapshot!(slip("    limit: plan.llm_budget", "    limits: plan.llm_budget"), @r"
    error[E104]: unknown key `limits` in budget `tenant_month`
      --> policy.yaml:30:5
       |
    30 |     limits: plan.llm_budget
       |     ^^^^^^ not a budget key
       = help: did you mean `limit`?
       = valid here: per, match, limit, escalation, mode, within, grace, review_by
    ");
}

#[test]
fn amount_without_a_period() {
    insta::assert_snapshot!(slip("    limit: $20/month", "    limit: $20"), @r"
    error[E121]: `$20` has no period
      --> policy.yaml:35:12
       |
    35 |     limit: $20
       |            ^^^ per what?
       = help: write `$20/month` (minute, hour, day, week, month, workflow, or `rolling 1 hour`)
    ");
}

#[test]
fn thousands_separator_in_braces() {
    insta::assert_snapshot!(slip("30% of revenue/month, target", "$4,000/month, target"), @r"
    error[E108]: thousands separator splits this value
      --> policy.yaml:10:31
       |
    10 |   enterprise: { llm_budget: $4,000/month, target_margin: 65% }
       |                               ^ YAML ends the value here, leaving `$4`
       = help: write `$4000/month`
    ");
}

#[test]
fn unquoted_star() {
    let line = REALISTIC.lines().find(|line| line.starts_with("  digest.*:")).expect("an endpoint");
    insta::assert_snapshot!(slip(line, "  *: { critical: false }"), @r#"
    error[E102]: `*` must be quoted
      --> policy.yaml:19:3
       |
    19 |   *: { critical: false }
       |   ^ a bare `*` starts a YAML alias
       = help: write `"*": { critical: false }`
    "#);
}

#[test]
fn undefined_reference() {
    insta::assert_snapshot!(slip("escalation: standard", "escalation: standrad"), @r"
    error[E131]: escalation `standrad` is not defined
      --> policy.yaml:31:17
       |
    31 |     escalation: standrad
       |                 ^^^^^^^^ used here
       |
    53 |   standard:
       |   -------- a similar name is defined here
       = help: did you mean `standard`?
    ");
}

#[test]
fn ladder_out_of_order() {
    insta::assert_snapshot!(slip("at: 110%", "at: 90%"), @r"
    error[E142]: `degrade` starts before `contain`
      --> policy.yaml:57:24
       |
    56 |     contain:     { at: 100%, cap_output_tokens: 600, throttle: { non_critical: 20 requests/min } }
       |                        ---- contain starts at 100%
    57 |     degrade:     { at: 90%, route: { non_critical: cheaper } }
       |                        ^^^ must be at least 100%
       = help: raise `degrade` to 100% or more, or lower `contain`
    ");
}

#[test]
fn route_that_costs_more() {
    insta::assert_snapshot!(slip("gpt-4o: gpt-4o-mini", "gpt-4o-mini: gpt-4o"), @r"
    error[E151]: route `cheaper` makes `gpt-4o-mini` requests 16.7x more expensive
      --> policy.yaml:23:18
       |
    23 |     gpt-4o-mini: gpt-4o
       |     -----------  ^^^^^^ $2.50/$10.00 per 1M in/out
       |     |
       |     $0.15/$0.60 per 1M in/out
       = help: swap the two names, or set `allow_more_expensive: true` on this route
       = prices: built-in table 2026-11-16 (`plimsoll prices show gpt-4o`)
    ");
}

#[test]
fn exception_without_approval() {
    insta::assert_snapshot!(slip("    approved_by: dana@example.com\n", ""), @r"
    error[E162]: exception for `acme-corp` has no `approved_by`
      --> policy.yaml:68:5
       |
    68 |   - tenantId: acme-corp
       |     ^^^^^^^^^^^^^^^^^^^ every exception needs reason, approved_by and expires
       = help: add `approved_by: name@example.com`
    ");
}

#[test]
fn exception_with_a_past_date() {
    insta::assert_snapshot!(slip("2027-01-31", "2026-11-11"), @r"
    warning[W163]: this exception expired 14 days ago and no longer applies
      --> policy.yaml:75:14
       |
    75 |     expires: 2026-11-11
       |              ^^^^^^^^^^
       = note: acme-corp is measured against its normal limit again
       = help: extend it with a new approval, or delete lines 68-75
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one snapshot of one run")]
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
  b: { limit: $5/rolling 1 moon, escalation: nothing, within: a }
  b: { limit: 3% of revenue/month, escalation: {} }
budget: {}
";
    let (_, shown) = compile_text(text);
    insta::assert_snapshot!(shown, @r#"
    error[E111]: `enforced` is not a value of `mode`
     --> policy.yaml:2:7
      |
    2 | mode: enforced
      |       ^^^^^^^^
      = help: did you mean `enforce`?
      = valid here: enforce, dry_run

    error[E114]: time zone `Europe/Berln` is not known
     --> policy.yaml:3:11
      |
    3 | timezone: Europe/Berln
      |           ^^^^^^^^^^^^
      = help: write an IANA name: `Europe/Berlin`, `UTC`

    error[E104]: unknown key `llm_budgt` in plan `starter`
     --> policy.yaml:5:14
      |
    5 |   starter: { llm_budgt: $12/month }
      |              ^^^^^^^^^ not a plan key
      = help: did you mean `llm_budget`?
      = valid here: llm_budget, target_margin, cap_output_tokens, route, upgrade_url, message

    error[E102]: `*` must be quoted
     --> policy.yaml:7:3
      |
    7 |   *: { critical: no }
      |   ^ a bare `*` starts a YAML alias
      = help: write `"*": { critical: no }`

    error[E106]: `critical` must be `true` or `false`
     --> policy.yaml:7:18
      |
    7 |   *: { critical: no }
      |                  ^^ `no` is a text in YAML 1.2

    error[E102]: `*.internal` must be quoted
     --> policy.yaml:8:3
      |
    8 |   *.internal: { critical: true }
      |   ^^^^^^^^^^ a bare `*` starts a YAML alias
      = help: write `"*.internal": { critical: true }`

    error[E111]: `tenant_id` is not a value of `per`
      --> policy.yaml:11:11
       |
    11 |     per: [tenant_id]
       |           ^^^^^^^^^
       = help: did you mean `tenantId`?
       = valid here: tenantId, plan, segment, endpointTag, promptVersion, dataMode, environment, userId, workflowId, provider, model

    error[E104]: unknown key `endpoint_tag` in `match`
      --> policy.yaml:12:14
       |
    12 |     match: { endpoint_tag: x, dataMode: prod }
       |              ^^^^^^^^^^^^ not a dimension
       = help: did you mean `endpointTag`?
       = valid here: tenantId, plan, segment, endpointTag, promptVersion, dataMode, environment, userId, workflowId, provider, model, when, not

    error[E111]: `prod` is not a value of `dataMode`
      --> policy.yaml:12:41
       |
    12 |     match: { endpoint_tag: x, dataMode: prod }
       |                                         ^^^^
       = valid here: real, test, demo

    error[E108]: thousands separator in an amount
      --> policy.yaml:13:12
       |
    13 |     limit: $4,000/month
       |            ^^^^^^^^^^^^ amounts are written without commas
       = help: write `$4000/month`

    error[E122]: `20/min` is not a rate
      --> policy.yaml:15:38
       |
    15 |       contain: { at: 100%, throttle: 20/min, cap_output_tokens: 0, block: some }
       |                                      ^^^^^^
       = help: write `20 requests/minute`

    error[E113]: a cap of 0 tokens is not a cap
      --> policy.yaml:15:65
       |
    15 |       contain: { at: 100%, throttle: 20/min, cap_output_tokens: 0, block: some }
       |                                                                 ^ at least 1
       = help: to refuse every request, write `block: all`

    error[E111]: `some` is not a value of `block`
      --> policy.yaml:15:75
       |
    15 |       contain: { at: 100%, throttle: 20/min, cap_output_tokens: 0, block: some }
       |                                                                           ^^^^
       = valid here: all, non_critical

    error[E114]: `soon` is not a duration
      --> policy.yaml:16:67
       |
    16 |       decide: { at: 120%, ask: account_owner, block: all, within: soon, otherwise: { block: all } }
       |                                                                   ^^^^
       = help: write `2 days`, `10 min` or `1 hour`

    error[E143]: `block` stands beside `otherwise`
      --> policy.yaml:16:73
       |
    16 |       decide: { at: 120%, ask: account_owner, block: all, within: soon, otherwise: { block: all } }
       |                                                                         ^^^^^^^^^ would never matter
       = help: keep `block` to refuse at once, or `otherwise` to refuse after the deadline

    error[E104]: unknown key `panic` in budget `a`
      --> policy.yaml:17:7
       |
    17 |       panic: { at: 200% }
       |       ^^^^^ not a step
       = valid here: warning, spend_alert, contain, degrade, decide

    error[E114]: `1 moon` is not a duration
      --> policy.yaml:18:15
       |
    18 |   b: { limit: $5/rolling 1 moon, escalation: nothing, within: a }
       |               ^^^^^^^^^^^^^^^^^
       = help: write `2 days`, `10 min` or `1 hour`

    error[E131]: escalation `nothing` is not defined
      --> policy.yaml:18:46
       |
    18 |   b: { limit: $5/rolling 1 moon, escalation: nothing, within: a }
       |                                              ^^^^^^^ used here

    error[E103]: `b` is given twice
      --> policy.yaml:19:3
       |
    18 |   b: { limit: $5/rolling 1 moon, escalation: nothing, within: a }
       |   - first given here
    19 |   b: { limit: 3% of revenue/month, escalation: {} }
       |   ^ again here
       = help: keep one of the two

    error[E104]: unknown key `budget` in the policy
      --> policy.yaml:20:1
       |
    20 | budget: {}
       | ^^^^^^ not a key of a policy
       = help: did you mean `budgets`?
       = valid here: version, mode, currency, timezone, exchange, defaults, plans, segments, endpoints, routes, budgets, escalations, exceptions, alerts, margin
    "#);
}

#[test]
fn broken_yaml_is_placed() {
    insta::assert_snapshot!(compile_text("version: 1\nmode: enforce\nbudgets:\n\ta: {}\n").1, @r"
    error[E101]: not valid YAML: tabs disallowed within this context (block indentation)
     --> policy.yaml:4:2
      |
    4 |  a: {}
      |  ^
      = help: indent with spaces, not tabs
    ");
    insta::assert_snapshot!(compile_text("version: 1\nmode: [enforce\n").1, @r"
    error[E101]: not valid YAML: unclosed bracket '['
     --> policy.yaml:2:7
      |
    2 | mode: [enforce
      |       ^
    ");
    insta::assert_snapshot!(compile_text("version: 1\nmode: dry_run\n---\nversion: 1\n").1, @r"
    error[E107]: a file holds one document
     --> policy.yaml:4:1
      |
    4 | version: 1
      | ^ a second document begins here
    ");
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
    insta::assert_snapshot!(plimsoll::diagnostic::render(&compiled.diagnostics, &sources), @r"
    error[E103]: `mode` differs between files
     --> zagain.yaml:1:7
      |
    1 | mode: dry_run
      |       ^^^^^^^ here
     ::: main.yaml:2:7
      |
    2 | mode: enforce
      |       ------- and here
      = help: keep one of the two

    error[E103]: `a` is given twice in `budgets`
     --> zagain.yaml:3:3
      |
    3 |   a: { limit: $1/day, escalation: stop }
      |   ^ again here
     ::: main.yaml:4:3
      |
    4 |   a: { limit: $1/day, escalation: stop }
      |   - first given here
      = help: give one of the two another name, or delete it
    ");
}

#[test]
fn anchors_are_allowed_and_bombs_are_not() {
    let text = "version: 1\nmode: enforce\nbudgets:\n  a: { limit: $1/day, escalation: &stop { contain: { at: 100%, block: all } } }\n  b: { limit: $1/day, escalation: *stop }\n";
    assert_eq!(compile_text(text).1, "");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let one = format!("*a{}", level - 1);
        let _ = writeln!(bomb, "a{level}: &a{level} [{}]", [one.as_str(); 10].join(", "));
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

#[test]
fn a_diagnostic_is_also_json() {
    let (compiled, _) = compile_text(&REALISTIC.replacen("limit: $20/month", "limit: $20", 1));
    let json = serde_json::to_value(&compiled.diagnostics).expect("plain values");
    assert_eq!(json[0]["severity"], "error");
    assert_eq!(json[0]["code"], "E121");
    assert_eq!(json[0]["place"]["column"], 12);
}

#[test]
fn every_code_that_is_used_has_a_title() {
    for text in [REALISTIC.replace("month", "moth"), REALISTIC.replace("at:", "att:"), REALISTIC.replace(": {", ": [")]
    {
        for diagnostic in compile_text(&text).0.diagnostics {
            assert!(plimsoll::policy::codes::title(diagnostic.code).is_some(), "{}", diagnostic.code);
        }
    }
}

#[test]
fn what_belongs_to_a_later_version_is_refused_aloud() {
    let text = "version: 1
mode: enforce
routes: { r: { gpt-4o: anthropic/claude-haiku-4-5 } }
budgets:
  a: { limit: $1/day, escalation: e }
  b: { limit: $1/hour, escalation: e }
escalations:
  e:
    contain: { at: 100%, throttle: { all: 60 requests/min } }
    degrade: { at: 110%, route: r, when: always }
exceptions:
  - { tenantId: t, budget: a, never: [block], reason: r, approved_by: a, expires: 2027-01-01 }
";
    let (compiled, shown) = compile_text(text);
    let later = compiled.diagnostics.iter().filter(|one| one.code == "E190");
    let lines: Vec<u32> = later.filter_map(|one| one.place.as_ref()).map(|place| place.line).collect();
    assert_eq!(lines, [3, 10], "{shown}");
    assert!(compiled.diagnostics.iter().all(|one| one.code == "E190"), "{shown}");
}

/// A policy of one budget.
fn one_budget(lines: &str) -> String {
    let text = format!("version: 1\nmode: enforce\nbudgets:\n  a:\n{lines}\n");
    let (compiled, shown) = compile_text(&text);
    assert_eq!(compiled.policy.is_none(), compiled.diagnostics.iter().any(Diagnostic::is_error));
    shown
}

#[test]
fn what_has_no_calendar_cannot_be_exact_nor_forecast() {
    insta::assert_snapshot!(one_budget(
        "    per: [tenantId]
    limit: $5/rolling 1 hour
    escalation: { spend_alert: { at: forecast 110%, notify: [log] }, contain: { at: 100%, block: all } }"
    ), @r"
    warning[W146]: budget `a` blocks by a rolling window: this is no exact ceiling
     --> policy.yaml:7:19
      |
    7 |     escalation: { spend_alert: { at: forecast 110%, notify: [log] }, contain: { at: 100%, block: all } }
      |                   ^^^^^^^^^^^
      = note: a call is refused once the limit is used up; calls in flight then can go beyond it
      = help: for an exact ceiling add a budget of a calendar period with `block: all`

    warning[W147]: `spend_alert` of budget `a` is never reached: a rolling window has no forecast
     --> policy.yaml:7:19
      |
    7 |     escalation: { spend_alert: { at: forecast 110%, notify: [log] }, contain: { at: 100%, block: all } }
      |                   ^^^^^^^^^^^
      = help: use a plain percentage, or count by a calendar period
    ");
    insta::assert_snapshot!(one_budget(
        "    per: [tenantId]
    limit: $1/workflow
    escalation: { decide: { at: 100%, ask: account_owner, within: 1 day, otherwise: { block: all } } }"
    ), @r"
    error[E123]: budget `a` has a limit per workflow and no counter per workflow
     --> policy.yaml:6:12
      |
    6 |     limit: $1/workflow
      |            ^^^^^^^^^^^
      = help: add `per: [tenantId, workflowId]`

    error[E148]: `decide` asks somebody about a workflow, which has no end for the answer to hold until
     --> policy.yaml:7:19
      |
    7 |     escalation: { decide: { at: 100%, ask: account_owner, within: 1 day, otherwise: { block: all } } }
      |                   ^^^^^^
      = help: act without `ask`, or count by a calendar period
    ");
}

#[test]
fn a_rolling_window_has_a_length_and_no_revenue() {
    insta::assert_snapshot!(one_budget("    limit: $5/rolling 3 months\n    escalation: { warning: { at: 80%, notify: [log] } }"), @r"
    error[E114]: `3 months` is not a duration
     --> policy.yaml:5:12
      |
    5 |     limit: $5/rolling 3 months
      |            ^^^^^^^^^^^^^^^^^^^
      = help: write `2 days`, `10 min` or `1 hour`
    ");
    insta::assert_snapshot!(one_budget("    limit: $5/rolling 30 s\n    escalation: { warning: { at: 80%, notify: [log] } }"), @r"
    error[E113]: `rolling 30 s` is out of range
     --> policy.yaml:5:12
      |
    5 |     limit: $5/rolling 30 s
      |            ^^^^^^^^^^^^^^^ from 1 minute to 31 days
    ");
    insta::assert_snapshot!(one_budget(
        "    per: [tenantId]\n    limit: 3% of revenue/rolling 1 day\n    escalation: { warning: { at: 80%, notify: [log] } }"
    ), @r"
    error[E122]: `3% of revenue/rolling 1 day`: revenue comes per calendar period
     --> policy.yaml:6:12
      |
    6 |     limit: 3% of revenue/rolling 1 day
      |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: write `30% of revenue/month`, or an amount of money
    ");
}

const FAMILY: &str = "version: 1
mode: enforce
plans: { growth: { llm_budget: $150/month } }
budgets:
  company: { limit: $400/month, escalation: watch }
  tenant: { per: [tenantId], within: company, limit: plan.llm_budget, escalation: watch }
  labs: { within: company, match: { endpointTag: labs.* }, limit: $5/day, escalation: watch }
  feature: { per: [tenantId, endpointTag], within: tenant, limit: $100/month, escalation: watch }
escalations: { watch: { warning: { at: 90%, notify: [log] } } }
";

/// What `check` says about a family with these tenants.
fn family(text: &str, tenants: &str) -> String {
    let (compiled, shown) = compile_text(text);
    let Some(policy) = compiled.policy else { return shown };
    let csv = Source::new("tenants.csv", &format!("tenantId,plan\n{tenants}"));
    let (directory, _) = plimsoll::directory::Directory::parse(&csv, None);
    let found = plimsoll::control::oversubscribed(&policy, &directory, super::now());
    plimsoll::diagnostic::render(&found, &[Source::new("policy.yaml", text)])
}

// Mutation: a tenant whom the child does not concern counts; the shorter period is not converted.
#[test]
fn budgets_within_another_are_added_up() {
    assert_eq!(family(FAMILY, "globex,growth\n"), "", "150 and 30.4 times 5 are below 400");
    insta::assert_snapshot!(family(FAMILY, "globex,growth\nacme,growth\nstranger,\n"), @r"
    warning[W129]: budgets within `company` may use more than it allows
     --> policy.yaml:7:19
      |
    7 |   labs: { within: company, match: { endpointTag: labs.* }, limit: $5/day, escalation: watch }
      |                   ^^^^^^^
      = note: `labs`, `tenant` add up to $452.18/month, 13% above $400.00/month
    ");
    let own = FAMILY.replace("[tenantId, endpointTag]", "[tenantId]").replace("$100/month", "$50/week");
    insta::assert_snapshot!(family(&own, "globex,growth\n"), @r"
    warning[W129]: budgets within `tenant` may use more than it allows tenant `globex`
     --> policy.yaml:8:39
      |
    8 |   feature: { per: [tenantId], within: tenant, limit: $50/week, escalation: watch }
      |                                       ^^^^^^
      = note: `feature` add up to $217.41/month, 44% above $150.00/month
    ");
}

#[test]
fn budgets_that_do_not_fit_within_another_are_refused() {
    let circle = FAMILY.replace("company: { ", "company: { within: labs, ").replace("$5/day", "$5/month");
    insta::assert_snapshot!(family(&circle, ""), @r"
    error[E127]: budgets stand within each other: labs → company → labs
     --> policy.yaml:7:19
      |
    7 |   labs: { within: company, match: { endpointTag: labs.* }, limit: $5/month, escalation: watch }
      |                   ^^^^^^^
      = help: leave out one `within` of the circle
    ");
    let itself = FAMILY.replace("within: company, match", "within: labs, match");
    insta::assert_snapshot!(family(&itself, ""), @r"
    error[E127]: budgets stand within each other: labs → labs
     --> policy.yaml:7:19
      |
    7 |   labs: { within: labs, match: { endpointTag: labs.* }, limit: $5/day, escalation: watch }
      |                   ^^^^
      = help: leave out one `within` of the circle
    ");
    let misfits = FAMILY
        .replace("$5/day", "200 requests/day")
        .replace("within: tenant, limit: $100/month", "within: tenat, limit: $100/month")
        .replace(
            "per: [tenantId], within: company, limit: plan.llm_budget",
            "within: feature, limit: $3/rolling 1 hour",
        );
    insta::assert_snapshot!(family(&misfits, ""), @r"
    error[E128]: budget `tenant` does not fit within `feature`
     --> policy.yaml:6:21
      |
    6 |   tenant: { within: feature, limit: $3/rolling 1 hour, escalation: watch }
      |                     ^^^^^^^ rolling windows and workflows have no share of a period
      = help: take `within` away; every budget that counts a call applies to it anyway

    error[E128]: budget `labs` does not fit within `company`
     --> policy.yaml:7:19
      |
    7 |   labs: { within: company, match: { endpointTag: labs.* }, limit: 200 requests/day, escalation: watch }
      |                   ^^^^^^^ it counts in another unit
      = help: name a budget of the same unit

    error[E131]: budget `tenat` is not defined
     --> policy.yaml:8:52
      |
    6 |   tenant: { within: feature, limit: $3/rolling 1 hour, escalation: watch }
      |   ------ a similar name is defined here
      |
    8 |   feature: { per: [tenantId, endpointTag], within: tenat, limit: $100/month, escalation: watch }
      |                                                    ^^^^^ used here
      = help: did you mean `tenant`?
    ");
}

#[test]
fn nobody_waits_for_nothing_or_for_ever() {
    let waiting = |queue: &str| {
        let lines = format!(
            "    per: [tenantId]\n    limit: $5/day\n    escalation: {{ contain: {{ at: 1%, throttle: {{ all: 9 requests/min, {queue} }} }} }}"
        );
        one_budget(&lines)
    };
    assert_eq!(waiting("queue: 3 s"), "");
    insta::assert_snapshot!(waiting("queue: 2 min"), @r"
    error[E113]: a call cannot wait that long for its turn
     --> policy.yaml:7:78
      |
    7 |     escalation: { contain: { at: 1%, throttle: { all: 9 requests/min, queue: 2 min } } }
      |                                                                              ^^^^^ from 1 s to 60 s
      = help: write `queue: 3 s`: clients wait too
    ");
    insta::assert_snapshot!(waiting("queue: 3"), @r"
    error[E114]: `3` is not a duration
     --> policy.yaml:7:78
      |
    7 |     escalation: { contain: { at: 1%, throttle: { all: 9 requests/min, queue: 3 } } }
      |                                                                              ^
      = help: write `2 days`, `10 min` or `1 hour`
    ");
    insta::assert_snapshot!(waiting("queues: 3 s"), @r"
    error[E104]: unknown key `queues` in `throttle`
     --> policy.yaml:7:71
      |
    7 |     escalation: { contain: { at: 1%, throttle: { all: 9 requests/min, queues: 3 s } } }
      |                                                                       ^^^^^^ not a scope
      = help: did you mean `queue`?
      = valid here: all, non_critical, queue
    ");
}

#[test]
fn scopes_without_a_value_do_nothing() {
    let base = MINIMAL.split_once("      contain").expect("a first step").0;
    for (step, place) in [
        ("contain: { at: 100%, cap_output_tokens: {} }", "9:47"),
        ("contain: { at: 100%, throttle: { queue: 3 s } }", "9:40"),
        ("decide: { at: 100%, ask: log, within: 1 day, otherwise: { throttle: {} } }", "9:75"),
        ("decide: { at: 100%, ask: log, within: 1 day, otherwise: { cap_output_tokens: {} } }", "9:84"),
    ] {
        let (_, shown) = compile_text(&format!("{base}      {step}\n"));
        assert!(
            shown.starts_with("error[E141]") && shown.contains(&format!("policy.yaml:{place}\n")),
            "{step}\n{shown}"
        );
        assert_eq!(shown.matches("error[").count(), 1, "{shown}");
    }
}
