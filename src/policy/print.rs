//! A policy as one file, in one form: every file merged, money in dollars, what was left to defaults written out.
//!
//! What is printed reads back as the same policy, so that it may stand in place of the files. Comments are not kept, nor what
//! nothing acts on: [`left_out`] says what that is.

mod amounts;
mod rules;
mod yaml;

use std::fmt::Write as _;

use crate::diagnostic::Place;
use crate::policy::exchange::DOLLAR;
use crate::policy::plan::{Defaults, Exposure, OnMissingTenant, OnNoFit, OnUnpricedModel};

use super::Policy;
use yaml::{Yaml, file, quoted_if_needed};

/// The whole policy, keys in the order of the reference, rules in the order of their names.
pub fn print(policy: &Policy) -> String {
    let exchange = policy.exchange.known().filter(|currency| *currency != DOLLAR);
    let exchange = exchange.filter_map(|currency| {
        let worth = policy.exchange.rate(currency)?.worth().to_decimal();
        Some((currency.to_owned(), Yaml::Word(format!("{worth} {DOLLAR}"))))
    });
    let mut keys = Keys::default();
    keys.put("version", Yaml::word(1));
    keys.put("mode", Yaml::word(policy.mode.as_str()));
    keys.put("currency", Yaml::text(&policy.exchange.currency));
    keys.put_some("exchange", named(exchange, Yaml::Map));
    keys.put("timezone", Yaml::text(policy.zone.iana_name().unwrap_or("UTC")));
    keys.put("defaults", defaults(&policy.defaults));
    keys.put_some("plans", named(policy.plans.iter().map(|(name, plan)| (name, rules::plan(plan))), Yaml::Open));
    let segments = policy.segments.iter().map(|(name, segment)| (name, rules::segment(segment)));
    keys.put_some("segments", named(segments, Yaml::Open));
    let endpoints = policy.endpoints.iter().map(|endpoint| (endpoint.pattern.as_str(), rules::endpoint(endpoint)));
    keys.put_some("endpoints", named(endpoints, Yaml::Open));
    keys.put_some("routes", named(policy.routes.iter().map(|(name, route)| (name, rules::route(route))), Yaml::Open));
    let budgets = policy.budgets.iter().map(|budget| (&budget.name, rules::budget(policy, budget)));
    keys.put_some("budgets", named(budgets, Yaml::Open));
    let escalations = policy.escalations.iter().map(|(name, ladder)| (name, rules::ladder(ladder)));
    keys.put_some("escalations", named(escalations, Yaml::Open));
    let exceptions: Vec<Yaml> = policy.exceptions.iter().map(|one| rules::exception(policy, one)).collect();
    keys.put_some("exceptions", Some(Yaml::List(exceptions)).filter(|_| !policy.exceptions.is_empty()));
    file(&keys.0)
}

/// What the files say and the print does not: what is not in force, and the exceptions that stand at these places and have
/// ended. Lines of comment for the top of the print; empty when it says everything.
pub fn left_out(policy: &Policy, ended: &[&Place]) -> String {
    let mut text = String::new();
    for name in &policy.not_in_force {
        let _ = writeln!(text, "# left out, not in force yet: {}", quoted_if_needed(name, false));
    }
    for place in ended {
        let file = quoted_if_needed(&place.file, false);
        let _ = writeln!(text, "# left out, has ended: the exception of line {} in {file}", place.line);
    }
    text
}

/// Keys with values, in the order in which they are put.
#[derive(Debug, Default)]
struct Keys(Vec<(String, Yaml)>);

impl Keys {
    fn put(&mut self, key: &str, value: Yaml) {
        self.0.push((key.to_owned(), value));
    }

    fn put_some(&mut self, key: &str, value: Option<Yaml>) {
        self.0.extend(value.map(|value| (key.to_owned(), value)));
    }
}

/// A section of named rules; `None` when there is none.
fn named<N: AsRef<str>>(rules: impl Iterator<Item = (N, Yaml)>, form: fn(Vec<(String, Yaml)>) -> Yaml) -> Option<Yaml> {
    let rules: Vec<(String, Yaml)> = rules.map(|(name, rule)| (name.as_ref().to_owned(), rule)).collect();
    (!rules.is_empty()).then(|| form(rules))
}

fn defaults(defaults: &Defaults) -> Yaml {
    let Defaults { on_missing_tenant, on_unpriced_model, on_no_fit, plan, expose_to_clients, on_ledger_unavailable } =
        defaults;
    let mut keys = Keys::default();
    let word = match on_missing_tenant {
        OnMissingTenant::MeterAsUnattributed => "meter_as_unattributed",
        OnMissingTenant::Reject => "reject",
    };
    keys.put("on_missing_tenant", Yaml::word(word));
    let word = match on_unpriced_model {
        OnUnpricedModel::MeterTokensOnly => "meter_tokens_only",
        OnUnpricedModel::Reject => "reject",
    };
    keys.put("on_unpriced_model", Yaml::word(word));
    let word = match on_no_fit {
        OnNoFit::Clamp => "clamp",
        OnNoFit::Reject => "reject",
    };
    keys.put("on_no_fit", Yaml::word(word));
    keys.put_some("plan", plan.as_ref().map(Yaml::text));
    let mut broken = Keys::default();
    broken.put("allow", Yaml::word(if on_ledger_unavailable.refuses { "none" } else { "all" }));
    broken.put_some("alert", rules::some_targets(&on_ledger_unavailable.alert));
    keys.put("on_ledger_unavailable", Yaml::Map(broken.0));
    let exposed = |exposure| match exposure {
        Exposure::Percent => "percent",
        Exposure::Amount => "amount",
        Exposure::Never => "never",
    };
    let mut shown = Keys::default();
    shown.put("budget", Yaml::word(exposed(expose_to_clients.budget)));
    shown.put("cost", Yaml::word(exposed(expose_to_clients.cost)));
    keys.put("expose_to_clients", Yaml::Map(shown.0));
    Yaml::Open(keys.0)
}
