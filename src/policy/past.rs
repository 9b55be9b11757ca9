//! Calls of the past by their dimensions, and what they add up to in a budget: for counters that nobody has kept, of a moment
//! that is over or of a budget that is new.

use std::collections::BTreeMap;

use crate::domain::standing::{Amounts, Dimensions};

use super::Policy;

/// Calls of one combination of dimensions, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `Dimensions`, owned")]
pub struct PastCalls {
    pub tenant_id: String,
    pub plan: Option<String>,
    pub segment: Option<String>,
    pub endpoint_tag: String,
    pub prompt_version: String,
    pub data_mode: String,
    pub environment: String,
    pub user_id: Option<String>,
    pub workflow_id: Option<String>,
    pub provider: String,
    pub model: String,
    /// Posted and in doubt.
    pub amounts: Amounts,
    /// How many logical requests there were.
    pub requests: i64,
}

impl PastCalls {
    /// As budgets match and count by them.
    pub fn dimensions(&self) -> Dimensions<'_> {
        Dimensions {
            tenant_id: &self.tenant_id,
            plan: self.plan.as_deref(),
            segment: self.segment.as_deref(),
            endpoint_tag: &self.endpoint_tag,
            prompt_version: &self.prompt_version,
            data_mode: &self.data_mode,
            environment: &self.environment,
            user_id: self.user_id.as_deref(),
            workflow_id: self.workflow_id.as_deref(),
            provider: &self.provider,
            model: &self.model,
        }
    }
}

/// What the calls add up to in every counter of a budget, in the budget's unit.
pub fn sums(policy: &Policy, budget: usize, calls: &[PastCalls]) -> BTreeMap<String, i64> {
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    let Some(unit) = policy.budgets.get(budget).map(|budget| budget.unit) else { return sums };
    for calls in calls {
        let dimensions = calls.dimensions();
        let key = policy.counts(budget, &dimensions).then(|| policy.counter_key(budget, &dimensions)).flatten();
        let Some(key) = key else { continue };
        let sum = sums.entry(key).or_default();
        *sum = sum.saturating_add(calls.amounts.get(unit.index()).copied().unwrap_or(0));
    }
    sums
}
