//! Eight or sixteen bytes at a time, in plain arithmetic that compilers turn into vector instructions: for strings with escapes,
//! keys and other short texts, which cost less than a call of `memchr` does.

const ONES: u64 = u64::from_le_bytes([0x01; 8]);
const TOPS: u64 = u64::from_le_bytes([0x80; 8]);

/// How many words are looked at here before `memchr` takes over.
const SHORT: usize = 5;

/// The top bit of every byte that is zero. Above the first such byte others may be marked that are not zero.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & TOPS
}

/// The first of the marked bytes.
fn first(marks: u64) -> usize {
    usize::try_from(marks.trailing_zeros() / 8).unwrap_or(0)
}

/// The place of the first quote, when it is near.
pub(super) fn near_quote(text: &[u8]) -> Option<usize> {
    let words = text.as_chunks::<8>().0;
    let words = words.get(..SHORT).unwrap_or(words);
    for (index, word) in words.iter().enumerate() {
        let marks = zeros(u64::from_le_bytes(*word) ^ (ONES * 0x22));
        if marks != 0 {
            return Some(index * 8 + first(marks));
        }
    }
    None
}

static IN_SCALAR: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        byte += 1;
    }
    table
};

/// How many spaces a text begins with; perhaps fewer near its end.
pub(super) fn spaces(text: &[u8]) -> usize {
    let mut seen = 0;
    for word in text.as_chunks::<8>().0 {
        let others = u64::from_le_bytes(*word) ^ (ONES * 0x20);
        if others != 0 {
            return seen + first(others);
        }
        seen += 8;
    }
    seen
}

/// The beginning of a text that holds no quote, no control character, and no backslash but in escapes of two letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// How long it is.
    pub(super) length: usize,
    /// Whether it is all ASCII.
    pub(super) ascii: bool,
    /// Whether there are escapes in it.
    pub(super) escapes: bool,
}

/// How far a JSON string goes on before something in it needs a look.
pub(super) fn run(text: &[u8]) -> Run {
    let blocks = text.as_chunks::<16>().0;
    let mut run = Run { length: 0, ascii: true, escapes: false };
    // Whether the first byte of the block belongs to an escape of the block before.
    let mut escaped = 0;
    for (index, block) in blocks.iter().enumerate() {
        let (mut special, foreign) = (special(block) & !escaped, foreign(block));
        escaped = 0;
        while special != 0 {
            let at = index * 16 + special.trailing_zeros() as usize;
            if !begins_short_escape(text, at) {
                run.ascii &= foreign & (special & special.wrapping_neg()).wrapping_sub(1) == 0;
                return Run { length: at, ..run };
            }
            run.escapes = true;
            let both = (special & special.wrapping_neg()) * 3;
            special &= !both;
            escaped = both >> 16;
        }
        run.ascii &= foreign == 0;
    }
    run.length = blocks.len() * 16 + usize::try_from(escaped).unwrap_or(0);
    run.over_tail(text)
}

impl Run {
    /// Goes on over the last bytes, fewer than a block.
    fn over_tail(mut self, text: &[u8]) -> Self {
        while let Some(byte) = text.get(self.length) {
            match byte {
                b'\\' if begins_short_escape(text, self.length) => {
                    self.escapes = true;
                    self.length += 1;
                }
                b'"' | b'\\' | ..0x20 => break,
                byte => self.ascii &= byte.is_ascii(),
            }
            self.length += 1;
        }
        self
    }
}

fn begins_short_escape(text: &[u8], at: usize) -> bool {
    text.get(at) == Some(&b'\\')
        && matches!(text.get(at + 1), Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't'))
}

/// A bit for each of sixteen bytes, the lowest for the first: whether it is a quote, a backslash or a control character.
fn special(block: &[u8; 16]) -> u32 {
    // Without a branch, so that it becomes a few instructions for all sixteen.
    let mark = |byte: u8| u8::from((byte == b'"') | (byte == b'\\') | (byte < 0x20)).wrapping_neg();
    tops(&block.map(mark))
}

/// The same: whether it is not ASCII.
fn foreign(block: &[u8; 16]) -> u32 {
    if u128::from_le_bytes(*block) & FOREIGN == 0 { 0 } else { tops(block) }
}

const FOREIGN: u128 = u128::from_le_bytes([0x80; 16]);

/// The top bits of sixteen bytes.
fn tops(block: &[u8; 16]) -> u32 {
    let [low, high] = [0, 1].map(|half| {
        let word = block.as_chunks::<8>().0.get(half).map_or(0, |word| u64::from_le_bytes(*word));
        // Multiplied by this, the eight bits meet in the top byte.
        ((word & TOPS) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    });
    u32::try_from(low | high << 8).unwrap_or(0)
}

/// Whether a byte may stand in a number or a word.
pub(super) fn in_scalar(byte: u8) -> bool {
    IN_SCALAR.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Whether what follows is escaped: an odd number of backslashes stands before it.
pub(super) fn ends_in_escape(text: &[u8]) -> bool {
    text.last() == Some(&b'\\') && text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_quote_is_found_when_it_is_near(
            text in proptest::collection::vec(prop_oneof![Just(b'"'), Just(0x23), any::<u8>()], 0..80), skip in 0usize..40,
        ) {
            let text = text.get(skip..).unwrap_or_default();
            let near = text.iter().position(|byte| *byte == b'"').filter(|place| *place < text.len() / 8 * 8);
            prop_assert_eq!(near_quote(text), near.filter(|place| *place < 8 * SHORT));
        }

        #[test]
        fn indentation_is_counted(spaces in 0usize..40, text in "[a ]{8,20}") {
            let text = format!("{}x{text}", " ".repeat(spaces));
            prop_assert_eq!(super::spaces(text.as_bytes()), spaces);
        }

        #[test]
        fn a_run_ends_where_something_needs_a_look(
            pieces in proptest::collection::vec(
                prop_oneof![
                    8 => "[#-Z]{0,20}", 2 => Just("\\n".to_owned()), 2 => Just("\\\"".to_owned()), 2 => Just("\\\\".to_owned()),
                    1 => "\\PC{0,3}", 1 => Just("\\u00e9".to_owned()), 1 => any::<char>().prop_map(String::from),
                ],
                0..30,
            ),
            skip in 0usize..20,
        ) {
            let text = pieces.concat().into_bytes();
            let text = text.get(skip..).unwrap_or_default();
            let (mut length, mut escapes) = (0, false);
            loop {
                match text.get(length..).unwrap_or_default() {
                    [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => {
                        escapes = true;
                        length += 2;
                    }
                    [] | [b'"' | b'\\' | ..0x20, ..] => break,
                    _ => length += 1,
                }
            }
            let ascii = text.iter().take(length).all(u8::is_ascii);
            prop_assert_eq!(run(text), Run { length, ascii, escapes });
        }
    }
}
