//! A call that nobody made, and counters as somebody says they stand: what tests, plans and explanations ask
//! [`evaluate`](super::evaluate) about.

pub mod read;

use std::sync::Arc;

use crate::domain::attribution::Attribution;
use crate::domain::clock::Timestamp;
use crate::domain::content::Content;
use crate::domain::standing::{Dimensions, Standing, Standings};
use crate::domain::tenant::Tenant;

use super::amount::WHOLE;
use super::{CallFacts, Policy};

/// The facts of such a call, owned.
#[derive(Debug, Clone)]
pub struct Hypothesis {
    /// The moment of the decision.
    pub now: Timestamp,
    /// Who pays.
    pub tenant: Tenant,
    /// What the call says about itself.
    pub attribution: Attribution,
    /// The provider's name.
    pub provider: Arc<str>,
    /// The model that is asked for.
    pub model: Arc<str>,
    /// The client's own limit on output tokens.
    pub cap: Option<u64>,
    /// The thinking budget that the client asks for, in tokens.
    pub thinking_budget: Option<u64>,
    /// Whether the model reasons before it answers.
    pub reasoning: bool,
    /// What it carries.
    pub content: Content,
}

impl Hypothesis {
    /// The call as the policy judges it.
    pub fn facts(&self) -> CallFacts<'_> {
        CallFacts {
            now: self.now,
            tenant: &self.tenant,
            attribution: &self.attribution,
            provider: &self.provider,
            model: &self.model,
            cap: self.cap,
            thinking_budget: self.thinking_budget,
            reasoning: self.reasoning,
            content: self.content,
        }
    }

    /// The call's dimensions, as budgets match and count by them.
    pub fn dimensions<'a>(&'a self, policy: &'a Policy) -> Dimensions<'a> {
        policy.dimensions(&self.tenant, &self.attribution, &self.provider, &self.model)
    }
}

/// What is said about one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// How much is used.
    pub used: Used,
    /// When its `decide` step was reached.
    pub decide_opened: Option<Timestamp>,
}

/// How much of a limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Used {
    /// Parts per million of the limit in force.
    Share(u64),
    /// In the budget's unit.
    Amount(i64),
}

impl Default for Used {
    fn default() -> Self {
        Self::Amount(0)
    }
}

impl Used {
    /// The amount, in the unit of `limit`. A share is rounded up, so that a step at that share is reached.
    pub fn of(self, limit: i64) -> i64 {
        let share = match self {
            Self::Amount(amount) => return amount,
            Self::Share(share) => share,
        };
        let product = i128::from(limit) * i128::from(share);
        i64::try_from((product + i128::from(WHOLE) - 1).div_euclid(i128::from(WHOLE))).unwrap_or(i64::MAX)
    }
}

/// The standings of the budgets that count a call and have a limit for its tenant. `usage` says, by index, what their counters
/// hold.
pub fn standings(policy: &Policy, facts: &CallFacts<'_>, usage: impl Fn(usize) -> Usage) -> Standings {
    let counted = policy.counted(facts).into_iter();
    let limited = counted.filter_map(|counted| {
        let limit = counted.limit?;
        let Usage { used, decide_opened } = usage(counted.budget);
        let window = policy.window(counted.budget, facts.now);
        Some(Standing { budget: counted.budget, limit, used: used.of(limit), window, decide_opened })
    });
    limited.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_limit_reaches_the_step_at_that_share() {
        for (limit, share) in [(150_000_000_000, 1_120_000), (7, 800_000), (1, 1), (999_999_999_999, 333_333)] {
            let used = i128::from(Used::Share(share).of(limit));
            let bar = i128::from(limit) * i128::from(share);
            assert!(used * i128::from(WHOLE) >= bar && (used - 1) * i128::from(WHOLE) < bar, "{limit} {share}");
        }
        assert_eq!((Used::Share(0).of(10), Used::Amount(3).of(10)), (0, 3));
    }
}
