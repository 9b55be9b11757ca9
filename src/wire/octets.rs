//! Eight bytes at a time in plain arithmetic, or sixteen with vector instructions: for strings with escapes, keys and other short
//! texts, which cost less than a call of `memchr` does.

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
    let (mut at, mut calm) = (0, 0);
    while let Some(block) = blocks.get(at) {
        let Marks { mut special, foreign } = marks(block);
        if special == 0 {
            escaped = 0;
            run.ascii &= foreign == 0;
            at += 1;
            calm += 1;
            if calm == CALM {
                (at, run.ascii) = over_calm(blocks, at, run.ascii);
                calm = 0;
            }
            continue;
        }
        calm = 0;
        special &= !std::mem::take(&mut escaped);
        while special != 0 {
            let place = at * 16 + special.trailing_zeros() as usize;
            if !begins_short_escape(text, place) {
                run.ascii &= foreign & (special & special.wrapping_neg()).wrapping_sub(1) == 0;
                return Run { length: place, ..run };
            }
            run.escapes = true;
            let both = (special & special.wrapping_neg()) * 3;
            special &= !both;
            escaped = both >> 16;
        }
        run.ascii &= foreign == 0;
        at += 1;
    }
    run.length = blocks.len() * 16 + usize::try_from(escaped).unwrap_or(0);
    run.over_tail(text)
}

/// Where nothing was met for a while it is worth it to look at more at a time. How far there is nothing special, and whether all is
/// ASCII still. Apart, so that texts with escapes do not pay for it.
#[inline(never)]
fn over_calm(blocks: &[[u8; 16]], mut at: usize, mut ascii: bool) -> (usize, bool) {
    while let Some(four) = blocks.get(at..).and_then(<[_]>::first_chunk)
        && let Some(foreign) = foreign_where_calm(four)
    {
        ascii &= !foreign;
        at += AT_A_TIME;
    }
    (at, ascii)
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

/// A bit for each of sixteen bytes, the lowest for the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marks {
    /// It is a quote, a backslash or a control character.
    special: u32,
    /// It is not ASCII.
    foreign: u32,
}

/// How many blocks are looked at together.
const AT_A_TIME: usize = 4;
/// After how many blocks without anything special: prose has a line end or a quote before, and would pay for a look that fails.
const CALM: usize = 8;

/// A third of the instructions that it takes to read a long prompt are spent here, and compilers make nothing of it by themselves.
#[cfg(target_arch = "x86_64")]
mod vectors {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_max_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn load(block: &[u8; 16]) -> __m128i {
        let [low, high] =
            [0, 1].map(|half| block.as_chunks::<8>().0.get(half).map_or(0, |word| i64::from_le_bytes(*word)));
        _mm_set_epi64x(high, low)
    }

    /// All ones where a byte is a quote, a backslash or a control character.
    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn special(bytes: __m128i) -> __m128i {
        let last_control = _mm_set1_epi8(0x1f);
        let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x22));
        let backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x5c));
        let controls = _mm_cmpeq_epi8(_mm_max_epu8(bytes, last_control), last_control);
        _mm_or_si128(_mm_or_si128(quotes, backslashes), controls)
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn top_bits(bytes: __m128i) -> u32 {
        _mm_movemask_epi8(bytes).cast_unsigned()
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn all(vectors: [__m128i; super::AT_A_TIME]) -> __m128i {
        let [one, two, three, four] = vectors;
        _mm_or_si128(_mm_or_si128(one, two), _mm_or_si128(three, four))
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn marks(block: &[u8; 16]) -> Marks {
    use vectors::{load, special, top_bits};
    #[expect(unsafe_code, reason = "calls instructions that not every processor has")]
    // SAFETY: every x86-64 processor has SSE2; it is part of the architecture.
    unsafe {
        let bytes = load(block);
        Marks { special: top_bits(special(bytes)), foreign: top_bits(bytes) }
    }
}

/// Whether something is not ASCII in blocks without anything special. `None`: there is something special.
#[cfg(target_arch = "x86_64")]
#[inline]
fn foreign_where_calm(blocks: &[[u8; 16]; AT_A_TIME]) -> Option<bool> {
    use vectors::{all, load, special, top_bits};
    let [one, two, three, four] = blocks;
    #[expect(unsafe_code, reason = "calls instructions that not every processor has")]
    // SAFETY: as above.
    unsafe {
        let bytes = [load(one), load(two), load(three), load(four)];
        let [one, two, three, four] = bytes;
        let special = all([special(one), special(two), special(three), special(four)]);
        (top_bits(special) == 0).then(|| top_bits(all(bytes)) != 0)
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn foreign_where_calm(blocks: &[[u8; 16]; AT_A_TIME]) -> Option<bool> {
    plain_foreign_where_calm(blocks)
}

#[cfg(any(not(target_arch = "x86_64"), test))]
fn plain_foreign_where_calm(blocks: &[[u8; 16]; AT_A_TIME]) -> Option<bool> {
    let marks = blocks.iter().map(plain_marks);
    let Marks { special, foreign } = marks.fold(Marks { special: 0, foreign: 0 }, |all, one| Marks {
        special: all.special | one.special,
        foreign: all.foreign | one.foreign,
    });
    (special == 0).then_some(foreign != 0)
}

#[cfg(not(target_arch = "x86_64"))]
fn marks(block: &[u8; 16]) -> Marks {
    plain_marks(block)
}

#[cfg(any(not(target_arch = "x86_64"), test))]
fn plain_marks(block: &[u8; 16]) -> Marks {
    // Multiplied by this, the top bits of eight bytes meet in one byte.
    let gather = |word: u64| u32::try_from(((word & TOPS) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56).unwrap_or(0);
    let words = block.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).enumerate();
    words.fold(Marks { special: 0, foreign: 0 }, |marks, (at, word)| Marks {
        special: marks.special | gather(special(word)) << (8 * at),
        foreign: marks.foreign | gather(word) << (8 * at),
    })
}

/// The top bit of every byte that is a quote, a backslash or a control character, and of no other.
#[cfg(any(not(target_arch = "x86_64"), test))]
const fn special(word: u64) -> u64 {
    let low = word & !TOPS;
    let no_quote = (low ^ (ONES * 0x22)) + (ONES * 0x7f);
    let no_backslash = (low ^ (ONES * 0x5c)) + (ONES * 0x7f);
    let no_control = low + (ONES * 0x60);
    !((no_quote & no_backslash & no_control) | word) & TOPS
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
        fn both_ways_to_mark_a_block_agree(block in any::<[u8; 16]>(), near in any::<[u8; 16]>()) {
            for block in [block, near.map(|byte| byte % 0x60)] {
                prop_assert_eq!(marks(&block), plain_marks(&block));
            }
        }

        #[test]
        fn four_blocks_are_what_each_of_them_is(
            calm in any::<[[u8; 16]; AT_A_TIME]>(), (block, byte, value) in (0..AT_A_TIME, 0usize..16, any::<u8>()),
        ) {
            let mut blocks = calm.map(|block| block.map(|byte| byte % 0x20 + 0x60));
            blocks[block][byte] = value;
            prop_assert_eq!(foreign_where_calm(&blocks), plain_foreign_where_calm(&blocks));
            let special = value == b'"' || value == b'\\' || value < 0x20;
            prop_assert_eq!(plain_foreign_where_calm(&blocks), (!special).then_some(!value.is_ascii()));
        }

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
                    8 => "[#-Z]{0,20}", 2 => "[#-Z]{150,300}é?[#-Z]{0,80}", 2 => Just("\\n".to_owned()), 2 => Just("\\\"".to_owned()), 2 => Just("\\\\".to_owned()),
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
