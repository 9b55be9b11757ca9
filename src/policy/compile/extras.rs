//! Defaults, and the sections that are checked today and act later.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Place};
use crate::policy::amount::{self, Fault};
use crate::policy::budget::Dimension;
use crate::policy::plan::{
    Defaults, ExposeToClients, Exposure, OnLedgerUnavailable, OnMissingTenant, OnNoFit, OnUnpricedModel,
};
use crate::policy::reader::{Entry, Fields, Problems, expect_list, expect_str, expect_word};
use crate::policy::tree::Node;

use super::{Ground, ladders, reference, value};

/// `defaults:`.
pub(super) fn defaults(ground: &Ground<'_, '_>, problems: &mut Problems) -> Defaults {
    let mut defaults = Defaults::default();
    let Some(mut fields) = section("`defaults`", &ground.document.defaults) else { return defaults };
    if let Some(node) = fields.value("on_missing_tenant") {
        let words =
            [("meter_as_unattributed", OnMissingTenant::MeterAsUnattributed), ("reject", OnMissingTenant::Reject)];
        defaults.on_missing_tenant = expect_word(node, "`on_missing_tenant`", &words, problems).unwrap_or_default();
    }
    if let Some(node) = fields.value("on_unpriced_model") {
        let words = [("meter_tokens_only", OnUnpricedModel::MeterTokensOnly), ("reject", OnUnpricedModel::Reject)];
        defaults.on_unpriced_model = expect_word(node, "`on_unpriced_model`", &words, problems).unwrap_or_default();
    }
    if let Some(node) = fields.value("on_no_fit") {
        let words = [("clamp", OnNoFit::Clamp), ("reject", OnNoFit::Reject)];
        defaults.on_no_fit = expect_word(node, "`on_no_fit`", &words, problems).unwrap_or_default();
    }
    if let Some(node) = fields.value("plan") {
        defaults.plan = reference("plan", node, &ground.document.plans, problems).map(Arc::from);
    }
    if let Some(node) = fields.value("on_ledger_unavailable") {
        defaults.on_ledger_unavailable = on_ledger_unavailable(node, ground, problems);
    }
    if let Some(node) = fields.value("expose_to_clients") {
        defaults.expose_to_clients = exposure(node, problems);
    }
    fields.finish("not a default", problems);
    defaults
}

fn on_ledger_unavailable(node: &Node, ground: &Ground<'_, '_>, problems: &mut Problems) -> OnLedgerUnavailable {
    let mut rule = OnLedgerUnavailable::default();
    let Some(mut fields) = Fields::of(node, "`on_ledger_unavailable`", problems) else { return rule };
    if let Some(node) = fields.value("allow") {
        rule.refuses = expect_word(node, "`allow`", &[("all", false), ("none", true)], problems).unwrap_or_default();
    }
    if let Some(node) = fields.value("alert") {
        rule.alert = ladders::targets(node, ground, problems);
    }
    fields.finish("not a key of on_ledger_unavailable", problems);
    rule
}

fn exposure(node: &Node, problems: &mut Problems) -> ExposeToClients {
    let mut exposed = ExposeToClients::default();
    let Some(mut fields) = Fields::of(node, "`expose_to_clients`", problems) else { return exposed };
    let words = [("percent", Exposure::Percent), ("amount", Exposure::Amount), ("never", Exposure::Never)];
    if let Some(node) = fields.value("budget") {
        exposed.budget = expect_word(node, "`budget`", &words, problems).unwrap_or(exposed.budget);
    }
    if let Some(node) = fields.value("cost") {
        // A cost is a share of nothing in particular.
        let [_, amount, never] = words;
        exposed.cost = expect_word(node, "`cost`", &[amount, never], problems).unwrap_or(exposed.cost);
    }
    fields.finish("not a key of expose_to_clients", problems);
    exposed
}

/// Checks `alerts:` and `margin:`, and names everything that has no effect yet.
pub(super) fn not_in_force(ground: &Ground<'_, '_>, problems: &mut Problems) -> Vec<String> {
    alerts(ground, problems);
    margin(ground, problems);
    let mut names = Vec::new();
    names.extend(ground.document.alerts.iter().map(|(key, _)| format!("alerts.{}", key.text)));
    names.extend(ground.document.margin.iter().map(|(key, _)| format!("margin.{}", key.text)));
    names.sort();
    names
}

fn alerts(ground: &Ground<'_, '_>, problems: &mut Problems) {
    let Some(mut fields) = section("`alerts`", &ground.document.alerts) else { return };
    let percent = |text: &str| amount::percent(text).map(drop);
    let span = |text: &str| amount::duration(text).map(drop);
    let factor = |text: &str| amount::factor(text).map(drop);
    let kinds: [(&'static str, Keys<'_>); 4] = [
        ("cost_drift", &[("above", &percent), ("versus", &span)]),
        ("concentration", &[("tenant_share_above", &percent), ("within", &span)]),
        ("retry_storm", &[("requests_above", &factor), ("success_below", &percent), ("within", &span)]),
        ("negative_margin", &[("for", &span)]),
    ];
    for (name, keys) in kinds {
        let Some((_, node)) = fields.take(name) else { continue };
        let Some(mut alert) = Fields::of(node, format!("alert `{name}`"), problems) else { continue };
        if name == "cost_drift"
            && let Some(node) = alert.value("by")
        {
            for item in expect_list(node, "`by`", problems).unwrap_or_default() {
                expect_word(item, "`by`", &Dimension::ALL, problems);
            }
        }
        for (key, parse) in keys {
            if let Some(node) = alert.required(key, "…", problems) {
                value(node, &format!("`{key}`"), parse, problems);
            }
        }
        if let Some(node) = alert.value("notify") {
            ladders::targets(node, ground, problems);
        }
        alert.finish("not a key of this alert", problems);
    }
    fields.finish("not an alert", problems);
}

/// Keys with the grammar of their values.
type Keys<'k> = &'k [(&'static str, &'k dyn Fn(&str) -> Result<(), Fault>)];

fn margin(ground: &Ground<'_, '_>, problems: &mut Problems) {
    let Some(mut fields) = section("`margin`", &ground.document.margin) else { return };
    if let Some(node) = fields.value("infra_estimate") {
        let text = expect_str(node, "`infra_estimate`", problems).unwrap_or("0% of llm_cost");
        let share = text.strip_suffix(" of llm_cost").map(|share| amount::percent(share).is_ok());
        if share != Some(true) {
            let fault = Diagnostic::error("E122", format!("`{text}` is not an estimate")).at(&node.place, "");
            problems.push(fault.help("write `10% of llm_cost`"));
        }
    }
    if let Some(node) = fields.value("review") {
        let text = expect_str(node, "`review`", problems).unwrap_or("Monday 08:00");
        if !is_weekday_and_time(text) {
            let fault = Diagnostic::error("E114", format!("`{text}` is not a weekday and a time")).at(&node.place, "");
            problems.push(fault.help("write `Monday 08:00`"));
        }
    }
    fields.finish("not a margin key", problems);
}

fn is_weekday_and_time(text: &str) -> bool {
    let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let Some((day, time)) = text.split_once(' ') else { return false };
    let is_clock = time.len() == 5 && time.as_bytes().get(2) == Some(&b':');
    days.contains(&day) && is_clock && time.parse::<jiff::civil::Time>().is_ok()
}

/// A section that several files may hold parts of; it is called by its name wherever it stands.
fn section<'t>(what: &str, entries: &[Entry<'t>]) -> Option<Fields<'t>> {
    let (first, _) = entries.first()?;
    let place: Place = first.place.clone();
    Some(Fields::from_entries(entries.to_vec(), what, place))
}
