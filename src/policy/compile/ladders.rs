//! Escalations: the steps of a ladder, what each does, and that they stand in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{Diagnostic, Place};
use crate::policy::Written;
use crate::policy::amount;
use crate::policy::decision::{Step, Throttle};
use crate::policy::ladder::{Ask, Cap, Ladder, NotifyTarget, Remedies, Rung, Scope, Scoped, Threshold, percent};
use crate::policy::reader::{Fields, Problems, expect_integer, expect_list, expect_str, expect_word};
use crate::policy::rollout::Rollout;
use crate::policy::route::Route;
use crate::policy::tree::{Kind, Node};

use super::{Ground, reference, text, value};

/// The answers that `decide` may offer.
const CHOICES: [(&str, &str); 3] =
    [("approve_overrun", "approve_overrun"), ("enforce_quota", "enforce_quota"), ("upsell", "upsell")];

/// Every escalation by its name.
pub(super) fn named(ground: &Ground<'_, '_>, problems: &mut Problems) -> BTreeMap<Arc<str>, Ladder> {
    let mut ladders = BTreeMap::new();
    for (key, node) in &ground.document.escalations {
        let ladder = ladder(&key.text, &format!("escalation `{}`", key.text), node, ground, problems);
        ladders.insert(Arc::from(key.text.as_str()), ladder);
    }
    ladders
}

/// The ladder in `node`. What is wrong in it is reported and left out.
pub(super) fn ladder(name: &str, what: &str, node: &Node, ground: &Ground<'_, '_>, problems: &mut Problems) -> Ladder {
    let mut ladder = Ladder { name: Arc::from(name), rungs: Vec::new() };
    let Some(mut fields) = Fields::of(node, what, problems) else { return ladder };
    let mut places = Vec::new();
    for step in Step::ALL {
        let Some((key, node)) = fields.take(step.as_str()) else { continue };
        if let Some((mut rung, place)) = rung(step, &format!("step `{step}` of {what}"), node, ground, problems) {
            rung.written = Written::from(&key.place);
            ladder.rungs.push(rung);
            places.push(place);
        }
    }
    fields.finish("not a step", problems);
    if ladder.rungs.is_empty() && matches!(&node.kind, Kind::Map(entries) if entries.is_empty()) {
        problems.push(Diagnostic::error("E141", format!("{what} has no steps")).at(&node.place, ""));
    }
    check_order(&ladder.rungs, &places, problems);
    ladder
}

/// Steps that are not forecasts begin in the order of their severity.
fn check_order(rungs: &[Rung], places: &[Place], problems: &mut Problems) {
    let mut last: Option<(&Rung, &Place)> = None;
    for (rung, place) in rungs.iter().zip(places).filter(|(rung, _)| !rung.at.forecast) {
        if let Some((before, before_place)) = last.filter(|(before, _)| before.at.share > rung.at.share) {
            let (step, earlier, at) = (rung.step, before.step, percent(before.at.share));
            let fault = Diagnostic::error("E142", format!("`{step}` starts before `{earlier}`"))
                .at(place, format!("must be at least {at}"))
                .see(before_place, format!("{earlier} starts at {at}"))
                .help(format!("raise `{step}` to {at} or more, or lower `{earlier}`"));
            problems.push(fault);
            continue;
        }
        last = Some((rung, place));
    }
}

/// One step, and where its threshold stands.
fn rung(
    step: Step,
    what: &str,
    node: &Node,
    ground: &Ground<'_, '_>,
    problems: &mut Problems,
) -> Option<(Rung, Place)> {
    let before = problems.len();
    let mut fields = Fields::of(node, what, problems)?;
    let at_node = fields.required("at", "100%", problems);
    let notify = fields.value("notify").map(|node| targets(node, ground, problems)).unwrap_or_default();
    let acts = step >= Step::Contain;
    let remedies = if acts { remedies(&mut fields, ground, problems) } else { Remedies::default() };
    let status = if acts { fields.value("status").and_then(|node| status(node, problems)) } else { None };
    let message = if acts { fields.value("message").and_then(|node| text(node, "`message`", problems)) } else { None };
    let rollout_key = if acts { fields.take("rollout") } else { None };
    let rollout = rollout_key.and_then(|(_, node)| value(node, "`rollout`", amount::rollout, problems));
    let ask = if step == Step::Decide { ask(&mut fields, &remedies, ground, problems) } else { None };
    fields.later("when", problems);
    fields.finish(if acts { "not a key of this step" } else { "this step only notifies" }, problems);
    let at_node = at_node?;
    let (forecast, share) = value(at_node, "`at`", amount::threshold, problems)?;
    if forecast && acts {
        let fault = Diagnostic::error("E145", format!("`{step}` cannot act on a forecast")).at(&at_node.place, "");
        problems.push(fault.help("use `spend_alert` for forecasts, and a plain percentage here"));
    }
    let clean = problems.len() == before;
    if clean && notify.is_empty() && remedies.is_empty() && ask.is_none() {
        let fault = Diagnostic::error("E141", format!("{what} does nothing")).at(&node.place, "");
        problems.push(fault.help("add `notify: [account_owner]` or an action, or delete the step"));
    }
    if let Some((key, _)) = rollout_key.filter(|_| clean && remedies.is_empty() && ask.is_none() && !notify.is_empty())
    {
        let fault = Diagnostic::error("E141", "`rollout` of a step without an action").at(&key.place, "does nothing");
        problems.push(fault.help("add an action, or delete it: everybody is told in any case"));
    }
    let (at, rollout) = (Threshold { forecast, share }, rollout.unwrap_or(Rollout::ALL));
    let (status, written) = (status.unwrap_or(429), Written::from(&node.place));
    let rung = Rung { step, at, notify, remedies, ask, rollout, status, message, written };
    Some((rung, at_node.place.clone()))
}

/// Whom a `notify` names. What `plimsoll.yaml` does not define is a warning: the policy still holds.
pub(super) fn targets(node: &Node, ground: &Ground<'_, '_>, problems: &mut Problems) -> Vec<NotifyTarget> {
    let items = expect_list(node, "`notify`", problems).unwrap_or_default();
    items.into_iter().filter_map(|item| target(item, ground, problems)).collect()
}

fn target(node: &Node, ground: &Ground<'_, '_>, problems: &mut Problems) -> Option<NotifyTarget> {
    let name = expect_str(node, "a target of `notify`", problems)?;
    if name == "account_owner" {
        return Some(NotifyTarget::AccountOwner);
    }
    let defined = &ground.surroundings.notify_targets;
    if name != "log" && name != "default" && !defined.iter().any(|target| target == name) {
        let fault = Diagnostic::warning("W133", format!("notify target `{name}` is not defined")).at(&node.place, "");
        problems.push(
            fault.help(format!("add `\"{name}\": {{ webhook: \"https://…\" }}` under `notify:` in plimsoll.yaml")),
        );
    }
    Some(NotifyTarget::Named(Arc::from(name)))
}

/// Takes the keys of actions.
pub(super) fn remedies(fields: &mut Fields<'_>, ground: &Ground<'_, '_>, problems: &mut Problems) -> Remedies {
    let cap = fields.value("cap_output_tokens").and_then(|node| cap(node, problems));
    let throttle = fields.value("throttle").and_then(|node| throttle(node, problems));
    let route = fields.value("route").and_then(|node| routes(node, ground, problems));
    let words = [("all", Scope::All), ("non_critical", Scope::NonCritical)];
    let block = fields.value("block").and_then(|node| expect_word(node, "`block`", &words, problems));
    Remedies { cap, throttle, route, block }
}

/// `600`, `{ non_critical: 600 }`, `{ all: 800, reasoning_models: 4000 }`.
pub(super) fn cap(node: &Node, problems: &mut Problems) -> Option<Cap> {
    let Kind::Map(_) = node.kind else {
        return Some(Cap { tokens: Scoped::everywhere(tokens(node, problems)?), reasoning: None });
    };
    let mut fields = Fields::of(node, "`cap_output_tokens`", problems)?;
    let before = problems.len();
    let mut take = |name| fields.value(name).and_then(|node| tokens(node, problems));
    let (all, non_critical, reasoning) = (take("all"), take("non_critical"), take("reasoning_models"));
    fields.finish("not a scope", problems);
    let is_empty = all.is_none() && non_critical.is_none() && reasoning.is_none();
    if is_empty && problems.len() == before {
        problems.push(nothing(node, "`cap_output_tokens`", "600"));
    }
    (!is_empty).then_some(Cap { tokens: Scoped { all, non_critical }, reasoning })
}

/// An action for nobody, which reads like a rule.
fn nothing(node: &Node, what: &str, example: &str) -> Diagnostic {
    let fault = Diagnostic::error("E141", format!("{what} does nothing")).at(&node.place, "");
    fault.help(format!("name a scope, as in `{{ all: {example} }}`, or leave it out"))
}

fn tokens(node: &Node, problems: &mut Problems) -> Option<u64> {
    let tokens = expect_integer(node, "`cap_output_tokens`", problems)?;
    if tokens == 0 {
        let fault = Diagnostic::error("E113", "a cap of 0 tokens is not a cap").at(&node.place, "at least 1");
        problems.push(fault.help("to refuse every request, write `block: all`"));
        return None;
    }
    Some(tokens)
}

/// The longest time that a call may wait for its turn.
const LONGEST_QUEUE: Duration = Duration::from_mins(1);

/// `20 requests/min`, `{ all: 60 requests/min, queue: 3 s }`.
fn throttle(node: &Node, problems: &mut Problems) -> Option<Scoped<Throttle>> {
    let queue = match &node.kind {
        Kind::Map(entries) => entries.iter().find(|(key, _)| key.text == "queue"),
        _ => None,
    };
    let queue = queue.and_then(|(_, node)| patience(node, problems));
    scoped(node, "`throttle`", &["queue"], problems, |node, problems| {
        let (requests, per) = value(node, "`throttle`", amount::rate, problems)?;
        Some(Throttle { rule: Arc::from(""), requests, per, queue })
    })
}

fn patience(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let queue = value(node, "`queue`", amount::duration, problems)?;
    if queue.is_zero() || queue > LONGEST_QUEUE {
        let fault = Diagnostic::error("E113", "a call cannot wait that long for its turn");
        problems.push(fault.at(&node.place, "from 1 s to 60 s").help("write `queue: 3 s`: clients wait too"));
        return None;
    }
    Some(queue)
}

/// The routes that are named, each defined under `routes:`.
pub(super) fn routes(node: &Node, ground: &Ground<'_, '_>, problems: &mut Problems) -> Option<Scoped<Arc<Route>>> {
    scoped(node, "`route`", &[], problems, |node, problems| {
        let name = reference("route", node, &ground.document.routes, problems)?;
        ground.routes.get(name).map(Arc::clone)
    })
}

/// A bare value, or one per scope; other keys are read elsewhere. `None` when nothing could be read.
fn scoped<T>(
    node: &Node,
    what: &str,
    other_keys: &[&'static str],
    problems: &mut Problems,
    read: impl Fn(&Node, &mut Problems) -> Option<T>,
) -> Option<Scoped<T>> {
    let Kind::Map(_) = node.kind else { return read(node, problems).map(Scoped::everywhere) };
    let before = problems.len();
    let mut fields = Fields::of(node, what, problems)?;
    let all = fields.value("all").and_then(|node| read(node, problems));
    let non_critical = fields.value("non_critical").and_then(|node| read(node, problems));
    for key in other_keys {
        fields.take(key);
    }
    fields.finish("not a scope", problems);
    let is_empty = all.is_none() && non_critical.is_none();
    if is_empty && problems.len() == before {
        problems.push(nothing(node, what, "…"));
    }
    (!is_empty).then_some(Scoped { all, non_critical })
}

fn status(node: &Node, problems: &mut Problems) -> Option<u16> {
    expect_word(node, "`status`", &[("429", 429), ("402", 402), ("403", 403)], problems)
}

/// The question of `decide`. Without `ask` the step is like any other.
fn ask(fields: &mut Fields<'_>, remedies: &Remedies, ground: &Ground<'_, '_>, problems: &mut Problems) -> Option<Ask> {
    let whom = fields.take("ask");
    let choices = fields.value("choices").map(|node| choices(node, problems)).unwrap_or_default();
    let within = fields.take("within");
    let otherwise = fields.take("otherwise");
    let Some((ask_key, whom)) = whom else {
        for (key, _) in within.iter().chain(&otherwise) {
            let fault = Diagnostic::error("E105", format!("`{}` needs `ask`", key.text)).at(&key.place, "");
            problems.push(fault.help("add `ask: account_owner`, or write the action itself"));
        }
        return None;
    };
    let whom = target(whom, ground, problems);
    if let Some((key, _)) = otherwise.filter(|_| remedies.block.is_some()) {
        let fault = Diagnostic::error("E143", "`block` stands beside `otherwise`").at(&key.place, "would never matter");
        problems.push(fault.help("keep `block` to refuse at once, or `otherwise` to refuse after the deadline"));
    }
    let mut need = |entry: Option<_>, name: &str, example: &str| {
        if entry.is_none() {
            let fault = Diagnostic::error("E105", format!("`ask` needs `{name}`")).at(&ask_key.place, "");
            problems.push(fault.help(format!("add `{name}: {example}`")));
        }
        entry.map(|(_, node): (_, &Node)| node)
    };
    let within = need(within, "within", "2 days");
    let otherwise = need(otherwise, "otherwise", "{ block: non_critical }");
    let within = within.and_then(|node| value(node, "`within`", amount::duration, problems)).unwrap_or(Duration::ZERO);
    let otherwise = otherwise.map(|node| default_answer(node, ground, problems)).unwrap_or_default();
    Some(Ask { whom: whom?, choices, within, otherwise })
}

fn default_answer(node: &Node, ground: &Ground<'_, '_>, problems: &mut Problems) -> Remedies {
    let Some(mut fields) = Fields::of(node, "`otherwise`", problems) else { return Remedies::default() };
    let before = problems.len();
    let answer = remedies(&mut fields, ground, problems);
    fields.finish("not an action", problems);
    if answer.is_empty() && problems.len() == before {
        problems.push(Diagnostic::error("E141", "`otherwise` does nothing").at(&node.place, ""));
    }
    answer
}

fn choices(node: &Node, problems: &mut Problems) -> Vec<Arc<str>> {
    let items = expect_list(node, "`choices`", problems).unwrap_or_default();
    items.into_iter().filter_map(|item| expect_word(item, "`choices`", &CHOICES, problems)).map(Arc::from).collect()
}
