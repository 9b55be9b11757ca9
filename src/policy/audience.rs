//! Which budgets concern a tenant at all, whatever its calls say.

use crate::domain::standing::Dimensions;
use crate::domain::tenant::Tenant;

use super::Policy;
use super::budget::Dimension;
use super::coverage::may_count;

/// What a tenant is, and its calls do not say.
pub(super) const FIXED: [Dimension; 3] = [Dimension::TenantId, Dimension::Plan, Dimension::Segment];

impl Policy {
    /// Whether some call of `tenant` could be counted by a budget.
    pub fn concerns(&self, budget: usize, tenant: &Tenant) -> bool {
        self.budgets.get(budget).is_some_and(|budget| may_count(self, &budget.matcher, tenant))
    }

    /// The name of the one counter that all calls of `tenant` share in a budget; `None` where they may have several.
    pub fn tenant_key(&self, budget: usize, tenant: &Tenant) -> Option<String> {
        let per = &self.budgets.get(budget)?.per;
        if !per.iter().all(|dimension| FIXED.contains(dimension)) {
            return None;
        }
        self.counter_key(budget, &self.of_tenant(tenant))
    }

    /// A call of which only that is known.
    pub(super) fn of_tenant<'a>(&'a self, tenant: &'a Tenant) -> Dimensions<'a> {
        Dimensions {
            tenant_id: tenant.id.as_str(),
            plan: self.plan(tenant).map(|plan| plan.name.as_ref()),
            segment: tenant.segment.as_deref(),
            ..Dimensions::default()
        }
    }
}
