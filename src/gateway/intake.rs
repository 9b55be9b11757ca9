//! The request's body, read whole: it must be judged before a byte of it leaves.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};

/// After this long a body must keep a minimum rate.
const PATIENCE: Duration = Duration::from_secs(5);
/// The minimum rate after that, in bytes per second.
const SLOWEST: u64 = 1_024;

/// Why a body was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadBody {
    /// Larger than the limit, in bytes.
    TooLarge(u64),
    /// Slower than 1 KiB/s.
    TooSlow,
    /// The client's stream broke.
    Broken,
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(mut body: Incoming, headers: &HeaderMap, limit: u64) -> Result<Bytes, BadBody> {
    let announced =
        headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(BadBody::TooLarge(limit));
    }
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let started = Instant::now();
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut length = 0_u64;
    loop {
        let due = PATIENCE + Duration::from_secs(length / SLOWEST + 1);
        let Some(frame) = timeout_at(started + due, body.frame()).await.map_err(|_| BadBody::TooSlow)? else { break };
        let Ok(data) = frame.map_err(|_| BadBody::Broken)?.into_data() else { continue };
        length += data.len() as u64;
        if length > limit {
            return Err(BadBody::TooLarge(limit));
        }
        gather(&mut first, &mut rest, data, announced);
    }
    Ok(if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() })
}

/// Keeps a body that comes in one piece as it is; joins it otherwise. Of one that has announced more, the first piece is moved
/// while the next is on its way, and hyper reads that into the place where this one was.
fn gather(first: &mut Option<Bytes>, rest: &mut BytesMut, data: Bytes, announced: Option<u64>) {
    let whole = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    if first.is_none() && rest.is_empty() && whole <= data.len() {
        *first = Some(data);
        return;
    }
    if rest.is_empty() {
        let first = first.take().unwrap_or_default();
        rest.reserve(whole.max(first.len() + data.len()));
        rest.extend_from_slice(&first);
    }
    rest.extend_from_slice(&data);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Mutations: the first piece is left out when more come; a whole one is copied.
        #[test]
        fn pieces_become_the_body_whatever_was_announced(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 1..6), announced in prop::option::of(0_u64..200),
        ) {
            let (mut first, mut rest) = (None, BytesMut::new());
            let pieces: Vec<Bytes> = pieces.into_iter().map(Bytes::from).collect();
            for piece in &pieces {
                gather(&mut first, &mut rest, piece.clone(), announced);
            }
            let body = if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() };
            prop_assert_eq!(&body[..], pieces.concat());
            let whole = pieces.len() == 1 && announced.is_none_or(|length| length <= pieces[0].len() as u64);
            prop_assert!(!whole || body.as_ptr() == pieces[0].as_ptr(), "a body that is there is taken as it is");
        }
    }
}
