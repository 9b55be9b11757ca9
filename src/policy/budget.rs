//! Budgets: whom they count, over which period, up to which limit.

use std::sync::Arc;

use jiff::civil::Date;

use crate::diagnostic::Place;
use crate::domain::model::is_release_of;
use crate::domain::standing::{Dimensions, Unit};
use crate::domain::tenant::Revenue;
use crate::domain::window::{Period, Span};

use super::amount::WHOLE;
use super::condition::Condition;
use super::exchange::Rate;
use super::glob::Glob;
use super::ladder::Ladder;
use super::{Mode, Written};

/// What budgets match and count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Who pays.
    TenantId,
    /// The tenant's plan.
    Plan,
    /// The tenant's segment.
    Segment,
    /// The feature.
    EndpointTag,
    /// The prompt's version.
    PromptVersion,
    /// Real, test or demo.
    DataMode,
    /// Prod, staging or dev.
    Environment,
    /// The end user.
    UserId,
    /// The unit of work.
    WorkflowId,
    /// The provider.
    Provider,
    /// The model that was asked for.
    Model,
}

impl Dimension {
    /// Every dimension with its word in a policy.
    pub const ALL: [(&'static str, Self); 11] = [
        ("tenantId", Self::TenantId),
        ("plan", Self::Plan),
        ("segment", Self::Segment),
        ("endpointTag", Self::EndpointTag),
        ("promptVersion", Self::PromptVersion),
        ("dataMode", Self::DataMode),
        ("environment", Self::Environment),
        ("userId", Self::UserId),
        ("workflowId", Self::WorkflowId),
        ("provider", Self::Provider),
        ("model", Self::Model),
    ];

    /// The word in a policy.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, dimension)| *dimension == self).map_or("", |(word, _)| word)
    }

    /// The value of a call; what is absent is empty.
    pub fn of<'a>(self, dimensions: &Dimensions<'a>) -> &'a str {
        match self {
            Self::TenantId => dimensions.tenant_id,
            Self::Plan => dimensions.plan.unwrap_or(""),
            Self::Segment => dimensions.segment.unwrap_or(""),
            Self::EndpointTag => dimensions.endpoint_tag,
            Self::PromptVersion => dimensions.prompt_version,
            Self::DataMode => dimensions.data_mode,
            Self::Environment => dimensions.environment,
            Self::UserId => dimensions.user_id.unwrap_or(""),
            Self::WorkflowId => dimensions.workflow_id.unwrap_or(""),
            Self::Provider => dimensions.provider,
            Self::Model => dimensions.model,
        }
    }
}

/// Which calls a budget counts: every dimension must fit one of its patterns, the condition must be true, and what stands under
/// `not` may not fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matcher {
    /// The dimensions, sorted, each with its patterns, sorted.
    pub all: Vec<(Dimension, Vec<Glob>)>,
    /// What patterns cannot say.
    pub when: Option<Arc<Condition>>,
    /// What is left out.
    pub not: Option<Box<Self>>,
}

impl Matcher {
    /// Whether a call fits.
    pub fn fits(&self, dimensions: &Dimensions<'_>) -> bool {
        self.all.iter().all(|(dimension, globs)| fits_one(*dimension, globs, dimension.of(dimensions)))
            && !self.not.as_ref().is_some_and(|not| not.fits(dimensions))
            // Last: the patterns are cheaper, and most calls are none of most budgets.
            && self.when.as_ref().is_none_or(|when| when.holds(dimensions))
    }
}

/// A model's name fits its dated releases too.
fn fits_one(dimension: Dimension, globs: &[Glob], value: &str) -> bool {
    globs.iter().any(|glob| {
        glob.matches(value)
            || (dimension == Dimension::Model && glob.is_literal() && is_release_of(value, glob.as_str()))
    })
}

/// How much one tenant may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// In the budget's unit, money in dollars.
    Fixed(i64),
    /// A share of the tenant's revenue.
    Revenue {
        /// Parts per million.
        share: u64,
        /// The period that revenue is converted to.
        per: Period,
        /// What the currency of revenue is worth.
        rate: Rate,
    },
}

impl Amount {
    /// The limit for a tenant with that revenue; `None` when it is relative to a revenue that is unknown or zero.
    pub fn of(self, revenue: Option<Revenue>) -> Option<i64> {
        match self {
            Self::Fixed(amount) => Some(amount),
            Self::Revenue { share, per, rate } => {
                let revenue = revenue.filter(|revenue| revenue.amount.nano() > 0)?;
                let nano = i128::from(revenue.amount.nano())
                    .checked_mul(i128::from(share))?
                    .checked_mul(i128::from(per.nominal_seconds()))?;
                let divisor = i128::from(WHOLE) * i128::from(revenue.per.nominal_seconds());
                // A limit beyond all numbers is the largest number, and not none.
                let own = i64::try_from(nano / divisor).unwrap_or(i64::MAX);
                Some(rate.in_dollars(own).unwrap_or(i64::MAX))
            }
        }
    }
}

/// Where a budget's limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// From the budget itself.
    Own(Amount),
    /// From the tenant's plan: `plan.llm_budget`.
    Plan,
}

/// A budget under another one. It says what is meant and changes nothing: a call counts in every budget that counts it.
#[derive(Debug, Clone)]
pub struct Within {
    /// The other one's index.
    pub parent: usize,
    /// Where that is written. No part of what it says.
    pub place: Place,
}

impl PartialEq for Within {
    fn eq(&self, other: &Self) -> bool {
        let Self { parent, place: _ } = self;
        *parent == other.parent
    }
}

impl Eq for Within {}

/// One budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Its name.
    pub name: Arc<str>,
    /// What has a counter of its own; empty for one shared counter.
    pub per: Vec<Dimension>,
    /// The period.
    pub span: Span,
    /// What is counted.
    pub unit: Unit,
    /// Whether its steps act.
    pub mode: Mode,
    /// Whether its ladder holds `block: all` and it is of a calendar period: such a limit is never overshot.
    pub hard: bool,
    /// What happens when, its grace included.
    pub ladder: Ladder,
    /// The steps that are written in it, without its grace. `None`: it names an escalation.
    pub own_steps: Option<Ladder>,
    /// How far above the limit, in parts per million of it, steps that block wait for.
    pub grace: Option<u64>,
    /// Name, match, per, span and time zone, see [`Identity`](super::identity::Identity).
    pub identity: Arc<str>,
    /// Which calls it counts.
    pub matcher: Matcher,
    /// The limit before exceptions.
    pub limit: Limit,
    /// The budget that it stands within.
    pub within: Option<Within>,
    /// When somebody should look at it again.
    pub review_by: Option<Date>,
    /// Where it is written.
    pub written: Written,
}

impl Budget {
    /// Whether it has one counter per tenant (and perhaps finer).
    pub fn is_per_tenant(&self) -> bool {
        self.per.contains(&Dimension::TenantId)
    }

    /// Whether a block is a ceiling that holds of calls in flight keep to. Where usage is a sum of buckets, nothing could be
    /// taken from all of them in one step.
    pub fn is_exact(&self) -> bool {
        matches!(self.span, Span::Calendar(_))
    }
}
