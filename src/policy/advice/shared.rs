//! Budgets with one counter for many tenants, and a ladder that refuses.

use crate::diagnostic::Diagnostic;
use crate::policy::budget::{Budget, Dimension};
use crate::policy::coverage::may_count;
use crate::policy::ladder::Rung;

use super::{Around, Text, entry, grouped, warning};

/// `W221`: whoever spends most ends the period for everybody else.
pub(super) fn used_up_by_one(text: &Text, around: &Around<'_>) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for (key, node) in text.section("budgets") {
        let Some(index) = around.policy.budget_named(&key.text) else { continue };
        let budget = &around.policy.budgets[index];
        if !is_shared(budget) || !budget.ladder.rungs.iter().any(Rung::blocks) {
            continue;
        }
        let counted = around.tenants.iter().filter(|tenant| may_count(around.policy, &budget.matcher, tenant)).count();
        let others = match (around.tenants.len(), counted) {
            (0, _) => "all others".to_owned(),
            (_, 0 | 1) => continue,
            (_, 2) => "another".to_owned(),
            (_, counted) => format!("{} others", grouped(i64::try_from(counted - 1).unwrap_or(i64::MAX))),
        };
        let place = entry(node, "match").map_or(&key.place, |(key, _)| &key.place);
        let sharing = if budget.per.is_empty() { "no `per`" } else { "`per` does not name the tenant" };
        let message = format!("one tenant can use up this shared budget for {others}");
        let fault = warning("W221", message, place, format!("{sharing}, and the escalation blocks"));
        warnings.push(fault.help("add `per: [tenantId]`, or use an escalation that only notifies"));
    }
    warnings
}

/// Whether live calls of several tenants meet in one counter. A pool for tests or for staging is what is wanted there.
fn is_shared(budget: &Budget) -> bool {
    let own = [Dimension::TenantId, Dimension::UserId, Dimension::WorkflowId];
    let leaves_out = |dimension: Dimension, live: &str| {
        let patterns = budget.matcher.all.iter().find(|(matched, _)| *matched == dimension);
        let known = |asked: Dimension| (asked == dimension).then_some(live);
        patterns.is_some_and(|(_, globs)| !globs.iter().any(|glob| glob.matches(live)))
            || budget.matcher.when.as_ref().is_some_and(|when| !when.may_hold(&known))
    };
    !own.iter().any(|dimension| budget.per.contains(dimension))
        && !leaves_out(Dimension::DataMode, "real")
        && !leaves_out(Dimension::Environment, "prod")
}
