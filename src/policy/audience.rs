//! Which budgets concern a tenant at all, whatever its calls say.

use crate::domain::standing::Dimensions;
use crate::domain::tenant::Tenant;

use super::Policy;
use super::budget::Dimension;

/// What a tenant is, and its calls do not say.
const FIXED: [Dimension; 3] = [Dimension::TenantId, Dimension::Plan, Dimension::Segment];

impl Policy {
    /// Whether some call of `tenant` could be counted by a budget: its `match` is judged on tenant, plan and segment alone.
    pub fn concerns(&self, budget: usize, tenant: &Tenant) -> bool {
        let dimensions = self.of_tenant(tenant);
        let Some(budget) = self.budgets.get(budget) else { return false };
        let judged = budget.matcher.all.iter().filter(|(dimension, _)| FIXED.contains(dimension));
        let fit = judged.into_iter().all(|(dimension, patterns)| {
            let value = dimension.of(&dimensions);
            patterns.iter().any(|pattern| pattern.matches(value))
        });
        let known = |dimension: Dimension| FIXED.contains(&dimension).then(|| dimension.of(&dimensions));
        fit && budget.matcher.when.as_ref().is_none_or(|when| when.may_hold(&known))
    }

    /// The name of the one counter that all calls of `tenant` share in a budget; `None` where they may have several.
    pub fn tenant_key(&self, budget: usize, tenant: &Tenant) -> Option<String> {
        let per = &self.budgets.get(budget)?.per;
        if !per.iter().all(|dimension| FIXED.contains(dimension)) {
            return None;
        }
        self.counter_key(budget, &self.of_tenant(tenant))
    }

    fn of_tenant<'a>(&'a self, tenant: &'a Tenant) -> Dimensions<'a> {
        Dimensions {
            tenant_id: tenant.id.as_str(),
            plan: self.plan(tenant).map(|plan| plan.name.as_ref()),
            segment: tenant.segment.as_deref(),
            endpoint_tag: "",
            prompt_version: "",
            data_mode: "",
            environment: "",
            user_id: None,
            workflow_id: None,
            provider: "",
            model: "",
        }
    }
}
