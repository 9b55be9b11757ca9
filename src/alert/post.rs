//! One attempt to deliver one notification over HTTP. No redirects; little of the answer is read; nothing is retried here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs;
use secrecy::ExposeSecret as _;

use super::notification::Notification;
use super::signature::sign;
use super::target::Target;
use super::text::escaped_for_slack;
use crate::domain::clock::Timestamp;

const TIMEOUT: Duration = Duration::from_secs(5);
/// What is read of an answer, so that the connection can be used again.
const LONGEST_ANSWER: usize = 64 * 1024;

/// A notification on its way to one target.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    /// The same over all attempts, so that a receiver can tell repeats.
    pub(super) id: Arc<str>,
    pub(super) notification: Arc<Notification>,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Trying again may help.
    Passing(String),
    /// It will not.
    Final(String),
}

/// The HTTP client of the courier.
#[derive(Debug, Clone)]
pub(super) struct Post {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Post {
    pub(super) fn new() -> Self {
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_idle_timeout(Duration::from_secs(30)).pool_timer(TokioTimer::new());
        Self { client: client.build(connector()) }
    }

    /// Delivers to a target that is not the log.
    pub(super) async fn deliver(&self, letter: &Letter, target: &Target, now: Timestamp) -> Result<(), Failure> {
        let Some(request) = request(letter, target, now)? else { return Ok(()) };
        match tokio::time::timeout(TIMEOUT, self.exchange(request)).await {
            Ok(Ok(status)) => judge(status),
            Ok(Err(error)) => Err(Failure::Passing(error)),
            Err(_) => Err(Failure::Passing("no answer within 5 s".to_owned())),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, String> {
        // The errors of the client do not hold the address, which may be a secret.
        let response = self.client.request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        // An answer that is too long or breaks off takes nothing from its status.
        let _ = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        Ok(status)
    }
}

fn connector() -> HttpsConnector<HttpConnector> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = HttpsConnectorBuilder::new();
    let laws = "the provider supports the default protocol versions";
    // A machine without certificates of its own still knows Mozilla's.
    let builder = match builder.with_provider_and_native_roots(Arc::clone(&provider)) {
        Ok(builder) => builder,
        Err(_) => HttpsConnectorBuilder::new().with_provider_and_webpki_roots(provider).expect(laws),
    };
    // `http:` is for loopback; `Target` has checked that.
    builder.https_or_http().enable_http1().build()
}

fn request(letter: &Letter, target: &Target, now: Timestamp) -> Result<Option<Request<Full<Bytes>>>, Failure> {
    let built = match target {
        Target::Log => return Ok(None),
        Target::Webhook { url, secret } => {
            let body = json(&*letter.notification)?;
            let timestamp = now.seconds();
            // Signed anew for each attempt: receivers refuse old timestamps.
            let signature = sign(secret.expose_secret(), &letter.id, timestamp, &body);
            post(url)
                .header("webhook-id", &*letter.id)
                .header("webhook-timestamp", timestamp)
                .header("webhook-signature", signature)
                .body(Full::from(body))
        }
        Target::Slack { url } => {
            let text = escaped_for_slack(&letter.notification.text());
            post(url).body(Full::from(json(&serde_json::json!({ "text": text }))?))
        }
    };
    built.map(Some).map_err(|error| Failure::Final(error.to_string()))
}

fn post(url: &Uri) -> http::request::Builder {
    let agent = concat!("plimsoll/", env!("CARGO_PKG_VERSION"));
    Request::post(url.clone()).header(CONTENT_TYPE, "application/json").header(USER_AGENT, agent)
}

fn json(value: &impl serde::Serialize) -> Result<Bytes, Failure> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| Failure::Final(error.to_string()))
}

fn judge(status: StatusCode) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let message = format!("answered {}", status.as_u16());
    let passing = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS);
    Err(if passing { Failure::Passing(message) } else { Failure::Final(message) })
}
