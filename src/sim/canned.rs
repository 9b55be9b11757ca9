//! Answers given word for word: recorded traffic with its own chunk boundaries, and ends that no clean script has.

use std::time::Duration;

use bytes::Bytes;

use super::bill::BillLine;

/// One answer to be sent exactly as it stands here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canned {
    /// The HTTP status; one that HTTP does not know is sent as 500.
    pub status: u16,
    /// Headers in order; those that HTTP cannot carry are left out.
    pub headers: Vec<(String, String)>,
    /// The body, one write to the socket per piece.
    pub chunks: Vec<Bytes>,
    /// Time before the head.
    pub delay: Duration,
    /// Time between two pieces.
    pub gap: Duration,
    /// How the body's length is told.
    pub framing: Framing,
    /// How the body ends.
    pub end: End,
    /// What goes on the provider's bill; `None` bills nothing.
    pub bill: Option<BillLine>,
}

/// How the length of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// `transfer-encoding: chunked`.
    #[default]
    Chunked,
    /// `content-length`.
    Length,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum End {
    /// As HTTP wants it.
    #[default]
    Clean,
    /// With a FIN in mid-body.
    Close,
    /// With a TCP reset in mid-body.
    Reset,
    /// Not at all: silence until the client goes.
    Stall,
}

impl Canned {
    /// A clean answer in one piece.
    pub fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            chunks: vec![body.into()],
            delay: Duration::ZERO,
            gap: Duration::ZERO,
            framing: Framing::default(),
            end: End::default(),
            bill: None,
        }
    }

    /// The same body cut into pieces of these lengths, again from the first when they are used up; zeros are passed over.
    pub fn in_pieces(mut self, lengths: &[usize]) -> Self {
        let mut rest: Bytes = self.chunks.concat().into();
        let mut lengths = lengths.iter().copied().filter(|length| *length > 0).cycle();
        self.chunks.clear();
        while !rest.is_empty() {
            let length = lengths.next().unwrap_or(rest.len()).min(rest.len());
            self.chunks.push(rest.split_to(length));
        }
        self
    }

    /// The same answer with one more header.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}
