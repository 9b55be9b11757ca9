//! Takes the one event out of a stream that is there because we asked for usage and the client did not.
//!
//! Events are passed on whole and byte for byte; chunks in which nothing is cut go through uncopied. Only a chunk with empty
//! `choices` *and* a usage object is taken out: Azure's first chunk has empty choices too, and stays.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;
use memchr::memmem::Finder;
use smallvec::SmallVec;

use super::json_tap::{JsonTap, Sink};
use super::sse::{Events, Sse};
use super::want::{Slot, Want};

/// The longest event that is held back; a longer one is passed on as it comes.
const MOST_HELD: usize = 256 * 1024;

static WANTS: Want = Want::Members(&[("choices", Want::Slot(Slot::Choices)), ("usage", Want::Slot(Slot::Usage))]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing but space so far.
    Beginning,
    Events,
    /// Not an event stream: an error document, say.
    Passing,
}

/// Removes the usage-only chunk of OpenAI chat and completions streams.
#[derive(Debug)]
pub struct UsageChunkFilter {
    mode: Mode,
    /// The beginning of an event whose end has not come.
    held: BytesMut,
    /// How much of `held` has been searched.
    searched: usize,
    /// Where its last line begins; `None` when that has gone to the client already.
    line: Option<usize>,
    /// The event is too long to hold and is passed on.
    oversized: bool,
}

impl Default for UsageChunkFilter {
    fn default() -> Self {
        Self::new()
    }
}

impl UsageChunkFilter {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self { mode: Mode::Beginning, held: BytesMut::new(), searched: 0, line: Some(0), oversized: false }
    }

    /// Takes the next chunk; gives back what may go to the client now.
    pub fn push(&mut self, chunk: Bytes) -> SmallVec<[Bytes; 4]> {
        let mut out = SmallVec::new();
        if self.mode == Mode::Beginning {
            let first = chunk.iter().find(|byte| !byte.is_ascii_whitespace());
            self.mode = match first {
                None => Mode::Beginning,
                Some(b'{' | b'[') => Mode::Passing,
                Some(_) => Mode::Events,
            };
        }
        let buffer = if self.held.is_empty() {
            chunk
        } else {
            self.held.extend_from_slice(&chunk);
            self.held.split().freeze()
        };
        if self.mode == Mode::Passing {
            out.push(buffer);
        } else {
            self.events(&buffer, &mut out);
        }
        out
    }

    /// The stream has ended: what was held back, unless it is the event to remove.
    pub fn finish(&mut self) -> Option<Bytes> {
        let rest = self.held.split().freeze();
        let oversized = std::mem::take(&mut self.oversized);
        (!rest.is_empty() && (oversized || !is_usage_only(&rest))).then_some(rest)
    }

    fn events(&mut self, buffer: &Bytes, out: &mut SmallVec<[Bytes; 4]>) {
        let (mut start, mut event) = (0, 0);
        while let Some(end) = self.event_end(buffer) {
            let whole = buffer.get(event..end).unwrap_or_default();
            if !std::mem::take(&mut self.oversized) && is_usage_only(whole) {
                pass(buffer, start..event, out);
                start = end;
            }
            event = end;
        }
        if self.oversized || buffer.len() - event > MOST_HELD {
            self.oversized = true;
            let line = self.line.unwrap_or(event).max(event);
            // A carriage return at the end may yet be half of a line ending: it stays.
            event = if buffer.len() - line > MOST_HELD { self.searched } else { line };
        }
        pass(buffer, start..event, out);
        self.held.extend_from_slice(buffer.get(event..).unwrap_or_default());
        self.searched = self.searched.saturating_sub(event);
        self.line = self.line.and_then(|line| line.checked_sub(event));
    }

    /// Where the blank line ends that ends the present event.
    fn event_end(&mut self, buffer: &[u8]) -> Option<usize> {
        loop {
            let rest = buffer.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr2(b'\n', b'\r', rest) else {
                self.searched = buffer.len();
                return None;
            };
            let at = self.searched + found;
            let after = match (buffer.get(at), buffer.get(at + 1)) {
                (Some(b'\r'), None) => {
                    self.searched = at;
                    return None;
                }
                (Some(b'\r'), Some(b'\n')) => at + 2,
                _ => at + 1,
            };
            let blank = self.line == Some(at);
            self.searched = after;
            self.line = Some(after);
            if blank {
                return Some(after);
            }
        }
    }
}

fn pass(buffer: &Bytes, range: std::ops::Range<usize>, out: &mut SmallVec<[Bytes; 4]>) {
    if !range.is_empty() {
        out.push(buffer.slice(range));
    }
}

#[derive(Default)]
struct Chunk {
    no_choices: bool,
    usage: bool,
}

impl Sink for Chunk {
    fn value(&mut self, slot: Slot, raw: &[u8]) {
        match slot {
            Slot::Choices => {
                let inner = raw.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
                self.no_choices = inner.is_some_and(|inner| inner.trim_ascii().is_empty());
            }
            Slot::Usage => self.usage = raw.starts_with(b"{"),
            _ => {}
        }
    }
    fn text(&mut self, _: usize) {}
    fn too_long(&mut self, slot: Slot) {
        self.no_choices &= slot != Slot::Choices;
    }
    fn document(&mut self) {}
}

struct OneEvent {
    json: JsonTap,
    chunk: Chunk,
}

impl Events for OneEvent {
    fn data(&mut self, piece: &[u8]) {
        self.json.read(piece, &mut self.chunk);
    }
    fn end(&mut self) {}
}

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"usage\""));

/// Whether a usage object may be in the event: some `"usage"` is not plainly null. One search settles nearly every event,
/// since a stream that was asked for usage says `"usage":null` until its end.
fn may_have_usage(event: &[u8]) -> bool {
    let mut rest = event;
    while let Some(at) = USAGE.find(rest) {
        rest = rest.get(at + USAGE.needle().len()..).unwrap_or_default();
        let value = rest.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        match value.and_then(|value| value.strip_prefix(b"null")) {
            Some(after @ [b',' | b'}', ..]) => rest = after,
            _ => return true,
        }
    }
    false
}

fn is_usage_only(event: &[u8]) -> bool {
    if !may_have_usage(event) {
        return false;
    }
    let mut reader = OneEvent { json: JsonTap::new(&WANTS), chunk: Chunk::default() };
    let mut sse = Sse::new();
    sse.read(event, &mut reader);
    reader.chunk.no_choices && reader.chunk.usage
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filtered<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut filter = UsageChunkFilter::new();
        let mut out = Vec::new();
        for chunk in chunks {
            out.extend(filter.push(Bytes::copy_from_slice(chunk)).concat());
        }
        out.extend(filter.finish().unwrap_or_default());
        out
    }

    const DELTA: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}],\"usage\":null}";
    const AZURE: &str = "data: {\"choices\":[],\"prompt_filter_results\":[],\"usage\":null}";
    const USAGE: &str = "data: {\"choices\": [ ],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}";
    const DONE: &str = "data: [DONE]";

    #[test]
    fn only_the_usage_chunk_is_taken_out() {
        for gap in ["\n\n", "\r\n\r\n", "\r\r"] {
            let all = [AZURE, DELTA, DELTA, USAGE, DONE, ""].join(gap);
            let rest = [AZURE, DELTA, DELTA, DONE, ""].join(gap);
            for size in [1, 2, 7, 64, 4096] {
                assert_eq!(filtered(all.as_bytes().chunks(size)), rest.as_bytes(), "{gap:?} {size}");
            }
        }
        let content = "data: {\"choices\":[{\"delta\":{\"content\":\"{\\\"choices\\\":[],\\\"usage\\\":{}}\"}}]}\n\n";
        assert_eq!(filtered(std::iter::once(content.as_bytes())), content.as_bytes());
    }

    #[test]
    fn a_chunk_without_cuts_goes_through_uncopied() {
        let chunk = Bytes::from(format!("{DELTA}\n\n{DELTA}\n\n"));
        let out = UsageChunkFilter::new().push(chunk.clone());
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].as_ptr(), chunk.as_ptr());
    }

    #[test]
    fn an_oversized_event_and_a_document_pass() {
        let long = format!("data: {{\"x\":\"{}\"}}\n\n{USAGE}\n\n{DONE}\n\n", "y".repeat(MOST_HELD * 2));
        let rest = long.replace(&format!("{USAGE}\n\n"), "");
        for size in [1000, 70_000, 10_000_000] {
            assert_eq!(filtered(long.as_bytes().chunks(size)), rest.as_bytes(), "{size}");
        }
        let document = "{\"error\":{},\"choices\":[],\"usage\":{}}";
        assert_eq!(filtered(document.as_bytes().chunks(3)), document.as_bytes());
    }

    proptest! {
        #[test]
        fn any_split_yields_the_same_bytes(order in proptest::collection::vec(0usize..8, 0..9), size in 1usize..40) {
            let parts = [DELTA, AZURE, USAGE, DONE, "\n\n", "\r\n\r\n", "\r", "\n"];
            let stream: String = order.into_iter().filter_map(|index| parts.get(index).copied()).collect();
            let whole = filtered(std::iter::once(stream.as_bytes()));
            prop_assert_eq!(filtered(stream.as_bytes().chunks(size)), whole);
        }

        #[test]
        fn what_has_no_usage_chunk_is_unchanged(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 1usize..40) {
            prop_assert_eq!(filtered(bytes.chunks(size)), bytes);
        }
    }
}
