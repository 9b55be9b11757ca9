//! Eight bytes at a time, in plain arithmetic: for keys and other short texts, which cost less than a call of `memchr` does.

use memchr::memchr;

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

/// The place of the first quote.
pub(super) fn quote(text: &[u8]) -> Option<usize> {
    let words = text.as_chunks::<8>().0;
    let words = words.get(..SHORT).unwrap_or(words);
    for (index, word) in words.iter().enumerate() {
        let marks = zeros(u64::from_le_bytes(*word) ^ (ONES * 0x22));
        if marks != 0 {
            return Some(index * 8 + first(marks));
        }
    }
    let seen = words.len() * 8;
    text.get(seen..).and_then(|rest| memchr(b'"', rest)).map(|found| seen + found)
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
        fn the_first_quote_is_found(text in proptest::collection::vec(prop_oneof![Just(b'"'), Just(0x23), any::<u8>()], 0..80), skip in 0usize..40) {
            let text = text.get(skip..).unwrap_or_default();
            prop_assert_eq!(quote(text), text.iter().position(|byte| *byte == b'"'));
        }
    }
}
