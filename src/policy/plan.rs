//! What belongs to a tenant or an endpoint rather than to a budget: plans, endpoints, defaults. Segments are beside it.

use std::sync::Arc;

use crate::domain::money::Money;
use crate::domain::standing::Unit;
use crate::domain::window::Span;

use super::Written;
use super::amount::PlannedPer;
use super::budget::Amount;
use super::glob::Glob;
use super::ladder::{NotifyTarget, Remedies};

/// One plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: Arc<str>,
    /// `plan.starter`: how a decision names it.
    pub origin: Arc<str>,
    /// What `plan.llm_budget` stands for.
    pub llm_budget: Option<Amount>,
    /// What that is counted in.
    pub counted_in: Option<(Unit, Span)>,
    /// The margin to reach, in parts per million.
    pub target_margin: Option<u64>,
    /// What always applies: a cap, a route.
    pub remedies: Remedies,
    /// Where a tenant can buy more.
    pub upgrade_url: Option<Arc<str>>,
    /// The words of a refusal when the step has none.
    pub message: Option<Arc<str>>,
    /// Where it is written.
    pub written: Written,
}

/// One pattern of endpoint tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The pattern.
    pub pattern: Glob,
    /// Whether `non_critical:` skips it.
    pub critical: bool,
    /// What the feature was planned to cost.
    pub planned_cost: Option<(Money, PlannedPer)>,
    /// Who answers for it.
    pub owner: Option<Arc<str>>,
    /// Where it is written.
    pub written: Written,
}

/// What becomes of calls without a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMissingTenant {
    /// Counted for the tenant `_unattributed`.
    #[default]
    MeterAsUnattributed,
    /// Refused with 401.
    Reject,
}

/// What becomes of calls whose model has no price, where no hard budget counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnpricedModel {
    /// Tokens are counted, cost is shown as unpriced.
    #[default]
    MeterTokensOnly,
    /// Refused with 400.
    Reject,
}

/// What becomes of calls without a cap of their own whose hold does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnNoFit {
    /// A cap is written so that the hold fits, at least 256 tokens.
    #[default]
    Clamp,
    /// Refused.
    Reject,
}

/// How much a client sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exposure {
    /// The share of the limit.
    #[default]
    Percent,
    /// The amount.
    Amount,
    /// Nothing.
    Never,
}

/// What clients see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExposeToClients {
    /// Of budgets.
    pub budget: Exposure,
    /// Of cost.
    pub cost: Exposure,
}

impl Default for ExposeToClients {
    fn default() -> Self {
        Self { budget: Exposure::Percent, cost: Exposure::Never }
    }
}

/// What becomes of calls that no hard budget counts while the ledger cannot be written. Those that one counts are refused in
/// any case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OnLedgerUnavailable {
    /// They are refused too.
    pub refuses: bool,
    /// Who is told.
    pub alert: Vec<NotifyTarget>,
}

/// What happens where nothing else is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Calls without a tenant.
    pub on_missing_tenant: OnMissingTenant,
    /// Models without a price.
    pub on_unpriced_model: OnUnpricedModel,
    /// Holds that do not fit.
    pub on_no_fit: OnNoFit,
    /// The plan of tenants without one.
    pub plan: Option<Arc<str>>,
    /// What clients see.
    pub expose_to_clients: ExposeToClients,
    /// A ledger that cannot be written.
    pub on_ledger_unavailable: OnLedgerUnavailable,
}
