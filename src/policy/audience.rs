//! Which budgets concern a tenant at all, whatever its calls say.

use crate::domain::standing::Dimensions;
use crate::domain::tenant::Tenant;

use super::Policy;
use super::budget::Dimension;

impl Policy {
    /// Whether some call of `tenant` could be counted by a budget: its `match` is judged on tenant, plan and segment alone.
    pub fn concerns(&self, budget: usize, tenant: &Tenant) -> bool {
        let dimensions = Dimensions {
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
        };
        let Some(budget) = self.budgets.get(budget) else { return false };
        let fixed = [Dimension::TenantId, Dimension::Plan, Dimension::Segment];
        let judged = budget.matcher.all.iter().filter(|(dimension, _)| fixed.contains(dimension));
        judged.into_iter().all(|(dimension, patterns)| {
            let value = dimension.of(&dimensions);
            patterns.iter().any(|pattern| pattern.matches(value))
        })
    }
}
