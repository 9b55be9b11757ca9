//! Whether a ledger is what it claims to be: every row is as it was written, every cost is what its price makes of its
//! usage, and every counter is the sum of its rows. It reads and changes nothing, and works beside a running server.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::price::PriceRow;
use crate::domain::standing::{Amounts, Dimensions};
use crate::domain::usage::{Basis, Usage};
use crate::meter::counter::CounterName;
use crate::policy::identity::Identity;

use super::chain::{self, Chain};
use super::counters::{self, Delta};
use super::entry::Ending;
use super::error::LedgerError;
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
    /// Counters that nobody keeps any more and that were left out.
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
    let mut work = Work::new(&view)?;
    let select = format!("SELECT id, chain, {} FROM entry ORDER BY id", row::COLUMNS);
    let mut statement = view.prepare(&select)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        work.row(row)?;
    }
    work.head(&view)?;
    work.counters(&view)?;
    Ok(work.report)
}

type Place = (usize, String, i64);

struct Work {
    report: Verification,
    identities: Vec<(Arc<str>, Identity)>,
    prices: HashMap<String, Vec<PriceRow>>,
    chain: Option<Chain>,
    last: i64,
    sums: HashMap<Place, Delta>,
}

/// Positions of columns, after `id` and `chain`.
fn column(index: usize) -> usize {
    index + 2
}

impl Work {
    fn new(connection: &Connection) -> Result<Self, LedgerError> {
        let mut report = Verification::default();
        let mut identities = Vec::new();
        for text in counters::complete(connection)? {
            match Identity::parse(&text) {
                Some(identity) => identities.push((text, identity)),
                None => report.found(|| format!("counters of `{text}` cannot be read: another version wrote them")),
            }
        }
        let mut prices: HashMap<String, Vec<PriceRow>> = HashMap::new();
        let mut statement = connection.prepare("SELECT id, row FROM price")?;
        let stored = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for found in stored {
            let (id, text): (String, String) = found?;
            match serde_json::from_str(&text) {
                Ok(price) => prices.entry(id).or_default().push(price),
                Err(error) => report.found(|| format!("price `{id}` cannot be read: {error}")),
            }
        }
        Ok(Self { report, identities, prices, chain: None, last: 0, sums: HashMap::new() })
    }

    fn row(&mut self, row: &Row<'_>) -> Result<(), LedgerError> {
        self.report.rows += 1;
        self.last = row.get(0)?;
        self.link(row)?;
        let read = Read::of(row)?;
        self.price(&read);
        if read.ending == Ending::Refused.as_str() {
            return Ok(());
        }
        let in_doubt = read.basis == Basis::InDoubt.as_str();
        for (index, (_, identity)) in self.identities.iter().enumerate() {
            if let Some((key, window)) = identity.place(&read.dimensions, read.at) {
                let sum = self.sums.entry((index, key, window.start.micros())).or_default();
                sum.attempt(read.amounts, [0; 3], in_doubt);
            }
        }
        Ok(())
    }

    /// A row that was changed breaks its own link and no other; one that is missing breaks the next one's.
    fn link(&mut self, row: &Row<'_>) -> Result<(), LedgerError> {
        let id = self.last;
        let ValueRef::Blob(stored) = row.get_ref(1)? else {
            if self.chain.is_some() {
                self.report.found(|| format!("row {id} is outside the chain: it was not written by Plimsoll"));
            }
            return Ok(());
        };
        self.report.chained += 1;
        let values = (0..row::WIDTH).map(|at| row.get_ref(column(at))).collect::<Result<Vec<_>, _>>()?;
        let mut encoded = Vec::new();
        chain::encode(&values, &mut encoded);
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

    fn head(&mut self, connection: &Connection) -> Result<(), LedgerError> {
        let (entry, head): (i64, Vec<u8>) =
            connection.query_one("SELECT entry, chain FROM head", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let last = self.last;
        if entry != last {
            self.report
                .found(|| format!("the last row is {last}, and the ledger wrote {entry}: rows are missing at the end"));
        } else if self.chain.is_some_and(|chain| head != chain.head()) {
            self.report.found(|| format!("the chain does not end where it did: row {last} was changed"));
        }
        Ok(())
    }

    /// Counters exist from the window in which their budget was new; from then on every window that counted anything has one.
    fn counters(&mut self, connection: &Connection) -> Result<(), LedgerError> {
        for past in doubts::by_counter(connection)? {
            let Some(index) = self.index(&past.name) else { continue };
            let sum = self.sums.entry((index, past.name.key.to_string(), past.window.start.micros())).or_default();
            sum.attempt(past.posted, [0; 3], false);
            for unit in 0..3 {
                sum.in_doubt[unit] = sum.in_doubt[unit].saturating_add(past.in_doubt[unit]);
            }
        }
        let mut stored = Vec::new();
        counters::open_at(connection, Timestamp::from_micros(i64::MIN), &mut |counter| stored.push(counter))?;
        let mut first: BTreeMap<usize, i64> = BTreeMap::new();
        for counter in stored {
            let Some(index) = self.index(&counter.name) else {
                self.report.retired += 1;
                continue;
            };
            let start = counter.window.start.micros();
            first.entry(index).and_modify(|first| *first = start.min(*first)).or_insert(start);
            self.report.counters += 1;
            let sum = self.sums.remove(&(index, counter.name.key.to_string(), start)).unwrap_or_default();
            if (sum.posted, sum.in_doubt) != (counter.posted, counter.in_doubt) {
                let budget = self.describe(index, &counter.name.key, counter.window.start);
                self.report.found(|| {
                    format!(
                        "counter {budget} says {:?} posted and {:?} in doubt (nano-dollars, tokens, requests); its rows say {:?} \
                         and {:?}",
                        counter.posted, counter.in_doubt, sum.posted, sum.in_doubt
                    )
                });
            }
        }
        self.missing(&first);
        Ok(())
    }

    fn missing(&mut self, first: &BTreeMap<usize, i64>) {
        let empty = |sum: &Delta| (sum.posted, sum.in_doubt) == ([0; 3], [0; 3]);
        let kept = |place: &Place| first.get(&place.0).is_some_and(|first| place.2 >= *first);
        let mut missing: Vec<Place> = self
            .sums
            .iter()
            .filter(|(place, sum)| kept(place) && !empty(sum))
            .map(|(place, _)| place.clone())
            .collect();
        missing.sort();
        for (index, key, start) in missing {
            let budget = self.describe(index, &key, Timestamp::from_micros(start));
            self.report.found(|| format!("counter {budget} is missing, and has rows"));
        }
    }

    fn index(&self, name: &CounterName) -> Option<usize> {
        self.identities.iter().position(|(text, _)| *text == name.identity)
    }

    fn describe(&self, index: usize, key: &str, start: Timestamp) -> String {
        let key = key.replace('\u{1f}', ", ");
        format!("`{}` of `{key}` from {start}", self.identities[index].1.budget)
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
            tenant_id: text(3)?,
            plan: maybe(4)?,
            segment: maybe(5)?,
            endpoint_tag: text(6)?,
            prompt_version: text(7)?,
            data_mode: text(8)?,
            environment: text(9)?,
            user_id: maybe(10)?,
            workflow_id: maybe(12)?,
            provider: text(16)?,
            model: maybe(19)?.unwrap_or_default(),
        };
        let usage = Usage {
            input: count(24)?,
            cached_input: count(25)?,
            cache_write: count(26)?,
            cache_write_1h: count(27)?,
            output: count(28)?,
            reasoning: count(29)?,
        };
        let cost: Option<i64> = row.get(column(32))?;
        let amounts = [cost.unwrap_or(0), super::entry::tokens(&usage), row.get(column(23))?];
        let at = Timestamp::from_micros(row.get(column(2))?);
        Ok(Self { at, dimensions, usage, basis: text(30)?, price: maybe(31)?, cost, ending: text(34)?, amounts })
    }
}
