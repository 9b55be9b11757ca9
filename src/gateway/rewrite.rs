//! The request as it leaves: the decision's edits spliced into the body, the provider's credential in place of ours, and
//! nothing of ours left in the headers.

use std::borrow::Cow;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Uri};
use smallvec::SmallVec;

use crate::wire::filter::UsageChunkFilter;
use crate::wire::{Edits, Family, Operation, Peek, Pieces, Target, UsageFlag};

use bytes::Bytes;

use super::Worker;
use super::admit::Admission;
use super::call::Call;
use super::keys;
use super::refuse::Refused;

/// A request ready to be sent.
pub(super) struct Outbound {
    pub(super) request: Request<Pieces>,
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
    let actions = &admission.decision.actions;
    let edits = Edits {
        model: actions.route.as_deref(),
        cap: admission.cap,
        ask_usage: asks_usage,
        service_tier: actions.service_tier.as_deref(),
    };
    let untouched = edits.model.is_none() && edits.cap.is_none() && edits.service_tier.is_none() && !asks_usage;
    let (path, body) = match call.operation {
        Operation::Known(dialect) if !untouched => {
            let rewritten = dialect.rewrite(&source.target, source.body, source.peek, &edits);
            (rewritten.path, rewritten.body)
        }
        _ => (None, Pieces::from_buf([source.body.clone()])),
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
    if asks_usage {
        // A stream that is edited must be readable; the client gets what it can read in any case.
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    Ok(Outbound { request, filter: asks_usage.then(UsageChunkFilter::default) })
}

fn uri(call: &Call, path: &str, query: Option<&str>, own_keys: bool) -> Result<Uri, Refused> {
    let query = query.map(|query| if own_keys { keys::without_key(query).into() } else { Cow::Borrowed(query) });
    let query = query.unwrap_or_default();
    let prefix = &call.provider.origin.prefix;
    let mut target = String::with_capacity(prefix.len() + path.len() + query.len() + 1);
    target.push_str(prefix);
    target.push_str(path);
    if !query.is_empty() {
        target.push('?');
        target.push_str(&query);
    }
    Uri::try_from(target).map_err(|_| Refused::ambiguous_path())
}

/// Headers that concern one connection only (RFC 9110, section 7.6.1), and those that describe our own hop.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "host"
            | "content-length"
            | "expect"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings"
    )
}

/// The caller's credentials, wherever they may be.
fn is_credential(name: &str) -> bool {
    matches!(name, "authorization" | "x-api-key" | "x-goog-api-key" | "api-key" | "cookie")
}

/// Names of networks and people on our side that are no business of a provider's.
fn is_ours(name: &str) -> bool {
    name.starts_with("plimsoll-")
        || name.starts_with("x-forwarded-")
        || matches!(name, "forwarded" | "x-real-ip" | "x-http-method-override")
}

/// The headers that `Connection` declares to concern this hop only.
fn named_by_connection(headers: &HeaderMap) -> SmallVec<[HeaderName; 4]> {
    let lists = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = lists.flat_map(|list| list.split(',')).map(str::trim);
    // The two usual words need no reading: one is dropped in any case, the other is no header's name.
    let unusual = |name: &&str| !["keep-alive", "close"].iter().any(|usual| name.eq_ignore_ascii_case(usual));
    names.filter(unusual).filter_map(|name| name.parse().ok()).collect()
}

fn headers(inbound: &HeaderMap, worker: &Worker, call: &Call, own_keys: bool) -> HeaderMap {
    let named = named_by_connection(inbound);
    let rules = &worker.gateway.options.attribution;
    let mut headers = HeaderMap::with_capacity(inbound.len() + 2);
    let mut has_credential = false;
    for (name, value) in inbound {
        let word = name.as_str();
        let credential = is_credential(word);
        let dropped = is_hop_by_hop(word)
            || is_ours(word)
            || named.contains(name)
            || rules.accept_aliases.contains(name)
            || (rules.baggage && word == "baggage")
            || (own_keys && credential);
        if !dropped {
            has_credential |= credential;
            headers.append(name.clone(), value.clone());
        }
    }
    headers.insert(header::HOST, call.provider.origin.authority.clone());
    if let Some(credential) = call.provider.credential.as_ref().filter(|_| own_keys || !has_credential) {
        headers.insert(credential_header(call.provider.family), credential.clone());
    }
    headers
}

fn credential_header(family: Family) -> HeaderName {
    match family {
        Family::OpenAi => header::AUTHORIZATION,
        Family::Anthropic => keys::X_API_KEY,
        Family::Gemini => keys::X_GOOG_API_KEY,
    }
}

/// The provider's headers as the client gets them: all but those of the upstream connection, and none in our name.
pub(super) fn strip_answer(headers: &mut HeaderMap) {
    let of_this_hop = |name: &str| {
        matches!(name, "connection" | "transfer-encoding" | "trailer" | "upgrade" | "keep-alive" | "proxy-connection")
    };
    let mut dropped = named_by_connection(headers);
    let names = headers.keys().filter(|name| of_this_hop(name.as_str()) || name.as_str().starts_with("plimsoll-"));
    dropped.extend(names.cloned());
    for name in dropped {
        headers.remove(name);
    }
}
