//! Resolving through a running gateway: one call to its admin API.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

use crate::cli::remote::Remote;
use crate::ledger::{Evidence, Settled, unit_word};

/// Tells the gateway what was spent of `id`.
pub(super) fn resolve(url: &str, token: &str, id: &str, evidence: &Evidence) -> Result<Settled, String> {
    // An id is a part of the path. Nothing is in doubt under a name that would be something else there.
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')) {
        return Ok(Settled::Unknown);
    }
    let mut body = serde_json::json!({
        "spent": evidence.spent(), "actor": evidence.actor(), "reason": evidence.reason(),
    });
    if let Some(unit) = evidence.unit() {
        body["unit"] = unit_word(unit).into();
    }
    let remote = Remote::new(url, token.to_owned());
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let path = format!("/api/v1/in-doubt/{id}");
    let (status, body) = remote.send(Method::POST, &path, headers, Bytes::from(body.to_string()))?;
    match status {
        StatusCode::OK => serde_json::from_slice(&body).map(Settled::Done).map_err(|error| remote.unreachable(&error)),
        StatusCode::NOT_FOUND => Ok(Settled::Unknown),
        status => Err(Remote::refused(status, &body)),
    }
}
