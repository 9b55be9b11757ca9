//! One request, and what policies did lately: ledger rows as they are.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::ledger::StoredAttempt;

use super::parameters::{Name, Parameters};
use super::{Problem, State, blocking};

/// Decisions in one answer when the call does not say.
const DECISIONS: u32 = 100;

/// The most decisions in one answer.
const MOST_DECISIONS: u32 = 1_000;

/// Ledger rows.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Attempts {
    rows: Vec<StoredAttempt>,
}

/// The attempts of one request, first one first.
#[utoipa::path(
    get,
    path = "/api/v1/requests/{id}",
    security(("admin_token" = [])),
    params(("id" = String, Path, description = "`plimsoll-request-id`")),
    responses((status = 200, body = Attempts), (status = 401, body = Problem), (status = 404, body = Problem))
)]
pub(super) async fn request(state: State, Name(id): Name) -> Result<Json<Attempts>, Problem> {
    blocking(move || {
        let rows = state.ledger.request(&id)?;
        if rows.is_empty() {
            return Err(Problem::not_found(format!("the ledger has no request `{id}`: it shows calls that ended")));
        }
        Ok(Json(Attempts { rows }))
    })
    .await?
}

/// The latest attempts that a policy acted on (`decision`) or would have (`would`), newest first.
#[utoipa::path(
    get,
    path = "/api/v1/decisions",
    security(("admin_token" = [])),
    params(
        ("tenantId" = Option<String>, Query, description = "Only this tenant's"),
        ("limit" = Option<u32>, Query, description = "100 when absent, at most 1000"),
    ),
    responses((status = 200, body = Attempts), (status = 400, body = Problem), (status = 401, body = Problem))
)]
pub(super) async fn decisions(state: State, parameters: Parameters) -> Result<Json<Attempts>, Problem> {
    let (mut tenant, mut limit) = (None, DECISIONS);
    for (name, value) in parameters.0 {
        match name.as_str() {
            "tenantId" => tenant = Some(value),
            "limit" => limit = limited(&value)?,
            _ => {
                return Err(Problem::bad_request(format!("`{name}` is not a parameter: there are tenantId and limit")));
            }
        }
    }
    blocking(move || Ok(Json(Attempts { rows: state.ledger.decisions(tenant.as_deref(), limit)? }))).await?
}

fn limited(value: &str) -> Result<u32, Problem> {
    let limit = value.parse().ok().filter(|limit| (1..=MOST_DECISIONS).contains(limit));
    limit.ok_or_else(|| Problem::bad_request(format!("`limit={value}` is not a number from 1 to {MOST_DECISIONS}")))
}
