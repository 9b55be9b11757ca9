//! What one pass over a request tells beside its fields: how many messages, how much text, and whether it points at input
//! that it does not carry.
//!
//! References are looked for by key names at any depth. Where a tool's arguments happen to use such a name the answer errs
//! to "by reference", which makes a hold larger and never smaller.

use std::borrow::Cow;

use super::fields::{Fields, Names, unescape};
use super::scan::{Kind, Text, Visit, scan};
use super::{ByteRange, Malformed, Peek};
use crate::wire::estimate;

/// One value below the top level, as a rule about references sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'b> {
    /// The number of containers around the value.
    pub(crate) depth: usize,
    /// The nearest key above the one that holds the value; elements of an array pass the array's key on.
    pub(crate) parent: &'b [u8],
    /// The key that holds the value.
    pub(crate) key: &'b [u8],
    /// The kind of the value.
    pub(crate) kind: Kind,
    /// What is written between the quotes of a string; empty for other kinds.
    written: &'b [u8],
}

impl<'b> Place<'b> {
    /// The text without its escapes. A long one is no word that a rule knows, and its first letters need no decoding.
    pub(crate) fn text(&self) -> Cow<'b, [u8]> {
        if self.written.len() < LONGEST_WORD { plain(self.written) } else { Cow::Borrowed(self.written) }
    }
}

/// How a dialect's requests are surveyed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// The fields of the body that are read.
    pub(crate) names: Names,
    /// The fields whose elements are messages.
    pub(crate) messages: &'static [&'static str],
    /// Whether a value points at input from elsewhere.
    pub(crate) refers: fn(&Place<'_>) -> bool,
}

/// A request after its one pass.
#[derive(Debug)]
pub(crate) struct Survey<'a> {
    body: &'a [u8],
    /// The fields of the body.
    pub(crate) fields: Fields<'a>,
    plan: &'static Plan,
    /// The key over each depth.
    keys: [Name; SHALLOW],
    /// The keys over the depths beyond.
    deep_keys: Vec<Name>,
    /// The keys that had escapes, without them.
    decoded: Vec<u8>,
    /// How many messages, prompts or inputs.
    pub(crate) messages: u64,
    /// Whether the messages are numbers: one prompt as token ids.
    pub(crate) token_ids: bool,
    text: u64,
    /// Whether anything points at input from elsewhere.
    pub(crate) refers: bool,
}

/// The depths whose keys have a place of their own.
const SHALLOW: usize = 16;
/// Tokens that a message may add beside its text.
const PER_MESSAGE: u64 = 16;
/// Tokens that tools, thinking or structured output may add.
const FOR_EXTRAS: u64 = 2048;
/// Longer than any key that a rule compares, in bytes, every letter escaped. Elements of an array inherit its key, so a longer
/// one would be read again for each of them.
const LONGEST_KEY: usize = 192;
/// Longer than any word that a rule about references compares, in bytes, escapes included.
const LONGEST_WORD: usize = 256;

impl<'a> Survey<'a> {
    /// Prepares to read `body`.
    pub(crate) fn new(body: &'a [u8], plan: &'static Plan) -> Self {
        Self {
            body,
            fields: Fields::new(body, &(0..body.len()), plan.names),
            plan,
            keys: [Name::default(); SHALLOW],
            deep_keys: Vec::new(),
            decoded: Vec::new(),
            messages: 0,
            token_ids: false,
            text: 0,
            refers: false,
        }
    }

    /// Reads the body in one pass.
    pub(crate) fn read(&mut self) -> Result<(), Malformed> {
        scan(self.body, self)?;
        self.fields.check()
    }

    /// The bounds of the input: bytes of text, plus additions per message and for extras.
    pub(crate) fn measure(&self, peek: &mut Peek<'a>, extras: bool, by_reference: bool) {
        let bytes = u64::try_from(self.body.len()).unwrap_or(u64::MAX);
        let additions = self.messages.saturating_mul(PER_MESSAGE) + if extras { FOR_EXTRAS } else { 0 };
        peek.input_bound = bytes.saturating_add(additions);
        peek.input_by_reference = by_reference || self.refers;
        peek.input_estimate = estimate::tokens(self.text).saturating_add(self.messages.saturating_mul(4));
    }

    fn name(&self, depth: usize) -> Name {
        let deep = || self.deep_keys.get(depth - SHALLOW);
        self.keys.get(depth).or_else(deep).copied().unwrap_or_default()
    }

    fn key_over(&self, depth: usize) -> &[u8] {
        let name = self.name(depth);
        let text = if name.decoded { self.decoded.as_slice() } else { self.body };
        text.get(name.start..name.end).unwrap_or_default()
    }

    /// Says what stands over the values at `depth`, which is at most one deeper than what was said before.
    fn set(&mut self, depth: usize, name: Name) {
        if let Some(key) = self.keys.get_mut(depth) {
            *key = name;
        } else {
            self.deep_keys.truncate(depth - SHALLOW);
            self.deep_keys.push(name);
        }
    }

    fn is_message_list(&self, key: &[u8]) -> bool {
        self.plan.messages.iter().any(|name| name.as_bytes() == key)
    }

    fn count_messages(&mut self, depth: usize, kind: Kind) {
        let counts = depth == 2 || (depth == 1 && kind == Kind::String);
        if !(counts || kind == Kind::Number) || !self.is_message_list(self.key_over(depth)) {
            return;
        }
        if counts {
            self.token_ids |= kind == Kind::Number;
            self.messages += u64::from(kind != Kind::Number);
        }
        if kind == Kind::Number {
            self.text += estimate::BYTES_PER_TOKEN;
        }
    }

    fn observe(&mut self, depth: usize, kind: Kind, range: &ByteRange) {
        let body = self.body;
        let inner = if kind == Kind::String { range.start + 1..range.end.saturating_sub(1) } else { 0..0 };
        let written = body.get(inner).unwrap_or_default();
        let key = self.key_over(depth);
        let refers = depth > 1 && !self.refers && {
            let parent = self.key_over(depth - 1);
            (self.plan.refers)(&Place { depth, parent, key, kind, written })
        };
        if kind == Kind::String && !matches!(key, b"data" | b"file_data") && !written.starts_with(b"data:") {
            self.text += u64::try_from(written.len()).unwrap_or(0);
        }
        self.refers |= refers;
        if depth <= 3 {
            self.count_messages(depth, kind);
        }
    }
}

impl Visit for Survey<'_> {
    fn key(&mut self, depth: usize, key: Text) {
        if depth > 3 {
            self.text += u64::try_from(key.range.len()).unwrap_or(0);
        }
        let name = Name::of(&key, self.body, &mut self.decoded);
        self.set(depth, name);
        self.fields.key(depth, key);
    }

    fn value(&mut self, depth: usize, kind: Kind, range: ByteRange) {
        self.observe(depth, kind, &range);
        if matches!(kind, Kind::Object | Kind::Array) {
            self.set(depth + 1, self.name(depth));
        }
        self.fields.value(depth, kind, range);
    }

    fn close(&mut self, depth: usize, end: usize) {
        self.fields.close(depth, end);
    }
}

/// The key that a value stands under: its place in the body or, where it had escapes, among the decoded keys.
#[derive(Debug, Clone, Copy, Default)]
struct Name {
    start: usize,
    end: usize,
    decoded: bool,
}

impl Name {
    fn of(key: &Text, body: &[u8], decoded: &mut Vec<u8>) -> Self {
        let (start, end) = (key.range.start, key.range.end);
        if end - start > LONGEST_KEY {
            return Self::default();
        }
        match body.get(key.range.clone()).filter(|_| !key.simple).map(plain) {
            Some(Cow::Owned(text)) => {
                let start = decoded.len();
                decoded.extend_from_slice(&text);
                Self { start, end: decoded.len(), decoded: true }
            }
            _ => Self { start, end, decoded: false },
        }
    }
}

/// A key or word without its escapes; as it is written when an escape names no character.
fn plain(written: &[u8]) -> Cow<'_, [u8]> {
    match unescape(written) {
        Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        _ => Cow::Borrowed(written),
    }
}

/// Whether a string names something to fetch rather than carrying it.
pub(crate) fn is_remote(text: &[u8]) -> bool {
    !text.is_empty() && !text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"data:"))
}

/// Whether `key` is one of `names`, whatever its case.
pub(crate) fn is_any(key: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| key.eq_ignore_ascii_case(name.as_bytes()))
}
