//! The table of counters: roll-ups that are written in the transaction of their rows, and the leases of hard budgets.
//!
//! For every counter and unit: posted + in doubt is what its rows say, and `leased` is what was granted to this node and is neither
//! settled nor returned. A start reads this table and not the rows; what was leased when the last run died is in doubt.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, ErrorCode, Row, Transaction, params, params_from_iter};

use crate::domain::clock::Timestamp;
use crate::domain::standing::{Amounts, Unit};
use crate::domain::window::Window;
use crate::meter::counter::{CounterName, WindowCounter};

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

/// What a batch changes in one counter.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Delta {
    pub(super) posted: Amounts,
    pub(super) in_doubt: Amounts,
    pub(super) leased: Amounts,
}

impl Delta {
    /// An attempt of these amounts, of which the leases had covered a part.
    pub(super) fn attempt(&mut self, amounts: Amounts, covered: Amounts, in_doubt: bool) {
        for unit in Unit::ALL {
            let at = unit.index();
            // A request is counted when it is admitted: that it was made is not in doubt.
            let sum = if in_doubt && unit != Unit::Requests { &mut self.in_doubt[at] } else { &mut self.posted[at] };
            *sum = sum.saturating_add(amounts[at]);
            self.leased[at] = self.leased[at].saturating_sub(covered[at]);
        }
    }
}

/// The rows of counters that this run has touched, so that a batch need not look them up.
#[derive(Debug, Default)]
pub(super) struct Known {
    rows: HashMap<(Arc<CounterName>, i64), i64>,
}

/// Beyond this many it forgets and looks up again.
const REMEMBERED: usize = 200_000;

impl Known {
    /// Forgets everything: after a transaction that was rolled back, rows that it made are not there.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }

    /// The row of a counter, made when there is none.
    pub(super) fn row(&mut self, connection: &Connection, counter: &WindowCounter) -> Result<i64, LedgerError> {
        let key = (Arc::clone(counter.name()), counter.window().start.micros());
        if let Some(row) = self.rows.get(&key) {
            return Ok(*row);
        }
        let row = row_of(connection, counter.name(), counter.window())?;
        if self.rows.len() >= REMEMBERED {
            self.rows.clear();
        }
        self.rows.insert(key, row);
        Ok(row)
    }
}

fn row_of(connection: &Connection, name: &CounterName, window: Window) -> Result<i64, LedgerError> {
    let (start, end) = (window.start.micros(), window.end.micros());
    let made = connection
        .prepare_cached(
            "INSERT INTO counter (identity, key, window_start, window_end) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )?
        .execute(params![name.identity, name.key, start, end])?;
    if made > 0 {
        return Ok(connection.last_insert_rowid());
    }
    let known = "SELECT id FROM counter WHERE identity = ? AND key = ? AND window_start = ?";
    Ok(connection.prepare_cached(known)?.query_row(params![name.identity, name.key, start], |row| row.get(0))?)
}

/// The sums of counters, to be changed one after the other.
pub(super) struct Sums<'a> {
    connection: &'a Connection,
    add: CachedStatement<'a>,
    add_leased: CachedStatement<'a>,
}

impl<'a> Sums<'a> {
    pub(super) fn of(connection: &'a Connection) -> Result<Self, LedgerError> {
        const POSTED: &str =
            "UPDATE counter SET posted_nano_usd = posted_nano_usd + ?2, posted_tokens = posted_tokens + ?3,
            posted_requests = posted_requests + ?4, in_doubt_nano_usd = in_doubt_nano_usd + ?5,
            in_doubt_tokens = in_doubt_tokens + ?6, in_doubt_requests = in_doubt_requests + ?7";
        // Most counters are no hard budget's, and the index of those that are is then left alone.
        const LEASED: &str =
            ", leased_nano_usd = max(leased_nano_usd + ?8, 0), leased_tokens = max(leased_tokens + ?9, 0),
            leased_requests = max(leased_requests + ?10, 0)";
        const ROW: &str = " WHERE id = ?1";
        let add = connection.prepare_cached(&[POSTED, ROW].concat())?;
        let add_leased = connection.prepare_cached(&[POSTED, LEASED, ROW].concat())?;
        Ok(Self { connection, add, add_leased })
    }

    /// Adds a batch's changes to one counter.
    pub(super) fn change(&mut self, row: i64, delta: &Delta) -> Result<(), LedgerError> {
        let values = [&row].into_iter().chain(&delta.posted).chain(&delta.in_doubt);
        let changed = if delta.leased == [0; 3] {
            self.add.execute(params_from_iter(values))
        } else {
            self.add_leased.execute(params_from_iter(values.chain(&delta.leased)))
        };
        match changed {
            Ok(1) => Ok(()),
            // Somebody else has taken the row away: nothing of the batch may be written without it.
            Ok(rows) => Err(rusqlite::Error::StatementChangedRows(rows).into()),
            // A sum beyond 63 bits would be a float, which a STRICT table refuses.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                self.change_up_to_the_end(row, delta)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The same with sums that stop at the end of the range.
    #[cold]
    fn change_up_to_the_end(&self, row: i64, delta: &Delta) -> Result<(), LedgerError> {
        let (mut posted, mut in_doubt, mut leased) = amounts(self.connection, row)?;
        for at in 0..3 {
            posted[at] = posted[at].saturating_add(delta.posted[at]);
            in_doubt[at] = in_doubt[at].saturating_add(delta.in_doubt[at]);
            leased[at] = leased[at].saturating_add(delta.leased[at]).max(0);
        }
        let write = "UPDATE counter SET posted_nano_usd = ?, posted_tokens = ?, posted_requests = ?, in_doubt_nano_usd = ?,
            in_doubt_tokens = ?, in_doubt_requests = ?, leased_nano_usd = ?, leased_tokens = ?, leased_requests = ? WHERE id = ?";
        let values = posted.iter().chain(&in_doubt).chain(&leased).chain([&row]);
        self.connection.prepare_cached(write)?.execute(params_from_iter(values))?;
        Ok(())
    }
}

/// What is posted, in doubt and leased.
fn amounts(connection: &Connection, row: i64) -> Result<(Amounts, Amounts, Amounts), LedgerError> {
    let read = |row: &Row<'_>| Ok((three(row, 4)?, three(row, 7)?, three(row, 10)?));
    Ok(connection.prepare_cached(&[SELECT, " WHERE id = ?"].concat())?.query_row([row], read)?)
}

/// What a node asks to lease.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Of which counter.
    pub counter: Arc<WindowCounter>,
    /// Of which unit.
    pub unit: Unit,
    /// At least so much; less is of no use.
    pub need: i64,
    /// At most so much.
    pub want: i64,
    /// What is posted, in doubt and leased may not exceed this together.
    pub ceiling: i64,
}

/// Leases what there is room for, and returns how much that is; 0 when it is less than needed.
pub(super) fn grant(connection: &Connection, known: &mut Known, ask: &Grant) -> Result<i64, LedgerError> {
    let row = known.row(connection, &ask.counter)?;
    let (posted, in_doubt, leased) = amounts(connection, row)?;
    let at = ask.unit.index();
    let taken = posted[at].saturating_add(in_doubt[at]).saturating_add(leased[at]);
    let room = ask.ceiling.saturating_sub(taken);
    if room < ask.need || ask.need <= 0 {
        return Ok(0);
    }
    let amount = ask.want.min(room / 2).max(ask.need);
    let mut delta = Delta::default();
    delta.leased[at] = amount;
    Sums::of(connection)?.change(row, &delta)?;
    Ok(amount)
}

const SELECT: &str = "SELECT identity, key, window_start, window_end, posted_nano_usd, posted_tokens, posted_requests,
    in_doubt_nano_usd, in_doubt_tokens, in_doubt_requests, leased_nano_usd, leased_tokens, leased_requests FROM counter";

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
    let mut statement = connection.prepare_cached(&[SELECT, " WHERE window_end > ?"].concat())?;
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
    // A tenant has many buckets behind it: only those that end late enough are looked at.
    let recent = " INDEXED BY counter_by_end WHERE window_end > ? AND identity = ? ORDER BY window_start DESC";
    let mut statement = connection.prepare_cached(&[SELECT, recent].concat())?;
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
    let live = " WHERE identity = ?2 AND key IN (SELECT key FROM counter INDEXED BY counter_by_end
        WHERE window_end > ?1 AND identity = ?2) ORDER BY window_start DESC";
    let mut statement = connection.prepare_cached(&[SELECT, live].concat())?;
    let mut rows = statement.query(params![since.micros(), identity])?;
    while let Some(row) = rows.next()? {
        take(stored(row)?);
    }
    Ok(())
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
            let reset = "UPDATE counter SET
                posted_UNIT = (SELECT coalesce(sum(resolved), 0) FROM doubt WHERE counter = counter.id AND unit = 'UNIT'),
                in_doubt_UNIT = (SELECT coalesce(sum(amount), 0) FROM doubt
                    WHERE counter = counter.id AND unit = 'UNIT' AND resolved IS NULL)
            WHERE identity = ?";
            let reset = reset.replace("UNIT", unit).replace("WHERE counter =", "WHERE doubt.counter =");
            transaction.prepare_cached(&reset)?.execute([identity])?;
        }
    }
    Ok(())
}

/// Forgets the counters of an identity that nobody counts any more, but for leases and doubts.
pub(super) fn retire(transaction: &Transaction<'_>, identity: &str) -> Result<(), LedgerError> {
    transaction.prepare_cached("DELETE FROM complete WHERE identity = ?")?.execute([identity])?;
    transaction
        .prepare_cached(
            "DELETE FROM counter WHERE identity = ? AND leased_nano_usd = 0 AND leased_tokens = 0 AND leased_requests = 0
                AND NOT EXISTS (SELECT 1 FROM doubt WHERE doubt.counter = counter.id)",
        )?
        .execute([identity])?;
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
