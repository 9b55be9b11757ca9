//! One request from its head to the head of its answer.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;

use crate::control::Snapshot;
use crate::domain::attribution::Attribution;
use crate::domain::clock::{Clock, SystemClock};
use crate::wire::{Family, Framing, Operation, Peek, Target, operation};

use super::account::{Account, Place, is_taken};
use super::admit::Admission;
use super::call::{self, Call};
use super::forward::{Detached, Without, forward};
use super::identify::{Caller, RequestLine, identify};
use super::panics::unharmed;
use super::refuse::{Refused, Shape};
use super::replay::Claim;
use super::reply::{self, Fields, Marks};
use super::rewrite::{Source, outbound};
use super::route::{Lost, Route, route};
use super::settle::Attempt;
use super::tap::Answer;
use super::upstream::Provider;
use super::verdict::Verdict;
use super::{Worker, asks_for_upgrade, intake, keys, quota};

/// The longest name of a model, in bytes. It goes into headers, keys of counters and rows.
const LONGEST_MODEL: usize = 256;

/// The longest head, in bytes of its path and its headers. hyper takes more, for what it reads at once may be longer.
const LONGEST_HEAD: usize = 64 * 1024;

/// A request whose provider is known.
struct Addressed {
    provider: Arc<Provider>,
    path: Arc<str>,
    attributes: Option<String>,
}

impl Worker {
    /// Answers one request. Every outcome is a response.
    pub(super) async fn serve(self: &Rc<Self>, request: Request<Incoming>, peer: IpAddr) -> Response<Answer> {
        let arrived = Instant::now();
        let id = keys::fresh_id("req_", SystemClock.now());
        let (head, body) = request.into_parts();
        let shape = Shape::of(&head.headers);
        let family = Cell::new(family_of(head.uri.path(), &head.headers));
        // On the heap: hyper keeps the place of a connection's future for as long as the connection, and this one is large.
        let mut answering = Box::pin(async {
            if asks_for_upgrade(&head.headers) || head.method == Method::CONNECT {
                return Err(Refused::upgrade());
            }
            if length(&head) > LONGEST_HEAD {
                return Err(Refused::long_head());
            }
            if let Some(answer) = quota::answer(self, &head, peer).await {
                return answer;
            }
            let addressed = self.address(head.uri.path(), &head.headers)?;
            family.set(addressed.provider.family);
            self.call(Inbound { head, body, addressed, arrived, peer, id: Arc::clone(&id) }).await
        });
        let outcome = unharmed("a request", answering.as_mut()).await;
        outcome.unwrap_or_else(|| Err(Refused::internal())).unwrap_or_else(|refused| {
            let mut response = refused.response(family.get(), &id, shape);
            if let Ok(id) = HeaderValue::from_str(&id) {
                response.headers_mut().insert("plimsoll-request-id", id);
            }
            response
        })
    }

    fn address(&self, path: &str, headers: &HeaderMap) -> Result<Addressed, Refused> {
        let providers = &self.gateway.options.providers;
        let found = route(path, headers, |name| providers.contains_key(name));
        let Route { attributes, provider, path } = found.map_err(|lost| match lost {
            Lost::Ambiguous => Refused::ambiguous_path(),
            Lost::UnknownProvider(name) => Refused::unknown_provider(name),
        })?;
        let provider = providers.get(provider).ok_or_else(|| Refused::unknown_provider(provider))?;
        Ok(Addressed {
            provider: Arc::clone(provider),
            path: Arc::from(path),
            attributes: attributes.map(str::to_owned),
        })
    }
}

/// A request on its way up.
struct Inbound {
    head: http::request::Parts,
    body: Incoming,
    addressed: Addressed,
    arrived: Instant,
    peer: IpAddr,
    id: Arc<str>,
}

/// A caller who has come in.
struct Guest {
    caller: Caller,
    snapshot: Arc<Snapshot>,
    account: Rc<Account>,
    place: Place,
}

impl Inbound {
    fn line(&self, trusted: bool) -> RequestLine<'_> {
        RequestLine { query: self.head.uri.query(), attributes: self.addressed.attributes.as_deref(), trusted }
    }
}

impl Worker {
    /// Checks who calls, and takes one of the tenant's places.
    fn enter(&self, inbound: &Inbound) -> Result<Guest, Refused> {
        let options = &self.gateway.options;
        let line = inbound.line(self.trusts(inbound.peer));
        let caller =
            identify(&options.keys, &options.attribution, &inbound.head.headers, &line).map_err(Refused::stranger)?;
        let snapshot = self.gateway.control.load();
        if !is_taken(&caller.tenant, &snapshot.policy) {
            return Err(Refused::missing_tenant());
        }
        let account = self.accounts.borrow_mut().account(&caller.tenant, &snapshot, &self.gateway.presences);
        let place = account.enter(options.limits.streams_per_tenant).ok_or_else(Refused::too_many_streams)?;
        Ok(Guest { caller, snapshot, account, place })
    }

    /// The whole path: identify, take in, admit, rewrite, forward, tap.
    async fn call(self: &Rc<Self>, inbound: Inbound) -> Result<Response<Answer>, Refused> {
        let options = &self.gateway.options;
        let Guest { mut caller, snapshot, account, place } = self.enter(&inbound)?;
        let Inbound { head, body, addressed, arrived, id, .. } = inbound;
        let body = intake::read(body, &head.headers, options.limits.body).await.map_err(|bad| Refused::body(&bad))?;
        let now = self.gateway.clock.now();
        let taken = |user: &Arc<str>| account.takes(user, now, options.limits.users_per_tenant);
        if !caller.attribution.user_id.as_ref().is_none_or(taken) {
            caller.drop_user();
        }
        let known = |workflow: &Arc<str>| account.takes_workflow(workflow, now, options.limits.users_per_tenant);
        if !caller.attribution.workflow_id.as_ref().is_none_or(known) {
            caller.drop_workflow();
        }
        let Caller { attribution, retries, key_name, warnings, invalid, .. } = caller;
        for dimension in invalid {
            self.gateway.metrics.attribution_invalid(dimension);
        }
        let target = Target { method: &head.method, path: &addressed.path, query: head.uri.query() };
        let operation = operation(addressed.provider.family, &target);
        let peek = peek(operation, &target, &head.headers, &body)?;
        let model: Option<Arc<str>> = peek.model.as_deref().map(Arc::from);
        let priced = |model: &Arc<str>| self.accounts.borrow_mut().price(&addressed.provider, model, &snapshot);
        let mut call = Call {
            id,
            price: model.as_ref().and_then(priced),
            content: call::content(&snapshot.policy, &account.tenant, operation, &peek, &body),
            snapshot,
            account,
            key_name,
            path: Arc::clone(&addressed.path),
            provider: Arc::clone(&addressed.provider),
            operation,
            model,
            retries,
            attribution: Arc::<Attribution>::new(attribution),
            arrived,
            now,
            queued: None,
            _place: place,
        };
        let mut marks = Marks::default();
        reply::identify(&mut marks, &call);
        reply::warn(&mut marks, &warnings, None);
        let claim = self.claim(&call, &target, &body)?;
        if let Claim::Again(kept) = claim {
            return Ok(kept.again(self, &call, marks));
        }
        let mut response = match self.judge(&mut call, &peek, &body, &mut marks).await {
            Err(refusal) => self.refuse(&call, &body, *refusal, Shape::of(&head.headers)),
            Ok(verdict) => {
                reply::warn(&mut marks, &warnings, verdict.warning);
                let source = Source { head: &head, target, body: &body, peek: &peek };
                self.send(call, verdict, &source, &mut marks).await?
            }
        };
        marks.write(response.headers_mut());
        Ok(claim.keep(response))
    }

    /// Sends an admitted call and answers with what came back.
    async fn send(
        self: &Rc<Self>,
        call: Call,
        verdict: Verdict,
        source: &Source<'_>,
        marks: &mut Marks,
    ) -> Result<Response<Answer>, Refused> {
        let Verdict { admission, permit, logical, rate, .. } = verdict;
        let fields = Fields::of(&call, &admission);
        reply::decided(marks, &call, &admission, &fields);
        reply::rate(marks, rate.as_ref());
        let outbound = outbound(self, source, &call, &admission)?;
        let (family, id, shape) = (call.provider.family, Arc::clone(&call.id), Shape::of(&source.head.headers));
        let account = Rc::clone(&call.account);
        let most_output = most_output(&call, source.peek, &admission);
        let mut attempt = Attempt::new(self, call, admission, permit, fields);
        attempt.most_output = most_output;
        attempt.choices = source.peek.choices;
        attempt.logical = logical;
        attempt.input_estimate = source.peek.input_estimate;
        attempt.stream = source.peek.framing != Framing::Json;
        let without = Without {
            goes_on: attempt.goes_on(),
            dispatched: Rc::clone(&attempt.dispatched),
            account,
            drains: self.gateway.options.limits.drains_per_tenant,
        };
        let forwarding = forward(attempt, outbound.request, source.peek.framing, outbound.filter);
        let answer = Detached::new(self.tasks.clone(), without, forwarding).await;
        Ok(answer.unwrap_or_else(|refused| refused.response(family, &id, shape)))
    }
}

/// The most output tokens that the request may produce as it is sent.
fn most_output(call: &Call, peek: &Peek<'_>, admission: &Admission) -> Option<u64> {
    if !matches!(call.operation, Operation::Known(dialect) if dialect.has_output()) {
        return Some(0);
    }
    let most = admission.cap.or(peek.cap).or(admission.price.as_ref().and_then(|price| price.max_output));
    most.map(|most| most.saturating_mul(peek.choices.max(1)))
}

/// Reads what the policy needs out of a request.
fn peek<'a>(
    operation: Operation,
    target: &Target<'a>,
    headers: &HeaderMap,
    body: &'a Bytes,
) -> Result<Peek<'a>, Refused> {
    let Operation::Known(dialect) = operation else { return Ok(Peek::default()) };
    if let Some(encoding) = headers.get(http::header::CONTENT_ENCODING).filter(|value| *value != "identity") {
        return Err(Refused::encoded_body(&String::from_utf8_lossy(encoding.as_bytes())));
    }
    let peek = dialect.peek(target, body).map_err(|malformed| Refused::malformed(&malformed))?;
    if peek.model.as_ref().is_some_and(|model| model.len() > LONGEST_MODEL) {
        return Err(Refused::long_model());
    }
    Ok(peek)
}

/// The bytes of a request's path and headers.
fn length(head: &http::request::Parts) -> usize {
    let path = head.uri.path_and_query().map_or(0, |path| path.as_str().len());
    head.headers.iter().fold(path, |sum, (name, value)| sum + name.as_str().len() + value.len())
}

/// The error shape for a path before its provider is known.
fn family_of(path: &str, headers: &HeaderMap) -> Family {
    let first = path.trim_start_matches('/').split('/').find(|segment| !segment.starts_with('@')).unwrap_or_default();
    match first {
        "anthropic" => Family::Anthropic,
        "gemini" | "v1beta" => Family::Gemini,
        "v1" if path.contains("/v1/messages") || headers.contains_key("anthropic-version") => Family::Anthropic,
        _ => Family::OpenAi,
    }
}
