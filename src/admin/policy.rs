//! The running policy, and a new one: validated whole, then swapped in, or refused whole.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;

use super::{PolicyView, Problem, State, blocking};

/// The running revision, and how the last load went.
#[utoipa::path(
    get,
    path = "/api/v1/policy",
    security(("admin_token" = [])),
    responses((status = 200, body = PolicyView), (status = 401, body = Problem))
)]
pub(super) async fn policy(state: State) -> Result<Json<PolicyView>, Problem> {
    blocking(move || Json((state.policy)())).await
}

/// Validates and applies a policy.
///
/// With an empty body the directory is read again; with YAML that is checked, written and swapped in. Nothing changes when
/// there is an error in it.
#[utoipa::path(
    post,
    path = "/api/v1/policy",
    security(("admin_token" = [])),
    request_body(content = Option<String>, content_type = "application/yaml"),
    responses(
        (status = 200, body = PolicyView),
        (status = 401, body = Problem),
        (status = 422, body = Problem, description = "Refused; `diagnostics` says why")
    )
)]
pub(super) async fn apply(state: State, body: Result<Bytes, BytesRejection>) -> Result<Json<PolicyView>, Problem> {
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text().to_lowercase()))?;
    let text = String::from_utf8(body.into()).map_err(|_| Problem::bad_request("the policy is not UTF-8 text"))?;
    let text = Some(text).filter(|text| !text.trim().is_empty());
    blocking(move || (state.apply)(text).map(Json)).await?.map_err(|diagnostics| {
        let detail = "the policy has errors; the one that ran before still runs";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with_diagnostics(diagnostics)
    })
}
