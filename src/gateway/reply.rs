//! The headers that every answer carries: what was decided and why, in Structured Fields (RFC 9651).

use std::fmt::Write;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::meter::pace::Remaining;
use crate::policy::Policy;
use crate::policy::decision::{Actions, Decision};

use super::admit::{Admission, Counting};
use super::call::Call;

/// The names that browsers may read.
const EXPOSED: &str = "plimsoll-request-id, plimsoll-policy, plimsoll-decision, plimsoll-would, \
    plimsoll-model-requested, plimsoll-model-served, plimsoll-budget, plimsoll-warning, plimsoll-replayed, server-timing, retry-after";

/// What was done about the rate and the cap, beside the policy's own words.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Done<'a> {
    /// A cap that was written so that the hold fits.
    pub(super) clamp: Option<u64>,
    /// `refused`, when a throttle turned the call away.
    pub(super) throttle: Option<&'a str>,
}

/// `plimsoll-decision` (or `plimsoll-would`) of what was done; empty when nothing was.
pub(super) fn decision_field(actions: &Actions, policy: &Policy, done: Done<'_>) -> String {
    let mut field = String::new();
    let mut add = |key: &str, value: &str| {
        let separator = if field.is_empty() { "" } else { ", " };
        let _ = if value.is_empty() {
            write!(field, "{separator}{key}")
        } else {
            write!(field, "{separator}{key}={value}")
        };
    };
    if let Some(cap) = actions.cap.filter(|_| done.clamp.is_none()) {
        add("cap", &cap.to_string());
    }
    if let Some(clamp) = done.clamp {
        add("clamp", &clamp.to_string());
    }
    if actions.cap_kept_thinking {
        add("cap-kept", "\"thinking\"");
    }
    if let Some(throttle) = done.throttle {
        add("throttle", &quoted(throttle));
    }
    if let Some(model) = &actions.route {
        add("route", &quoted(model));
    }
    if actions.block.is_some() {
        add("block", "");
    }
    if field_is_silent(actions, done) {
        return String::new();
    }
    if let Some(step) = actions.step {
        add("step", step.as_str());
    }
    if let Some(budget) = actions.budget.and_then(|at| policy.budgets.get(at)) {
        add("budget", &quoted(&budget.name));
    }
    if let Some(by) = &actions.by {
        add("by", &quoted(by));
    }
    field
}

fn field_is_silent(actions: &Actions, done: Done<'_>) -> bool {
    done.clamp.is_none()
        && done.throttle.is_none()
        && actions.cap.is_none()
        && !actions.cap_kept_thinking
        && actions.route.is_none()
        && actions.block.is_none()
}

/// What dry-run rules would have done.
pub(super) fn would_field(decision: &Decision, policy: &Policy) -> String {
    let would = &decision.would;
    let throttle = would.throttle.as_ref().map(|_| "limited");
    decision_field(would, policy, Done { clamp: None, throttle })
}

/// A Structured Fields string.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars().filter(|character| matches!(character, ' '..='~')) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// `plimsoll-budget`: budgets per tenant only, as percentages. Shared totals would tell one customer about another.
fn budget_field(call: &Call, decision: &Decision, counting: &Counting) -> String {
    let mut field = String::new();
    for state in &decision.states {
        let Some(budget) = call.snapshot.policy.budgets.get(state.budget) else { continue };
        let standing = counting.standings.iter().find(|standing| standing.budget == state.budget);
        let Some(standing) = standing.filter(|_| budget.is_per_tenant()) else { continue };
        let resets_in = standing.window.end.since(call.now).as_secs();
        let separator = if field.is_empty() { "" } else { ", " };
        let _ = write!(
            field,
            "{separator}{};state={};used={};t={resets_in}",
            quoted(&budget.name),
            state.state.as_str(),
            state.used_percent
        );
    }
    field
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if value.is_empty() {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// Headers of every answer, ours or the provider's, once the caller is known.
pub(super) fn identify(headers: &mut HeaderMap, call: &Call) {
    set(headers, "plimsoll-request-id", &call.id);
    set(headers, "plimsoll-policy", &call.snapshot.revision);
    headers.insert(http::header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
}

/// `plimsoll-warning`: what was refused of the call's attribution, and what else the caller should know.
pub(super) fn warn(headers: &mut HeaderMap, warnings: &[String], more: Option<&str>) {
    let all: Vec<&str> = warnings.iter().map(String::as_str).chain(more).collect();
    set(headers, "plimsoll-warning", &all.join(", "));
}

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers): requests only, never money or tokens.
pub(super) fn rate(headers: &mut HeaderMap, rate: Option<&(Box<str>, u64, Remaining)>) {
    let Some((rule, window, remaining)) = rate else { return };
    let name = quoted(rule);
    set(headers, "ratelimit-policy", &format!("{name};q={};w={window}", remaining.limit));
    set(headers, "ratelimit", &format!("{name};r={};t={}", remaining.remaining, remaining.reset_seconds));
}

/// The fields of an admitted call, made once for the wire and the ledger.
pub(super) struct Fields {
    pub(super) decision: String,
    pub(super) would: String,
}

impl Fields {
    pub(super) fn of(call: &Call, admission: &Admission) -> Self {
        let clamp = admission.cap.filter(|_| admission.clamped);
        Self {
            decision: decision_field(
                &admission.decision.actions,
                &call.snapshot.policy,
                Done { clamp, throttle: None },
            ),
            would: would_field(&admission.decision, &call.snapshot.policy),
        }
    }
}

/// Headers of an admitted call's answer.
pub(super) fn decided(headers: &mut HeaderMap, call: &Call, admission: &Admission, fields: &Fields) {
    set(headers, "plimsoll-decision", &fields.decision);
    set(headers, "plimsoll-would", &fields.would);
    if let Some(model) = &call.model {
        set(headers, "plimsoll-model-requested", model);
    }
    if let Some(model) = &admission.model_served {
        set(headers, "plimsoll-model-served", model);
    }
    set(headers, "plimsoll-budget", &budget_field(call, &admission.decision, &admission.counted));
}

/// Headers of a refusal that the policy asked for.
pub(super) fn refused(headers: &mut HeaderMap, call: &Call, decision: &str, would: &str) {
    set(headers, "plimsoll-decision", decision);
    set(headers, "plimsoll-would", would);
    if let Some(model) = &call.model {
        set(headers, "plimsoll-model-requested", model);
    }
}

/// `server-timing`: our share and the provider's.
pub(super) fn timing(headers: &mut HeaderMap, ours: Duration, upstream: Option<Duration>) {
    let millis = |duration: Duration| format!("{}.{:01}", duration.as_millis(), duration.subsec_micros() % 1_000 / 100);
    let mut value = format!("plimsoll;dur={}", millis(ours));
    if let Some(upstream) = upstream {
        let _ = write!(value, ", upstream;dur={}", millis(upstream));
    }
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.append(HeaderName::from_static("server-timing"), value);
    }
}
