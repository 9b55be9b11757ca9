//! The request goes out and the head of the answer comes back; from there the tap has it.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{HeaderMap, Request, Response, header, response};
use tokio_util::task::TaskTracker;

use crate::ledger::entry::Ending;
use crate::wire::coding::{Coding, Decoder};
use crate::wire::filter::UsageChunkFilter;
use crate::wire::tap::Tap;
use crate::wire::{Framing, Operation, Pieces};

use super::account::Account;
use super::link::{ExchangeError, Link};
use super::panics::unharmed;
use super::pool::Pool;
use super::refuse::Refused;
use super::reply;
use super::rewrite::strip_answer;
use super::settle::Attempt;
use super::tap::{Answer, Reading, Tapped};

/// A forwarding that goes on without its client: a request that has left is answered, read and settled whether or not
/// anybody still listens.
pub(super) struct Detached {
    forwarding: Option<Pin<Box<dyn Future<Output = Outcome>>>>,
    without: Without,
    tasks: TaskTracker,
}

/// What a forwarding does when its client goes.
pub(super) struct Without {
    /// Whether the provider bills on; otherwise the exchange ends with the client.
    pub(super) goes_on: bool,
    /// Whether the request has left. One that has not is never sent.
    pub(super) dispatched: Rc<Cell<bool>>,
    pub(super) account: Rc<Account>,
    /// How many of the tenant's answers may be read on at once.
    pub(super) drains: u32,
}

type Outcome = Result<Response<Answer>, Refused>;

impl Detached {
    pub(super) fn new(
        tasks: TaskTracker,
        without: Without,
        forwarding: impl Future<Output = Outcome> + 'static,
    ) -> Self {
        Self { forwarding: Some(Box::pin(forwarding)), without, tasks }
    }
}

impl Future for Detached {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Some(forwarding) = &mut self.forwarding else { return Poll::Pending };
        let outcome = std::task::ready!(forwarding.as_mut().poll(cx));
        self.forwarding = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        let Some(forwarding) = self.forwarding.take() else { return };
        let Without { goes_on, dispatched, account, drains } = &self.without;
        if !goes_on || !dispatched.get() {
            return;
        }
        let Some(place) = account.read_on(*drains) else { return };
        self.tasks.spawn_local(async move {
            let answer = unharmed("an answer without its client", std::pin::pin!(forwarding)).await;
            // The answer's own body takes the place from here.
            drop(place);
            drop(answer);
        });
    }
}

/// Sends an attempt and answers with the provider's head and a tapped body.
pub(super) async fn forward(
    mut attempt: Attempt,
    request: Request<Pieces>,
    framing: Framing,
    filter: Option<UsageChunkFilter>,
) -> Result<Response<Answer>, Refused> {
    attempt.left = Instant::now();
    attempt.overhead = attempt.call.overhead(attempt.left);
    let until = attempt.left + attempt.worker.gateway.options.limits.first_byte_timeout;
    let (mut head, link) = match tokio::time::timeout_at(until.into(), exchange(&attempt, request)).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(failed)) => return Err(fail(attempt, &failed)),
        Err(_) => return Err(abandon(attempt, Refused::upstream_slow())),
    };
    attempt.first_byte = Some(attempt.left.elapsed());
    attempt.status = head.status.as_u16();
    let reading = reading(&attempt, &mut head.headers, framing, filter);
    strip_answer(&mut head.headers);
    reply::timing(&mut head.headers, attempt.overhead, attempt.first_byte);
    if link.length() == Some(0) {
        attempt.worker.put_back(&attempt.call.provider.name, link);
        let ending = if attempt.status >= 400 { Ending::ProviderError } else { Ending::Complete };
        attempt.heard_out = true;
        attempt.settle(None, 0, ending);
        return Ok(Response::from_parts(head, Answer::Ours(None)));
    }
    let tapped = Tapped::new(link, reading, attempt);
    Ok(Response::from_parts(head, Answer::Theirs(Box::new(tapped))))
}

/// How this answer is read. A filter works on plain bytes only.
fn reading(attempt: &Attempt, headers: &mut HeaderMap, framing: Framing, filter: Option<UsageChunkFilter>) -> Reading {
    let coding = match headers.get(header::CONTENT_ENCODING) {
        None => Some(Coding::Identity),
        Some(value) => value.to_str().ok().and_then(Coding::parse),
    };
    let tap = match (attempt.call.operation, coding) {
        (Operation::Known(dialect), Some(_)) => Some(Tap::new(dialect, framing)),
        _ => None,
    };
    let decoder = coding.filter(|coding| *coding != Coding::Identity).map(Decoder::new);
    let filter = filter.filter(|_| coding == Some(Coding::Identity) && attempt.status < 400);
    if filter.is_some() {
        headers.remove(header::CONTENT_LENGTH);
    }
    Reading { tap, decoder, filter }
}

enum Failed {
    Connect(std::io::Error),
    Exchange(std::io::Error),
}

/// One exchange: over an idle link when there is one. A request is sent again only if nothing of it was written.
async fn exchange(attempt: &Attempt, request: Request<Pieces>) -> Result<(response::Parts, Link), Failed> {
    let worker = &attempt.worker;
    let provider = &attempt.call.provider;
    let pool = worker.pool(&provider.name);
    let mut request = request;
    while let Some(mut link) = Pool::take(&pool).await {
        attempt.dispatched.set(true);
        match link.exchange(request).await {
            Ok(head) => return Ok((head, link)),
            Err(ExchangeError { unsent: Some(again), .. }) => {
                attempt.dispatched.set(false);
                request = again;
            }
            Err(ExchangeError { error, unsent: None }) => return Err(Failed::Exchange(error)),
        }
    }
    let stream =
        provider.origin.connect(&worker.gateway.tls, Rc::clone(&worker.outbox)).await.map_err(Failed::Connect)?;
    let mut link = Link::new(stream, worker.landing.clone());
    attempt.dispatched.set(true);
    match link.exchange(request).await {
        Ok(head) => Ok((head, link)),
        Err(ExchangeError { unsent: Some(_), error }) => {
            attempt.dispatched.set(false);
            Err(Failed::Connect(error))
        }
        Err(failed) => Err(Failed::Exchange(failed.error)),
    }
}

/// No answer came. Nothing was sent when the connection failed; otherwise the provider may have billed.
fn fail(mut attempt: Attempt, failed: &Failed) -> Refused {
    // The end customer may read the refusal, so it names no provider; the operator's log does.
    let (provider, id) = (&attempt.call.provider.name, &attempt.call.id);
    match failed {
        Failed::Connect(error) => {
            tracing::warn!(%provider, request_id = %id, %error, "a provider cannot be reached");
            let refused = Refused::upstream("the provider cannot be reached");
            attempt.void(refused.status);
            refused
        }
        Failed::Exchange(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            tracing::warn!(%provider, request_id = %id, %error, "a provider's answer cannot be understood");
            abandon(attempt, Refused::upstream("the provider's answer cannot be understood"))
        }
        Failed::Exchange(error) => {
            tracing::warn!(%provider, request_id = %id, %error, "a provider broke the connection");
            attempt.heard_out = true;
            abandon(attempt, Refused::upstream("the provider broke the connection"))
        }
    }
}

fn abandon(mut attempt: Attempt, refused: Refused) -> Refused {
    attempt.status = refused.status;
    attempt.settle(None, 0, Ending::UpstreamFailed);
    refused
}
