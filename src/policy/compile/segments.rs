//! Segments: what applies always, what never, the gate before flagship models, limits, and what is watched.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::policy::Written;
use crate::policy::amount;
use crate::policy::glob::Glob;
use crate::policy::reader::{Entry, Fields, Problems, expect_integer, expect_list, expect_str};
use crate::policy::segment::{Flagship, Segment};
use crate::policy::tree::Node;
use crate::policy::watch::{Attribute, Watch};

use super::rules::{never, standing_remedies};
use super::{Ground, value};

/// Every segment.
pub(super) fn all(ground: &Ground<'_, '_>, problems: &mut Problems) -> BTreeMap<Arc<str>, Segment> {
    let mut segments = BTreeMap::new();
    for (key, node) in &ground.document.segments {
        let name: Arc<str> = Arc::from(key.text.as_str());
        let Some(mut fields) = Fields::of(node, format!("segment `{name}`"), problems) else { continue };
        let remedies = standing_remedies(&mut fields, ground, problems);
        let never_entry = fields.take("never");
        let never = never_entry.map(|(_, node)| never(node, problems)).unwrap_or_default();
        let (gate, otherwise) = (fields.take("flagship"), fields.take("otherwise"));
        let flagship = flagship(gate, otherwise, ground, problems);
        let max_tool_output = fields.value("limits").and_then(|node| limits(node, problems));
        let watch = fields.value("watch").and_then(|node| watch(node, problems));
        fields.finish("not a segment key", problems);
        let contradiction = (never.cap && remedies.cap.is_some()) || (never.route && remedies.route.is_some());
        if let Some((key, _)) = never_entry.filter(|_| contradiction) {
            let fault = Diagnostic::error("E144", format!("segment `{name}` does what it says is never done"));
            problems.push(fault.at(&key.place, "").help("take the action out of the segment, or out of its `never`"));
        }
        let origin = Arc::from(format!("segment.{name}"));
        let written = Written::from(&key.place);
        let (watch, name_of) = (watch.map(Arc::new), Arc::clone(&name));
        let segment = Segment { name: name_of, origin, remedies, never, flagship, max_tool_output, watch, written };
        segments.insert(name, segment);
    }
    segments
}

/// `flagship` and `otherwise` need each other.
fn flagship(
    gate: Option<Entry<'_>>,
    otherwise: Option<Entry<'_>>,
    ground: &Ground<'_, '_>,
    problems: &mut Problems,
) -> Option<Flagship> {
    let ((gate_key, gate), (_, otherwise)) = match (gate, otherwise) {
        (Some(gate), Some(otherwise)) => (gate, otherwise),
        (None, None) => return None,
        (Some((key, _)), None) => {
            problems
                .push(alone("flagship", "otherwise", "{ route: cheaper }").at(&key.place, "what becomes of others?"));
            return None;
        }
        (None, Some((key, _))) => {
            let example = "{ allow: [gpt-4o], promptVersion: [v7] }";
            problems.push(alone("otherwise", "flagship", example).at(&key.place, "otherwise than what?"));
            return None;
        }
    };
    let before = problems.len();
    let mut fields = Fields::of(gate, "`flagship`", problems)?;
    let models = fields.required("allow", "[gpt-4o]", problems).map(|node| patterns(node, "`allow`", problems));
    let prompts = fields.required("promptVersion", "[v7, v8]", problems);
    let prompts = prompts.map(|node| patterns(node, "`promptVersion`", problems));
    fields.finish("not a key of flagship", problems);
    let mut fields = Fields::of(otherwise, "`otherwise`", problems)?;
    let remedies = standing_remedies(&mut fields, ground, problems);
    fields.finish("not an action of a segment", problems);
    if remedies.is_empty() && problems.len() == before {
        let fault = Diagnostic::error("E141", "`otherwise` does nothing").at(&otherwise.place, "");
        problems.push(fault.help("write `otherwise: { route: cheaper }`"));
    }
    let flagship = Flagship { models: models?, prompts: prompts?, otherwise: remedies };
    for model in unguarded(&flagship) {
        let message =
            format!("prompts that are not approved still reach `{model}`: no route of `otherwise` leads away from it");
        let fault = Diagnostic::warning("W155", message).at(&gate_key.place, "");
        problems.push(fault.help(format!("add a rule for `{model}` to the route, or take it out of `allow`")));
    }
    Some(flagship)
}

fn alone(one: &str, other: &str, example: &str) -> Diagnostic {
    Diagnostic::error("E105", format!("`{one}` needs `{other}`")).help(format!("add `{other}: {example}`"))
}

/// The flagship models that `otherwise` would still serve to everybody.
fn unguarded(flagship: &Flagship) -> Vec<&str> {
    let leads_away = |model: &str| {
        let route = flagship.otherwise.route.as_ref().and_then(|routes| routes.all.as_ref());
        let rules = route.into_iter().flat_map(|route| &route.rules).filter(|rule| *rule.from == *model);
        let targets: Vec<&str> = rules.map(|rule| rule.to.as_ref()).collect();
        !targets.is_empty() && targets.iter().all(|target| !flagship.guards(target))
    };
    let literal = flagship.models.iter().filter(|glob| glob.is_literal()).map(Glob::as_str);
    let routes = flagship.otherwise.route.is_some();
    literal.filter(|model| routes && !leads_away(model)).collect()
}

fn patterns(node: &Node, what: &str, problems: &mut Problems) -> Vec<Glob> {
    let items = expect_list(node, what, problems).unwrap_or_default();
    if items.is_empty() {
        let fault = Diagnostic::error("E106", format!("{what} names nothing")).at(&node.place, "");
        problems.push(fault.help("name at least one"));
    }
    let mut globs: Vec<Glob> =
        items.into_iter().filter_map(|item| expect_str(item, what, problems)).map(Glob::new).collect();
    globs.sort();
    globs.dedup();
    globs
}

/// `{ max_tool_output_tokens: 8000 }`.
fn limits(node: &Node, problems: &mut Problems) -> Option<u64> {
    let mut fields = Fields::of(node, "`limits`", problems)?;
    let most = fields.value("max_tool_output_tokens");
    let most = most.and_then(|node| expect_integer(node, "`max_tool_output_tokens`", problems));
    fields.finish("not a limit", problems);
    most
}

/// Whether a character may stand in the name of an attribute, which a header carries.
fn in_a_header(character: u8) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, b'.' | b'_' | b'-')
}

/// `{ tool_output_tokens: above 4000/request, retrieval.k: above 12 }`. `None` when nothing is watched.
fn watch(node: &Node, problems: &mut Problems) -> Option<Watch> {
    let mut fields = Fields::of(node, "`watch`", problems)?;
    let known = ["tool_output_tokens", "steps", "avgInputTokens"];
    let mut bound = |(key, node): Entry<'_>, per| {
        value(node, &format!("`{}`", key.text), |text| amount::above(text, per), problems)
    };
    let [tools, steps, input] = known.map(|name| fields.take(name));
    let tool_output_tokens = tools.and_then(|entry| bound(entry, "request"));
    let steps = steps.and_then(|entry| bound(entry, "workflow"));
    let avg_input_tokens = input.and_then(|entry| bound(entry, "request"));
    let (attributes, unknown): (Vec<_>, Vec<_>) =
        fields.rest().into_iter().partition(|(key, _)| key.text.contains('.') && key.text.bytes().all(in_a_header));
    let attributes = attributes.into_iter().filter_map(|entry| {
        let (key, _) = entry;
        Some(Attribute::new(&key.text, bound(entry, "request")?))
    });
    let mut attributes: Vec<Attribute> = attributes.collect();
    attributes.sort_by(|one, other| one.name.cmp(&other.name));
    let mut fields = Fields::from_entries(unknown, "`watch`", node.place.clone());
    let _ = known.map(|name| fields.take(name));
    fields.finish("not watched; attributes of calls have a dot: `retrieval.k`", problems);
    let watch = Watch { tool_output_tokens, steps, avg_input_tokens, attributes };
    (!watch.is_empty()).then_some(watch)
}
