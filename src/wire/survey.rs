//! What one pass over a request tells beside its fields: how many messages, how much text, and whether it points at input
//! that it does not carry.
//!
//! References are looked for by key names at any depth. Where a tool's arguments happen to use such a name the answer errs
//! to "by reference", which makes a hold larger and never smaller.

use std::borrow::Cow;
use std::rc::Rc;

use super::fields::{Fields, Names, unescape};
use super::scan::{Kind, MAX_DEPTH, Visit, scan};
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
    /// The bytes between the quotes of a string; empty for other kinds.
    pub(crate) text: &'b [u8],
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
    keys: [Name; MAX_DEPTH + 2],
    /// How many messages, prompts or inputs.
    pub(crate) messages: u64,
    /// Whether the messages are numbers: one prompt as token ids.
    pub(crate) token_ids: bool,
    text: u64,
    /// Whether anything points at input from elsewhere.
    pub(crate) refers: bool,
}

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
    /// Reads `body` in one pass.
    pub(crate) fn of(body: &'a [u8], plan: &'static Plan) -> Result<Self, Malformed> {
        let fields = Fields::new(body, &(0..body.len()), plan.names);
        let keys = std::array::from_fn(|_| Name::default());
        let mut survey = Self { body, fields, plan, keys, messages: 0, token_ids: false, text: 0, refers: false };
        scan(body, &mut survey)?;
        Ok(Self { fields: survey.fields.check()?, ..survey })
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
        self.keys.get(depth).cloned().unwrap_or_default()
    }

    fn slice(&self, (start, end): (usize, usize)) -> &'a [u8] {
        self.body.get(start..end).unwrap_or_default()
    }

    fn is_message_list(&self, key: &[u8]) -> bool {
        self.plan.messages.iter().any(|name| name.as_bytes() == key)
    }

    fn observe(&mut self, depth: usize, kind: Kind, range: &ByteRange) {
        let (key, parent) = (self.name(depth), self.name(depth.saturating_sub(1)));
        let (key, parent) = (key.bytes(self.body), parent.bytes(self.body));
        let text = if kind == Kind::String { self.slice((range.start + 1, range.end.saturating_sub(1))) } else { &[] };
        if (depth == 2 || (depth == 1 && kind == Kind::String)) && self.is_message_list(key) {
            self.token_ids |= kind == Kind::Number;
            self.messages += u64::from(kind != Kind::Number);
        }
        if kind == Kind::Number && depth <= 3 && self.is_message_list(key) {
            self.text += estimate::BYTES_PER_TOKEN;
        }
        let by_value = matches!(key, b"data" | b"file_data") || text.starts_with(b"data:");
        if !by_value {
            self.text += u64::try_from(text.len()).unwrap_or(0);
        }
        if depth > 1 && !self.refers {
            // A long text is no word that a rule knows, and its first letters need no decoding.
            let text = if text.len() < LONGEST_WORD { plain(text) } else { Cow::Borrowed(text) };
            self.refers = (self.plan.refers)(&Place { depth, parent, key, kind, text: &text });
        }
    }
}

impl Visit for Survey<'_> {
    fn key(&mut self, depth: usize, key: ByteRange) {
        if depth > 3 {
            self.text += u64::try_from(key.len()).unwrap_or(0);
        }
        if let Some(slot) = self.keys.get_mut(depth) {
            *slot = Name::of(self.body, &key);
        }
        self.fields.key(depth, key);
    }

    fn value(&mut self, depth: usize, kind: Kind, range: ByteRange) {
        self.observe(depth, kind, &range);
        let inherited = self.name(depth);
        if let Some(slot) = self.keys.get_mut(depth + 1) {
            *slot = inherited;
        }
        self.fields.value(depth, kind, range);
    }

    fn close(&mut self, depth: usize, end: usize) {
        self.fields.close(depth, end);
    }
}

/// The key that a value stands under, decoded once however many values do.
#[derive(Debug, Clone)]
enum Name {
    /// As it is written.
    Plain(ByteRange),
    /// Without its escapes.
    Decoded(Rc<[u8]>),
}

impl Default for Name {
    fn default() -> Self {
        Self::Plain(0..0)
    }
}

impl Name {
    fn of(body: &[u8], key: &ByteRange) -> Self {
        if key.len() > LONGEST_KEY {
            return Self::default();
        }
        match plain(body.get(key.clone()).unwrap_or_default()) {
            Cow::Owned(text) => Self::Decoded(Rc::from(text)),
            Cow::Borrowed(_) => Self::Plain(key.clone()),
        }
    }

    fn bytes<'b>(&'b self, body: &'b [u8]) -> &'b [u8] {
        match self {
            Self::Plain(range) => body.get(range.clone()).unwrap_or_default(),
            Self::Decoded(text) => text,
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
