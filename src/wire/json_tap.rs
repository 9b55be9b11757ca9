//! JSON as it passes by, in pieces of any size: captures the few values that a dialect reads and forgets the rest.
//!
//! The scanner holds no document. It keeps at most one value that a piece has cut in two, up to [`MOST_HELD`], and never
//! fails: what is not JSON yields nothing. Keys are compared as they are written; providers do not escape them.

use memchr::memchr2;

/// The longest value that is captured. A longer one is given up, and said to be.
pub(crate) const MOST_HELD: usize = 64 * 1024;

/// The longest pattern.
const DEEPEST: usize = 6;

/// Where a captured value belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The usage object.
    Usage,
    /// A second usage object: Anthropic's first count, Groq's copy.
    SideUsage,
    /// The model that answered.
    Model,
    /// The service tier.
    Tier,
    /// Why the answer ended.
    Finish,
    /// An error, unless null.
    Error,
    /// The kind of an event.
    Kind,
    /// The `choices` of a chunk.
    Choices,
}

/// What to do with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Capture it.
    Slot(Slot),
    /// Count the bytes of its strings as output.
    Text,
}

/// The place of a value: keys from the outside in, `[]` for the elements of an array.
#[derive(Debug)]
pub(crate) struct Pattern(pub(crate) &'static [&'static str], pub(crate) Keep);

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
    patterns: &'static [Pattern],
    state: State,
    escaped: bool,
    /// Open containers.
    depth: usize,
    /// How many of them, from the outside, lie on the way to a pattern.
    tracked: usize,
    /// Per tracked container: the patterns that lead through it, and whether it is an array.
    frames: [(u32, bool); DEEPEST + 1],
    /// The patterns that the next value may match.
    next: u32,
    expects_key: bool,
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
    /// A scanner for `patterns`, at most 32 of them.
    pub(crate) fn new(patterns: &'static [Pattern]) -> Self {
        Self {
            patterns,
            state: State::Structure,
            escaped: false,
            depth: 0,
            tracked: 0,
            frames: [(0, false); DEEPEST + 1],
            next: u32::MAX,
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
        let held = std::mem::take(&mut self.held);
        *self = Self { held, elements: self.elements, closed: self.closed, ..Self::new(self.patterns) };
        self.held.clear();
    }

    /// Reads the next piece.
    pub(crate) fn read(&mut self, piece: &[u8], sink: &mut impl Sink) {
        self.from = 0;
        let mut at = 0;
        while at < piece.len() {
            at = match self.state {
                State::Structure if self.depth > self.tracked => self.skip(piece, at, sink),
                State::Structure => self.structure(piece, at, sink),
                State::Key | State::String => self.string(piece, at, sink),
                State::Scalar => self.scalar(piece, at, sink),
            };
        }
        if self.capture.is_some() {
            self.hold(piece.get(self.from..).unwrap_or_default());
        }
    }

    /// Inside a container that leads nowhere: only its end matters.
    fn skip(&mut self, piece: &[u8], at: usize, sink: &mut impl Sink) -> usize {
        let rest = piece.get(at..).unwrap_or_default();
        for (offset, byte) in rest.iter().enumerate() {
            match byte {
                b'"' => {
                    self.state = State::String;
                    return at + offset + 1;
                }
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == self.tracked {
                        self.value_ends(piece, at + offset + 1, sink);
                        return at + offset + 1;
                    }
                }
                _ => {}
            }
        }
        piece.len()
    }

    /// In a container on the way to a pattern, or outside of any.
    fn structure(&mut self, piece: &[u8], at: usize, sink: &mut impl Sink) -> usize {
        match piece.get(at) {
            Some(b'"') if self.expects_key => {
                self.state = State::Key;
                self.key_length = 0;
            }
            Some(b'"') => {
                self.value_begins(at);
                self.counts_text |= self.kept() == Some(Keep::Text);
                self.state = State::String;
            }
            Some(b'[') if self.depth == 0 && self.elements => {}
            Some(b']') if self.depth == 0 && self.elements => self.closed = true,
            Some(bracket @ (b'{' | b'[')) => self.open(at, *bracket == b'['),
            Some(b'}' | b']') => self.close(sink),
            Some(b',') if self.depth > 0 => {
                let (mask, is_array) = self.frame();
                self.expects_key = !is_array;
                self.next = if is_array { self.leading(mask, b"[]") } else { 0 };
            }
            Some(b':') => self.expects_key = false,
            Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'-' => {
                self.value_begins(at);
                self.state = State::Scalar;
            }
            _ => {}
        }
        at + 1
    }

    fn string(&mut self, piece: &[u8], at: usize, sink: &mut impl Sink) -> usize {
        let mut from = at;
        if self.escaped {
            self.escaped = false;
            from += 1;
        }
        loop {
            let rest = piece.get(from..).unwrap_or_default();
            let found = memchr2(b'"', b'\\', rest);
            let end = found.map_or(piece.len(), |found| from + found);
            if found.is_some() && piece.get(end) == Some(&b'\\') {
                self.escaped = end + 1 == piece.len();
                from = end + 2;
                if from < piece.len() {
                    continue;
                }
                self.string_piece(piece.get(at..).unwrap_or_default(), sink);
                return piece.len();
            }
            self.string_piece(piece.get(at..end).unwrap_or_default(), sink);
            if found.is_some() {
                self.string_ends(piece, end + 1, sink);
            }
            return end + 1;
        }
    }

    fn string_piece(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        if self.state == State::Key {
            for byte in bytes {
                if let Some(slot) = self.key.get_mut(self.key_length) {
                    *slot = *byte;
                }
                self.key_length = self.key_length.saturating_add(1);
            }
        } else if self.counts_text {
            sink.text(bytes.len());
        }
    }

    fn string_ends(&mut self, piece: &[u8], end: usize, sink: &mut impl Sink) {
        let was_key = self.state == State::Key;
        self.state = State::Structure;
        if was_key {
            let (mask, _) = self.frame();
            let key = self.key;
            self.next = key.get(..self.key_length).map_or(0, |key| self.leading(mask, key));
        } else if self.depth == self.tracked {
            self.value_ends(piece, end, sink);
        }
    }

    fn scalar(&mut self, piece: &[u8], at: usize, sink: &mut impl Sink) -> usize {
        let rest = piece.get(at..).unwrap_or_default();
        let goes_on = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let length = rest.iter().take_while(|byte| goes_on(byte)).count();
        if length < rest.len() {
            self.state = State::Structure;
            self.value_ends(piece, at + length, sink);
        }
        at + length
    }

    fn open(&mut self, at: usize, is_array: bool) {
        self.value_begins(at);
        let path = self.tracked;
        let through = self.selected(self.next, |segments| segments.len() > path);
        self.depth += 1;
        if self.capture.is_none() && through != 0 && self.tracked < DEEPEST {
            self.tracked += 1;
            if let Some(frame) = self.frames.get_mut(self.tracked) {
                *frame = (through, is_array);
            }
            self.expects_key = !is_array;
            self.next = if is_array { self.leading(through, b"[]") } else { 0 };
        } else {
            self.counts_text |= self.kept() == Some(Keep::Text);
        }
    }

    fn close(&mut self, sink: &mut impl Sink) {
        if self.depth == 0 {
            return;
        }
        self.depth -= 1;
        self.tracked = self.tracked.saturating_sub(1);
        self.expects_key = false;
        self.next = 0;
        if self.depth == 0 {
            self.next = u32::MAX;
            sink.document();
        }
    }

    fn value_begins(&mut self, at: usize) {
        if let Some(Keep::Slot(slot)) = self.kept() {
            self.capture = Some(slot);
            self.held.clear();
            self.overflown = false;
            self.from = at;
        }
    }

    fn value_ends(&mut self, piece: &[u8], end: usize, sink: &mut impl Sink) {
        self.counts_text = false;
        let Some(slot) = self.capture.take() else { return };
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

    fn frame(&self) -> (u32, bool) {
        self.frames.get(self.tracked).copied().unwrap_or_default()
    }

    /// What the value that now begins is kept for: a pattern that ends here.
    fn kept(&self) -> Option<Keep> {
        if self.next == 0 || self.depth == 0 {
            return None;
        }
        let ends = self.selected(self.next, |segments| segments.len() == self.tracked);
        self.patterns.get(usize::try_from(ends.trailing_zeros()).ok()?).map(|pattern| pattern.1)
    }

    /// Of the patterns in `mask`, those whose next segment is `key`.
    fn leading(&self, mask: u32, key: &[u8]) -> u32 {
        let Some(place) = self.tracked.checked_sub(1) else { return 0 };
        self.selected(mask, |segments| segments.get(place).is_some_and(|segment| segment.as_bytes() == key))
    }

    fn selected(&self, mask: u32, wanted: impl Fn(&[&'static str]) -> bool) -> u32 {
        let mut chosen = 0;
        for (index, pattern) in self.patterns.iter().enumerate().take(32) {
            let bit = 1 << index;
            if mask & bit != 0 && wanted(pattern.0) {
                chosen |= bit;
            }
        }
        chosen
    }
}
