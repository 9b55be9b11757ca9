//! One pass over a JSON text, without a tree and without recursion.
//!
//! The scanner accepts exactly RFC 8259 in UTF-8 (no byte-order mark, nothing after the value, at most [`MAX_DEPTH`] levels)
//! and tells a visitor where keys and values lie. It refuses rather than repairs, so that what is judged here is what a
//! provider's parser will see. It does not decode values and does not look for duplicates: `fields.rs` does.

use super::{ByteRange, Malformed, octets};

/// The deepest nesting that is read. Each level costs one bit.
pub(crate) const MAX_DEPTH: usize = 128;

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// `12.5`
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

/// What stands between the quotes of a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    /// Its place.
    pub(crate) range: ByteRange,
    /// Whether it is ASCII without escapes, and so says what is written.
    pub(crate) simple: bool,
}

/// Hears what the scanner finds. The depth of a value is the number of containers around it.
pub(crate) trait Visit {
    /// A key of an object whose members lie at `depth`.
    fn key(&mut self, depth: usize, key: Text);
    /// A value begins. Scalars come whole (strings with their quotes), containers as their opening bracket.
    fn value(&mut self, depth: usize, kind: Kind, range: ByteRange);
    /// The container that lies at `depth` ends before `end`.
    fn close(&mut self, depth: usize, end: usize);
}

struct Scanner<'b, 'v, V> {
    body: &'b [u8],
    at: usize,
    depth: usize,
    /// One bit per level, the lowest for the innermost: 1 is an object.
    objects: u128,
    visit: &'v mut V,
    /// Why a step said `None`.
    fault: Option<Malformed>,
}

/// Reads `body` whole and tells `visit` what is in it.
pub(crate) fn scan(body: &[u8], visit: &mut impl Visit) -> Result<(), Malformed> {
    let mut scanner = Scanner { body, at: 0, depth: 0, objects: 0, visit, fault: None };
    match scanner.run() {
        Some(()) => Ok(()),
        None => Err(scanner.why()),
    }
}

fn malformed(what: &str) -> Malformed {
    Malformed { message: format!("the request body {what}; send one JSON object"), param: None }
}

impl<V: Visit> Scanner<'_, '_, V> {
    fn run(&mut self) -> Option<()> {
        loop {
            if self.value()? {
                continue;
            }
            if !self.after_value()? {
                return Some(());
            }
        }
    }

    /// Reads a scalar, or opens a container. True when another value must follow at once.
    fn value(&mut self) -> Option<bool> {
        match self.peek()? {
            b'{' => {
                self.open(Kind::Object)?;
                if self.peek()? == b'}' {
                    return Some(false);
                }
                self.key()?;
                Some(true)
            }
            b'[' => {
                self.open(Kind::Array)?;
                Some(self.peek()? != b']')
            }
            first => {
                let start = self.at;
                let kind = self.scalar(first)?;
                self.visit.value(self.depth, kind, start..self.at);
                Some(false)
            }
        }
    }

    fn scalar(&mut self, first: u8) -> Option<Kind> {
        match first {
            b'"' => self.string().map(|_| Kind::String),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal(b"true", Kind::Bool),
            b'f' => self.literal(b"false", Kind::Bool),
            b'n' => self.literal(b"null", Kind::Null),
            _ => self.wants("a value"),
        }
    }

    /// Reads on to the next value: closes containers, passes a comma and a key. False at the end of the text.
    fn after_value(&mut self) -> Option<bool> {
        loop {
            if self.depth == 0 {
                self.skip_space();
                return if self.at == self.body.len() { Some(false) } else { self.wants("the end") };
            }
            let object = self.objects & 1 == 1;
            match (self.peek()?, object) {
                (b',', _) => {
                    self.at += 1;
                    if object {
                        self.peek()?;
                        self.key()?;
                    }
                    return Some(true);
                }
                (b'}', true) | (b']', false) => {
                    self.at += 1;
                    self.depth -= 1;
                    self.objects >>= 1;
                    self.visit.close(self.depth, self.at);
                }
                (_, true) => return self.wants("`,` or `}`"),
                (_, false) => return self.wants("`,` or `]`"),
            }
        }
    }

    fn open(&mut self, kind: Kind) -> Option<()> {
        if self.depth == MAX_DEPTH {
            return self.stop(&format!("is nested deeper than {MAX_DEPTH} levels"));
        }
        self.visit.value(self.depth, kind, self.at..self.at + 1);
        self.at += 1;
        self.depth += 1;
        self.objects = (self.objects << 1) | u128::from(kind == Kind::Object);
        Some(())
    }

    fn key(&mut self) -> Option<()> {
        if self.body.get(self.at) != Some(&b'"') {
            return self.wants("a key");
        }
        let key = self.string()?;
        self.visit.key(self.depth, key);
        if self.peek()? != b':' {
            return self.wants("`:`");
        }
        self.at += 1;
        Some(())
    }

    /// Passes a string. Its bytes are looked at once, and decoded only where they are not ASCII.
    fn string(&mut self) -> Option<Text> {
        let start = self.at + 1;
        let (mut from, mut ascii, mut simple) = (start, true, true);
        loop {
            let run = octets::run(self.body.get(from..).unwrap_or_default());
            let end = from + run.length;
            ascii &= run.ascii;
            simple &= !run.escapes;
            match self.body.get(end) {
                Some(b'"') => {
                    self.at = end + 1;
                    let is_text = ascii || std::str::from_utf8(self.body.get(start..end).unwrap_or_default()).is_ok();
                    let text = Text { range: start..end, simple: simple && ascii };
                    return if is_text { Some(text) } else { self.wants("UTF-8") };
                }
                Some(b'\\') => from = end + self.escape(end)?,
                _ => return self.cut_string(end),
            }
            simple = false;
        }
    }

    /// What is wrong with a string that has neither quote nor escape at `at`.
    #[cold]
    fn cut_string(&mut self, at: usize) -> Option<Text> {
        self.at = at;
        if at < self.body.len() {
            return self.wants("no control character in a string");
        }
        self.stop("ends inside a string")
    }

    /// The length of the escape that begins at `at`.
    fn escape(&mut self, at: usize) -> Option<usize> {
        match self.body.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Some(2),
            Some(b'u') if self.body.get(at + 2..at + 6).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) => {
                Some(6)
            }
            _ => {
                self.at = at;
                self.wants("a valid escape")
            }
        }
    }

    fn number(&mut self) -> Option<Kind> {
        if self.body.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.body.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.body.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.body.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.body.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(Kind::Number)
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.body.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { self.wants("a digit") } else { Some(()) }
    }

    fn literal(&mut self, word: &[u8], kind: Kind) -> Option<Kind> {
        if !self.body.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return self.wants("a value");
        }
        self.at += word.len();
        Some(kind)
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.body.get(self.at) {
            self.at += 1;
            self.at += octets::spaces(self.body.get(self.at..).unwrap_or_default());
        }
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        let byte = self.body.get(self.at).copied();
        if byte.is_none() { self.stop("ends too early") } else { byte }
    }

    #[cold]
    fn wants<T>(&mut self, wanted: &str) -> Option<T> {
        self.stop(&format!("is not valid JSON: at byte {} there should be {wanted}", self.at))
    }

    #[cold]
    fn stop<T>(&mut self, what: &str) -> Option<T> {
        self.fault = Some(malformed(what));
        None
    }

    /// What is not UTF-8 is called that, whatever else is wrong.
    #[cold]
    fn why(self) -> Malformed {
        match std::str::from_utf8(self.body) {
            Ok(_) => self.fault.unwrap_or_else(|| malformed("is not valid JSON")),
            Err(fault) => malformed(&format!("is not UTF-8 at byte {}", fault.valid_up_to())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Deaf;
    impl Visit for Deaf {
        fn key(&mut self, _: usize, _: Text) {}
        fn value(&mut self, _: usize, _: Kind, _: ByteRange) {}
        fn close(&mut self, _: usize, _: usize) {}
    }

    fn accepts(text: &[u8]) -> bool {
        scan(text, &mut Deaf).is_ok()
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[",
            "[1",
            "[1,]",
            "[,1]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
            "{a:1}",
            "[1}",
            "{\"a\":1]",
            "{} {}",
            "{}x",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "tru",
            "nulll",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a",
            "\"\n\"",
            "'a'",
            "NaN",
            "\u{feff}{}",
            "{\"a\":1,,\"b\":2}",
            "[ ,1]",
            "{ ,\"a\":1}",
            "[1 ,]",
            "[[],]",
        ] {
            assert!(!accepts(text.as_bytes()), "{text:?}");
        }
        assert!(!accepts(b"\"\xff\""));
        assert!(!accepts("[".repeat(MAX_DEPTH + 1).as_bytes()));
        assert!(!accepts(format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1)).as_bytes()));
    }

    #[test]
    fn what_is_json_is_read() {
        for text in [
            "{}",
            "[]",
            " {\"a\" : [ ] , \"b\":{ } } ",
            "-0.5e+10",
            "\"\\u00e9\\\"\"",
            "[[],[{}],null,true,false]",
            "0",
        ] {
            assert!(accepts(text.as_bytes()), "{text:?}");
        }
        assert!(accepts(format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH)).as_bytes()));
    }

    proptest! {
        #[test]
        fn agrees_with_a_full_parser(text in "[\\[\\]{}\",:0-9a-c \\\\nulltre.-]{0,24}") {
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(accepts(text.as_bytes()), theirs, "{}", text);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = accepts(&bytes);
        }
    }
}
