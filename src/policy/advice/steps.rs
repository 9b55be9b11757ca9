//! Steps that are never reached: behind a block, or of an escalation that nothing uses.

use crate::diagnostic::Diagnostic;
use crate::policy::ladder::{Scope, percent};

use super::{Around, Text, child, scalar, warning};

/// `W222`: from the step on that refuses every request nothing is spent, so no later step begins.
pub(super) fn never_reached(text: &Text, around: &Around<'_>) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for (key, node) in text.section("budgets") {
        let Some(index) = around.policy.budget_named(&key.text) else { continue };
        let budget = &around.policy.budgets[index];
        // A block that is no exact ceiling can be passed.
        if !budget.hard {
            continue;
        }
        let rungs = budget.ladder.rungs.iter().filter(|rung| !rung.at.forecast);
        let blocking = rungs.clone().filter(|rung| rung.remedies.block == Some(Scope::All));
        let Some(wall) = blocking.min_by_key(|rung| rung.at.share) else { continue };
        let steps = text.steps(node);
        let step_key = |name: &str| steps.iter().find(|(key, _)| key.text == name).map(|(key, _)| key);
        for rung in rungs.filter(|rung| rung.at.share > wall.at.share) {
            let Some(place) = step_key(rung.step.as_str()).map(|key| &key.place) else { continue };
            let (step, before, at) = (rung.step, wall.step, percent(wall.at.share));
            let mut fault = warning("W222", format!("`{step}` can never be reached"), place, "");
            if let Some(wall) = step_key(before.as_str()) {
                fault = fault.see(&wall.place, format!("refuses every request from {at} on"));
            }
            warnings.push(fault.help(format!("begin `{step}` at {at} or less, or delete it")));
        }
    }
    warnings
}

/// `W223`: nothing climbs it.
pub(super) fn unused(text: &Text) -> Vec<Diagnostic> {
    let of_budgets = text.section("budgets").filter_map(|(_, node)| child(node, "escalation"));
    let exceptions = text.values("exceptions").flat_map(super::items);
    let of_exceptions = exceptions.filter_map(|node| child(node, "escalation"));
    let used: Vec<&str> = of_budgets.chain(of_exceptions).filter_map(scalar).collect();
    let escalations = text.section("escalations").filter(|(key, _)| !used.contains(&key.text.as_str()));
    let told = escalations.map(|(key, _)| {
        let message = format!("no budget uses escalation `{}`", key.text);
        warning("W223", message, &key.place, "").help("name it in a budget, or delete it")
    });
    told.collect()
}
