//! What is charged until evidence arrives: what was leased when a run died, and calls whose provider never answered.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::domain::clock::Timestamp;
use crate::domain::standing::Unit;
use crate::domain::window::Window;
use crate::meter::counter::CounterName;

use super::changes::{Delta, Sums};
use super::counters::{self, StoredCounter, unit_word};
use super::error::LedgerError;

/// Begins a new run: whatever older ones had leased and neither settled nor returned is in doubt from now on. It is not lent
/// again, because nobody knows what the provider billed. Returns the number of this run and how many leases it found open.
pub(super) fn recover(transaction: &Transaction<'_>) -> Result<(i64, usize), LedgerError> {
    let epoch: i64 =
        transaction.query_one("UPDATE head SET epoch = epoch + 1 RETURNING epoch", [], |row| row.get(0))?;
    let mut found = 0;
    for unit in Unit::ALL {
        let word = unit_word(unit);
        let (leased, in_doubt) = (["leased_", word].concat(), ["in_doubt_", word].concat());
        let open = "INSERT INTO doubt (counter, unit, amount, epoch) SELECT id, ?, LEASED, ? FROM counter
            WHERE lent <> 0 AND LEASED <> 0";
        found += transaction.execute(&open.replace("LEASED", &leased), params![word, epoch - 1])?;
        // Sums of leases are bounded by limits; a sum that is at the end of the range stays there.
        let charge =
            "UPDATE counter SET DOUBT = CASE WHEN DOUBT > 9223372036854775807 - LEASED THEN 9223372036854775807
            ELSE DOUBT + LEASED END, LEASED = 0 WHERE lent <> 0 AND LEASED <> 0";
        transaction.execute(&charge.replace("DOUBT", &in_doubt).replace("LEASED", &leased), [])?;
    }
    transaction.execute("UPDATE counter SET lent = 0 WHERE lent <> 0", [])?;
    Ok((epoch, found))
}

/// What a run that died had leased from one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remainder {
    /// Its number.
    pub id: i64,
    /// Which counter.
    pub name: CounterName,
    /// Of which window.
    pub window: Window,
    /// In which unit.
    pub unit: Unit,
    /// How much of it is charged.
    pub amount: i64,
    /// Which run leased it.
    pub epoch: i64,
}

const SELECT: &str = "SELECT doubt.id, identity.text, key, window_start, window_end, unit, amount, epoch
    FROM doubt JOIN counter ON counter.id = doubt.counter JOIN identity ON identity.id = counter.identity
    WHERE resolved IS NULL";

fn remainder(row: &rusqlite::Row<'_>) -> rusqlite::Result<Remainder> {
    let unit: String = row.get(5)?;
    Ok(Remainder {
        id: row.get(0)?,
        name: CounterName { identity: row.get(1)?, key: row.get(2)? },
        window: Window { start: Timestamp::from_micros(row.get(3)?), end: Timestamp::from_micros(row.get(4)?) },
        unit: counters::unit_of(&unit).unwrap_or(Unit::Money),
        amount: row.get(6)?,
        epoch: row.get(7)?,
    })
}

/// Every remainder that is not resolved, the newest run first.
pub(super) fn open(connection: &Connection) -> Result<Vec<Remainder>, LedgerError> {
    let mut statement = connection.prepare_cached(&[SELECT, " ORDER BY epoch DESC, doubt.id"].concat())?;
    Ok(statement.query_map([], remainder)?.collect::<Result<_, _>>()?)
}

/// What belongs to no row, per counter: remainders that are in doubt, and what was posted of those that are resolved.
pub(super) fn by_counter(connection: &Connection) -> Result<Vec<StoredCounter>, LedgerError> {
    let mut statement = connection.prepare_cached(
        "SELECT identity.text, key, window_start, window_end, unit, amount, resolved
        FROM doubt JOIN counter ON counter.id = doubt.counter JOIN identity ON identity.id = counter.identity",
    )?;
    let found = statement.query_map([], |row| {
        let unit: String = row.get(4)?;
        let at = counters::unit_of(&unit).unwrap_or(Unit::Money).index();
        let window = Window { start: Timestamp::from_micros(row.get(2)?), end: Timestamp::from_micros(row.get(3)?) };
        let name = CounterName { identity: row.get(0)?, key: row.get(1)? };
        let mut counter = StoredCounter { name, window, posted: [0; 3], in_doubt: [0; 3], leased: [0; 3] };
        match row.get(6)? {
            Some(spent) => counter.posted[at] = spent,
            None => counter.in_doubt[at] = row.get(5)?,
        }
        Ok(counter)
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// How a remainder is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The remainder's number.
    pub id: i64,
    /// What the evidence says that was spent of it, in its unit. The rest is given back.
    pub spent: i64,
    /// Who says so.
    pub actor: String,
    /// On what evidence.
    pub reason: String,
}

/// Replaces a remainder by what the evidence says. `None`: there is no such open remainder. What was spent is posted to
/// the counter alone: it belongs to no row.
pub(super) fn resolve(transaction: &Transaction<'_>, how: &Resolution) -> Result<Option<Remainder>, LedgerError> {
    let mut statement = transaction.prepare_cached(&[SELECT, " AND doubt.id = ?"].concat())?;
    let Some(found) = statement.query_row([how.id], remainder).optional()? else { return Ok(None) };
    transaction
        .prepare_cached("UPDATE doubt SET resolved = ?, actor = ?, reason = ? WHERE id = ?")?
        .execute(params![how.spent, how.actor, how.reason, how.id])?;
    let row: i64 = transaction.query_row("SELECT counter FROM doubt WHERE id = ?", [how.id], |row| row.get(0))?;
    let mut delta = Delta::default();
    delta.in_doubt[found.unit.index()] = found.amount.saturating_neg();
    delta.posted[found.unit.index()] = how.spent;
    Sums::of(transaction)?.change(row, &delta)?;
    Ok(Some(found))
}
