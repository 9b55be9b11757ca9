//! A request body in pieces: slices of the client's bytes with edits between them. Its length is known, so the request
//! leaves with a `Content-Length`.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use smallvec::SmallVec;

/// The pieces that are still to be sent, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    pieces: SmallVec<[Bytes; 7]>,
    next: usize,
}

impl Parts {
    /// A body of these pieces.
    pub(super) fn new(pieces: SmallVec<[Bytes; 7]>) -> Self {
        Self { pieces, next: 0 }
    }
}

impl From<Bytes> for Parts {
    fn from(whole: Bytes) -> Self {
        Self::new(SmallVec::from_iter([whole]))
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            let at = self.next;
            let Some(piece) = self.pieces.get_mut(at).map(std::mem::take) else { return Poll::Ready(None) };
            self.next += 1;
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.iter().skip(self.next).all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.iter().skip(self.next).map(|piece| piece.len() as u64).sum())
    }
}
