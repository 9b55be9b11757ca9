//! The request as it leaves: the decision's edits spliced into the body, the provider's credential in place of ours, and
//! nothing of ours left in the headers.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use smallvec::SmallVec;

use crate::wire::filter::UsageChunkFilter;
use crate::wire::{Edits, Family, Operation, Peek, Target, UsageFlag};

use bytes::Bytes;

use super::Worker;
use super::admit::Admission;
use super::call::Call;
use super::keys;
use super::parts::Parts;
use super::refuse::Refused;

/// A request ready to be sent.
pub(super) struct Outbound {
    pub(super) request: Request<Parts>,
    /// Takes out of the stream what we asked for and the client did not.
    pub(super) filter: Option<UsageChunkFilter>,
}

/// Everything that a request is made of.
pub(super) struct Source<'a> {
    pub(super) head: &'a http::request::Parts,
    pub(super) target: Target<'a>,
    pub(super) body: &'a Bytes,
    pub(super) peek: &'a Peek<'a>,
}

/// Makes the request that the provider gets.
pub(super) fn outbound(
    worker: &Worker,
    source: &Source<'_>,
    call: &Call,
    admission: &Admission,
) -> Result<Outbound, Refused> {
    let asks_usage = source.peek.usage_flag == UsageFlag::NotAsked;
    let edits = Edits { model: admission.decision.actions.route.as_deref(), cap: admission.cap, ask_usage: asks_usage };
    let untouched = edits.model.is_none() && edits.cap.is_none() && !asks_usage;
    let (path, body) = match call.operation {
        Operation::Known(dialect) if !untouched => {
            let rewritten = dialect.rewrite(&source.target, source.body, source.peek, &edits);
            (rewritten.path, Parts::new(rewritten.body))
        }
        _ => (None, Parts::from(source.body.clone())),
    };
    let own_keys = !worker.gateway.options.keys.is_empty();
    let path = path.as_deref().unwrap_or(source.target.path);
    let mut request = Request::new(body);
    *request.method_mut() = source.head.method.clone();
    *request.uri_mut() = uri(call, path, source.target.query, own_keys)?;
    *request.headers_mut() = headers(&source.head.headers, worker, call, own_keys);
    let brings_key = source.target.query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with("key=")));
    if brings_key && !own_keys && call.provider.family == Family::Gemini {
        request.headers_mut().remove(credential_header(Family::Gemini));
    }
    if source.body.is_empty() && matches!(source.head.method, Method::POST | Method::PUT | Method::PATCH) {
        // hyper writes no length for an empty body, and some front ends insist on one.
        request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if asks_usage {
        // A stream that is edited must be readable; the client gets what it can read in any case.
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    Ok(Outbound { request, filter: asks_usage.then(UsageChunkFilter::default) })
}

fn uri(call: &Call, path: &str, query: Option<&str>, own_keys: bool) -> Result<Uri, Refused> {
    let query = query.map(|query| if own_keys { keys::without_key(query) } else { query.to_owned() });
    let query = query.filter(|query| !query.is_empty()).map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{}{path}{query}", call.provider.origin.prefix);
    target.parse().map_err(|_| Refused::ambiguous_path())
}

/// Headers that concern one connection only (RFC 9110, section 7.6.1), and those that describe our own hop.
const HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
];

/// The caller's credentials, wherever they may be.
const CREDENTIALS: [&str; 5] = ["authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie"];

fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Names of networks and people on our side that are no business of a provider's.
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("plimsoll-")
        || name.starts_with("x-forwarded-")
        || matches!(name, "forwarded" | "x-real-ip" | "x-http-method-override")
}

/// The headers that `Connection` declares to concern this hop only.
fn named_by_connection(headers: &HeaderMap) -> SmallVec<[HeaderName; 4]> {
    let lists = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

fn headers(inbound: &HeaderMap, worker: &Worker, call: &Call, own_keys: bool) -> HeaderMap {
    let named = named_by_connection(inbound);
    let rules = &worker.gateway.options.attribution;
    let mut headers = HeaderMap::with_capacity(inbound.len() + 2);
    for (name, value) in inbound {
        let dropped = is_hop_by_hop(name)
            || is_ours(name)
            || named.contains(name)
            || rules.accept_aliases.contains(name)
            || (rules.baggage && name == "baggage")
            || (own_keys && CREDENTIALS.contains(&name.as_str()));
        if !dropped {
            headers.append(name.clone(), value.clone());
        }
    }
    headers.insert(header::HOST, call.provider.origin.authority.clone());
    let has_credential = CREDENTIALS.iter().any(|name| headers.contains_key(*name));
    if let Some(credential) = call.provider.credential.as_ref().filter(|_| own_keys || !has_credential) {
        headers.insert(credential_header(call.provider.family), credential.clone());
    }
    headers
}

fn credential_header(family: Family) -> HeaderName {
    match family {
        Family::OpenAi => header::AUTHORIZATION,
        Family::Anthropic => HeaderName::from_static("x-api-key"),
        Family::Gemini => HeaderName::from_static("x-goog-api-key"),
    }
}

/// The provider's headers as the client gets them: all but those of the upstream connection, and none in our name.
pub(super) fn strip_answer(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::TRAILER, header::UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    let ours: SmallVec<[HeaderName; 4]> =
        headers.keys().filter(|name| name.as_str().starts_with("plimsoll-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}
