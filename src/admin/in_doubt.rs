//! What is charged until evidence arrives, and the evidence.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ledger::{Evidence, InDoubt};

use super::parameters::Name;
use super::{Problem, State, blocking};

/// The longest reason and the longest name, in bytes.
const WORDS: usize = 1_000;

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
        (status = 404, body = Problem, description = "Nothing is in doubt under this name")
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
    let words = |name: &str, text: &str| -> Result<Arc<str>, Problem> {
        if text.trim().is_empty() || text.len() > WORDS {
            return Err(Problem::bad_request(format!("`{name}` is empty or longer than {WORDS} bytes")));
        }
        Ok(Arc::from(text))
    };
    if known.spent < 0 {
        return Err(Problem::bad_request("`spent` is below zero: write what was really spent"));
    }
    let (actor, reason) = (words("actor", &known.actor)?, words("reason", &known.reason)?);
    let evidence = Evidence { spent: known.spent, actor, reason, at: state.clock.now() };
    blocking(move || {
        let settled = (state.settle_doubt)((id.clone(), evidence))
            .map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error))?;
        settled.map(Json).ok_or_else(|| Problem::not_found(format!("nothing is in doubt under `{id}`")))
    })
    .await?
}
