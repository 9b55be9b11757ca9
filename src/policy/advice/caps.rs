//! Caps that models which reason spend on their thinking.

use crate::diagnostic::Diagnostic;
use crate::policy::budget::{Dimension, Matcher};
use crate::policy::tree::{Kind, Node};

use super::{Around, SeenCalls, Text, child, entries, grouped, many, scalar, warning};

/// What a cap for reasoning models is suggested to be where nothing is known.
const ROOM_TO_THINK: i64 = 4_000;

/// `W212`: a cap without one for reasoning models, where such models are called.
pub(super) fn starving(text: &Text, around: &Around<'_>) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for (key, node) in text.section("budgets") {
        let Some(index) = around.policy.budget_named(&key.text) else { continue };
        let matcher = &around.policy.budgets[index].matcher;
        for (_, step) in text.steps(node) {
            let Some(cap) = child(step, "cap_output_tokens") else { continue };
            let Some((lowest, tokens)) = lowest(cap) else { continue };
            if let Some(thinker) = thinker(matcher, tokens, around) {
                warnings.push(told(cap, lowest, tokens, &thinker));
            }
        }
    }
    warnings
}

/// The lowest number of a cap that says nothing of reasoning models.
fn lowest(cap: &Node) -> Option<(&Node, i64)> {
    let numbers: Vec<&Node> = match &cap.kind {
        Kind::Scalar { .. } => vec![cap],
        _ if child(cap, "reasoning_models").is_some() => return None,
        _ => entries(cap).iter().map(|(_, node)| node).collect(),
    };
    let read = |node: &Node| scalar(node).and_then(|text| text.parse().ok());
    numbers.into_iter().filter_map(|node| Some((node, read(node)?))).min_by_key(|(_, tokens)| *tokens)
}

/// Why reasoning models are to be expected.
enum Thinker<'a> {
    /// The budget's `match` names one.
    Named(&'a str),
    /// Calls reasoned.
    Seen(&'a SeenCalls),
}

fn thinker<'a>(matcher: &'a Matcher, tokens: i64, around: &Around<'a>) -> Option<Thinker<'a>> {
    let calls = around.seen.map_or(&[][..], |seen| &seen.calls);
    let starved = calls.iter().filter(|calls| calls.thinking().saturating_mul(2) >= tokens && calls.may_fit(matcher));
    if let Some(calls) = starved.filter(|calls| calls.thinking() > 0).max_by_key(|calls| calls.requests) {
        return Some(Thinker::Seen(calls));
    }
    let (_, models) = matcher.all.iter().find(|(dimension, _)| *dimension == Dimension::Model)?;
    let reasons = |model: &&str| (around.prices)(model).is_some_and(|facts| facts.reasoning);
    let named = models.iter().filter(|glob| glob.is_literal()).map(crate::policy::glob::Glob::as_str).find(reasons)?;
    (tokens < ROOM_TO_THINK).then_some(Thinker::Named(named))
}

fn told(cap: &Node, lowest: &Node, tokens: i64, thinker: &Thinker<'_>) -> Diagnostic {
    let message = format!("a cap of {tokens} can return an empty answer from reasoning models");
    let fault = warning("W212", message, &lowest.place, "hidden reasoning counts toward the cap");
    let (note, room) = match thinker {
        Thinker::Named(model) => (format!("note: `{model}` reasons before it answers"), ROOM_TO_THINK),
        Thinker::Seen(calls) => {
            let thinking = calls.thinking();
            let note = format!(
                "note: `{}` spent {} tokens on reasoning per request, in {} to `{}`",
                calls.endpoint_tag,
                grouped(thinking),
                many(calls.requests, "request"),
                calls.model,
            );
            (note, thinking.saturating_add(tokens))
        }
    };
    let room = room.saturating_add(999) / 1_000 * 1_000;
    let others: Vec<String> = match &cap.kind {
        Kind::Map(entries) => {
            entries.iter().map(|(key, node)| format!("{}: {}", key.text, scalar(node).unwrap_or("…"))).collect()
        }
        _ => vec![format!("all: {tokens}")],
    };
    fault.note(note).help(format!("cap_output_tokens: {{ {}, reasoning_models: {room} }}", others.join(", ")))
}
