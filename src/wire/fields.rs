//! The members of one JSON object of a request: where each lies and what small values say.
//!
//! A field that is read may stand there once and in its own spelling only: a second `model`, or a `Model` beside it, is
//! refused, because parsers disagree about which one counts.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::scan::{Kind, Text, Visit, scan};
use super::{ByteRange, Malformed};

/// The names that are read of one object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    /// The names, in camelCase where `snake` says so.
    pub(crate) names: &'static [&'static str],
    /// Whether `max_output_tokens` is another spelling of `maxOutputTokens` (protobuf JSON).
    pub(crate) snake: bool,
}

/// A member that is there.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    name: &'static str,
    /// What it holds.
    pub(crate) kind: Kind,
    /// The value's place in the body.
    pub(crate) range: ByteRange,
}

/// The members of one object.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    body: &'a [u8],
    base: usize,
    names: Names,
    found: SmallVec<[Field; 8]>,
    current: Option<&'static str>,
    fault: Option<Malformed>,
    is_object: bool,
}

/// The largest number that may limit tokens; more is a mistake or an attack.
const MOST_TOKENS: u64 = 100_000_000;

impl<'a> Fields<'a> {
    /// Prepares to hear about the object in `range` of `body`.
    pub(crate) fn new(body: &'a [u8], range: &ByteRange, names: Names) -> Self {
        Self { body, base: range.start, names, found: SmallVec::new(), current: None, fault: None, is_object: false }
    }

    /// Reads the object in `range`, which has been scanned before.
    pub(crate) fn within(body: &'a [u8], range: &ByteRange, names: Names) -> Result<Self, Malformed> {
        let mut fields = Self::new(body, range, names);
        scan(body.get(range.clone()).unwrap_or_default(), &mut fields)?;
        fields.check()?;
        Ok(fields)
    }

    /// Ends the reading: says what was wrong on the way.
    pub(crate) fn check(&mut self) -> Result<(), Malformed> {
        match self.fault.take() {
            Some(fault) => Err(fault),
            None if self.is_object => Ok(()),
            None => Err(Malformed {
                message: "the request body is not a JSON object; send one JSON object".to_owned(),
                param: None,
            }),
        }
    }

    /// The member of this name, null or not.
    pub(crate) fn present(&self, name: &'static str) -> Option<&Field> {
        self.found.iter().find(|field| field.name == name)
    }

    /// The member of this name, unless it is null.
    pub(crate) fn field(&self, name: &'static str) -> Option<&Field> {
        self.present(name).filter(|field| field.kind != Kind::Null)
    }

    /// Whether any of these is there and says something: not null, not `false`, not an empty list or object.
    pub(crate) fn any(&self, names: &[&'static str]) -> bool {
        names.iter().filter_map(|name| self.field(name)).any(|field| {
            let text = self.body.get(field.range.clone()).unwrap_or_default();
            let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default().trim_ascii();
            match field.kind {
                Kind::Object | Kind::Array | Kind::String => !inner.is_empty(),
                Kind::Bool => text == b"true",
                Kind::Number | Kind::Null => true,
            }
        })
    }

    /// A text. Refuses other kinds.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, Malformed> {
        let Some(field) = self.field(name) else { return Ok(None) };
        if field.kind != Kind::String {
            return Err(wrong(name, "a string"));
        }
        let inner = self.body.get(field.range.start + 1..field.range.end.saturating_sub(1)).unwrap_or_default();
        unescape(inner).map(Some).ok_or_else(|| wrong(name, "a string of valid Unicode"))
    }

    /// A boolean; absent is false. Refuses other kinds, `"true"` among them.
    pub(crate) fn flag(&self, name: &'static str) -> Result<bool, Malformed> {
        match self.field(name) {
            None => Ok(false),
            Some(field) if field.kind == Kind::Bool => Ok(self.body.get(field.range.start) == Some(&b't')),
            Some(_) => Err(wrong(name, "`true` or `false`, without quotes")),
        }
    }

    /// A whole number from 0 up to a limit. Refuses signs, fractions, exponents and quotes.
    pub(crate) fn count(&self, name: &'static str, most: u64) -> Result<Option<u64>, Malformed> {
        let Some(field) = self.field(name) else { return Ok(None) };
        let number =
            (field.kind == Kind::Number).then(|| self.raw(field)).and_then(|digits| digits.parse::<u64>().ok());
        match number {
            Some(number) if number <= most => Ok(Some(number)),
            _ => Err(wrong(name, &format!("a whole number from 0 to {most}"))),
        }
    }

    /// A limit on tokens.
    pub(crate) fn tokens(&self, name: &'static str) -> Result<Option<u64>, Malformed> {
        self.count(name, MOST_TOKENS)
    }

    /// How many answers: absent is 1; refuses 0 and more than 128.
    pub(crate) fn choices(&self, name: &'static str) -> Result<u64, Malformed> {
        match self.count(name, 128) {
            Ok(None) => Ok(1),
            Ok(Some(count)) if count > 0 => Ok(count),
            _ => Err(wrong(name, "a whole number from 1 to 128")),
        }
    }

    /// The members of an object in this object; `None` when absent or null.
    pub(crate) fn object(&self, name: &'static str, names: Names) -> Result<Option<Self>, Malformed> {
        match self.field(name) {
            None => Ok(None),
            Some(field) if field.kind == Kind::Object => Self::within(self.body, &field.range, names).map(Some),
            Some(_) => Err(wrong(name, "an object")),
        }
    }

    /// The value as it is written.
    pub(crate) fn raw(&self, field: &Field) -> &'a str {
        self.body.get(field.range.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// Finds the name that a key is, or would be for a parser that does not look closely.
    fn place(&mut self, written: &[u8], simple: bool) {
        let names = self.names;
        if simple && !names.snake {
            return self.place_simple(written);
        }
        let Some(key) = unescape(written) else { return };
        for name in names.names.iter().filter(|name| !simple || may_be(written, name)) {
            if *key == **name || (names.snake && is_snake_of(&key, name)) {
                return self.take(name);
            }
            if folds_to(&key, name, names.snake) {
                self.fault = Some(misspelt(&key, name));
            }
        }
    }

    fn place_simple(&mut self, written: &[u8]) {
        let Some(first) = written.first() else { return };
        for name in self.names.names {
            if name.len() == written.len() && name.as_bytes().first() == Some(&(first | 0x20)) {
                if name.as_bytes() == written {
                    return self.take(name);
                }
                if name.as_bytes().eq_ignore_ascii_case(written) {
                    self.fault = Some(misspelt(&String::from_utf8_lossy(written), name));
                }
            }
        }
    }

    fn take(&mut self, name: &'static str) {
        if self.present(name).is_some() {
            self.fault = Some(twice(name));
        }
        self.current = Some(name);
    }
}

impl Visit for Fields<'_> {
    fn key(&mut self, depth: usize, key: Text) {
        if depth == 1 {
            self.current = None;
            let at = self.base + key.range.start..self.base + key.range.end;
            if let Some(written) = self.body.get(at) {
                self.place(written, key.simple);
            }
        }
    }

    fn value(&mut self, depth: usize, kind: Kind, range: ByteRange) {
        match (depth, self.current) {
            (0, _) => self.is_object = kind == Kind::Object,
            (1, Some(name)) => {
                let range = self.base + range.start..self.base + range.end;
                self.found.push(Field { name, kind, range });
            }
            _ => {}
        }
    }

    fn close(&mut self, depth: usize, end: usize) {
        if depth == 1
            && self.current.is_some()
            && let Some(field) = self.found.last_mut()
        {
            field.range.end = self.base + end;
        }
    }
}

/// The refusal of a value that is not what it should be.
pub(crate) fn wrong(name: &'static str, wanted: &str) -> Malformed {
    Malformed { message: format!("`{name}` is not {wanted}"), param: Some(name) }
}

fn misspelt(key: &str, name: &'static str) -> Malformed {
    let key = key.chars().take(40).collect::<String>();
    let message = format!("the field `{}` is not spelled like `{name}`; write it exactly so", key.escape_default());
    Malformed { message, param: Some(name) }
}

fn twice(name: &'static str) -> Malformed {
    Malformed { message: format!("`{name}` is there twice; send it once"), param: Some(name) }
}

/// The text of a string between its quotes. `None` when an escape names no character.
pub(crate) fn unescape(inner: &[u8]) -> Option<Cow<'_, str>> {
    if memchr::memchr(b'\\', inner).is_none() {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    let quoted = [b"\"", inner, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).ok().map(Cow::Owned)
}

/// Whether a key of ASCII begins like `name`, whatever its case and underscores.
fn may_be(key: &[u8], name: &str) -> bool {
    let first = key.iter().find(|byte| **byte != b'_');
    first.zip(name.as_bytes().first()).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
}

fn is_snake_of(key: &str, camel: &str) -> bool {
    let mut key = key.bytes();
    for letter in camel.bytes() {
        let expected = letter.to_ascii_lowercase();
        if letter.is_ascii_uppercase() && key.next() != Some(b'_') {
            return false;
        }
        if key.next() != Some(expected) {
            return false;
        }
    }
    key.next().is_none()
}

/// Whether a parser that ignores case would take `key` for `name`. Two letters outside ASCII fold into it (`ſ`, `K`).
fn folds_to(key: &str, name: &str, ignore_underscores: bool) -> bool {
    let fold = |letter: char| match letter {
        'ſ' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    let counts = |letter: &char| !(ignore_underscores && *letter == '_');
    key.chars().filter(counts).map(fold).eq(name.chars().filter(counts).map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names = Names { names: &["model", "max_tokens", "stream", "n"], snake: false };
    const CAMEL: Names = Names { names: &["maxOutputTokens"], snake: true };

    fn read(body: &str, names: Names) -> Result<Fields<'_>, Malformed> {
        Fields::within(body.as_bytes(), &(0..body.len()), names)
    }

    #[test]
    fn a_second_or_differently_spelled_field_is_refused() {
        for body in [
            r#"{"model":"a","model":"b"}"#,
            r#"{"Model":"a"}"#,
            r#"{"model":"a","mod\u0065l":"b"}"#,
            r#"{"MOD\u0045L":"a"}"#,
            "{\"max_to\u{212a}ens\":1}",
        ] {
            assert!(read(body, NAMES).is_err(), "{body}");
        }
        assert!(read(r#"{"max_output_tokens":1,"maxOutputTokens":2}"#, CAMEL).is_err());
        assert!(read(r#"{"MaxOutputTokens":1}"#, CAMEL).is_err());
        assert!(read(r#"{"max_output_tokens":1}"#, CAMEL).expect("read").present("maxOutputTokens").is_some());
        assert!(read(r#"{"models":[],"metadata":{"model":1,"Model":2}}"#, NAMES).is_ok());
    }

    #[test]
    fn absurd_numbers_are_refused_with_the_name_of_the_field() {
        for value in ["-1", "1e18", "1.5", "100.0", "\"100\"", "99999999999999999999", "true", "[]", "1e2"] {
            let body = format!("{{\"max_tokens\":{value}}}");
            let fault = read(&body, NAMES).expect("an object").tokens("max_tokens").expect_err(value);
            assert_eq!(fault.param, Some("max_tokens"), "{value}");
        }
        let body = r#"{"n":0,"stream":"true","max_tokens":null}"#;
        let fields = read(body, NAMES).expect("an object");
        assert!(fields.choices("n").is_err());
        assert!(fields.flag("stream").is_err());
        assert_eq!(fields.tokens("max_tokens"), Ok(None));
        insta::assert_snapshot!(fields.flag("stream").expect_err("a string").message,
            @"`stream` is not `true` or `false`, without quotes");
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        for body in ["[]", "1", "null", "\"model\""] {
            assert!(read(body, NAMES).is_err(), "{body}");
        }
    }
}
