//! What the ledger knows of the last days, and what a policy does not fit in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::diagnostic::Diagnostic;
use crate::domain::model::is_release_of;
use crate::policy::Policy;
use crate::policy::budget::{Dimension, Matcher};
use crate::policy::condition::{Condition, Patterns};
use crate::policy::glob::Glob;
use crate::policy::reader::nearest;
use crate::policy::tree::Node;

use super::{Text, child, entries, grouped, items, many, scalar, warning};

/// How many tags are named.
const MOST_TAGS: usize = 5;

/// The calls of one endpoint tag to one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCalls {
    /// The tag.
    pub endpoint_tag: String,
    /// The model that was asked for.
    pub model: String,
    /// Logical requests.
    pub requests: i64,
    /// Output tokens that were reasoning.
    pub reasoning_tokens: i64,
    /// What they cost, in nano-dollars.
    pub cost_nano: i64,
}

impl SeenCalls {
    /// Reasoning tokens per request.
    pub(super) fn thinking(&self) -> i64 {
        self.reasoning_tokens.checked_div(self.requests).unwrap_or(0)
    }

    /// Whether a budget may count them; other dimensions are not known here.
    pub(super) fn may_fit(&self, matcher: &Matcher) -> bool {
        matcher.all.iter().all(|(dimension, globs)| match dimension {
            Dimension::EndpointTag => globs.iter().any(|glob| glob.matches(&self.endpoint_tag)),
            Dimension::Model => globs.iter().any(|glob| fits_model(glob, &self.model)),
            _ => true,
        }) && matcher.when.as_ref().is_none_or(|when| when.may_hold(&|dimension| self.value(dimension)))
    }

    fn value(&self, dimension: Dimension) -> Option<&str> {
        match dimension {
            Dimension::EndpointTag => Some(&self.endpoint_tag),
            Dimension::Model => Some(&self.model),
            _ => None,
        }
    }
}

fn fits_model(glob: &Glob, model: &str) -> bool {
    glob.matches(model) || (glob.is_literal() && is_release_of(model, glob.as_str()))
}

/// The calls of the last days.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// How many days.
    pub days: i64,
    /// The calls by endpoint tag and model.
    pub calls: Vec<SeenCalls>,
    /// The values of further dimensions, each with its requests.
    pub values: BTreeMap<Dimension, Vec<(String, i64)>>,
}

impl Seen {
    /// The values of a dimension with their requests, by value. `None`: nobody looked.
    fn of(&self, dimension: Dimension) -> Option<BTreeMap<&str, i64>> {
        let calls = |value: fn(&SeenCalls) -> &str| {
            self.calls.iter().map(move |calls| (value(calls), calls.requests)).collect::<Vec<_>>()
        };
        let values = match dimension {
            Dimension::EndpointTag => calls(|calls| &calls.endpoint_tag),
            Dimension::Model => calls(|calls| &calls.model),
            other => self.values.get(&other)?.iter().map(|(value, requests)| (value.as_str(), *requests)).collect(),
        };
        let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
        for (value, requests) in values {
            let sum = sums.entry(value).or_default();
            *sum = sum.saturating_add(requests);
        }
        Some(sums)
    }
}

/// Dimensions whose values nobody lists beforehand, and what people call them.
const OPEN: [(Dimension, &str); 5] = [
    (Dimension::TenantId, "tenant"),
    (Dimension::EndpointTag, "tag"),
    (Dimension::PromptVersion, "prompt version"),
    (Dimension::Provider, "provider"),
    (Dimension::Model, "model"),
];

/// `W201`: what no call had.
pub(super) fn never_matched(text: &Text, seen: &Seen) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    let patterns = Patterns::unlimited();
    for (_, budget) in text.section("budgets") {
        let matches = child(budget, "match").map_or(&[][..], entries);
        for (key, node) in matches {
            if key.text == "when" {
                warnings.extend(never_true(node, seen, &patterns));
                continue;
            }
            let Some((dimension, noun)) = OPEN.into_iter().find(|(one, _)| one.as_str() == key.text) else { continue };
            let Some(values) = seen.of(dimension).filter(|values| !values.is_empty()) else { continue };
            let patterns: Vec<(&Node, Glob)> =
                items(node).iter().filter_map(|item| Some((item, Glob::new(scalar(item)?)))).collect();
            let fits = |glob: &Glob, value: &str| {
                if dimension == Dimension::Model { fits_model(glob, value) } else { glob.matches(value) }
            };
            if patterns.iter().any(|(_, glob)| values.keys().any(|value| fits(glob, value))) {
                continue;
            }
            for (item, glob) in patterns {
                let known = many(i64::try_from(values.len()).unwrap_or(i64::MAX), noun);
                let label = format!("0 of {known} seen in the last {} days", seen.days);
                let fault = warning("W201", "this match has never matched a request", &item.place, label);
                warnings.push(match near_miss(glob.as_str(), &values, noun) {
                    Some(help) => fault.help(help),
                    None => fault,
                });
            }
        }
    }
    warnings
}

/// `W201` for a condition that no call's tag and model leave possible, or no value of another dimension that was looked at.
fn never_true(node: &Node, seen: &Seen, patterns: &Patterns) -> Option<Diagnostic> {
    let condition = Condition::read(scalar(node)?, &|_, _| None, patterns).ok()?;
    let by_calls = !seen.calls.is_empty()
        && !seen.calls.iter().any(|calls| condition.may_hold(&|dimension| calls.value(dimension)));
    let by_values = seen.values.iter().any(|(dimension, values)| {
        let may_be = |value: &str| condition.may_hold(&|asked| (asked == *dimension).then_some(value));
        !values.is_empty() && !values.iter().any(|(value, _)| may_be(value))
    });
    let label = format!("true of no call of the last {} days", seen.days);
    (by_calls || by_values).then(|| warning("W201", "this condition was never true", &node.place, label))
}

/// ``did you mean `digest.*`? (3 tags, 18 204 requests)``
fn near_miss(pattern: &str, values: &BTreeMap<&str, i64>, noun: &str) -> Option<String> {
    let mut names: Vec<String> = values.keys().map(|value| (*value).to_owned()).collect();
    for value in values.keys() {
        names.extend(value.match_indices('.').map(|(at, _)| format!("{}.*", &value[..at])));
    }
    // A pattern is more likely meant as a pattern.
    names.sort_by_key(|name| name.contains('*') != pattern.contains('*'));
    let near = Glob::new(nearest(pattern, names.iter().map(String::as_str))?);
    let meant = values.iter().filter(|(value, _)| near.matches(value));
    let (count, requests) = meant.fold((0, 0_i64), |(count, sum), (_, more)| (count + 1, sum.saturating_add(*more)));
    Some(format!("did you mean `{}`? ({}, {})", near.as_str(), many(count, noun), many(requests, "request")))
}

/// `W231`: tags that no pattern covers, dearest first.
pub(super) fn unlisted(policy: &Policy, seen: &Seen) -> Option<Diagnostic> {
    if policy.endpoints().is_empty() {
        return None;
    }
    let mut tags: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for calls in &seen.calls {
        let sums = tags.entry(&calls.endpoint_tag).or_default();
        *sums = (sums.0.saturating_add(calls.cost_nano), sums.1.saturating_add(calls.requests));
    }
    let whole = tags.values().fold(0_i64, |sum, (cost, _)| sum.saturating_add(*cost));
    let mut open: Vec<(&str, (i64, i64))> =
        tags.into_iter().filter(|(tag, _)| policy.endpoint(tag).is_none()).collect();
    open.sort_by(|(one, sums), (other, others)| others.cmp(sums).then(one.cmp(other)));
    let count = open.len();
    let mut names = String::new();
    for (tag, (cost, _)) in open.iter().take(MOST_TAGS) {
        let share = (i128::from(*cost) * 100).checked_div(i128::from(whole)).unwrap_or(0);
        let share = if share > 0 { format!(" ({share}% of spend)") } else { String::new() };
        let _ = write!(names, "{}{tag}{share}", if names.is_empty() { "" } else { ", " });
    }
    let message = match count {
        0 => return None,
        1 => "1 endpointTag is not listed and therefore counts as critical".to_owned(),
        _ => format!(
            "{} endpointTags are not listed and therefore count as critical",
            grouped(i64::try_from(count).unwrap_or(i64::MAX))
        ),
    };
    let more = if count > MOST_TAGS { ", …" } else { "" };
    let fault = Diagnostic::warning("W231", message).note(format!("tags: {names}{more}"));
    Some(fault.help("list them under `endpoints:`, or add `\"*\": { critical: false }` there"))
}
