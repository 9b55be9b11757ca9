//! Numbers and moments as exports write them, without floating point.

use crate::domain::clock::Timestamp;

/// The decimals of a dollar that are kept.
pub(super) const DOLLARS: i64 = 12;
/// The decimals of a cent that are kept.
pub(super) const CENTS: i64 = 10;

/// No export holds as much; sums of what is below it fit.
const LARGEST: i128 = 10_i128.pow(30);

/// A decimal number (`12.5`, `-0.003`, `1.2e-7`) in units of 10^-`places`, rounded half away from zero. `None`: not a number,
/// or one that no export holds.
pub(super) fn scaled(text: &str, places: i64) -> Option<i128> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok().filter(|number| number.abs() < 1_000)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let digits = [whole, fraction].concat();
    // How many of the digits stand before the unit's point; further ones are zeros, fewer are rounded away.
    let kept = i64::try_from(whole.len()).ok()?.checked_add(exponent)?.checked_add(places)?;
    let length = i64::try_from(digits.len()).ok()?;
    let kept_digits = usize::try_from(kept.clamp(0, length)).ok()?;
    let head = digits.get(..kept_digits)?.trim_start_matches('0');
    let zeros = if head.is_empty() { 0 } else { u32::try_from((kept - length).max(0)).ok()? };
    if head.len() > 38 {
        return None;
    }
    let value = if head.is_empty() { 0 } else { head.parse::<i128>().ok()? };
    let value = value.checked_mul(10_i128.checked_pow(zeros)?)?;
    let up = kept >= 0 && digits.as_bytes().get(kept_digits).is_some_and(|digit| *digit >= b'5');
    let value = value.checked_add(i128::from(up)).filter(|value| *value <= LARGEST)?;
    Some(if negative { -value } else { value })
}

/// A moment: seconds since the Unix epoch, RFC 3339, or a date and time or a date of UTC.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    if !text.is_empty() && text.len() < 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Timestamp::from_seconds);
    }
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Some(Timestamp::from_jiff(moment));
    }
    let time = text.parse::<jiff::civil::DateTime>().ok()?;
    jiff::tz::TimeZone::UTC.to_timestamp(time).ok().map(Timestamp::from_jiff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dollars_and_cents_become_pico_dollars_exactly() {
        for (text, pico) in [
            ("0.003835980000000000000000000000", 3_835_980_000),
            ("14377.02", 14_377_020_000_000_000),
            ("1.2e-7", 120_000),
            ("1E3", 1_000_000_000_000_000),
            ("-0.06", -60_000_000_000),
            ("0", 0),
            ("000.000", 0),
            ("0.0000000000014999", 1),
            ("0.0000000000015", 2),
            ("-0.0000000000005", -1),
            ("1e-900", 0),
        ] {
            assert_eq!(scaled(text, DOLLARS), Some(pico), "{text}");
        }
        assert_eq!(scaled("946.6", CENTS), Some(9_466_000_000_000));
        assert_eq!(scaled("12", 0), Some(12));
        for text in ["", "-", ".5", "1,000", "$1", "1.2.3", "nan", "1e", "1e9999", "1e300", "+1", "١"] {
            assert_eq!(scaled(text, DOLLARS), None, "{text}");
        }
    }

    #[test]
    fn a_moment_is_seconds_or_a_date_of_utc() {
        let day = moment("2026-10-01").expect("a date");
        for text in [
            "1790812800",
            "2026-10-01T00:00:00",
            "2026-10-01T00:00:00Z",
            "2026-10-01T00:00:00+00:00",
            "2026-10-01 00:00:00",
        ] {
            assert_eq!(moment(text), Some(day), "{text}");
        }
        for text in ["", "October", "2026-13-01", "20261001000000", "-1"] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_decimal_of_nano_dollars_survives(nano in any::<i64>()) {
            let text = crate::domain::money::Money::from_nano(nano.max(-i64::MAX)).to_decimal();
            prop_assert_eq!(scaled(&text, DOLLARS), Some(i128::from(nano.max(-i64::MAX)) * 1_000));
        }

        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,40}", places in -5_i64..20) {
            let _ = (scaled(&text, places), moment(&text));
        }
    }
}
