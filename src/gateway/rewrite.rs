//! The request as it leaves: the decision's edits spliced into the body, the provider's credential in place of ours, and
//! nothing of ours left in the headers.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Uri};
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
const CREDENTIALS: [&str; 4] = ["authorization", "x-api-key", "x-goog-api-key", "api-key"];

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

fn headers(inbound: &HeaderMap, worker: &Worker, call: &Call, own_keys: bool) -> HeaderMap {
    let named: SmallVec<[&str; 4]> = inbound
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .collect();
    let rules = &worker.gateway.options.attribution;
    let mut headers = HeaderMap::with_capacity(inbound.len() + 2);
    for (name, value) in inbound {
        let dropped = is_hop_by_hop(name)
            || is_ours(name)
            || named.iter().any(|other| name.as_str().eq_ignore_ascii_case(other))
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

/// The provider's headers as the client gets them: all but those of the upstream connection.
pub(super) fn strip_answer(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::TRAILER, header::UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}
