//! Sums over the ledger by any dimensions. Only names from [`Column`] become SQL text; every value is bound.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};

use crate::domain::clock::Timestamp;

use super::error::LedgerError;

/// A dimension that spend can be grouped and filtered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are those of the admin API and of the ledger's rows")]
pub enum Column {
    TenantId,
    Plan,
    Segment,
    EndpointTag,
    PromptVersion,
    DataMode,
    Environment,
    UserId,
    WorkflowId,
    ExternalRequestId,
    Key,
    Provider,
    Dialect,
    Model,
    ModelServed,
    ModelAnswered,
    Basis,
    PriceRow,
    Status,
    Ending,
    Policy,
}

impl Column {
    /// Every dimension.
    pub const ALL: [Self; 21] = [
        Self::TenantId,
        Self::Plan,
        Self::Segment,
        Self::EndpointTag,
        Self::PromptVersion,
        Self::DataMode,
        Self::Environment,
        Self::UserId,
        Self::WorkflowId,
        Self::ExternalRequestId,
        Self::Key,
        Self::Provider,
        Self::Dialect,
        Self::Model,
        Self::ModelServed,
        Self::ModelAnswered,
        Self::Basis,
        Self::PriceRow,
        Self::Status,
        Self::Ending,
        Self::Policy,
    ];

    /// The name in the admin API.
    pub const fn as_str(self) -> &'static str {
        self.names().0
    }

    /// Reads the name in the admin API.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.as_str() == name)
    }

    /// The name in the admin API and the column of the table.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::TenantId => ("tenantId", "tenant_id"),
            Self::Plan => ("plan", "plan"),
            Self::Segment => ("segment", "segment"),
            Self::EndpointTag => ("endpointTag", "endpoint_tag"),
            Self::PromptVersion => ("promptVersion", "prompt_version"),
            Self::DataMode => ("dataMode", "data_mode"),
            Self::Environment => ("environment", "environment"),
            Self::UserId => ("userId", "user_id"),
            Self::WorkflowId => ("workflowId", "workflow_id"),
            Self::ExternalRequestId => ("externalRequestId", "external_request_id"),
            Self::Key => ("key", "key_name"),
            Self::Provider => ("provider", "provider"),
            Self::Dialect => ("dialect", "dialect"),
            Self::Model => ("model", "model_requested"),
            Self::ModelServed => ("modelServed", "model_served"),
            Self::ModelAnswered => ("modelAnswered", "model_answered"),
            Self::Basis => ("basis", "basis"),
            Self::PriceRow => ("priceRow", "price_row"),
            Self::Status => ("status", "status"),
            Self::Ending => ("ending", "ending"),
            Self::Policy => ("policy", "policy"),
        }
    }
}

/// What to add up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpendQuery {
    /// One row per combination of these; empty for one row in all.
    pub by: Vec<Column>,
    /// Calls admitted at this moment or later.
    pub since: Option<Timestamp>,
    /// Calls admitted before this moment.
    pub until: Option<Timestamp>,
    /// Values that must match. Values of the same dimension are alternatives; an empty value stands for an absent one.
    pub filters: Vec<(Column, String)>,
}

/// The sums of one combination of dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendRow {
    /// The values of the asked dimensions, in the asked order. `None`: the calls had none.
    pub dimensions: Vec<Option<String>>,
    /// The sums.
    pub totals: SpendTotals,
}

/// Sums over attempts. Refusals of ours count nowhere: nothing was sent, nothing was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, utoipa::ToSchema)]
pub struct SpendTotals {
    /// Logical requests: retries of one are the same one.
    pub requests: i64,
    /// Attempts that went upstream.
    pub attempts: i64,
    /// Input tokens, cached ones and cache writes included.
    pub input_tokens: i64,
    /// The part of the input that came from a provider's cache.
    pub cached_input_tokens: i64,
    /// The part of the input that was written to a provider's cache.
    pub cache_write_tokens: i64,
    /// Output tokens, reasoning included.
    pub output_tokens: i64,
    /// The part of the output that was reasoning.
    pub reasoning_tokens: i64,
    /// Cost in nano-dollars, estimates included, amounts in doubt not.
    pub cost_nano_usd: i64,
    /// The part of the cost that is estimated.
    pub estimated_nano_usd: i64,
    /// Charged until evidence arrives; not part of the cost.
    pub in_doubt_nano_usd: i64,
    /// Attempts whose cost is unknown because the model has no price.
    pub unpriced_requests: i64,
}

/// The sums in the order of [`SpendTotals`]. A sum of large numbers is taken in two halves, because SQLite's own `sum`
/// fails beyond 63 bits and a provider may claim any number of tokens.
const SUMS: &str = "
    sum(logical AND ending <> 'refused'),
    sum(ending NOT IN ('refused', 'replayed', 'adjustment')),
    sum(input_tokens >> 32), sum(input_tokens & 4294967295),
    sum(cached_input_tokens >> 32), sum(cached_input_tokens & 4294967295),
    sum(cache_write_tokens >> 32), sum(cache_write_tokens & 4294967295),
    sum(output_tokens >> 32), sum(output_tokens & 4294967295),
    sum(reasoning_tokens >> 32), sum(reasoning_tokens & 4294967295),
    sum((cost_nano_usd >> 32) * (basis <> 'in_doubt')), sum((cost_nano_usd & 4294967295) * (basis <> 'in_doubt')),
    sum((cost_nano_usd >> 32) * (basis = 'estimated')), sum((cost_nano_usd & 4294967295) * (basis = 'estimated')),
    sum((cost_nano_usd >> 32) * (basis = 'in_doubt')), sum((cost_nano_usd & 4294967295) * (basis = 'in_doubt')),
    sum(cost_nano_usd IS NULL AND ending NOT IN ('refused', 'replayed', 'adjustment') AND basis <> 'unmetered')
FROM entry";

/// Runs the query. Rows come dearest first.
pub(super) fn spend(connection: &Connection, query: &SpendQuery) -> Result<Vec<SpendRow>, LedgerError> {
    let (sql, values) = statement(query);
    let mut statement = connection.prepare_cached(&sql)?;
    let width = query.by.len();
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(SpendRow { dimensions: dimensions(row, width)?, totals: totals(row, width)? });
    }
    found.sort_by(|a, b| {
        b.totals.cost_nano_usd.cmp(&a.totals.cost_nano_usd).then_with(|| a.dimensions.cmp(&b.dimensions))
    });
    Ok(found)
}

fn statement(query: &SpendQuery) -> (String, Vec<Value>) {
    let mut sql = String::from("SELECT ");
    for column in &query.by {
        sql.push_str(column.names().1);
        sql.push_str(", ");
    }
    sql.push_str(SUMS);
    let values = conditions(query, &mut sql);
    for (index, column) in query.by.iter().enumerate() {
        sql.push_str(if index == 0 { " GROUP BY " } else { ", " });
        sql.push_str(column.names().1);
    }
    (sql, values)
}

fn conditions(query: &SpendQuery, sql: &mut String) -> Vec<Value> {
    let mut values = Vec::new();
    sql.push_str(" WHERE true");
    if let Some(since) = query.since {
        sql.push_str(" AND admitted_at >= ?");
        values.push(Value::Integer(since.micros()));
    }
    if let Some(until) = query.until {
        sql.push_str(" AND admitted_at < ?");
        values.push(Value::Integer(until.micros()));
    }
    let mut filters: Vec<_> = query.filters.iter().collect();
    filters.sort_by_key(|(column, _)| *column);
    for same in filters.chunk_by(|(a, _), (b, _)| a == b) {
        sql.push_str(" AND (false");
        for (column, value) in same {
            sql.push_str(" OR ");
            sql.push_str(column.names().1);
            if value.is_empty() {
                sql.push_str(" IS NULL");
            } else {
                sql.push_str(" = ?");
                values.push(Value::Text(value.clone()));
            }
        }
        sql.push(')');
    }
    values
}

fn dimensions(row: &Row<'_>, width: usize) -> Result<Vec<Option<String>>, LedgerError> {
    (0..width)
        .map(|index| {
            Ok(match row.get_ref(index)? {
                ValueRef::Integer(number) => Some(number.to_string()),
                ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => None,
            })
        })
        .collect()
}

fn totals(row: &Row<'_>, width: usize) -> Result<SpendTotals, LedgerError> {
    let mut next = width;
    let mut one = || -> Result<i64, LedgerError> {
        let sum: Option<i64> = row.get(next)?;
        next += 1;
        Ok(sum.unwrap_or(0))
    };
    let (requests, attempts) = (one()?, one()?);
    let mut wide = || -> Result<i64, LedgerError> { Ok(joined(one()?, one()?)) };
    Ok(SpendTotals {
        requests,
        attempts,
        input_tokens: wide()?,
        cached_input_tokens: wide()?,
        cache_write_tokens: wide()?,
        output_tokens: wide()?,
        reasoning_tokens: wide()?,
        cost_nano_usd: wide()?,
        estimated_nano_usd: wide()?,
        in_doubt_nano_usd: wide()?,
        unpriced_requests: one()?,
    })
}

/// `high`·2³² + `low`; what does not fit stops at the end of the range.
fn joined(high: i64, low: i64) -> i64 {
    let sum = (i128::from(high) << 32) + i128::from(low);
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}
