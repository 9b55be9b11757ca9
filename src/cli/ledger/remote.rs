//! Resolving through a running gateway: one call to its admin API. The token goes to loopback or over TLS, and nowhere else.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::ledger::{Evidence, Settled, unit_word};

/// A little more than the admin API takes for a call.
const PATIENCE: Duration = Duration::from_secs(15);
const LONGEST_ANSWER: usize = 64 * 1024;

/// Tells the gateway what was spent of `id`.
pub(super) fn resolve(url: &str, token: &str, id: &str, evidence: &Evidence) -> Result<Settled, String> {
    // An id is a part of the path. Nothing is in doubt under a name that would be something else there.
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')) {
        return Ok(Settled::Unknown);
    }
    let request = request(url, token, id, evidence)?;
    let unreachable = |error: &dyn std::fmt::Display| format!("error: the gateway at `{url}` cannot be asked: {error}");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| unreachable(&error))?;
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, send(request)).await });
    let answer = answer.map_err(|_| unreachable(&"no answer in time"))?.map_err(|error| unreachable(&error))?;
    let (status, body) = (answer.status(), answer.into_body());
    match status {
        StatusCode::OK => serde_json::from_slice(&body).map(Settled::Done).map_err(|error| unreachable(&error)),
        StatusCode::NOT_FOUND => Ok(Settled::Unknown),
        StatusCode::UNAUTHORIZED => {
            Err("error: the gateway wants its admin token in `PLIMSOLL_ADMIN_TOKEN`".to_owned())
        }
        status => {
            let problem: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
            let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str()).unwrap_or_default();
            Err(format!("error: the gateway answers {}: {detail}", status.as_u16()))
        }
    }
}

fn request(url: &str, token: &str, id: &str, evidence: &Evidence) -> Result<Request<Full<Bytes>>, String> {
    let whole = format!("{}/api/v1/in-doubt/{id}", url.trim_end_matches('/'));
    let wrong = || format!("error: `{url}` is no address of an admin listener: write `http://127.0.0.1:4181`");
    let uri: Uri = whole.parse().map_err(|_| wrong())?;
    let host = uri.host().ok_or_else(wrong)?.trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if loopback => {}
        Some("http") => {
            return Err(format!("error: the admin token does not go to `{host}` in plain text: use `https:`"));
        }
        _ => return Err(wrong()),
    }
    let mut body = serde_json::json!({
        "spent": evidence.spent(), "actor": evidence.actor(), "reason": evidence.reason(),
    });
    if let Some(unit) = evidence.unit() {
        body["unit"] = unit_word(unit).into();
    }
    Request::post(uri)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|_| "error: `PLIMSOLL_ADMIN_TOKEN` is no token".to_owned())
}

async fn send(request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())?
        .https_or_http()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let (head, body) = client.request(request).await?.into_parts();
    let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}
