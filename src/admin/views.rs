//! Tenants and policies as the admin API shows them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::tenant::{Revenue, Tenant};

/// A tenant: what the directory says, and where its budgets stand.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TenantView {
    /// The identifier.
    #[serde(rename = "tenantId")]
    pub tenant_id: String,
    /// The customer's name.
    pub name: Option<String>,
    /// The plan.
    pub plan: Option<String>,
    /// The segment.
    pub segment: Option<String>,
    /// Who answers for the account.
    pub account_owner: Option<String>,
    /// What the tenant pays, in the policy's currency: `199.00/month`.
    pub revenue: Option<String>,
    /// Where the tenant can buy more.
    pub upgrade_url: Option<String>,
    /// The budgets that count this tenant alone.
    pub budgets: Vec<BudgetView>,
    /// What is left of the revenue; null when the revenue is unknown.
    pub margin: Option<MarginView>,
}

/// One budget's counter for one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BudgetView {
    /// The budget.
    pub name: String,
    /// What it counts: `nano_usd`, `tokens` or `requests`.
    pub unit: String,
    /// The limit in force, in that unit.
    pub limit: i64,
    /// What is used in the present window, in that unit.
    pub used: i64,
    /// Used share of the limit in whole percent, rounded down.
    pub used_percent: u32,
    /// `ok`, `warning` or `exceeded`.
    pub state: String,
    /// The severest step that is reached.
    pub step: Option<String>,
    /// When the window ends (RFC 3339, in the policy's zone); null for windows without an end.
    pub resets_at: Option<String>,
    /// Where the window will end at this pace, in percent of the limit; null while it is too early to say.
    pub forecast_percent: Option<u32>,
    /// `enforce` or `dry_run`.
    pub mode: String,
}

/// Revenue against cost. Amounts are decimal numbers in the policy's currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MarginView {
    /// What it covers: `2026-11`.
    pub window: String,
    /// Revenue.
    pub revenue: String,
    /// What the providers cost.
    pub llm_cost: String,
    /// What everything else costs, by the policy's estimate.
    pub infra_estimate: Option<String>,
    /// Revenue without both.
    pub gross_margin: String,
    /// The margin in percent of the revenue.
    pub percent: String,
    /// The plan's target in percent.
    pub target: Option<String>,
}

/// The running policy.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PolicyView {
    /// `r42 9f3c1ae`.
    pub revision: String,
    /// `enforce` or `dry_run`.
    pub mode: String,
    /// When it was swapped in (RFC 3339).
    pub loaded_at: String,
    /// How the last load went; a failed one leaves the running policy as it is.
    pub last_reload: ReloadView,
    /// The files that it was compiled from.
    pub sources: Vec<SourceView>,
}

/// A policy file as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SourceView {
    /// Its name in the folder.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// One live counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CounterView {
    /// What is counted, as one text: the budget's name, match, per, period and time zone. A policy that says the same counts on.
    pub identity: String,
    /// The values of the budget's `per`, in its order; empty for a shared counter.
    pub key: Vec<String>,
    /// When its window began (RFC 3339, UTC); null for windows without a beginning.
    pub starts_at: Option<String>,
    /// When its window ends; null for windows without an end.
    pub resets_at: Option<String>,
    /// Nano-dollars, posted and in doubt.
    pub nano_usd: i64,
    /// Tokens, posted and in doubt.
    pub tokens: i64,
    /// Logical requests.
    pub requests: i64,
    /// When its `decide` step was reached.
    pub decide_opened: Option<String>,
}

/// How a load of the policy ended.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ReloadView {
    /// Whether it was swapped in.
    pub ok: bool,
    /// When (RFC 3339).
    pub at: String,
    /// Errors and warnings.
    pub diagnostics: Vec<serde_json::Value>,
}

impl TenantView {
    /// The directory's facts alone.
    pub fn of(tenant: &Tenant) -> Self {
        let text = |part: &Option<std::sync::Arc<str>>| part.as_deref().map(str::to_owned);
        Self {
            tenant_id: tenant.id.to_string(),
            name: tenant.name.as_deref().map(str::to_owned),
            plan: text(&tenant.plan),
            segment: text(&tenant.segment),
            account_owner: text(&tenant.account_owner),
            revenue: tenant.revenue.map(revenue),
            upgrade_url: text(&tenant.upgrade_url),
            budgets: Vec::new(),
            margin: None,
        }
    }
}

fn revenue(revenue: Revenue) -> String {
    format!("{}/{}", revenue.amount.to_decimal(), revenue.per)
}
