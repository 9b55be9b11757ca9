//! A request body in pieces: slices of the client's bytes with edits between them. Its length is known, so the request
//! leaves with a `Content-Length`.
//!
//! It is small on purpose: hyper keeps room for 32 requests beside every upstream connection.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use smallvec::{IntoIter, SmallVec};

use crate::wire::Pieces;

/// The pieces that are still to be sent, in order.
#[derive(Debug)]
pub(super) struct Parts {
    left: IntoIter<[Bytes; 1]>,
}

impl Parts {
    /// A body of these pieces.
    pub(super) fn new(pieces: Pieces) -> Self {
        Self { left: pieces.into_iter() }
    }
}

impl From<Bytes> for Parts {
    fn from(whole: Bytes) -> Self {
        Self::new(SmallVec::from_buf([whole]))
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.left.find(|piece| !piece.is_empty()).map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.as_slice().iter().all(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.as_slice().iter().map(|piece| piece.len() as u64).sum())
    }
}
