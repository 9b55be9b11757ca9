//! Where a counter stands, as plain numbers: what the meter knows and the policy judges.

use smallvec::SmallVec;

use super::clock::Timestamp;
use super::window::Window;

/// What a limit is counted in. Amounts of any unit are `i64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Nano-dollars.
    Money,
    /// Total input plus total output tokens.
    Tokens,
    /// Logical requests.
    Requests,
}

impl Unit {
    /// Every unit, in the order of its index.
    pub const ALL: [Self; 3] = [Self::Money, Self::Tokens, Self::Requests];

    /// The place of this unit in an array of amounts.
    pub const fn index(self) -> usize {
        match self {
            Self::Money => 0,
            Self::Tokens => 1,
            Self::Requests => 2,
        }
    }
}

/// An amount in each unit, indexed by [`Unit::index`].
pub type Amounts = [i64; 3];

/// A budget that counts a call, with the limit in force for its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The budget's index in the policy.
    pub budget: usize,
    /// The limit in force, in the budget's unit. `None` when it does not resolve (no plan, no revenue): then the call is
    /// counted, so that nothing is missing when the limit comes, and judged by nothing.
    pub limit: Option<i64>,
}

/// The budgets that count a call.
pub type CountedBudgets = SmallVec<[Counted; 4]>;

/// One budget's counter in its present window, at the moment of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The budget's index in the policy.
    pub budget: usize,
    /// The limit in force, in the budget's unit.
    pub limit: i64,
    /// Posted plus in doubt, never holds, in the budget's unit.
    pub used: i64,
    /// The window that is counted.
    pub window: Window,
    /// When this window's `decide` step was first reached.
    pub decide_opened: Option<Timestamp>,
}

/// The standings of the budgets that count a call.
pub type Standings = SmallVec<[Standing; 4]>;

/// The dimensions that budgets match and count by, of a call or of a group of ledger rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dimensions<'a> {
    /// Who pays.
    pub tenant_id: &'a str,
    /// The tenant's plan when the call was made.
    pub plan: Option<&'a str>,
    /// The tenant's segment when the call was made.
    pub segment: Option<&'a str>,
    /// The feature.
    pub endpoint_tag: &'a str,
    /// The prompt's version.
    pub prompt_version: &'a str,
    /// `real`, `test`, `demo`.
    pub data_mode: &'a str,
    /// `prod`, `staging`, `dev`.
    pub environment: &'a str,
    /// The end user.
    pub user_id: Option<&'a str>,
    /// The unit of work.
    pub workflow_id: Option<&'a str>,
    /// The provider's name.
    pub provider: &'a str,
    /// The model that was asked for.
    pub model: &'a str,
}
