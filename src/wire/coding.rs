//! Response codings undone beside the stream, so that a compressed answer can be metered. The client gets the coded bytes.
//!
//! Everything that can be decoded is handed out at once, except zstd: its decoder keeps the last window of a frame until the
//! frame ends. A decoder refuses bombs and, once it has failed, stays failed.

use std::io::Write;

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::zstd::Zstd;

/// A content coding (RFC 9110, section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// gzip, also as `x-gzip`.
    Gzip,
    /// zlib, or bare deflate as some servers send it.
    Deflate,
    /// Brotli.
    Brotli,
    /// Zstandard.
    Zstd,
}

/// Why decoding stopped. The answer goes on to the client; only its usage stays unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodingError {
    /// The bytes are not what the coding says.
    Corrupt,
    /// More than 512 MiB, or over 1,000 times its size after the first MiB.
    Bomb,
}

impl std::fmt::Display for CodingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Corrupt => "the answer is not in the coding that `content-encoding` names",
            Self::Bomb => "the answer decodes to more than 512 MiB or 1000 times its size",
        })
    }
}

impl std::error::Error for CodingError {}

/// The most that is decoded of one answer, in bytes.
const MOST_DECODED: u64 = 512 << 20;
/// Up to here any ratio is legal.
const FREE: u64 = 1 << 20;
const MOST_RATIO: u64 = 1000;
/// Coded bytes taken at a time, so that little is decoded before the guard looks.
const STEP: usize = 4096;

impl Coding {
    /// Reads the value of `content-encoding`. `None` for a coding that is not known, or several.
    pub fn parse(value: &str) -> Option<Self> {
        match value.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "br" => Some(Self::Brotli),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// The decoders' output, up to what the coded bytes so far allow.
#[derive(Debug, Default)]
struct Guarded {
    ready: Vec<u8>,
    decoded: u64,
    allowed: u64,
}

impl Write for Guarded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.decoded = self.decoded.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if self.decoded > self.allowed {
            return Err(std::io::Error::other("bomb"));
        }
        self.ready.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

enum State {
    Identity,
    Gzip(Box<MultiGzDecoder<Guarded>>),
    /// The first byte of a `deflate` answer, before it shows which of the two forms it has.
    Undecided(Option<u8>),
    Zlib(Box<ZlibDecoder<Guarded>>),
    Bare(Box<DeflateDecoder<Guarded>>),
    Brotli(Box<brotli_decompressor::DecompressorWriter<Guarded>>),
    Zstd(Box<Zstd>, Guarded),
    Failed(CodingError),
}

/// Decodes one answer in pieces.
pub struct Decoder {
    state: State,
    coded: u64,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("coded", &self.coded).finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder for `coding`.
    pub fn new(coding: Coding) -> Self {
        let out = Guarded::default;
        let state = match coding {
            Coding::Identity => State::Identity,
            Coding::Gzip => State::Gzip(Box::new(MultiGzDecoder::new(out()))),
            Coding::Deflate => State::Undecided(None),
            Coding::Brotli => State::Brotli(Box::new(brotli_decompressor::DecompressorWriter::new(out(), STEP))),
            Coding::Zstd => State::Zstd(Box::default(), out()),
        };
        Self { state, coded: 0 }
    }

    /// Takes the next coded bytes and hands out what they decode to. After an error every further call gives it again.
    pub fn push(&mut self, coded: &[u8], out: &mut dyn FnMut(&[u8])) -> Result<(), CodingError> {
        for step in coded.chunks(STEP) {
            self.coded = self.coded.saturating_add(u64::try_from(step.len()).unwrap_or(u64::MAX));
            if let Err(error) = self.step(step, out) {
                self.state = State::Failed(error);
                return Err(error);
            }
        }
        Ok(())
    }

    fn step(&mut self, coded: &[u8], out: &mut dyn FnMut(&[u8])) -> Result<(), CodingError> {
        let allowed = self.coded.saturating_mul(MOST_RATIO).clamp(FREE, MOST_DECODED);
        if let State::Undecided(first) = self.state {
            return self.decide(first, coded, out);
        }
        match &mut self.state {
            State::Identity | State::Undecided(_) => out(coded),
            State::Failed(error) => return Err(*error),
            State::Gzip(decoder) => feed(decoder.as_mut(), coded, allowed, MultiGzDecoder::get_mut, out)?,
            State::Zlib(decoder) => feed(decoder.as_mut(), coded, allowed, ZlibDecoder::get_mut, out)?,
            State::Bare(decoder) => feed(decoder.as_mut(), coded, allowed, DeflateDecoder::get_mut, out)?,
            State::Brotli(decoder) => {
                feed(decoder.as_mut(), coded, allowed, brotli_decompressor::DecompressorWriter::get_mut, out)?;
            }
            State::Zstd(decoder, guarded) => {
                guarded.allowed = allowed;
                let result = decoder.push(coded, guarded);
                hand_out(guarded, out);
                result.map_err(|_| reason(guarded))?;
            }
        }
        Ok(())
    }

    /// zlib begins with a header that is a multiple of 31 (RFC 1950, section 2.2); bare deflate does not name itself.
    fn decide(&mut self, first: Option<u8>, coded: &[u8], out: &mut dyn FnMut(&[u8])) -> Result<(), CodingError> {
        let both: Vec<u8> = first.into_iter().chain(coded.iter().copied()).collect();
        let [a, b, ..] = both.as_slice() else {
            self.state = State::Undecided(both.first().copied());
            return Ok(());
        };
        self.state = if a & 0x0f == 8 && u16::from_be_bytes([*a, *b]).is_multiple_of(31) {
            State::Zlib(Box::new(ZlibDecoder::new(Guarded::default())))
        } else {
            State::Bare(Box::new(DeflateDecoder::new(Guarded::default())))
        };
        self.step(&both, out)
    }
}

fn feed<W: Write>(
    decoder: &mut W,
    coded: &[u8],
    allowed: u64,
    guarded: impl Fn(&mut W) -> &mut Guarded,
    out: &mut dyn FnMut(&[u8]),
) -> Result<(), CodingError> {
    guarded(decoder).allowed = allowed;
    let result = write_some(decoder, coded).and_then(|()| decoder.flush());
    let guarded = guarded(decoder);
    hand_out(guarded, out);
    result.map_err(|_| reason(guarded))
}

/// Like `write_all`, but bytes behind the end of the coded text are passed over.
fn write_some<W: Write>(decoder: &mut W, mut coded: &[u8]) -> std::io::Result<()> {
    while !coded.is_empty() {
        match decoder.write(coded)? {
            0 => return Ok(()),
            taken => coded = coded.get(taken..).unwrap_or_default(),
        }
    }
    Ok(())
}

fn hand_out(guarded: &mut Guarded, out: &mut dyn FnMut(&[u8])) {
    if !guarded.ready.is_empty() {
        out(&guarded.ready);
        guarded.ready.clear();
    }
}

fn reason(guarded: &Guarded) -> CodingError {
    if guarded.decoded > guarded.allowed { CodingError::Bomb } else { CodingError::Corrupt }
}
