//! Plans and endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Place};
use crate::domain::standing::Unit;
use crate::domain::window::Span;
use crate::policy::Written;
use crate::policy::amount::{self, LimitText};
use crate::policy::budget::Amount;
use crate::policy::exception::Never;
use crate::policy::exchange::Exchange;
use crate::policy::glob::Glob;
use crate::policy::ladder::Remedies;
use crate::policy::plan::{Endpoint, Plan};
use crate::policy::reader::{Fields, Problems, expect_bool, expect_list, expect_word};
use crate::policy::tree::Node;

use super::{Ground, ladders, text, value};

/// What a plan's `llm_budget` is counted in, and where that is said.
pub(super) struct PlanLimit {
    pub(super) plan: Arc<str>,
    pub(super) place: Place,
    pub(super) unit: Unit,
    pub(super) per: Span,
}

/// Every plan, and the units of their budgets.
pub(super) fn plans(ground: &Ground<'_, '_>, problems: &mut Problems) -> (BTreeMap<Arc<str>, Plan>, Vec<PlanLimit>) {
    let (mut plans, mut limits) = (BTreeMap::new(), Vec::new());
    for (key, node) in &ground.document.plans {
        let name: Arc<str> = Arc::from(key.text.as_str());
        let Some(mut fields) = Fields::of(node, format!("plan `{name}`"), problems) else { continue };
        let budget = fields.value("llm_budget").and_then(|node| {
            let (amount, unit, per) = own_limit(node, &ground.exchange, problems)?;
            limits.push(PlanLimit { plan: Arc::clone(&name), place: node.place.clone(), unit, per });
            Some((amount, (unit, per)))
        });
        let (llm_budget, counted_in) = budget.unzip();
        let margin = fields.value("target_margin");
        let plan = Plan {
            origin: Arc::from(format!("plan.{name}")),
            llm_budget,
            counted_in,
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
pub(super) fn own_limit(node: &Node, exchange: &Exchange, problems: &mut Problems) -> Option<(Amount, Unit, Span)> {
    match value(node, "an amount", |text| amount::limit(text, exchange), problems)? {
        LimitText::Fixed { amount, unit, per } => Some((Amount::Fixed(amount), unit, per)),
        LimitText::Revenue { share, per } => {
            Some((Amount::Revenue { share, per, rate: exchange.own() }, Unit::Money, Span::Calendar(per)))
        }
        LimitText::Plan => {
            let fault = Diagnostic::error("E122", "`plan.llm_budget` is the limit of a budget").at(&node.place, "");
            problems.push(fault.help("write an amount here: `$150/month`"));
            None
        }
    }
}

/// What always applies: a cap and a route.
pub(super) fn standing_remedies(fields: &mut Fields<'_>, ground: &Ground<'_, '_>, problems: &mut Problems) -> Remedies {
    let cap = fields.value("cap_output_tokens").and_then(|node| ladders::cap(node, problems));
    let route = fields.value("route").and_then(|node| ladders::routes(node, ground, problems));
    Remedies { cap, route, ..Remedies::default() }
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
        let read = |text: &str| amount::planned_cost(text, &ground.exchange);
        let planned_cost = cost.and_then(|node| value(node, "`planned_cost`", read, problems));
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
