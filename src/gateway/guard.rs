//! Deadlines of a client's connection, kept where its bytes pass: a request's head must arrive in time, an idle connection
//! does not stay for ever, and a client that stops reading is let go.
//!
//! hyper's own header timeout counts idle time too, so it cannot tell a slow head from a kept-alive connection.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

/// How long a client may refuse to read what is ready for it.
const STALLED_WRITE: Duration = Duration::from_mins(1);

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests.
    Idle,
    /// The first byte of a head has come, the last has not.
    Head,
    /// A request is being served; its own deadlines apply.
    Serving,
}

/// The phase, shared between the stream and the service on it.
#[derive(Clone)]
pub(super) struct Conduct {
    phase: Rc<Cell<Phase>>,
    served: Rc<Cell<u32>>,
}

impl Conduct {
    pub(super) fn new() -> Self {
        Self { phase: Rc::new(Cell::new(Phase::Idle)), served: Rc::new(Cell::new(0)) }
    }

    /// A head has arrived whole. Counts the requests of this connection.
    pub(super) fn begin(&self) -> u32 {
        self.phase.set(Phase::Serving);
        self.served.set(self.served.get().saturating_add(1));
        self.served.get()
    }

    /// The answer is on its way out whole. HTTP/2 connections never come back here: their streams overlap.
    pub(super) fn end(&self) {
        self.phase.set(Phase::Idle);
    }
}

/// The two deadlines that the configuration sets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) head: Duration,
    pub(super) idle: Duration,
}

/// A stream that closes itself when its peer dawdles.
pub(super) struct Guarded<S> {
    stream: S,
    conduct: Conduct,
    deadlines: Deadlines,
    reading: Timer,
    writing: Timer,
    phase_seen: Phase,
}

/// One lazily armed timer. Arming and disarming it costs a look at the clock: its sleep stays where it is, and is set anew
/// only when it wakes too early or would wake too late.
#[derive(Default)]
struct Timer {
    armed: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    fn disarm(&mut self) {
        self.armed = None;
    }

    /// Whether `after` has passed since the timer was armed; arms it when it was not.
    fn expired(&mut self, after: Duration, cx: &mut Context<'_>) -> bool {
        let due = (*self.armed.get_or_insert_with(Instant::now) + after).into();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= due {
                return true;
            }
            sleep.as_mut().reset(due);
        }
        false
    }
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, conduct: Conduct, deadlines: Deadlines) -> Self {
        Self {
            stream,
            conduct,
            deadlines,
            reading: Timer::default(),
            writing: Timer::default(),
            phase_seen: Phase::Idle,
        }
    }

    fn dawdled(&mut self, cx: &mut Context<'_>) -> bool {
        let phase = self.conduct.phase.get();
        if phase != self.phase_seen {
            self.phase_seen = phase;
            self.reading.disarm();
        }
        match phase {
            Phase::Idle => self.reading.expired(self.deadlines.idle, cx),
            Phase::Head => self.reading.expired(self.deadlines.head, cx),
            Phase::Serving => false,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if outcome.is_pending() {
            if this.dawdled(cx) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client took too long")));
            }
        } else if buffer.filled().len() > before && this.conduct.phase.get() == Phase::Idle {
            this.conduct.phase.set(Phase::Head);
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    fn written<T>(&mut self, outcome: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.writing.disarm();
        } else if self.writing.expired(STALLED_WRITE, cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client stopped reading")));
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(outcome, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.written(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(cx);
        this.written(outcome, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
