//! `currency` and `exchange`: which currency revenue is in, and what each currency is worth in dollars.

use crate::diagnostic::Diagnostic;
use crate::policy::amount;
use crate::policy::exchange::{DOLLAR, Exchange, Rate, is_code};
use crate::policy::reader::{Problems, expect_str};

use super::document::Document;
use super::value;

/// The rates of the policy. A currency without one is reported where it is chosen, and taken for a dollar from there on, so
/// that one missing rate is one message.
pub(super) fn exchange(document: &Document<'_>, problems: &mut Problems) -> Exchange {
    let mut exchange = Exchange::default();
    for (key, node) in &document.exchange {
        if key.text == DOLLAR {
            let fault = Diagnostic::error("E126", "the dollar needs no rate").at(&key.place, "always 1 USD");
            problems.push(fault.help("leave it out: the ledger is in USD"));
            continue;
        }
        if !is_code(&key.text) {
            let fault = Diagnostic::error("E126", format!("`{}` is not the code of a currency", key.text));
            problems.push(fault.at(&key.place, "").help("write three capital letters: `EUR: 1.08 USD`"));
            continue;
        }
        let rate = value(node, "a rate", |text| amount::exchange_rate(&key.text, text), problems);
        exchange.add(&key.text, rate.unwrap_or(Rate::DOLLAR));
    }
    let Some(node) = document.currency else { return exchange };
    let Some(currency) = expect_str(node, "`currency`", problems) else { return exchange };
    if exchange.rate(currency).is_none() {
        problems.push(amount::no_rate(currency, &exchange).at(&node.place));
        exchange.add(currency, Rate::DOLLAR);
    }
    exchange.currency = currency.into();
    exchange
}
