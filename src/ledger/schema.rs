//! The ledger's tables and how a file comes to have them. It refuses files that it does not understand.
//!
//! Money is integer nano-dollars, time is integer microseconds since the Unix epoch, unknown is NULL.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::LedgerError;

/// The oldest SQLite that may hold the ledger: 3.51.3 repairs a WAL reset that could lose committed pages.
pub const OLDEST_SQLITE: i32 = 3_051_003;

/// `Plim`, in the file's header.
const APPLICATION_ID: i32 = 0x506c_696d;

/// How long to wait for another connection's lock before giving up.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Each entry brings the schema from its index to the next version.
const MIGRATIONS: [&str; 5] = [VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5];

/// The newest schema that this program knows.
pub const SCHEMA_VERSION: u32 = 5;

const VERSION_1: &str = "
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    attempt_id TEXT NOT NULL UNIQUE,
    request_id TEXT NOT NULL,
    admitted_at INTEGER NOT NULL,
    tenant_id TEXT NOT NULL,
    plan TEXT,
    segment TEXT,
    endpoint_tag TEXT NOT NULL,
    prompt_version TEXT NOT NULL,
    data_mode TEXT NOT NULL,
    environment TEXT NOT NULL,
    user_id TEXT,
    external_request_id TEXT,
    workflow_id TEXT,
    attributes TEXT,
    retry_count INTEGER NOT NULL,
    key_name TEXT,
    provider TEXT NOT NULL,
    dialect TEXT NOT NULL,
    path TEXT NOT NULL,
    model_requested TEXT,
    model_served TEXT,
    model_answered TEXT,
    stream INTEGER NOT NULL,
    logical INTEGER NOT NULL,
    input_tokens INTEGER,
    cached_input_tokens INTEGER,
    cache_write_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER,
    basis TEXT NOT NULL,
    price_row TEXT,
    cost_nano_usd INTEGER,
    status INTEGER NOT NULL,
    ending TEXT NOT NULL,
    decision TEXT NOT NULL,
    would TEXT NOT NULL,
    policy TEXT NOT NULL,
    overhead_us INTEGER NOT NULL,
    first_byte_us INTEGER,
    duration_us INTEGER NOT NULL
) STRICT;
CREATE INDEX attempt_by_time ON attempt (admitted_at);
CREATE INDEX attempt_by_request ON attempt (request_id);
CREATE INDEX attempt_decided ON attempt (admitted_at) WHERE decision <> '' OR would <> '';
CREATE INDEX attempt_decided_by_tenant ON attempt (tenant_id, admitted_at) WHERE decision <> '' OR would <> '';
CREATE TABLE transition (
    budget TEXT NOT NULL,
    key TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    step TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (budget, key, window_start, step)
) STRICT, WITHOUT ROWID;
CREATE INDEX transition_by_time ON transition (at);
CREATE TABLE tenant (
    tenant_id TEXT PRIMARY KEY,
    name TEXT,
    plan TEXT,
    segment TEXT,
    account_owner TEXT,
    revenue_nano INTEGER,
    revenue_per TEXT,
    upgrade_url TEXT
) STRICT, WITHOUT ROWID;
";

/// Counters as roll-ups of the rows, leases, doubts, the prices that rows were priced with, and a hash chain over the rows.
///
/// `leased` is what was granted and neither settled nor returned yet. `complete` holds the identities whose counters hold
/// every row of the windows that had not ended at `since`; the others are rebuilt from the rows before they are read.
const VERSION_2: &str = "
ALTER TABLE attempt RENAME TO entry;
ALTER TABLE entry ADD COLUMN adjusts TEXT;
ALTER TABLE entry ADD COLUMN actor TEXT;
ALTER TABLE entry ADD COLUMN reason TEXT;
ALTER TABLE entry ADD COLUMN adjusted_at INTEGER;
ALTER TABLE entry ADD COLUMN chain BLOB;
CREATE INDEX entry_in_doubt ON entry (id) WHERE basis = 'in_doubt';
CREATE INDEX entry_adjusts ON entry (adjusts) WHERE adjusts IS NOT NULL;
CREATE TABLE counter (
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL,
    key TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    window_end INTEGER NOT NULL,
    posted_nano_usd INTEGER NOT NULL DEFAULT 0,
    posted_tokens INTEGER NOT NULL DEFAULT 0,
    posted_requests INTEGER NOT NULL DEFAULT 0,
    in_doubt_nano_usd INTEGER NOT NULL DEFAULT 0,
    in_doubt_tokens INTEGER NOT NULL DEFAULT 0,
    in_doubt_requests INTEGER NOT NULL DEFAULT 0,
    leased_nano_usd INTEGER NOT NULL DEFAULT 0,
    leased_tokens INTEGER NOT NULL DEFAULT 0,
    leased_requests INTEGER NOT NULL DEFAULT 0,
    UNIQUE (identity, key, window_start)
) STRICT;
CREATE INDEX counter_by_end ON counter (window_end);
CREATE INDEX counter_leased ON counter (id)
    WHERE leased_nano_usd <> 0 OR leased_tokens <> 0 OR leased_requests <> 0;
CREATE TABLE complete (identity TEXT PRIMARY KEY, since INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE doubt (
    id INTEGER PRIMARY KEY,
    counter INTEGER NOT NULL REFERENCES counter (id),
    unit TEXT NOT NULL,
    amount INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    resolved INTEGER,
    actor TEXT,
    reason TEXT
) STRICT;
CREATE INDEX doubt_open ON doubt (counter) WHERE resolved IS NULL;
CREATE TABLE price (id TEXT NOT NULL, row TEXT NOT NULL, PRIMARY KEY (id, row)) STRICT, WITHOUT ROWID;
CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    chain BLOB NOT NULL
) STRICT;
INSERT INTO head SELECT 1, 0, coalesce(max(id), 0), zeroblob(32) FROM entry;
";

/// A first attempt is found by its own number, so only the others need an index by request.
const VERSION_3: &str = "
DROP INDEX attempt_by_request;
CREATE INDEX entry_by_request ON entry (request_id) WHERE attempt_id <> request_id;
";

/// A counter names its identity by number, and stands in the index beside the other counters of its key: a call that is counted
/// by several budgets touches one page of it, which matters where every call is another tenant's. The index by end begins with
/// the identity, by which counters are read and forgotten. `doubt` is made anew because it refers to `counter`; its second index is
/// for counters that are forgotten. `complete` goes on to name identities by their text: it has one row for each.
const VERSION_4: &str = "
CREATE TABLE identity (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO identity (text) SELECT DISTINCT identity FROM counter;
ALTER TABLE doubt RENAME TO doubt_3;
ALTER TABLE counter RENAME TO counter_3;
CREATE TABLE counter (
    id INTEGER PRIMARY KEY,
    identity INTEGER NOT NULL REFERENCES identity (id),
    key TEXT NOT NULL,
    window_start INTEGER NOT NULL,
    window_end INTEGER NOT NULL,
    posted_nano_usd INTEGER NOT NULL DEFAULT 0,
    posted_tokens INTEGER NOT NULL DEFAULT 0,
    posted_requests INTEGER NOT NULL DEFAULT 0,
    in_doubt_nano_usd INTEGER NOT NULL DEFAULT 0,
    in_doubt_tokens INTEGER NOT NULL DEFAULT 0,
    in_doubt_requests INTEGER NOT NULL DEFAULT 0,
    leased_nano_usd INTEGER NOT NULL DEFAULT 0,
    leased_tokens INTEGER NOT NULL DEFAULT 0,
    leased_requests INTEGER NOT NULL DEFAULT 0,
    UNIQUE (key, identity, window_start)
) STRICT;
INSERT INTO counter SELECT counter_3.id, identity.id, key, window_start, window_end, posted_nano_usd, posted_tokens,
    posted_requests, in_doubt_nano_usd, in_doubt_tokens, in_doubt_requests, leased_nano_usd, leased_tokens, leased_requests
FROM counter_3 JOIN identity ON identity.text = counter_3.identity ORDER BY counter_3.id;
CREATE TABLE doubt (
    id INTEGER PRIMARY KEY,
    counter INTEGER NOT NULL REFERENCES counter (id),
    unit TEXT NOT NULL,
    amount INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    resolved INTEGER,
    actor TEXT,
    reason TEXT
) STRICT;
INSERT INTO doubt SELECT * FROM doubt_3;
DROP TABLE doubt_3;
DROP TABLE counter_3;
CREATE INDEX counter_by_end ON counter (identity, window_end);
CREATE INDEX counter_leased ON counter (id)
    WHERE leased_nano_usd <> 0 OR leased_tokens <> 0 OR leased_requests <> 0;
CREATE INDEX doubt_open ON doubt (counter) WHERE resolved IS NULL;
CREATE INDEX doubt_by_counter ON doubt (counter);
";

/// A counter that may have something leased is marked, and the index of those is by the mark: by the amounts it was written anew
/// with every row that a lease covers. Whatever has something leased is marked; what is marked may have used up its lease.
const VERSION_5: &str = "
ALTER TABLE counter ADD COLUMN lent INTEGER NOT NULL DEFAULT 0;
UPDATE counter SET lent = 1 WHERE leased_nano_usd <> 0 OR leased_tokens <> 0 OR leased_requests <> 0;
DROP INDEX counter_leased;
CREATE INDEX counter_lent ON counter (id) WHERE lent <> 0;
";

/// Opens the one connection that writes, and brings the schema up to date.
pub(super) fn open_writer(path: &Path) -> Result<Connection, LedgerError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(LOCK_PATIENCE)?;
    refuse_what_is_not_ours(&connection, path)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |_| Ok(()))?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// A new ledger in memory.
pub(super) fn in_memory() -> Result<Connection, LedgerError> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens a connection that can only read. It takes no lock and works beside a running server.
pub(super) fn open_reader(path: &Path) -> Result<Connection, LedgerError> {
    refuse_old_sqlite(rusqlite::version_number(), rusqlite::version())?;
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(LOCK_PATIENCE)?;
    refuse_what_is_not_ours(&connection, path)?;
    let found = version(&connection)?;
    if found < SCHEMA_VERSION {
        return Err(LedgerError::OlderSchema { found, known: SCHEMA_VERSION });
    }
    Ok(connection)
}

/// Refuses a SQLite older than [`OLDEST_SQLITE`].
pub(super) fn refuse_old_sqlite(number: i32, name: &'static str) -> Result<(), LedgerError> {
    if number < OLDEST_SQLITE { Err(LedgerError::OldSqlite { found: name }) } else { Ok(()) }
}

fn refuse_what_is_not_ours(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    let tables: u32 = connection.query_one("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let owner: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if tables > 0 && owner != APPLICATION_ID {
        return Err(LedgerError::Foreign { path: path.to_owned() });
    }
    let found = version(connection)?;
    if found > SCHEMA_VERSION {
        return Err(LedgerError::NewerSchema { found, known: SCHEMA_VERSION });
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<u32, LedgerError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Each step and its new version number become visible in one transaction, so a crash in between leaves the old schema.
fn migrate(connection: &mut Connection) -> Result<(), LedgerError> {
    let done = usize::try_from(version(connection)?).unwrap_or(usize::MAX);
    for (index, statements) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(statements)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", i64::try_from(index + 1).unwrap_or(i64::MAX))?;
        transaction.commit()?;
    }
    Ok(())
}
