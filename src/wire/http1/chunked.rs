//! The chunked transfer coding (RFC 9112, section 7.1). Extensions and trailers are passed over.

/// The most bytes that a chunk's extensions, or all trailers, may have.
const LINE: u32 = 16 * 1024;

/// How far a chunked body was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunked {
    at: At,
    /// What is left of the chunk, or its size as far as it was read.
    left: u64,
    /// The length of what is passed over, or of the size.
    line: u32,
}

/// What comes next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    /// A digit of a chunk's size, or what ends it.
    #[default]
    Size,
    /// Blanks after a size.
    Padding,
    Extension,
    /// The line feed after a size.
    SizeEnd,
    Data,
    /// The carriage return after a chunk's data.
    DataReturn,
    /// The line feed after it.
    DataEnd,
    /// The first byte of a trailer, or the end of them.
    Trailers,
    Trailer,
    TrailerEnd,
    /// The last byte of all.
    LastEnd,
    Over,
    Malformed(&'static str),
}

impl Chunked {
    /// Reads on and appends the content. Returns how many bytes were read.
    pub(super) fn read(&mut self, bytes: &[u8], content: &mut Vec<u8>) -> usize {
        let mut rest = bytes;
        while !matches!(self.at, At::Over | At::Malformed(_)) {
            if self.at == At::Data {
                let most = usize::try_from(self.left).unwrap_or(usize::MAX);
                let (data, after) = rest.split_at(most.min(rest.len()));
                content.extend_from_slice(data);
                self.left -= data.len() as u64;
                rest = after;
                if self.left == 0 {
                    self.at = At::DataReturn;
                }
            }
            let Some((&byte, after)) = rest.split_first() else { break };
            self.step(byte);
            rest = after;
        }
        bytes.len() - rest.len()
    }

    fn step(&mut self, byte: u8) {
        self.at = match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte),
            (At::Size, b'\r' | b';' | b' ' | b'\t') if self.line == 0 => At::Malformed("a chunk without a size"),
            (At::Size | At::Padding | At::Extension, b'\r') => At::SizeEnd,
            (At::Size | At::Padding, b' ' | b'\t') => self.pass_over(At::Padding),
            (At::Size | At::Padding, b';') => self.pass_over(At::Extension),
            (At::Size | At::Padding | At::Extension | At::Trailers | At::Trailer, b'\n') => {
                At::Malformed("a line feed without a carriage return")
            }
            (At::Size | At::Padding, _) => At::Malformed("a chunk's size is not a hexadecimal number"),
            (At::Extension, _) => self.pass_over(At::Extension),
            (At::SizeEnd, b'\n') => {
                self.line = 0;
                if self.left == 0 { At::Trailers } else { At::Data }
            }
            (At::DataReturn, b'\r') => At::DataEnd,
            (At::DataEnd, b'\n') => At::Size,
            (At::Trailers, b'\r') => At::LastEnd,
            (At::Trailer, b'\r') => At::TrailerEnd,
            (At::Trailers | At::Trailer, _) => self.pass_over(At::Trailer),
            (At::TrailerEnd, b'\n') => At::Trailers,
            (At::LastEnd, b'\n') => At::Over,
            (At::DataReturn | At::DataEnd, _) => At::Malformed("a chunk is longer than it says"),
            (At::SizeEnd | At::TrailerEnd | At::LastEnd, _) => At::Malformed("a carriage return without a line feed"),
            (At::Data | At::Over | At::Malformed(_), _) => self.at,
        };
    }

    fn digit(&mut self, byte: u8) -> At {
        let value = char::from(byte).to_digit(16).unwrap_or_default();
        let Some(size) = self.left.checked_mul(16) else { return At::Malformed("a chunk's size is too large") };
        self.left = size | u64::from(value);
        self.pass_over(At::Size)
    }

    fn pass_over(&mut self, to: At) -> At {
        self.line += 1;
        if self.line > LINE { At::Malformed("a chunk's extensions or the trailers are too long") } else { to }
    }

    pub(super) fn is_over(&self) -> bool {
        self.at == At::Over
    }

    pub(super) fn malformed(&self) -> Option<&'static str> {
        match self.at {
            At::Malformed(why) => Some(why),
            _ => None,
        }
    }
}
