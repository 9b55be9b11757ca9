//! What went wrong, as RFC 9457 has it. Details are for the operator who asked; causes inside go to the log.

use axum::BoxError;
use axum::Json;
use axum::http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::ledger::LedgerError;

/// An error answer (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// The phrase of the status.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this call, and what would fix it.
    detail: String,
    /// What the policy's text has to be changed in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    diagnostics: Vec<serde_json::Value>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or_default();
        Self { title, status: status.as_u16(), detail: detail.into(), diagnostics: Vec::new() }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    pub(super) fn with_diagnostics(self, diagnostics: Vec<serde_json::Value>) -> Self {
        Self { diagnostics, ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        if matches!(error, LedgerError::TooSlow) {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        }
        tracing::error!(%error, "the ledger could not be read");
        Self::internal("the ledger could not be read; the log says why")
    }
}

/// The answer when a limit of the listener was met.
pub(super) async fn of_limit(error: BoxError) -> Problem {
    let unavailable = |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    if error.is::<tower::timeout::error::Elapsed>() {
        unavailable("the call took too long: ask for less, or again later")
    } else if error.is::<tower::load_shed::error::Overloaded>() {
        unavailable("too many calls to the admin API run at once: ask again in a moment")
    } else {
        tracing::error!(%error, "a call to the admin API failed");
        Problem::internal("the call failed; the log says why")
    }
}

pub(super) async fn no_such_path(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at `{}`: `/openapi.json` lists what there is", uri.path()))
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("`{}` does not take {method}: `/openapi.json` lists what it takes", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}
