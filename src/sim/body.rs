//! A body that is sent piece by piece at the pace of a script, and tells the bill how far it came.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::bill::Tab;
use super::canned::End;

/// Time that the last bytes of a broken answer get to leave before the connection goes.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// Bytes that leave together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Piece {
    /// Time before these bytes; with none the piece still gets its own write.
    pub(super) wait: Duration,
    pub(super) bytes: Bytes,
    /// Output tokens that these bytes carry.
    pub(super) tokens: u64,
}

/// The body of one answer.
pub(super) struct Paced {
    pieces: VecDeque<Piece>,
    end: End,
    /// Body bytes still to come, where the head names a length.
    exact: Option<u64>,
    tab: Option<Tab>,
    reset: Arc<AtomicBool>,
    pause: Option<Pin<Box<Sleep>>>,
    /// The pause before the next piece, or before the end, has been taken.
    rested: bool,
    begun: bool,
}

impl Paced {
    pub(super) fn new(pieces: Vec<Piece>, end: End, exact: Option<u64>, reset: Arc<AtomicBool>) -> Self {
        let pieces = pieces.into();
        Self { pieces, end, exact, tab: None, reset, pause: None, rested: false, begun: false }
    }

    /// A body in one piece that nobody bills further.
    pub(super) fn whole(bytes: Bytes) -> Self {
        let exact = u64::try_from(bytes.len()).ok();
        Self::new(vec![Piece { bytes, ..Piece::default() }], End::Clean, exact, Arc::default())
    }

    pub(super) fn with_tab(mut self, tab: Tab) -> Self {
        self.tab = Some(tab);
        self
    }

    /// Takes the pause before what comes next; pending also without one, so that the last piece leaves on its own.
    fn rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = self.pause.as_mut() {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
            self.rested = true;
        }
        if self.rested {
            return Poll::Ready(());
        }
        let wait = match self.pieces.front() {
            Some(piece) => piece.wait,
            None if matches!(self.end, End::Close | End::Reset) => LAST_WORDS,
            None => Duration::ZERO,
        };
        if !wait.is_zero() {
            self.pause = Some(Box::pin(sleep(wait)));
            return self.rest(cx);
        }
        self.rested = true;
        if self.begun && !self.pieces.is_empty() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn take(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front()?;
        self.begun = true;
        self.rested = false;
        let length = u64::try_from(piece.bytes.len()).unwrap_or(u64::MAX);
        self.exact = self.exact.map(|rest| rest.saturating_sub(length));
        let last = self.pieces.is_empty() && self.end == End::Clean;
        if let Some(tab) = self.tab.as_mut() {
            tab.sent(piece.tokens);
            if last {
                tab.finish();
            }
        }
        Some(piece.bytes)
    }

    fn finish(&mut self) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(tab) = self.tab.as_mut() {
            match self.end {
                End::Clean => tab.finish(),
                End::Close | End::Reset => tab.break_off(),
                End::Stall => {}
            }
        }
        match self.end {
            End::Clean => Poll::Ready(None),
            // Nobody wakes this body again: its connection ends when the client or the provider goes.
            End::Stall => Poll::Pending,
            End::Close | End::Reset => {
                self.reset.store(self.end == End::Reset, Ordering::Relaxed);
                Poll::Ready(Some(Err(io::Error::other("the script cuts this answer"))))
            }
        }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        ready!(self.rest(cx));
        match self.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => self.finish(),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.end == End::Clean
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The pieces up to `after` bytes; of a piece that is cut no token counts as sent.
pub(super) fn cut(pieces: Vec<Piece>, after: usize) -> Vec<Piece> {
    let mut room = after;
    let mut kept = Vec::new();
    for mut piece in pieces {
        if piece.bytes.len() > room {
            piece.bytes.truncate(room);
            piece.tokens = 0;
        }
        room -= piece.bytes.len();
        if !piece.bytes.is_empty() {
            kept.push(piece);
        }
        if room == 0 {
            break;
        }
    }
    kept
}
