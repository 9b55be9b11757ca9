//! What is legal and unwise in a policy: warnings for whoever edits it.
//!
//! A policy that is running needs none of this, so only `check` asks for it. The texts are read once more, because a compiled
//! policy no longer knows where its parts stood.

mod caps;
mod seen;
mod shared;
mod steps;

use crate::diagnostic::{self, Diagnostic, Place, Source};
use crate::domain::tenant::Tenant;

use super::tree::{Key, Kind, Node, Tree, read};
use super::{ModelFacts, Policy};

pub use seen::{Seen, SeenCalls};

/// What a policy is judged beside.
pub struct Around<'a> {
    /// The compiled policy.
    pub policy: &'a Policy,
    /// What the price table says about a model.
    pub prices: &'a dyn Fn(&str) -> Option<ModelFacts>,
    /// The tenants that are known.
    pub tenants: &'a [Tenant],
    /// The calls of the last days, when a ledger is at hand.
    pub seen: Option<&'a Seen>,
}

/// Every warning, sorted by position.
pub fn advise(text: &Text, around: &Around<'_>) -> Vec<Diagnostic> {
    let mut warnings = steps::never_reached(text, around);
    warnings.extend(steps::unused(text));
    warnings.extend(shared::used_up_by_one(text, around));
    warnings.extend(caps::starving(text, around));
    if let Some(seen) = around.seen.filter(|seen| !seen.calls.is_empty()) {
        warnings.extend(seen::never_matched(text, seen));
        warnings.extend(seen::unlisted(around.policy, seen));
    }
    diagnostic::sort(&mut warnings);
    // An escalation that several budgets use is judged for each of them.
    warnings.dedup_by(|one, other| one.place.is_some() && (one.code, &one.place) == (other.code, &other.place));
    warnings
}

/// The files of a policy as they were written.
#[derive(Debug)]
pub struct Text {
    trees: Vec<Tree>,
}

impl Text {
    /// Reads the files.
    pub fn of(sources: &[Source]) -> Self {
        Self { trees: sources.iter().map(read).collect() }
    }

    /// How many names a section defines.
    pub fn count(&self, section: &str) -> usize {
        self.section(section).count()
    }

    /// Tenant and budget of the exception in which something stands.
    pub fn exception_at(&self, place: &Place) -> Option<(&str, Option<&str>)> {
        let exceptions = self.values("exceptions").flat_map(items);
        let node = exceptions.filter(|node| entries(node).iter().any(|(_, value)| value.place == *place)).last()?;
        Some((child(node, "tenantId").and_then(scalar)?, child(node, "budget").and_then(scalar)))
    }

    /// The names of a section, with what stands under them.
    fn section(&self, name: &str) -> impl Iterator<Item = (&Key, &Node)> {
        self.values(name).flat_map(entries).map(|(key, node)| (key, node))
    }

    /// What stands under a key at the top, per file.
    fn values(&self, name: &str) -> impl Iterator<Item = &Node> {
        let roots = self.trees.iter().filter_map(|tree| tree.root.as_ref());
        roots.filter_map(move |root| child(root, name))
    }

    /// The steps that a budget's `escalation` names, or that stand there themselves.
    fn steps<'t>(&'t self, budget: &'t Node) -> &'t [(Key, Node)] {
        let Some(escalation) = child(budget, "escalation") else { return &[] };
        let Some(name) = scalar(escalation) else { return entries(escalation) };
        self.section("escalations").find(|(key, _)| key.text == name).map_or(&[], |(_, node)| entries(node))
    }
}

fn entries(node: &Node) -> &[(Key, Node)] {
    match &node.kind {
        Kind::Map(entries) => entries,
        _ => &[],
    }
}

fn entry<'t>(node: &'t Node, name: &str) -> Option<&'t (Key, Node)> {
    entries(node).iter().find(|(key, _)| key.text == name)
}

fn child<'t>(node: &'t Node, name: &str) -> Option<&'t Node> {
    entry(node, name).map(|(_, value)| value)
}

fn scalar(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

/// The items of a list; a single value is a list of one.
fn items(node: &Node) -> &[Node] {
    match &node.kind {
        Kind::List(items) => items,
        _ => std::slice::from_ref(node),
    }
}

fn warning(code: &'static str, message: impl Into<String>, place: &Place, label: impl Into<String>) -> Diagnostic {
    Diagnostic::warning(code, message).at(place, label)
}

/// `18 204`.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1 tag`, `3 tags`.
fn many(count: i64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}
