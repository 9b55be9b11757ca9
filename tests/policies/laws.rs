//! Laws of evaluation and of the compiler, over generated calls and texts.

use std::fmt::Write as _;
use std::sync::Arc;

use plimsoll::domain::attribution::Attribution;
use plimsoll::domain::content::Content;
use plimsoll::domain::money::Money;
use plimsoll::domain::standing::{Standing, Standings};
use plimsoll::domain::tenant::{Revenue, Tenant, TenantId};
use plimsoll::domain::window::Period;
use plimsoll::policy::decision::Actions;
use plimsoll::policy::trace::{Action, Trace};
use plimsoll::policy::{CallFacts, Policy, evaluate};
use proptest::prelude::*;

use super::decisions::{facts, tagged, tenants};
use super::{REALISTIC, compile_text, now, policy};

/// A policy with everything that combines: shared and own ladders, dry run, segment, plan.
const EVERYTHING: &str = "version: 1
mode: enforce
currency: EUR
exchange: { EUR: 1.08 USD, GBP: 1.31 USD }
plans: { p: { llm_budget: 9.5 EUR/month, cap_output_tokens: 3000, route: some } }
segments:
  s: { cap_output_tokens: { non_critical: 900 }, never: [throttle], limits: { max_tool_output_tokens: 500 }, flagship: { allow: [claude-opus-4-5], promptVersion: [v1] }, otherwise: { route: other } }
endpoints: { digest.*: { critical: false } }
routes:
  some: { gpt-4o: [gpt-3.5-turbo, gpt-4o-mini] }
  other: { claude-opus-4-5: [claude-haiku-4-5, claude-sonnet-4-5] }
  tier: { gpt-4o: { model: gpt-4o, service_tier: flex }, gpt-4o-mini: { model: gpt-4o-mini, service_tier: flex } }
budgets:
  a: { per: [tenantId], limit: plan.llm_budget, escalation: long }
  b: { per: [tenantId], limit: $7/day, grace: 20%, escalation: short }
  c: { limit: 23 GBP/week, escalation: long }
  d: { per: [tenantId], limit: $8/day, escalation: partly, match: { not: { model: claude-opus-4-5 } } }
  e: { mode: dry_run, per: [tenantId], limit: 5% of revenue/day, escalation: short }
escalations:
  long:
    warning: { at: 80%, notify: [log] }
    contain: { at: 100%, cap_output_tokens: { all: 600, reasoning_models: 2000 }, throttle: { non_critical: 20 requests/min } }
    degrade: { at: 110%, route: { non_critical: some } }
    decide: { at: 125%, ask: account_owner, within: 2 days, otherwise: { block: non_critical } }
  short:
    contain: { at: 90%, throttle: 2 requests/hour }
    degrade: { at: 100%, block: all }
  partly:
    contain: { at: 70%, route: tier, rollout: 40% of tenants }
    degrade: { at: 110%, route: some, cap_output_tokens: 50, rollout: 70% of tenants }
    decide: { at: 160%, block: all, rollout: 20% of tenants }
  watch:
    warning: { at: 90%, notify: [log] }
    contain: { at: 300%, cap_output_tokens: 100 }
";

/// How many budgets it has.
const BUDGETS: usize = 5;

const EXCEPTION: &str = "    reason: r
    approved_by: a
    expires: 2027-01-31
";

/// One tenant that every rollout means, one that only the larger mean, one that none means; one of them without a segment.
fn tenant(name: &str) -> Tenant {
    let revenue = Some(Revenue { amount: Money::from_nano(100_000_000_000), per: Period::Month });
    let segment = (name != "free").then(|| Arc::from("s"));
    let id = TenantId::new(name).expect("an id");
    Tenant { plan: Some(Arc::from("p")), segment, revenue, ..Tenant::unknown(id) }
}

prop_compose! {
    fn a_call()(tag in prop::sample::select(vec!["digest.x", "other"]),
                model in prop::sample::select(vec!["gpt-4o", "gpt-4o-mini", "claude-opus-4-5"]),
                cap in prop::option::of(1_u64..5_000), thinking in prop::option::of(1_024_u64..3_000),
                reasoning: bool, opened in prop::option::of(0_i64..6), prompt in prop::sample::select(vec!["v1", "v2"]),
                tenant in prop::sample::select(TENANTS.to_vec()), content in contents()) -> Shot {
        let attribution = Attribution { prompt_version: Arc::from(prompt), ..tagged(tag) };
        Shot { tenant, content, attribution, model, cap, thinking, reasoning, opened }
    }
}

/// Tenants on both sides of every rollout.
const TENANTS: [&str; 4] = ["t", "globex", "soylent", "free"];

fn contents() -> impl Strategy<Value = Content> {
    let input = prop::option::of(prop::sample::select(vec![10_u64, 8_000, 16_000, 100_000, 500_000]));
    let output = prop::sample::select(vec![0_u64, 500, 501, 9_000]);
    (input, any::<bool>(), any::<bool>(), output, any::<bool>()).prop_map(
        |(input, tools, images, output, takes_tier)| Content {
            input,
            tools,
            images,
            longest_tool_output: output,
            tool_output: output,
            takes_tier,
        },
    )
}

#[derive(Debug, Clone)]
struct Shot {
    tenant: &'static str,
    content: Content,
    attribution: Attribution,
    model: &'static str,
    cap: Option<u64>,
    thinking: Option<u64>,
    reasoning: bool,
    opened: Option<i64>,
}

impl Shot {
    fn facts<'a>(&'a self, tenant: &'a Tenant) -> CallFacts<'a> {
        CallFacts {
            model: self.model,
            cap: self.cap,
            thinking_budget: self.thinking,
            reasoning: self.reasoning,
            content: self.content,
            ..facts(tenant, &self.attribution)
        }
    }

    fn decide(&self, policy: &Policy, used: &[i64]) -> plimsoll::policy::decision::Decision {
        let tenant = tenant(self.tenant);
        let facts = self.facts(&tenant);
        evaluate(policy, &facts, &self.standings(policy, &facts, used))
    }

    fn standings(&self, policy: &Policy, facts: &CallFacts<'_>, used: &[i64]) -> Standings {
        let day = 86_400_000_000;
        let opened =
            self.opened.map(|days| plimsoll::domain::clock::Timestamp::from_micros(now().micros() - days * day));
        let counted = policy.counted(facts);
        let standing = |counted: &plimsoll::domain::standing::Counted| {
            Some(Standing {
                budget: counted.budget,
                limit: counted.limit?,
                used: used[counted.budget % used.len()],
                window: policy.window(counted.budget, facts.now),
                decide_opened: opened,
            })
        };
        counted.iter().filter_map(standing).collect()
    }
}

fn used() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(0_i64..50_000_000_000, BUDGETS)
}

/// Whether `harsh` is at least as strict as `mild` in every action.
fn at_least_as_strict(harsh: &Actions, mild: &Actions) -> bool {
    let rate = |actions: &Actions| {
        let rate = actions.throttle.as_ref()?;
        Some(i64::from(rate.requests) * 1_000_000 / rate.per.nominal_seconds())
    };
    let lower =
        |harsh: Option<i64>, mild: Option<i64>| mild.is_none_or(|mild| harsh.is_some_and(|harsh| harsh <= mild));
    let cap = |actions: &Actions| actions.cap.map(|cap| i64::try_from(cap).unwrap_or(i64::MAX));
    (harsh.cap_kept_thinking || lower(cap(harsh), cap(mild)))
        && lower(rate(harsh), rate(mild))
        && (mild.route.is_none() && mild.service_tier.is_none()
            || harsh.route.is_some()
            || harsh.service_tier.is_some())
        && (mild.tool_output.is_none() || harsh.tool_output.is_some())
        && (mild.block.is_none() || harsh.block.is_some())
        && harsh.step >= mild.step
}

/// The same text with the entries of every map that stands on one line in their opposite order. Lists stay as they are.
fn reversed(text: &str) -> String {
    text.split_inclusive('\n').map(reversed_line).collect()
}

fn reversed_line(line: &str) -> String {
    let Some((head, rest)) = line.trim_end().strip_suffix('}').and_then(|line| line.split_once('{')) else {
        return line.to_owned();
    };
    let (mut depth, mut entries) = (0_i32, vec![String::new()]);
    for letter in rest.chars() {
        depth += i32::from(matches!(letter, '{' | '[')) - i32::from(matches!(letter, '}' | ']'));
        if letter == ',' && depth == 0 {
            entries.push(String::new());
        } else if let Some(entry) = entries.last_mut() {
            entry.push(letter);
        }
    }
    entries.reverse();
    format!("{head}{{{}}}\n", entries.join(","))
}

proptest! {
    #[test]
    fn every_action_has_a_rule_behind_it_and_no_rule_is_behind_an_action_that_is_not_there(shot in a_call(), used in used()) {
        let policy = policy(EVERYTHING);
        let tenant = tenant(shot.tenant);
        let facts = shot.facts(&tenant);
        let trace = Trace::of(&policy, facts, &shot.standings(&policy, &facts, &used));
        for (dry, actions) in [(false, &trace.decision.actions), (true, &trace.decision.would)] {
            for action in Action::ALL {
                let deciders = trace.deciders(action, dry);
                prop_assert_eq!(action.is_in(actions), !deciders.is_empty(), "{:?} {:?} {:?}", action, actions, deciders);
            }
        }
    }

    #[test]
    fn spending_more_never_yields_a_gentler_outcome(shot in a_call(), used in used(), more in 0_i64..20_000_000_000, which in 0_usize..BUDGETS) {
        let policy = policy(EVERYTHING);
        let before = shot.decide(&policy, &used);
        let mut spent = used;
        spent[which] += more;
        let after = shot.decide(&policy, &spent);
        prop_assert!(at_least_as_strict(&after.actions, &before.actions), "{:?}\n{:?}", before.actions, after.actions);
    }

    #[test]
    fn an_exception_never_makes_an_outcome_harsher(
        shot in a_call(), used in used(),
        budget in prop::sample::select(vec!["a", "b", "c", "d"]),
        change in prop::sample::select(vec!["limit", "escalation", "never", "block", "all"]),
        amount in 0_u32..100, ladder in prop::sample::select(vec!["watch", "short", "long", "partly"]),
    ) {
        let period = match budget { "a" => "month", "c" => "week", _ => "day" };
        let mut text = format!("{EVERYTHING}exceptions:\n  - tenantId: {}\n", shot.tenant);
        match change {
            "limit" => drop(write!(text, "    budget: {budget}\n    limit: {amount} GBP/{period}\n")),
            "escalation" => drop(write!(text, "    budget: {budget}\n    escalation: {ladder}\n")),
            "never" => drop(write!(text, "    budget: {budget}\n    never: [block, throttle, route]\n")),
            "block" => text.push_str("    never: [block]\n"),
            _ => text.push_str("    never: [cap_output_tokens, route]\n"),
        }
        text.push_str(EXCEPTION);
        let (plain, excepted) = (policy(EVERYTHING), policy(&text));
        let (normal, gentle) = (shot.decide(&plain, &used), shot.decide(&excepted, &used));
        prop_assert!(at_least_as_strict(&normal.actions, &gentle.actions), "{:?}\n{:?}", normal.actions, gentle.actions);
        for ceiling in &gentle.ceilings {
            let before = normal.ceilings.iter().find(|one| one.budget == ceiling.budget);
            prop_assert!(before.is_some_and(|before| before.at <= ceiling.at));
        }
    }

    #[test]
    fn the_order_of_the_file_changes_nothing(shot in a_call(), used in used(), order in Just((0..BUDGETS).collect::<Vec<usize>>()).prop_shuffle()) {
        let (head, rest) = EVERYTHING.split_once("budgets:\n").expect("budgets");
        let (budgets, tail) = rest.split_once("escalations:\n").expect("escalations");
        let lines: Vec<&str> = budgets.lines().collect();
        let shuffled: Vec<&str> = order.iter().map(|at| lines[*at]).collect();
        let other = format!("escalations:\n{tail}budgets:\n{}\n{head}", shuffled.join("\n"));
        let other = reversed(&other);
        let (one, other) = (policy(EVERYTHING), policy(&other));
        prop_assert_eq!(shot.decide(&one, &used), shot.decide(&other, &used));
        for (one, other) in one.budgets.iter().zip(&other.budgets) {
            prop_assert_eq!(&one.identity, &other.identity);
        }
    }

    #[test]
    fn a_dry_run_budget_never_changes_what_is_done(shot in a_call(), used in used()) {
        let without: String = EVERYTHING.split_inclusive('\n').filter(|line| !line.contains("dry_run")).collect();
        prop_assert!(without.len() < EVERYTHING.len());
        let (with, without) = (policy(EVERYTHING), policy(&without));
        let (one, other) = (shot.decide(&with, &used), shot.decide(&without, &used));
        prop_assert_eq!(one.actions, other.actions);
        prop_assert_eq!(one.ceilings, other.ceilings);
    }

    #[test]
    fn arbitrary_text_is_survived(text in "(?s).{0,200}") {
        let _ = compile_text(&text);
    }

    #[test]
    fn a_damaged_policy_is_survived(at in 0_usize..3_400, length in 0_usize..60, insert in "[\\[\\]{}*&:,%$#\"' \\n\\ta-z0-9-]{0,6}") {
        let mut text: Vec<char> = REALISTIC.chars().collect();
        let end = (at + length).min(text.len());
        let start = at.min(end);
        text.splice(start..end, insert.chars());
        let text: String = text.into_iter().collect();
        let (compiled, shown) = compile_text(&text);
        prop_assert!(compiled.policy.is_some() || !shown.is_empty());
    }

    #[test]
    fn any_csv_is_survived(text in "(?s)(tenantId,revenue\n)?.{0,80}") {
        let source = plimsoll::diagnostic::Source::new("tenants.csv", &text);
        let (_, diagnostics) = plimsoll::directory::Directory::parse(&source, None);
        let _ = plimsoll::diagnostic::render(&diagnostics, &[source]);
    }
}

#[test]
fn reversing_keys_moves_keys_and_no_targets() {
    assert_eq!(reversed("a:\n  b: { c: [x, y], d: { e: 1, f: 2 } }\n"), "a:\n  b: { d: { e: 1, f: 2 } , c: [x, y]}\n");
}

#[test]
fn the_shipped_tenants_fit_the_shipped_policy() {
    assert_eq!(tenants(&policy(REALISTIC)).len(), 3);
}
