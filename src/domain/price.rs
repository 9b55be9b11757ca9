//! What tokens cost.
//!
//! Prices are integers: pico-dollars per token ($1 per million tokens is 1,000,000 pico-dollars). A cost is summed in `u128`
//! and rounded up to a nano-dollar once. A model that no table names has no price; nothing here guesses one.

mod book;
mod decimal;
mod litellm;
mod yaml;

use std::fmt;
use std::sync::Arc;

use super::money::Money;
use super::usage::Usage;

pub use book::PriceBook;

/// Pico-dollars in a nano-dollar.
const PICO_PER_NANO: u128 = 1_000;

/// What each kind of token costs, in pico-dollars per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rates {
    /// Input that was neither read from nor written to a cache.
    pub input: u64,
    /// Input read from the provider's cache.
    pub cached_input: u64,
    /// Input written to the provider's cache.
    pub cache_write: u64,
    /// Input written to the provider's cache for an hour.
    pub cache_write_1h: u64,
    /// Output, hidden reasoning among it.
    pub output: u64,
}

/// What a request costs whose input is longer than a limit: all of its tokens, not only those beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LongContext {
    /// The longest input, in tokens, that still has the ordinary price.
    pub above: u64,
    /// The price of longer requests.
    pub rates: Rates,
}

/// The price of one model.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PriceRow {
    /// Where the price comes from, for the ledger: `builtin@2026-11-16/gpt-4o`.
    pub id: Arc<str>,
    /// The model.
    pub model: Arc<str>,
    /// The provider's name or family that the price is for; `None`: any.
    pub provider: Option<Arc<str>>,
    /// Pico-dollars per token of uncached input.
    pub input: u64,
    /// Pico-dollars per token read from the cache.
    pub cached_input: u64,
    /// Pico-dollars per token written to the cache.
    pub cache_write: u64,
    /// Pico-dollars per token written to the cache for an hour.
    pub cache_write_1h: u64,
    /// Pico-dollars per token of output.
    pub output: u64,
    /// The price of long requests, where it differs.
    pub long: Option<LongContext>,
    /// The model's context window in tokens.
    pub context: Option<u64>,
    /// The most output tokens of one answer.
    pub max_output: Option<u64>,
    /// Whether the model reasons in tokens that are billed as output.
    pub reasoning: bool,
    /// Whether the model calls tools; `None` when nobody says. No price, so no part of what the ledger keeps.
    #[serde(skip)]
    pub tools: Option<bool>,
    /// Whether the model sees images; `None` when nobody says. No price, so no part of what the ledger keeps.
    #[serde(skip)]
    pub vision: Option<bool>,
}

impl PriceRow {
    /// What `usage` costs, rounded up once; its kinds of token are those of [`Usage::parts`]. `None` only when the sum does
    /// not fit [`Money`].
    pub fn cost(&self, usage: &Usage) -> Option<Money> {
        let parts = usage.parts();
        let rates = self.rates(parts.all_input);
        sum(&[
            (parts.cache_write_1h, rates.cache_write_1h),
            (parts.cache_write, rates.cache_write),
            (parts.cached_input, rates.cached_input),
            (parts.input, rates.input),
            (parts.output, rates.output),
        ])
    }

    /// The most that a call can cost whose input and output stay within these tokens: every input token at the dearest
    /// kind. `None` when it does not fit [`Money`].
    pub fn bound(&self, input: u64, output: u64) -> Option<Money> {
        let ordinary = self.ordinary();
        // The actual input may stay below the limit even when the bound is above it: the dearer of both counts.
        let long = self.rates(input);
        let dearest_input = dearest_input(&ordinary).max(dearest_input(&long));
        sum(&[(input, dearest_input), (output, ordinary.output.max(long.output))])
    }

    /// The prices of a request with so many input tokens.
    pub fn rates(&self, input: u64) -> Rates {
        self.long.filter(|long| input > long.above).map_or_else(|| self.ordinary(), |long| long.rates)
    }

    fn ordinary(&self) -> Rates {
        Rates {
            input: self.input,
            cached_input: self.cached_input,
            cache_write: self.cache_write,
            cache_write_1h: self.cache_write_1h,
            output: self.output,
        }
    }
}

fn dearest_input(rates: &Rates) -> u64 {
    rates.input.max(rates.cached_input).max(rates.cache_write).max(rates.cache_write_1h)
}

fn sum(parts: &[(u64, u64)]) -> Option<Money> {
    let pico = parts
        .iter()
        .try_fold(0_u128, |total, (tokens, price)| total.checked_add(u128::from(*tokens) * u128::from(*price)))?;
    i64::try_from(pico.div_ceil(PICO_PER_NANO)).ok().map(Money::from_nano)
}

/// Why a price file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceError {
    /// The line, from 1; 0 when the file as a whole is to blame.
    pub line: usize,
    /// The column, from 1; 0 when the file as a whole is to blame.
    pub column: usize,
    /// What is wrong and what would fix it.
    pub message: String,
}

impl fmt::Display for PriceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for PriceError {}

/// The first line of a parser's message without the place, which [`PriceError`] carries apart.
fn placeless(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.split(" at line ").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
