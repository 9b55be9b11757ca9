//! The table of counters: roll-ups that are written in the transaction of their rows, and the leases of hard budgets. What a
//! batch of rows changes in it is in [`super::changes`].
//!
//! For every counter and unit: posted + in doubt is what its rows say, and `leased` is what was granted to this node and is neither
//! settled nor returned. A start reads this table and not the rows; what was leased when the last run died is in doubt.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::domain::clock::Timestamp;
use crate::domain::standing::{Amounts, Unit};
use crate::domain::window::Window;
use crate::meter::counter::CounterName;

use super::error::LedgerError;

/// A counter as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCounter {
    /// Which counter.
    pub name: CounterName,
    /// Of which window.
    pub window: Window,
    /// What its rows add up to, but for those in doubt.
    pub posted: Amounts,
    /// What is charged until evidence arrives.
    pub in_doubt: Amounts,
    /// What this node may spend without asking, settled amounts not among it.
    pub leased: Amounts,
}

/// The row of a counter, if there is one.
pub(super) fn row_of(connection: &Connection, name: &CounterName, window: Window) -> Result<Option<i64>, LedgerError> {
    let select = ["SELECT id FROM counter WHERE key = ? AND window_start = ? AND ", OF_IDENTITY].concat();
    let place = params![name.key, window.start.micros(), name.identity];
    Ok(connection.prepare_cached(&select)?.query_row(place, |row| row.get(0)).optional()?)
}

/// What is posted, in doubt and leased.
pub(super) fn amounts(connection: &Connection, row: i64) -> Result<[Amounts; 3], LedgerError> {
    let read = |row: &Row<'_>| Ok([three(row, 0)?, three(row, 3)?, three(row, 6)?]);
    let select = ["SELECT ", AMOUNTS, " FROM counter WHERE id = ?"].concat();
    Ok(connection.prepare_cached(&select)?.query_row([row], read)?)
}

/// One identity by its text.
const OF_IDENTITY: &str = "identity = (SELECT identity.id FROM identity WHERE text = ?)";

// `CROSS`: counters are found by their identity, and not the other way round.
const JOINED: &str = " FROM identity CROSS JOIN counter ON counter.identity = identity.id";

/// The columns of what is posted, in doubt and leased, in this order.
pub(super) const AMOUNTS: &str =
    "posted_nano_usd, posted_tokens, posted_requests, in_doubt_nano_usd, in_doubt_tokens, in_doubt_requests,
    leased_nano_usd, leased_tokens, leased_requests";

/// Whether something of a counter is leased: what its mark, `lent`, should say.
pub(super) const IS_LEASED: &str = "(leased_nano_usd <> 0 OR leased_tokens <> 0 OR leased_requests <> 0)";

const OPEN: &str = " WHERE window_end > ?";

// A tenant has many buckets behind it: by `counter_by_end` only those that end late enough are looked at.
const RECENT: &str = " WHERE window_end > ? AND text = ? ORDER BY window_start DESC";

const OF_RECENT_KEYS: &str = " WHERE text = ?2 AND key IN (SELECT key FROM counter AS recent
    WHERE window_end > ?1 AND recent.identity = identity.id) ORDER BY window_start DESC";

const RESET: &str = "UPDATE counter SET
    posted_UNIT = (SELECT coalesce(sum(resolved), 0) FROM doubt WHERE doubt.counter = counter.id AND unit = 'UNIT'),
    in_doubt_UNIT = (SELECT coalesce(sum(amount), 0) FROM doubt
        WHERE doubt.counter = counter.id AND unit = 'UNIT' AND resolved IS NULL) WHERE ";

const FORGET: &str = "DELETE FROM counter WHERE leased_nano_usd = 0 AND leased_tokens = 0 AND leased_requests = 0
    AND NOT EXISTS (SELECT 1 FROM doubt WHERE doubt.counter = counter.id) AND ";

fn select(rest: &str) -> String {
    ["SELECT identity.text, key, window_start, window_end, ", AMOUNTS, JOINED, rest].concat()
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredCounter> {
    Ok(StoredCounter {
        name: CounterName { identity: row.get(0)?, key: row.get(1)? },
        window: Window { start: Timestamp::from_micros(row.get(2)?), end: Timestamp::from_micros(row.get(3)?) },
        posted: three(row, 4)?,
        in_doubt: three(row, 7)?,
        leased: three(row, 10)?,
    })
}

fn three(row: &Row<'_>, from: usize) -> rusqlite::Result<Amounts> {
    Ok([row.get(from)?, row.get(from + 1)?, row.get(from + 2)?])
}

/// Feeds every counter whose window has not ended at `now` to `take`.
pub(super) fn open_at(
    connection: &Connection,
    now: Timestamp,
    take: &mut dyn FnMut(StoredCounter),
) -> Result<(), LedgerError> {
    let mut statement = connection.prepare_cached(&select(OPEN))?;
    let mut rows = statement.query([now.micros()])?;
    while let Some(row) = rows.next()? {
        take(stored(row)?);
    }
    Ok(())
}

/// Feeds the counters of an identity whose windows end after `since` to `take`, the newest first.
pub(super) fn since(
    connection: &Connection,
    identity: &str,
    since: Timestamp,
    take: &mut dyn FnMut(StoredCounter),
) -> Result<(), LedgerError> {
    let mut statement = connection.prepare_cached(&select(RECENT))?;
    let mut rows = statement.query(params![since.micros(), identity])?;
    while let Some(row) = rows.next()? {
        take(stored(row)?);
    }
    Ok(())
}

/// Feeds every counter of the keys of an identity that have a window ending after `since` to `take`, the newest first.
pub(super) fn of_keys_since(
    connection: &Connection,
    identity: &str,
    since: Timestamp,
    take: &mut dyn FnMut(StoredCounter),
) -> Result<(), LedgerError> {
    let mut statement = connection.prepare_cached(&select(OF_RECENT_KEYS))?;
    let mut rows = statement.query(params![since.micros(), identity])?;
    while let Some(row) = rows.next()? {
        take(stored(row)?);
    }
    Ok(())
}

/// How many counters have something leased and are not marked.
pub(super) fn unmarked(connection: &Connection) -> Result<u32, LedgerError> {
    let count = ["SELECT count(*) FROM counter WHERE lent < ", IS_LEASED].concat();
    Ok(connection.query_row(&count, [], |row| row.get(0))?)
}

/// The identities whose counters are complete, for windows that had not ended at that moment.
pub(super) fn complete(connection: &Connection) -> Result<Vec<(Arc<str>, Timestamp)>, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT identity, since FROM complete ORDER BY identity")?;
    let read = |row: &Row<'_>| Ok((row.get(0)?, Timestamp::from_micros(row.get(1)?)));
    Ok(statement.query_map([], read)?.collect::<Result<_, _>>()?)
}

/// Prepares identities for being counted from the rows: their counters keep leases and doubts, and nothing else.
pub(super) fn begin(transaction: &Transaction<'_>, identities: &[Arc<str>]) -> Result<(), LedgerError> {
    for identity in identities {
        retire(transaction, identity)?;
        for unit in Unit::ALL.map(unit_word) {
            let reset = [&RESET.replace("UNIT", unit), OF_IDENTITY].concat();
            transaction.prepare_cached(&reset)?.execute([identity])?;
        }
    }
    Ok(())
}

/// Forgets the counters of an identity that nobody counts any more, but for leases and doubts.
pub(super) fn retire(transaction: &Transaction<'_>, identity: &str) -> Result<(), LedgerError> {
    transaction.prepare_cached("DELETE FROM complete WHERE identity = ?")?.execute([identity])?;
    transaction.prepare_cached(&[FORGET, OF_IDENTITY].concat())?.execute([identity])?;
    Ok(())
}

/// Notes that the counters of these identities hold every row of the windows that had not ended at `since`.
pub(super) fn completed(
    transaction: &Transaction<'_>,
    identities: &[Arc<str>],
    since: Timestamp,
) -> Result<(), LedgerError> {
    let mut statement = transaction.prepare_cached("INSERT OR IGNORE INTO complete (identity, since) VALUES (?, ?)")?;
    for identity in identities {
        statement.execute(params![identity, since.micros()])?;
    }
    Ok(())
}

/// The unit of a word.
pub fn unit_of(word: &str) -> Option<Unit> {
    Unit::ALL.into_iter().find(|unit| unit_word(*unit) == word)
}

/// The word for a unit in the tables and in the admin API.
pub const fn unit_word(unit: Unit) -> &'static str {
    match unit {
        Unit::Money => "nano_usd",
        Unit::Tokens => "tokens",
        Unit::Requests => "requests",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::schema;

    // Mutations: counters are joined without `CROSS`; the index by end is by end alone; doubts are not indexed by counter.
    #[test]
    fn counters_are_found_without_a_look_at_all_of_them() {
        let connection = schema::in_memory().expect("a new ledger");
        let changes = [RESET, FORGET].map(|change| [&change.replace("UNIT", "tokens"), OF_IDENTITY].concat());
        for query in [OPEN, RECENT, OF_RECENT_KEYS].map(select).into_iter().chain(changes) {
            let mut plan = connection.prepare(&["EXPLAIN QUERY PLAN ", &query].concat()).expect("a query");
            let lines = plan.raw_query().mapped(|row| row.get::<_, String>(3));
            let lines = lines.collect::<Result<Vec<_>, _>>().expect("a plan").join("\n");
            assert!(!lines.contains("SCAN counter") && !lines.contains("SCAN doubt"), "{query}\n{lines}");
        }
    }
}
