//! The headers that every answer carries: what was decided and why, in Structured Fields (RFC 9651).

use std::fmt::Write;
use std::time::Duration;

use http::header::{ACCESS_CONTROL_EXPOSE_HEADERS, HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::meter::pace::Remaining;
use crate::policy::Policy;
use crate::policy::decision::{Actions, Decision};

use super::admit::Admission;
use super::call::Call;
use super::exposed;

/// The names that browsers may read.
const EXPOSED: &str = "plimsoll-request-id, plimsoll-policy, plimsoll-decision, plimsoll-would, \
    plimsoll-model-requested, plimsoll-model-served, plimsoll-budget, plimsoll-warning, plimsoll-replayed, server-timing, retry-after";

const REQUEST_ID: HeaderName = HeaderName::from_static("plimsoll-request-id");
const POLICY: HeaderName = HeaderName::from_static("plimsoll-policy");
const DECISION: HeaderName = HeaderName::from_static("plimsoll-decision");
const WOULD: HeaderName = HeaderName::from_static("plimsoll-would");
const MODEL_REQUESTED: HeaderName = HeaderName::from_static("plimsoll-model-requested");
const MODEL_SERVED: HeaderName = HeaderName::from_static("plimsoll-model-served");
const BUDGET: HeaderName = HeaderName::from_static("plimsoll-budget");
const WARNING: HeaderName = HeaderName::from_static("plimsoll-warning");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Headers that an answer will carry, gathered while its call goes up: a list, since nobody looks one up.
#[derive(Default)]
pub(super) struct Marks(SmallVec<[(HeaderName, HeaderValue); 8]>);

impl Marks {
    /// An empty value says nothing and is left out.
    fn set(&mut self, name: HeaderName, value: &str) {
        if !value.is_empty()
            && let Ok(value) = HeaderValue::from_str(value)
        {
            self.0.push((name, value));
        }
    }

    /// Writes them over whatever else stands under their names; of two of one name the later one stays.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        headers.reserve(self.0.len());
        for (name, value) in self.0 {
            headers.insert(name, value);
        }
    }
}

/// What was done about the rate and the cap, beside the policy's own words.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Done<'a> {
    /// A cap that was written so that the hold fits.
    pub(super) clamp: Option<u64>,
    /// `refused`, when a throttle turned the call away; `queued 1.2 s`, when it made it wait.
    pub(super) throttle: Option<&'a str>,
}

/// `plimsoll-decision` (or `plimsoll-would`) of what was done; empty when nothing was.
pub(super) fn decision_field(actions: &Actions, policy: &Policy, done: Done<'_>) -> String {
    let mut field = String::new();
    if field_is_silent(actions, done) {
        return field;
    }
    let mut add = |key: &str, value: &str| {
        let separator = if field.is_empty() { "" } else { ", " };
        let _ = if value.is_empty() || value.starts_with(';') {
            write!(field, "{separator}{key}{value}")
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
    if let Some(route) = route_item(actions) {
        add("route", &route);
    }
    if actions.block.is_some() {
        add("block", "");
    } else if let Some(excess) = actions.tool_output {
        add("block", &format!(";tool-output={}", excess.tokens));
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

/// The model, and the tier as its parameter. A tier without another model is a bare key with that parameter.
fn route_item(actions: &Actions) -> Option<String> {
    let tier = actions.service_tier.as_ref().map(|tier| format!(";service-tier={}", quoted(tier)));
    let model = actions.route.as_ref().map(|model| quoted(model));
    (model.is_some() || tier.is_some()).then(|| model.unwrap_or_default() + &tier.unwrap_or_default())
}

fn field_is_silent(actions: &Actions, done: Done<'_>) -> bool {
    done.clamp.is_none()
        && done.throttle.is_none()
        && actions.cap.is_none()
        && !actions.cap_kept_thinking
        && actions.route.is_none()
        && actions.service_tier.is_none()
        && actions.block.is_none()
        && actions.tool_output.is_none()
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
    quote(text, &mut quoted);
    quoted
}

pub(super) fn quote(text: &str, quoted: &mut String) {
    quoted.push('"');
    for character in text.chars().filter(|character| matches!(character, ' '..='~')) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
}

pub(super) fn number(text: &mut String, number: impl itoa::Integer) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// Headers of every answer, ours or the provider's, once the caller is known.
pub(super) fn identify(marks: &mut Marks, call: &Call) {
    marks.set(REQUEST_ID, &call.id);
    revision(marks, call);
    marks.0.push((ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED)));
}

/// The policy that a call is judged by.
pub(super) fn revision(marks: &mut Marks, call: &Call) {
    marks.set(POLICY, &call.snapshot.revision);
}

/// `plimsoll-warning`: what was refused of the call's attribution, and what else the caller should know.
pub(super) fn warn(marks: &mut Marks, warnings: &[String], more: Option<&str>) {
    let all: SmallVec<[&str; 4]> = warnings.iter().map(String::as_str).chain(more).collect();
    marks.set(WARNING, &all.join(", "));
}

/// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers): requests only, never money or tokens.
pub(super) fn rate(marks: &mut Marks, rate: Option<&(Box<str>, u64, Remaining)>) {
    let Some((rule, window, remaining)) = rate else { return };
    let name = quoted(rule);
    marks.set(RATELIMIT_POLICY, &format!("{name};q={};w={window}", remaining.limit));
    marks.set(RATELIMIT, &format!("{name};r={};t={}", remaining.remaining, remaining.reset_seconds));
}

/// The fields of a call, made once for the wire and the ledger.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) decision: String,
    pub(super) would: String,
}

impl Fields {
    pub(super) fn of(call: &Call, admission: &Admission) -> Self {
        let clamp = admission.cap.filter(|_| admission.clamped);
        let queued =
            call.queued.map(|queued| format!("queued {}.{} s", queued.as_secs(), queued.subsec_millis() / 100));
        Self {
            decision: decision_field(
                &admission.decision.actions,
                &call.snapshot.policy,
                Done { clamp, throttle: queued.as_deref() },
            ),
            would: would_field(&admission.decision, &call.snapshot.policy),
        }
    }
}

/// Headers of an admitted call's answer.
pub(super) fn decided(marks: &mut Marks, call: &Call, admission: &Admission, fields: &Fields) {
    marks.set(DECISION, &fields.decision);
    marks.set(WOULD, &fields.would);
    if let Some(model) = &call.model {
        marks.set(MODEL_REQUESTED, model);
    }
    if let Some(model) = &admission.model_served {
        marks.set(MODEL_SERVED, model);
    }
    marks.set(BUDGET, &exposed::header(call, &admission.decision, &admission.counted));
}

/// Headers of a refusal that the policy asked for.
pub(super) fn refused(marks: &mut Marks, call: &Call, decision: &str, would: &str) {
    marks.set(DECISION, decision);
    marks.set(WOULD, would);
    if let Some(model) = &call.model {
        marks.set(MODEL_REQUESTED, model);
    }
}

/// `server-timing`: our share and the provider's.
pub(super) fn timing(headers: &mut HeaderMap, ours: Duration, upstream: Option<Duration>) {
    let mut value = String::with_capacity(48);
    let mut entry = |name: &str, duration: Duration| {
        value.push_str(name);
        number(&mut value, duration.as_millis());
        value.push('.');
        number(&mut value, duration.subsec_micros() % 1_000 / 100);
    };
    entry("plimsoll;dur=", ours);
    if let Some(upstream) = upstream {
        entry(", upstream;dur=", upstream);
    }
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.append(SERVER_TIMING, value);
    }
}
