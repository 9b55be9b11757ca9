//! JSON as it passes by, in pieces of any size: captures the few values that a dialect reads and forgets the rest.
//!
//! The scanner holds no document. It keeps at most one value that a piece has cut in two, up to [`MOST_HELD`], and never
//! fails: what is not JSON yields nothing. Keys are compared as they are written; providers do not escape them.

use memchr::memchr;

use super::echo::{DEEPEST, Echo, Path};
use super::octets;
use super::want::{Slot, Want};

/// The longest value that is captured. A longer one is given up, and said to be.
pub(crate) const MOST_HELD: usize = 64 * 1024;

/// Hears what the scanner finds.
pub(crate) trait Sink {
    /// A captured value as it is written.
    fn value(&mut self, slot: Slot, raw: &[u8]);
    /// Bytes of output text.
    fn text(&mut self, bytes: usize);
    /// A captured value was too long.
    fn too_long(&mut self, slot: Slot);
    /// A document ended.
    fn document(&mut self);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Structure,
    Key,
    String,
    Scalar,
}

/// The scanner between two pieces.
#[derive(Debug)]
pub(crate) struct JsonTap {
    /// What is wanted of a document.
    root: &'static Want,
    state: State,
    /// The piece ended behind a backslash.
    escaped: bool,
    /// Open containers.
    depth: usize,
    /// Those of them that are looked into.
    path: Path,
    echo: Echo,
    /// What is wanted of the next value.
    next: Option<&'static Want>,
    expects_key: bool,
    /// The beginning of a key that a piece has cut in two.
    key: [u8; 32],
    key_length: usize,
    counts_text: bool,
    capture: Option<Slot>,
    held: Vec<u8>,
    overflown: bool,
    /// Where the captured value begins in the present piece.
    from: usize,
    /// The root is an array of documents.
    elements: bool,
    /// That array has ended.
    pub(crate) closed: bool,
}

impl JsonTap {
    /// A scanner for what is wanted of a document.
    pub(crate) fn new(root: &'static Want) -> Self {
        let path = Path { length: 0, frames: [root; DEEPEST] };
        Self {
            root,
            state: State::Structure,
            escaped: false,
            depth: 0,
            path,
            echo: Echo::new(path),
            next: Some(root),
            expects_key: false,
            key: [0; 32],
            key_length: 0,
            counts_text: false,
            capture: None,
            held: Vec::new(),
            overflown: false,
            from: 0,
            elements: false,
            closed: false,
        }
    }

    /// The root is an array whose elements are the documents.
    pub(crate) fn expect_elements(&mut self) {
        self.elements = true;
    }

    /// Forgets an unfinished document.
    pub(crate) fn reset(&mut self) {
        self.state = State::Structure;
        self.escaped = false;
        self.depth = 0;
        self.path.length = 0;
        self.next = Some(self.root);
        self.expects_key = false;
        self.counts_text = false;
        self.capture = None;
    }

    /// Reads the first piece of an event.
    pub(crate) fn begin(&mut self, piece: &[u8], sink: &mut impl Sink) {
        let mut at = 0;
        if let Some((known, path)) = self.echo.recall(piece) {
            at = known;
            self.depth = path.length;
            self.path = path;
            self.expects_key = true;
            self.next = None;
        }
        self.read_from(piece, at, sink);
        self.echo.keep(piece);
    }

    /// Reads the next piece.
    pub(crate) fn read(&mut self, piece: &[u8], sink: &mut impl Sink) {
        self.read_from(piece, 0, sink);
    }

    /// Ends what the last piece has cut, then goes on.
    fn read_from(&mut self, piece: &[u8], at: usize, sink: &mut impl Sink) {
        self.from = 0;
        let mut at = match self.state {
            State::Structure => at,
            State::Key => self.key(piece, 0),
            State::String => self.string(piece, 0, sink),
            State::Scalar => self.scalar(piece, 0, sink),
        };
        if self.depth > self.path.length {
            at = self.skip(piece, at, sink);
        }
        self.structure(piece, at, sink);
        if self.capture.is_some() {
            self.hold(piece.get(self.from..).unwrap_or_default());
        }
    }

    /// In a container that leads nowhere only its end matters.
    fn skip(&mut self, piece: &[u8], mut at: usize, sink: &mut impl Sink) -> usize {
        while let Some(byte) = piece.get(at) {
            at += 1;
            match byte {
                b'"' => at = self.string(piece, at, sink),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == self.path.length {
                        self.value_ends(piece, at, sink);
                        self.document_ends(sink);
                        return at;
                    }
                }
                b'\n' => at += octets::spaces(piece.get(at..).unwrap_or_default()),
                _ => {}
            }
        }
        at
    }

    /// In a container that is looked into, or outside of any. What the piece cuts goes to the piece's end, and so do we.
    fn structure(&mut self, piece: &[u8], mut at: usize, sink: &mut impl Sink) {
        while let Some(byte) = piece.get(at) {
            at += 1;
            match byte {
                b'"' if self.expects_key => {
                    self.key_length = 0;
                    at = self.key(piece, at);
                }
                b'"' => {
                    self.value_begins(at - 1);
                    at = self.string(piece, at, sink);
                }
                b':' => self.expects_key = false,
                b',' if self.depth > 0 => self.comma(),
                b'[' if self.depth == 0 && self.elements => {}
                b']' if self.depth == 0 && self.elements => self.closed = true,
                b'{' | b'[' => {
                    self.open(at - 1, *byte == b'[');
                    if self.depth > self.path.length {
                        at = self.skip(piece, at, sink);
                    }
                }
                b'}' | b']' => self.close(sink),
                byte if octets::in_scalar(*byte) && !matches!(byte, b'+' | b'.') => {
                    self.value_begins(at - 1);
                    at = self.scalar(piece, at, sink);
                }
                b'\n' => at += octets::spaces(piece.get(at..).unwrap_or_default()),
                _ => {}
            }
        }
    }

    fn comma(&mut self) {
        self.next = match self.frame() {
            Some(Want::Elements(element)) => Some(element),
            _ => None,
        };
        self.expects_key = self.next.is_none();
    }

    fn key(&mut self, piece: &[u8], at: usize) -> usize {
        let end = self.string_end(piece, at);
        let bytes = piece.get(at..end.unwrap_or(piece.len())).unwrap_or_default();
        let Some(end) = end else {
            self.state = State::Key;
            self.hold_key(bytes);
            return piece.len();
        };
        self.state = State::Structure;
        if self.key_length == 0 {
            self.next = self.member(bytes);
        } else {
            self.hold_key(bytes);
            self.next = self.key.get(..self.key_length).and_then(|key| self.member(key));
        }
        if piece.get(end + 1) == Some(&b':') {
            self.expects_key = false;
            return end + 2;
        }
        end + 1
    }

    fn hold_key(&mut self, bytes: &[u8]) {
        let length = self.key_length.saturating_add(bytes.len());
        if let Some(free) = self.key.get_mut(self.key_length..length) {
            free.copy_from_slice(bytes);
        }
        self.key_length = length;
    }

    /// What is wanted of the member of this name.
    fn member(&self, key: &[u8]) -> Option<&'static Want> {
        let Some(Want::Members(members)) = self.frame() else { return None };
        let is_it =
            |name: &str| name.len() == key.len() && name.as_bytes().first() == key.first() && name.as_bytes() == key;
        members.iter().find(|(name, _)| is_it(name)).map(|(_, want)| want)
    }

    fn string(&mut self, piece: &[u8], at: usize, sink: &mut impl Sink) -> usize {
        let end = self.string_end(piece, at);
        if self.counts_text {
            self.echo.counted();
            sink.text(end.unwrap_or(piece.len()) - at);
        }
        let Some(end) = end else {
            self.state = State::String;
            return piece.len();
        };
        self.state = State::Structure;
        if self.depth == self.path.length {
            self.value_ends(piece, end + 1, sink);
        }
        end + 1
    }

    /// The place of the quote that ends the string; `None` when it goes on in the next piece.
    #[inline]
    fn string_end(&mut self, piece: &[u8], at: usize) -> Option<usize> {
        if !self.escaped
            && let Some(rest) = piece.get(at..)
            && let Some(found) = octets::near_quote(rest)
            && rest.get(..found).and_then(<[u8]>::last) != Some(&b'\\')
        {
            return Some(at + found);
        }
        self.far_string_end(piece, at)
    }

    fn far_string_end(&mut self, piece: &[u8], at: usize) -> Option<usize> {
        let mut from = at + usize::from(std::mem::take(&mut self.escaped));
        loop {
            let rest = piece.get(from..).unwrap_or_default();
            let Some(found) = memchr(b'"', rest) else {
                self.escaped = octets::ends_in_escape(rest);
                return None;
            };
            if !rest.get(..found).is_some_and(octets::ends_in_escape) {
                return Some(from + found);
            }
            from += found + 1;
        }
    }

    fn scalar(&mut self, piece: &[u8], at: usize, sink: &mut impl Sink) -> usize {
        let rest = piece.get(at..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| octets::in_scalar(**byte)).count();
        self.state = State::Scalar;
        if length < rest.len() {
            self.state = State::Structure;
            self.value_ends(piece, at + length, sink);
        }
        at + length
    }

    fn open(&mut self, at: usize, is_array: bool) {
        self.value_begins(at);
        self.depth += 1;
        let inner = match self.next {
            Some(Want::Members(_)) if !is_array => None,
            Some(Want::Elements(element)) if is_array => Some(*element),
            _ => return,
        };
        if let (Some(want), Some(frame)) = (self.next, self.path.frames.get_mut(self.path.length)) {
            *frame = want;
            self.path.length += 1;
            self.expects_key = !is_array;
            self.next = inner;
            if !is_array {
                self.echo.opened(at + 1, &self.path);
            }
        }
    }

    fn close(&mut self, sink: &mut impl Sink) {
        if self.depth > 0 {
            self.depth -= 1;
            self.path.length = self.path.length.saturating_sub(1);
            self.expects_key = false;
            self.next = None;
            self.document_ends(sink);
        }
    }

    fn document_ends(&mut self, sink: &mut impl Sink) {
        if self.depth == 0 {
            self.next = Some(self.root);
            sink.document();
        }
    }

    fn value_begins(&mut self, at: usize) {
        match self.next {
            Some(Want::Text) => self.counts_text = true,
            Some(Want::Slot(slot)) => {
                self.capture = Some(*slot);
                self.held.clear();
                self.overflown = false;
                self.from = at;
            }
            _ => {}
        }
    }

    fn value_ends(&mut self, piece: &[u8], end: usize, sink: &mut impl Sink) {
        self.counts_text = false;
        let Some(slot) = self.capture.take() else { return };
        self.echo.captured(slot);
        let last = piece.get(self.from..end).unwrap_or_default();
        if self.held.is_empty() && !self.overflown && last.len() <= MOST_HELD {
            sink.value(slot, last);
            return;
        }
        self.hold(last);
        if self.overflown {
            sink.too_long(slot);
        } else {
            sink.value(slot, &self.held);
        }
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.overflown |= self.held.len() + bytes.len() > MOST_HELD;
        if !self.overflown {
            self.held.extend_from_slice(bytes);
        }
    }

    fn frame(&self) -> Option<&'static Want> {
        self.path.frames.get(self.path.length.checked_sub(1)?).copied()
    }
}
