//! The past at other prices. A row that is worth something else gets a row beside it; it is never changed itself. Amounts in
//! doubt stay as they are: they are what was held, or what evidence says.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::price::PriceRow;

use super::Ledger;
use super::corrections::Evidence;
use super::entry::LedgerEntry;
use super::error::LedgerError;
use super::kept::Kept;
use super::original::{self, Original};
use super::reader::LedgerReader;

/// Corrections that are written together.
const TOGETHER: usize = 5_000;

/// What other prices say of a row.
#[derive(Debug, Clone)]
pub enum Tariff {
    /// It is not meant.
    Other,
    /// They do not name its model.
    Unknown,
    /// Its price.
    At(Arc<PriceRow>),
}

/// What other prices did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Rerating {
    /// Rows that are meant and whose usage is known.
    pub rows: u64,
    /// Of them, rows whose model the prices do not name; they stay as they are.
    pub unpriced: u64,
    /// Rows that are worth something else.
    #[serde(flatten)]
    pub total: Rerated,
    /// The same by the model of the new price.
    pub models: BTreeMap<String, Rerated>,
}

/// Rows that are worth something else by other prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Rerated {
    /// How many.
    pub changed: u64,
    /// What they were worth, in nano-dollars.
    pub before_nano_usd: i64,
    /// What they are worth now.
    pub after_nano_usd: i64,
}

impl Rerated {
    fn add(&mut self, (before, after): (i64, i64)) {
        self.changed += 1;
        self.before_nano_usd = self.before_nano_usd.saturating_add(before);
        self.after_nano_usd = self.after_nano_usd.saturating_add(after);
    }
}

impl LedgerReader {
    /// What other prices would do to the rows of a time. There is no time limit.
    pub fn rerating(
        &self,
        time: (Timestamp, Timestamp),
        tariff: &dyn Fn(&LedgerEntry) -> Tariff,
    ) -> Result<Rerating, LedgerError> {
        let mut rerating = Rerating::default();
        self.without_limit(|connection| {
            original::of_time(connection, time, &mut |original| {
                rerating.judge(&original, tariff(&original.entry));
                Ok(())
            })
        })?;
        Ok(rerating)
    }
}

impl Ledger {
    /// Prices the rows of a time anew. What is worth something else gets a row beside it, in its counters too. When this fails
    /// half way, what was done is right, and a second call does the rest. Blocks.
    pub fn rerate(
        &self,
        time: (Timestamp, Timestamp),
        tariff: &dyn Fn(&LedgerEntry) -> Tariff,
        evidence: &Evidence,
    ) -> Result<Rerating, LedgerError> {
        let _one = self.inner.correcting.lock().unwrap_or_else(PoisonError::into_inner);
        self.flush()?;
        let (mut rerating, mut rows) = (Rerating::default(), Vec::new());
        self.reader().without_limit(|connection| {
            let kept = Kept::read(connection)?;
            original::of_time(connection, time, &mut |original| {
                let Some((price, delta)) = rerating.judge(&original, tariff(&original.entry)) else { return Ok(()) };
                let postings = original.postings(connection, &kept, &|_, _| None)?;
                let basis = original.entry.basis;
                let row = original.corrected(original.corrections + 1, (delta, basis), evidence, postings);
                rows.push(LedgerEntry { price: Some(price), ..row });
                if rows.len() >= TOGETHER {
                    self.correct(&std::mem::take(&mut rows))?;
                }
                Ok(())
            })
        })?;
        self.correct(&rows)?;
        Ok(rerating)
    }
}

impl Rerating {
    /// Takes a row into account. `Some`: it is worth so much more (or less) at this price.
    fn judge(&mut self, original: &Original, tariff: Tariff) -> Option<(Arc<PriceRow>, i64)> {
        let price = match tariff {
            Tariff::Other => return None,
            Tariff::Unknown => {
                self.rows += 1;
                self.unpriced += 1;
                return None;
            }
            Tariff::At(price) => price,
        };
        self.rows += 1;
        let after = price.cost(&original.entry.usage).map(Money::nano)?;
        if original.worth == Some(after) {
            return None;
        }
        let before = original.worth.unwrap_or(0);
        self.total.add((before, after));
        self.models.entry(price.model.to_string()).or_default().add((before, after));
        Some((price, after.saturating_sub(before)))
    }
}
