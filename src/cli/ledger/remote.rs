//! What is in doubt at a running gateway, and resolving it there: calls to its admin API.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::ledger::{Evidence, InDoubt};

/// A running gateway's admin listener.
pub(super) struct Remote<'a> {
    pub(super) url: &'a str,
    pub(super) token: &'a str,
}

impl Remote<'_> {
    /// Everything that is in doubt there.
    pub(super) fn in_doubt(&self) -> Result<Vec<InDoubt>, String> {
        let answer = self.call("GET", "/api/v1/in-doubt", None)?.unwrap_or_default();
        serde_json::from_value(answer["in_doubt"].clone()).map_err(|error| self.unreachable(&error))
    }

    /// `None`: the gateway knows of nothing in doubt under this name.
    pub(super) fn resolve(&self, id: &str, evidence: &Evidence) -> Result<Option<InDoubt>, String> {
        let body = serde_json::json!({
            "spent": evidence.spent,
            "actor": &*evidence.actor,
            "reason": &*evidence.reason,
        });
        let answer = self.call("POST", &format!("/api/v1/in-doubt/{id}"), Some(&body))?;
        answer.map(serde_json::from_value).transpose().map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> String {
        format!("error: the gateway at `{}` cannot be asked: {error}", self.url)
    }

    /// `None`: 404.
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Option<Value>, String> {
        let broken = |error: &dyn std::fmt::Display| self.unreachable(error);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| broken(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url.trim_end_matches('/')))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Full::new(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default()))
            .map_err(|error| broken(&error))?;
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| broken(&error))?
            .https_or_http()
            .enable_http1()
            .build();
        let (status, answer) = runtime.block_on(async {
            let client = Client::builder(TokioExecutor::new()).build(connector);
            let response = client.request(request).await.map_err(|error| broken(&error))?;
            let status = response.status();
            let answer = response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
            Ok::<_, String>((status, answer))
        })?;
        match status {
            StatusCode::OK => serde_json::from_slice(&answer).map(Some).map_err(|error| broken(&error)),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::UNAUTHORIZED => {
                Err("error: the gateway wants its admin token in `PLIMSOLL_ADMIN_TOKEN`".to_owned())
            }
            status => Err(format!("error: the gateway answers {status}: {}", String::from_utf8_lossy(&answer))),
        }
    }
}
