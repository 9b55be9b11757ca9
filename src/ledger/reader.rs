//! Reading the ledger beside the writer, through read-only connections that take no lock. Every call here blocks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::standing::{Amounts, Dimensions};
use crate::domain::tenant::{Revenue, Tenant, TenantId};
use crate::domain::window::Period;

use super::counters::{self, StoredCounter};
use super::doubts::{self, Remainder};
use super::entry::TransitionEntry;
use super::error::LedgerError;
use super::query::{self, SpendQuery, SpendRow};
use super::schema;
use super::verify::{self, Verification};

mod stored;

pub use stored::StoredAttempt;

/// How long one query of the admin API may take. A longer one would hold back the WAL's checkpoints.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections kept open between queries.
const IDLE_CONNECTIONS: usize = 4;

/// SQLite's virtual-machine steps between two looks at the clock.
const STEPS_PER_LOOK: i32 = 10_000;

/// A first attempt bears the number of its request; the index over requests holds the others only.
const REQUEST: &str = "SELECT * FROM entry WHERE attempt_id = ?1 AND request_id = ?1
UNION ALL SELECT * FROM entry WHERE request_id = ?1 AND attempt_id <> request_id ORDER BY admitted_at, id";

const REPLAY: &str = "SELECT admitted_at, tenant_id, plan, segment, endpoint_tag, prompt_version, data_mode,
    environment, user_id, workflow_id, provider, coalesce(model_requested, ''), coalesce(cost_nano_usd, 0),
    coalesce(input_tokens, 0), coalesce(output_tokens, 0), logical AND ending <> 'refused', basis = 'in_doubt'
FROM entry WHERE admitted_at >= ? AND id <= ?";

/// Read-only access to a ledger. Clones share their connections.
#[derive(Debug, Clone)]
pub struct LedgerReader {
    path: Arc<Path>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl LedgerReader {
    /// Reads the ledger in `path`, whether or not a server writes it. Refuses a file that is missing, newer or not ours.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let reader = Self::at(path);
        reader.with(Some(PATIENCE), |_| Ok(()))?;
        Ok(reader)
    }

    pub(super) fn at(path: &Path) -> Self {
        Self { path: Arc::from(path), idle: Arc::default() }
    }

    /// The ledger's file.
    pub fn path(&self) -> PathBuf {
        self.path.to_path_buf()
    }

    /// Sums by dimensions, dearest first. Without `by` it is always one row.
    pub fn spend(&self, query: &SpendQuery) -> Result<Vec<SpendRow>, LedgerError> {
        self.with(Some(PATIENCE), |connection| query::spend(connection, query))
    }

    /// The attempts of one request, first one first; empty when there are none.
    pub fn request(&self, id: &str) -> Result<Vec<StoredAttempt>, LedgerError> {
        self.with(Some(PATIENCE), |connection| {
            let mut statement = connection.prepare_cached(REQUEST)?;
            Ok(statement.query_map([id], StoredAttempt::from_row)?.collect::<Result<_, _>>()?)
        })
    }

    /// The latest attempts that a policy acted on, or would have, newest first.
    pub fn decisions(&self, tenant: Option<&str>, limit: u32) -> Result<Vec<StoredAttempt>, LedgerError> {
        self.with(Some(PATIENCE), |connection| {
            let decided = "SELECT * FROM entry WHERE (decision <> '' OR would <> '')";
            let newest = " ORDER BY admitted_at DESC, id DESC LIMIT ?";
            let whose = if tenant.is_some() { " AND tenant_id = ?" } else { "" };
            let mut statement = connection.prepare_cached(&[decided, whose, newest].concat())?;
            let values = tenant.map(|tenant| Value::Text(tenant.to_owned())).into_iter();
            let values = params_from_iter(values.chain([Value::Integer(limit.into())]));
            Ok(statement.query_map(values, StoredAttempt::from_row)?.collect::<Result<_, _>>()?)
        })
    }

    /// Feeds every row since a moment, up to a number, to `post`, which rebuilds counters from it.
    ///
    /// Money is the cost (0 when it is unknown), tokens are input plus output, requests is 1 for a logical request that was not
    /// refused; the flag says that money and tokens are in doubt. There is no time limit.
    pub fn replay(
        &self,
        since: Timestamp,
        last: i64,
        post: &mut dyn FnMut(Timestamp, Dimensions<'_>, Amounts, bool),
    ) -> Result<(), LedgerError> {
        self.with(None, |connection| {
            let mut statement = connection.prepare_cached(REPLAY)?;
            let mut rows = statement.query([since.micros(), last])?;
            while let Some(row) = rows.next()? {
                let amounts = [row.get(12)?, row.get::<_, i64>(13)?.saturating_add(row.get(14)?), row.get(15)?];
                post(Timestamp::from_micros(row.get(0)?), dimensions(row)?, amounts, row.get(16)?);
            }
            Ok(())
        })
    }

    /// The budget identities whose counters hold every row.
    pub fn complete_identities(&self) -> Result<Vec<Arc<str>>, LedgerError> {
        let complete = self.with(Some(PATIENCE), counters::complete)?;
        Ok(complete.into_iter().map(|(identity, _)| identity).collect())
    }

    /// Feeds every counter whose window has not ended at `now` to `take`. There is no time limit.
    pub fn counters_open_at(&self, now: Timestamp, take: &mut dyn FnMut(StoredCounter)) -> Result<(), LedgerError> {
        self.with(None, |connection| counters::open_at(connection, now, take))
    }

    /// Feeds the counters of an identity whose windows end after `since` to `take`, the newest first. There is no time limit.
    pub fn counters_since(
        &self,
        identity: &str,
        since: Timestamp,
        take: &mut dyn FnMut(StoredCounter),
    ) -> Result<(), LedgerError> {
        self.with(None, |connection| counters::since(connection, identity, since, take))
    }

    /// Feeds every counter of the keys of an identity that have a window ending after `since`, the newest first. There is no
    /// time limit.
    pub fn counters_of_keys_since(
        &self,
        identity: &str,
        since: Timestamp,
        take: &mut dyn FnMut(StoredCounter),
    ) -> Result<(), LedgerError> {
        self.with(None, |connection| counters::of_keys_since(connection, identity, since, take))
    }

    /// What runs that died had leased and never settled, and what evidence made of it, as amounts of their counters.
    pub fn remainders(&self) -> Result<Vec<StoredCounter>, LedgerError> {
        self.with(Some(PATIENCE), doubts::by_counter)
    }

    /// Goes over every row, price and counter. There is no time limit.
    pub fn verify(&self) -> Result<Verification, LedgerError> {
        self.with(None, verify::verify)
    }

    /// A query of our own within the usual time.
    pub(super) fn with_patience<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.with(Some(PATIENCE), read)
    }

    /// A query of our own that may take as long as it takes.
    pub(super) fn without_limit<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.with(None, read)
    }

    /// The remainders that are still in doubt, the newest run first.
    pub fn in_doubt(&self) -> Result<Vec<Remainder>, LedgerError> {
        self.with(Some(PATIENCE), doubts::open)
    }

    /// The steps that counters reached since a moment, oldest first.
    pub fn transitions(&self, since: Timestamp) -> Result<Vec<TransitionEntry>, LedgerError> {
        self.with(Some(PATIENCE), |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT budget, key, window_start, step, at FROM transition WHERE at >= ? ORDER BY at",
            )?;
            Ok(statement.query_map([since.micros()], transition)?.collect::<Result<_, _>>()?)
        })
    }

    /// The tenants that the admin API put, by name.
    pub fn tenants(&self) -> Result<Vec<Tenant>, LedgerError> {
        self.with(Some(PATIENCE), |connection| {
            let mut statement = connection.prepare_cached("SELECT * FROM tenant ORDER BY tenant_id")?;
            let rows = statement.query_map([], tenant)?.collect::<Result<Vec<_>, _>>()?;
            Ok(rows.into_iter().flatten().collect())
        })
    }

    /// When the oldest attempt was admitted.
    pub fn oldest(&self) -> Result<Option<Timestamp>, LedgerError> {
        self.with(Some(PATIENCE), |connection| {
            let sql = "SELECT admitted_at FROM entry ORDER BY admitted_at LIMIT 1";
            Ok(connection.query_row(sql, [], |row| row.get(0)).optional()?.map(Timestamp::from_micros))
        })
    }

    /// Runs `read` on a connection of its own, within `patience`.
    pub(super) fn with<T>(
        &self,
        patience: Option<Duration>,
        read: impl FnOnce(&Connection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = idle.map_or_else(|| schema::open_reader(&self.path), Ok)?;
        let deadline = patience.map(|patience| Instant::now() + patience);
        let overdue = deadline.map(|deadline| move || Instant::now() > deadline);
        connection.progress_handler(STEPS_PER_LOOK, overdue)?;
        let answer = read(&connection)?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(connection);
        }
        Ok(answer)
    }
}

fn dimensions<'row>(row: &'row Row<'_>) -> Result<Dimensions<'row>, LedgerError> {
    let text = |index: usize| -> Result<&'row str, LedgerError> {
        Ok(row.get_ref(index)?.as_str().map_err(rusqlite::Error::from)?)
    };
    let maybe = |index: usize| -> Result<Option<&'row str>, LedgerError> {
        Ok(row.get_ref(index)?.as_str_or_null().map_err(rusqlite::Error::from)?)
    };
    Ok(Dimensions {
        tenant_id: text(1)?,
        plan: maybe(2)?,
        segment: maybe(3)?,
        endpoint_tag: text(4)?,
        prompt_version: text(5)?,
        data_mode: text(6)?,
        environment: text(7)?,
        user_id: maybe(8)?,
        workflow_id: maybe(9)?,
        provider: text(10)?,
        model: text(11)?,
    })
}

fn transition(row: &Row<'_>) -> rusqlite::Result<TransitionEntry> {
    Ok(TransitionEntry {
        budget: row.get(0)?,
        key: row.get(1)?,
        window_start: Timestamp::from_micros(row.get(2)?),
        step: row.get(3)?,
        at: Timestamp::from_micros(row.get(4)?),
    })
}

/// A row whose name is not a tenant's is passed over: only another hand can have put it there.
fn tenant(row: &Row<'_>) -> rusqlite::Result<Option<Tenant>> {
    let Ok(id) = TenantId::new(&row.get::<_, String>("tenant_id")?) else { return Ok(None) };
    let amount: Option<i64> = row.get("revenue_nano")?;
    let per: Option<String> = row.get("revenue_per")?;
    let per = per.and_then(|word| Period::parse(&word));
    Ok(Some(Tenant {
        id,
        name: row.get("name")?,
        plan: row.get("plan")?,
        segment: row.get("segment")?,
        account_owner: row.get("account_owner")?,
        revenue: amount.zip(per).map(|(nano, per)| Revenue { amount: Money::from_nano(nano), per }),
        upgrade_url: row.get("upgrade_url")?,
    }))
}
