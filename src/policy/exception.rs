//! Exceptions: approved and dated, for one tenant; they make outcomes gentler and never harsher.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;

use crate::domain::clock::Timestamp;

use super::Written;
use super::budget::Amount;
use super::ladder::{Ladder, NotifyTarget};

/// The actions that `never:` subtracts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Never {
    /// No cap on output tokens.
    pub cap: bool,
    /// No rates.
    pub throttle: bool,
    /// No cheaper models.
    pub route: bool,
    /// No refusals.
    pub block: bool,
}

impl Never {
    /// What either of them subtracts.
    pub fn or(self, other: Self) -> Self {
        Self {
            cap: self.cap || other.cap,
            throttle: self.throttle || other.throttle,
            route: self.route || other.route,
            block: self.block || other.block,
        }
    }
}

/// Who hears of the end of an exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhenExpired {
    /// They.
    pub notify: Vec<NotifyTarget>,
    /// How long before the end they hear of it for the first time.
    pub before: Option<Duration>,
}

/// Those of `exceptions` that are not over.
pub(super) fn active(exceptions: &[Exception], now: Timestamp) -> impl Iterator<Item = &Exception> {
    exceptions.iter().filter(move |exception| now < exception.until)
}

/// One exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The tenant.
    pub tenant: Arc<str>,
    /// The budget's index; `None` for all budgets.
    pub budget: Option<usize>,
    /// A limit in place of the budget's, where it is higher.
    pub limit: Option<Amount>,
    /// A ladder in place of the budget's, where it is gentler.
    pub ladder: Option<Ladder>,
    /// What is not done.
    pub never: Never,
    /// Why.
    pub reason: Arc<str>,
    /// Who approved it.
    pub approved_by: Vec<Arc<str>>,
    /// Where it was discussed.
    pub ticket: Option<Arc<str>>,
    /// The last day on which it applies, in the policy's zone.
    pub expires: Date,
    /// The first moment at which it no longer applies.
    pub until: Timestamp,
    /// Who is told that it ends.
    pub when_expired: Option<WhenExpired>,
    /// Where it is written.
    pub written: Written,
}

impl Exception {
    /// Whether the time before its end has begun in which people hear of it.
    pub fn ends_soon(&self, rule: &WhenExpired, now: Timestamp) -> bool {
        rule.before.is_some_and(|before| now.after(before) >= self.until)
    }

    /// Whether it concerns a budget.
    pub fn concerns(&self, budget: usize) -> bool {
        self.budget.is_none_or(|own| own == budget)
    }
}
