//! Numbers as people read them: `$14 201.88`, `−1.2%`, `1 204 113`. Integers all the way.

use crate::invoice::Measure;

/// Pico-dollars in a cent.
const PICO_PER_CENT: i128 = 10_000_000_000;

/// `3 models`, `1 model`.
pub(super) fn many(count: usize, what: &str) -> String {
    let number = self::count(i128::try_from(count).unwrap_or(i128::MAX));
    format!("{number} {what}{}", if count == 1 { "" } else { "s" })
}

/// A whole number, with spaces between thousands.
pub(super) fn count(number: i128) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3 + 3);
    if number < 0 {
        grouped.push('−');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// An amount: dollars to the cent, less than half a cent to the micro-dollar, or tokens.
pub(super) fn amount(measure: Measure, amount: i128) -> String {
    match measure {
        Measure::Tokens => count(amount),
        Measure::Money => {
            let sign = if amount < 0 { "−" } else { "" };
            let pico = i128::try_from(amount.unsigned_abs()).unwrap_or(i128::MAX);
            let micro = rounded(pico, PICO_PER_CENT / 10_000);
            let cents = rounded(pico, PICO_PER_CENT);
            if cents == 0 && micro != 0 {
                return format!("{sign}$0.{micro:06}");
            }
            // A difference that shows as nothing has no sign.
            let sign = if cents == 0 { "" } else { sign };
            format!("{sign}${}.{:02}", count(cents / 100), cents % 100)
        }
    }
}

/// An amount with its sign, either way: `+$5.00`, `−$121.40`.
pub(super) fn difference(measure: Measure, number: i128) -> String {
    let text = amount(measure, number);
    let nothing = !text.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    if number > 0 && !nothing { format!("+{text}") } else { text }
}

/// `amount` with its unit, for sentences.
pub(super) fn spoken(measure: Measure, number: i128) -> String {
    let text = amount(measure, number);
    if measure == Measure::Tokens { format!("{text} tokens") } else { text }
}

/// How much `ours` differs from `theirs`, in percent of `theirs` to one decimal.
pub(super) fn percent(ours: i128, theirs: i128) -> String {
    if theirs == 0 {
        return if ours == 0 { "0.0%".to_owned() } else { "n/a".to_owned() };
    }
    let difference = ours - theirs;
    let tenths = rounded(difference.abs().saturating_mul(1_000), theirs.abs());
    let sign = match (difference < 0) == (theirs < 0) {
        _ if tenths == 0 => "",
        true => "+",
        false => "−",
    };
    format!("{sign}{}.{}%", count(tenths / 10), tenths % 10)
}

/// Half away from zero, for numbers that are not negative.
fn rounded(number: i128, unit: i128) -> i128 {
    number / unit + i128::from(number % unit >= unit - number % unit)
}

/// Columns under each other: the first `left` to the left, the others to the right.
pub(super) fn table(rows: &[Vec<String>], left: usize) -> String {
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..width)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            let space = " ".repeat(width - cell.chars().count().min(*width));
            if at < left { format!("{cell}{space}") } else { format!("{space}{cell}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_like_numbers() {
        let dollars = |pico| amount(Measure::Money, pico);
        assert_eq!(dollars(14_201_880_000_000_000), "$14 201.88");
        assert_eq!(dollars(-121_400_000_000_000), "−$121.40");
        assert_eq!(dollars(999_995_000_000), "$1.00");
        assert_eq!(dollars(3_835_980_000), "$0.003836");
        assert_eq!((dollars(0), dollars(-499)), ("$0.00".to_owned(), "$0.00".to_owned()));
        assert_eq!((count(1_204), count(-1_000_000), count(12)), ("1 204".into(), "−1 000 000".into(), "12".into()));
        assert_eq!(percent(1_420_188, 1_437_702), "−1.2%");
        assert_eq!(
            (percent(5, 5), percent(3, 2), percent(1, 0), percent(0, 0)),
            ("0.0%".into(), "+50.0%".into(), "n/a".into(), "0.0%".into())
        );
    }
}
