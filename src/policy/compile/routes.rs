//! Routes: which model is served instead of another, its price and provider compared with those of the one asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::domain::money::Money;
use crate::policy::Written;
use crate::policy::reader::{Entry, Fields, Problems, expect_bool, expect_str, expect_word};
use crate::policy::route::{Route, RouteRule};
use crate::policy::tree::{Key, Kind, Node};

use super::document::Document;
use super::{ModelFacts, Surroundings};

/// Every route, its prices compared.
pub(super) fn all(
    document: &Document<'_>,
    surroundings: &Surroundings<'_>,
    problems: &mut Problems,
) -> BTreeMap<Arc<str>, Arc<Route>> {
    let mut routes = BTreeMap::new();
    for (key, node) in &document.routes {
        let name: Arc<str> = Arc::from(key.text.as_str());
        let Some(mut fields) = Fields::of(node, format!("route `{name}`"), problems) else { continue };
        let allowed = fields.value("allow_more_expensive");
        let allowed = allowed.and_then(|node| expect_bool(node, "`allow_more_expensive`", problems)).unwrap_or(false);
        let check = Check { route: &name, allowed, surroundings };
        let mut rules: Vec<RouteRule> =
            fields.rest().into_iter().flat_map(|entry| rules(&check, entry, problems)).collect();
        // A stable sort: the targets of one model stay in their order.
        rules.sort_by(|one, other| one.from.cmp(&other.from));
        let written = Written::from(&key.place);
        let route = Route { name: Arc::clone(&name), rules, allow_more_expensive: allowed, written };
        routes.insert(name, Arc::new(route));
    }
    routes
}

/// What the rules of one route are checked against.
struct Check<'c> {
    route: &'c str,
    allowed: bool,
    surroundings: &'c Surroundings<'c>,
}

/// The targets of one model, in their order.
fn rules(check: &Check<'_>, (key, node): Entry<'_>, problems: &mut Problems) -> Vec<RouteRule> {
    let items = match &node.kind {
        Kind::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    if items.is_empty() {
        let fault = Diagnostic::error("E106", format!("`{}` has no target", key.text)).at(&node.place, "");
        problems.push(fault.help("name a model, or several: the first that fits the request is served"));
    }
    items.into_iter().filter_map(|item| rule(check, (key, item), problems)).collect()
}

fn rule(check: &Check<'_>, (key, node): Entry<'_>, problems: &mut Problems) -> Option<RouteRule> {
    let (node, tier) = target(node, problems)?;
    let written = expect_str(node, "the target of a route", problems)?;
    let prices = check.surroundings.prices;
    let from = prices(&key.text);
    let target = match written.split_once('/').and_then(|(provider, model)| Some((provider, model, prices(model)?))) {
        Some((provider, model, facts)) if facts.provider.as_deref() == Some(provider) => {
            if let Some(own) = from.as_ref().and_then(|from| from.provider.as_deref()).filter(|own| *own != provider) {
                let fault = Diagnostic::error("E190", "routes to another provider are not supported yet");
                let fault =
                    fault.at(&node.place, format!("served by {provider}")).see(&key.place, format!("served by {own}"));
                problems.push(
                    fault.help(format!("choose a model of {own}: requests are not translated between providers")),
                );
                return None;
            }
            model
        }
        _ => written,
    };
    let to = prices(target);
    let service_tier = tier.and_then(|node| service_tier(node, to.as_ref(), problems));
    compare(check, (key, from.as_ref()), (node, target, to.as_ref()), problems);
    Some(RouteRule {
        from: Arc::from(key.text.as_str()),
        to: Arc::from(target),
        service_tier,
        cost: to.as_ref().map(|facts| facts.input_pico.saturating_add(facts.output_pico)),
        abilities: to.map(|facts| facts.abilities).unwrap_or_default(),
        context_before: from.and_then(|facts| facts.abilities.context),
    })
}

/// A model, or `{ model: gpt-4o, service_tier: flex }`: where each stands.
fn target<'t>(node: &'t Node, problems: &mut Problems) -> Option<(&'t Node, Option<&'t Node>)> {
    let Kind::Map(_) = node.kind else { return Some((node, None)) };
    let mut fields = Fields::of(node, "the target of a route", problems)?;
    let model = fields.required("model", "gpt-4o", problems);
    let tier = fields.value("service_tier");
    fields.finish("not a key of a target", problems);
    Some((model?, tier))
}

/// The tiers that cost no more than the list price. Only the `OpenAI` dialects have a field for them.
fn service_tier(node: &Node, to: Option<&ModelFacts>, problems: &mut Problems) -> Option<Arc<str>> {
    let words = [("flex", "flex"), ("default", "default")];
    let tier = expect_word(node, "`service_tier`", &words, problems)?;
    let provider = to.and_then(|facts| facts.provider.as_deref());
    if let Some(other) = provider.filter(|provider| ["anthropic", "gemini"].contains(provider)) {
        let fault = Diagnostic::error("E154", format!("a model of {other} has no service tier")).at(&node.place, "");
        problems.push(fault.help("leave `service_tier` out: only requests of the OpenAI dialects can carry it"));
        return None;
    }
    Some(Arc::from(tier))
}

/// `E151` for a target that costs more, `W152` for one without a price, `E153` for one of another provider.
fn compare(
    check: &Check<'_>,
    (key, from): (&Key, Option<&ModelFacts>),
    (node, target, to): (&Node, &str, Option<&ModelFacts>),
    problems: &mut Problems,
) {
    let (Some(from), Some(to)) = (from, to) else {
        let unpriced = if from.is_none() { (&key.place, key.text.as_str()) } else { (&node.place, target) };
        let fault =
            Diagnostic::warning("W152", format!("`{}` has no price, so this route cannot be compared", unpriced.1));
        problems.push(fault.at(unpriced.0, "not in the price table").help("add the model to `prices:`"));
        return;
    };
    if from.provider.is_some() && to.provider.is_some() && from.provider != to.provider {
        let names = (from.provider.as_deref().unwrap_or(""), to.provider.as_deref().unwrap_or(""));
        let fault = Diagnostic::error("E153", format!("route `{}` leads to another provider", check.route));
        let fault =
            fault.at(&node.place, format!("served by {}", names.1)).see(&key.place, format!("served by {}", names.0));
        problems.push(fault.help(format!("choose a model of {}", names.0)));
        return;
    }
    let sum = |facts: &ModelFacts| u128::from(facts.input_pico) + u128::from(facts.output_pico);
    if check.allowed || sum(to) <= sum(from) {
        return;
    }
    let more = match (sum(to) * 10 + sum(from) / 2).checked_div(sum(from)) {
        Some(tenths) => format!("{}.{}x more expensive", tenths / 10, tenths % 10),
        None => "more expensive".to_owned(),
    };
    let message = format!("route `{}` makes `{}` requests {more}", check.route, key.text);
    let fault = Diagnostic::error("E151", message)
        .at(&node.place, price(to))
        .see(&key.place, price(from))
        .help("swap the two names, or set `allow_more_expensive: true` on this route")
        .note(format!("prices: {} (`plimsoll prices show {target}`)", check.surroundings.price_table));
    problems.push(fault);
}

/// `$2.50/$10.00 per 1M in/out`.
fn price(facts: &ModelFacts) -> String {
    let per_million = |pico: u64| Money::from_nano(i64::try_from(pico.saturating_mul(1_000)).unwrap_or(i64::MAX));
    format!("{}/{} per 1M in/out", per_million(facts.input_pico), per_million(facts.output_pico))
}
