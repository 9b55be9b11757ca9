//! The lock: whatever is not on the short open list needs the admin token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, HeaderMap};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{AdminState, Problem};

/// Paths that anybody who reaches the listener may read. They hold no request, no user and no secret.
const OPEN: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/openapi.json"];

pub(super) async fn need_token(State(state): State<Arc<AdminState>>, request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) || is_admin(request.headers(), state.token.expose_secret()) {
        return next.run(request).await;
    }
    Problem::new(StatusCode::UNAUTHORIZED, "send the admin token: `Authorization: Bearer <token>`").into_response()
}

/// Compares digests, in constant time, so that neither the token nor its length leaks by timing.
fn is_admin(headers: &HeaderMap, token: &str) -> bool {
    let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
    let Some(sent) = sent else { return false };
    let same = Sha256::digest(sent).as_slice().ct_eq(Sha256::digest(token).as_slice());
    bool::from(same) && !token.is_empty()
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
