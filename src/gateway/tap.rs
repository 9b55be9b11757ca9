//! The answer on its way down: bytes pass as they come, usage is read beside them, and when the last byte has passed (or
//! the client has gone) the attempt is settled.
//!
//! The body drives its own upstream connection, so a burst of events costs one wake-up and one write.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::ledger::entry::Ending;
use crate::wire::coding::Decoder;
use crate::wire::estimate::BYTES_PER_TOKEN;
use crate::wire::filter::UsageChunkFilter;
use crate::wire::tap::Tap;

use super::account::Place;
use super::guard::Conduct;
use super::link::{Burst, Link, Then};
use super::panics::caught;
use super::replay::Keeper;
use super::settle::Attempt;
use super::source::{Cut, Source};

/// The body of any answer.
pub(super) enum Answer {
    /// One of ours.
    Ours(Option<Bytes>),
    /// The provider's.
    Theirs(Box<Tapped>),
}

impl Answer {
    /// A whole body of ours.
    pub(super) fn ours(bytes: Bytes) -> Self {
        Self::Ours((!bytes.is_empty()).then_some(bytes))
    }
}

/// A provider's answer while it is passed on.
pub(super) struct Tapped {
    source: Option<Source>,
    reader: Reader,
    filter: Option<UsageChunkFilter>,
    ready: VecDeque<Bytes>,
    ended: bool,
    attempt: Option<Attempt>,
    exact_length: Option<u64>,
    /// Keeps the answer for a replay.
    pub(super) keeper: Option<Box<Keeper>>,
    /// The answer was read to a good end.
    good: bool,
    /// The answer broke off, and what had come before has had its turn to be written: hyper drops what it has not written when a
    /// body fails, the head of the answer included.
    gave_way: bool,
    /// Ends the request on the client's connection. `None` for HTTP/2.
    pub(super) conduct: Option<Conduct>,
}

/// The metering half.
struct Reader {
    tap: Option<Tap>,
    decoder: Option<Decoder>,
    /// Bytes that passed, for answers that cannot be read.
    passed: u64,
}

/// How an answer is read beside its way to the client.
pub(super) struct Reading {
    pub(super) tap: Option<Tap>,
    pub(super) decoder: Option<Decoder>,
    pub(super) filter: Option<UsageChunkFilter>,
}

impl Tapped {
    pub(super) fn new(link: Link, reading: Reading, attempt: Attempt) -> Self {
        let exact_length = if reading.filter.is_some() { None } else { link.length() };
        Self {
            source: Some(Source::new(link, &attempt.worker.gateway.options.limits)),
            reader: Reader { tap: reading.tap, decoder: reading.decoder, passed: 0 },
            filter: reading.filter,
            ready: VecDeque::new(),
            ended: false,
            attempt: Some(attempt),
            exact_length,
            keeper: None,
            good: false,
            gave_way: false,
            conduct: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let Some(source) = self.source.as_mut() else { return Poll::Ready(None) };
            let Burst { bytes, then } = std::task::ready!(source.poll(cx));
            if !bytes.is_empty() {
                self.reader.read(&bytes);
                match &mut self.filter {
                    None => self.ready.push_back(bytes),
                    Some(filter) => self.ready.extend(filter.push(bytes)),
                }
            }
            match then {
                Then::More => {}
                Then::End => self.end(),
                Then::Cut if self.ready.is_empty() => return self.cut(cx),
                // What came before it is passed on first.
                Then::Cut => source.broken = true,
            }
        }
    }

    /// The provider's answer broke off. The client is told at the next poll, once what came before has been written.
    fn cut(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        if let (Some(source), false) = (&mut self.source, self.gave_way) {
            (source.broken, self.gave_way) = (true, true);
            // Should the client turn out to be gone when it is written, the provider had ended before.
            if let Some(attempt) = &mut self.attempt {
                attempt.heard_out = !source.gave_up;
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ended = true;
        self.close(Ending::UpstreamFailed);
        Poll::Ready(Some(Err(Cut)))
    }

    /// The provider's answer has arrived whole.
    fn end(&mut self) {
        self.ended = true;
        self.ready.extend(self.filter.take().and_then(|mut filter| filter.finish()));
        if let (Some(source), Some(attempt)) = (&mut self.source, &self.attempt)
            && let Some(link) = source.link.take()
        {
            attempt.worker.put_back(&attempt.call.provider.name, link);
        }
        let failed = self.attempt.as_ref().is_some_and(|attempt| attempt.status >= 400);
        if let Some(attempt) = &mut self.attempt {
            attempt.heard_out = true;
        }
        self.close(if failed { Ending::ProviderError } else { Ending::Complete });
    }

    /// Something of ours broke: the client is cut off, and what was read of the answer is settled.
    fn give_up(&mut self) -> Poll<Option<Result<Bytes, Cut>>> {
        self.ended = true;
        caught("giving up an answer", || self.close(Ending::ClientGone));
        Poll::Ready(Some(Err(Cut)))
    }

    fn close(&mut self, ending: Ending) {
        self.source = None;
        if let Some(conduct) = &self.conduct {
            conduct.end();
        }
        if let Some(attempt) = self.attempt.take() {
            self.good = self.reader.settle(attempt, ending) && ending == Ending::Complete;
        }
    }

    /// What has passed is kept; nothing of an answer that did not end well.
    fn keep(&mut self, passed: Option<&Result<Bytes, Cut>>) {
        let Some(keeper) = &mut self.keeper else { return };
        if let Some(Ok(bytes)) = passed {
            keeper.pass(bytes);
        }
        if self.ended
            && self.ready.is_empty()
            && let Some(keeper) = self.keeper.take().filter(|_| self.good)
        {
            keeper.finish();
        }
    }
}

impl Reader {
    fn read(&mut self, bytes: &[u8]) {
        self.passed = self.passed.saturating_add(bytes.len() as u64);
        let Some(tap) = &mut self.tap else { return };
        match &mut self.decoder {
            None => tap.read(bytes),
            Some(decoder) => {
                if decoder.push(bytes, &mut |decoded| tap.read(decoded)).is_err() {
                    // What cannot be decoded is passed on unread, and estimated.
                    self.decoder = None;
                    self.tap = None;
                }
            }
        }
    }

    /// Settles, and says whether nothing is known against the answer.
    fn settle(&mut self, attempt: Attempt, ending: Ending) -> bool {
        let seen = self.tap.as_ref().map_or(self.passed / BYTES_PER_TOKEN, Tap::seen_output_tokens);
        let reading = self.tap.as_mut().map(Tap::finish);
        attempt.settle(reading.as_ref(), seen, ending);
        reading.is_none_or(|reading| reading.complete && !reading.error)
    }
}

impl Drop for Tapped {
    /// The client has gone before the end. Where the provider goes on billing, the rest is read without it.
    fn drop(&mut self) {
        if let Some(conduct) = &self.conduct {
            conduct.end();
        }
        let Some(attempt) = self.attempt.take() else { return };
        let passed = self.reader.passed;
        let reader = Reader { tap: self.reader.tap.take(), decoder: self.reader.decoder.take(), passed };
        let abandoned = Abandoned { reader, attempt: Some(attempt) };
        let Some(place) = abandoned.place() else { return };
        if let Some(source) = self.source.take() {
            abandoned.read_on(source, place);
        }
    }
}

/// An answer that nobody listens to any more. It is settled when this is dropped: when it has been read, or when the gateway
/// stops before that.
struct Abandoned {
    reader: Reader,
    attempt: Option<Attempt>,
}

impl Abandoned {
    /// A place among the tenant's drains, where the provider bills on although the client is gone.
    fn place(&self) -> Option<Place> {
        let attempt = self.attempt.as_ref().filter(|attempt| attempt.goes_on())?;
        attempt.call.account.read_on(attempt.worker.gateway.options.limits.drains_per_tenant)
    }

    fn read_on(self, source: Source, place: Place) {
        let Some(worker) = self.attempt.as_ref().map(|attempt| std::rc::Rc::clone(&attempt.worker)) else { return };
        let limits = &worker.gateway.options.limits;
        let draining = drain(source, self, (limits.drain_for, limits.drain_bytes), place);
        worker.tasks.spawn_local(draining);
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.reader.settle(attempt, Ending::ClientGone);
        }
    }
}

/// Reads an abandoned answer to its end, within limits of time and bytes.
async fn drain(mut source: Source, mut abandoned: Abandoned, (within, most): (Duration, u64), _place: Place) {
    let mut bytes_left = most;
    let reading = async {
        loop {
            let Burst { bytes, then } = std::future::poll_fn(|cx| source.poll(cx)).await;
            abandoned.reader.read(&bytes);
            bytes_left = bytes_left.saturating_sub(bytes.len() as u64);
            match then {
                Then::End => return true,
                Then::Cut => return false,
                Then::More if bytes_left == 0 => return false,
                Then::More => {}
            }
        }
    };
    let whole = tokio::time::timeout(within, reading).await.unwrap_or(false);
    if let Some(attempt) = &mut abandoned.attempt {
        attempt.heard_out = whole;
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Ours(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Theirs(tapped) => {
                let polled = caught("an answer", || tapped.poll(cx)).unwrap_or_else(|| tapped.give_up());
                polled.map(|passed| {
                    tapped.keep(passed.as_ref());
                    passed.map(|bytes| bytes.map(Frame::data))
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ours(bytes) => bytes.is_none(),
            Self::Theirs(tapped) => tapped.ended && tapped.ready.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ours(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Theirs(tapped) => tapped.exact_length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
