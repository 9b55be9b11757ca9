//! Who changes step when one policy follows another, with the counters as they are.

use crate::domain::clock::Timestamp;
use crate::domain::standing::Standing;
use crate::domain::tenant::Tenant;

use super::decision::{Step, StepSet};
use super::ladder::{NotifyTarget, Rung};
use super::{Mode, Policy, budget_state, describe};

/// A budget's counter, as one policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    /// Used share of the limit in whole percent, rounded down.
    pub used_percent: u32,
    /// The steps that are reached.
    pub reached: StepSet,
}

impl Stand {
    /// Under a policy.
    pub fn of(policy: &Policy, standing: &Standing, now: Timestamp) -> Self {
        let state = budget_state(policy, standing, now);
        Self { used_percent: state.used_percent, reached: state.reached }
    }

    /// The severest step that is reached.
    pub fn step(self) -> Option<Step> {
        self.reached.iter().last()
    }
}

/// What begins for a tenant when these steps of a budget are reached that were not before: `dana@example.com will be asked`,
/// `1 notification`. Nothing where nothing begins.
pub fn begins(policy: &Policy, budget: usize, tenant: Option<&Tenant>, before: StepSet, after: StepSet) -> Vec<String> {
    let Some(budget) = policy.budgets.get(budget) else { return Vec::new() };
    let fresh = |rung: &&Rung| after.contains(rung.step) && !before.contains(rung.step);
    let (mut begins, mut told) = (Vec::new(), 0);
    for rung in budget.ladder.rungs.iter().filter(fresh) {
        begins.extend(describe::brief_remedies(&rung.remedies));
        if let Some(ask) = &rung.ask {
            let owner = tenant
                .and_then(|tenant| tenant.account_owner.as_deref())
                .filter(|_| ask.whom == NotifyTarget::AccountOwner);
            begins.push(format!("{} will be asked", owner.unwrap_or(ask.whom.as_str())));
        }
        told += rung.notify.len();
    }
    if told > 0 {
        begins.push(format!("{told} notification{}", if told == 1 { "" } else { "s" }));
    }
    if budget.mode == Mode::DryRun && !begins.is_empty() {
        begins.insert(0, "dry run".to_owned());
    }
    begins
}
