//! A usage object, read once without a tree and then asked for the numbers at some places.
//!
//! It says what `serde_json::Value` would say of the same bytes: the last of two members of one name counts, and what that
//! parser refuses says nothing. Spellings that are rare in usage (escapes, exponents, endless numbers, deep nesting) are left to
//! that parser, and its own spelling is read instead.

use std::borrow::Cow;

use memchr::memchr;
use serde_json::Value;
use smallvec::SmallVec;

use super::ByteRange;
use super::scan::{Kind, Text, Visit, scan};

/// Numbers above this are taken for nonsense: 2⁴⁰ tokens.
const MOST_TOKENS: u64 = 1 << 40;
/// Longer numbers may be out of the parser's range.
const LONGEST_NUMBER: usize = 300;
/// Deeper nesting may be too deep for the parser.
const DEEPEST: usize = 100;

/// A number is negative, not whole, or beyond belief.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Absurd;

/// One value.
#[derive(Debug)]
struct Node {
    /// The number of containers around it.
    depth: usize,
    kind: Kind,
    /// Between the quotes; empty for elements of arrays.
    key: ByteRange,
    value: ByteRange,
}

/// The values of a text in the order of the text.
#[derive(Debug, Default)]
pub(crate) struct Outline<'r> {
    text: Cow<'r, [u8]>,
    nodes: SmallVec<[Node; 20]>,
}

/// A value of an outline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'o> {
    outline: &'o Outline<'o>,
    node: &'o Node,
    /// The nodes behind it.
    rest: &'o [Node],
}

/// Counts from two objects, of which the first speaks where the last says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts<'o> {
    /// The object that speaks first.
    pub(crate) last: Option<Written<'o>>,
    /// The object that fills the gaps.
    pub(crate) first: Option<Written<'o>>,
}

impl<'r> Outline<'r> {
    /// Reads a value. What is not JSON has no values.
    pub(crate) fn of(raw: &'r [u8]) -> Self {
        let mut nodes = Nodes::of(raw);
        nodes.is_rare = memchr(b'\\', raw).is_some();
        if raw.is_empty() || (!nodes.is_rare && scan(raw, &mut nodes).is_err()) {
            return Self::default();
        }
        if nodes.is_rare {
            return serde_json::from_slice(raw).map(|value| Self::of_value(&value)).unwrap_or_default();
        }
        Self { text: Cow::Borrowed(raw), nodes: nodes.found }
    }

    /// The outline of a parsed value.
    pub(crate) fn of_value(value: &Value) -> Self {
        let text = value.to_string().into_bytes();
        let mut nodes = Nodes::of(&text);
        match scan(&text, &mut nodes) {
            Ok(()) => Self { nodes: nodes.found, text: Cow::Owned(text) },
            Err(_) => Self::default(),
        }
    }

    /// The value itself, unless it is null.
    pub(crate) fn value(&self) -> Option<Written<'_>> {
        let (node, rest) = self.nodes.split_first()?;
        (node.kind != Kind::Null).then_some(Written { outline: self, node, rest })
    }

    fn slice(&self, range: &ByteRange) -> &[u8] {
        self.text.get(range.clone()).unwrap_or_default()
    }
}

impl<'o> Written<'o> {
    /// The member of this name, null or not.
    pub(crate) fn get(self, name: &str) -> Option<Self> {
        let is_it =
            |inner: &Self| inner.node.key.len() == name.len() && self.outline.slice(&inner.node.key) == name.as_bytes();
        if self.node.kind == Kind::Object { self.inner().filter(is_it).last() } else { None }
    }

    /// The elements, when it is an array.
    pub(crate) fn elements(self) -> impl Iterator<Item = Self> {
        let all = if self.node.kind == Kind::Array { Some(self.inner()) } else { None };
        all.into_iter().flatten()
    }

    /// The text, when it is a string.
    pub(crate) fn text(self) -> Option<String> {
        let quoted = (self.node.kind == Kind::String).then(|| self.outline.slice(&self.node.value))?;
        serde_json::from_slice(quoted).ok()
    }

    fn is_null(&self) -> bool {
        self.node.kind == Kind::Null
    }

    fn inner(self) -> impl Iterator<Item = Self> {
        let depth = self.node.depth;
        let all = self.rest.iter().enumerate().take_while(move |(_, node)| node.depth > depth);
        all.filter(move |(_, node)| node.depth == depth + 1).map(move |(index, node)| {
            let rest = self.rest.get(index + 1..).unwrap_or_default();
            Self { outline: self.outline, node, rest }
        })
    }

    fn count(self) -> Result<u64, Absurd> {
        let digit = |count: u64, digit: &u8| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            Some(count.saturating_mul(10).saturating_add(digit))
        };
        let digits = if self.node.kind == Kind::Number { self.outline.slice(&self.node.value) } else { b"-" };
        digits.iter().try_fold(0, digit).filter(|count| *count <= MOST_TOKENS).ok_or(Absurd)
    }
}

impl<'o> Counts<'o> {
    /// The counts of one object.
    pub(crate) fn of(object: Option<Written<'o>>) -> Self {
        Self { last: object, first: None }
    }

    /// The member of this name, unless it is null.
    pub(crate) fn get(&self, name: &str) -> Option<Written<'o>> {
        let said = |object: Option<Written<'o>>| object?.get(name).filter(|value| !value.is_null());
        said(self.last).or_else(|| said(self.first))
    }

    /// A count at a place. Absent, null or beside an object: `None`.
    pub(crate) fn count(&self, path: &[&str]) -> Result<Option<u64>, Absurd> {
        let Some((name, path)) = path.split_first() else { return Ok(None) };
        let found = path.iter().try_fold(self.get(name), |value, name| Some(value?.get(name)));
        found.flatten().filter(|value| !value.is_null()).map(Written::count).transpose()
    }
}

/// Takes out what no count of tokens can be.
pub(crate) fn forget_absurd(value: &mut Value) {
    match value {
        Value::Number(number) if number.as_u64().is_none_or(|count| count > MOST_TOKENS) => *value = Value::Null,
        Value::Array(items) if items.iter().any(|item| !item.is_object()) => *value = Value::Null,
        Value::Array(items) => items.iter_mut().for_each(forget_absurd),
        Value::Object(fields) if fields.is_empty() => *value = Value::Null,
        Value::Object(fields) => fields.values_mut().for_each(|field| match field {
            Value::String(_) | Value::Bool(_) => *field = Value::Null,
            other => forget_absurd(other),
        }),
        _ => {}
    }
}

/// Gathers nodes from the scanner.
struct Nodes<'t> {
    text: &'t [u8],
    found: SmallVec<[Node; 20]>,
    key: ByteRange,
    is_rare: bool,
}

impl<'t> Nodes<'t> {
    fn of(text: &'t [u8]) -> Self {
        Self { text, found: SmallVec::new(), key: 0..0, is_rare: false }
    }

    fn is_rare(&self, number: &ByteRange) -> bool {
        let text = self.text.get(number.clone()).unwrap_or_default();
        text.len() > LONGEST_NUMBER || text.iter().any(|byte| matches!(byte, b'e' | b'E'))
    }
}

impl Visit for Nodes<'_> {
    fn key(&mut self, _: usize, key: Text) {
        self.key = key.range;
    }

    fn value(&mut self, depth: usize, kind: Kind, value: ByteRange) {
        self.is_rare |= depth > DEEPEST || (kind == Kind::Number && self.is_rare(&value));
        self.found.push(Node { depth, kind, key: std::mem::take(&mut self.key), value });
    }

    fn close(&mut self, _: usize, _: usize) {}
}
