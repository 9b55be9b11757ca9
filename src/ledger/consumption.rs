//! What attempts used, row by row: for those who price it again or compare it with a provider's account. Read-only.

use rusqlite::Row;

use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::price::PriceRow;
use crate::domain::usage::Usage;

use super::LedgerReader;
use super::error::LedgerError;

/// What one row used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumption<'row> {
    /// The model that answered; where its name is unknown the one that was sent, else the one that was asked for; else empty.
    pub model: &'row str,
    /// The price row by which it was priced; `None`: the model was unpriced, or nothing was used.
    pub price_row: Option<&'row str>,
    /// Tokens.
    pub usage: Usage,
    /// The cost; `None`: unpriced.
    pub cost: Option<Money>,
    /// How the cost is known: `exact`, `partial`, …
    pub basis: &'row str,
}

/// A model that was used and has no price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpriced {
    /// The provider's name.
    pub provider: String,
    /// The model as it was asked for.
    pub model: String,
    /// Its attempts.
    pub attempts: i64,
}

const ROWS: &str = "SELECT coalesce(model_answered, model_served, model_requested, ''), price_row, input_tokens,
    cached_input_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens, reasoning_tokens, cost_nano_usd, basis
FROM entry WHERE admitted_at >= ? AND admitted_at < ? AND provider = ? AND ending NOT IN ('refused', 'replayed')";

const UNPRICED: &str = "SELECT provider, coalesce(model_requested, ''), count(*) FROM entry
WHERE admitted_at >= ? AND cost_nano_usd IS NULL AND basis <> 'unmetered' AND ending NOT IN ('refused', 'replayed')
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2";

impl LedgerReader {
    /// Feeds every row of a provider from `since` (inclusive) to `until` (exclusive) to `take`. There is no time limit;
    /// beside a running server a long read delays the WAL's checkpoint and nothing else.
    pub fn consumption(
        &self,
        provider: &str,
        (since, until): (Timestamp, Timestamp),
        take: &mut dyn FnMut(&Consumption<'_>),
    ) -> Result<(), LedgerError> {
        self.with(None, |connection| {
            let mut statement = connection.prepare_cached(ROWS)?;
            let mut rows = statement.query((since.micros(), until.micros(), provider))?;
            while let Some(row) = rows.next()? {
                take(&consumption(row)?);
            }
            Ok(())
        })
    }

    /// The models that were used since a moment and have no price, the most used first.
    pub fn unpriced(&self, since: Timestamp) -> Result<Vec<Unpriced>, LedgerError> {
        self.with(None, |connection| {
            let mut statement = connection.prepare_cached(UNPRICED)?;
            let read =
                |row: &Row<'_>| Ok(Unpriced { provider: row.get(0)?, model: row.get(1)?, attempts: row.get(2)? });
            Ok(statement.query_map([since.micros()], read)?.collect::<Result<_, _>>()?)
        })
    }

    /// The prices that rows were priced with, as they were then. Two of one id differ: a price file was edited.
    pub fn price_rows(&self) -> Result<Vec<PriceRow>, LedgerError> {
        self.with(None, |connection| {
            let mut statement = connection.prepare_cached("SELECT row FROM price ORDER BY id, row")?;
            let texts = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            texts.iter().map(|text| serde_json::from_str(text).map_err(|_| LedgerError::Damaged)).collect()
        })
    }

    /// The providers that the ledger has rows of, by name.
    pub fn providers(&self) -> Result<Vec<String>, LedgerError> {
        self.with(None, |connection| {
            let mut statement = connection.prepare_cached("SELECT DISTINCT provider FROM entry ORDER BY 1")?;
            Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
    }
}

fn consumption<'row>(row: &'row Row<'_>) -> Result<Consumption<'row>, LedgerError> {
    let tokens = |index: usize| -> Result<Option<u64>, LedgerError> {
        Ok(row.get::<_, Option<i64>>(index)?.map(|tokens| u64::try_from(tokens).unwrap_or(0)))
    };
    Ok(Consumption {
        model: row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?,
        price_row: row.get_ref(1)?.as_str_or_null().map_err(rusqlite::Error::from)?,
        usage: Usage {
            input: tokens(2)?,
            cached_input: tokens(3)?,
            cache_write: tokens(4)?,
            cache_write_1h: tokens(5)?,
            output: tokens(6)?,
            reasoning: tokens(7)?,
        },
        cost: row.get::<_, Option<i64>>(8)?.map(Money::from_nano),
        basis: row.get_ref(9)?.as_str().map_err(rusqlite::Error::from)?,
    })
}
