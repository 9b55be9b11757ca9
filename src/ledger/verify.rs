//! Whether a ledger is what it claims to be: every row is as it was written, every cost is what its price makes of its
//! usage, every counter is the sum of its rows, and the file itself is sound. It reads and changes nothing, and works beside a
//! running server. What cannot be read is a finding, not the end.

use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::price::PriceRow;
use crate::domain::standing::{Amounts, Dimensions};
use crate::domain::usage::{Basis, Usage};

use super::chain::{self, Chain};
use super::changes::Delta;
use super::counters::{self, StoredCounter};
use super::entry::{self, Ending};
use super::error::LedgerError;
use super::kept::Kept;
use super::row::at;
use super::{doubts, row};

/// Findings that are described; further ones are counted.
const DESCRIBED: usize = 100;

/// What was looked at and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Verification {
    /// Rows there are.
    pub rows: u64,
    /// Rows that the hash chain covers; older ones were written before there was a chain.
    pub chained: u64,
    /// Rows whose cost was computed again from their price.
    pub priced: u64,
    /// Counters that were added up again.
    pub counters: u64,
    /// Counters that were left out: nobody keeps them any more, or their window had ended when their budget was new.
    pub retired: u64,
    /// How many findings there are.
    pub faults: u64,
    /// The first of them, each a sentence.
    pub findings: Vec<String>,
}

impl Verification {
    fn found(&mut self, what: impl FnOnce() -> String) {
        self.faults += 1;
        if self.findings.len() < DESCRIBED {
            self.findings.push(what());
        }
    }
}

/// Goes over everything in one consistent view.
pub(super) fn verify(connection: &Connection) -> Result<Verification, LedgerError> {
    let view = connection.unchecked_transaction()?;
    let mut work = Work::default();
    let parts: [(&str, Part); 6] = [
        ("the budgets", Work::read_kept),
        ("the prices", Work::read_prices),
        ("the rows", Work::rows),
        ("the end of the chain", Work::head),
        ("the counters", Work::counters),
        ("the file", Work::file),
    ];
    for (name, part) in parts {
        if let Err(error) = part(&mut work, &view) {
            let after = if work.last > 0 { format!(" after row {}", work.last) } else { String::new() };
            work.report.found(|| format!("{name} cannot be read{after}: {error}"));
            work.unread = true;
        }
    }
    Ok(work.report)
}

type Part = fn(&mut Work, &Connection) -> Result<(), LedgerError>;

/// An identity's number, a key, the start of a window.
type Place = (usize, String, i64);

#[derive(Default)]
struct Work {
    report: Verification,
    kept: Kept,
    prices: HashMap<String, Vec<PriceRow>>,
    chain: Option<Chain>,
    last: i64,
    sums: HashMap<Place, Delta>,
    /// Something could not be read: sums would say nothing.
    unread: bool,
}

/// Where a column is, after `id` and `chain`.
fn column(index: usize) -> usize {
    index + 2
}

impl Work {
    fn read_kept(&mut self, view: &Connection) -> Result<(), LedgerError> {
        self.kept = Kept::read(view)?;
        for text in &self.kept.strange {
            self.report.found(|| format!("counters of `{text}` cannot be read: another version wrote them"));
        }
        Ok(())
    }

    fn read_prices(&mut self, view: &Connection) -> Result<(), LedgerError> {
        let mut statement = view.prepare("SELECT id, row FROM price")?;
        let mut stored = statement.query([])?;
        while let Some(found) = stored.next()? {
            let (id, text): (String, String) = (found.get(0)?, found.get(1)?);
            match serde_json::from_str(&text) {
                Ok(price) => self.prices.entry(id).or_default().push(price),
                Err(error) => self.report.found(|| format!("price `{id}` cannot be read: {error}")),
            }
        }
        Ok(())
    }

    fn rows(&mut self, view: &Connection) -> Result<(), LedgerError> {
        let mut statement = view.prepare(&format!("SELECT id, chain, {} FROM entry ORDER BY id", row::COLUMNS))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.report.rows += 1;
            self.last = row.get(0)?;
            self.link(row)?;
            match Read::of(row) {
                Ok(read) => {
                    self.price(&read);
                    self.sum(&read);
                }
                Err(error) => {
                    let id = self.last;
                    self.report.found(|| format!("row {id} cannot be read: {error}"));
                }
            }
        }
        Ok(())
    }

    /// A row that was changed breaks its own link and no other; one that is missing breaks the next one's.
    fn link(&mut self, row: &Row<'_>) -> Result<(), LedgerError> {
        let id = self.last;
        let ValueRef::Blob(stored) = row.get_ref(1)? else {
            // Rows of before there was a chain have numbers too.
            if self.chain.is_some() || id < 1 {
                self.report.found(|| format!("row {id} is outside the chain: it was not written by Plimsoll"));
            }
            return Ok(());
        };
        self.report.chained += 1;
        let values = (0..row::WIDTH).map(|at| row.get_ref(column(at))).collect::<Result<Vec<_>, _>>()?;
        let mut encoded = Vec::new();
        chain::encode(values, &mut encoded);
        let mut chain = self.chain.unwrap_or(Chain::GENESIS);
        if chain.link(&encoded) != stored {
            self.report.found(|| format!("row {id} is not as it was written, or rows before it are missing"));
        }
        self.chain = Chain::from_head(stored).or(Some(chain));
        Ok(())
    }

    /// Costs that were made of usage and price are made again. Amounts in doubt were held, and corrections say themselves
    /// what they are worth.
    fn price(&mut self, row: &Read<'_>) {
        let computed = row.ending != Ending::Adjustment.as_str() && row.basis != Basis::InDoubt.as_str();
        let (Some(price), Some(cost), true) = (row.price, row.cost, computed) else { return };
        self.report.priced += 1;
        let id = self.last;
        let Some(known) = self.prices.get(price) else {
            return self.report.found(|| format!("row {id} names the price `{price}`, which the ledger does not hold"));
        };
        let right = known.iter().any(|price| price.cost(&row.usage).map(Money::nano) == Some(cost));
        if !right {
            let expected = known.first().and_then(|price| price.cost(&row.usage)).map(Money::nano);
            self.report.found(|| {
                let expected = expected.map_or_else(|| "nothing that fits".to_owned(), |nano| nano.to_string());
                format!("row {id} costs {cost} nano-dollars; its usage at `{price}` makes {expected}")
            });
        }
    }

    fn sum(&mut self, row: &Read<'_>) {
        if row.ending == Ending::Refused.as_str() {
            return;
        }
        let in_doubt = row.basis == Basis::InDoubt.as_str();
        for (index, key, window) in self.kept.places(&row.dimensions, row.at) {
            let sum = self.sums.entry((index, key, window.start.micros())).or_default();
            sum.attempt(row.amounts, [0; 3], in_doubt);
        }
    }

    fn head(&mut self, view: &Connection) -> Result<(), LedgerError> {
        if self.unread {
            return Ok(());
        }
        let (entry, head): (i64, Vec<u8>) =
            view.query_one("SELECT entry, chain FROM head", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let last = self.last;
        if last < entry {
            self.report
                .found(|| format!("the last row is {last}, and the ledger wrote {entry}: rows are missing at the end"));
        } else if last > entry {
            self.report
                .found(|| format!("the last row is {last}, and the ledger wrote {entry}: another hand added rows"));
        } else if head != self.chain.unwrap_or(Chain::GENESIS).head() {
            self.report.found(|| format!("the chain does not end where it did: row {last} was changed"));
        }
        Ok(())
    }

    /// Every window of a budget that is kept has a counter when it has rows, and the counter is their sum.
    fn counters(&mut self, view: &Connection) -> Result<(), LedgerError> {
        if self.unread {
            return Ok(());
        }
        for past in doubts::by_counter(view)? {
            let Some((index, _)) = self.kept.find(&past.name.identity, past.window.start) else { continue };
            let sum = self.sums.entry((index, past.name.key.to_string(), past.window.start.micros())).or_default();
            sum.attempt(past.posted, [0; 3], false);
            for unit in 0..3 {
                sum.in_doubt[unit] = sum.in_doubt[unit].saturating_add(past.in_doubt[unit]);
            }
        }
        counters::open_at(view, Timestamp::from_micros(i64::MIN), &mut |counter| self.counter(&counter))?;
        let unmarked = counters::unmarked(view)?;
        if unmarked > 0 {
            self.report.found(|| format!("{unmarked} counters have leases that a start would not find"));
        }
        let mut missing: Vec<Place> = self
            .sums
            .drain()
            .filter(|(_, sum)| (sum.posted, sum.in_doubt) != ([0; 3], [0; 3]))
            .map(|(place, _)| place)
            .collect();
        missing.sort();
        for (index, key, start) in missing {
            let counter = self.describe(index, &key, Timestamp::from_micros(start));
            self.report.found(|| format!("counter {counter} is missing, and has rows"));
        }
        Ok(())
    }

    fn counter(&mut self, stored: &StoredCounter) {
        let start = stored.window.start;
        let Some((index, window)) = self.kept.find(&stored.name.identity, start) else {
            self.report.retired += 1;
            return;
        };
        self.report.counters += 1;
        if stored.window != window {
            let counter = self.describe(index, &stored.name.key, start);
            let end = stored.window.end;
            self.report.found(|| {
                format!(
                    "counter {counter} is of a window to {end}; its budget's is from {} to {}",
                    window.start, window.end
                )
            });
        }
        let sum = self.sums.remove(&(index, stored.name.key.to_string(), start.micros())).unwrap_or_default();
        if (sum.posted, sum.in_doubt) == (stored.posted, stored.in_doubt) {
            return;
        }
        let counter = self.describe(index, &stored.name.key, start);
        self.report.found(|| {
            format!(
                "counter {counter} says {:?} posted and {:?} in doubt (nano-dollars, tokens, requests); its rows say {:?} and \
                 {:?}",
                stored.posted, stored.in_doubt, sum.posted, sum.in_doubt
            )
        });
    }

    /// What SQLite itself has to say: pages, and indexes that lead to other rows than there are.
    fn file(&mut self, view: &Connection) -> Result<(), LedgerError> {
        let mut statement = view.prepare("PRAGMA integrity_check")?;
        let mut lines = statement.query([])?;
        while let Some(line) = lines.next()? {
            let line: String = line.get(0)?;
            if line != "ok" {
                let line = line.replace('\n', "; ");
                self.report.found(|| format!("the file is damaged: {line}"));
            }
        }
        let mut statement = view.prepare("PRAGMA foreign_key_check")?;
        let mut dangling = statement.query([])?;
        while let Some(row) = dangling.next()? {
            let (table, row, parent): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            self.report.found(|| format!("row {row} of `{table}` belongs to a row of `{parent}` that is not there"));
        }
        Ok(())
    }

    fn describe(&self, index: usize, key: &str, start: Timestamp) -> String {
        let key = key.replace('\u{1f}', ", ");
        format!("`{}` of `{key}` from {start}", self.kept.budget(index))
    }
}

/// What verification needs of a row.
struct Read<'a> {
    at: Timestamp,
    dimensions: Dimensions<'a>,
    usage: Usage,
    basis: &'a str,
    price: Option<&'a str>,
    cost: Option<i64>,
    ending: &'a str,
    amounts: Amounts,
}

impl<'a> Read<'a> {
    fn of(row: &'a Row<'_>) -> Result<Self, LedgerError> {
        let text = |index| -> Result<&'a str, LedgerError> {
            Ok(row.get_ref(column(index))?.as_str().map_err(rusqlite::Error::from)?)
        };
        let maybe = |index| -> Result<Option<&'a str>, LedgerError> {
            Ok(row.get_ref(column(index))?.as_str_or_null().map_err(rusqlite::Error::from)?)
        };
        let count = |index| -> Result<Option<u64>, LedgerError> {
            Ok(row.get::<_, Option<i64>>(column(index))?.and_then(|count| u64::try_from(count).ok()))
        };
        let dimensions = Dimensions {
            tenant_id: text(at::TENANT_ID)?,
            plan: maybe(at::PLAN)?,
            segment: maybe(at::SEGMENT)?,
            endpoint_tag: text(at::ENDPOINT_TAG)?,
            prompt_version: text(at::PROMPT_VERSION)?,
            data_mode: text(at::DATA_MODE)?,
            environment: text(at::ENVIRONMENT)?,
            user_id: maybe(at::USER_ID)?,
            workflow_id: maybe(at::WORKFLOW_ID)?,
            provider: text(at::PROVIDER)?,
            model: maybe(at::MODEL_REQUESTED)?.unwrap_or_default(),
        };
        let usage = Usage {
            input: count(at::INPUT_TOKENS)?,
            cached_input: count(at::CACHED_INPUT_TOKENS)?,
            cache_write: count(at::CACHE_WRITE_TOKENS)?,
            cache_write_1h: count(at::CACHE_WRITE_1H_TOKENS)?,
            output: count(at::OUTPUT_TOKENS)?,
            reasoning: count(at::REASONING_TOKENS)?,
        };
        let cost: Option<i64> = row.get(column(at::COST_NANO_USD))?;
        let amounts = [cost.unwrap_or(0), entry::tokens(&usage), row.get(column(at::LOGICAL))?];
        let admitted_at = Timestamp::from_micros(row.get(column(at::ADMITTED_AT))?);
        Ok(Self {
            at: admitted_at,
            dimensions,
            usage,
            basis: text(at::BASIS)?,
            price: maybe(at::PRICE_ROW)?,
            cost,
            ending: text(at::ENDING)?,
            amounts,
        })
    }
}
