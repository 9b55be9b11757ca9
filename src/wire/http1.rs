//! HTTP/1.1 as it is spoken to providers (RFC 9112): the head of a request, the head of its answer, and where the answer's
//! body ends. Bytes in, bytes out; whoever has the connection reads and writes.
//!
//! An answer whose end two readers could see in two places is refused: the rest of it would be read as the answer to somebody
//! else's request.

use std::fmt;
use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, response};
use hyper::ext::ReasonPhrase;
use memchr::memmem;

use self::chunked::Chunked;

mod chunked;

/// The most headers that an answer may have.
const HEADERS: usize = 128;

/// Why an answer cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Its head is not one.
    Head(httparse::Error),
    /// Its length is not clear.
    Length(&'static str),
    /// It changes the protocol, which no request of ours asks for.
    Switched,
    /// Its chunks are not.
    Chunk(&'static str),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => write!(f, "the head of an answer cannot be read: {error}"),
            Self::Length(why) => write!(f, "the length of an answer is not clear: {why}"),
            Self::Switched => f.write_str("an answer changes the protocol, which was not asked for"),
            Self::Chunk(why) => write!(f, "an answer's chunks cannot be read: {why}"),
        }
    }
}

impl std::error::Error for Malformed {}

/// The head of a request whose body has `length` bytes.
pub fn request_head<B>(request: &Request<B>, length: u64) -> Vec<u8> {
    let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    let mut head = Vec::with_capacity(request.method().as_str().len() + target.len() + fields + 64);
    for text in [request.method().as_str(), " ", target, " HTTP/1.1\r\n"] {
        head.extend_from_slice(text.as_bytes());
    }
    for (name, value) in request.headers() {
        field(&mut head, name, value.as_bytes());
    }
    // Some front ends insist on a length of an empty body too, where the method usually has one.
    if length > 0 || matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) {
        field(&mut head, &header::CONTENT_LENGTH, itoa::Buffer::new().format(length).as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn field(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

/// The head of an answer.
#[derive(Debug)]
pub struct AnswerHead {
    /// Status and headers. The version is ours, not the provider's: it is said anew on every hop.
    pub parts: response::Parts,
    /// What follows the head.
    pub body: Body,
    /// Whether the connection may take another request after it.
    pub keep_alive: bool,
    /// How many bytes it took, with the interim answers before it.
    pub length: usize,
}

/// Whether the empty line that ends a head may be among these bytes.
pub fn may_end_head(bytes: &[u8]) -> bool {
    memmem::find(bytes, b"\n\r\n").is_some() || memmem::find(bytes, b"\n\n").is_some()
}

/// Reads the head of the answer to a request with this method; `None` while it is not there whole. Interim answers
/// (100, 103) are passed over.
pub fn answer_head(bytes: &[u8], to: &Method) -> Result<Option<AnswerHead>, Malformed> {
    let mut start = 0;
    loop {
        let rest = bytes.get(start..).unwrap_or_default();
        let mut fields = [const { MaybeUninit::uninit() }; HEADERS];
        let mut parsed = httparse::Response::new(&mut []);
        let parsing = httparse::ParserConfig::default();
        let status = parsing.parse_response_with_uninit_headers(&mut parsed, rest, &mut fields);
        let httparse::Status::Complete(length) = status.map_err(Malformed::Head)? else { return Ok(None) };
        start += length;
        match parsed.code {
            Some(101) => return Err(Malformed::Switched),
            Some(100..200) => {}
            _ => {
                let rest = rest.get(..length).unwrap_or_default();
                return head(&parsed, rest, to).map(|head| Some(AnswerHead { length: start, ..head }));
            }
        }
    }
}

/// The head of a final answer, of which `bytes` is the text.
fn head(parsed: &httparse::Response<'_, '_>, bytes: &[u8], to: &Method) -> Result<AnswerHead, Malformed> {
    let code = parsed.code.unwrap_or_default();
    let status = StatusCode::from_u16(code).map_err(|_| Malformed::Head(httparse::Error::Status))?;
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = status;
    if let Some(reason) = parsed.reason.filter(|reason| Some(*reason) != status.canonical_reason())
        && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
    {
        parts.extensions.insert(reason);
    }
    // All values are pieces of one copy.
    let text = Bytes::copy_from_slice(bytes);
    parts.headers.reserve(parsed.headers.len());
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let from = field.value.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
        let value = if field.value.is_empty() { Bytes::new() } else { text.slice(from..from + field.value.len()) };
        parts.headers.append(
            name.map_err(|_| Malformed::Head(httparse::Error::HeaderName))?,
            HeaderValue::from_maybe_shared(value).map_err(|_| Malformed::Head(httparse::Error::HeaderValue))?,
        );
    }
    let is_1_0 = parsed.version == Some(0);
    let body = body(status, &parts.headers, is_1_0, to)?;
    let says = |word: &[u8]| {
        let lists = parts.headers.get_all(header::CONNECTION).into_iter().map(HeaderValue::as_bytes);
        let mut tokens = lists.flat_map(|list| list.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        tokens.any(|token| token.eq_ignore_ascii_case(word))
    };
    let keep_alive = !says(b"close") && (!is_1_0 || says(b"keep-alive")) && !matches!(body, Body::UntilClose);
    Ok(AnswerHead { parts, body, keep_alive, length: 0 })
}

/// What follows a head (RFC 9112, section 6.3).
fn body(status: StatusCode, headers: &HeaderMap, is_1_0: bool, to: &Method) -> Result<Body, Malformed> {
    if *to == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Body::Length(0));
    }
    let lines = |name| headers.get_all(name).into_iter();
    let (mut lengths, mut codings) = (lines(header::CONTENT_LENGTH), lines(header::TRANSFER_ENCODING));
    let (length, coding) = match (lengths.next(), codings.next()) {
        (Some(_), Some(_)) => return Err(Malformed::Length("both `Content-Length` and `Transfer-Encoding` say it")),
        (Some(_), None) if lengths.next().is_some() => {
            return Err(Malformed::Length("`Content-Length` is said twice"));
        }
        one => one,
    };
    if let Some(coding) = coding {
        if is_1_0 {
            return Err(Malformed::Length("HTTP/1.0 has no `Transfer-Encoding`"));
        }
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
            return Err(Malformed::Length("no transfer coding but `chunked` was asked for"));
        }
        return Ok(Body::Chunked(Chunked::default()));
    }
    let Some(length) = length else { return Ok(Body::UntilClose) };
    let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits.and_then(|digits| digits.parse().ok());
    length.map(Body::Length).ok_or(Malformed::Length("`Content-Length` is not a number"))
}

/// The rest of an answer's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks, until the last one says so.
    Chunked(Chunked),
    /// Everything until the provider closes the connection.
    UntilClose,
}

impl Body {
    /// Reads on. Returns the content and how many of the bytes were read: all of them, unless the body has ended or cannot be
    /// read on.
    pub fn read(&mut self, bytes: &[u8]) -> (Bytes, usize) {
        match self {
            Self::Length(left) => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX);
                let content = bytes.get(..most).unwrap_or(bytes);
                *left -= content.len() as u64;
                (Bytes::copy_from_slice(content), content.len())
            }
            Self::Chunked(chunked) => {
                let mut content = Vec::with_capacity(bytes.len());
                let used = chunked.read(bytes, &mut content);
                (content.into(), used)
            }
            Self::UntilClose => (Bytes::copy_from_slice(bytes), bytes.len()),
        }
    }

    /// Whether the last byte of it was read.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_over(),
            Self::UntilClose => false,
        }
    }

    /// Why it cannot be read on.
    pub fn malformed(&self) -> Option<Malformed> {
        match self {
            Self::Chunked(chunked) => chunked.malformed().map(Malformed::Chunk),
            Self::Length(_) | Self::UntilClose => None,
        }
    }

    /// How many bytes of content are still to come, where that was said.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }
}
