//! Decisions of the realistic policy, step by step.

use std::fmt::Write as _;
use std::sync::Arc;

use plimsoll::diagnostic::Source;
use plimsoll::directory::{Directory, KnownNames};
use plimsoll::domain::attribution::{Attribution, DataMode};
use plimsoll::domain::clock::Timestamp;
use plimsoll::domain::content::Content;
use plimsoll::domain::standing::{Standing, Standings};
use plimsoll::domain::tenant::Tenant;
use plimsoll::policy::decision::{Decision, State, Step};
use plimsoll::policy::{CallFacts, Policy, evaluate};

use super::{MINIMAL, REALISTIC, at, now, policy};

const DOLLAR: i64 = 1_000_000_000;

pub(crate) fn tenants(policy: &Policy) -> Directory {
    let source = Source::new("tenants.csv", include_str!("../../policies/tenants.csv"));
    let known = KnownNames { plans: &policy.plan_names(), segments: &policy.segment_names() };
    let (directory, diagnostics) = Directory::parse(&source, Some(known));
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    directory
}

pub(crate) fn tagged(tag: &str) -> Attribution {
    Attribution { endpoint_tag: Arc::from(tag), ..Attribution::default() }
}

pub(crate) fn facts<'a>(tenant: &'a Tenant, attribution: &'a Attribution) -> CallFacts<'a> {
    CallFacts {
        now: now(),
        tenant,
        attribution,
        provider: "openai",
        model: "gpt-4o-2024-08-06",
        cap: Some(4_096),
        thinking_budget: None,
        reasoning: false,
        content: Content { input: Some(1_000), takes_tier: true, ..Content::default() },
    }
}

/// Standings with `share` percent of every limit used.
pub(crate) fn standings(policy: &Policy, facts: &CallFacts<'_>, share: i64, opened: Option<Timestamp>) -> Standings {
    let counted = policy.counted(facts);
    let standing = |counted: &plimsoll::domain::standing::Counted| {
        let limit = counted.limit?;
        Some(Standing {
            budget: counted.budget,
            limit,
            used: limit / 100 * share,
            window: policy.window(counted.budget, facts.now),
            decide_opened: opened,
        })
    };
    counted.iter().filter_map(standing).collect()
}

fn decide(tenant: &str, tag: &str, share: i64, opened: Option<Timestamp>) -> Decision {
    let policy = policy(REALISTIC);
    let directory = tenants(&policy);
    let attribution = tagged(tag);
    let tenant = directory.tenant(tenant).expect("a tenant");
    let facts = facts(&tenant, &attribution);
    evaluate(&policy, &facts, &standings(&policy, &facts, share, opened))
}

fn short(decision: &Decision) -> String {
    let actions = &decision.actions;
    let step = actions.step.map_or("-", Step::as_str);
    let mut text = step.to_owned();
    if let Some(by) = &actions.by {
        let _ = write!(text, " by={by}");
    }
    if let Some(cap) = actions.cap {
        let _ = write!(text, " cap={cap}");
    }
    if let Some(rate) = &actions.throttle {
        let _ = write!(text, " {}={}/{}", rate.rule, rate.requests, rate.per);
    }
    if let Some(route) = &actions.route {
        let _ = write!(text, " route={route}");
    }
    if actions.block.is_some() {
        text.push_str(" block");
    }
    text
}

#[test]
fn the_ladder_of_a_tenant_step_by_step() {
    let opened = Some(at("2026-11-20T12:00:00Z"));
    let fresh = Some(at("2026-11-24T12:00:00Z"));
    for (tag, share, opened, expected) in [
        ("support.reply", 79, None, "-"),
        ("support.reply", 80, None, "-"),
        ("support.reply", 99, None, "-"),
        ("support.reply", 100, None, "contain cap=600"),
        ("batch.unlisted", 100, None, "contain cap=600"),
        ("report.x", 110, None, "contain cap=600"),
        ("support.reply", 300, opened, "contain cap=600"),
    ] {
        assert_eq!(short(&decide("globex", tag, share, opened)), expected, "{tag} {share}");
    }
    // A digest is not critical; its own quota blocks at 100 %, so that it is judged beside an unused one.
    let policy = policy(REALISTIC);
    let directory = tenants(&policy);
    let attribution = tagged("digest.weekly");
    let tenant = directory.tenant("globex").expect("a tenant");
    let facts = facts(&tenant, &attribution);
    for (share, opened, expected) in [
        (99, None, "-"),
        (100, None, "contain cap=600 tenant_month.contain=20/minute"),
        (110, None, "degrade cap=600 tenant_month.contain=20/minute route=gpt-4o-mini"),
        (125, None, "degrade cap=600 tenant_month.contain=20/minute route=gpt-4o-mini"),
        (125, fresh, "degrade cap=600 tenant_month.contain=20/minute route=gpt-4o-mini"),
        (125, opened, "decide cap=600 tenant_month.contain=20/minute route=gpt-4o-mini block"),
    ] {
        let mut standings = standings(&policy, &facts, share, opened);
        standings.retain(|standing| policy.budgets[standing.budget].name.as_ref() == "tenant_month");
        assert_eq!(short(&evaluate(&policy, &facts, &standings)), expected, "{share}");
    }
}

#[test]
fn states_follow_the_warning_step_and_the_limit() {
    let state = |share| {
        let decision = decide("globex", "support.reply", share, None);
        (decision.states[0].state, decision.states[0].used_percent)
    };
    assert_eq!(state(79), (State::Ok, 79));
    assert_eq!(state(80), (State::Warning, 80));
    assert_eq!(state(99), (State::Warning, 99));
    assert_eq!(state(100), (State::Exceeded, 100));
    assert_eq!(state(250), (State::Exceeded, 250));
}

#[test]
fn a_feature_quota_blocks_and_names_its_ceiling() {
    let decision = decide("globex", "digest.weekly", 100, None);
    let policy = policy(REALISTIC);
    let digest = policy.budget_named("digest_quota").expect("a budget");
    let block = decision.actions.block.expect("a block");
    assert_eq!((block.budget, block.status), (digest, 429));
    assert_eq!(block.resets_at, at("2026-11-30T23:00:00Z"));
    assert_eq!(decision.actions.step, Some(Step::Contain));
    let ceilings: Vec<_> = decision.ceilings.iter().map(|ceiling| (ceiling.budget, ceiling.at)).collect();
    assert_eq!(ceilings, [(digest, 20 * DOLLAR)]);
}

#[test]
fn a_segment_acts_always_and_another_one_never() {
    assert_eq!(
        short(&decide("soylent", "support.reply", 0, None)),
        "- by=segment.high_volume_low_risk cap=500 route=gpt-4o-mini"
    );
    let opened = Some(at("2026-11-01T12:00:00Z"));
    assert_eq!(short(&decide("acme-corp", "digest.weekly", 300, opened)), "contain cap=600");
    assert!(decide("acme-corp", "digest.weekly", 300, opened).ceilings.is_empty(), "outside the promise");
}

#[test]
fn limits_come_from_plan_revenue_and_exception() {
    let policy = policy(REALISTIC);
    let directory = tenants(&policy);
    let attribution = tagged("support.reply");
    let month = policy.budget_named("tenant_month").expect("a budget");
    let limit = |tenant: &str, moment: Timestamp| {
        let tenant = &directory.tenant(tenant).expect("a tenant");
        let facts = CallFacts { now: moment, ..facts(tenant, &attribution) };
        let counted = policy.counted(&facts).into_iter().find(|counted| counted.budget == month);
        counted.and_then(|counted| counted.limit).map(|limit| limit / DOLLAR)
    };
    assert_eq!(limit("globex", now()), Some(150));
    assert_eq!(limit("soylent", now()), Some(12));
    assert_eq!(limit("acme-corp", at("2027-01-31T22:59:59Z")), Some(900), "inclusive of the last day in Berlin");
    assert_eq!(limit("acme-corp", at("2027-01-31T23:00:00Z")), Some(720), "30% of 2400");
    let stranger = Tenant::unknown(plimsoll::domain::tenant::TenantId::new("stranger").expect("an id"));
    let unlimited =
        |tenant: &Tenant| policy.counted(&facts(tenant, &attribution)).iter().all(|counted| counted.limit.is_none());
    assert!(unlimited(&stranger), "no plan, no limit, and counted nevertheless");
    let poor = Tenant { plan: Some(Arc::from("enterprise")), ..stranger.clone() };
    assert!(unlimited(&poor), "no revenue, no limit");
}

#[test]
fn counters_are_named_by_the_values_of_per() {
    let policy = policy(REALISTIC);
    let directory = tenants(&policy);
    let globex = &directory.tenant("globex").expect("a tenant");
    let mut attribution = tagged("agent.plan");
    attribution.user_id = Some(Arc::from("u1"));
    attribution.data_mode = DataMode::Demo;
    let key = |name: &str, attribution: &Attribution| {
        let dimensions = policy.dimensions(globex, attribution, "openai", "gpt-4o");
        policy.counter_key(policy.budget_named(name).expect("a budget"), &dimensions).expect("a key")
    };
    assert_eq!(key("tenant_month", &attribution), "globex");
    assert_eq!(key("agent_tokens", &attribution), "globex\u{1f}u1");
    assert_eq!(key("agent_tokens", &tagged("agent.plan")), "globex\u{1f}");
    assert_eq!(key("non_billable", &attribution), "");
    let counted = policy.counted(&facts(globex, &attribution));
    let names: Vec<&str> = counted.iter().map(|counted| policy.budgets[counted.budget].name.as_ref()).collect();
    assert_eq!(names, ["agent_tokens", "non_billable", "tenant_month"]);
}

#[test]
fn dry_run_reports_and_does_nothing() {
    let decision = decide("globex", "agent.plan", 100, None);
    assert_eq!(short(&decision), "contain cap=600");
    let policy = policy(REALISTIC);
    let agent = policy.budget_named("agent_tokens");
    assert_eq!(decision.would.block.as_ref().map(|block| block.budget), agent);
    assert_eq!((decision.would.step, decision.would.budget, decision.would.cap), (Some(Step::Contain), agent, None));
    assert!(decision.ceilings.is_empty());

    let minimal = super::policy(MINIMAL);
    let tenant = Tenant::unknown(plimsoll::domain::tenant::TenantId::unattributed());
    let attribution = Attribution::default();
    let facts = facts(&tenant, &attribution);
    let decision = evaluate(&minimal, &facts, &standings(&minimal, &facts, 200, None));
    assert!(decision.actions.is_empty() && decision.actions.step.is_none() && decision.ceilings.is_empty());
    assert_eq!((decision.would.cap, decision.would.step), (Some(500), Some(Step::Decide)));
    assert!(decision.would.block.is_some());
}

#[test]
fn a_cap_never_makes_a_thinking_request_illegal() {
    let policy = policy(REALISTIC);
    let directory = tenants(&policy);
    let attribution = tagged("support.reply");
    let tenant = directory.tenant("globex").expect("a tenant");
    let base = facts(&tenant, &attribution);
    let capped = |cap, thinking_budget| {
        let facts = CallFacts { cap, thinking_budget, ..base };
        let actions = evaluate(&policy, &facts, &standings(&policy, &facts, 100, None)).actions;
        (actions.cap, actions.cap_kept_thinking, actions.step)
    };
    let contain = Some(Step::Contain);
    assert_eq!(capped(None, None), (Some(600), false, contain));
    assert_eq!(capped(Some(600), None), (None, false, None));
    assert_eq!(capped(Some(300), None), (None, false, None));
    assert_eq!(capped(Some(9_000), Some(2_000)), (Some(3_024), true, contain));
    assert_eq!(capped(Some(3_000), Some(2_000)), (None, true, contain));
    assert_eq!(capped(None, Some(2_000)), (Some(3_024), true, contain));
}

#[test]
fn the_block_that_resets_last_is_named_and_the_severest_step_decides() {
    let policy = policy(
        "version: 1
mode: enforce
plans: { p: { message: Please call us. } }
defaults: { plan: p }
budgets:
  a_day: { per: [tenantId], limit: $1/day, escalation: { decide: { at: 100%, block: all, status: 402 } } }
  b_month: { per: [tenantId], limit: $1/month, grace: 10%, escalation: { contain: { at: 50%, block: all } } }
  c_zero: { limit: $0/day, match: { endpointTag: free }, escalation: { contain: { at: 100%, block: all } } }
",
    );
    let tenant = Tenant::unknown(plimsoll::domain::tenant::TenantId::new("t").expect("an id"));
    let attribution = tagged("x");
    let facts = facts(&tenant, &attribution);
    let decision = evaluate(&policy, &facts, &standings(&policy, &facts, 110, None));
    let block = decision.actions.block.expect("a block");
    assert_eq!((block.budget, block.status, block.message.as_deref()), (1, 429, Some("Please call us.")));
    assert_eq!((decision.actions.step, decision.actions.budget), (Some(Step::Decide), Some(0)));
    let ceilings: Vec<i64> = decision.ceilings.iter().map(|ceiling| ceiling.at).collect();
    assert_eq!(ceilings, [DOLLAR, DOLLAR / 10 * 11], "the grace moves the ceiling");
    let earlier = evaluate(&policy, &facts, &standings(&policy, &facts, 109, None));
    assert_eq!(earlier.actions.block.map(|block| (block.budget, block.status)), Some((0, 402)), "not before 110%");

    let attribution = tagged("free");
    let facts = super::decisions::facts(&tenant, &attribution);
    let decision = evaluate(&policy, &facts, &standings(&policy, &facts, 0, None));
    assert_eq!(decision.actions.block.map(|block| block.budget), Some(2), "an explicit $0 blocks");
}

#[test]
fn a_forecast_waits_for_a_fifth_of_the_window() {
    let policy = policy(REALISTIC);
    let month = policy.budget_named("tenant_month").expect("a budget");
    let forecast = |moment: &str, used| {
        let now = at(moment);
        let window = policy.window(month, now);
        let standing =
            Standing { budget: month, limit: 100 * DOLLAR, used: used * DOLLAR, window, decide_opened: None };
        plimsoll::policy::reached(&policy, month, &standing, now).contains(Step::SpendAlert)
    };
    assert!(!forecast("2026-11-04T00:00:00Z", 60), "too early to tell");
    assert!(forecast("2026-11-16T00:00:00Z", 51));
    assert!(!forecast("2026-11-16T00:00:00Z", 49));
}

#[test]
fn steps_are_described_in_words() {
    let policy = policy(REALISTIC);
    let month = policy.budget_named("tenant_month").expect("a budget");
    let words: Vec<String> = policy
        .next_steps(month, plimsoll::policy::decision::StepSet::default())
        .into_iter()
        .map(|(step, at, action)| format!("{step} at {at}: {action}"))
        .collect();
    insta::assert_snapshot!(words.join("\n"), @r"
    warning at 80%: notify account_owner, slack:llm-margin
    spend_alert at forecast 100%: notify account_owner
    contain at 100%: cap 600 output tokens; 20 requests/min on non_critical
    degrade at 110%: claude-opus-4-5 → claude-haiku-4-5, gemini-2.5-pro → gemini-2.5-flash, gpt-4o → gpt-4o-mini on non_critical
    decide at 125%: ask account_owner; after 2 days block non_critical requests
    ");
}

#[test]
fn what_a_hard_budget_cannot_promise_is_said() {
    let said = policy(REALISTIC).outside_promise();
    assert_eq!(said.len(), 3);
    assert_eq!(
        said[1],
        "budget `digest_quota` counts calls of segment `low_volume_high_stakes` and never refuses them"
    );
}

const SPANS: &str = "version: 1
mode: enforce
budgets:
  burst:
    per: [tenantId]
    limit: $5/rolling 1 hour
    escalation: { warning: { at: 80%, notify: [log] }, contain: { at: 100%, cap_output_tokens: 50 }, degrade: { at: 200%, block: all } }
  run:
    per: [tenantId, workflowId]
    limit: 0.80 USD/workflow
    escalation: { spend_alert: { at: forecast 50%, notify: [log] }, contain: { at: 100%, block: all, status: 402, message: This run is over. } }
";

#[test]
fn a_block_without_a_calendar_refuses_at_its_threshold_and_is_no_ceiling() {
    let policy = policy(SPANS);
    let (burst, run) = (policy.budget_named("burst").expect("one"), policy.budget_named("run").expect("one"));
    assert!(policy.budgets.iter().all(|budget| !budget.hard && !budget.is_exact()));
    let tenant = Tenant::unknown(plimsoll::domain::tenant::TenantId::new("t").expect("an id"));
    let attribution = Attribution { workflow_id: Some(Arc::from("w1")), ..tagged("x") };
    let facts = facts(&tenant, &attribution);
    let counted: Vec<_> = policy.counted(&facts).iter().map(|counted| (counted.budget, counted.limit)).collect();
    assert_eq!(counted, [(burst, Some(5 * DOLLAR)), (run, Some(DOLLAR * 4 / 5))]);
    let endless = plimsoll::domain::window::Window::EVER;
    let judge = |share: i64| {
        let standing =
            |budget, limit, window| Standing { budget, limit, used: limit / 100 * share, window, decide_opened: None };
        let soon = plimsoll::domain::window::Window { end: at("2026-11-25T12:40:00Z"), ..endless };
        evaluate(&policy, &facts, &[standing(burst, 5 * DOLLAR, soon), standing(run, DOLLAR * 4 / 5, endless)])
    };
    let below = judge(99);
    assert!(below.actions.block.is_none() && below.ceilings.is_empty());
    let reached = |decision: &Decision, at: usize| decision.states[at].reached.iter().collect::<Vec<_>>();
    assert_eq!(reached(&below, 1), [], "a workflow has no forecast");
    let block = judge(100).actions.block.expect("a block");
    assert_eq!((block.budget, block.status, block.message.as_deref()), (run, 402, Some("This run is over.")));
    let both = judge(200);
    assert!(both.ceilings.is_empty(), "nothing is held for it");
    assert_eq!(both.actions.block.map(|block| block.budget), Some(run), "what never resets, resets last");
    let alone = facts_of_no_workflow(&policy, &tenant);
    assert_eq!(alone, [burst], "a call without a workflow is not counted");
}

fn facts_of_no_workflow(policy: &Policy, tenant: &Tenant) -> Vec<usize> {
    let attribution = tagged("x");
    policy.counted(&facts(tenant, &attribution)).iter().map(|counted| counted.budget).collect()
}
