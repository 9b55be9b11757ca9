//! What a policy says about one call: plain values, no reasons to look anything up again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::domain::clock::Timestamp;
use crate::domain::window::Period;

/// The steps of the ladder, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Step {
    /// Tell the owner.
    Warning,
    /// Tell the owner that the limit will be reached.
    SpendAlert,
    /// Cap and slow down.
    Contain,
    /// Serve cheaper models.
    Degrade,
    /// Ask somebody, with a default.
    Decide,
}

impl Step {
    /// Every step, mildest first.
    pub const ALL: [Self; 5] = [Self::Warning, Self::SpendAlert, Self::Contain, Self::Degrade, Self::Decide];

    /// The word in a policy and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::SpendAlert => "spend_alert",
            Self::Contain => "contain",
            Self::Degrade => "degrade",
            Self::Decide => "decide",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == word)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepSet(pub u8);

impl StepSet {
    /// With `step` in it.
    pub const fn with(self, step: Step) -> Self {
        Self(self.0 | (1 << step as u8))
    }

    /// Whether `step` is in it.
    pub const fn contains(self, step: Step) -> bool {
        self.0 & (1 << step as u8) != 0
    }

    /// The steps in it, mildest first.
    pub fn iter(self) -> impl Iterator<Item = Step> {
        Step::ALL.into_iter().filter(move |step| self.contains(*step))
    }
}

/// How a counter stands against its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Below its warning.
    Ok,
    /// From its warning step on.
    Warning,
    /// From 100 % on.
    Exceeded,
}

impl State {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Exceeded => "exceeded",
        }
    }
}

/// A rate that non-critical or all endpoints of a tenant are held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    /// Names the limiter: `tenant_month.contain`. One limiter exists per tenant and rule.
    pub rule: Arc<str>,
    /// Requests per period; also the burst.
    pub requests: u32,
    /// The period.
    pub per: Period,
    /// How long a call may wait for its turn before it is refused.
    pub queue: Option<Duration>,
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The budget's index in the policy; with several blockers the one that resets last.
    pub budget: usize,
    /// When that budget's window ends.
    pub resets_at: Timestamp,
    /// The HTTP status, 429 unless the policy says otherwise.
    pub status: u16,
    /// The policy's own words for the customer (`message:` of the step, else of the plan).
    pub message: Option<Arc<str>>,
}

/// A result of a tool that is longer than the tenant's segment takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolOutput {
    /// About how many tokens it has.
    pub tokens: u64,
    /// How many it may have.
    pub limit: u64,
}

impl ToolOutput {
    /// What the caller is told.
    pub fn message(self) -> String {
        let Self { tokens, limit } = self;
        format!(
            "the result of a tool in this request has about {tokens} tokens and may have {limit}; shorten it and send the request again"
        )
    }
}

/// What is done to a call. Everything is already combined: strictest per action, exceptions subtracted, floors applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actions {
    /// The severest step behind these actions.
    pub step: Option<Step>,
    /// The budget of that step, by its index.
    pub budget: Option<usize>,
    /// What else asked for an action: `plan.starter`, `segment.rag_heavy`.
    pub by: Option<Arc<str>>,
    /// The output-token limit to write into the request. Already the lower of the client's and the policy's; `None`
    /// leaves the request as it is.
    pub cap: Option<u64>,
    /// The policy's cap was raised (or skipped) so that a thinking request stays legal.
    pub cap_kept_thinking: bool,
    /// The strictest rate.
    pub throttle: Option<Throttle>,
    /// The cheaper model to ask for.
    pub route: Option<Arc<str>>,
    /// The service tier to ask for.
    pub service_tier: Option<Arc<str>>,
    /// A refusal.
    pub block: Option<Block>,
    /// A refusal for what the request carries.
    pub tool_output: Option<ToolOutput>,
}

impl Actions {
    /// Whether nothing is done to the call.
    pub fn is_empty(&self) -> bool {
        self.cap.is_none()
            && !self.cap_kept_thinking
            && self.throttle.is_none()
            && self.route.is_none()
            && self.service_tier.is_none()
            && self.block.is_none()
            && self.tool_output.is_none()
    }
}

/// A hard budget's exact ceiling for this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// The budget's index in the policy.
    pub budget: usize,
    /// What posted, in doubt and held may never exceed, in the budget's unit.
    pub at: i64,
}

/// One counted budget as the call met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetState {
    /// The budget's index in the policy.
    pub budget: usize,
    /// Its state.
    pub state: State,
    /// Used share of the limit in whole percent, rounded down.
    pub used_percent: u32,
    /// The steps that are reached now (their thresholds, whether or not they act on this call).
    pub reached: StepSet,
}

/// What to do with one call, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// What is enforced.
    pub actions: Actions,
    /// What rules in dry run would have done on top; empty when they would have done nothing.
    pub would: Actions,
    /// The ceilings of enforced hard budgets that bind this call. Sorted by budget.
    pub ceilings: SmallVec<[Ceiling; 4]>,
    /// Every counted budget.
    pub states: SmallVec<[BudgetState; 4]>,
}
