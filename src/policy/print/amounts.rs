//! Amounts as texts that read back as the same number: no digit is lost, whatever currency they were written in.

use crate::domain::standing::Unit;
use crate::domain::window::Span;
use crate::policy::budget::Amount;
use crate::policy::describe::{in_words, quantity};
use crate::policy::ladder::percent;

/// `$150/month`, `2M tokens/day`, `30% of revenue/month`, `$5/rolling 1 hour`.
pub(super) fn limit(amount: Amount, unit: Unit, span: Span) -> String {
    match amount {
        Amount::Fixed(number) => format!("{}/{}", fixed(number, unit), per(span)),
        Amount::Revenue { share, per, rate: _ } => format!("{} of revenue/{per}", percent(share)),
    }
}

fn per(span: Span) -> String {
    match span {
        Span::Calendar(_) | Span::Workflow => span.to_string(),
        Span::Rolling(length) => format!("rolling {}", in_words(length)),
    }
}

fn fixed(number: i64, unit: Unit) -> String {
    match unit {
        Unit::Money => quantity(number, unit),
        Unit::Tokens => format!("{} tokens", count(number)),
        Unit::Requests => format!("{} requests", count(number)),
    }
}

/// From here on a number without a factor is too long for the reader of amounts.
const LONG: i64 = 1_000_000_000;

/// `2M`, `1500k`, `12`.
fn count(number: i64) -> String {
    const MILLION: i64 = 1_000_000;
    let (millions, rest) = (number / MILLION, number % MILLION);
    match rest {
        0 if number > 0 => format!("{millions}M"),
        _ if number >= LONG => format!("{millions}.{}M", format!("{rest:06}").trim_end_matches('0')),
        _ if number > 0 && number % 1_000 == 0 => format!("{}k", number / 1_000),
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::window::Period;
    use crate::policy::amount::{self, LimitText};
    use crate::policy::exchange::{Exchange, Rate};

    fn spans() -> impl Strategy<Value = Span> {
        prop_oneof![
            prop::sample::select(Period::ALL.to_vec()).prop_map(Span::Calendar),
            (60_u64..=31 * 86_400).prop_map(|seconds| Span::Rolling(Duration::from_secs(seconds))),
            (1_u64..=44_640).prop_map(|minutes| Span::Rolling(Duration::from_mins(minutes))),
            Just(Span::Workflow),
        ]
    }

    fn numbers(most: i64) -> impl Strategy<Value = i64> {
        prop_oneof![0..=most, 0_i64..5_000, (0..=most / 1_000).prop_map(|thousands| thousands * 1_000)]
    }

    proptest! {
        // Mutations: cents are cut off; a long number has no factor; `k` is `M`; `rolling` counts hours.
        #[test]
        fn no_digit_of_a_limit_is_lost(money in numbers(i64::MAX), number in numbers(9_000_000_000_000_000), per in spans()) {
            for (amount, unit) in [(money, Unit::Money), (number, Unit::Tokens), (number, Unit::Requests)] {
                let text = limit(Amount::Fixed(amount), unit, per);
                prop_assert_eq!(amount::limit(&text, &Exchange::default()), Ok(LimitText::Fixed { amount, unit, per }), "{}", text);
            }
        }

        #[test]
        fn shares_and_durations_read_back_as_they_were(share in 0_u64..=1_000_000_000, seconds: u32) {
            prop_assert_eq!(amount::percent(&percent(share)), Ok(share));
            let duration = Duration::from_secs(u64::from(seconds));
            prop_assert_eq!(amount::duration(&in_words(duration)), Ok(duration));
            let amount = Amount::Revenue { share, per: Period::Week, rate: Rate::DOLLAR };
            let text = limit(amount, Unit::Money, Span::Calendar(Period::Week));
            prop_assert_eq!(amount::limit(&text, &Exchange::default()), Ok(LimitText::Revenue { share, per: Period::Week }));
        }
    }

    #[test]
    fn amounts_are_written_as_people_write_them() {
        let day = Span::Calendar(Period::Day);
        let shown = [
            limit(Amount::Fixed(150_000_000_000), Unit::Money, day),
            limit(Amount::Fixed(151_200_000_001), Unit::Money, Span::Rolling(Duration::from_hours(1))),
            limit(Amount::Fixed(2_000_000), Unit::Tokens, day),
            limit(Amount::Fixed(1_500), Unit::Requests, Span::Workflow),
            limit(Amount::Fixed(1_500_000), Unit::Tokens, day),
            limit(Amount::Fixed(5_000_000_000_001_500), Unit::Tokens, day),
        ];
        insta::assert_snapshot!(shown.join("\n"), @r"
        $150/day
        $151.200000001/rolling 1 hour
        2M tokens/day
        1500 requests/workflow
        1500k tokens/day
        5000000000.0015M tokens/day
        ");
    }
}
