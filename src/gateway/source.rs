//! The upstream half of an answer: what has arrived, all that is there in one piece, and how long we wait for more.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::Limits;
use super::pool::Link;

/// So many bytes of an answer are joined at most.
const BURST: usize = 16 * 1024;
/// A stream that never makes us wait is looked at with the clock after so many frames.
const FRAMES_PER_LOOK: u32 = 64;

/// What breaks a client's connection in mid-answer: the provider's stream broke.
#[derive(Debug)]
pub(super) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the provider's answer was cut")
    }
}

impl std::error::Error for Cut {}

/// Frames, the link they come over, and the timer for silence and for the end of patience.
pub(super) struct Source {
    incoming: Incoming,
    /// Taken when the answer has ended well.
    pub(super) link: Option<Link>,
    heard: Instant,
    /// Frames since the clock was looked at.
    unheard: u32,
    silence: Duration,
    /// When the answer must have ended.
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
    /// We gave up, and not the provider.
    pub(super) overdue: bool,
    /// It is over, and not well.
    pub(super) broken: bool,
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

/// Pieces made one. A single piece stays as it is.
#[derive(Default)]
struct Joined {
    first: Bytes,
    more: BytesMut,
}

impl Joined {
    fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
            return;
        }
        if self.more.is_empty() {
            self.more.reserve(BURST + piece.len());
            self.more.extend_from_slice(&self.first);
        }
        self.more.extend_from_slice(&piece);
    }

    fn len(&self) -> usize {
        self.first.len().max(self.more.len())
    }

    fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    fn finish(self) -> Bytes {
        if self.more.is_empty() { self.first } else { self.more.freeze() }
    }
}

impl Source {
    pub(super) fn new(incoming: Incoming, link: Link, limits: &Limits) -> Self {
        let (heard, silence) = (Instant::now(), limits.silence_timeout);
        let deadline = heard + limits.answer_timeout;
        let timer = Box::pin(tokio::time::sleep_until((heard + silence).min(deadline).into()));
        Self { incoming, link: Some(link), heard, unheard: 0, silence, deadline, timer, overdue: false, broken: false }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        if self.broken {
            return Poll::Ready(Some(Err(Cut)));
        }
        let frame = self.poll_frames(cx);
        self.unheard += 1;
        if frame.is_pending() {
            self.hear();
            return self.poll_patience(cx);
        }
        if self.unheard == FRAMES_PER_LOOK {
            self.hear();
            if self.heard > self.deadline && matches!(frame, Poll::Ready(Some(Ok(_)))) {
                self.overdue = true;
                return Poll::Ready(Some(Err(Cut)));
            }
        }
        frame
    }

    /// Looks at the clock if a frame came since it last did. Frames of one burst come at one time.
    fn hear(&mut self) {
        if std::mem::take(&mut self.unheard) > 1 {
            self.heard = Instant::now();
        }
    }

    /// Everything that is there already, up to [`BURST`]: small frames are joined, so that what was sent in one go is read,
    /// metered and written in one go. Nothing is waited for but the first frame.
    pub(super) fn poll_burst(&mut self, cx: &mut Context<'_>) -> Poll<Burst> {
        let mut burst = Joined::default();
        loop {
            let then = match self.poll(cx) {
                Poll::Pending if burst.is_empty() => return Poll::Pending,
                Poll::Pending => Then::More,
                Poll::Ready(None) => Then::End,
                Poll::Ready(Some(Err(Cut))) => Then::Cut,
                Poll::Ready(Some(Ok(bytes))) => {
                    burst.push(bytes);
                    // hyper stops polling a body of known length at its last byte, so the end is taken with it.
                    if self.incoming.is_end_stream() {
                        Then::End
                    } else if burst.len() < BURST {
                        continue;
                    } else {
                        Then::More
                    }
                }
            };
            return Poll::Ready(Burst { bytes: burst.finish(), then });
        }
    }

    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        for driven in [false, true] {
            if driven && let Some(link) = &mut self.link {
                link.drive(cx);
            }
            while let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
                match frame {
                    None => return Poll::Ready(None),
                    Some(Err(_)) => return Poll::Ready(Some(Err(Cut))),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(bytes) if bytes.is_empty() => {}
                        Ok(bytes) => return Poll::Ready(Some(Ok(bytes))),
                        Err(_trailers) => {}
                    },
                }
            }
        }
        Poll::Pending
    }

    /// The timer is set anew only when it fires, so that a busy stream never touches it.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let due = (self.heard + self.silence).min(self.deadline);
            if due <= Instant::now() {
                self.overdue = true;
                return Poll::Ready(Some(Err(Cut)));
            }
            self.timer.as_mut().reset(due.into());
        }
        Poll::Pending
    }
}
