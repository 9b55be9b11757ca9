//! Records into SQLite, a batch per transaction. Only the writer thread owns one of these.
//!
//! It never tries a failed commit again: after a failed `fsync` nobody knows what reached the disk.

use std::path::Path;

use rusqlite::{CachedStatement, Connection, ToSql, Transaction, TransactionBehavior, params};

use crate::domain::attribution::Attribution;
use crate::domain::money::Money;
use crate::domain::tenant::Tenant;

use super::entry::{LedgerEntry, TransitionEntry};
use super::error::LedgerError;
use super::{LedgerStore, Record, schema};

const INSERT_ATTEMPT: &str = "INSERT INTO attempt (
    attempt_id, request_id, admitted_at, tenant_id, plan, segment, endpoint_tag, prompt_version, data_mode, environment,
    user_id, external_request_id, workflow_id, attributes, retry_count, key_name, provider, dialect, path,
    model_requested, model_served, model_answered, stream, logical, input_tokens, cached_input_tokens,
    cache_write_tokens, cache_write_1h_tokens, output_tokens, reasoning_tokens, basis, price_row, cost_nano_usd, status,
    ending, decision, would, policy, overhead_us, first_byte_us, duration_us
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
    ?, ?)
ON CONFLICT (attempt_id) DO NOTHING";

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
}

impl SqliteStore {
    /// Opens or creates the file. Refuses an old SQLite, a newer schema and another program's database.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        schema::refuse_old_sqlite(rusqlite::version_number(), rusqlite::version())?;
        Ok(Self { connection: schema::open_writer(path)? })
    }
}

impl LedgerStore for SqliteStore {
    fn append(&mut self, batch: &[Record]) -> Result<(), LedgerError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut attempt = transaction.prepare_cached(INSERT_ATTEMPT)?;
            for record in batch {
                match record {
                    Record::Attempt(entry) => insert_attempt(&mut attempt, entry)?,
                    Record::Transition(transition) => insert_transition(&transaction, transition)?,
                    Record::Tenant(tenant) => put_tenant(&transaction, tenant)?,
                    Record::TenantGone(id) => delete_tenant(&transaction, id.as_str())?,
                }
            }
        }
        Ok(transaction.commit()?)
    }
}

fn insert_attempt(statement: &mut CachedStatement<'_>, entry: &LedgerEntry) -> Result<(), LedgerError> {
    let (tenant, from, usage) = (&entry.tenant, &entry.attribution, &entry.usage);
    statement.execute(params![
        entry.attempt_id,
        entry.request_id,
        entry.admitted_at.micros(),
        tenant.id.as_str(),
        tenant.plan,
        tenant.segment,
        from.endpoint_tag,
        from.prompt_version,
        from.data_mode.as_str(),
        from.environment.as_str(),
        from.user_id,
        from.external_request_id,
        from.workflow_id,
        attributes(from),
        from.retry_count,
        entry.key_name,
        entry.provider,
        entry.dialect,
        entry.path,
        entry.model_requested,
        entry.model_served,
        entry.model_answered,
        entry.stream,
        entry.logical,
        tokens(usage.input),
        tokens(usage.cached_input),
        tokens(usage.cache_write),
        tokens(usage.cache_write_1h),
        tokens(usage.output),
        tokens(usage.reasoning),
        entry.basis.as_str(),
        entry.price_row,
        entry.cost.map(Money::nano),
        entry.status,
        entry.ending.as_str(),
        entry.decision,
        entry.would,
        entry.policy,
        entry.overhead_us,
        entry.first_byte_us,
        whole(entry.duration_us),
    ])?;
    Ok(())
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

/// The caller's own attributes as a JSON object; NULL when there are none.
fn attributes(attribution: &Attribution) -> Option<String> {
    if attribution.extras.is_empty() {
        return None;
    }
    let object: serde_json::Map<String, serde_json::Value> =
        attribution.extras.iter().map(|(name, value)| (name.to_string(), value.to_string().into())).collect();
    Some(serde_json::Value::Object(object).to_string())
}

fn tokens(count: Option<u64>) -> Option<i64> {
    count.map(whole)
}

/// SQLite has no unsigned integers: what exceeds 2⁶³−1 is kept as 2⁶³−1.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
