//! The shipped policies, and policies as they go wrong: text in, decisions and diagnostics out.

mod advanced;
mod conditions;
mod currencies;
mod decisions;
mod differences;
mod endings;
mod generated;
mod laws;
mod mistakes;
mod mutants;
mod names;
mod printed;
mod routes;
mod scale;
mod segments;
mod steps;

use std::collections::BTreeSet;
use std::sync::Mutex;

use plimsoll::diagnostic::{Source, render};
use plimsoll::domain::clock::Timestamp;
use plimsoll::policy::route::Abilities;
use plimsoll::policy::{Compiled, ModelFacts, Policy, Surroundings, compile};

pub(crate) const REALISTIC: &str = include_str!("../policies/realistic.yaml");
pub(crate) const MINIMAL: &str = "version: 1
mode: dry_run          # log what would happen; change to enforce when happy
budgets:
  tenant_month:
    per: [tenantId]
    limit: $50/month
    escalation:
      warning: { at: 80%,  notify: [log] }
      contain: { at: 100%, cap_output_tokens: 500 }
      decide:  { at: 150%, block: all }
";

pub(crate) fn at(moment: &str) -> Timestamp {
    Timestamp::from_jiff(moment.parse().expect("an RFC 3339 moment"))
}

pub(crate) fn now() -> Timestamp {
    at("2026-11-25T12:00:00Z")
}

fn prices(model: &str) -> Option<ModelFacts> {
    let (input_pico, output_pico, provider) = match model {
        "gpt-4o" => (2_500_000, 10_000_000, "openai"),
        "gpt-4o-mini" => (150_000, 600_000, "openai"),
        "gpt-3.5-turbo" => (100_000, 200_000, "openai"),
        "gpt-4-base" => (50_000, 100_000, "openai"),
        "claude-sonnet-4-5" => (3_000_000, 15_000_000, "anthropic"),
        "claude-opus-4-5" => (5_000_000, 25_000_000, "anthropic"),
        "claude-haiku-4-5" => (1_000_000, 5_000_000, "anthropic"),
        "gemini-2.5-pro" => (1_250_000, 10_000_000, "gemini"),
        "gemini-2.5-flash" => (300_000, 2_500_000, "gemini"),
        _ => return None,
    };
    Some(ModelFacts {
        input_pico,
        output_pico,
        provider: Some(provider.to_owned()),
        reasoning: false,
        abilities: abilities(model),
    })
}

fn abilities(model: &str) -> Abilities {
    let no = Some(false);
    match model {
        "gpt-3.5-turbo" => {
            Abilities { context: Some(16_385), max_output: Some(4_096), vision: no, ..Abilities::default() }
        }
        "gpt-4-base" => Abilities { context: Some(8_192), tools: no, ..Abilities::default() },
        "claude-haiku-4-5" | "claude-sonnet-4-5" => Abilities { context: Some(200_000), ..Abilities::default() },
        "gpt-4o" | "gpt-4o-mini" => {
            Abilities { context: Some(128_000), max_output: Some(16_384), ..Abilities::default() }
        }
        _ => Abilities::default(),
    }
}

pub(crate) fn compile_all(sources: &[Source]) -> Compiled {
    let targets = ["slack:llm-margin", "finance", "oncall"].map(str::to_owned);
    let price_table = "built-in table 2026-11-16";
    compile(sources, &Surroundings { prices: &prices, price_table, notify_targets: &targets, now: now() })
}

pub(crate) fn compile_text(text: &str) -> (Compiled, String) {
    let source = Source::new("policy.yaml", text);
    let compiled = compile_all(std::slice::from_ref(&source));
    let shown = render(&compiled.diagnostics, &[source]);
    if let Some(policy) = compiled.policy.as_ref().filter(|_| is_new(text)) {
        printed::reads_back(policy, compile_all);
    }
    (compiled, shown)
}

/// Whether a text was not asked about before: laws compile one policy hundreds of times.
fn is_new(text: &str) -> bool {
    static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    KNOWN.lock().expect("no test panics here").insert(text.to_owned())
}

pub(crate) fn policy(text: &str) -> Policy {
    let (compiled, shown) = compile_text(text);
    assert!(compiled.diagnostics.iter().all(|one| !one.is_error()), "{shown}");
    compiled.policy.expect("a policy without errors")
}
