//! Tokens from bytes, for answers without usage. A middling guess for the ledger's `estimated` rows, never a bound.

/// Bytes of text that make about one token, in English and in code.
pub const BYTES_PER_TOKEN: u64 = 4;

/// About how many tokens a text of so many bytes is: a quarter, rounded up, at least 1.
pub const fn tokens(bytes: u64) -> u64 {
    let whole = bytes.div_ceil(BYTES_PER_TOKEN);
    if whole == 0 { 1 } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_at_least_one_token() {
        assert_eq!([0, 1, 4, 5, 400].map(tokens), [1, 1, 1, 2, 100]);
    }
}
