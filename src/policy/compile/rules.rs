//! Plans, segments, endpoints, routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Place};
use crate::domain::money::Money;
use crate::domain::standing::Unit;
use crate::domain::window::Period;
use crate::policy::Written;
use crate::policy::amount::{self, LimitText};
use crate::policy::budget::Amount;
use crate::policy::exception::Never;
use crate::policy::glob::Glob;
use crate::policy::ladder::{Remedies, Route, RouteRule};
use crate::policy::plan::{Endpoint, Plan, Segment};
use crate::policy::reader::{Entry, Fields, Problems, expect_bool, expect_list, expect_str, expect_word, later};
use crate::policy::tree::{Key, Kind, Node};

use super::{Ground, ModelFacts, Surroundings, ladders, text, value};

/// What a plan's `llm_budget` is counted in, and where that is said.
pub(super) struct PlanLimit {
    pub(super) plan: Arc<str>,
    pub(super) place: Place,
    pub(super) unit: Unit,
    pub(super) per: Period,
}

/// Every plan, and the units of their budgets.
pub(super) fn plans(ground: &Ground<'_, '_>, problems: &mut Problems) -> (BTreeMap<Arc<str>, Plan>, Vec<PlanLimit>) {
    let (mut plans, mut limits) = (BTreeMap::new(), Vec::new());
    for (key, node) in &ground.document.plans {
        let name: Arc<str> = Arc::from(key.text.as_str());
        let Some(mut fields) = Fields::of(node, format!("plan `{name}`"), problems) else { continue };
        let llm_budget = fields.value("llm_budget").and_then(|node| {
            let (amount, unit, per) = own_limit(node, problems)?;
            limits.push(PlanLimit { plan: Arc::clone(&name), place: node.place.clone(), unit, per });
            Some(amount)
        });
        let margin = fields.value("target_margin");
        let plan = Plan {
            origin: Arc::from(format!("plan.{name}")),
            llm_budget,
            target_margin: margin.and_then(|node| value(node, "`target_margin`", amount::percent, problems)),
            remedies: standing_remedies(&mut fields, ground, problems),
            upgrade_url: fields.value("upgrade_url").and_then(|node| text(node, "`upgrade_url`", problems)),
            message: fields.value("message").and_then(|node| text(node, "`message`", problems)),
            name: Arc::clone(&name),
            written: Written::from(&key.place),
        };
        fields.finish("not a plan key", problems);
        plans.insert(name, plan);
    }
    (plans, limits)
}

/// A limit that is not `plan.llm_budget`.
pub(super) fn own_limit(node: &Node, problems: &mut Problems) -> Option<(Amount, Unit, Period)> {
    match value(node, "an amount", amount::limit, problems)? {
        LimitText::Fixed { amount, unit, per } => Some((Amount::Fixed(amount), unit, per)),
        LimitText::Revenue { share, per } => Some((Amount::Revenue { share, per }, Unit::Money, per)),
        LimitText::Plan => {
            let fault = Diagnostic::error("E122", "`plan.llm_budget` is the limit of a budget").at(&node.place, "");
            problems.push(fault.help("write an amount here: `$150/month`"));
            None
        }
    }
}

/// What always applies: a cap and a route.
fn standing_remedies(fields: &mut Fields<'_>, ground: &Ground<'_, '_>, problems: &mut Problems) -> Remedies {
    let cap = fields.value("cap_output_tokens").and_then(|node| ladders::cap(node, problems));
    let route = fields.value("route").and_then(|node| ladders::routes(node, ground, problems));
    Remedies { cap, route, ..Remedies::default() }
}

/// Every segment.
pub(super) fn segments(ground: &Ground<'_, '_>, problems: &mut Problems) -> BTreeMap<Arc<str>, Segment> {
    let mut segments = BTreeMap::new();
    for (key, node) in &ground.document.segments {
        let name: Arc<str> = Arc::from(key.text.as_str());
        let Some(mut fields) = Fields::of(node, format!("segment `{name}`"), problems) else { continue };
        let remedies = standing_remedies(&mut fields, ground, problems);
        let never_entry = fields.take("never");
        let never = never_entry.map(|(_, node)| never(node, problems)).unwrap_or_default();
        for key in ["watch", "limits", "flagship", "otherwise"] {
            fields.later(key, problems);
        }
        fields.finish("not a segment key", problems);
        let contradiction = (never.cap && remedies.cap.is_some()) || (never.route && remedies.route.is_some());
        if let Some((key, _)) = never_entry.filter(|_| contradiction) {
            let fault = Diagnostic::error("E144", format!("segment `{name}` does what it says is never done"));
            problems.push(fault.at(&key.place, "").help("take the action out of the segment, or out of its `never`"));
        }
        let origin = Arc::from(format!("segment.{name}"));
        segments
            .insert(Arc::clone(&name), Segment { name, origin, remedies, never, written: Written::from(&key.place) });
    }
    segments
}

/// `[throttle, route, block]`.
pub(super) fn never(node: &Node, problems: &mut Problems) -> Never {
    let nothing = Never::default();
    let words = [
        ("cap_output_tokens", Never { cap: true, ..nothing }),
        ("throttle", Never { throttle: true, ..nothing }),
        ("route", Never { route: true, ..nothing }),
        ("block", Never { block: true, ..nothing }),
    ];
    let items = expect_list(node, "`never`", problems).unwrap_or_default();
    let read = items.into_iter().filter_map(|item| expect_word(item, "`never`", &words, problems));
    read.fold(nothing, Never::or)
}

/// Every endpoint pattern, the most specific first.
pub(super) fn endpoints(ground: &Ground<'_, '_>, problems: &mut Problems) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for (key, node) in &ground.document.endpoints {
        let Some(mut fields) = Fields::of(node, format!("endpoint `{}`", key.text), problems) else { continue };
        let critical = fields.value("critical").and_then(|node| expect_bool(node, "`critical`", problems));
        let cost = fields.value("planned_cost");
        let planned_cost = cost.and_then(|node| value(node, "`planned_cost`", amount::planned_cost, problems));
        let owner = fields.value("owner").and_then(|node| text(node, "`owner`", problems));
        fields.finish("not an endpoint key", problems);
        let pattern = Glob::new(&key.text);
        let written = Written::from(&key.place);
        endpoints.push(Endpoint { pattern, critical: critical.unwrap_or(true), planned_cost, owner, written });
    }
    endpoints.sort_by(|one, other| {
        let key = |endpoint: &Endpoint| (std::cmp::Reverse(endpoint.pattern.specificity()), endpoint.pattern.clone());
        key(one).cmp(&key(other))
    });
    endpoints
}

/// Every route, its prices compared.
pub(super) fn routes(
    document: &super::Document<'_>,
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
            fields.rest().into_iter().filter_map(|entry| rule(&check, entry, problems)).collect();
        rules.sort_by(|one, other| one.from.cmp(&other.from));
        routes.insert(Arc::clone(&name), Arc::new(Route { name, rules, written: Written::from(&key.place) }));
    }
    routes
}

/// What the rules of one route are checked against.
struct Check<'c> {
    route: &'c str,
    allowed: bool,
    surroundings: &'c Surroundings<'c>,
}

fn rule(check: &Check<'_>, (key, node): Entry<'_>, problems: &mut Problems) -> Option<RouteRule> {
    let node = single_target(node, problems)?;
    let written = expect_str(node, "the target of a route", problems)?;
    let prices = check.surroundings.prices;
    let from = prices(&key.text);
    let target = match written.split_once('/').and_then(|(provider, model)| Some((provider, model, prices(model)?))) {
        Some((provider, model, facts)) if facts.provider.as_deref() == Some(provider) => {
            if from.as_ref().is_some_and(|from| from.provider != facts.provider) {
                problems.push(later(&node.place, "routes to another provider are"));
            }
            model
        }
        _ => written,
    };
    let to = prices(target);
    compare(check, (key, from.as_ref()), (node, target, to.as_ref()), problems);
    let cost = to.map(|facts| facts.input_pico.saturating_add(facts.output_pico));
    Some(RouteRule { from: Arc::from(key.text.as_str()), to: Arc::from(target), cost })
}

/// One target; a list of one is accepted.
fn single_target<'t>(node: &'t Node, problems: &mut Problems) -> Option<&'t Node> {
    match &node.kind {
        Kind::List(items) => {
            if let [only] = items.as_slice() {
                return Some(only);
            }
            problems.push(later(&node.place, "routes with several targets are"));
            None
        }
        Kind::Map(_) => {
            problems.push(later(&node.place, "routes with a service tier are"));
            None
        }
        Kind::Scalar { .. } | Kind::Null => Some(node),
    }
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
