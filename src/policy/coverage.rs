//! Which tenants a policy limits at all: those of whom at least one budget with a limit may count a call.

use crate::domain::clock::Timestamp;
use crate::domain::tenant::Tenant;

use super::Policy;
use super::audience::FIXED;
use super::budget::{Dimension, Matcher};
use super::condition::Condition;

/// Whether some budget limits what this tenant spends, on some of its calls at least.
pub fn covers(policy: &Policy, tenant: &Tenant, now: Timestamp) -> bool {
    policy
        .budgets
        .iter()
        .enumerate()
        .any(|(index, budget)| may_count(policy, &budget.matcher, tenant) && policy.limit(index, tenant, now).is_some())
}

/// Whether a call of this tenant can fit: what else the matcher asks for depends on the call.
pub(super) fn may_count(policy: &Policy, matcher: &Matcher, tenant: &Tenant) -> bool {
    let dimensions = policy.of_tenant(tenant);
    let of_tenant = |dimension: Dimension| FIXED.contains(&dimension).then(|| dimension.of(&dimensions));
    let fits = |matcher: &Matcher, unknown: bool| {
        let fit = matcher.all.iter().all(|(dimension, globs)| {
            of_tenant(*dimension).map_or(unknown, |value| globs.iter().any(|glob| glob.matches(value)))
        });
        let judge = |when: &Condition| if unknown { when.may_hold(&of_tenant) } else { when.must_hold(&of_tenant) };
        fit && matcher.when.as_ref().is_none_or(|when| judge(when))
    };
    let left_out = matcher.not.as_ref().is_some_and(|not| not.not.is_none() && fits(not, false));
    fits(matcher, true) && !left_out
}
