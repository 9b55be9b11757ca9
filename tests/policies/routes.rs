//! Routes with several targets: the first that can answer the call; service tiers; and what may not be written.

use plimsoll::domain::content::Content;
use plimsoll::domain::tenant::{Tenant, TenantId};
use plimsoll::policy::decision::{Actions, StepSet};
use plimsoll::policy::{CallFacts, evaluate};

use super::decisions::{facts, standings, tagged};
use super::{compile_text, policy};

const ROUTES: &str = "version: 1
mode: enforce
plans: { p: { route: cheaper } }
defaults: { plan: p }
routes:
  cheaper:
    gpt-4o: [gpt-4-base, gpt-3.5-turbo, gpt-4o-mini]
    claude-opus-4-5: [claude-sonnet-4-5, claude-haiku-4-5]
  overnight:
    gpt-4o: { model: gpt-4o, service_tier: flex }
    gpt-4o-mini: [{ model: gpt-3.5-turbo, service_tier: flex }, gpt-4-base]
";

fn decide(text: &str, change: impl Fn(&mut CallFacts<'_>)) -> Actions {
    let policy = policy(text);
    let tenant = Tenant::unknown(TenantId::new("t").expect("an id"));
    let attribution = tagged("x");
    let mut facts = facts(&tenant, &attribution);
    (facts.cap, facts.content) = (None, Content { input: Some(100), takes_tier: true, ..Content::default() });
    change(&mut facts);
    evaluate(&policy, &facts, &standings(&policy, &facts, 0, None)).actions
}

fn served(change: impl Fn(&mut CallFacts<'_>)) -> Option<String> {
    decide(ROUTES, change).route.map(|model| model.to_string())
}

#[test]
fn the_first_target_that_fits_is_served() {
    assert_eq!(served(|_| ()).as_deref(), Some("gpt-4-base"));
    assert_eq!(
        served(|facts| facts.content.tools = true).as_deref(),
        Some("gpt-3.5-turbo"),
        "the first calls no tools"
    );
    assert_eq!(
        served(|facts| facts.content.images = true).as_deref(),
        Some("gpt-4-base"),
        "it may see, nobody says no"
    );
    let both = |facts: &mut CallFacts<'_>| (facts.content.images, facts.content.tools) = (true, true);
    assert_eq!(served(both).as_deref(), Some("gpt-4o-mini"));
    assert_eq!(served(|facts| facts.model = "claude-opus-4-5-20251101").as_deref(), Some("claude-sonnet-4-5"));
}

#[test]
fn a_target_must_hold_the_input_and_the_answer() {
    let input = |tokens| served(|facts| facts.content.input = tokens);
    assert_eq!(input(Some(8_192)).as_deref(), Some("gpt-4-base"));
    assert_eq!(input(Some(8_193)).as_deref(), Some("gpt-3.5-turbo"));
    assert_eq!(input(Some(100_000)).as_deref(), Some("gpt-4o-mini"));
    assert_eq!(input(Some(128_001)), None, "no target fits: the call stays what it is");
    assert_eq!(input(None).as_deref(), Some("gpt-4o-mini"), "what is elsewhere fitted the window before");
    let capped = |cap| served(|facts| (facts.content.input, facts.cap) = (Some(8_000), Some(cap)));
    assert_eq!(capped(192).as_deref(), Some("gpt-4-base"));
    assert_eq!(capped(193).as_deref(), Some("gpt-3.5-turbo"));
    let full = |facts: &mut CallFacts<'_>| {
        (facts.content.tools, facts.content.input, facts.cap) = (true, Some(12_289), Some(100_000));
    };
    assert_eq!(served(full).as_deref(), Some("gpt-3.5-turbo"), "the model writes no more than its own limit");
    let turned = |facts: &mut CallFacts<'_>| (facts.model, facts.content.input) = ("claude-opus-4-5", None);
    assert_eq!(served(turned), None, "nobody knows the window before, so nobody knows that it fits");
}

#[test]
fn a_tier_is_asked_for_where_the_dialect_has_one() {
    let overnight = ROUTES.replace("{ route: cheaper }", "{ route: overnight }");
    let decide = |change: &dyn Fn(&mut CallFacts<'_>)| {
        let actions = decide(&overnight, change);
        (actions.route.map(|model| model.to_string()), actions.service_tier.map(|tier| tier.to_string()))
    };
    let (flex, mini) = (Some("flex".to_owned()), |facts: &mut CallFacts<'_>| facts.model = "gpt-4o-mini");
    assert_eq!(decide(&|_| ()), (None, flex.clone()), "the release that was asked for stays");
    assert_eq!(decide(&mini), (Some("gpt-3.5-turbo".to_owned()), flex));
    let elsewhere = |facts: &mut CallFacts<'_>| facts.content.takes_tier = false;
    assert_eq!(decide(&elsewhere), (None, None), "never written where nobody would read it");
    let both = |facts: &mut CallFacts<'_>| (facts.model, facts.content.takes_tier) = ("gpt-4o-mini", false);
    assert_eq!(decide(&both), (Some("gpt-4-base".to_owned()), None), "the next target");
}

#[test]
fn routes_are_described_in_the_order_they_are_tried() {
    let text = format!(
        "{ROUTES}budgets: {{ b: {{ limit: $1/day, escalation: {{ degrade: {{ at: 100%, route: overnight }} }} }} }}\n"
    );
    let words = policy(&text).next_steps(0, StepSet::default()).remove(0).2;
    assert_eq!(words, "gpt-4o → gpt-4o (flex), gpt-4o-mini → gpt-3.5-turbo (flex) or gpt-4-base");
}

#[test]
fn a_body_is_looked_into_only_when_a_route_could_turn_on_it() {
    let tenant = Tenant::unknown(TenantId::new("t").expect("an id"));
    assert!(policy(ROUTES).looks_at_content(&tenant));
    assert!(!policy(super::REALISTIC).looks_at_content(&tenant));
}

#[test]
fn each_target_is_checked_on_its_own() {
    let text = "version: 1
mode: enforce
routes:
  cheaper:
    gpt-4o-mini: [gpt-3.5-turbo, gpt-4o]
    gpt-4o: []
    claude-opus-4-5: { model: claude-haiku-4-5, service_tier: flex }
    gpt-4-base: { modle: gpt-3.5-turbo, service_tier: priority }
    gpt-3.5-turbo: anthropic/claude-haiku-4-5
  dearer:
    allow_more_expensive: true
    gpt-4o-mini: gpt-4o
";
    insta::assert_snapshot!(compile_text(text).1, @r"
    error[E151]: route `cheaper` makes `gpt-4o-mini` requests 16.7x more expensive
     --> policy.yaml:5:34
      |
    5 |     gpt-4o-mini: [gpt-3.5-turbo, gpt-4o]
      |     -----------                  ^^^^^^ $2.50/$10.00 per 1M in/out
      |     |
      |     $0.15/$0.60 per 1M in/out
      = help: swap the two names, or set `allow_more_expensive: true` on this route
      = prices: built-in table 2026-11-16 (`plimsoll prices show gpt-4o`)

    error[E106]: `gpt-4o` has no target
     --> policy.yaml:6:13
      |
    6 |     gpt-4o: []
      |             ^
      = help: name a model, or several: the first that fits the request is served

    error[E154]: a model of anthropic has no service tier
     --> policy.yaml:7:63
      |
    7 |     claude-opus-4-5: { model: claude-haiku-4-5, service_tier: flex }
      |                                                               ^^^^
      = help: leave `service_tier` out: only requests of the OpenAI dialects can carry it

    error[E104]: unknown key `modle` in the target of a route
     --> policy.yaml:8:19
      |
    8 |     gpt-4-base: { modle: gpt-3.5-turbo, service_tier: priority }
      |                   ^^^^^ not a key of a target
      = help: did you mean `model`?
      = valid here: model, service_tier

    error[E190]: routes to another provider are not supported yet
     --> policy.yaml:9:20
      |
    9 |     gpt-3.5-turbo: anthropic/claude-haiku-4-5
      |     -------------  ^^^^^^^^^^^^^^^^^^^^^^^^^^ served by anthropic
      |     |
      |     served by openai
      = help: choose a model of openai: requests are not translated between providers
    ");
}
