//! For probes and scrapers, without a token: alive, ready, and the numbers.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::telemetry::Metrics;

use super::{Problem, State, blocking};

/// Whether the process answers at all.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the gateway takes traffic. A failed reload of the policy does not make it unready: the old one still runs.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = String), (status = 503, body = Problem)))]
pub(super) async fn readyz(state: State) -> Result<&'static str, Problem> {
    let ready = blocking(move || (state.ready)()).await?;
    let detail = "the gateway is starting, stopping, or cannot write its ledger; the log says which";
    if ready { Ok("ready\n") } else { Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)) }
}

/// The numbers, for Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String)))]
pub(super) async fn metrics(state: State) -> Result<impl IntoResponse, Problem> {
    let page = blocking(move || state.metrics.render()).await?;
    Ok(([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], page))
}
