//! Server-sent events across arbitrary chunk boundaries, without holding any.
//!
//! Lines end with LF, CR or CRLF; `data:` may or may not be followed by a space; other fields and comments are passed over.
//! The data of an event is handed on in pieces as it arrives, with a line feed between two data lines, as the
//! specification says (WHATWG HTML, section 9.2.6).

use memchr::memchr2;

/// Hears the data of events.
pub(crate) trait Events {
    /// A piece of an event's data.
    fn data(&mut self, piece: &[u8]);
    /// The event is over. Said once per blank line behind data.
    fn end(&mut self);
}

const FIELD: &[u8] = b"data:";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes of `data:` have matched since the line began.
    Name(usize),
    /// Right behind `data:`, where one space is passed over.
    Space,
    Data,
    Other,
}

/// The parser between two pieces.
#[derive(Debug)]
pub(crate) struct Sse {
    state: State,
    after_return: bool,
    has_data: bool,
}

impl Sse {
    /// At the beginning of a stream.
    pub(crate) fn new() -> Self {
        Self { state: State::Name(0), after_return: false, has_data: false }
    }

    /// Reads the next piece.
    pub(crate) fn read(&mut self, piece: &[u8], events: &mut impl Events) {
        let mut at = 0;
        while let Some(byte) = piece.get(at) {
            if std::mem::take(&mut self.after_return) && *byte == b'\n' {
                at += 1;
                continue;
            }
            at = match self.state {
                State::Name(0) if piece.get(at..).is_some_and(|rest| rest.starts_with(FIELD)) => {
                    self.state = State::Space;
                    at + FIELD.len()
                }
                State::Name(matched) => self.name(matched, *byte, at, events),
                State::Space => {
                    self.state = State::Data;
                    if std::mem::replace(&mut self.has_data, true) {
                        events.data(b"\n");
                    }
                    at + usize::from(*byte == b' ')
                }
                State::Data | State::Other => self.line(piece, at, events),
            };
        }
    }

    /// The stream is over: an event without its blank line counts as well.
    pub(crate) fn finish(&mut self, events: &mut impl Events) {
        if std::mem::take(&mut self.has_data) {
            events.end();
        }
        *self = Self::new();
    }

    fn name(&mut self, matched: usize, byte: u8, at: usize, events: &mut impl Events) -> usize {
        if matched == 0 && matches!(byte, b'\n' | b'\r') {
            self.after_return = byte == b'\r';
            if std::mem::take(&mut self.has_data) {
                events.end();
            }
            return at + 1;
        }
        if FIELD.get(matched) != Some(&byte) {
            self.state = State::Other;
            return at;
        }
        self.state = if matched + 1 == FIELD.len() { State::Space } else { State::Name(matched + 1) };
        at + 1
    }

    fn line(&mut self, piece: &[u8], at: usize, events: &mut impl Events) -> usize {
        let rest = piece.get(at..).unwrap_or_default();
        let found = memchr2(b'\n', b'\r', rest);
        let line = found.map_or(rest, |found| rest.get(..found).unwrap_or_default());
        if self.state == State::Data && !line.is_empty() {
            events.data(line);
        }
        if let Some(found) = found {
            self.after_return = rest.get(found) == Some(&b'\r');
            self.state = State::Name(0);
        }
        at + line.len() + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Heard {
        current: Vec<u8>,
        events: Vec<String>,
    }

    impl Events for Heard {
        fn data(&mut self, piece: &[u8]) {
            self.current.extend_from_slice(piece);
        }
        fn end(&mut self) {
            self.events.push(String::from_utf8_lossy(&std::mem::take(&mut self.current)).into_owned());
        }
    }

    fn heard<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
        let mut heard = Heard::default();
        let mut sse = Sse::new();
        for piece in pieces {
            sse.read(piece, &mut heard);
        }
        sse.finish(&mut heard);
        heard.events
    }

    #[test]
    fn reads_every_line_ending_and_form_of_field() {
        for (stream, events) in [
            ("data: a\n\ndata:b\n\n", vec!["a", "b"]),
            ("data: a\r\n\r\ndata: b\r\n\r\n", vec!["a", "b"]),
            ("data: a\r\rdata: b\r\r", vec!["a", "b"]),
            (": comment\n\nevent: x\ndata: a\nid: 1\n\n", vec!["a"]),
            ("data: a\ndata: b\n\n", vec!["a\nb"]),
            ("data:  a \n\n", vec![" a "]),
            ("data: a", vec!["a"]),
            ("data\n\ndat: x\n\ndatax: y\n\n", vec![]),
            ("\n\n\n", vec![]),
            ("data:\ndata:\n\n", vec!["\n"]),
        ] {
            assert_eq!(heard(std::iter::once(stream.as_bytes())), events, "{stream:?}");
        }
    }

    proptest! {
        #[test]
        fn any_split_yields_the_same_events(stream in "(data: ?[ab]{0,3}|[:x]|\n|\r|\r\n|d|da){0,30}", size in 1usize..5) {
            let whole = heard(std::iter::once(stream.as_bytes()));
            prop_assert_eq!(heard(stream.as_bytes().chunks(size)), whole);
        }
    }
}
