//! Rows of the past and what they are worth by now. A row is never changed: what it is worth stands in rows beside it, with
//! who said so and why.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row};

use crate::domain::attribution::{Attribution, DataMode, Environment};
use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::tenant::{Tenant, TenantId};
use crate::domain::usage::{Basis, Usage};
use crate::domain::window::Window;
use crate::meter::counter::{CounterName, WindowCounter};
use crate::meter::reservation::{Posting, Postings};

use super::corrections::Evidence;
use super::counters;
use super::entry::{Correction, Ending, LedgerEntry};
use super::error::LedgerError;
use super::kept::Kept;

/// The live counter of a name and window, where there is one; without a running gateway there is none.
pub type Live<'a> = dyn Fn(&CounterName, Window) -> Option<WindowCounter> + 'a;

/// A row of the past and what it is worth by now.
pub(super) struct Original {
    pub(super) entry: LedgerEntry,
    /// Its cost and every correction of it, amounts in doubt apart; `None`: it never had a price.
    pub(super) worth: Option<i64>,
    /// Of it, what is still in doubt.
    pub(super) in_doubt: i64,
    /// How many corrections there are.
    pub(super) corrections: u64,
}

const ORIGINAL: &str = "SELECT e.*,
    (SELECT sum(a.cost_nano_usd) FROM entry a WHERE a.adjusts = e.attempt_id AND a.basis <> 'in_doubt') AS corrected,
    (SELECT sum(a.cost_nano_usd) FROM entry a WHERE a.adjusts = e.attempt_id AND a.basis = 'in_doubt') AS undoubted,
    (SELECT count(*) FROM entry a WHERE a.adjusts = e.attempt_id) AS corrections
FROM entry e WHERE e.ending NOT IN ('refused', 'replayed', 'adjustment')";

const OF_TIME: &str = " AND e.admitted_at >= ? AND e.admitted_at < ? AND e.basis IN ('exact', 'partial', 'estimated')
    AND (e.input_tokens IS NOT NULL OR e.output_tokens IS NOT NULL)";

/// The attempt of that id.
pub(super) fn original(connection: &Connection, id: &str) -> Result<Option<Original>, LedgerError> {
    let mut statement = connection.prepare_cached(&[ORIGINAL, " AND e.attempt_id = ?"].concat())?;
    Ok(statement.query_row([id], of_row).optional()?)
}

/// Every attempt that is still in doubt, the newest first.
pub(super) fn in_doubt(connection: &Connection) -> Result<Vec<Original>, LedgerError> {
    let mut statement =
        connection.prepare_cached(&[ORIGINAL, " AND e.basis = 'in_doubt' ORDER BY e.id DESC"].concat())?;
    let all = statement.query_map([], of_row)?.collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().filter(Original::is_in_doubt).collect())
}

/// Feeds every attempt of a time whose usage is known to `take`, row by row.
pub(super) fn of_time(
    connection: &Connection,
    (since, until): (Timestamp, Timestamp),
    take: &mut dyn FnMut(Original) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let mut statement = connection.prepare(&[ORIGINAL, OF_TIME].concat())?;
    let mut rows = statement.query([since.micros(), until.micros()])?;
    while let Some(row) = rows.next()? {
        take(of_row(row)?)?;
    }
    Ok(())
}

impl Original {
    /// Whether evidence is still wanted, also about an amount of nothing.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.entry.basis == Basis::InDoubt && (self.in_doubt != 0 || self.corrections == 0)
    }

    /// A row that corrects this one by `delta`; `nth` makes its id one of its own.
    pub(super) fn corrected(
        &self,
        nth: u64,
        (delta, basis): (i64, Basis),
        evidence: &Evidence,
        postings: Postings,
    ) -> LedgerEntry {
        let id = &self.entry.attempt_id;
        LedgerEntry {
            attempt_id: Arc::from(format!("adj_{id}_{nth}")),
            usage: Usage::default(),
            logical: false,
            basis,
            cost: Some(Money::from_nano(delta)),
            ending: Ending::Adjustment,
            postings,
            correction: Some(Correction {
                adjusts: Arc::clone(id),
                actor: Arc::clone(&evidence.actor),
                reason: Arc::clone(&evidence.reason),
                at: evidence.at,
            }),
            ..self.entry.clone()
        }
    }

    /// The counters that hold this row.
    pub(super) fn postings(
        &self,
        connection: &Connection,
        kept: &Kept,
        live: &Live<'_>,
    ) -> Result<Postings, LedgerError> {
        let mut postings = Postings::new();
        for (index, key, window) in kept.places(&self.entry.dimensions(), self.entry.admitted_at) {
            let name = CounterName { identity: Arc::clone(kept.text(index)), key: Arc::from(key) };
            if counters::row_of(connection, &name, window)?.is_some() {
                let counter = live(&name, window).filter(|counter| counter.window() == window);
                let counter = counter.unwrap_or_else(|| WindowCounter::named(name, window));
                postings.push(Posting { counter, covered: [0; 3] });
            }
        }
        Ok(postings)
    }
}

fn text(row: &Row<'_>, name: &str) -> rusqlite::Result<Arc<str>> {
    row.get(name)
}

fn maybe(row: &Row<'_>, name: &str) -> rusqlite::Result<Option<Arc<str>>> {
    row.get(name)
}

fn count(row: &Row<'_>, name: &str) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(name)?.and_then(|count| u64::try_from(count).ok()))
}

fn of_row(row: &Row<'_>) -> rusqlite::Result<Original> {
    let entry = entry(row)?;
    let cost = entry.cost.map(Money::nano);
    let (corrected, undoubted): (Option<i64>, Option<i64>) = (row.get("corrected")?, row.get("undoubted")?);
    let doubted = if entry.basis == Basis::InDoubt { cost.unwrap_or(0) } else { 0 };
    Ok(Original {
        worth: cost.map_or(corrected, |cost| Some(cost.saturating_sub(doubted).saturating_add(corrected.unwrap_or(0)))),
        in_doubt: doubted.saturating_add(undoubted.unwrap_or(0)),
        corrections: count(row, "corrections")?.unwrap_or(0),
        entry,
    })
}

/// What a correction has in common with the row that it corrects.
fn entry(row: &Row<'_>) -> rusqlite::Result<LedgerEntry> {
    let basis: String = row.get("basis")?;
    let basis =
        [Basis::Exact, Basis::Partial, Basis::Estimated, Basis::InDoubt].into_iter().find(|one| one.as_str() == basis);
    Ok(LedgerEntry {
        attempt_id: text(row, "attempt_id")?,
        request_id: text(row, "request_id")?,
        admitted_at: Timestamp::from_micros(row.get("admitted_at")?),
        tenant: Arc::new(tenant(row)?),
        attribution: Arc::new(attribution(row)?),
        key_name: maybe(row, "key_name")?,
        provider: text(row, "provider")?,
        dialect: text(row, "dialect")?,
        path: text(row, "path")?,
        model_requested: maybe(row, "model_requested")?,
        model_served: maybe(row, "model_served")?,
        model_answered: maybe(row, "model_answered")?,
        stream: row.get("stream")?,
        logical: row.get("logical")?,
        usage: usage(row)?,
        basis: basis.unwrap_or(Basis::Unmetered),
        price: None,
        cost: row.get::<_, Option<i64>>("cost_nano_usd")?.map(Money::from_nano),
        status: row.get("status")?,
        ending: Ending::Adjustment,
        decision: Arc::from(""),
        would: Arc::from(""),
        policy: text(row, "policy")?,
        overhead_us: 0,
        first_byte_us: None,
        duration_us: 0,
        postings: Postings::new(),
        snapshot: 0,
        correction: None,
    })
}

fn tenant(row: &Row<'_>) -> rusqlite::Result<Tenant> {
    let id: String = row.get("tenant_id")?;
    // A name that is none can only have been put there by another hand.
    let id = TenantId::new(&id).unwrap_or_else(|_| TenantId::unattributed());
    Ok(Tenant { plan: maybe(row, "plan")?, segment: maybe(row, "segment")?, ..Tenant::unknown(id) })
}

fn attribution(row: &Row<'_>) -> rusqlite::Result<Attribution> {
    let (data_mode, environment): (String, String) = (row.get("data_mode")?, row.get("environment")?);
    Ok(Attribution {
        endpoint_tag: text(row, "endpoint_tag")?,
        prompt_version: text(row, "prompt_version")?,
        data_mode: DataMode::parse(&data_mode).unwrap_or(DataMode::Invalid),
        environment: Environment::parse(&environment).unwrap_or(Environment::Invalid),
        user_id: maybe(row, "user_id")?,
        external_request_id: maybe(row, "external_request_id")?,
        workflow_id: maybe(row, "workflow_id")?,
        extras: Vec::new(),
        retry_count: row.get("retry_count")?,
    })
}

fn usage(row: &Row<'_>) -> rusqlite::Result<Usage> {
    Ok(Usage {
        input: count(row, "input_tokens")?,
        cached_input: count(row, "cached_input_tokens")?,
        cache_write: count(row, "cache_write_tokens")?,
        cache_write_1h: count(row, "cache_write_1h_tokens")?,
        output: count(row, "output_tokens")?,
        reasoning: count(row, "reasoning_tokens")?,
    })
}

/// How SQLite finds the rows of a time and their corrections.
#[cfg(test)]
pub(super) fn plan(connection: &Connection) -> Result<Vec<String>, LedgerError> {
    let mut statement = connection.prepare(&["EXPLAIN QUERY PLAN ", ORIGINAL, OF_TIME].concat())?;
    Ok(statement.query_map([0, 1], |row| row.get("detail"))?.collect::<Result<_, _>>()?)
}
