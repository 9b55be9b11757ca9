//! What is in doubt, and the evidence that replaces it. Evidence about a call makes rows of its own; the row in doubt is never
//! changed. It refuses evidence that says nothing, and evidence in another unit than the amount.

use std::sync::{Arc, PoisonError};

use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::standing::Unit;
use crate::domain::usage::Basis;
use crate::meter::counter::CounterName;
use crate::policy::identity::Holder;

use super::counters::unit_word;
use super::doubts::{Remainder, Resolution};
use super::entry::LedgerEntry;
use super::error::LedgerError;
use super::kept::Kept;
use super::original::{self, Live, Original};
use super::queue::{Finish, Message};
use super::reader::LedgerReader;
use super::record::Record;
use super::{Ledger, outcome};

/// The longest name and the longest reason, in bytes.
const WORDS: usize = 1_000;
/// More than this nobody spent: a billion dollars.
const MOST_SPENT: i64 = 1_000_000_000_000_000_000;

/// What is known now, who says so and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    spent: i64,
    unit: Option<Unit>,
    pub(super) actor: Arc<str>,
    pub(super) reason: Arc<str>,
    pub(super) at: Timestamp,
}

impl Evidence {
    /// What was really spent, and in which unit where that was said (else in that of the amount); who says so, on what
    /// evidence, when. More than what is in doubt is evidence too: the rest is debt. `Err` says what is wrong.
    pub fn new(
        (spent, unit): (i64, Option<Unit>),
        (actor, reason): (&str, &str),
        at: Timestamp,
    ) -> Result<Self, String> {
        if !(0..=MOST_SPENT).contains(&spent) {
            return Err("what was spent is below zero or beyond belief: write what was really spent".to_owned());
        }
        let words = |what: &str, text: &str| -> Result<Arc<str>, String> {
            let text = text.trim();
            if text.is_empty() || text.len() > WORDS || text.chars().any(char::is_control) {
                return Err(format!("the {what} is empty, longer than {WORDS} bytes, or has control characters"));
            }
            Ok(Arc::from(text))
        };
        Ok(Self { spent, unit, actor: words("actor", actor)?, reason: words("reason", reason)?, at })
    }

    /// What was spent.
    pub fn spent(&self) -> i64 {
        self.spent
    }

    /// In which unit, where that was said.
    pub fn unit(&self) -> Option<Unit> {
        self.unit
    }

    /// Who says so.
    pub fn actor(&self) -> &str {
        &self.actor
    }

    /// On what evidence.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// New prices: the amounts follow from them.
    pub fn of_prices(words: (&str, &str), at: Timestamp) -> Result<Self, String> {
        Self::new((0, None), words, at)
    }
}

/// What became of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It replaces this.
    Done(InDoubt),
    /// Nothing is in doubt under that name.
    Unknown,
    /// This is in another unit. Nothing was changed.
    OtherUnit(InDoubt),
}

/// One amount that is charged until evidence arrives, as the admin API and the command line show it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
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
        let holder = Holder::parse(identity);
        let tenant = holder.as_ref().and_then(|holder| holder.tenant_of(key));
        Self {
            id: format!("{LEASE}{}", remainder.id),
            tenant_id: tenant.map(str::to_owned),
            budget: Some(holder.map_or_else(|| identity.to_string(), |holder| holder.budget.to_string())),
            key: Some(key.replace('\u{1f}', ", ")).filter(|key| !key.is_empty()),
            unit: unit_word(remainder.unit).to_owned(),
            amount: remainder.amount,
            since: remainder.window.start.to_string(),
        }
    }

    fn of_call(original: &Original) -> Self {
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

impl LedgerReader {
    /// Everything that is in doubt: remainders of leases, then calls.
    pub fn all_in_doubt(&self) -> Result<Vec<InDoubt>, LedgerError> {
        let leases = self.in_doubt()?;
        let calls = self.with_patience(original::in_doubt)?;
        Ok(leases.iter().map(InDoubt::of_lease).chain(calls.iter().map(InDoubt::of_call)).collect())
    }
}

impl Ledger {
    /// Replaces what is in doubt under `id` by what the evidence says; on the disk when this answers that it is done. Blocks.
    pub fn settle_doubt(&self, id: &str, evidence: &Evidence, live: &Live<'_>) -> Result<Settled, LedgerError> {
        let _one = self.inner.correcting.lock().unwrap_or_else(PoisonError::into_inner);
        match id.strip_prefix(LEASE).and_then(|number| number.parse().ok()) {
            Some(number) => self.settle_lease(number, evidence, live),
            None => self.settle_call(id, evidence, live),
        }
    }

    fn settle_call(&self, id: &str, evidence: &Evidence, live: &Live<'_>) -> Result<Settled, LedgerError> {
        self.flush()?;
        let reader = self.reader();
        let original = reader.with_patience(|connection| original::original(connection, id))?;
        let Some(original) = original.filter(Original::is_in_doubt) else { return Ok(Settled::Unknown) };
        let found = InDoubt::of_call(&original);
        if evidence.unit.is_some_and(|unit| unit != Unit::Money) {
            return Ok(Settled::OtherUnit(found));
        }
        let postings =
            reader.with_patience(|connection| original.postings(connection, &Kept::read(connection)?, live))?;
        let given_up = (original.in_doubt.saturating_neg(), Basis::InDoubt);
        let both = [
            original.corrected(original.corrections + 1, given_up, evidence, postings.clone()),
            original.corrected(original.corrections + 2, (evidence.spent, Basis::Exact), evidence, postings),
        ];
        self.correct(&both)?;
        Ok(Settled::Done(found))
    }

    fn settle_lease(&self, id: i64, evidence: &Evidence, live: &Live<'_>) -> Result<Settled, LedgerError> {
        let open = self.reader().in_doubt()?.into_iter().find(|remainder| remainder.id == id);
        let Some(open) = open else { return Ok(Settled::Unknown) };
        if evidence.unit.is_some_and(|unit| unit != open.unit) {
            return Ok(Settled::OtherUnit(InDoubt::of_lease(&open)));
        }
        let how = Resolution {
            id,
            spent: evidence.spent,
            actor: evidence.actor.to_string(),
            reason: evidence.reason.to_string(),
        };
        let Some(remainder) = self.resolve(how)? else { return Ok(Settled::Unknown) };
        if let Some(counter) =
            live(&remainder.name, remainder.window).filter(|counter| counter.window() == remainder.window)
        {
            counter.cell(remainder.unit).post(evidence.spent.saturating_sub(remainder.amount));
        }
        Ok(Settled::Done(InDoubt::of_lease(&remainder)))
    }

    /// Writes corrections, all in one transaction or none. What cannot be written now is not tried again later: whoever asked
    /// is told, and asks again.
    pub(super) fn correct(&self, corrections: &[LedgerEntry]) -> Result<(), LedgerError> {
        if corrections.is_empty() {
            return Ok(());
        }
        let record = Record::Correct(corrections.to_vec());
        let written = self.ask(|wait| Message::Finish(Some(record), Finish::Flush(wait)));
        outcome(written.unwrap_or(false))?;
        tell(corrections);
        Ok(())
    }
}

/// Tells live counters of corrections that are on the disk.
fn tell(corrections: &[LedgerEntry]) {
    for entry in corrections {
        let cost = entry.cost.map_or(0, Money::nano);
        for posting in &entry.postings {
            posting.counter.cell(Unit::Money).post(cost);
        }
    }
}
