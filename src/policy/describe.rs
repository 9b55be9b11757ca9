//! Steps in words, for notifications and pages. What is said here is said about the rule, not about one call.

use std::time::Duration;

use crate::domain::window::Period;

use super::Policy;
use super::ladder::{Remedies, Rung, Scope, Scoped};

/// `cap 600 output tokens; 20 requests/min on non_critical`; a step that only notifies names whom.
pub(super) fn rung(rung: &Rung) -> String {
    let mut parts = remedies(&rung.remedies);
    if let Some(ask) = &rung.ask {
        let otherwise = remedies(&ask.otherwise).join("; ");
        parts.push(format!("ask {}; after {} {otherwise}", ask.whom.as_str(), in_words(ask.within)));
    }
    if parts.is_empty() {
        let targets: Vec<&str> = rung.notify.iter().map(super::ladder::NotifyTarget::as_str).collect();
        return format!("notify {}", targets.join(", "));
    }
    parts.join("; ")
}

/// Per hard budget: the segments and exceptions whose calls it does not refuse.
pub(super) fn outside_promise(policy: &Policy) -> Vec<String> {
    let mut sentences = Vec::new();
    for (index, budget) in policy.budgets.iter().enumerate().filter(|(_, budget)| budget.hard) {
        let mut say = |whose: String| {
            sentences.push(format!("budget `{}` counts calls of {whose} and never refuses them", budget.name));
        };
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

fn remedies(remedies: &Remedies) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(cap) = &remedies.cap {
        scoped(&cap.tokens, &mut parts, |tokens| format!("cap {tokens} output tokens"));
        parts.extend(cap.reasoning.map(|tokens| format!("cap {tokens} output tokens of reasoning models")));
    }
    if let Some(rates) = &remedies.throttle {
        scoped(rates, &mut parts, |rate| {
            let queue =
                rate.queue.map(|queue| format!(" after waiting {} at most", in_words(queue))).unwrap_or_default();
            format!("{} requests/{}{queue}", rate.requests, short(rate.per))
        });
    }
    if let Some(routes) = &remedies.route {
        scoped(routes, &mut parts, |route| {
            let rules = route.rules.iter().map(|rule| format!("{} → {}", rule.from, rule.to));
            rules.collect::<Vec<_>>().join(", ")
        });
    }
    match remedies.block {
        Some(Scope::All) => parts.push("block all requests".to_owned()),
        Some(Scope::NonCritical) => parts.push("block non_critical requests".to_owned()),
        None => {}
    }
    parts
}

fn scoped<T>(values: &Scoped<T>, parts: &mut Vec<String>, words: impl Fn(&T) -> String) {
    parts.extend(values.all.as_ref().map(&words));
    parts.extend(values.non_critical.as_ref().map(|value| format!("{} on non_critical", words(value))));
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
