//! An entry as a row: its columns in one fixed order, for writing, for the hash chain, and for the spool.

use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};

use crate::domain::attribution::Attribution;
use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::standing::Amounts;
use crate::domain::usage::Basis;
use crate::domain::window::Window;
use crate::meter::counter::{CounterName, WindowCounter};

use super::chain;
use super::entry::{Ending, LedgerEntry};

/// The columns that the hash chain covers, in its order. New ones are added at the end.
pub(super) const COLUMNS: &str = "attempt_id, request_id, admitted_at, tenant_id, plan, segment, endpoint_tag,
    prompt_version, data_mode, environment, user_id, external_request_id, workflow_id, attributes, retry_count, key_name,
    provider, dialect, path, model_requested, model_served, model_answered, stream, logical, input_tokens,
    cached_input_tokens, cache_write_tokens, cache_write_1h_tokens, output_tokens, reasoning_tokens, basis, price_row,
    cost_nano_usd, status, ending, decision, would, policy, overhead_us, first_byte_us, duration_us, adjusts, actor, reason,
    adjusted_at";

/// How many columns there are.
pub(super) const WIDTH: usize = 45;

/// Where in [`COLUMNS`] the columns are that somebody reads by their place.
pub(super) mod at {
    pub(in crate::ledger) const ADMITTED_AT: usize = 2;
    pub(in crate::ledger) const TENANT_ID: usize = 3;
    pub(in crate::ledger) const PLAN: usize = 4;
    pub(in crate::ledger) const SEGMENT: usize = 5;
    pub(in crate::ledger) const ENDPOINT_TAG: usize = 6;
    pub(in crate::ledger) const PROMPT_VERSION: usize = 7;
    pub(in crate::ledger) const DATA_MODE: usize = 8;
    pub(in crate::ledger) const ENVIRONMENT: usize = 9;
    pub(in crate::ledger) const USER_ID: usize = 10;
    pub(in crate::ledger) const WORKFLOW_ID: usize = 12;
    pub(in crate::ledger) const PROVIDER: usize = 16;
    pub(in crate::ledger) const MODEL_REQUESTED: usize = 19;
    pub(in crate::ledger) const LOGICAL: usize = 23;
    pub(in crate::ledger) const INPUT_TOKENS: usize = 24;
    pub(in crate::ledger) const CACHED_INPUT_TOKENS: usize = 25;
    pub(in crate::ledger) const CACHE_WRITE_TOKENS: usize = 26;
    pub(in crate::ledger) const CACHE_WRITE_1H_TOKENS: usize = 27;
    pub(in crate::ledger) const OUTPUT_TOKENS: usize = 28;
    pub(in crate::ledger) const REASONING_TOKENS: usize = 29;
    pub(in crate::ledger) const BASIS: usize = 30;
    pub(in crate::ledger) const PRICE_ROW: usize = 31;
    pub(in crate::ledger) const COST_NANO_USD: usize = 32;
    pub(in crate::ledger) const ENDING: usize = 34;
}

/// The values of an entry in the order of [`COLUMNS`].
pub(super) fn values(entry: &LedgerEntry) -> [ToSqlOutput<'_>; WIDTH] {
    let (tenant, from, usage) = (&entry.tenant, &entry.attribution, &entry.usage);
    let correction = entry.correction.as_ref();
    [
        text(&entry.attempt_id),
        text(&entry.request_id),
        number(entry.admitted_at.micros()),
        text(tenant.id.as_str()),
        maybe(tenant.plan.as_deref()),
        maybe(tenant.segment.as_deref()),
        text(&from.endpoint_tag),
        text(&from.prompt_version),
        text(from.data_mode.as_str()),
        text(from.environment.as_str()),
        maybe(from.user_id.as_deref()),
        maybe(from.external_request_id.as_deref()),
        maybe(from.workflow_id.as_deref()),
        attributes(from),
        number(from.retry_count),
        maybe(entry.key_name.as_deref()),
        text(&entry.provider),
        text(&entry.dialect),
        text(&entry.path),
        maybe(entry.model_requested.as_deref()),
        maybe(entry.model_served.as_deref()),
        maybe(entry.model_answered.as_deref()),
        number(entry.stream),
        number(entry.logical),
        count(usage.input),
        count(usage.cached_input),
        count(usage.cache_write),
        count(usage.cache_write_1h),
        count(usage.output),
        count(usage.reasoning),
        text(entry.basis.as_str()),
        maybe(entry.price.as_deref().map(|price| &*price.id)),
        entry.cost.map(Money::nano).map_or(NULL, number),
        number(entry.status),
        text(entry.ending.as_str()),
        text(&entry.decision),
        text(&entry.would),
        text(&entry.policy),
        number(entry.overhead_us),
        entry.first_byte_us.map_or(NULL, number),
        count(Some(entry.duration_us)),
        maybe(correction.map(|correction| &*correction.adjusts)),
        maybe(correction.map(|correction| &*correction.actor)),
        maybe(correction.map(|correction| &*correction.reason)),
        correction.map_or(NULL, |correction| number(correction.at.micros())),
    ]
}

/// A value as the chain and the spool see it.
pub(super) fn reference<'a>(value: &'a ToSqlOutput<'a>) -> ValueRef<'a> {
    match value {
        ToSqlOutput::Borrowed(value) => *value,
        ToSqlOutput::Owned(value) => ValueRef::from(value),
        // Entries hold numbers and texts only.
        _ => ValueRef::Null,
    }
}

const NULL: ToSqlOutput<'static> = ToSqlOutput::Owned(Value::Null);

fn text(text: &str) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))
}

fn maybe(value: Option<&str>) -> ToSqlOutput<'_> {
    value.map_or(NULL, text)
}

fn number(number: impl Into<i64>) -> ToSqlOutput<'static> {
    ToSqlOutput::Owned(Value::Integer(number.into()))
}

/// SQLite has no unsigned integers: what exceeds 2⁶³−1 is kept as 2⁶³−1.
fn count(count: Option<u64>) -> ToSqlOutput<'static> {
    count.map_or(NULL, |count| number(i64::try_from(count).unwrap_or(i64::MAX)))
}

/// The caller's own attributes as a JSON object; NULL when there are none.
fn attributes(attribution: &Attribution) -> ToSqlOutput<'static> {
    if attribution.extras.is_empty() {
        return NULL;
    }
    let object: serde_json::Map<String, serde_json::Value> =
        attribution.extras.iter().map(|(name, value)| (name.to_string(), value.to_string().into())).collect();
    ToSqlOutput::Owned(Value::Text(serde_json::Value::Object(object).to_string()))
}

/// What a posting is in a frame: identity, key, the window's two ends, and what a lease had covered in each unit.
const POSTING: usize = 7;

/// An entry for the spool: its row, and the counters that it counted in.
pub(super) fn frame(entry: &LedgerEntry) -> Vec<u8> {
    let values = values(entry);
    let mut bytes = Vec::new();
    chain::encode(values.iter().map(reference), &mut bytes);
    for posting in &entry.postings {
        let (named, window) = (posting.counter.counter(), posting.counter.window());
        chain::encode(
            [
                ValueRef::Text(named.identity().as_bytes()),
                ValueRef::Text(named.key().as_bytes()),
                ValueRef::Integer(window.start.micros()),
                ValueRef::Integer(window.end.micros()),
                ValueRef::Integer(posting.covered[0]),
                ValueRef::Integer(posting.covered[1]),
                ValueRef::Integer(posting.covered[2]),
            ],
            &mut bytes,
        );
    }
    bytes
}

/// A row that waited in the spool.
pub(super) struct Spooled {
    /// The values in the order of [`COLUMNS`].
    pub(super) values: Vec<Value>,
    /// What it adds to counters.
    pub(super) amounts: Amounts,
    /// Whether its cost is in doubt.
    pub(super) in_doubt: bool,
    /// The counters.
    pub(super) postings: Vec<(WindowCounter, Amounts)>,
}

/// Reads a frame back. `None`: it is not one of ours.
pub(super) fn unframe(bytes: &[u8]) -> Option<Spooled> {
    let mut values = chain::decode(bytes)?;
    if values.len() < WIDTH {
        return None;
    }
    let postings = values.split_off(WIDTH);
    if !postings.len().is_multiple_of(POSTING) {
        return None;
    }
    let postings = postings.chunks_exact(POSTING).map(posting).collect::<Option<_>>()?;
    let (logical, input, output, basis, cost, ending) = (
        integer(&values[at::LOGICAL])?,
        integer(&values[at::INPUT_TOKENS]),
        integer(&values[at::OUTPUT_TOKENS]),
        &values[at::BASIS],
        integer(&values[at::COST_NANO_USD]),
        &values[at::ENDING],
    );
    let is = |value: &Value, word: &str| matches!(value, Value::Text(text) if text == word);
    let counts = logical != 0 && !is(ending, Ending::Refused.as_str());
    let tokens = input.unwrap_or(0).saturating_add(output.unwrap_or(0));
    let amounts = [cost.unwrap_or(0), tokens, i64::from(counts)];
    let in_doubt = is(basis, Basis::InDoubt.as_str());
    Some(Spooled { values, amounts, in_doubt, postings })
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}

fn posting(values: &[Value]) -> Option<(WindowCounter, Amounts)> {
    let [Value::Text(identity), Value::Text(key), start, end, money, tokens, requests] = values else { return None };
    let name = CounterName { identity: Arc::from(identity.as_str()), key: Arc::from(key.as_str()) };
    let [start, end] = [integer(start)?, integer(end)?].map(Timestamp::from_micros);
    let counter = WindowCounter::named(name, Window { start, end });
    Some((counter, [integer(money)?, integer(tokens)?, integer(requests)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_where_they_are_read() {
        let columns: Vec<&str> = COLUMNS.split(',').map(str::trim).collect();
        assert_eq!(columns.len(), WIDTH);
        let read = [
            ("admitted_at", at::ADMITTED_AT),
            ("tenant_id", at::TENANT_ID),
            ("plan", at::PLAN),
            ("segment", at::SEGMENT),
            ("endpoint_tag", at::ENDPOINT_TAG),
            ("prompt_version", at::PROMPT_VERSION),
            ("data_mode", at::DATA_MODE),
            ("environment", at::ENVIRONMENT),
            ("user_id", at::USER_ID),
            ("workflow_id", at::WORKFLOW_ID),
            ("provider", at::PROVIDER),
            ("model_requested", at::MODEL_REQUESTED),
            ("logical", at::LOGICAL),
            ("input_tokens", at::INPUT_TOKENS),
            ("cached_input_tokens", at::CACHED_INPUT_TOKENS),
            ("cache_write_tokens", at::CACHE_WRITE_TOKENS),
            ("cache_write_1h_tokens", at::CACHE_WRITE_1H_TOKENS),
            ("output_tokens", at::OUTPUT_TOKENS),
            ("reasoning_tokens", at::REASONING_TOKENS),
            ("basis", at::BASIS),
            ("price_row", at::PRICE_ROW),
            ("cost_nano_usd", at::COST_NANO_USD),
            ("ending", at::ENDING),
        ];
        for (name, place) in read {
            assert_eq!(columns[place], name);
        }
    }
}
