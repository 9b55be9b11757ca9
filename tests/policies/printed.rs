//! A policy that is printed and read again is the same policy, whatever it says; and what is printed is printed so again.
//!
//! `compile_text` asks the same of every policy that any test of this folder compiles, broken copies that still compile among them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use plimsoll::control::model_facts;
use plimsoll::diagnostic::{Place, Source, render};
use plimsoll::domain::price::PriceBook;
use plimsoll::policy::difference::Differences;
use plimsoll::policy::print::{left_out, print};
use plimsoll::policy::schema::policy::POLICY;
use plimsoll::policy::schema::{Map, Shape, maps};
use plimsoll::policy::tree::{Kind, Node, read};
use plimsoll::policy::{Compiled, Policy, Surroundings, compile};
use proptest::prelude::*;

use super::differences::WHOLE;
use super::generated::policies;
use super::{MINIMAL, REALISTIC, compile_all, compile_text, now, policy};

const ADVANCED: &str = include_str!("../../policies/advanced/advanced.yaml");
const PLANS: &str = include_str!("../../policies/advanced/plans.yaml");

/// The law.
pub(super) fn reads_back(policy: &Policy, compile: impl Fn(&[Source]) -> Compiled) {
    let text = print(policy);
    let source = Source::new("printed.yaml", &text);
    let Compiled { policy: again, diagnostics } = compile(std::slice::from_ref(&source));
    let Some(again) = again else { panic!("{}\n{text}", render(&diagnostics, &[source])) };
    let rules = || Differences::between(policy, &again).rules;
    assert!(policy.means_the_same(&again), "{:#?}\n{text}", rules());
    assert_eq!(print(&again), text);
}

fn advanced() -> Policy {
    let compiled = compile_all(&[Source::new("advanced.yaml", ADVANCED), Source::new("plans.yaml", PLANS)]);
    compiled.policy.expect("the advanced example")
}

proptest! {
    #[test]
    fn every_policy_reads_back_as_the_same(text in policies()) {
        let (compiled, shown) = compile_text(&text);
        prop_assert!(compiled.policy.is_some(), "{shown}\n{text}");
    }
}

#[test]
fn the_shipped_policies_read_back_as_the_same() {
    reads_back(&advanced(), compile_all);
    for text in [REALISTIC, MINIMAL, WHOLE] {
        reads_back(&policy(text), compile_all);
    }
    reads_back(&Policy::empty(), compile_all);
}

#[test]
fn every_example_of_the_pages_reads_back_as_the_same() {
    let prices = PriceBook::builtin();
    let facts = |model: &str| model_facts(&prices, model);
    let around = Surroundings { prices: &facts, price_table: "built-in table", notify_targets: &[], now: now() };
    let mut seen = 0;
    for page in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/codes")).expect("the pages").flatten() {
        let page = fs::read_to_string(page.path()).expect("a page");
        for block in
            page.split("```yaml ").skip(1).filter(|block| block.starts_with("right\n") || block.starts_with("wrong\n"))
        {
            let (_, text) = block.split_once('\n').expect("an example");
            let text = text.split("```").next().expect("a text");
            if let Some(policy) = compile(&[Source::new("policy.yaml", text)], &around).policy {
                reads_back(&policy, |sources| compile(sources, &around));
                seen += 1;
            }
        }
    }
    assert!(seen > 60, "only {seen} examples were printed");
}

/// With what `WHOLE` and the shipped policies leave out.
const REST: &str = "version: 1
mode: enforce
exchange: { EUR: 1.08 USD }
plans: { a: { llm_budget: 2M tokens/day, route: { all: r, non_critical: r } } }
segments: { s: { limits: { max_tool_output_tokens: 1 }, watch: { tool_output_tokens: above 1/request, steps: above 2/workflow, avgInputTokens: above 3, a.b: above 4, A_c.d-e: above 5/request }, flagship: { allow: [gpt-4o-mini], promptVersion: a }, otherwise: { cap_output_tokens: 9, route: r } } }
endpoints: { a: { critical: false, planned_cost: $1/request, owner: o } }
routes: { r: { allow_more_expensive: true, gpt-4o-mini: gpt-4o } }
defaults: { on_ledger_unavailable: { allow: none }, expose_to_clients: { budget: never, cost: amount } }
budgets:
  b:
    match: { tenantId: a, plan: a, segment: s, endpointTag: a, promptVersion: a, dataMode: real, environment: prod, userId: a, workflowId: a, provider: a, model: a, when: userId != promptVersion, not: { model: b } }
    limit: $1/month
    mode: dry_run
    escalation:
      contain: { at: 100%, notify: [log], cap_output_tokens: { all: 3, non_critical: 2 }, throttle: { all: 9 requests/min, non_critical: 8 requests/min, queue: 3 s }, block: all, status: 402, message: words }
      degrade: { at: 110%, cap_output_tokens: 9, throttle: 5 requests/min, route: r }
      decide: { at: 120%, cap_output_tokens: 9, throttle: 5 requests/min, route: r, rollout: 5% of tenants, status: 403, message: w, ask: a, within: 1 day, otherwise: { cap_output_tokens: 9, throttle: 5 requests/min, route: r } }
  c: { limit: $1/month, escalation: { decide: { at: 100%, notify: [log], block: all } } }
exceptions: [{ tenantId: a, budget: b, limit: $2/month, reason: r, approved_by: a, expires: 2027-01-31 }]
";

/// What nothing acts on, and what the language does not need to say twice.
const NOT_PRINTED: [&str; 2] = ["policy.alerts", "policy.margin"];

/// Every key of a printed text as `budget.limit`, and the keys that do not stand in the order of the reference.
fn keys(node: &Node, shape: Shape, found: &mut BTreeSet<String>, unordered: &mut Vec<String>) {
    match (&node.kind, shape) {
        (Kind::Map(entries), Shape::Map(map)) => {
            let mut last = 0;
            for (key, value) in entries {
                let Some((at, known)) = map.keys().enumerate().find(|(_, known)| *known.name == *key.text) else {
                    continue;
                };
                let name = format!("{}.{}", map.name, key.text);
                if at < last {
                    unordered.push(name.clone());
                }
                last = at;
                found.insert(name);
                keys(value, known.shape, found, unordered);
            }
            for (_, value) in entries {
                keys(value, map.others.map_or(Shape::Boolean, |(_, shape)| shape), found, unordered);
            }
        }
        (Kind::Map(entries), Shape::Named(_, item)) => {
            for (_, value) in entries {
                keys(value, *item, found, unordered);
            }
        }
        (Kind::List(items), Shape::List(shape)) => {
            for item in items {
                keys(item, *shape, found, unordered);
            }
        }
        (_, Shape::List(shape)) => keys(node, *shape, found, unordered),
        (Kind::Map(_), Shape::Either(shapes)) => {
            for shape in shapes.iter().filter(|shape| matches!(shape, Shape::Map(_))) {
                keys(node, *shape, found, unordered);
            }
        }
        _ => {}
    }
}

#[test]
fn every_key_of_the_reference_that_is_in_force_is_printed_in_its_order() {
    let (mut found, mut unordered) = (BTreeSet::new(), Vec::new());
    for policy in [advanced(), policy(REALISTIC), policy(WHOLE), policy(REST)] {
        let text = print(&policy);
        keys(&root(&text), Shape::Map(&POLICY), &mut found, &mut unordered);
    }
    assert!(unordered.is_empty(), "{unordered:?} stand before a key that the reference has before them");
    let unforced: Vec<&'static Map> = maps(&POLICY)
        .into_iter()
        .filter(|map| {
            ["alerts", "margin", "cost_drift", "concentration", "retry_storm", "negative_margin"].contains(&map.name)
        })
        .collect();
    assert_eq!(unforced.len(), 6);
    let known = maps(&POLICY).into_iter().filter(|map| !unforced.iter().any(|one| std::ptr::eq(*one, *map)));
    let known = known.flat_map(|map| map.keys().map(move |key| format!("{}.{}", map.name, key.name)));
    let missing: Vec<String> =
        known.filter(|key| !found.contains(key) && !NOT_PRINTED.contains(&key.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} are in no print: give `REST` one, and `policy::print` if it lacks it");
}

fn root(text: &str) -> Node {
    read(&Source::new("printed.yaml", text)).root.expect("a printed policy")
}

/// The tree as text again, without what stands at one place.
fn without(node: &Node, left: &Place) -> String {
    match &node.kind {
        Kind::Null => "~".to_owned(),
        Kind::Scalar { text, quoted: false } if ["true", "false", "1"].contains(&text.as_str()) => text.clone(),
        Kind::Scalar { text, .. } => format!("{text:?}"),
        Kind::List(items) => {
            let items: Vec<String> =
                items.iter().filter(|item| item.place != *left).map(|item| without(item, left)).collect();
            format!("[{}]", items.join(", "))
        }
        Kind::Map(entries) => {
            let kept = entries.iter().filter(|(key, _)| key.place != *left);
            let entries: Vec<String> =
                kept.map(|(key, value)| format!("{:?}: {}", key.text, without(value, left))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// Every key with its path and place.
fn places(node: &Node, path: &str, found: &mut Vec<(String, Place)>) {
    match &node.kind {
        Kind::Map(entries) => {
            for (key, value) in entries {
                let path = format!("{path}/{}", key.text);
                found.push((path.clone(), key.place.clone()));
                places(value, &path, found);
            }
        }
        Kind::List(items) => {
            for (at, item) in items.iter().enumerate() {
                let path = format!("{path}/{at}");
                found.push((path.clone(), item.place.clone()));
                places(item, &path, found);
            }
        }
        _ => {}
    }
}

// That is, the law would notice a printer that forgets any single one of them; and so would a plan.
#[test]
fn a_print_without_one_of_its_keys_is_broken_or_another_policy() {
    let (mut unnoticed, mut overlooked) = (BTreeSet::new(), Vec::new());
    let mut tried = 0;
    for policy in [advanced(), policy(WHOLE), policy(REST)] {
        let root = root(&print(&policy));
        let mut found = Vec::new();
        places(&root, "", &mut found);
        for (path, place) in found {
            tried += 1;
            let text = without(&root, &place);
            let read = compile_all(&[Source::new("printed.yaml", &text)]).policy;
            let Some(read) = read else { continue };
            if read.means_the_same(&policy) {
                unnoticed.insert(path);
            } else if Differences::between(&policy, &read).rules.is_empty() {
                overlooked.push(path);
            }
        }
    }
    assert!(tried > 300, "only {tried} keys were left out");
    assert!(overlooked.is_empty(), "a plan does not see that {overlooked:?} are gone");
    // Defaults that are written out. They are none where the policies differ from them.
    insta::assert_snapshot!(unnoticed.into_iter().collect::<Vec<_>>().join("\n"), @r"
    /currency
    /defaults/expose_to_clients
    /defaults/expose_to_clients/budget
    /defaults/expose_to_clients/cost
    /defaults/on_ledger_unavailable/allow
    /defaults/on_missing_tenant
    /defaults/on_no_fit
    /defaults/on_unpriced_model
    /endpoints/contract.review/critical
    /timezone
    ");
}

#[test]
fn the_shipped_policies_are_printed_like_this() {
    insta::assert_snapshot!("realistic", print(&policy(REALISTIC)));
    insta::assert_snapshot!("advanced", print(&advanced()));
}

#[test]
fn what_is_left_out_is_said_in_comments() {
    let policy = policy(
        "version: 1\nmode: enforce\nalerts: { negative_margin: { for: 3 days } }\nmargin: { review: Monday 08:00 }\n",
    );
    let ended = Place { line: 9, ..Source::new("b\nmode: dry_run.yaml", "").start() };
    insta::assert_snapshot!(left_out(&policy, &[&ended]), @r#"
    # left out, not in force yet: alerts.negative_margin
    # left out, not in force yet: margin.review
    # left out, has ended: the exception of line 9 in "b\nmode: dry_run.yaml"
    "#);
    assert_eq!(left_out(&super::policy(MINIMAL), &[]), "");
}

// Blocking steps that wait for a grace begin after milder ones: printed as they act, they would stand out of order.
#[test]
fn a_grace_and_the_steps_that_it_moves_are_printed_as_they_are_written() {
    let policy = policy(
        "version: 1\nmode: enforce\nbudgets:\n  a: { per: [tenantId], limit: $1/day, grace: 20%, escalation: { contain: { at: 90%, block: all }, degrade: { at: 100%, cap_output_tokens: 5 } } }\n",
    );
    insta::assert_snapshot!(print(&policy).split_once("budgets:\n").expect("budgets").1, @r"
    a:
      per: [tenantId]
      limit: $1/day
      escalation:
        contain: { at: 90%, block: all }
        degrade: { at: 100%, cap_output_tokens: 5 }
      grace: 20%
    ");
}

#[test]
fn one_zone_has_one_name() {
    let in_zone = |zone: &str| policy(&MINIMAL.replace("mode: dry_run ", &format!("timezone: {zone}\nmode: dry_run ")));
    let (one, other) = (in_zone("Europe/Berlin"), in_zone("europe/berlin"));
    assert!(one.means_the_same(&other), "{} {}", one.budgets[0].identity, other.budgets[0].identity);
    assert!(!one.means_the_same(&in_zone("Europe/Paris")));
}
