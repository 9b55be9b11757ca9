//! Upstream connections of one core: each is a sender and the connection that it drives, kept together.
//!
//! There is no task per connection. Whoever holds a [`Link`] polls it: while a request is sent, from the response body
//! while an answer arrives, and once when an idle link is taken out again, so that a connection that the provider has
//! closed is noticed before anything is written to it. One core owns its pool; nothing here locks.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;

use super::parts::Parts;
use super::upstream::Stream;

/// Idle links that are kept per provider and core.
const KEPT_IDLE: usize = 256;
/// How long a link may idle. Shorter than what providers' edges keep (60 s and more).
const IDLE_FOR: Duration = Duration::from_secs(45);

type Driver = Connection<TokioIo<Stream>, Parts>;

/// One HTTP/1.1 connection to a provider.
pub(super) struct Link {
    sender: SendRequest<Parts>,
    /// Dropped as soon as it ends: only then does hyper hand a queued request back.
    connection: Option<Pin<Box<Driver>>>,
    idle_since: Instant,
}

/// Why a request got no answer.
#[derive(Debug)]
pub(super) struct ExchangeError {
    /// What hyper says.
    pub(super) error: hyper::Error,
    /// The request, when not a byte of it was written: only then may it be sent again.
    pub(super) unsent: Option<Box<Request<Parts>>>,
}

impl Link {
    /// A fresh link over a connected stream.
    pub(super) async fn open(stream: Stream) -> hyper::Result<Self> {
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_headers(128)
            .max_buf_size(64 * 1024)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self { sender, connection: Some(Box::pin(connection)), idle_since: Instant::now() })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn exchange(&mut self, request: Request<Parts>) -> Result<Response<Incoming>, ExchangeError> {
        let mut answer = std::pin::pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(outcome) = answer.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            drive(connection, cx);
            answer.as_mut().poll(cx)
        })
        .await;
        outcome.map_err(|mut failed| ExchangeError {
            unsent: failed.take_message().map(Box::new),
            error: failed.into_error(),
        })
    }

    /// Moves the connection forward; whoever waits for a body frame calls this.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.connection, cx);
    }

    /// Waits until the link can take another request; `false` when it is closed.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx);
        self.connection.is_some() && self.sender.is_ready()
    }
}

fn drive(connection: &mut Option<Pin<Box<Driver>>>, cx: &mut Context<'_>) {
    if connection.as_mut().is_some_and(|connection| connection.as_mut().poll(cx).is_ready()) {
        *connection = None;
    }
}

/// The idle links of one core to one provider, the freshest last.
#[derive(Default)]
pub(super) struct Pool {
    idle: VecDeque<Link>,
}

impl Pool {
    /// An idle link that is still open, if there is one.
    pub(super) async fn take(pool: &std::cell::RefCell<Self>) -> Option<Link> {
        loop {
            let mut link = pool.borrow_mut().idle.pop_back()?;
            if link.idle_since.elapsed() > IDLE_FOR {
                pool.borrow_mut().idle.clear();
                return None;
            }
            if poll_fn(|cx| Poll::Ready(link.poll_idle(cx))).await {
                return Some(link);
            }
        }
    }

    /// Takes a link back after its answer has been read whole.
    pub(super) fn put(&mut self, mut link: Link, cx: &mut Context<'_>) {
        if !link.poll_idle(cx) {
            return;
        }
        link.idle_since = Instant::now();
        while self.idle.front().is_some_and(|oldest| oldest.idle_since.elapsed() > IDLE_FOR) {
            self.idle.pop_front();
        }
        if self.idle.len() >= KEPT_IDLE {
            self.idle.pop_front();
        }
        self.idle.push_back(link);
    }
}
