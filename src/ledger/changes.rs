//! What a batch changes in the table of counters, gathered first and then written: a counter that many rows of the batch count
//! in is written once. Leases are granted here too: they are changes that depend on what is there.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{CachedStatement, Connection, ErrorCode, ToSql, params_from_iter};

use crate::domain::clock::Timestamp;
use crate::domain::standing::{Amounts, Unit};
use crate::domain::window::Window;
use crate::meter::counter::WindowCounter;

use super::counters::{AMOUNTS, IS_LEASED, amounts, row_of};
use super::error::LedgerError;

/// What a batch changes in one counter.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Delta {
    pub(super) posted: Amounts,
    pub(super) in_doubt: Amounts,
    pub(super) leased: Amounts,
    /// A part of a lease went back, perhaps all of it.
    pub(super) returned: bool,
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

/// What a batch changes in counters, gathered so that each is written once.
#[derive(Default)]
pub(super) struct Changes {
    of: HashMap<Named, Delta>,
}

/// A counter by what it counts: one that a policy dropped and brought back is another one in memory, and here the same.
struct Named(WindowCounter);

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.is(&other.0) || by_key(&self.0) == by_key(&other.0)
    }
}

impl Eq for Named {}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        by_key(&self.0).hash(state);
    }
}

impl Changes {
    /// What changes in a counter.
    pub(super) fn of(&mut self, counter: &WindowCounter) -> &mut Delta {
        self.of.entry(Named(counter.clone())).or_default()
    }

    /// Leases what there is room for, and returns how much that is; 0 when it is less than needed.
    pub(super) fn grant(&mut self, connection: &Connection, known: &Known, ask: &Grant) -> Result<i64, LedgerError> {
        let row = known.find(connection, &ask.counter)?;
        let stored = row.map(|row| amounts(connection, row)).transpose()?;
        let at = ask.unit.index();
        let [posted, in_doubt, leased] = stored.unwrap_or_default().map(|amounts| amounts[at]);
        let delta = self.of(&ask.counter);
        let more = &mut delta.leased[at];
        // What came before in the batch counts as if it were written: no lease falls below nothing.
        *more = (*more).max(leased.saturating_neg());
        let sums = [(posted, delta.posted[at]), (in_doubt, delta.in_doubt[at]), (leased, *more)];
        let taken = sums.map(|(stored, more)| stored.saturating_add(more)).into_iter().fold(0, i64::saturating_add);
        let room = ask.ceiling.saturating_sub(taken);
        if room < ask.need || ask.need <= 0 {
            return Ok(0);
        }
        let amount = ask.want.min(room / 2).max(ask.need);
        *more = more.saturating_add(amount);
        Ok(amount)
    }

    /// Takes back a part of a lease that is not needed any more.
    pub(super) fn give_back(&mut self, counter: &WindowCounter, unit: Unit, amount: i64) {
        let delta = self.of(counter);
        let leased = &mut delta.leased[unit.index()];
        *leased = leased.saturating_sub(amount);
        delta.returned = true;
    }

    /// Writes what is gathered.
    pub(super) fn write(&mut self, connection: &Connection, known: &mut Known) -> Result<(), LedgerError> {
        if self.of.is_empty() {
            return Ok(());
        }
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for (Named(counter), delta) in self.of.drain() {
            match known.get(&counter) {
                Some(row) => old.push((row, delta)),
                None => new.push((counter, delta)),
            }
        }
        // In the orders of the table and of its index, so that each of their pages is touched once.
        old.sort_unstable_by_key(|(row, _)| *row);
        new.sort_unstable_by(|(one, _), (other, _)| by_key(one).cmp(&by_key(other)));
        let mut sums = Sums::of(connection)?;
        old.iter().try_for_each(|(row, delta)| sums.change(*row, delta))?;
        new.iter().try_for_each(|(counter, delta)| known.begin(&mut sums, counter, delta))
    }
}

fn by_key(counter: &WindowCounter) -> (&str, &str, Timestamp) {
    (counter.counter().key(), counter.counter().identity(), counter.window().start)
}

/// The rows of counters, so that a batch need not look them up. Each counter carries its own, and with it the generation that
/// it was found in: what an earlier one said is forgotten.
#[derive(Debug)]
pub(super) struct Known {
    generation: u64,
    identities: HashMap<Arc<str>, i64>,
}

/// A place is a generation and, in so many bits below it, a row.
const ROW_BITS: u32 = 40;

/// No two generations of a process are the same, whatever ledger they are of.
fn next_generation() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl Default for Known {
    fn default() -> Self {
        Self { generation: next_generation(), identities: HashMap::new() }
    }
}

impl Known {
    /// Forgets everything: after a transaction that was rolled back, rows that it made are not there.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn get(&self, counter: &WindowCounter) -> Option<i64> {
        let place = counter.place();
        let is_ours = place >> ROW_BITS == self.generation;
        is_ours.then(|| i64::try_from(place & ((1 << ROW_BITS) - 1)).ok()).flatten()
    }

    /// The row of a counter, if there is one.
    fn find(&self, connection: &Connection, counter: &WindowCounter) -> Result<Option<i64>, LedgerError> {
        let known = self.get(counter);
        if known.is_some() {
            return Ok(known);
        }
        let found = row_of(connection, &counter.counter().name(), counter.window())?;
        if let Some(row) = found {
            self.remember(counter, row);
        }
        Ok(found)
    }

    fn remember(&self, counter: &WindowCounter, row: i64) {
        // A row or generation beyond these bits is looked up each time.
        let row = u64::try_from(row).ok().filter(|row| row >> ROW_BITS == 0);
        if let Some(row) = row.filter(|_| self.generation >> (u64::BITS - ROW_BITS) == 0) {
            counter.keep_place(self.generation << ROW_BITS | row);
        }
    }

    /// Makes a counter that begins with `delta`, or adds that to the one there is.
    fn begin(&mut self, sums: &mut Sums<'_>, counter: &WindowCounter, delta: &Delta) -> Result<(), LedgerError> {
        const VALUES: &str = ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let insert = ["INSERT INTO counter (identity, key, window_start, window_end, lent, ", AMOUNTS, VALUES].concat();
        let connection = sums.connection;
        let (named, Window { start, end }) = (counter.counter(), counter.window());
        let identity = self.identity(connection, named.identity())?;
        let leased = delta.leased.map(|leased| leased.max(0));
        let lent = leased != [0; 3];
        let place: [&dyn ToSql; 5] = [&identity, named.key(), &start.micros(), &end.micros(), &lent];
        let amounts = delta.posted.iter().chain(&delta.in_doubt).chain(&leased).map(|amount| amount as &dyn ToSql);
        let made = connection.prepare_cached(&insert)?.execute(params_from_iter(place.into_iter().chain(amounts)))?;
        let row = if made > 0 {
            connection.last_insert_rowid()
        } else {
            let row = row_of(connection, &counter.counter().name(), counter.window())?.ok_or(LedgerError::Damaged)?;
            sums.change(row, delta)?;
            row
        };
        self.remember(counter, row);
        Ok(())
    }

    fn identity(&mut self, connection: &Connection, text: &Arc<str>) -> Result<i64, LedgerError> {
        if let Some(identity) = self.identities.get(text) {
            return Ok(*identity);
        }
        connection.prepare_cached("INSERT INTO identity (text) VALUES (?) ON CONFLICT DO NOTHING")?.execute([text])?;
        let number = "SELECT id FROM identity WHERE text = ?";
        let identity = connection.prepare_cached(number)?.query_row([text], |row| row.get(0))?;
        self.identities.insert(Arc::clone(text), identity);
        Ok(identity)
    }
}

/// The sums of counters, to be changed one after the other.
pub(super) struct Sums<'a> {
    connection: &'a Connection,
    add: CachedStatement<'a>,
    add_leased: CachedStatement<'a>,
    mark: CachedStatement<'a>,
}

impl<'a> Sums<'a> {
    pub(super) fn of(connection: &'a Connection) -> Result<Self, LedgerError> {
        const POSTED: &str =
            "UPDATE counter SET posted_nano_usd = posted_nano_usd + ?2, posted_tokens = posted_tokens + ?3,
            posted_requests = posted_requests + ?4, in_doubt_nano_usd = in_doubt_nano_usd + ?5,
            in_doubt_tokens = in_doubt_tokens + ?6, in_doubt_requests = in_doubt_requests + ?7";
        const LEASED: &str =
            ", leased_nano_usd = max(leased_nano_usd + ?8, 0), leased_tokens = max(leased_tokens + ?9, 0),
            leased_requests = max(leased_requests + ?10, 0)";
        const ROW: &str = " WHERE id = ?1";
        const MARK: &str = "UPDATE counter SET lent = NOT lent WHERE id = ? AND lent <> ";
        let add = connection.prepare_cached(&[POSTED, ROW].concat())?;
        let add_leased = connection.prepare_cached(&[POSTED, LEASED, ROW].concat())?;
        let mark = connection.prepare_cached(&[MARK, IS_LEASED].concat())?;
        Ok(Self { connection, add, add_leased, mark })
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
            Ok(1) => self.keep_marked(row, delta),
            // Somebody else has taken the row away: nothing of the batch may be written without it.
            Ok(rows) => Err(rusqlite::Error::StatementChangedRows(rows).into()),
            // A sum beyond 63 bits would be a float, which a STRICT table refuses.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                self.change_up_to_the_end(row, delta)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A counter is marked when something is leased of it, so that a start finds it. A mark is taken away when a lease goes back, and
    /// not whenever one is used up, for the index of marks would be written each time.
    fn keep_marked(&mut self, row: i64, delta: &Delta) -> Result<(), LedgerError> {
        if delta.returned || delta.leased.iter().any(|leased| *leased > 0) {
            self.mark.execute([row])?;
        }
        Ok(())
    }

    /// The same with sums that stop at the end of the range.
    #[cold]
    fn change_up_to_the_end(&mut self, row: i64, delta: &Delta) -> Result<(), LedgerError> {
        let [mut posted, mut in_doubt, mut leased] = amounts(self.connection, row)?;
        for at in 0..3 {
            posted[at] = posted[at].saturating_add(delta.posted[at]);
            in_doubt[at] = in_doubt[at].saturating_add(delta.in_doubt[at]);
            leased[at] = leased[at].saturating_add(delta.leased[at]).max(0);
        }
        let write = ["UPDATE counter SET (", AMOUNTS, ") = (?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?"].concat();
        let values = posted.iter().chain(&in_doubt).chain(&leased).chain([&row]);
        self.connection.prepare_cached(&write)?.execute(params_from_iter(values))?;
        self.keep_marked(row, delta)
    }
}

/// What a node asks to lease.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Of which counter.
    pub counter: WindowCounter,
    /// Of which unit.
    pub unit: Unit,
    /// At least so much; less is of no use.
    pub need: i64,
    /// At most so much.
    pub want: i64,
    /// What is posted, in doubt and leased may not exceed this together.
    pub ceiling: i64,
}
