//! Amounts in currencies other than the dollar, and the rates that make dollars of them.

use crate::domain::money::Money;
use crate::policy::exchange::{Exchange, Rate, is_code};
use crate::policy::reader::nearest;

use super::{Fault, no_separators, scaled};

/// An amount of some currency in nano-dollars.
pub(super) fn dollars(number: &str, currency: &str, exchange: &Exchange, whole: &str) -> Result<i64, Fault> {
    let rate = exchange.rate(currency).ok_or_else(|| no_rate(currency, exchange))?;
    let amount = scaled(number, 9, whole)?;
    rate.in_dollars(amount).ok_or_else(|| Fault::new("E113", format!("`{whole}` is too large"), "too large"))
}

/// `E126` for a currency whose rate is not given.
pub(in crate::policy) fn no_rate(currency: &str, exchange: &Exchange) -> Fault {
    let fault = Fault::new("E126", format!("there is no exchange rate for `{currency}`"), "worth how many USD?");
    if let Some(near) = nearest(currency, exchange.known()) {
        return fault.help(format!("did you mean `{near}`?"));
    }
    if !is_code(currency) {
        return fault.help("write the code of a currency: three capital letters, like `EUR`");
    }
    fault.help(format!(
        "add `exchange: {{ {currency}: … USD }}` at the top of the policy, with what one {currency} is worth"
    ))
}

/// `1.08 USD`: what one unit of `currency` is worth.
pub(in crate::policy) fn exchange_rate(currency: &str, text: &str) -> Result<Rate, Fault> {
    no_separators(text)?;
    let worth = text.strip_suffix(" USD").map(str::trim_end).or_else(|| text.strip_prefix('$'));
    let worth = worth.and_then(Money::parse_decimal).ok_or_else(|| {
        Fault::new("E122", format!("`{text}` is not a rate"), "")
            .help(format!("write how many dollars one {currency} is worth: `1.08 USD`, with at most nine decimals"))
    })?;
    Rate::new(worth).ok_or_else(|| Fault::new("E113", format!("`{text}` is out of range"), "must be above zero"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::standing::Unit;
    use crate::domain::window::{Period, Span};
    use crate::policy::amount::{LimitText, PlannedPer, limit, planned_cost};

    fn euros() -> Exchange {
        let mut exchange = Exchange::default();
        exchange.add("EUR", exchange_rate("EUR", "1.08 USD").expect("a rate"));
        exchange
    }

    #[test]
    fn every_currency_with_a_rate_becomes_dollars() {
        let limit = |text| limit(text, &euros());
        let money = |amount, per| Ok(LimitText::Fixed { amount, unit: Unit::Money, per: Span::Calendar(per) });
        assert_eq!(limit("25 EUR/day"), money(27_000_000_000, Period::Day));
        assert_eq!(limit("60k EUR/month"), money(64_800_000_000_000, Period::Month));
        assert_eq!(limit("0.000000001 EUR/day"), money(1, Period::Day));
        let planned = |text| planned_cost(text, &euros()).ok();
        assert_eq!(planned("0.180 EUR/workflow"), Some((Money::from_nano(194_400_000), PlannedPer::Workflow)));
        assert_eq!(planned("$0.004/request"), Some((Money::from_nano(4_000_000), PlannedPer::Request)));
        let code = |text| limit(text).map_err(|fault| fault.code);
        assert_eq!(code("150 GBP/month"), Err("E126"));
        assert_eq!(code("9000000000 EUR/month"), Err("E113"));
        let rate = |text| exchange_rate("EUR", text).map_err(|fault| fault.code);
        assert_eq!(rate("$1.08").ok(), rate("1.08 USD").ok());
        for (wrong, code) in [("1.08", "E122"), ("1,08 USD", "E108"), ("0 USD", "E113"), ("-1 USD", "E113")] {
            assert_eq!(rate(wrong), Err(code), "{wrong}");
        }
    }
}
