//! Zstandard in pieces (RFC 8878): gathers input until a whole header or block is there, because the decoder reads from a
//! source that must not run dry. Windows above 8 MiB are refused, as HTTP requires (RFC 9659).

use std::io::{Error, Result, Write};

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

const MAGIC: u32 = 0xFD2F_B528;
const SKIPPABLE: u32 = 0x184D_2A50;
const MOST_WINDOW: u64 = 8 << 20;
/// The largest block, and so the most input that is held.
const MOST_BLOCK: usize = 128 << 10;

#[derive(Debug, Clone, Copy)]
enum Step {
    Frame,
    Block { checksum: bool },
    Skip(usize),
}

/// The decoder between two pieces.
pub(super) struct Zstd {
    decoder: FrameDecoder,
    input: Vec<u8>,
    step: Step,
}

impl Default for Zstd {
    fn default() -> Self {
        Self { decoder: FrameDecoder::new(), input: Vec::new(), step: Step::Frame }
    }
}

impl Zstd {
    /// Takes the next coded bytes and writes what can be decoded.
    pub(super) fn push(&mut self, coded: &[u8], out: &mut impl Write) -> Result<()> {
        self.input.extend_from_slice(coded);
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while let Some(taken) = self.advance(rest, out)? {
            rest = rest.get(taken..).unwrap_or_default();
        }
        self.input = rest.to_vec();
        Ok(())
    }

    /// One frame header, block or skipped stretch. `None` when it is not all there yet.
    fn advance(&mut self, input: &[u8], out: &mut impl Write) -> Result<Option<usize>> {
        match self.step {
            Step::Frame => self.frame(input),
            Step::Block { checksum } => self.block(input, checksum, out),
            Step::Skip(length) => {
                let taken = length.min(input.len());
                self.step = if taken == length { Step::Frame } else { Step::Skip(length - taken) };
                Ok((taken > 0 || length == 0).then_some(taken))
            }
        }
    }

    fn frame(&mut self, input: &[u8]) -> Result<Option<usize>> {
        let Some((magic, rest)) = input.split_first_chunk::<4>() else { return Ok(None) };
        let magic = u32::from_le_bytes(*magic);
        if magic & 0xFFFF_FFF0 == SKIPPABLE {
            let Some(length) = rest.first_chunk::<4>() else { return Ok(None) };
            self.step = Step::Skip(usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX));
            return Ok(Some(8));
        }
        if magic != MAGIC {
            return Err(Error::other("no frame"));
        }
        let Some(descriptor) = rest.first() else { return Ok(None) };
        let single = descriptor & 0x20 != 0;
        let dictionary = [0, 1, 2, 4].get(usize::from(descriptor & 3)).copied().unwrap_or_default();
        let size = match descriptor >> 6 {
            0 => usize::from(single),
            flag => 1 << flag,
        };
        let length = 4 + 1 + usize::from(!single) + dictionary + size;
        let Some(mut header) = input.get(..length) else { return Ok(None) };
        if !single && rest.get(1).is_some_and(|byte| window(*byte) > MOST_WINDOW) {
            return Err(Error::other("the window is too large"));
        }
        self.decoder.reset(&mut header).map_err(Error::other)?;
        if single && self.decoder.content_size() > MOST_WINDOW {
            return Err(Error::other("the window is too large"));
        }
        self.step = Step::Block { checksum: descriptor & 4 != 0 };
        Ok(Some(length))
    }

    fn block(&mut self, input: &[u8], checksum: bool, out: &mut impl Write) -> Result<Option<usize>> {
        let Some([a, b, c]) = input.first_chunk::<3>() else { return Ok(None) };
        let header = u32::from_le_bytes([*a, *b, *c, 0]);
        let size = usize::try_from(header >> 3).unwrap_or(usize::MAX);
        let content = if header >> 1 & 3 == 1 { 1 } else { size };
        if size > MOST_BLOCK {
            return Err(Error::other("the block is too large"));
        }
        let last = header & 1 == 1;
        let length = 3 + content + if last && checksum { 4 } else { 0 };
        let Some(block) = input.get(..length) else { return Ok(None) };
        self.decoder.decode_blocks(block, BlockDecodingStrategy::UptoBlocks(1)).map_err(Error::other)?;
        self.decoder.collect_to_writer(&mut *out)?;
        if last {
            self.step = Step::Frame;
        }
        Ok(Some(length))
    }
}

fn window(descriptor: u8) -> u64 {
    let base = 1_u64 << (10 + u32::from(descriptor >> 3));
    base + base / 8 * u64::from(descriptor & 7)
}
