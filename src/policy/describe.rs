//! Steps in words, for notifications and pages. What is said here is said about the rule, not about one call.

use std::time::Duration;

use crate::domain::money::Money;
use crate::domain::standing::Unit;
use crate::domain::window::{Period, Span};

use super::Policy;
use super::budget::Amount;
use super::exception::{Exception, Never};
use super::ladder::{NotifyTarget, Remedies, Rung, Scope, Scoped, percent};
use super::route::{Route, RouteRule};

/// `cap 600 output tokens; 20 requests/min on non_critical`; a step that only notifies names whom.
pub(super) fn rung(rung: &Rung) -> String {
    step(rung, remedies)
}

/// The same, but routes by their names: `cap 600 output tokens; → cheaper on non_critical`.
pub(super) fn briefly(rung: &Rung) -> String {
    step(rung, brief_remedies)
}

fn step(rung: &Rung, words: fn(&Remedies) -> Vec<String>) -> String {
    let mut parts = words(&rung.remedies);
    if let Some(ask) = &rung.ask {
        let otherwise = words(&ask.otherwise).join("; ");
        parts.push(format!("ask {}; after {} {otherwise}", ask.whom.as_str(), in_words(ask.within)));
    }
    if !rung.rollout.is_all() {
        parts.push(format!("for {} of tenants", percent(rung.rollout.share())));
    }
    if parts.is_empty() { format!("notify {}", targets(&rung.notify)) } else { parts.join("; ") }
}

/// Per hard budget: the segments and exceptions whose calls it does not refuse.
pub(super) fn outside_promise(policy: &Policy) -> Vec<String> {
    let mut sentences = Vec::new();
    for (index, budget) in policy.budgets.iter().enumerate().filter(|(_, budget)| budget.hard) {
        let mut say = |whose: String| {
            sentences.push(format!("budget `{}` counts calls of {whose} and never refuses them", budget.name));
        };
        for rung in budget.ladder.rungs.iter().filter(|rung| rung.blocks_all() && !rung.rollout.is_all()) {
            say(format!("tenants outside {} of all", percent(rung.rollout.share())));
        }
        for segment in policy.segments.values().filter(|segment| segment.never.block) {
            say(format!("segment `{}`", segment.name));
        }
        for exception in policy.exceptions.iter().filter(|exception| exception.concerns(index)) {
            let swapped = exception.ladder.as_ref().is_some_and(|ladder| !ladder.blocks_all());
            if exception.never.block || swapped {
                say(format!("tenant `{}` until {}", exception.tenant, exception.expires));
            }
        }
    }
    sentences
}

/// `tenant_month: $900/month instead, never route, until 2027-01-31: January renewal (dana@example.com)`.
pub(super) fn exception(policy: &Policy, exception: &Exception) -> String {
    let budget = exception.budget.and_then(|budget| policy.budgets.get(budget));
    let mut terms = Vec::new();
    if let Some((limit, budget)) = exception.limit.zip(budget) {
        terms.push(format!("{} instead", amount(limit, budget.unit, budget.span)));
    }
    terms.extend(exception.ladder.as_ref().map(|ladder| format!("escalation {} where it is gentler", ladder.name)));
    let never = never(exception.never);
    if !never.is_empty() {
        terms.push(format!("never {never}"));
    }
    terms.push(format!("until {}", exception.expires));
    let name = budget.map_or("every budget", |budget| &budget.name);
    let approved: Vec<&str> = exception.approved_by.iter().map(AsRef::as_ref).collect();
    format!("{name}: {}: {} ({})", terms.join(", "), exception.reason, approved.join(", "))
}

/// `throttle, route`.
pub(super) fn never(never: Never) -> String {
    let words = [
        ("cap_output_tokens", never.cap),
        ("throttle", never.throttle),
        ("route", never.route),
        ("block", never.block),
    ];
    words.into_iter().filter(|(_, set)| *set).map(|(word, _)| word).collect::<Vec<_>>().join(", ")
}

/// `$150/month`, `2000000 tokens/day`, `30% of revenue/month`.
pub(super) fn amount(amount: Amount, unit: Unit, span: Span) -> String {
    match amount {
        Amount::Fixed(number) => format!("{}/{span}", quantity(number, unit)),
        Amount::Revenue { share, .. } => format!("{} of revenue/{span}", percent(share)),
    }
}

/// `$150`, `2000000 tokens`.
pub fn quantity(number: i64, unit: Unit) -> String {
    match unit {
        Unit::Money => {
            let text = Money::from_nano(number).to_string();
            text.strip_suffix(".00").map_or_else(|| text.clone(), str::to_owned)
        }
        Unit::Tokens => format!("{number} tokens"),
        Unit::Requests => format!("{number} requests"),
    }
}

/// `account_owner, slack:llm-margin`.
pub(super) fn targets(targets: &[NotifyTarget]) -> String {
    targets.iter().map(NotifyTarget::as_str).collect::<Vec<_>>().join(", ")
}

/// The actions, routes by their names.
pub(super) fn brief_remedies(remedies: &Remedies) -> Vec<String> {
    worded(remedies, |route| format!("→ {}", route.name))
}

fn remedies(remedies: &Remedies) -> Vec<String> {
    worded(remedies, route)
}

/// `gpt-4o → gpt-4o-mini or gpt-4o (flex), o3 → o4-mini`.
pub(super) fn route(route: &Route) -> String {
    let models = route.rules.chunk_by(|one, other| one.from == other.from);
    let words = models.filter_map(|rules| {
        let targets: Vec<String> = rules.iter().map(target).collect();
        Some(format!("{} → {}", rules.first()?.from, targets.join(" or ")))
    });
    words.collect::<Vec<_>>().join(", ")
}

fn worded(remedies: &Remedies, route: impl Fn(&Route) -> String) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(cap) = &remedies.cap {
        scoped(&cap.tokens, &mut parts, |tokens| format!("cap {tokens} output tokens"));
        parts.extend(cap.reasoning.map(|tokens| format!("cap {tokens} output tokens of reasoning models")));
    }
    if let Some(rates) = &remedies.throttle {
        scoped(rates, &mut parts, |rate| {
            let queue = rate.queue.map(|queue| format!(" after waiting {} at most", in_words(queue)));
            format!("{}{}", self::rate(rate.requests, rate.per), queue.unwrap_or_default())
        });
    }
    if let Some(routes) = &remedies.route {
        scoped(routes, &mut parts, |one| route(one));
    }
    match remedies.block {
        Some(Scope::All) => parts.push("block all requests".to_owned()),
        Some(Scope::NonCritical) => parts.push("block non_critical requests".to_owned()),
        None => {}
    }
    parts
}

/// `gpt-4o (flex)`.
fn target(rule: &RouteRule) -> String {
    let tier = rule.service_tier.as_ref().map(|tier| format!(" ({tier})")).unwrap_or_default();
    format!("{}{tier}", rule.to)
}

fn scoped<T>(values: &Scoped<T>, parts: &mut Vec<String>, words: impl Fn(&T) -> String) {
    parts.extend(values.all.as_ref().map(&words));
    parts.extend(values.non_critical.as_ref().map(|value| format!("{} on non_critical", words(value))));
}

/// `20 requests/min`.
pub(super) fn rate(requests: u32, per: Period) -> String {
    format!("{requests} requests/{}", short(per))
}

fn short(period: Period) -> &'static str {
    match period {
        Period::Minute => "min",
        other => other.as_str(),
    }
}

/// `2 days`: in the largest unit that divides it.
pub fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(604_800, "week"), (86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let fitting = units.into_iter().find(|(length, _)| seconds.is_multiple_of(*length) && seconds >= *length);
    let (length, word) = fitting.unwrap_or((1, "second"));
    let count = seconds / length;
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
