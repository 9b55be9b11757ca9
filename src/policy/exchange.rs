//! Currencies: what one unit of each is worth in dollars. Counters and the ledger are in dollars and know nothing of this.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::money::{Money, NANO_PER_DOLLAR};

/// The currency of the ledger.
pub const DOLLAR: &str = "USD";

/// What one unit of a currency is worth: nano-dollars, above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(i64);

impl Rate {
    /// A dollar is worth a dollar.
    pub const DOLLAR: Self = Self(NANO_PER_DOLLAR);

    /// A rate; `None` for one that is not above zero.
    pub fn new(worth: Money) -> Option<Self> {
        (worth > Money::ZERO).then_some(Self(worth.nano()))
    }

    /// What one unit is worth.
    pub fn worth(self) -> Money {
        Money::from_nano(self.0)
    }

    /// Nano-units of the currency in nano-dollars, rounded down. `None` when it does not fit.
    pub fn in_dollars(self, nano: i64) -> Option<i64> {
        i64::try_from(i128::from(nano) * i128::from(self.0) / i128::from(NANO_PER_DOLLAR)).ok()
    }
}

/// The rates of a policy: `exchange: { EUR: 1.08 USD }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The currency of the policy: that of revenue.
    pub currency: Arc<str>,
    rates: BTreeMap<Arc<str>, Rate>,
}

impl Default for Exchange {
    fn default() -> Self {
        Self { currency: Arc::from(DOLLAR), rates: BTreeMap::from([(Arc::from(DOLLAR), Rate::DOLLAR)]) }
    }
}

impl Exchange {
    /// Says what one unit of `currency` is worth.
    pub(crate) fn add(&mut self, currency: &str, rate: Rate) {
        self.rates.insert(Arc::from(currency), rate);
    }

    /// The rate of a currency, if it is known.
    pub fn rate(&self, currency: &str) -> Option<Rate> {
        self.rates.get(currency).copied()
    }

    /// The rate of the policy's own currency. A policy whose own has none is never built.
    pub fn own(&self) -> Rate {
        self.rate(&self.currency).unwrap_or(Rate::DOLLAR)
    }

    /// The currencies whose rate is known.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        self.rates.keys().map(AsRef::as_ref)
    }
}

/// Whether a word is written like the code of a currency.
pub fn is_code(word: &str) -> bool {
    word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_changed_without_losing_more_than_a_nano_dollar() {
        let rate = Rate::new(Money::from_nano(1_080_000_000)).expect("above zero");
        assert_eq!(rate.in_dollars(25_000_000_000), Some(27_000_000_000));
        assert_eq!(rate.in_dollars(1), Some(1), "1.08 nano-dollars, rounded down");
        assert_eq!(rate.in_dollars(i64::MAX), None, "never a wrong number");
        assert_eq!(Rate::new(Money::ZERO), None);
        assert_eq!(Rate::DOLLAR.in_dollars(i64::MAX), Some(i64::MAX));
    }
}
