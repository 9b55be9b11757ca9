//! Every answer that is ours and not the provider's: what is said, for whom, until when, and what to do.
//!
//! The end customer may read these sentences: no dollar figures, and never a provider's name.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::domain::attribution::UNTAGGED;
use crate::domain::window::{Window, rfc3339};
use crate::policy::decision::{Block, Decision, ToolOutput};
use crate::wire::refusal::{self, Refusal};
use crate::wire::{Family, Malformed};

use super::call::Call;
use super::identify::Stranger;
use super::intake::BadBody;
use super::tap::Answer;

/// Retry-After is never above this: SDKs sleep for the whole value.
pub(super) const LONGEST_WAIT_S: u64 = 60;

/// Where applications name their requests.
const NAME: &str = "plimsoll-external-request-id";

/// A refusal, before it is put into a dialect's shape.
#[derive(Debug, Clone, Default)]
pub(super) struct Refused {
    pub(super) status: u16,
    /// A stable word for machines: `budget_blocked`, `throttled`, …
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) param: Option<String>,
    pub(super) budget: Option<Arc<str>>,
    pub(super) used_percent: Option<u32>,
    pub(super) resets_at: Option<String>,
    pub(super) upgrade_url: Option<Arc<str>>,
    /// Whether trying again can help. With `wait`, after how many seconds.
    pub(super) retryable: bool,
    pub(super) wait_s: Option<u64>,
}

/// The shape that a caller wants its refusals in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The dialect's own.
    Dialect,
    /// `application/problem+json` (RFC 9457).
    Problem,
}

impl Shape {
    /// What the request's `Accept` asks for.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let problem = |accept: &HeaderValue| accept.as_bytes() == b"application/problem+json";
        if headers.get(ACCEPT).is_some_and(problem) { Self::Problem } else { Self::Dialect }
    }
}

impl Refused {
    fn new(status: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), ..Self::default() }
    }

    pub(super) fn internal() -> Self {
        Self { retryable: true, ..Self::new(500, "internal", "the gateway could not account for this call") }
    }

    pub(super) fn unavailable(message: &str) -> Self {
        Self { retryable: true, wait_s: Some(1), ..Self::new(503, "unavailable", message) }
    }

    pub(super) fn ambiguous_path() -> Self {
        Self::new(
            400,
            "malformed_request",
            "the path has more than one reading; send it without dot segments, doubled or encoded slashes",
        )
    }

    pub(super) fn long_head() -> Self {
        Self::new(431, "head_too_large", "the request's path and headers have more than 64 KiB")
    }

    pub(super) fn unknown_provider(name: &str) -> Self {
        if name.is_empty() {
            let message = "nothing is served here; use the base URLs `/openai/v1`, `/anthropic` and `/gemini`";
            return Self::new(404, "unknown_provider", message);
        }
        let shown: String = name.chars().take(40).collect();
        Self::new(
            404,
            "unknown_provider",
            format!(
                "no provider is called `{shown}`; a path begins with `/openai/`, `/anthropic/`, `/gemini/` or another configured name"
            ),
        )
    }

    pub(super) fn stranger(stranger: Stranger) -> Self {
        match stranger {
            Stranger::Unauthorized(why) => Self::new(401, "unauthorized", why),
            Stranger::TwoTenants(one, other) => {
                let plain = |name: String| name.chars().filter(|c| !c.is_control()).take(128).collect::<String>();
                let message = format!("the request names tenant `{}` and tenant `{}`", plain(one), plain(other));
                Self::new(403, "tenant_mismatch", message)
            }
            Stranger::TenantMismatch { bound, claimed } => {
                let claimed: String = claimed.chars().filter(|c| !c.is_control()).take(128).collect();
                Self::new(
                    403,
                    "tenant_mismatch",
                    format!("this key speaks for tenant `{bound}`, and the request names tenant `{claimed}`"),
                )
            }
        }
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "not_found", "there is `GET /plimsoll/v1/quota` and `GET /plimsoll/v1/requests/{id}`")
    }

    pub(super) fn missing_tenant() -> Self {
        Self::new(401, "missing_tenant", "this gateway takes no call without a tenant: send `plimsoll-tenant-id`")
    }

    pub(super) fn body(bad: &BadBody) -> Self {
        match bad {
            BadBody::TooLarge(limit) => {
                Self::new(413, "body_too_large", format!("the request's body is larger than {limit} bytes"))
            }
            BadBody::TooSlow => Self::new(408, "body_too_slow", "the request's body came slower than 1 KiB/s"),
            BadBody::Broken => Self::new(400, "malformed_request", "the request's body broke off"),
        }
    }

    pub(super) fn malformed(malformed: &Malformed) -> Self {
        let param = malformed.param.map(str::to_owned);
        Self { param, ..Self::new(400, "malformed_request", malformed.message.clone()) }
    }

    pub(super) fn long_model() -> Self {
        Self {
            param: Some("model".to_owned()),
            ..Self::new(400, "malformed_request", "`model` is longer than 256 bytes")
        }
    }

    pub(super) fn encoded_body(encoding: &str) -> Self {
        let shown: String = encoding.chars().filter(char::is_ascii_graphic).take(40).collect();
        Self::new(
            415,
            "unsupported_encoding",
            format!("a request body with content-encoding `{shown}` cannot be judged; send it unencoded"),
        )
    }

    pub(super) fn upgrade() -> Self {
        Self::new(501, "unsupported_upgrade", "protocol upgrades are not passed on")
    }

    pub(super) fn unpriced(call: &Call) -> Self {
        let model = call.model.as_deref().unwrap_or("(none)");
        let message =
            format!("model `{model}` has no price, and this call counts in a hard budget; add it to the price table");
        Self { param: Some("model".to_owned()), ..Self::new(400, "unpriced_model", message) }
    }

    /// The same call is running under the same name; one of them is enough.
    pub(super) fn in_flight(name: &str) -> Self {
        let message = format!("the call named `{name}` is still running; try again to get its answer");
        Self {
            retryable: true,
            wait_s: Some(1),
            param: Some(NAME.to_owned()),
            ..Self::new(409, "request_in_flight", message)
        }
    }

    /// Another call has this name.
    pub(super) fn name_reused(name: &str) -> Self {
        let message =
            format!("`{name}` names a call with another method, path or body; send this one under a name of its own");
        Self { param: Some(NAME.to_owned()), ..Self::new(422, "external_request_id_reused", message) }
    }

    pub(super) fn unmetered(call: &Call) -> Self {
        let message = format!("`{}` cannot be metered, and this call counts in a hard budget", call.path);
        Self::new(403, "unmetered_path", message)
    }

    pub(super) fn too_many_streams() -> Self {
        let message = "too many calls of this account are in flight";
        Self { retryable: true, wait_s: Some(1), ..Self::new(429, "throttled", message) }
    }

    pub(super) fn upstream(message: &str) -> Self {
        Self { retryable: true, ..Self::new(502, "upstream_failed", message) }
    }

    pub(super) fn upstream_slow() -> Self {
        Self { retryable: true, ..Self::new(504, "upstream_timeout", "the provider did not begin to answer in time") }
    }

    /// A throttle's refusal. Waits above a minute are not worth a retry.
    pub(super) fn throttled(call: &Call, rule: &str, wait: std::time::Duration) -> Self {
        let seconds = spread(wait.as_secs() + u64::from(wait.subsec_nanos() > 0), &call.id);
        let short = seconds <= LONGEST_WAIT_S;
        let message = format!("{} is slowed down for this account; try again in {seconds} s", subject(call));
        Self {
            retryable: short,
            wait_s: short.then_some(seconds.max(1)),
            param: Some(rule.to_owned()),
            budget: rule.split('.').next().map(Arc::from),
            ..Self::new(429, "throttled", message)
        }
    }

    /// The last of a budget is held by other calls in flight; some of it will come back.
    pub(super) fn reserved(call: &Call, decision: &Decision) -> Self {
        let budget = decision.ceilings.first().map(|ceiling| ceiling.budget);
        let message = format!("what is left for {} is reserved by calls in flight; try again shortly", subject(call));
        Self {
            retryable: true,
            wait_s: Some(2),
            budget: budget.and_then(|at| call.snapshot.policy.budgets.get(at)).map(|budget| Arc::clone(&budget.name)),
            ..Self::new(429, "budget_reserved", message)
        }
    }

    /// A budget is used up; or not quite, and what is left does not cover the call.
    pub(super) fn blocked(call: &Call, block: &Block, used_percent: Option<u32>, fits_never: bool) -> Self {
        let policy = &call.snapshot.policy;
        let budget = policy.budgets.get(block.budget).map(|budget| Arc::clone(&budget.name));
        let resets_at = (block.resets_at != Window::EVER.end).then(|| rfc3339(block.resets_at, &policy.zone));
        let upgrade_url = policy.upgrade_url(&call.account.tenant).map(Arc::clone);
        let zone = policy.zone.iana_name().unwrap_or("UTC");
        let until = resets_at.as_deref().map(|at| at.get(..16).unwrap_or(at).replace('T', " "));
        let until = until.map(|until| format!(" Resets {until} {zone}.")).unwrap_or_default();
        let state =
            if fits_never { "what is left of its allowance does not cover it" } else { "its allowance is used up" };
        let standard = format!("{} is paused for this account: {state}.{until}", subject(call));
        let message = block.message.as_deref().map_or(standard, str::to_owned);
        let options = upgrade_url.as_deref().map(|url| format!(" Options: {url}")).unwrap_or_default();
        Self {
            param: budget.as_deref().map(str::to_owned),
            budget,
            used_percent,
            resets_at,
            upgrade_url,
            ..Self::new(block.status, "budget_blocked", format!("{message}{options}"))
        }
    }

    /// A result of a tool is longer than the tenant's segment takes. It is never cut: half a result would mislead the model.
    pub(super) fn tool_output(excess: ToolOutput) -> Self {
        Self::new(400, "tool_output_too_long", excess.message())
    }

    /// The refusal in the dialect's own shape.
    pub(super) fn response(&self, family: Family, request_id: &str, shape: Shape) -> Response<Answer> {
        let message = format!("{} (ref {request_id})", self.message);
        let violated: Vec<&str> = self.budget.as_deref().into_iter().collect();
        let refusal = Refusal {
            status: self.status,
            reason: self.reason,
            message: &message,
            request_id,
            param: self.param.as_deref(),
            budget: self.budget.as_deref(),
            used_percent: self.used_percent,
            resets_at: self.resets_at.as_deref(),
            retry_after: self.wait_s.and_then(|wait| u32::try_from(wait).ok()),
            upgrade_url: self.upgrade_url.as_deref(),
            retryable: self.retryable,
            violated_policies: &violated,
        };
        let (body, content_type) = refusal::body(family, &refusal, shape == Shape::Problem);
        let mut response = Response::new(Answer::ours(Bytes::from(body)));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(HeaderName::from_static("x-request-id"), id.clone());
            headers.insert(HeaderName::from_static("request-id"), id);
        }
        if let Some(wait) = self.wait_s {
            headers.insert(http::header::RETRY_AFTER, HeaderValue::from(wait));
            headers.insert(HeaderName::from_static("retry-after-ms"), HeaderValue::from(wait * 1_000));
        } else if !self.retryable {
            headers.insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));
        }
        response
    }
}

/// A wait with up to a quarter more, different from call to call, so that clients do not come back all at once; never past
/// the longest wait because of it.
fn spread(seconds: u64, id: &str) -> u64 {
    let chance = id.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let more = seconds + chance % (seconds / 4 + 2);
    if seconds <= LONGEST_WAIT_S { more.min(LONGEST_WAIT_S) } else { seconds }
}

/// What a sentence to the customer is about: the feature, or the call when nobody named one.
fn subject(call: &Call) -> &str {
    match &*call.attribution.endpoint_tag {
        UNTAGGED => "this request",
        tag => tag,
    }
}
