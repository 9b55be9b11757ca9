//! The grammar of values: amounts with a period, rates, percentages, durations, dates.
//!
//! Texts become numbers here and nowhere else. Amounts of money are nano-dollars; shares are parts per million.

mod currency;

use std::time::Duration;

use jiff::civil::Date;

use crate::diagnostic::{Diagnostic, Place};
use crate::domain::money::Money;
use crate::domain::standing::Unit;
use crate::domain::window::{Period, Span};

use super::exchange::{Exchange, is_code};
use super::reader::nearest;
use super::rollout::Rollout;

use currency::dollars;
pub(super) use currency::{exchange_rate, no_rate};

/// One whole, in parts per million.
pub const WHOLE: u64 = 1_000_000;

/// Why a text is not the value it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    code: &'static str,
    message: String,
    label: String,
    help: Option<String>,
}

impl Fault {
    fn new(code: &'static str, message: impl Into<String>, label: &str) -> Self {
        Self { code, message: message.into(), label: label.to_owned(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// As a diagnostic at the text's place.
    pub fn at(self, place: &Place) -> Diagnostic {
        let diagnostic = Diagnostic::error(self.code, self.message).at(place, self.label);
        match self.help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }
}

/// What a `limit` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitText {
    /// `plan.llm_budget`.
    Plan,
    /// `$150/month`, `2M tokens/day`, `$5/rolling 1 hour`, `$0.80/workflow`.
    Fixed {
        /// In the unit: nano-dollars, tokens or requests.
        amount: i64,
        /// The unit.
        unit: Unit,
        /// What it is per.
        per: Span,
    },
    /// `30% of revenue/month`.
    Revenue {
        /// Parts per million of the revenue.
        share: u64,
        /// The period that revenue is converted to.
        per: Period,
    },
}

/// Reads a limit, money in dollars whatever currency it is written in. An amount without a period is `E121`.
pub fn limit(text: &str, exchange: &Exchange) -> Result<LimitText, Fault> {
    if text == "plan.llm_budget" {
        return Ok(LimitText::Plan);
    }
    no_separators(text)?;
    let Some((amount, per)) = text.split_once('/') else {
        quantity(text, exchange)?;
        let help = format!("write `{text}/month` (minute, hour, day, week, month, workflow, or `rolling 1 hour`)");
        return Err(Fault::new("E121", format!("`{text}` has no period"), "per what?").help(help));
    };
    let quantity = quantity(amount.trim(), exchange)?;
    let per = span(per.trim())?;
    match (quantity, per) {
        (Quantity::Fixed { amount, unit }, per) => Ok(LimitText::Fixed { amount, unit, per }),
        (Quantity::Revenue(share), Span::Calendar(per)) => Ok(LimitText::Revenue { share, per }),
        (Quantity::Revenue(_), Span::Rolling(_) | Span::Workflow) => {
            let message = format!("`{text}`: revenue comes per calendar period");
            Err(Fault::new("E122", message, "").help("write `30% of revenue/month`, or an amount of money"))
        }
    }
}

enum Quantity {
    Fixed { amount: i64, unit: Unit },
    Revenue(u64),
}

fn quantity(text: &str, exchange: &Exchange) -> Result<Quantity, Fault> {
    if let Some((share, of)) = text.split_once(" of ") {
        return match of.trim() {
            "revenue" => Ok(Quantity::Revenue(percent(share.trim())?)),
            other => Err(Fault::new("E122", format!("a share of `{other}` is not a limit"), "of what?")
                .help("write `30% of revenue/month`")),
        };
    }
    if let Some(number) = text.strip_prefix('$') {
        return Ok(Quantity::Fixed { amount: scaled(number, 9, text)?, unit: Unit::Money });
    }
    let Some((number, word)) = text.split_once(' ') else { return Err(no_unit(text)) };
    let (unit, amount) = match word.trim() {
        "tokens" | "token" => (Unit::Tokens, scaled(number, 0, text)?),
        "requests" | "request" => (Unit::Requests, scaled(number, 0, text)?),
        other if is_code(other) => (Unit::Money, dollars(number, other, exchange, text)?),
        _ => return Err(no_unit(text)),
    };
    Ok(Quantity::Fixed { amount, unit })
}

fn no_unit(text: &str) -> Fault {
    Fault::new("E122", format!("`{text}` is not an amount"), "of what?")
        .help("write `$150/month`, `2M tokens/day`, `100 requests/minute`, `30% of revenue/month` or `plan.llm_budget`")
}

/// The shortest and the longest time that a `rolling` window may be of.
const ROLLING: std::ops::RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(31 * 24);

/// `month`, `rolling 1 hour`, `workflow`.
fn span(text: &str) -> Result<Span, Fault> {
    if text == "workflow" {
        return Ok(Span::Workflow);
    }
    let Some(length) = text.strip_prefix("rolling") else { return period(text).map(Span::Calendar) };
    let length = duration(length.trim())?;
    if !ROLLING.contains(&length) {
        return Err(Fault::new("E113", format!("`{text}` is out of range"), "from 1 minute to 31 days"));
    }
    Ok(Span::Rolling(length))
}

/// `month`, and `min` for minute.
pub fn period(text: &str) -> Result<Period, Fault> {
    let word = if text == "min" { "minute" } else { text };
    Period::parse(word).ok_or_else(|| {
        let fault = Fault::new("E122", format!("`{text}` is not a period"), "");
        match nearest(text, Period::ALL.into_iter().map(Period::as_str)) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help("write minute, hour, day, week or month"),
        }
    })
}

/// A decimal number with an optional `k` or `M`, in units of 10^-`decimals`.
fn scaled(number: &str, decimals: u32, whole: &str) -> Result<i64, Fault> {
    let (digits, factor) = match number.strip_suffix(['k', 'M']) {
        Some(digits) if number.ends_with('k') => (digits, 1_000),
        Some(digits) => (digits, 1_000_000),
        None => (number, 1),
    };
    let fault = || Fault::new("E122", format!("`{whole}` is not an amount"), "not a number");
    if digits.starts_with('-') {
        return Err(Fault::new("E113", format!("`{whole}` is negative"), "must be zero or more"));
    }
    let nano = Money::parse_decimal(digits).ok_or_else(fault)?.nano();
    let scaled = i128::from(nano) * factor;
    let divisor = 10_i128.pow(9_u32.saturating_sub(decimals));
    if scaled % divisor != 0 {
        return Err(fault());
    }
    i64::try_from(scaled / divisor).map_err(|_| Fault::new("E113", format!("`{whole}` is too large"), "too large"))
}

fn no_separators(text: &str) -> Result<(), Fault> {
    if !text.contains(',') {
        return Ok(());
    }
    Err(Fault::new("E108", "thousands separator in an amount", "amounts are written without commas")
        .help(format!("write `{}`", text.replace(',', ""))))
}

/// `80%` in parts per million.
pub fn percent(text: &str) -> Result<u64, Fault> {
    let fault = || Fault::new("E112", format!("`{text}` is not a percentage"), "").help("write `80%`");
    let digits = text.strip_suffix('%').filter(|digits| !digits.starts_with('-')).ok_or_else(fault)?.trim_end();
    let nano = Money::parse_decimal(digits).ok_or_else(fault)?.nano();
    let whole_steps = nano.rem_euclid(100_000) == 0;
    let share = u64::try_from(nano / 100_000).map_err(|_| fault())?;
    if !whole_steps || share > 1_000 * WHOLE {
        return Err(Fault::new("E113", format!("`{text}` is out of range"), "0% to 100000%, at most four decimals"));
    }
    Ok(share)
}

/// `80%` or `forecast 110%`: whether it is a forecast, and the share.
pub fn threshold(text: &str) -> Result<(bool, u64), Fault> {
    match text.strip_prefix("forecast ") {
        Some(share) => Ok((true, percent(share.trim())?)),
        None => Ok((false, percent(text)?)),
    }
}

/// `25% of tenants`.
pub(super) fn rollout(text: &str) -> Result<Rollout, Fault> {
    let share = text.strip_suffix(" of tenants").map(str::trim_end).ok_or_else(|| {
        Fault::new("E122", format!("`{text}` is not a share of tenants"), "").help("write `25% of tenants`")
    })?;
    let rollout = Rollout::new(percent(share)?);
    rollout.ok_or_else(|| Fault::new("E113", format!("`{text}` is out of range"), "at most 100%"))
}

/// `above 4000/request`: a bound of what has to be `per` that, whether the text says so or not.
pub(super) fn above(text: &str, per: &str) -> Result<u64, Fault> {
    let not = |label: &str, example: u64| {
        let fault = Fault::new("E122", format!("`{text}` is not a bound"), label);
        fault.help(format!("write `above {example}/{per}`"))
    };
    let fault = || not("", if per == "workflow" { 12 } else { 4_000 });
    no_separators(text)?;
    let bound = text.strip_prefix("above ").ok_or_else(fault)?.trim();
    let (number, unit) = bound.split_once('/').unwrap_or((bound, per));
    let number = number.trim().parse().map_err(|_| fault())?;
    if unit.trim() != per {
        return Err(not(&format!("it is per {per}"), number));
    }
    Ok(number)
}

/// `3x` in parts per million.
pub fn factor(text: &str) -> Result<u64, Fault> {
    let fault = || Fault::new("E112", format!("`{text}` is not a factor"), "").help("write `3x`");
    let digits = text.strip_suffix('x').filter(|digits| !digits.starts_with('-'));
    let nano = digits.and_then(Money::parse_decimal).ok_or_else(fault)?.nano();
    u64::try_from(nano / 1_000).map_err(|_| fault())
}

/// `20 requests/min`.
pub fn rate(text: &str) -> Result<(u32, Period), Fault> {
    no_separators(text)?;
    let fault = || Fault::new("E122", format!("`{text}` is not a rate"), "").help("write `20 requests/minute`");
    let (amount, per) = text.split_once('/').ok_or_else(fault)?;
    let Ok(Quantity::Fixed { amount, unit: Unit::Requests }) = quantity(amount.trim(), &Exchange::default()) else {
        return Err(fault());
    };
    match u32::try_from(amount) {
        Ok(requests @ 1..) => Ok((requests, period(per.trim())?)),
        _ => Err(Fault::new("E113", format!("`{text}` is out of range"), "at least 1 request")
            .help("to refuse every request, write `block: all`")),
    }
}

/// What `planned_cost` is per.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlannedPer {
    /// Each logical request.
    Request,
    /// Each workflow.
    Workflow,
}

/// `$0.004/request`, in dollars whatever currency it is written in.
pub fn planned_cost(text: &str, exchange: &Exchange) -> Result<(Money, PlannedPer), Fault> {
    no_separators(text)?;
    let fault = || Fault::new("E122", format!("`{text}` is not a planned cost"), "").help("write `$0.004/request`");
    let (amount, per) = text.split_once('/').ok_or_else(fault)?;
    let Quantity::Fixed { amount, unit: Unit::Money } = quantity(amount.trim(), exchange)? else { return Err(fault()) };
    match per.trim() {
        "request" => Ok((Money::from_nano(amount), PlannedPer::Request)),
        "workflow" => Ok((Money::from_nano(amount), PlannedPer::Workflow)),
        _ => Err(fault()),
    }
}

/// `2 days`, `10 min`, `3 s`.
pub fn duration(text: &str) -> Result<Duration, Fault> {
    let fault =
        || Fault::new("E114", format!("`{text}` is not a duration"), "").help("write `2 days`, `10 min` or `1 hour`");
    let split = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(fault)?;
    let (number, word) = text.split_at(split);
    let seconds = match word.trim() {
        "s" | "second" | "seconds" => 1,
        "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => 86_400,
        "week" | "weeks" => 604_800,
        _ => return Err(fault()),
    };
    let number: u32 = number.parse().map_err(|_| fault())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// `2027-01-31`.
pub fn date(text: &str) -> Result<Date, Fault> {
    let shape = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let date = if shape { text.parse().ok() } else { None };
    date.ok_or_else(|| {
        Fault::new("E114", format!("`{text}` is not a date"), "").help("write year-month-day: `2027-01-31`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> Result<LimitText, Fault> {
        super::limit(text, &Exchange::default())
    }

    #[test]
    fn limits_are_read_in_every_unit() {
        let fixed = |amount, unit, per| Ok(LimitText::Fixed { amount, unit, per: Span::Calendar(per) });
        assert_eq!(limit("$150/month"), fixed(150_000_000_000, Unit::Money, Period::Month));
        assert_eq!(limit("150 USD/week"), fixed(150_000_000_000, Unit::Money, Period::Week));
        assert_eq!(limit("$0/day"), fixed(0, Unit::Money, Period::Day));
        assert_eq!(limit("2M tokens/day"), fixed(2_000_000, Unit::Tokens, Period::Day));
        assert_eq!(limit("1.5k tokens/hour"), fixed(1_500, Unit::Tokens, Period::Hour));
        assert_eq!(limit("100 requests/min"), fixed(100, Unit::Requests, Period::Minute));
        assert_eq!(limit("30% of revenue/month"), Ok(LimitText::Revenue { share: 300_000, per: Period::Month }));
        assert_eq!(limit("plan.llm_budget"), Ok(LimitText::Plan));
        let dollars = |amount: i64, per| Ok(LimitText::Fixed { amount: amount * 10_000_000, unit: Unit::Money, per });
        assert_eq!(limit("$5/rolling 1 hour"), dollars(500, Span::Rolling(Duration::from_hours(1))));
        assert_eq!(limit("5 USD/rolling 90 min"), dollars(500, Span::Rolling(Duration::from_mins(90))));
        assert_eq!(limit("0.80 USD/workflow"), dollars(80, Span::Workflow));
    }

    #[test]
    fn a_wrong_limit_says_which_half_is_wrong() {
        let code = |text| limit(text).map_err(|fault| fault.code);
        assert_eq!(code("$20"), Err("E121"));
        assert_eq!(code("2M tokens"), Err("E121"));
        assert_eq!(code("20/month"), Err("E122"));
        assert_eq!(code("$20/moth"), Err("E122"));
        assert_eq!(code("$4,000/month"), Err("E108"));
        assert_eq!(code("$-1/month"), Err("E113"));
        assert_eq!(code("0.5 tokens/day"), Err("E122"));
        assert_eq!(code("99999999999999999M tokens/day"), Err("E122"));
        assert_eq!(code("$20/rolling"), Err("E114"));
        assert_eq!(code("$20/rolling 1 month"), Err("E114"));
        assert_eq!(code("$20/rolling 59 s"), Err("E113"));
        assert_eq!(code("$20/rolling 5 weeks"), Err("E113"));
        assert_eq!(code("3% of revenue/rolling 1 day"), Err("E122"));
    }

    #[test]
    fn other_values_are_read() {
        assert_eq!(percent("112.5%").ok(), Some(1_125_000));
        assert_eq!(threshold("forecast 100%").ok(), Some((true, WHOLE)));
        assert_eq!(rate("20 requests/min").ok(), Some((20, Period::Minute)));
        assert_eq!(duration("2 days").ok(), Some(Duration::from_hours(48)));
        assert_eq!(duration("10 min").ok(), Some(Duration::from_mins(10)));
        assert_eq!(factor("3x").ok(), Some(3 * WHOLE));
        assert!(date("2027-02-30").is_err() && date("2027-1-31").is_err() && date("2027-01-31").is_ok());
        for wrong in ["80", "%", "-1%", "1e3%", "80 percent"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }
}
