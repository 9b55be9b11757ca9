//! A running gateway, through its admin API. The token goes to loopback or over TLS, and nowhere else.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// A little more than the admin API takes for a call.
const PATIENCE: Duration = Duration::from_secs(15);
const LONGEST_ANSWER: usize = 256 * 1024 * 1024;

/// Where it listens, and what opens it.
pub(super) struct Remote {
    url: String,
    token: String,
}

/// An answer: its status and its body.
pub(super) type Answer = (StatusCode, Bytes);

impl Remote {
    pub(super) fn new(url: &str, token: String) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), token }
    }

    /// What is said when it cannot be asked.
    pub(super) fn unreachable(&self, error: &dyn std::fmt::Display) -> String {
        format!("error: the gateway at `{}` cannot be asked: {error}", self.url)
    }

    /// What is said when it answers something that was not asked for.
    pub(super) fn refused(status: StatusCode, body: &[u8]) -> String {
        if status == StatusCode::UNAUTHORIZED {
            return "error: the gateway wants its admin token in `PLIMSOLL_ADMIN_TOKEN`".to_owned();
        }
        let problem: Option<Value> = serde_json::from_slice(body).ok();
        let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str()).unwrap_or_default();
        format!("error: the gateway answers {}: {detail}", status.as_u16())
    }

    /// The JSON under a path; `None` where there is nothing.
    pub(super) fn find(&self, path: &str) -> Result<Option<Value>, String> {
        let (status, body) = self.send(Method::GET, path, HeaderMap::new(), Bytes::new())?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map(Some).map_err(|error| self.unreachable(&error)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(Self::refused(status, &body)),
        }
    }

    /// The JSON under a path that every gateway has.
    pub(super) fn read(&self, path: &str) -> Result<Value, String> {
        self.find(path)?.ok_or_else(|| self.unreachable(&format_args!("it has no `{path}`; is it of this version?")))
    }

    /// One call.
    pub(super) fn send(&self, method: Method, path: &str, headers: HeaderMap, body: Bytes) -> Result<Answer, String> {
        let request = self.request(method, path, headers, body)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| self.unreachable(&error))?;
        let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, exchange(request)).await });
        let answer = answer.map_err(|_| self.unreachable(&"no answer in time"))?;
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        Ok((answer.status(), answer.into_body()))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, String> {
        let url = &self.url;
        let wrong = || format!("error: `{url}` is no address of an admin listener: write `http://127.0.0.1:4181`");
        let uri: Uri = format!("{url}{path}").parse().map_err(|_| wrong())?;
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
        let token = HeaderValue::from_str(&format!("Bearer {}", self.token));
        let token = token.map_err(|_| "error: `PLIMSOLL_ADMIN_TOKEN` is no token".to_owned())?;
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
        request.headers_mut().insert(http::header::AUTHORIZATION, token);
        Ok(request)
    }
}

/// A value of a path or a query, as it may stand there.
pub(super) fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

async fn exchange(request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
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
