//! What is said when something changes: the JSON of webhooks, field by field.
//!
//! Money is a decimal string. There is no place for a prompt or an answer, so none can leak.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::standing::Unit;
use crate::domain::tenant::Tenant;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Kind {
    /// A budget reached its warning.
    #[serde(rename = "budget.warning")]
    BudgetWarning,
    /// A budget is on course to be exceeded.
    #[serde(rename = "budget.spend_alert")]
    BudgetSpendAlert,
    /// A budget is used up.
    #[serde(rename = "budget.exceeded")]
    BudgetExceeded,
    /// A budget is below its warning again.
    #[serde(rename = "budget.recovered")]
    BudgetRecovered,
    /// A step of a ladder is in force.
    #[serde(rename = "step.entered")]
    StepEntered,
    /// A step of a ladder is no longer in force.
    #[serde(rename = "step.left")]
    StepLeft,
    /// Somebody is asked.
    #[serde(rename = "decision.requested")]
    DecisionRequested,
    /// Somebody has decided.
    #[serde(rename = "decision.made")]
    DecisionMade,
    /// Nobody has decided in time.
    #[serde(rename = "decision.defaulted")]
    DecisionDefaulted,
    /// An exception ends soon.
    #[serde(rename = "exception.expiring")]
    ExceptionExpiring,
    /// An exception has ended.
    #[serde(rename = "exception.expired")]
    ExceptionExpired,
    /// A call went beyond what its tenant's segment watches for.
    #[serde(rename = "watch.exceeded")]
    WatchExceeded,
    /// Requests of one kind cost more than they did.
    #[serde(rename = "alert.cost_drift")]
    CostDrift,
    /// One tenant makes up too much of the cost.
    #[serde(rename = "alert.concentration")]
    Concentration,
    /// Many requests, few of which succeed.
    #[serde(rename = "alert.retry_storm")]
    RetryStorm,
    /// A tenant costs more than it pays.
    #[serde(rename = "alert.negative_margin")]
    NegativeMargin,
    /// Another policy is in force.
    #[serde(rename = "policy.reloaded")]
    PolicyReloaded,
    /// A policy was refused; the last good one stays.
    #[serde(rename = "policy.rejected")]
    PolicyRejected,
    /// A model without a price is in use.
    #[serde(rename = "data.unpriced_model")]
    UnpricedModel,
    /// Too many calls name no tenant.
    #[serde(rename = "data.attribution_low")]
    AttributionLow,
    /// The ledger cannot be written.
    #[serde(rename = "data.ledger_unavailable")]
    LedgerUnavailable,
    /// The ledger can be written again.
    #[serde(rename = "data.ledger_recovered")]
    LedgerRecovered,
    /// The margin review can be read.
    #[serde(rename = "review.ready")]
    ReviewReady,
}

/// One notification.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Notification {
    /// What happened.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// When.
    #[serde(serialize_with = "whole_seconds")]
    pub timestamp: Timestamp,
    /// The facts.
    #[serde(rename = "data")]
    pub facts: Facts,
}

/// The facts of a notification, as far as they are known.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Facts {
    /// Whom it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantFacts>,
    /// Which budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetFacts>,
    /// What changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition: Option<Transition>,
    /// What has to be decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Question>,
    /// What a segment watches for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchFacts>,
    /// A sentence, for what has no budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What follows if usage goes on rising.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<Next>,
    /// Where to read on.
    #[serde(skip_serializing_if = "Links::is_empty")]
    pub links: Links,
}

/// A tenant, as the directory knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TenantFacts {
    /// The identifier.
    #[serde(rename = "tenantId")]
    pub id: Arc<str>,
    /// The customer's name.
    pub name: Option<Arc<str>>,
    /// The plan.
    pub plan: Option<Arc<str>>,
    /// The segment.
    pub segment: Option<Arc<str>>,
    /// Who answers for the account.
    pub account_owner: Option<Arc<str>>,
}

impl From<&Tenant> for TenantFacts {
    fn from(tenant: &Tenant) -> Self {
        Self {
            id: Arc::clone(tenant.id.as_arc()),
            name: tenant.name.as_deref().map(Arc::from),
            plan: tenant.plan.clone(),
            segment: tenant.segment.clone(),
            account_owner: tenant.account_owner.clone(),
        }
    }
}

/// A budget at the moment of the notification.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BudgetFacts {
    /// The name in the policy.
    pub name: Arc<str>,
    /// The limit in force.
    pub limit: Amount,
    /// What is used of it.
    pub used: Used,
    /// The window: `2026-11`, `2026-W47`, `2026-11-21`, `rolling 1 hour`, `a workflow`.
    pub period: String,
    /// When the window ends: RFC 3339 in the policy's zone. `None`: never.
    pub resets_at: Option<String>,
    /// Where the window will end, when that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
}

/// An amount in its unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Dollars as a decimal, or a plain number.
    pub amount: String,
    /// `USD`, of money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<&'static str>,
    /// `tokens` or `requests`, of anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<&'static str>,
}

impl Amount {
    /// From a meter's number: nano-dollars, tokens or requests.
    pub fn of(unit: Unit, value: i64) -> Self {
        match unit {
            Unit::Money => Self { amount: Money::from_nano(value).to_decimal(), currency: Some("USD"), unit: None },
            Unit::Tokens => Self { amount: value.to_string(), currency: None, unit: Some("tokens") },
            Unit::Requests => Self { amount: value.to_string(), currency: None, unit: Some("requests") },
        }
    }
}

/// What is used of a limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Used {
    /// In the unit of the limit.
    pub amount: String,
    /// Of the limit.
    pub percent: Percent,
}

impl Used {
    /// From a meter's numbers. Of a limit of nothing, everything is used; 100 % is not said before it is true.
    pub fn of(unit: Unit, used: i64, limit: i64) -> Self {
        let (share, whole) = (i128::from(used.max(0)), i128::from(limit.max(0)));
        let tenths = (share * 1_000 + whole / 2).checked_div(whole).unwrap_or(1_000);
        let tenths = if share < whole { tenths.min(999) } else { tenths };
        let percent = Percent::from_tenths(u32::try_from(tenths).unwrap_or(u32::MAX));
        Self { amount: Amount::of(unit, used).amount, percent }
    }
}

/// A share in tenths of a percent, written as a number with one decimal: `80.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

impl Percent {
    /// From tenths of a percent.
    pub const fn from_tenths(tenths: u32) -> Self {
        Self(tenths)
    }

    /// Rounded down.
    pub const fn whole(self) -> u32 {
        self.0 / 10
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The decimal text becomes the number: no arithmetic in floating point.
        let text = if self.0.is_multiple_of(10) {
            self.whole().to_string()
        } else {
            format!("{}.{}", self.whole(), self.0 % 10)
        };
        let number: serde_json::Number = text.parse().map_err(serde::ser::Error::custom)?;
        number.serialize(serializer)
    }
}

/// Where a window will end if usage goes on as it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Of the limit, in whole percent.
    pub percent: u32,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// The state before: `ok`, `warning`, `exceeded`.
    pub from: &'static str,
    /// The state after.
    pub to: &'static str,
    /// The step that was entered or left.
    pub step: Arc<str>,
    /// `enforce` or `dry_run`.
    pub mode: Arc<str>,
    /// The policy revision: `r42 9f3c1ae`.
    pub policy: Arc<str>,
}

/// A decision that somebody has to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Question {
    /// Who is asked.
    pub ask: Arc<str>,
    /// Until when: RFC 3339 in the policy's zone.
    pub until: String,
    /// What happens if nobody answers: `non-critical endpoints stop`.
    pub otherwise: String,
}

/// A bound of a segment, and the call that went beyond it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WatchFacts {
    /// The key in the policy: `steps`, `retrieval.k`.
    pub name: Arc<str>,
    /// The segment that watches.
    pub segment: Arc<str>,
    /// What was seen; of a mean the next whole number.
    pub seen: u64,
    /// The bound.
    pub above: u64,
    /// The feature that called.
    #[serde(rename = "endpointTag")]
    pub endpoint_tag: Arc<str>,
    /// The version of its prompt.
    #[serde(rename = "promptVersion")]
    pub prompt_version: Arc<str>,
    /// The unit of work.
    #[serde(rename = "workflowId", skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<Arc<str>>,
    /// The call.
    pub request_id: Arc<str>,
}

/// What happens further up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Next {
    /// At which usage: `100%`.
    pub at: String,
    /// What: `cap 600 output tokens; 20 requests/min on non_critical`.
    pub action: String,
}

/// Where to read on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Links {
    /// The tenant's page on the dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Where the tenant can buy more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Arc<str>>,
}

impl Links {
    fn is_empty(&self) -> bool {
        self.tenant.is_none() && self.upgrade.is_none()
    }
}

impl Notification {
    /// Who answers for the tenant it is about.
    pub fn account_owner(&self) -> Option<&str> {
        self.facts.tenant.as_ref().and_then(|tenant| tenant.account_owner.as_deref())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn whole_seconds<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Timestamp::from_seconds(moment.seconds()))
}

#[cfg(test)]
pub(super) mod tests;
