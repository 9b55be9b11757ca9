//! Segments: the gate before flagship models, limits on what requests carry, and what is only watched.

use std::sync::Arc;

use plimsoll::domain::attribution::Attribution;
use plimsoll::domain::content::Content;
use plimsoll::domain::tenant::{Tenant, TenantId};
use plimsoll::policy::decision::{Decision, ToolOutput};
use plimsoll::policy::trace::{Action, Trace};
use plimsoll::policy::{CallFacts, evaluate};

use super::decisions::{facts, standings, tagged};
use super::{compile_text, policy};

const SEGMENTS: &str = "version: 1
mode: enforce
segments:
  stakes:
    never: [throttle, route, block]
    flagship: { allow: [claude-opus-4-5, gpt-4o], promptVersion: [contract_v7, legal_*] }
    otherwise: { route: cheaper, cap_output_tokens: 900 }
  tools:
    watch: { tool_output_tokens: above 4000/request, steps: above 12/workflow, retrieval.k: above 12 }
    limits: { max_tool_output_tokens: 8000 }
routes:
  cheaper: { gpt-4o: gpt-4o-mini, claude-opus-4-5: claude-haiku-4-5 }
budgets:
  day: { per: [tenantId], limit: $1/day, escalation: { contain: { at: 100%, block: all, route: cheaper } } }
";

fn decide(text: &str, segment: &str, share: i64, change: impl Fn(&mut CallFacts<'_>)) -> Decision {
    decide_prompt(text, segment, share, ("_unversioned", change))
}

fn decide_prompt(text: &str, segment: &str, share: i64, call: (&str, impl Fn(&mut CallFacts<'_>))) -> Decision {
    let (prompt, change) = call;
    let policy = policy(text);
    let tenant = Tenant { segment: Some(Arc::from(segment)), ..Tenant::unknown(TenantId::new("t").expect("an id")) };
    let attribution = Attribution { prompt_version: Arc::from(prompt), ..tagged("x") };
    let mut facts = facts(&tenant, &attribution);
    change(&mut facts);
    evaluate(&policy, &facts, &standings(&policy, &facts, share, None))
}

fn gate(text: &str, model: &'static str, prompt: &str) -> Option<String> {
    let actions = decide_prompt(text, "stakes", 0, (prompt, |facts: &mut CallFacts<'_>| facts.model = model)).actions;
    assert_eq!(actions.by.is_some(), actions.route.is_some());
    actions.route.map(|route| route.to_string())
}

#[test]
fn only_approved_prompts_reach_the_flagship() {
    assert_eq!(gate(SEGMENTS, "gpt-4o-2024-08-06", "contract_v6").as_deref(), Some("gpt-4o-mini"));
    assert_eq!(gate(SEGMENTS, "claude-opus-4-5", "_unversioned").as_deref(), Some("claude-haiku-4-5"));
    assert_eq!(gate(SEGMENTS, "gpt-4o", "contract_v7"), None);
    assert_eq!(gate(SEGMENTS, "gpt-4o", "legal_v1"), None, "prompts are patterns");
    assert_eq!(gate(SEGMENTS, "gpt-4o-mini", "contract_v6"), None, "not a flagship");
}

#[test]
fn the_gate_is_not_subtracted_by_its_own_never() {
    let spent = decide(SEGMENTS, "stakes", 200, |_| ());
    assert_eq!(spent.actions.route.as_deref(), Some("gpt-4o-mini"), "the gate's");
    assert_eq!((spent.actions.cap, spent.actions.block.is_some()), (Some(900), false), "the budget's are subtracted");
    let excepted = format!(
        "{SEGMENTS}exceptions:\n  - {{ tenantId: t, never: [route], reason: r, approved_by: a, expires: 2027-01-01 }}\n"
    );
    assert_eq!(decide(&excepted, "stakes", 0, |_| ()).actions.route, None, "an exception opens it");
    let dry = SEGMENTS.replace("mode: enforce", "mode: dry_run");
    let dry = decide(&dry, "stakes", 0, |_| ());
    assert_eq!((dry.actions.route, dry.would.route.as_deref()), (None, Some("gpt-4o-mini")));
}

#[test]
fn a_result_of_a_tool_that_is_too_long_is_refused() {
    let long = |tokens| {
        move |facts: &mut CallFacts<'_>| {
            facts.content = Content { longest_tool_output: tokens, tool_output: 3 * tokens, ..facts.content };
        }
    };
    let refused = decide(SEGMENTS, "tools", 0, long(8_001)).actions;
    assert_eq!(refused.tool_output, Some(ToolOutput { tokens: 8_001, limit: 8_000 }));
    assert_eq!(refused.by.as_deref(), Some("segment.tools"));
    assert_eq!(decide(SEGMENTS, "tools", 0, long(8_000)).actions.tool_output, None, "each result by itself");
    assert_eq!(decide(SEGMENTS, "stakes", 0, long(8_001)).actions.tool_output, None);
    let dry = decide(&SEGMENTS.replace("mode: enforce", "mode: dry_run"), "tools", 0, long(8_001));
    assert!(dry.actions.is_empty() && dry.would.tool_output.is_some());
    let excepted = format!(
        "{SEGMENTS}exceptions:\n  - {{ tenantId: t, never: [block], reason: r, approved_by: a, expires: 2027-01-01 }}\n"
    );
    assert_eq!(decide(&excepted, "tools", 0, long(8_001)).actions.tool_output, None);
}

#[test]
fn a_body_is_looked_into_for_tenants_of_a_segment_that_limits_it() {
    let policy = policy(SEGMENTS);
    let of = |segment: &str| Tenant { segment: Some(Arc::from(segment)), ..Tenant::unknown(TenantId::unattributed()) };
    assert!(policy.looks_at_content(&of("tools")) && !policy.looks_at_content(&of("stakes")));
    assert!(policy.not_in_force().is_empty());
    let only_watched = super::policy(&SEGMENTS.replace("    limits: { max_tool_output_tokens: 8000 }\n", ""));
    assert!(only_watched.looks_at_content(&of("tools")));
    let steps_alone = SEGMENTS.replace("tool_output_tokens: above 4000/request, ", "");
    let steps_alone = super::policy(&steps_alone.replace("    limits: { max_tool_output_tokens: 8000 }\n", ""));
    assert!(!steps_alone.looks_at_content(&of("tools")), "steps are not in the body");
}

// Mutation: any name with a dot is taken.
#[test]
fn an_attribute_whose_name_no_header_can_carry_is_not_watched() {
    for name in ["retrieval.größe", "\"retrieval.top k\"", "\"a.b:c\""] {
        let text = SEGMENTS.replace("retrieval.k: above 12", &format!("{name}: above 12"));
        let said = compile_text(&text).1;
        assert!(said.contains("error[E104]: unknown key") && said.contains("in `watch`"), "{name}: {said}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one snapshot of one run")]
fn what_is_wrong_with_a_segment_is_said() {
    let text = "version: 1
mode: enforce
segments:
  a: { flagship: { allow: [gpt-4o], promptVersion: v7 } }
  b: { otherwise: { route: cheaper } }
  c: { flagship: { alow: [gpt-4o] }, otherwise: {} }
  d: { flagship: { allow: [gpt-4o, claude-sonnet-4-5], promptVersion: v7 }, otherwise: { route: cheaper } }
  e: { limits: { max_tool_output_tokens: lots, max_steps: 3 } }
  f: { watch: { avgInputTokens: over 6000, tool_output: above 4/request, retrieval.k: above 12/day } }
  g: { watch: { steps: above 12/request, tool_output_tokens: above 9/workflow } }
routes: { cheaper: { gpt-4o: gpt-4o-mini } }
";
    insta::assert_snapshot!(compile_text(text).1, @r"
    error[E105]: `flagship` needs `otherwise`
     --> policy.yaml:4:8
      |
    4 |   a: { flagship: { allow: [gpt-4o], promptVersion: v7 } }
      |        ^^^^^^^^ what becomes of others?
      = help: add `otherwise: { route: cheaper }`

    error[E105]: `otherwise` needs `flagship`
     --> policy.yaml:5:8
      |
    5 |   b: { otherwise: { route: cheaper } }
      |        ^^^^^^^^^ otherwise than what?
      = help: add `flagship: { allow: [gpt-4o], promptVersion: [v7] }`

    error[E104]: unknown key `alow` in `flagship`
     --> policy.yaml:6:20
      |
    6 |   c: { flagship: { alow: [gpt-4o] }, otherwise: {} }
      |                    ^^^^ not a key of flagship
      = help: did you mean `allow`?
      = valid here: allow, promptVersion

    error[E105]: `flagship` has no `promptVersion`
     --> policy.yaml:6:20
      |
    6 |   c: { flagship: { alow: [gpt-4o] }, otherwise: {} }
      |                    ^^^^
      = help: add `promptVersion: [v7, v8]`

    warning[W155]: prompts that are not approved still reach `claude-sonnet-4-5`: no route of `otherwise` leads away from it
     --> policy.yaml:7:8
      |
    7 |   d: { flagship: { allow: [gpt-4o, claude-sonnet-4-5], promptVersion: v7 }, otherwise: { route: cheaper } }
      |        ^^^^^^^^
      = help: add a rule for `claude-sonnet-4-5` to the route, or take it out of `allow`

    error[E112]: `max_tool_output_tokens` must be a whole number
     --> policy.yaml:8:42
      |
    8 |   e: { limits: { max_tool_output_tokens: lots, max_steps: 3 } }
      |                                          ^^^^ not a whole number

    error[E104]: unknown key `max_steps` in `limits`
     --> policy.yaml:8:48
      |
    8 |   e: { limits: { max_tool_output_tokens: lots, max_steps: 3 } }
      |                                                ^^^^^^^^^ not a limit
      = valid here: max_tool_output_tokens

    error[E122]: `over 6000` is not a bound
     --> policy.yaml:9:33
      |
    9 |   f: { watch: { avgInputTokens: over 6000, tool_output: above 4/request, retrieval.k: above 12/day } }
      |                                 ^^^^^^^^^
      = help: write `above 4000/request`

    error[E104]: unknown key `tool_output` in `watch`
     --> policy.yaml:9:44
      |
    9 |   f: { watch: { avgInputTokens: over 6000, tool_output: above 4/request, retrieval.k: above 12/day } }
      |                                            ^^^^^^^^^^^ not watched; attributes of calls have a dot: `retrieval.k`
      = valid here: tool_output_tokens, steps, avgInputTokens

    error[E122]: `above 12/day` is not a bound
     --> policy.yaml:9:87
      |
    9 |   f: { watch: { avgInputTokens: over 6000, tool_output: above 4/request, retrieval.k: above 12/day } }
      |                                                                                       ^^^^^^^^^^^^ it is per request
      = help: write `above 12/request`

    error[E122]: `above 12/request` is not a bound
      --> policy.yaml:10:24
       |
    10 |   g: { watch: { steps: above 12/request, tool_output_tokens: above 9/workflow } }
       |                        ^^^^^^^^^^^^^^^^ it is per workflow
       = help: write `above 12/workflow`

    error[E122]: `above 9/workflow` is not a bound
      --> policy.yaml:10:62
       |
    10 |   g: { watch: { steps: above 12/request, tool_output_tokens: above 9/workflow } }
       |                                                              ^^^^^^^^^^^^^^^^ it is per request
       = help: write `above 9/request`
    ");
}

/// The rule behind an action of a call of this segment.
fn decider(segment: &str, action: Action, change: impl Fn(&mut CallFacts<'_>)) -> Vec<String> {
    let policy = policy(SEGMENTS);
    let tenant = Tenant { segment: Some(Arc::from(segment)), ..Tenant::unknown(TenantId::new("t").expect("an id")) };
    let attribution = tagged("x");
    let mut facts = facts(&tenant, &attribution);
    change(&mut facts);
    let trace = Trace::of(&policy, facts, &standings(&policy, &facts, 0, None));
    trace.deciders(action, false).into_iter().map(|decider| decider.rule).collect()
}

// Mutation: in `Trace::is_of_segment` look at what always applies alone.
#[test]
fn what_a_gate_and_a_limit_do_is_the_segments_doing() {
    assert_eq!(decider("stakes", Action::Route, |facts| facts.model = "gpt-4o"), ["segments.stakes"]);
    assert_eq!(decider("stakes", Action::Cap, |facts| facts.model = "gpt-4o"), ["segments.stakes"]);
    let long = |facts: &mut CallFacts<'_>| facts.content.longest_tool_output = 8_001;
    assert_eq!(decider("tools", Action::Block, long), ["segments.tools"]);
    assert!(decider("tools", Action::Block, |facts| facts.content.longest_tool_output = 8_000).is_empty());
}
