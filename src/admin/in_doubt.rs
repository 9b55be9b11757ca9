//! What is charged until evidence arrives, and the evidence.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ledger::{Evidence, InDoubt, Settled, unit_of};

use super::parameters::Name;
use super::{Problem, State, blocking};

/// Everything that is in doubt.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Doubts {
    in_doubt: Vec<InDoubt>,
}

/// What is known now.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    /// What was really spent, in the unit of the amount: nano-dollars for calls.
    spent: i64,
    /// `nano_usd`, `tokens` or `requests`. Where it is said, it must be that of the amount.
    unit: Option<String>,
    /// Who says so.
    actor: String,
    /// On what evidence.
    reason: String,
}

/// Calls that nobody saw the end of, and what a run that died had leased.
#[utoipa::path(
    get,
    path = "/api/v1/in-doubt",
    security(("admin_token" = [])),
    responses((status = 200, body = Doubts), (status = 401, body = Problem))
)]
pub(super) async fn all(state: State) -> Result<Json<Doubts>, Problem> {
    blocking(move || Ok(Json(Doubts { in_doubt: state.ledger.all_in_doubt()? }))).await?
}

/// Replaces an amount in doubt by what was really spent. Counters follow at once; the answer is what was in doubt.
#[utoipa::path(
    post,
    path = "/api/v1/in-doubt/{id}",
    security(("admin_token" = [])),
    params(("id" = String, Path, description = "A request's id, or `lease_7`")),
    request_body(content = Known),
    responses(
        (status = 200, body = InDoubt),
        (status = 400, body = Problem),
        (status = 401, body = Problem),
        (status = 404, body = Problem, description = "Nothing is in doubt under this name"),
        (status = 422, body = Problem, description = "It cannot be: below zero, no reason, another unit")
    )
)]
pub(super) async fn resolve(
    state: State,
    Name(id): Name,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<InDoubt>, Problem> {
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text().to_lowercase()))?;
    let known: Known = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("the body is no evidence as JSON: {error}")))?;
    let nonsense = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
    let unit = known.unit.as_deref().map(|word| {
        unit_of(word).ok_or_else(|| nonsense(format!("`{word}` is no unit: there are nano_usd, tokens and requests")))
    });
    let spent = (known.spent, unit.transpose()?);
    let evidence = Evidence::new(spent, (&known.actor, &known.reason), state.clock.now()).map_err(nonsense)?;
    blocking(move || {
        let settled = (state.settle_doubt)((id.clone(), evidence))
            .map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error))?;
        match settled {
            Settled::Done(found) => Ok(Json(found)),
            Settled::Unknown => Err(Problem::not_found(format!("nothing is in doubt under `{id}`"))),
            Settled::OtherUnit(found) => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("`{id}` is an amount of {}: say what was spent in that unit", found.unit),
            )),
        }
    })
    .await?
}
