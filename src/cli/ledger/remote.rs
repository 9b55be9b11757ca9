//! Resolving through a running gateway: one call to its admin API.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::ledger::{Evidence, InDoubt};

/// `None`: the gateway knows of nothing in doubt under this name.
pub(super) fn resolve(url: &str, token: &str, id: &str, evidence: &Evidence) -> Result<Option<InDoubt>, String> {
    let unreachable = |error: &dyn std::fmt::Display| format!("error: the gateway at `{url}` cannot be asked: {error}");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| unreachable(&error))?;
    let body = serde_json::json!({
        "spent": evidence.spent,
        "actor": &*evidence.actor,
        "reason": &*evidence.reason,
    });
    let request = Request::post(format!("{}/api/v1/in-doubt/{id}", url.trim_end_matches('/')))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|error| unreachable(&error))?;
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|error| unreachable(&error))?
        .https_or_http()
        .enable_http1()
        .build();
    let (status, answer) = runtime.block_on(async {
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let response = client.request(request).await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        let answer = response.into_body().collect().await.map_err(|error| unreachable(&error))?.to_bytes();
        Ok::<_, String>((status, answer))
    })?;
    match status {
        StatusCode::OK => serde_json::from_slice(&answer).map(Some).map_err(|error| unreachable(&error)),
        StatusCode::NOT_FOUND => Ok(None),
        StatusCode::UNAUTHORIZED => {
            Err("error: the gateway wants its admin token in `PLIMSOLL_ADMIN_TOKEN`".to_owned())
        }
        status => Err(format!("error: the gateway answers {status}: {}", String::from_utf8_lossy(&answer))),
    }
}
