//! Reads one HTTP/1.1 answer as its bytes come in and says when it is whole. It keeps nothing but counts, and takes no answer
//! that is not framed by a length or by chunks: an answer that merely stops is a failure here.

use std::fmt;

use memchr::memmem;

use super::message::{field, head_length, number};

/// What ends every whole stream.
const LAST_EVENT: &[u8; 14] = b"data: [DONE]\n\n";

/// Why an exchange does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Answered with another status than 200.
    Status(u16),
    /// Not HTTP as it is expected here.
    Malformed(&'static str),
    /// A stream that was framed well and did not end with `[DONE]`.
    Unfinished,
    /// The connection ended first.
    Closed,
    /// The socket failed.
    Socket(std::io::ErrorKind),
}

impl fmt::Display for Fault {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(text, "status {status}"),
            Self::Malformed(what) => write!(text, "malformed answer: {what}"),
            Self::Unfinished => text.write_str("a stream without `[DONE]` at its end"),
            Self::Closed => text.write_str("the connection was closed before the answer was whole"),
            Self::Socket(kind) => write!(text, "socket: {kind}"),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Socket(error.kind())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of the body are to come.
    Length(u64),
    /// In the line that says how long the next chunk is; `true` when its digits are over.
    Size(u64, bool),
    Chunk(u64),
    /// After a chunk's bytes, until the line is over.
    AfterChunk,
    /// In the trailers, so many bytes into a line.
    Trailer(u64),
    Whole,
}

/// One answer while it is read.
#[derive(Debug)]
pub(super) struct Answer {
    state: State,
    /// The head's beginning while it is not all there; a head that comes at once is never copied.
    head: Vec<u8>,
    status: u16,
    closes: bool,
    streamed: bool,
    body: u64,
    events: u64,
    tail: [u8; 14],
}

impl Answer {
    /// A stream has its events counted and must end with `[DONE]`.
    pub(super) fn new(streamed: bool) -> Self {
        Self {
            state: State::Head,
            head: Vec::new(),
            status: 0,
            closes: false,
            streamed,
            body: 0,
            events: 0,
            tail: [0; 14],
        }
    }

    /// Whether the sender closes the connection after this answer.
    pub(super) fn closes(&self) -> bool {
        self.closes
    }

    /// Bytes of the body so far.
    pub(super) fn body(&self) -> u64 {
        self.body
    }

    /// Events so far; 0 when it is no stream.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Takes the next bytes; `true` when the answer is whole.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<bool, Fault> {
        let mut rest = bytes;
        if self.state == State::Head {
            let Some(after) = self.read_head(bytes)? else { return Ok(false) };
            rest = after;
        }
        while !rest.is_empty() {
            rest = self.advance(rest)?;
        }
        if self.state != State::Whole {
            return Ok(false);
        }
        if self.streamed && &self.tail != LAST_EVENT {
            return Err(Fault::Unfinished);
        }
        Ok(true)
    }

    fn read_head<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, Fault> {
        if self.head.is_empty()
            && let Some(length) = head_length(bytes)
        {
            let (head, rest) = bytes.split_at(length);
            self.understand(head)?;
            return Ok(Some(rest));
        }
        let known = self.head.len();
        self.head.extend_from_slice(bytes);
        let Some(length) = head_length(&self.head) else { return Ok(None) };
        let head = std::mem::take(&mut self.head);
        self.understand(&head[..length])?;
        Ok(bytes.get(length.saturating_sub(known)..))
    }

    fn understand(&mut self, head: &[u8]) -> Result<(), Fault> {
        let status = head.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(number);
        self.status = status.and_then(|status| u16::try_from(status).ok()).ok_or(Fault::Malformed("status line"))?;
        if self.status != 200 {
            return Err(Fault::Status(self.status));
        }
        self.closes = field(head, "connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
        let chunked = field(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked"));
        self.state = match field(head, "content-length").and_then(number) {
            _ if chunked => State::Size(0, false),
            Some(0) => State::Whole,
            Some(length) => State::Length(length),
            None => return Err(Fault::Malformed("neither a length nor chunks")),
        };
        Ok(())
    }

    /// Reads on in the present state and returns what is left.
    fn advance<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Fault> {
        match self.state {
            State::Length(left) | State::Chunk(left) => {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let (mine, rest) = bytes.split_at(length);
                self.take_body(mine);
                let left = left - u64::try_from(length).unwrap_or(left);
                self.state = match (self.state, left) {
                    (State::Length(_), 0) => State::Whole,
                    (State::Length(_), left) => State::Length(left),
                    (_, 0) => State::AfterChunk,
                    (_, left) => State::Chunk(left),
                };
                Ok(rest)
            }
            State::Whole => Err(Fault::Malformed("bytes after the end")),
            _ => {
                let Some((byte, rest)) = bytes.split_first() else { return Ok(bytes) };
                self.line_byte(*byte)?;
                Ok(rest)
            }
        }
    }

    /// One byte of the framing between chunks.
    fn line_byte(&mut self, byte: u8) -> Result<(), Fault> {
        self.state = match (self.state, byte) {
            (State::Size(0, _), b'\n') => State::Trailer(0),
            (State::Size(size, _), b'\n') => State::Chunk(size),
            (State::Size(size, true), _) | (State::Size(size, false), b'\r' | b';' | b' ') => State::Size(size, true),
            (State::Size(size, false), digit) => {
                let digit = char::from(digit).to_digit(16).ok_or(Fault::Malformed("a chunk's size"))?;
                let size = size.checked_mul(16).and_then(|size| size.checked_add(u64::from(digit)));
                State::Size(size.ok_or(Fault::Malformed("a chunk's size"))?, false)
            }
            (State::AfterChunk, b'\r') => State::AfterChunk,
            (State::AfterChunk, b'\n') => State::Size(0, false),
            (State::AfterChunk, _) => return Err(Fault::Malformed("a chunk is longer than its size")),
            (State::Trailer(0), b'\n') => State::Whole,
            (State::Trailer(_), b'\n') => State::Trailer(0),
            (State::Trailer(length), b'\r') => State::Trailer(length),
            (State::Trailer(length), _) => State::Trailer(length + 1),
            (state, _) => state,
        };
        Ok(())
    }

    fn take_body(&mut self, bytes: &[u8]) {
        self.body += u64::try_from(bytes.len()).unwrap_or(0);
        if !self.streamed {
            return;
        }
        let split = self.tail[13] == b'\n' && bytes.first() == Some(&b'\n') && self.tail[12] != b'\n';
        let within = memmem::find_iter(bytes, b"\n\n").count();
        self.events += u64::try_from(within).unwrap_or(0) + u64::from(split);
        let kept = bytes.len().min(self.tail.len());
        self.tail.rotate_left(kept);
        let at = self.tail.len() - kept;
        self.tail[at..].copy_from_slice(&bytes[bytes.len() - kept..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
        9\r\ndata: a\n\n\r\n17;x=y\r\ndata: b\n\ndata: [DONE]\n\n\r\n0\r\nX: trailer\r\n\r\n";

    /// Everything that can be asked of an answer that came in these pieces.
    fn read(streamed: bool, pieces: &[&[u8]]) -> (Result<bool, Fault>, u64, u64, bool) {
        let mut answer = Answer::new(streamed);
        let mut last = Ok(false);
        for piece in pieces {
            last = answer.feed(piece);
            if last.is_err() {
                break;
            }
        }
        (last, answer.body(), answer.events(), answer.closes())
    }

    #[test]
    fn an_answer_with_a_length_is_whole_with_its_last_byte() {
        let head: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        assert_eq!(read(false, &[head, b"hell"]), (Ok(false), 4, 0, false));
        assert_eq!(read(false, &[head, b"hell", b"o"]), (Ok(true), 5, 0, false));
        assert_eq!(read(false, &[head, b"hello!"]).0, Err(Fault::Malformed("bytes after the end")));
        assert_eq!(read(false, &[b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]).0, Ok(true));
    }

    #[test]
    fn another_status_and_an_answer_without_framing_are_faults() {
        assert_eq!(read(false, &[b"HTTP/1.1 429 Too Many\r\n\r\n"]).0, Err(Fault::Status(429)));
        assert_eq!(read(false, &[b"HTTP/1.1 200 OK\r\n\r\n"]).0, Err(Fault::Malformed("neither a length nor chunks")));
        assert_eq!(read(false, &[b"SSH-2.0\r\n\r\n"]).0, Err(Fault::Malformed("status line")));
    }

    #[test]
    fn a_stream_that_ends_early_is_a_fault_though_its_framing_is_whole() {
        let cut = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n0\r\n\r\n";
        assert_eq!(read(true, &[cut]).0, Err(Fault::Unfinished));
        assert_eq!(read(false, &[cut]).0, Ok(true));
    }

    proptest! {
        #[test]
        fn a_stream_reads_the_same_however_it_is_cut(mut cuts in prop::collection::vec(0..STREAM.len(), 0..12)) {
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &STREAM[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(true, &pieces), (Ok(true), 32, 3, true));
        }

        #[test]
        fn no_bytes_make_it_fall(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let framed = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".as_slice(), &bytes].concat();
            let _ = read(true, &[&framed]);
            let _ = read(true, &[&bytes]);
        }
    }
}
