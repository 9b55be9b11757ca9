//! Records into SQLite, a batch per transaction. Only the writer thread owns one of these.
//!
//! It never tries a failed commit again: after a failed `fsync` nobody knows what reached the disk.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ToSql, Transaction, TransactionBehavior, params, params_from_iter};

use crate::domain::clock::Timestamp;
use crate::domain::price::PriceRow;
use crate::domain::tenant::Tenant;
use crate::domain::usage::Basis;

use super::chain::{self, Chain};
use super::changes::{Changes, Known};
use super::counters::{self, StoredCounter};
use super::entry::{LedgerEntry, TransitionEntry};
use super::error::LedgerError;
use super::record::{Done, Record, Seed};
use super::{LedgerStore, doubts, row, schema};

const INSERT_TRANSITION: &str = "INSERT INTO transition (budget, key, window_start, step, at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING";

const PUT_TENANT: &str = "INSERT OR REPLACE INTO tenant
    (tenant_id, name, plan, segment, account_owner, revenue_nano, revenue_per, upgrade_url)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)";

const DELETE_TENANT: &str = "DELETE FROM tenant WHERE tenant_id = ?";

/// The ledger in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    pub(super) connection: Connection,
    insert: String,
    chain: Chain,
    last: i64,
    known: Known,
    /// Prices that are in the table already. They are kept alive, so that an address stands for one price.
    prices: HashMap<usize, Arc<PriceRow>>,
}

impl SqliteStore {
    /// Opens or creates the file. Refuses an old SQLite, a newer schema and another program's database.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        schema::refuse_old_sqlite(rusqlite::version_number(), rusqlite::version())?;
        Self::over(schema::open_writer(path)?)
    }

    /// A ledger that is gone when this is dropped, for tests and simulations.
    pub fn in_memory() -> Result<Self, LedgerError> {
        Self::over(schema::in_memory()?)
    }

    /// Every counter there is.
    pub fn counters(&self) -> Result<Vec<StoredCounter>, LedgerError> {
        let mut found = Vec::new();
        counters::open_at(&self.connection, Timestamp::from_micros(i64::MIN), &mut |counter| found.push(counter))?;
        Ok(found)
    }

    fn over(connection: Connection) -> Result<Self, LedgerError> {
        let head = "SELECT chain, entry FROM head";
        let (head, last): (Vec<u8>, i64) = connection.query_one(head, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let insert = format!(
            "INSERT INTO entry ({}, chain) VALUES ({}?) ON CONFLICT (attempt_id) DO NOTHING",
            row::COLUMNS,
            "?, ".repeat(row::WIDTH)
        );
        let chain = Chain::from_head(&head).ok_or(LedgerError::Damaged)?;
        Ok(Self { connection, insert, chain, last, known: Known::default(), prices: HashMap::new() })
    }

    /// Begins a run: takes in what was spooled, and puts in doubt what the last run had leased and never settled. Returns how
    /// many leases that were.
    pub fn begin_run(&mut self, spooled: &[Vec<u8>]) -> Result<usize, LedgerError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut work = Work::new(&transaction, &self.insert, self.chain, self.last, (&mut self.known, &self.prices))?;
        let strange = spooled.iter().map(|frame| work.spooled(frame)).collect::<Result<Vec<bool>, _>>()?;
        work.finish()?;
        let Made { chain, done: Done { last, .. }, .. } = work.made();
        let (epoch, doubted) = doubts::recover(&transaction)?;
        transaction.commit()?;
        (self.chain, self.last) = (chain, last);
        self.known.clear();
        let strange = strange.iter().filter(|strange| **strange).count();
        if strange > 0 {
            tracing::error!(strange, "frames of the spool are not rows of this program and were left out");
        }
        if doubted > 0 {
            tracing::warn!(epoch, doubted, "leases of the run before were never settled: what they held is in doubt");
        }
        Ok(doubted)
    }
}

/// What one transaction has done so far, none of which counts before it is committed.
struct Work<'a> {
    transaction: &'a Transaction<'a>,
    insert: CachedStatement<'a>,
    /// The bytes of the row that is written, kept for their room.
    encoded: Vec<u8>,
    chain: Chain,
    known: &'a mut Known,
    prices: &'a HashMap<usize, Arc<PriceRow>>,
    new_prices: Vec<Arc<PriceRow>>,
    changes: Changes,
    done: Done,
}

/// What is true once the transaction is committed.
struct Made {
    chain: Chain,
    new_prices: Vec<Arc<PriceRow>>,
    done: Done,
}

impl LedgerStore for SqliteStore {
    fn append(&mut self, batch: &[Record]) -> Result<Done, LedgerError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut work = Work::new(&transaction, &self.insert, self.chain, self.last, (&mut self.known, &self.prices))?;
        let worked = batch.iter().try_for_each(|record| work.take(record)).and_then(|()| work.finish());
        let Made { chain, new_prices, done } = work.made();
        let committed = worked.and_then(|()| Ok(transaction.commit()?));
        if let Err(error) = committed {
            // Rows of counters that the transaction made are gone with it.
            self.known.clear();
            return Err(error);
        }
        (self.chain, self.last) = (chain, done.last);
        for price in new_prices {
            self.prices.insert(Arc::as_ptr(&price).addr(), price);
        }
        Ok(done)
    }

    fn reopen(&mut self) -> Result<(), LedgerError> {
        let path = self.connection.path().map(std::path::PathBuf::from).ok_or(LedgerError::Failed)?;
        *self = Self::open(&path)?;
        Ok(())
    }
}

impl<'a> Work<'a> {
    fn new(
        transaction: &'a Transaction<'a>,
        insert: &'a str,
        chain: Chain,
        last: i64,
        (known, prices): (&'a mut Known, &'a HashMap<usize, Arc<PriceRow>>),
    ) -> Result<Self, LedgerError> {
        Ok(Self {
            transaction,
            insert: transaction.prepare_cached(insert)?,
            encoded: Vec::with_capacity(1024),
            chain,
            known,
            prices,
            new_prices: Vec::new(),
            changes: Changes::default(),
            done: Done { last, ..Done::default() },
        })
    }

    fn made(self) -> Made {
        Made { chain: self.chain, new_prices: self.new_prices, done: self.done }
    }

    fn take(&mut self, record: &Record) -> Result<(), LedgerError> {
        match record {
            Record::Attempt(entry) => self.entry(entry)?,
            Record::Transition(transition) => insert_transition(self.transaction, transition)?,
            Record::Tenant(tenant) => put_tenant(self.transaction, tenant)?,
            Record::TenantGone(id) => delete_tenant(self.transaction, id.as_str())?,
            Record::Grant(ask) => {
                self.done.granted.push(self.changes.grant(self.transaction, self.known, ask)?);
            }
            Record::Return { counter, unit, amount } => self.changes.give_back(counter, *unit, *amount),
            Record::Begin(identities) => {
                self.flush()?;
                counters::begin(self.transaction, identities)?;
                self.known.clear();
            }
            Record::Seeded { counters, identities, since } => self.seed(counters, identities, *since)?,
            Record::Retire(identities) => {
                self.flush()?;
                identities.iter().try_for_each(|identity| counters::retire(self.transaction, identity))?;
                self.known.clear();
            }
            Record::Resolve(how) => {
                self.flush()?;
                self.done.resolved = doubts::resolve(self.transaction, how)?;
            }
            Record::Correct(entries) => entries.iter().try_for_each(|entry| self.entry(entry))?,
        }
        Ok(())
    }

    /// A row, its link in the chain, its price, and what it adds to every counter that counts it. An attempt that is there
    /// already changes nothing.
    fn entry(&mut self, entry: &LedgerEntry) -> Result<(), LedgerError> {
        if !self.insert(&row::values(entry))? {
            return Ok(());
        }
        if let Some(price) = &entry.price {
            self.price(price)?;
        }
        let (amounts, in_doubt) = (entry.amounts(), entry.basis == Basis::InDoubt);
        for posting in &entry.postings {
            self.changes.of(&posting.counter).attempt(amounts, posting.covered, in_doubt);
        }
        Ok(())
    }

    /// Whether the row was not there yet.
    fn insert(&mut self, values: &[ToSqlOutput<'_>]) -> Result<bool, LedgerError> {
        self.encoded.clear();
        chain::encode(values.iter().map(row::reference), &mut self.encoded);
        let mut chain = self.chain;
        let link = chain.link(&self.encoded);
        let link = ToSqlOutput::Borrowed(ValueRef::Blob(&link));
        if self.insert.execute(params_from_iter(values.iter().chain([&link])))? == 0 {
            return Ok(false);
        }
        self.chain = chain;
        self.done.last = self.transaction.last_insert_rowid();
        Ok(true)
    }

    /// A row that waited in the spool. `true`: the frame is none of ours.
    fn spooled(&mut self, frame: &[u8]) -> Result<bool, LedgerError> {
        let Some(row) = row::unframe(frame) else { return Ok(true) };
        let values: Vec<ToSqlOutput<'_>> = row.values.into_iter().map(ToSqlOutput::Owned).collect();
        if self.insert(&values)? {
            for (counter, covered) in row.postings {
                self.changes.of(&counter).attempt(row.amounts, covered, row.in_doubt);
            }
        }
        Ok(false)
    }

    fn price(&mut self, price: &Arc<PriceRow>) -> Result<(), LedgerError> {
        let known = |other: &Arc<PriceRow>| Arc::ptr_eq(other, price);
        if self.prices.contains_key(&Arc::as_ptr(price).addr()) || self.new_prices.iter().any(known) {
            return Ok(());
        }
        let text = serde_json::to_string(&**price).map_err(|_| LedgerError::Damaged)?;
        self.transaction
            .prepare_cached("INSERT OR IGNORE INTO price (id, row) VALUES (?, ?)")?
            .execute(params![price.id, text])?;
        self.new_prices.push(Arc::clone(price));
        Ok(())
    }

    fn seed(&mut self, counters: &[Seed], identities: &[Arc<str>], since: Timestamp) -> Result<(), LedgerError> {
        for Seed { counter, posted, in_doubt } in counters {
            let delta = self.changes.of(counter);
            delta.attempt(*posted, [0; 3], false);
            delta.attempt(*in_doubt, [0; 3], true);
        }
        counters::completed(self.transaction, identities, since)
    }

    /// Writes the changes of counters that are gathered so far.
    fn flush(&mut self) -> Result<(), LedgerError> {
        self.changes.write(self.transaction, self.known)
    }

    fn finish(&mut self) -> Result<(), LedgerError> {
        self.flush()?;
        let head = params![self.done.last, self.chain.head()];
        self.transaction.prepare_cached("UPDATE head SET entry = ?1, chain = ?2 WHERE entry <> ?1")?.execute(head)?;
        Ok(())
    }
}

fn insert_transition(transaction: &Transaction<'_>, transition: &TransitionEntry) -> Result<(), LedgerError> {
    let values: [&dyn ToSql; 5] = [
        &transition.budget,
        &transition.key,
        &transition.window_start.micros(),
        &transition.step,
        &transition.at.micros(),
    ];
    transaction.prepare_cached(INSERT_TRANSITION)?.execute(values)?;
    Ok(())
}

fn put_tenant(transaction: &Transaction<'_>, tenant: &Tenant) -> Result<(), LedgerError> {
    transaction.prepare_cached(PUT_TENANT)?.execute(params![
        tenant.id.as_str(),
        tenant.name,
        tenant.plan,
        tenant.segment,
        tenant.account_owner,
        tenant.revenue.map(|revenue| revenue.amount.nano()),
        tenant.revenue.map(|revenue| revenue.per.as_str()),
        tenant.upgrade_url,
    ])?;
    Ok(())
}

fn delete_tenant(transaction: &Transaction<'_>, id: &str) -> Result<(), LedgerError> {
    transaction.prepare_cached(DELETE_TENANT)?.execute([id])?;
    Ok(())
}
