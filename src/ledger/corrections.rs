//! What an operator may correct: what is in doubt, when evidence arrives, and the prices of a time that is past. Every
//! correction is a row of its own.

use std::sync::{Arc, PoisonError};

use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::price::PriceRow;
use crate::domain::standing::Unit;
use crate::domain::usage::Basis;
use crate::meter::counter::CounterName;
use crate::policy::identity::Identity;

use super::Ledger;
use super::counters::unit_word;
use super::doubts::{Remainder, Resolution};
use super::entry::LedgerEntry;
use super::error::LedgerError;
use super::original::{self, Kept, Live};
use super::reader::LedgerReader;
use super::record::Record;

/// Corrections that are written together.
const TOGETHER: usize = 5_000;

/// What is known now, who says so and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What was really spent, in nano-dollars (for remainders of other units: in that unit).
    pub spent: i64,
    /// Who says so.
    pub actor: Arc<str>,
    /// On what evidence.
    pub reason: Arc<str>,
    /// When.
    pub at: Timestamp,
}

/// One amount that is charged until evidence arrives, as the admin API and the command line show it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct InDoubt {
    /// How it is named when it is resolved: a request's id, or `lease_7`.
    pub id: String,
    /// What was leased from this budget when a run died; absent for a call.
    pub budget: Option<String>,
    /// The tenant, where it is known.
    #[serde(rename = "tenantId")]
    pub tenant_id: Option<String>,
    /// The counter's key, for leases.
    pub key: Option<String>,
    /// `nano_usd`, `tokens` or `requests`.
    pub unit: String,
    /// How much is charged.
    pub amount: i64,
    /// When the call was admitted, or the budget's window began. RFC 3339, UTC.
    pub since: String,
}

impl InDoubt {
    fn of_lease(remainder: &Remainder) -> Self {
        let CounterName { identity, key } = &remainder.name;
        let parsed = Identity::parse(identity);
        let tenant = parsed.as_ref().and_then(|identity| identity.tenant_of(key));
        Self {
            id: format!("{LEASE}{}", remainder.id),
            tenant_id: tenant.map(str::to_owned),
            budget: Some(parsed.map_or_else(|| identity.to_string(), |identity| identity.budget.to_string())),
            key: Some(key.replace('\u{1f}', ", ")).filter(|key| !key.is_empty()),
            unit: unit_word(remainder.unit).to_owned(),
            amount: remainder.amount,
            since: remainder.window.start.to_string(),
        }
    }

    fn of_call(original: &original::Original) -> Self {
        let entry = &original.entry;
        Self {
            id: entry.attempt_id.to_string(),
            budget: None,
            tenant_id: Some(entry.tenant.id.to_string()),
            key: None,
            unit: unit_word(Unit::Money).to_owned(),
            amount: original.in_doubt,
            since: entry.admitted_at.to_string(),
        }
    }
}

/// How the id of a remainder begins.
const LEASE: &str = "lease_";

/// What new prices did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Rerating {
    /// Rows of the time whose usage is known.
    pub rows: u64,
    /// Rows that are worth something else by the new prices.
    pub changed: u64,
    /// Rows whose model the new prices do not name; they stay as they are.
    pub unpriced: u64,
    /// What the changed rows were worth, in nano-dollars.
    pub before: i64,
    /// What they are worth now.
    pub after: i64,
}

impl LedgerReader {
    /// Everything that is in doubt: remainders of leases, then calls.
    pub fn all_in_doubt(&self) -> Result<Vec<InDoubt>, LedgerError> {
        let leases = self.in_doubt()?;
        let calls = self.with_patience(original::in_doubt)?;
        Ok(leases.iter().map(InDoubt::of_lease).chain(calls.iter().map(InDoubt::of_call)).collect())
    }
}

impl Ledger {
    /// Replaces what is in doubt under `id` by what the evidence says; on the disk when this returns. `None`: nothing of that
    /// name is in doubt. Blocks.
    pub fn settle_doubt(&self, id: &str, evidence: &Evidence, live: &Live<'_>) -> Result<Option<InDoubt>, LedgerError> {
        let _one = self.inner.correcting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = id.strip_prefix(LEASE).and_then(|number| number.parse().ok()) {
            return self.settle_lease(number, evidence, live);
        }
        let reader = self.reader();
        let Some(original) = reader.with_patience(|connection| original::original(connection, id))? else {
            return Ok(None);
        };
        if original.in_doubt == 0 {
            return Ok(None);
        }
        let (nth, doubted) = (original.corrections, original.in_doubt);
        let both = reader.with_patience(|connection| {
            let postings = original.postings(connection, &Kept::read(connection)?, live)?;
            Ok([
                original.corrected(nth + 1, -doubted, Basis::InDoubt, evidence, postings.clone()),
                original.corrected(nth + 2, evidence.spent, Basis::Exact, evidence, postings),
            ])
        })?;
        self.correct(both.to_vec())?;
        Ok(Some(InDoubt::of_call(&original)))
    }

    fn settle_lease(&self, id: i64, evidence: &Evidence, live: &Live<'_>) -> Result<Option<InDoubt>, LedgerError> {
        let how = Resolution {
            id,
            spent: evidence.spent,
            actor: evidence.actor.to_string(),
            reason: evidence.reason.to_string(),
        };
        let Some(remainder) = self.resolve(how)? else { return Ok(None) };
        if let Some(counter) = live(&remainder.name).filter(|counter| counter.window() == remainder.window) {
            counter.cell(remainder.unit).resolve(remainder.amount, evidence.spent);
        }
        Ok(Some(InDoubt::of_lease(&remainder)))
    }

    /// Prices the rows of a time anew: `price` finds the new price of a row, `None` leaves it as it is. What changes is written
    /// as rows beside the old ones, unless it is only tried. Blocks.
    pub fn rerate(
        &self,
        time: (Timestamp, Timestamp),
        price: &dyn Fn(&LedgerEntry) -> Option<Arc<PriceRow>>,
        evidence: &Evidence,
        write: bool,
    ) -> Result<Rerating, LedgerError> {
        let _one = self.inner.correcting.lock().unwrap_or_else(PoisonError::into_inner);
        self.flush()?;
        let mut rerating = Rerating::default();
        let mut rows = Vec::new();
        let reader = self.reader();
        reader.without_limit(|connection| {
            let kept = Kept::read(connection)?;
            original::of_time(connection, time, &mut |original| {
                rerating.rows += 1;
                let Some(price) = price(&original.entry) else {
                    rerating.unpriced += 1;
                    return Ok(());
                };
                let Some(worth) = price.cost(&original.entry.usage).map(Money::nano) else { return Ok(()) };
                let before = original.worth.unwrap_or(0);
                if Some(worth) == original.worth {
                    return Ok(());
                }
                rerating.changed += 1;
                rerating.before = rerating.before.saturating_add(before);
                rerating.after = rerating.after.saturating_add(worth);
                if write {
                    let postings = original.postings(connection, &kept, &|_| None)?;
                    let basis = original.entry.basis;
                    let row = original.corrected(original.corrections + 1, worth - before, basis, evidence, postings);
                    rows.push(LedgerEntry { price: Some(price), ..row });
                    if rows.len() >= TOGETHER {
                        self.correct(std::mem::take(&mut rows))?;
                    }
                }
                Ok(())
            })
        })?;
        self.correct(rows)?;
        Ok(rerating)
    }

    fn correct(&self, corrections: Vec<LedgerEntry>) -> Result<(), LedgerError> {
        for entry in &corrections {
            self.inner.queue.send(Record::Attempt(Box::new(entry.clone())));
        }
        self.flush()?;
        tell(&corrections);
        Ok(())
    }
}

/// Tells live counters of a correction that is on the disk.
fn tell(corrections: &[LedgerEntry]) {
    for entry in corrections {
        let cost = entry.cost.map_or(0, Money::nano);
        for posting in &entry.postings {
            posting.counter.cell(Unit::Money).count(cost, entry.basis == Basis::InDoubt);
        }
    }
}
