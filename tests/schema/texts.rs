//! The patterns of the tables against the readers: wider perhaps, so that no editor calls a right text wrong, and never narrower.

use plimsoll::domain::tenant::Revenue;
use plimsoll::policy::schema::policy::POLICY;
use plimsoll::policy::schema::suite::SUITE;
use plimsoll::policy::schema::{Grammar, grammars};
use proptest::prelude::*;

use crate::policies::compile_text;

use super::pattern::fits;

/// A policy that is right when the text in place of `TEXT` is.
const POLICIES: [(&str, &str); 16] = [
    (
        "limit",
        "budgets: { b: { per: [tenantId, workflowId], limit: TEXT, escalation: { warning: { at: 80%, notify: log } } } }",
    ),
    (
        "limit of the plan",
        "plans: { p: { llm_budget: $1/month } }\nbudgets: { b: { per: [tenantId], limit: TEXT, escalation: { warning: { at: 80%, notify: log } } } }",
    ),
    ("percentage", "plans: { p: { target_margin: TEXT } }"),
    ("threshold", "escalations: { e: { spend_alert: { at: TEXT, notify: log } } }"),
    ("rate", "escalations: { e: { contain: { at: 100%, throttle: TEXT } } }"),
    ("share of tenants", "escalations: { e: { contain: { at: 100%, block: all, rollout: TEXT } } }"),
    ("bound", "segments: { s: { watch: { retrieval.k: TEXT } } }"),
    ("bound of a workflow", "segments: { s: { watch: { steps: TEXT } } }"),
    ("currency", "currency: TEXT"),
    ("exchange rate", "exchange: { GBP: TEXT }"),
    (
        "duration",
        "exceptions: [{ tenantId: a, reason: r, approved_by: a, expires: 2027-01-31, when_expired: { notify: log, before: TEXT } }]",
    ),
    ("date", "exceptions: [{ tenantId: a, reason: r, approved_by: a, expires: TEXT }]"),
    ("planned cost", "endpoints: { a: { planned_cost: TEXT } }"),
    ("factor", "alerts: { retry_storm: { requests_above: TEXT, success_below: 90%, within: 10 min } }"),
    ("estimate", "margin: { infra_estimate: TEXT }"),
    ("weekday and time", "margin: { review: TEXT }"),
];

fn patterned() -> Vec<(&'static Grammar, &'static str)> {
    let mut found: Vec<&Grammar> = grammars(&POLICY);
    found.extend(grammars(&SUITE).into_iter().filter(|grammar| grammar.name == "revenue"));
    found.into_iter().filter_map(|grammar| Some((grammar, grammar.pattern?))).collect()
}

/// Whether the reader takes a text.
fn is_read(grammar: &Grammar, text: &str) -> bool {
    if grammar.name == "revenue" {
        return Revenue::parse(text).is_some();
    }
    let found = POLICIES.iter().find(|(name, _)| *name == grammar.name);
    let (_, policy) = found.unwrap_or_else(|| panic!("which policy has a `{}`?", grammar.name));
    let text = serde_json::to_string(text).expect("a text");
    let exchange = if policy.starts_with("exchange") { "" } else { "exchange: { EUR: 1.08 USD }\n" };
    compile_text(&format!("version: 1\nmode: enforce\n{exchange}{}", policy.replace("TEXT", &text))).0.policy.is_some()
}

/// Examples with some letters put in, taken out or replaced.
fn near_misses() -> impl Strategy<Value = (usize, usize, Vec<(usize, u8, usize)>)> {
    (any::<usize>(), any::<usize>(), prop::collection::vec((any::<usize>(), 0_u8..3, any::<usize>()), 0..3))
}

const LETTERS: [&str; 24] = [
    "0", "1", "5", ".", "%", " ", "\t", "\u{a0}", "-", "+", "$", "/", "k", "M", "x", "s", ",", "", "EUR", "min",
    "days", " of ", ":", "T",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    // Mutations: a pattern without `k`, without `min`, without spaces before `%` or after `rolling`.
    #[test]
    fn what_a_reader_takes_fits_the_pattern((which, example, edits) in near_misses()) {
        let all = patterned();
        let (grammar, pattern) = all[which % all.len()];
        let mut text: Vec<char> = grammar.examples[example % grammar.examples.len()].chars().collect();
        for (at, how, letter) in edits {
            let at = at % (text.len() + 1);
            let end = if how == 0 { at } else { (at + 1).min(text.len()) };
            let new = if how == 1 { "" } else { LETTERS[letter % LETTERS.len()] };
            text.splice(at..end, new.chars());
        }
        let text: String = text.into_iter().collect();
        prop_assert!(fits(pattern, &text) || !is_read(grammar, &text), "{}: {text:?} is read and does not fit {pattern}", grammar.name);
    }
}

#[test]
fn every_example_is_read_and_fits() {
    let all = patterned();
    assert_eq!(all.len(), POLICIES.len() + 1, "a grammar without a policy to try it in, or the other way round");
    for (grammar, pattern) in all {
        for example in grammar.examples {
            assert!(is_read(grammar, example), "{}: {example}", grammar.name);
            assert!(fits(pattern, example), "{}: {example} does not fit {pattern}", grammar.name);
        }
    }
}

#[test]
fn what_an_editor_can_tell_is_wrong_does_not_fit() {
    let patterned = patterned();
    for (name, wrong) in [
        (
            "limit",
            vec![
                "$20",
                "20/month",
                "$4,000/month",
                "2M tokens",
                "$20/moth",
                "$-1/month",
                "30% of revenu/month",
                "150 eur/month",
            ],
        ),
        ("percentage", vec!["80", "80 percent", "-1%", "%"]),
        ("threshold", vec!["forecast", "110", "forcast 110%"]),
        ("rate", vec!["20", "20/min", "20 requests", "20 tokens/min"]),
        ("share of tenants", vec!["25%", "25% of plans"]),
        ("duration", vec!["2", "1.5 days", "2 months", "days"]),
        ("date", vec!["2027-1-31", "31.01.2027", "2027-01-31T00:00"]),
        ("exchange rate", vec!["1.08", "1,08 USD", "1.08 EUR"]),
        ("planned cost", vec!["$1", "$1/month", "1/request"]),
        ("revenue", vec!["199", "$199/month", "199/year"]),
    ] {
        let (grammar, pattern) = patterned.iter().find(|(grammar, _)| grammar.name == name).expect("a grammar");
        for text in wrong {
            assert!(!fits(pattern, text) && !is_read(grammar, text), "{name}: {text}");
        }
    }
}
