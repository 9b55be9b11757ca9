//! Every rule of a policy in texts that are equal exactly when the rules are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::tz::TimeZone;

use crate::policy::amount::PlannedPer;
use crate::policy::budget::{Budget, Limit, Matcher};
use crate::policy::describe;
use crate::policy::exception::{Exception, WhenExpired};
use crate::policy::exchange::DOLLAR;
use crate::policy::glob::Glob;
use crate::policy::ladder::{Ladder, NotifyTarget, Remedies, Rung, percent};
use crate::policy::plan::{Exposure, OnMissingTenant, OnNoFit, OnUnpricedModel};
use crate::policy::segment::Flagship;
use crate::policy::{Policy, Written};

use super::Rule;

type Rules = BTreeMap<String, Rule>;

/// The rules, in the order of [`SECTIONS`](super::SECTIONS).
pub(super) fn sections(policy: &Policy) -> [Rules; 8] {
    [
        BTreeMap::from([("policy".to_owned(), general(policy))]),
        plans(policy),
        segments(policy),
        endpoints(policy),
        routes(policy),
        budgets(policy),
        escalations(policy),
        policy.exceptions.iter().map(|exception| self::exception(policy, exception)).collect(),
    ]
}

/// Puts a rule together; what says nothing is left out.
fn rule(written: Option<&Written>, fields: impl IntoIterator<Item = (&'static str, String)>) -> Rule {
    let fields = fields.into_iter().filter(|(_, text)| !text.is_empty());
    Rule { fields: fields.collect(), written: written.cloned() }
}

/// What is not said is empty.
fn text(text: Option<impl ToString>) -> String {
    text.map(|text| text.to_string()).unwrap_or_default()
}

fn general(policy: &Policy) -> Rule {
    let defaults = &policy.defaults;
    let missing = match defaults.on_missing_tenant {
        OnMissingTenant::MeterAsUnattributed => "meter_as_unattributed",
        OnMissingTenant::Reject => "reject",
    };
    let unpriced = match defaults.on_unpriced_model {
        OnUnpricedModel::MeterTokensOnly => "meter_tokens_only",
        OnUnpricedModel::Reject => "reject",
    };
    let no_fit = match defaults.on_no_fit {
        OnNoFit::Clamp => "clamp",
        OnNoFit::Reject => "reject",
    };
    let exposed = |exposure| match exposure {
        Exposure::Percent => "percent",
        Exposure::Amount => "amount",
        Exposure::Never => "never",
    };
    let (shown, broken) = (defaults.expose_to_clients, &defaults.on_ledger_unavailable);
    rule(
        None,
        [
            ("mode", policy.mode.as_str().to_owned()),
            ("currency", policy.exchange.currency.to_string()),
            ("exchange", exchange(policy)),
            ("timezone", zone(&policy.zone).to_owned()),
            ("defaults.plan", text(defaults.plan.as_ref())),
            ("defaults.on_missing_tenant", missing.to_owned()),
            ("defaults.on_unpriced_model", unpriced.to_owned()),
            ("defaults.on_no_fit", no_fit.to_owned()),
            ("defaults.expose_to_clients", format!("budget {}, cost {}", exposed(shown.budget), exposed(shown.cost))),
            (
                "defaults.on_ledger_unavailable",
                format!("allow {}{}", if broken.refuses { "none" } else { "all" }, told(&broken.alert)),
            ),
        ],
    )
}

/// `EUR 1.08`.
fn exchange(policy: &Policy) -> String {
    let rates = policy.exchange.known().filter(|currency| *currency != DOLLAR);
    let rates = rates
        .filter_map(|currency| Some(format!("{currency} {}", policy.exchange.rate(currency)?.worth().to_decimal())));
    rates.collect::<Vec<_>>().join(", ")
}

/// `, alert oncall`.
fn told(targets: &[NotifyTarget]) -> String {
    if targets.is_empty() { String::new() } else { format!(", alert {}", describe::targets(targets)) }
}

fn zone(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}

fn always(remedies: &Remedies) -> String {
    describe::brief_remedies(remedies).join("; ")
}

fn plans(policy: &Policy) -> Rules {
    let plans = policy.plans.values().map(|plan| {
        let budget = plan.llm_budget.zip(plan.counted_in);
        let fields = [
            ("llm_budget", text(budget.map(|(amount, (unit, span))| describe::amount(amount, unit, span)))),
            ("target_margin", text(plan.target_margin.map(percent))),
            ("always", always(&plan.remedies)),
            ("upgrade_url", text(plan.upgrade_url.as_ref())),
            ("message", text(plan.message.as_ref())),
        ];
        (plan.name.to_string(), rule(Some(&plan.written), fields))
    });
    plans.collect()
}

fn segments(policy: &Policy) -> Rules {
    let segments = policy.segments.values().map(|segment| {
        let fields = [
            ("always", always(&segment.remedies)),
            ("never", describe::never(segment.never)),
            ("flagship", text(segment.flagship.as_ref().map(flagship))),
            ("max_tool_output_tokens", text(segment.max_tool_output)),
            ("watch", text(segment.watch.as_ref())),
        ];
        (segment.name.to_string(), rule(Some(&segment.written), fields))
    });
    segments.collect()
}

/// `gpt-4o for promptVersion v7 or v8, otherwise → cheaper`.
fn flagship(gate: &Flagship) -> String {
    let patterns = |globs: &[Glob]| globs.iter().map(Glob::as_str).collect::<Vec<_>>().join(" or ");
    let (models, prompts) = (patterns(&gate.models), patterns(&gate.prompts));
    format!("{models} for promptVersion {prompts}, otherwise {}", always(&gate.otherwise))
}

fn endpoints(policy: &Policy) -> Rules {
    let endpoints = policy.endpoints.iter().map(|endpoint| {
        let cost = endpoint.planned_cost.map(|(cost, per)| match per {
            PlannedPer::Request => format!("{cost}/request"),
            PlannedPer::Workflow => format!("{cost}/workflow"),
        });
        let fields = [
            ("critical", endpoint.critical.to_string()),
            ("planned_cost", text(cost)),
            ("owner", text(endpoint.owner.as_ref())),
        ];
        (endpoint.pattern.as_str().to_owned(), rule(Some(&endpoint.written), fields))
    });
    endpoints.collect()
}

fn routes(policy: &Policy) -> Rules {
    let routes = policy.routes().map(|route| {
        let dearer = if route.allow_more_expensive { "true" } else { "" };
        let fields = [("rules", describe::route(route)), ("allow_more_expensive", dearer.to_owned())];
        (route.name.to_string(), rule(Some(&route.written), fields))
    });
    routes.collect()
}

fn budgets(policy: &Policy) -> Rules {
    let budgets = policy.budgets.iter().map(|budget| (budget.name.to_string(), self::budget(policy, budget)));
    budgets.collect()
}

fn budget(policy: &Policy, budget: &Budget) -> Rule {
    let limit = match budget.limit {
        Limit::Own(amount) => describe::amount(amount, budget.unit, budget.span),
        Limit::Plan => format!("plan.llm_budget per {}", budget.span),
    };
    let per: Vec<&str> = budget.per.iter().map(|dimension| dimension.as_str()).collect();
    let parent = budget.within.as_ref().and_then(|within| policy.budgets.get(within.parent));
    let mut rule = rule(
        Some(&budget.written),
        [
            ("limit", limit),
            ("per", per.join(", ")),
            ("match", matcher(&budget.matcher)),
            ("mode", budget.mode.as_str().to_owned()),
            ("within", text(parent.map(|parent| &parent.name))),
            ("review_by", text(budget.review_by)),
            ("escalation", budget.own_steps.as_ref().map_or(&*budget.ladder.name, |_| "its own").to_owned()),
            ("grace", text(budget.grace.map(percent))),
        ],
    );
    rule.fields.extend(budget.own_steps.iter().flat_map(steps));
    rule
}

/// `endpointTag digest.*, when userId != '', not (plan starter)`.
fn matcher(matcher: &Matcher) -> String {
    let mut conditions: Vec<String> = Vec::new();
    for (dimension, patterns) in &matcher.all {
        let patterns: Vec<&str> = patterns.iter().map(Glob::as_str).collect();
        conditions.push(format!("{} {}", dimension.as_str(), patterns.join(" or ")));
    }
    conditions.extend(matcher.when.as_ref().map(|when| format!("when {when}")));
    conditions.extend(matcher.not.as_ref().map(|not| format!("not ({})", self::matcher(not))));
    conditions.join(", ")
}

/// The escalations in use. One that no budget and no exception names does nothing.
fn escalations(policy: &Policy) -> Rules {
    let budgets = policy.budgets.iter().filter(|budget| budget.own_steps.is_none()).map(|budget| &budget.ladder);
    let swapped = policy.exceptions.iter().filter_map(|exception| exception.ladder.as_ref());
    let used: BTreeSet<&str> = budgets.chain(swapped).map(|ladder| ladder.name.as_ref()).collect();
    let rules = policy.escalations.iter().filter(|(name, _)| used.contains(name.as_ref())).map(|(name, ladder)| {
        let written = ladder.rungs.first().map(|rung| &rung.written);
        (name.to_string(), rule(written, steps(ladder)))
    });
    rules.collect()
}

fn steps(ladder: &Ladder) -> Vec<(&'static str, String)> {
    ladder.rungs.iter().map(|rung| (rung.step.as_str(), step(rung))).collect()
}

fn step(rung: &Rung) -> String {
    let mut text = format!("at {}: {}", rung.at, describe::briefly(rung));
    if !rung.notify.is_empty() && (!rung.remedies.is_empty() || rung.ask.is_some()) {
        text.push_str("; notify ");
        text.push_str(&describe::targets(&rung.notify));
    }
    if let Some(ask) = rung.ask.as_ref().filter(|ask| !ask.choices.is_empty()) {
        text.push_str("; choices ");
        text.push_str(&ask.choices.join(", "));
    }
    if rung.status != 429 {
        let _ = write!(text, "; status {}", rung.status);
    }
    if let Some(message) = &rung.message {
        let _ = write!(text, "; message “{message}”");
    }
    text
}

/// `notify finance, 14 days before`.
fn ending(rule: &WhenExpired) -> String {
    let before = rule.before.map(|before| format!(", {} before", describe::in_words(before)));
    format!("notify {}{}", describe::targets(&rule.notify), before.unwrap_or_default())
}

fn exception(policy: &Policy, exception: &Exception) -> (String, Rule) {
    let budget = exception.budget.and_then(|budget| policy.budgets.get(budget));
    let limit = exception.limit.zip(budget).map(|(limit, budget)| describe::amount(limit, budget.unit, budget.span));
    let fields = [
        ("limit", text(limit)),
        ("escalation", text(exception.ladder.as_ref().map(|ladder| &ladder.name))),
        ("never", describe::never(exception.never)),
        ("expires", exception.expires.to_string()),
        ("reason", exception.reason.to_string()),
        ("approved_by", exception.approved_by.join(", ")),
        ("ticket", text(exception.ticket.as_ref())),
        ("when_expired", text(exception.when_expired.as_ref().map(ending))),
    ];
    let budget = budget.map_or("every budget", |budget| &budget.name);
    (format!("{} on {budget}", exception.tenant), rule(Some(&exception.written), fields))
}
