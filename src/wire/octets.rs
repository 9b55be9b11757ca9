//! Eight bytes at a time, in plain arithmetic: for keys and other short texts, which cost less than a call of `memchr` does.

use memchr::memchr2;

const ONES: u64 = u64::from_le_bytes([0x01; 8]);
const TOPS: u64 = u64::from_le_bytes([0x80; 8]);

/// How many words are looked at here before `memchr` takes over.
const SHORT: usize = 5;
/// The same where escapes are likely to come once a line.
const LINE: usize = 16;

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

/// The beginning of a text that holds neither quote nor backslash nor control character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// How long it is.
    pub(super) length: usize,
    /// Whether it is all ASCII.
    pub(super) ascii: bool,
}

/// How far a JSON string goes on before something in it needs a look.
pub(super) fn run(text: &[u8]) -> Run {
    let words = text.as_chunks::<8>().0;
    let words = words.get(..LINE).unwrap_or(words);
    let mut all = 0;
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let marks = special(word);
        if marks != 0 {
            let before = (marks & marks.wrapping_neg()).wrapping_sub(1);
            return Run { length: index * 8 + first(marks), ascii: (all | word & before) & TOPS == 0 };
        }
        all |= word;
    }
    let seen = words.len() * 8;
    let rest = long_run(text.get(seen..).unwrap_or_default());
    Run { length: seen + rest.length, ascii: rest.ascii && all & TOPS == 0 }
}

/// The top bit of every byte that is a quote, a backslash or a control character, and of no other.
const fn special(word: u64) -> u64 {
    let low = word & !TOPS;
    let no_quote = (low ^ (ONES * 0x22)) + (ONES * 0x7f);
    let no_backslash = (low ^ (ONES * 0x5c)) + (ONES * 0x7f);
    let no_control = low + (ONES * 0x60);
    !((no_quote & no_backslash & no_control) | word) & TOPS
}

fn long_run(text: &[u8]) -> Run {
    let end = memchr2(b'"', b'\\', text).unwrap_or(text.len());
    let plain = text.get(..end).unwrap_or_default();
    let (blocks, tail) = plain.as_chunks::<32>();
    let fold = |(least, all): (u8, u8), byte: &u8| (least.min(*byte), all | byte);
    let (least, all) = tail.iter().fold(blocks.as_flattened().iter().fold((u8::MAX, 0), fold), fold);
    let length = if least < 0x20 { plain.iter().take_while(|byte| **byte >= 0x20).count() } else { end };
    Run { length, ascii: all < 0x80 }
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
            mut text in proptest::collection::vec(prop_oneof![20 => 0x20_u8..0x7f, 1 => any::<u8>()], 0..150), skip in 0usize..20,
        ) {
            text.drain(..skip.min(text.len()));
            let found = run(&text);
            let length = text.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | ..0x20)).count();
            prop_assert_eq!(found.length, length);
            prop_assert!(!found.ascii || text[..length].is_ascii());
            prop_assert!(found.ascii || !text.is_ascii());
        }
    }
}
