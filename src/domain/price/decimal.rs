//! Decimal text to an integer of a smaller unit, without floating point.

/// A number read from text, in units of 10^-`places`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scaled {
    /// The number, rounded up.
    pub(super) value: u64,
    /// Whether nothing was lost.
    pub(super) exact: bool,
}

/// Reads `2.50`, `0.075`, `5.46875e-07` as a count of 10^-`places`. `None`: not a plain number of zero or more, or too big.
pub(super) fn scaled(text: &str, places: i32) -> Option<Scaled> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    // 38 digits are what fits `u128`; no price has half as many.
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) || whole.len() + fraction.len() > 38 {
        return None;
    }
    let digits: u128 = [whole, fraction].concat().parse().ok()?;
    let shift = exponent.checked_add(places)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10_u128.checked_pow(shift.unsigned_abs());
    let (value, exact) = match (shift >= 0, power) {
        (true, Some(power)) => (digits.checked_mul(power)?, true),
        (true, None) => (if digits == 0 { 0 } else { return None }, true),
        (false, Some(power)) => (digits.div_ceil(power), digits.is_multiple_of(power)),
        (false, None) => (u128::from(digits != 0), digits == 0),
    };
    Some(Scaled { value: u64::try_from(value).ok()?, exact })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pico_per_token(text: &str) -> Option<(u64, bool)> {
        scaled(text, 12).map(|number| (number.value, number.exact))
    }

    #[test]
    fn dollars_per_token_become_pico_dollars_exactly() {
        assert_eq!(pico_per_token("5.46875e-07"), Some((546_875, true)));
        assert_eq!(pico_per_token("2.5e-06"), Some((2_500_000, true)));
        assert_eq!(pico_per_token("1E-5"), Some((10_000_000, true)));
        assert_eq!(pico_per_token("0.0000025"), Some((2_500_000, true)));
        assert_eq!(pico_per_token("0.0"), Some((0, true)));
        assert_eq!(pico_per_token("3e-05"), Some((30_000_000, true)));
    }

    #[test]
    fn what_is_finer_than_a_pico_dollar_is_rounded_up() {
        assert_eq!(pico_per_token("1.00000000001e-10"), Some((101, false)));
        assert_eq!(pico_per_token("1e-40"), Some((1, false)));
        assert_eq!(pico_per_token("1e-99"), Some((1, false)));
    }

    #[test]
    fn what_is_no_plain_number_is_refused() {
        for text in ["", "-1", "+1", ".5", "1,5", "nan", "1e", "1e99", "0x10", "1e999999999999", "9999999999999"] {
            assert_eq!(scaled(text, 12), None, "{text}");
        }
        assert_eq!(scaled("0e2147483647", 12), None);
    }
}
