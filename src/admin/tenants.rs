//! Tenants: the directory's facts and where their budgets stand. What the CSV holds only the CSV changes.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::money::Money;
use crate::domain::tenant::{Revenue, Tenant, TenantId};
use crate::domain::window::Period;

use super::parameters::Name;
use super::{Problem, State, TenantView, blocking};

/// The longest text of a fact, in bytes.
const FACT_BYTES: usize = 1_024;

/// Why a tenant is not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantRefusal {
    /// `tenants.csv` holds it, and wins.
    HeldByCsv,
    /// There is no such tenant.
    Unknown,
    /// It could not be kept; the text is for the operator.
    Failed(String),
}

impl TenantRefusal {
    fn problem(self, id: &TenantId) -> Problem {
        match self {
            Self::HeldByCsv => Problem::new(
                StatusCode::CONFLICT,
                format!("`tenants.csv` holds `{id}`, and the file wins: change or remove its row there"),
            ),
            Self::Unknown => unknown(id),
            Self::Failed(reason) => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("`{id}` was not changed: {reason}"))
            }
        }
    }
}

/// The tenants of the directory.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tenants {
    tenants: Vec<TenantView>,
}

/// What finance knows about a tenant; absent is unknown.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Facts {
    /// As in the path, when given.
    #[serde(rename = "tenantId")]
    tenant_id: Option<String>,
    name: Option<String>,
    plan: Option<String>,
    segment: Option<String>,
    account_owner: Option<String>,
    /// In the policy's currency: `199/month`.
    revenue: Option<String>,
    upgrade_url: Option<String>,
}

/// Every tenant of the directory.
#[utoipa::path(
    get,
    path = "/api/v1/tenants",
    security(("admin_token" = [])),
    responses((status = 200, body = Tenants), (status = 401, body = Problem))
)]
pub(super) async fn tenants(state: State) -> Result<Json<Tenants>, Problem> {
    blocking(move || Json(Tenants { tenants: (state.tenants)() })).await
}

/// One tenant.
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{tenantId}",
    security(("admin_token" = [])),
    params(("tenantId" = String, Path)),
    responses((status = 200, body = TenantView), (status = 401, body = Problem), (status = 404, body = Problem))
)]
pub(super) async fn tenant(state: State, Name(name): Name) -> Result<Json<TenantView>, Problem> {
    let id = identifier(&name)?;
    blocking(move || (state.tenant)(&id).map(Json).ok_or_else(|| unknown(&id))).await?
}

/// Creates or replaces a tenant. In force when this answers.
#[utoipa::path(
    put,
    path = "/api/v1/tenants/{tenantId}",
    security(("admin_token" = [])),
    params(("tenantId" = String, Path)),
    request_body(content = Facts),
    responses(
        (status = 200, body = TenantView),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 409, body = Problem, description = "`tenants.csv` holds this tenant")
    )
)]
pub(super) async fn put(
    state: State,
    Name(name): Name,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<TenantView>, Problem> {
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text().to_lowercase()))?;
    let facts: Facts = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("the body is not a tenant as JSON: {error}")))?;
    let tenant = checked(identifier(&name)?, facts)?;
    blocking(move || {
        let (id, facts) = (tenant.id.clone(), TenantView::of(&tenant));
        (state.put_tenant)(tenant).map_err(|refusal| refusal.problem(&id))?;
        Ok(Json((state.tenant)(&id).unwrap_or(facts)))
    })
    .await?
}

/// Deletes a tenant that was put here. Its ledger rows stay.
#[utoipa::path(
    delete,
    path = "/api/v1/tenants/{tenantId}",
    security(("admin_token" = [])),
    params(("tenantId" = String, Path)),
    responses(
        (status = 204),
        (status = 401, body = Problem),
        (status = 404, body = Problem),
        (status = 409, body = Problem, description = "`tenants.csv` holds this tenant")
    )
)]
pub(super) async fn delete(state: State, Name(name): Name) -> Result<StatusCode, Problem> {
    let id = identifier(&name)?;
    blocking(move || (state.delete_tenant)(id.clone()).map_err(|refusal| refusal.problem(&id))).await??;
    Ok(StatusCode::NO_CONTENT)
}

fn identifier(name: &str) -> Result<TenantId, Problem> {
    TenantId::new(name).map_err(|error| Problem::bad_request(format!("the tenant's identifier is {error}")))
}

fn unknown(id: &TenantId) -> Problem {
    Problem::not_found(format!("there is no tenant `{id}`: PUT creates one"))
}

fn checked(id: TenantId, facts: Facts) -> Result<Tenant, Problem> {
    if facts.tenant_id.as_deref().is_some_and(|sent| sent != id.as_str()) {
        return Err(Problem::bad_request(format!("`tenantId` differs from the path, which says `{id}`")));
    }
    Ok(Tenant {
        id,
        name: fact("name", facts.name)?.as_deref().map(Box::from),
        plan: fact("plan", facts.plan)?,
        segment: fact("segment", facts.segment)?,
        account_owner: fact("account_owner", facts.account_owner)?,
        revenue: facts.revenue.filter(|text| !text.trim().is_empty()).map(|text| revenue(&text)).transpose()?.flatten(),
        upgrade_url: fact("upgrade_url", facts.upgrade_url)?,
    })
}

/// Empty is absent, as in the CSV.
fn fact(name: &str, text: Option<String>) -> Result<Option<Arc<str>>, Problem> {
    let Some(text) = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.len() > FACT_BYTES || text.chars().any(char::is_control) {
        let detail = format!("`{name}` has control characters or more than {FACT_BYTES} bytes");
        return Err(Problem::bad_request(detail));
    }
    Ok(Some(Arc::from(text)))
}

/// `199/month`. Nothing is relative to a revenue of zero, so it counts as unknown.
fn revenue(text: &str) -> Result<Option<Revenue>, Problem> {
    let parsed = text.split_once('/').and_then(|(amount, per)| {
        let amount = Money::parse_decimal(amount.trim()).filter(|amount| *amount >= Money::ZERO)?;
        Some(Revenue { amount, per: Period::parse(per.trim())? })
    });
    let revenue = parsed.ok_or_else(|| Problem::bad_request(format!("`revenue` is `{text}`: write `199/month`")))?;
    Ok(Some(revenue).filter(|revenue| revenue.amount > Money::ZERO))
}
