//! Errors of ours in the provider's own shape, so that a client's SDK raises the class it would raise for the provider.
//!
//! The texts are the caller's: this file decides types, codes and places, never what is said. No dollar figures enter here.

use serde::Serialize;

use super::Family;

/// A refusal, whatever the dialect.
#[derive(Debug, Clone, Copy, Default)]
pub struct Refusal<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The reason in a word: `budget_blocked`, `throttled`, `budget_reserved`, `unpriced_model`, `tenant_mismatch`,
    /// `malformed_request`, `unauthorized`, …
    pub reason: &'a str,
    /// What stopped, for whom, until when, what to do, and the reference.
    pub message: &'a str,
    /// Our id of the request.
    pub request_id: &'a str,
    /// The field of the request that is to blame.
    pub param: Option<&'a str>,
    /// The budget or rule that refused.
    pub budget: Option<&'a str>,
    /// How much of it is used, in percent.
    pub used_percent: Option<u32>,
    /// When it begins anew, RFC 3339.
    pub resets_at: Option<&'a str>,
    /// After how many seconds a retry makes sense.
    pub retry_after: Option<u32>,
    /// Where the customer can get more.
    pub upgrade_url: Option<&'a str>,
    /// Whether the same request can succeed soon.
    pub retryable: bool,
    /// Every policy that refused, for RFC 9457 bodies; `budget` when empty.
    pub violated_policies: &'a [&'a str],
}

/// The body and its content type. `problem_json`: the client asked for `application/problem+json`.
pub fn body(family: Family, refusal: &Refusal<'_>, problem_json: bool) -> (Vec<u8>, &'static str) {
    let written = match family {
        _ if problem_json => serde_json::to_vec(&problem(refusal)),
        Family::OpenAi => serde_json::to_vec(&openai(refusal)),
        Family::Anthropic => serde_json::to_vec(&anthropic(refusal)),
        Family::Gemini => serde_json::to_vec(&gemini(refusal)),
    };
    let kind = if problem_json { "application/problem+json" } else { "application/json" };
    (written.unwrap_or_default(), kind)
}

#[derive(Serialize)]
struct Wrapped<E> {
    error: E,
}

#[derive(Serialize)]
struct OpenAiError<'a> {
    message: &'a str,
    r#type: &'a str,
    code: &'a str,
    param: Option<&'a str>,
    plimsoll: Details<'a>,
}

#[derive(Serialize)]
struct Details<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_percent: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resets_at: Option<&'a str>,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade_url: Option<&'a str>,
}

fn openai<'a>(refusal: &Refusal<'a>) -> Wrapped<OpenAiError<'a>> {
    let (kind, code) = match (refusal.reason, refusal.status) {
        ("budget_blocked", _) => ("insufficient_quota", "insufficient_quota"),
        ("throttled" | "budget_reserved", _) | (_, 429) => ("requests", "rate_limit_exceeded"),
        (_, 401) => ("invalid_request_error", "invalid_api_key"),
        (reason, 500..) => ("server_error", reason),
        (reason, _) => ("invalid_request_error", reason),
    };
    let plimsoll = Details {
        request_id: Some(refusal.request_id),
        reason: refusal.reason,
        budget: refusal.budget,
        used_percent: refusal.used_percent,
        resets_at: refusal.resets_at,
        retryable: refusal.retryable,
        upgrade_url: refusal.upgrade_url,
    };
    let param = refusal.param.or(refusal.budget);
    Wrapped { error: OpenAiError { message: refusal.message, r#type: kind, code, param, plimsoll } }
}

#[derive(Serialize)]
struct AnthropicBody<'a> {
    r#type: &'a str,
    request_id: &'a str,
    error: AnthropicError<'a>,
}

#[derive(Serialize)]
struct AnthropicError<'a> {
    r#type: &'a str,
    message: &'a str,
    plimsoll: Details<'a>,
}

fn anthropic<'a>(refusal: &Refusal<'a>) -> AnthropicBody<'a> {
    let kind = match refusal.status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    let plimsoll = Details {
        request_id: None,
        reason: refusal.reason,
        budget: refusal.budget,
        used_percent: None,
        resets_at: None,
        retryable: refusal.retryable,
        upgrade_url: None,
    };
    let error = AnthropicError { r#type: kind, message: refusal.message, plimsoll };
    AnthropicBody { r#type: "error", request_id: refusal.request_id, error }
}

#[derive(Serialize)]
struct GeminiError<'a> {
    code: u16,
    status: &'a str,
    message: &'a str,
    details: Vec<Detail<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "@type")]
enum Detail<'a> {
    #[serde(rename = "type.googleapis.com/google.rpc.ErrorInfo")]
    ErrorInfo { reason: String, domain: &'a str, metadata: Metadata<'a> },
    #[serde(rename = "type.googleapis.com/google.rpc.Help")]
    Help { links: [Link<'a>; 1] },
    #[serde(rename = "type.googleapis.com/google.rpc.RetryInfo")]
    RetryInfo {
        #[serde(rename = "retryDelay")]
        retry_delay: String,
    },
}

#[derive(Serialize)]
struct Metadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<&'a str>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Link<'a> {
    description: &'a str,
    url: &'a str,
}

fn gemini<'a>(refusal: &Refusal<'a>) -> Wrapped<GeminiError<'a>> {
    let status = match refusal.status {
        401 => "UNAUTHENTICATED",
        402 => "FAILED_PRECONDITION",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        501 => "UNIMPLEMENTED",
        504 => "DEADLINE_EXCEEDED",
        502.. => "UNAVAILABLE",
        _ => "INVALID_ARGUMENT",
    };
    let metadata = Metadata { budget: refusal.budget, request_id: refusal.request_id };
    let reason = refusal.reason.to_ascii_uppercase();
    let mut details = vec![Detail::ErrorInfo { reason, domain: "plimsoll", metadata }];
    if let Some(url) = refusal.upgrade_url {
        details.push(Detail::Help { links: [Link { description: "Upgrade options", url }] });
    }
    if let Some(seconds) = refusal.retry_after.filter(|_| refusal.retryable) {
        details.push(Detail::RetryInfo { retry_delay: format!("{seconds}s") });
    }
    Wrapped { error: GeminiError { code: refusal.status, status, message: refusal.message, details } }
}

/// RFC 9457, with the problem type of the `RateLimit` headers draft where a quota is the reason.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    request_id: &'a str,
    reason: &'a str,
    #[serde(rename = "violated-policies", skip_serializing_if = "Vec::is_empty")]
    violated_policies: Vec<&'a str>,
    retryable: bool,
}

fn problem<'a>(refusal: &Refusal<'a>) -> Problem<'a> {
    let is_quota = matches!(refusal.reason, "budget_blocked" | "budget_reserved" | "throttled");
    let (kind, title) = if is_quota {
        (
            "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "Request cannot be satisfied as assigned quota has been exceeded",
        )
    } else {
        ("about:blank", title(refusal.status))
    };
    let named = refusal.budget.into_iter().filter(|_| is_quota && refusal.violated_policies.is_empty());
    Problem {
        r#type: kind,
        title,
        status: refusal.status,
        detail: refusal.message,
        request_id: refusal.request_id,
        reason: refusal.reason,
        violated_policies: refusal.violated_policies.iter().copied().chain(named).collect(),
        retryable: refusal.retryable,
    }
}

/// `about:blank` asks for the phrase of the status (RFC 9457, section 4.2.1).
fn title(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked() -> Refusal<'static> {
        Refusal {
            status: 429,
            reason: "budget_blocked",
            message: "digest.weekly is paused for this account (ref req_01JD8Q4M7K)",
            request_id: "req_01JD8Q4M7K",
            budget: Some("digest_quota"),
            used_percent: Some(100),
            resets_at: Some("2026-12-01T00:00:00+01:00"),
            upgrade_url: Some("https://app.example.com/upgrade"),
            ..Refusal::default()
        }
    }

    fn throttled() -> Refusal<'static> {
        Refusal {
            status: 429,
            reason: "throttled",
            message: "too many requests; wait 17 s",
            request_id: "req_1",
            budget: Some("digest-throttle"),
            retry_after: Some(17),
            retryable: true,
            ..Refusal::default()
        }
    }

    fn text(family: Family, refusal: &Refusal<'_>) -> String {
        String::from_utf8(body(family, refusal, false).0).expect("UTF-8")
    }

    #[test]
    fn a_block_looks_like_the_providers_own_error() {
        insta::assert_snapshot!(text(Family::OpenAi, &blocked()), @r#"{"error":{"message":"digest.weekly is paused for this account (ref req_01JD8Q4M7K)","type":"insufficient_quota","code":"insufficient_quota","param":"digest_quota","plimsoll":{"request_id":"req_01JD8Q4M7K","reason":"budget_blocked","budget":"digest_quota","used_percent":100,"resets_at":"2026-12-01T00:00:00+01:00","retryable":false,"upgrade_url":"https://app.example.com/upgrade"}}}"#);
        insta::assert_snapshot!(text(Family::Anthropic, &blocked()), @r#"{"type":"error","request_id":"req_01JD8Q4M7K","error":{"type":"rate_limit_error","message":"digest.weekly is paused for this account (ref req_01JD8Q4M7K)","plimsoll":{"reason":"budget_blocked","budget":"digest_quota","retryable":false}}}"#);
        insta::assert_snapshot!(text(Family::Gemini, &blocked()), @r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"digest.weekly is paused for this account (ref req_01JD8Q4M7K)","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"BUDGET_BLOCKED","domain":"plimsoll","metadata":{"budget":"digest_quota","request_id":"req_01JD8Q4M7K"}},{"@type":"type.googleapis.com/google.rpc.Help","links":[{"description":"Upgrade options","url":"https://app.example.com/upgrade"}]}]}}"#);
    }

    #[test]
    fn a_throttle_says_when_to_come_back() {
        insta::assert_snapshot!(text(Family::OpenAi, &throttled()), @r#"{"error":{"message":"too many requests; wait 17 s","type":"requests","code":"rate_limit_exceeded","param":"digest-throttle","plimsoll":{"request_id":"req_1","reason":"throttled","budget":"digest-throttle","retryable":true}}}"#);
        insta::assert_snapshot!(text(Family::Gemini, &throttled()), @r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"too many requests; wait 17 s","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"THROTTLED","domain":"plimsoll","metadata":{"budget":"digest-throttle","request_id":"req_1"}},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"17s"}]}}"#);
    }

    #[test]
    fn problem_json_names_the_violated_policies() {
        let (problem, kind) = body(Family::OpenAi, &blocked(), true);
        assert_eq!(kind, "application/problem+json");
        insta::assert_snapshot!(String::from_utf8_lossy(&problem), @r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Request cannot be satisfied as assigned quota has been exceeded","status":429,"detail":"digest.weekly is paused for this account (ref req_01JD8Q4M7K)","request_id":"req_01JD8Q4M7K","reason":"budget_blocked","violated-policies":["digest_quota"],"retryable":false}"#);
    }

    #[test]
    fn other_refusals_keep_the_class_of_their_status() {
        let refusal = |status, reason| Refusal { status, reason, message: "m", request_id: "r", ..Refusal::default() };
        let mut table = String::new();
        for (status, reason) in [
            (400, "malformed_request"),
            (400, "unpriced_model"),
            (401, "unauthorized"),
            (402, "budget_blocked"),
            (403, "tenant_mismatch"),
            (404, "unknown_path"),
            (413, "body_too_large"),
            (429, "budget_reserved"),
            (431, "head_too_large"),
            (502, "upstream_unreachable"),
            (503, "ledger_unavailable"),
            (504, "upstream_timeout"),
        ] {
            let refusal = refusal(status, reason);
            let openai = openai(&refusal).error;
            let line = format!(
                "{status} {reason}: {}/{} | {} | {}\n",
                openai.r#type,
                openai.code,
                anthropic(&refusal).error.r#type,
                gemini(&refusal).error.status
            );
            table.push_str(&line);
        }
        insta::assert_snapshot!(table.trim_end(), @r"
        400 malformed_request: invalid_request_error/malformed_request | invalid_request_error | INVALID_ARGUMENT
        400 unpriced_model: invalid_request_error/unpriced_model | invalid_request_error | INVALID_ARGUMENT
        401 unauthorized: invalid_request_error/invalid_api_key | authentication_error | UNAUTHENTICATED
        402 budget_blocked: insufficient_quota/insufficient_quota | billing_error | FAILED_PRECONDITION
        403 tenant_mismatch: invalid_request_error/tenant_mismatch | permission_error | PERMISSION_DENIED
        404 unknown_path: invalid_request_error/unknown_path | not_found_error | NOT_FOUND
        413 body_too_large: invalid_request_error/body_too_large | request_too_large | INVALID_ARGUMENT
        429 budget_reserved: requests/rate_limit_exceeded | rate_limit_error | RESOURCE_EXHAUSTED
        431 head_too_large: invalid_request_error/head_too_large | invalid_request_error | INVALID_ARGUMENT
        502 upstream_unreachable: server_error/upstream_unreachable | api_error | UNAVAILABLE
        503 ledger_unavailable: server_error/ledger_unavailable | overloaded_error | UNAVAILABLE
        504 upstream_timeout: server_error/upstream_timeout | timeout_error | DEADLINE_EXCEEDED
        ");
    }
}
