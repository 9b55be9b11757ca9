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
#[derive(Debug, Clone, Copy)]
struct Node {
    /// The number of containers around it.
    depth: u32,
    kind: Kind,
    /// Between the quotes; empty for elements of arrays.
    key: Span,
    value: Span,
}

/// A range of the text.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    length: u32,
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
    text: &'o [u8],
    node: Node,
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
        let mut outline = Self { text: Cow::Borrowed(raw), nodes: SmallVec::new() };
        if !raw.is_empty() && !outline.read(raw, memchr(b'\\', raw).is_some()) {
            return serde_json::from_slice(raw).map(|value| Self::of_value(&value)).unwrap_or_default();
        }
        outline
    }

    /// The outline of a parsed value.
    pub(crate) fn of_value(value: &Value) -> Self {
        let text = value.to_string().into_bytes();
        let mut outline = Self::default();
        let _ = outline.read(&text, false);
        outline.text = Cow::Owned(text);
        outline
    }

    /// Gathers the values, none where the text is not JSON. Whether that is how the parser reads it.
    fn read(&mut self, text: &[u8], is_rare: bool) -> bool {
        let mut gathering = Gathering { text, nodes: &mut self.nodes, key: Span::default(), is_rare };
        let read = scan(text, &mut gathering);
        let is_plain = !gathering.is_rare;
        if read.is_err() {
            self.nodes.clear();
        }
        is_plain
    }

    /// The value itself, unless it is null.
    pub(crate) fn value(&self) -> Option<Written<'_>> {
        let (node, rest) = self.nodes.split_first()?;
        (node.kind != Kind::Null).then_some(Written { text: &self.text, node: *node, rest })
    }
}

impl Span {
    fn of(range: &ByteRange) -> Self {
        let small = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        Self { start: small(range.start), length: small(range.len()) }
    }

    fn of_text(self, text: &[u8]) -> &[u8] {
        let small = |place: u32| usize::try_from(place).unwrap_or(usize::MAX);
        text.get(small(self.start)..).and_then(|rest| rest.get(..small(self.length))).unwrap_or_default()
    }
}

impl Written<'_> {
    /// The member of this name, null or not.
    pub(crate) fn get(self, name: &str) -> Option<Self> {
        let length = u32::try_from(name.len()).ok().filter(|_| self.node.kind == Kind::Object)?;
        let mut found = None;
        for (index, node) in self.rest.iter().enumerate() {
            if node.depth <= self.node.depth {
                break;
            }
            let is_it = node.key.length == length && node.depth == self.node.depth + 1;
            if is_it && node.key.of_text(self.text) == name.as_bytes() {
                found = Some(index);
            }
        }
        found.map(|index| self.inner(index))
    }

    /// The elements, when it is an array.
    pub(crate) fn elements(self) -> impl Iterator<Item = Self> {
        let inside = move |node: &Node| node.depth > self.node.depth && self.node.kind == Kind::Array;
        let inside = self.rest.iter().take_while(move |node| inside(node)).enumerate();
        inside.filter(move |(_, node)| node.depth == self.node.depth + 1).map(move |(index, _)| self.inner(index))
    }

    /// The text, when it is a string.
    pub(crate) fn text(self) -> Option<String> {
        if self.node.kind == Kind::String {
            serde_json::from_slice(self.node.value.of_text(self.text)).ok()
        } else {
            None
        }
    }

    fn is_null(&self) -> bool {
        self.node.kind == Kind::Null
    }

    /// The value of the node that is so many nodes behind this one's.
    fn inner(self, index: usize) -> Self {
        let rest = self.rest.get(index..).and_then(<[Node]>::split_first);
        rest.map_or(self, |(node, rest)| Self { node: *node, rest, ..self })
    }

    fn count(self) -> Result<u64, Absurd> {
        let digit = |count: u64, digit: &u8| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            Some(count.saturating_mul(10).saturating_add(digit))
        };
        let digits = if self.node.kind == Kind::Number { self.node.value.of_text(self.text) } else { b"-" };
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
struct Gathering<'t, 'n> {
    text: &'t [u8],
    nodes: &'n mut SmallVec<[Node; 20]>,
    key: Span,
    is_rare: bool,
}

impl Gathering<'_, '_> {
    fn is_rare(&self, number: &ByteRange) -> bool {
        let text = self.text.get(number.clone()).unwrap_or_default();
        text.len() > LONGEST_NUMBER || text.iter().any(|byte| matches!(byte, b'e' | b'E'))
    }
}

impl Visit for Gathering<'_, '_> {
    fn key(&mut self, _: usize, key: Text) {
        self.key = Span::of(&key.range);
    }

    fn value(&mut self, depth: usize, kind: Kind, value: ByteRange) {
        self.is_rare |= depth > DEEPEST || (kind == Kind::Number && self.is_rare(&value));
        let depth = u32::try_from(depth).unwrap_or(u32::MAX);
        self.nodes.push(Node { depth, kind, key: std::mem::take(&mut self.key), value: Span::of(&value) });
    }

    fn close(&mut self, _: usize, _: usize) {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the parser's tree says at a place.
    fn by_tree(raw: &[u8], path: &[&str]) -> Result<Option<u64>, Absurd> {
        let tree = serde_json::from_slice::<Value>(raw).unwrap_or_default();
        match path.iter().try_fold(&tree, |value, key| value.get(key)) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_u64().filter(|count| *count <= MOST_TOKENS).map(Some).ok_or(Absurd),
        }
    }

    fn by_outline(raw: &[u8], path: &[&str]) -> Result<Option<u64>, Absurd> {
        Counts::of(Outline::of(raw).value()).count(path)
    }

    fn usage() -> impl Strategy<Value = String> {
        let number = "0|[1-9][0-9]{0,3}|-?[0-9]|1\\.5|1e2|-0|1e400|1099511627776|1099511627777|[1-9][0-9]{17,21}";
        let leaf = prop_oneof![4 => number, 1 => "null|true|\"7\"|\"\\\\ud800\"|\"\\\\n\"|nul"];
        let name = "a|b|c|a\\\\u0062|\\\\u0061|";
        leaf.prop_recursive(3, 24, 5, move |inner| {
            let members = proptest::collection::vec((name, inner.clone(), " ?|\n {0,12}"), 0..5).prop_map(|members| {
                let members = members.into_iter().map(|(name, value, gap)| format!("{gap}\"{name}\":{gap}{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            });
            let elements =
                proptest::collection::vec(inner, 0..3).prop_map(|elements| format!("[{}]", elements.join(",")));
            prop_oneof![4 => members, 1 => elements]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn an_outline_says_what_a_tree_says(raw in usage()) {
            for path in [&["a"][..], &["b"], &["a", "b"], &["c", "a"], &["b", "c", "a"], &["ab"]] {
                prop_assert_eq!(by_outline(raw.as_bytes(), path), by_tree(raw.as_bytes(), path), "{} {:?}", raw, path);
            }
        }

        #[test]
        fn arbitrary_bytes_say_what_they_say_in_a_tree(raw in "[\\[\\]{}\":,0-9ae .-]{0,20}") {
            prop_assert_eq!(by_outline(raw.as_bytes(), &["a"]), by_tree(raw.as_bytes(), &["a"]), "{}", raw);
        }
    }

    #[test]
    fn nesting_is_as_deep_as_the_parser_goes() {
        for depth in [99, 100, 101, 125, 126, 127, 128, 129] {
            let raw = format!("{{\"a\":1,\"b\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(by_outline(raw.as_bytes(), &["a"]), by_tree(raw.as_bytes(), &["a"]), "{depth}");
        }
    }
}
