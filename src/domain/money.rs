//! Money: integer nano-dollars, checked.
//!
//! A nano-dollar is 10⁻⁹ USD, so one `i64` holds ±9.2 billion dollars. There is no floating point here and no silent wrap:
//! arithmetic that does not fit says so.

use std::fmt;

/// An amount in nano-dollars (10⁻⁹ USD).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(i64);

/// Nano-dollars in one dollar.
pub const NANO_PER_DOLLAR: i64 = 1_000_000_000;

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount of nano-dollars.
    pub const fn from_nano(nano: i64) -> Self {
        Self(nano)
    }

    /// The amount in nano-dollars.
    pub const fn nano(self) -> i64 {
        self.0
    }

    /// The sum, or `None` when it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` when it does not fit.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Reads a plain decimal number of dollars: `12`, `0.004`, `-3.5`. At most nine decimals, no exponent.
    pub fn parse_decimal(text: &str) -> Option<Self> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || fraction.len() > 9 {
            return None;
        }
        let whole: i64 = whole.parse().ok()?;
        let scale = 10_i64.pow(9 - u32::try_from(fraction.len()).ok()?);
        let fraction: i64 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
        let nano = whole.checked_mul(NANO_PER_DOLLAR)?.checked_add(fraction.checked_mul(scale)?)?;
        Some(Self(sign * nano))
    }

    /// The exact decimal number of dollars without trailing zeros, at least two decimals: `150.00`, `0.0127`.
    pub fn to_decimal(self) -> String {
        let nano = self.0.unsigned_abs();
        let unit = NANO_PER_DOLLAR.unsigned_abs();
        let mut fraction = format!("{:09}", nano % unit);
        while fraction.len() > 2 && fraction.ends_with('0') {
            fraction.pop();
        }
        format!("{}{}.{fraction}", if self.0 < 0 { "-" } else { "" }, nano / unit)
    }
}

impl fmt::Display for Money {
    /// Dollars as people write them: `$12.50`, `-$0.0127`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_decimal();
        match text.strip_prefix('-') {
            Some(positive) => write!(f, "-${positive}"),
            None => write!(f, "${text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_survives_the_round_trip() {
        for text in ["0.00", "12.50", "0.004", "-3.75", "0.000000001", "9223372036.854775807"] {
            let money = Money::parse_decimal(text).expect("a plain decimal");
            assert_eq!(Money::parse_decimal(&money.to_decimal()), Some(money), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_plain_decimal_is_refused() {
        for text in ["", ".", ".5", "1e3", "1,000", "0.0000000001", "99999999999", "+1", "--1", "1.-2"] {
            assert_eq!(Money::parse_decimal(text), None, "{text}");
        }
    }

    #[test]
    fn money_reads_like_money() {
        assert_eq!(Money::from_nano(12_500_000_000).to_string(), "$12.50");
        assert_eq!(Money::from_nano(-12_700_000).to_string(), "-$0.0127");
    }
}
