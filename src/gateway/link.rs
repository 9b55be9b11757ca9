//! One HTTP/1.1 connection to a provider, one exchange after another.
//!
//! There is no task per connection: whoever has a [`Link`] polls it, while a request is sent and from the answer's body while the
//! answer arrives. What is read lands in one buffer per core and is copied out at its size, so that a link that waits has none (but
//! what TLS keeps for its records).

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{Method, Request, response};
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::Pieces;
use crate::wire::http1::{self, Body};

use super::upstream::Stream;

/// The most that is read at once, and the longest head of an answer.
const AT_ONCE: usize = 64 * 1024;
/// The most pieces of a request that are written at once.
const PIECES: usize = 8;

/// Where a core's links read into. Whoever reads empties it in the same turn.
#[derive(Clone)]
pub(super) struct Landing(Rc<RefCell<Box<[u8]>>>);

impl Default for Landing {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(vec![0; AT_ONCE].into_boxed_slice())))
    }
}

/// What arrived at one moment, and what is known of what follows.
pub(super) struct Burst {
    pub(super) bytes: Bytes,
    pub(super) then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// More will come.
    More,
    /// It was the last of a whole answer.
    End,
    /// The answer broke off.
    Cut,
}

/// A connection, and the exchange that it is in.
pub(super) struct Link {
    stream: Stream,
    landing: Landing,
    /// What of the request is not written yet. An answer may begin before that.
    unsent: SmallVec<[Bytes; 2]>,
    /// The request has not left whole.
    sending: bool,
    /// A byte of it was written.
    sent: bool,
    /// What was read of a head that is not there whole.
    head: Vec<u8>,
    /// Content that came with the head.
    content: Bytes,
    body: Body,
    /// Whether another exchange may follow this one.
    keep: bool,
}

/// Why a request got no answer.
pub(super) struct ExchangeError {
    pub(super) error: io::Error,
    /// The request, when not a byte of it was written: only then may it be sent again.
    pub(super) unsent: Option<Request<Pieces>>,
}

impl Link {
    pub(super) fn new(stream: Stream, landing: Landing) -> Self {
        Self {
            stream,
            landing,
            unsent: SmallVec::new(),
            sending: false,
            sent: false,
            head: Vec::new(),
            content: Bytes::new(),
            body: Body::Length(0),
            keep: true,
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn exchange(&mut self, request: Request<Pieces>) -> Result<response::Parts, ExchangeError> {
        let (head, pieces) = request.into_parts();
        let request = Request::from_parts(head, ());
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        (self.sending, self.sent) = (true, false);
        self.unsent.push(http1::request_head(&request, length).into());
        self.unsent.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
        let method = request.method().clone();
        let mut request = Some(request);
        let answered = poll_fn(|cx| {
            let answered = self.poll_answer(cx, &method);
            request.take_if(|_| self.sent);
            answered
        });
        answered.await.map_err(|error| {
            let unsent = request.map(|request| request.map(|()| self.unsent.drain(..).skip(1).collect()));
            ExchangeError { error, unsent }
        })
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>, to: &Method) -> Poll<io::Result<response::Parts>> {
        // Where it cannot be written on, the answer may say why: it is waited for all the same. What is there before anything was
        // written is no answer to it.
        let sending = self.poll_send(cx);
        if !self.sent {
            return sending.map(|sent| Err(sent.err().unwrap_or_else(|| ErrorKind::WriteZero.into())));
        }
        let landing = self.landing.clone();
        let mut landing = landing.0.borrow_mut();
        loop {
            let arrived = ready!(self.poll_read(cx, &mut landing))?;
            if arrived.is_empty() {
                return Poll::Ready(Err(io::Error::new(ErrorKind::UnexpectedEof, "it was closed before an answer")));
            }
            if let Some(head) = self.read_head(arrived, to)? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Reads the head of an answer, and the content that came with it.
    fn read_head(&mut self, arrived: &[u8], to: &Method) -> io::Result<Option<response::Parts>> {
        let mut before = std::mem::take(&mut self.head);
        let is_more = !before.is_empty();
        let near = before.len().saturating_sub(2);
        let joined = if is_more {
            before.extend_from_slice(arrived);
            &before
        } else {
            arrived
        };
        // What comes in many pieces is read once its end may be there.
        let is_read = !is_more || http1::may_end_head(joined.get(near..).unwrap_or_default());
        let head = if is_read { http1::answer_head(joined, to).map_err(invalid)? } else { None };
        if head.as_ref().map_or(joined.len(), |head| head.length) > AT_ONCE {
            return Err(invalid("the head of an answer is too long"));
        }
        let Some(head) = head else {
            self.head = if is_more { before } else { arrived.to_vec() };
            return Ok(None);
        };
        self.body = head.body;
        self.keep &= head.keep_alive;
        self.content = self.read_content(joined.get(head.length..).unwrap_or_default());
        Ok(Some(head.parts))
    }

    /// What there is of the answer's body: all that has arrived, in one piece.
    pub(super) fn poll_burst(&mut self, cx: &mut Context<'_>) -> Poll<Burst> {
        if !self.content.is_empty() || self.then() != Then::More {
            return Poll::Ready(Burst { bytes: std::mem::take(&mut self.content), then: self.then() });
        }
        let _ = self.poll_send(cx);
        let landing = self.landing.clone();
        let mut landing = landing.0.borrow_mut();
        loop {
            let Ok(arrived) = ready!(self.poll_read(cx, &mut landing)) else {
                return Poll::Ready(Burst { bytes: Bytes::new(), then: Then::Cut });
            };
            if arrived.is_empty() {
                let then = if self.body == Body::UntilClose { Then::End } else { Then::Cut };
                return Poll::Ready(Burst { bytes: Bytes::new(), then });
            }
            let bytes = self.read_content(arrived);
            if !bytes.is_empty() || self.then() != Then::More {
                return Poll::Ready(Burst { bytes, then: self.then() });
            }
        }
    }

    fn read_content(&mut self, arrived: &[u8]) -> Bytes {
        let (content, used) = self.body.read(arrived);
        // What follows an answer belongs to no request of ours.
        self.keep &= used == arrived.len();
        content
    }

    fn then(&self) -> Then {
        match (self.body.is_over(), self.body.malformed()) {
            (true, _) => Then::End,
            (false, Some(_)) => Then::Cut,
            (false, None) => Then::More,
        }
    }

    /// Whether the answer broke off because it cannot be read on, and not because the provider ended it.
    pub(super) fn is_unreadable(&self) -> bool {
        self.body.malformed().is_some()
    }

    /// The length of the content that is still to come, where the head says it.
    pub(super) fn length(&self) -> Option<u64> {
        self.body.length().map(|left| left + self.content.len() as u64)
    }

    /// Whether it can take another request: its last exchange went well to the end.
    pub(super) fn is_idle(&self) -> bool {
        self.keep && self.content.is_empty() && self.body.is_over() && !self.sending
    }

    /// Whether the provider has neither closed it nor said anything that nobody asked for.
    pub(super) fn is_silent(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        self.poll_read(cx, &mut byte).is_pending()
    }

    /// Writes what is left of the request.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES];
            for (slice, piece) in slices.iter_mut().zip(&self.unsent) {
                *slice = IoSlice::new(piece);
            }
            let slices = slices.get(..self.unsent.len()).unwrap_or(&slices);
            // What TLS could not send whole it may have sent in part.
            self.sent |= matches!(self.stream, Stream::Tls(_));
            let mut written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.sent = true;
            self.unsent.retain(|piece| {
                let now = written.min(piece.len());
                piece.advance(now);
                written -= now;
                !piece.is_empty()
            });
        }
        if self.sending {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.sending = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read<'b>(&mut self, cx: &mut Context<'_>, into: &'b mut [u8]) -> Poll<io::Result<&'b [u8]>> {
        let mut buffer = ReadBuf::new(into);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        let arrived = buffer.filled().len();
        Poll::Ready(Ok(into.get(..arrived).unwrap_or_default()))
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
