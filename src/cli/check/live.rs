//! What the ledger knows: the calls of the last seven days, read beside a running gateway. Without a ledger there are fewer
//! warnings, never an error.

use std::collections::BTreeMap;
use std::path::Path;

use crate::domain::clock::Timestamp;
use crate::ledger::{Column, LedgerError, LedgerReader, SpendQuery, SpendRow};
use crate::policy::Policy;
use crate::policy::advice::{Seen, SeenCalls};
use crate::policy::budget::{Dimension, Matcher};

const DAYS: i64 = 7;
const DAY_IN_MICROS: i64 = 86_400_000_000;

/// Dimensions that are looked at only where a budget matches by them.
const FURTHER: [(Dimension, Column); 3] = [
    (Dimension::TenantId, Column::TenantId),
    (Dimension::PromptVersion, Column::PromptVersion),
    (Dimension::Provider, Column::Provider),
];

/// The calls of the last days.
pub(super) fn seen(ledger: &Path, policy: &Policy, now: Timestamp) -> Result<Seen, LedgerError> {
    let reader = LedgerReader::open(ledger)?;
    let since = Timestamp::from_micros(now.micros().saturating_sub(DAYS * DAY_IN_MICROS));
    let spend = |by: Vec<Column>| {
        let rows = reader.spend(&SpendQuery { by, since: Some(since), until: None, filters: Vec::new() })?;
        Ok::<_, LedgerError>(rows.into_iter().filter(|row| row.totals.requests > 0))
    };
    let calls = spend(vec![Column::EndpointTag, Column::Model])?.map(|row| calls(&row)).collect();
    let mut values = BTreeMap::new();
    for (dimension, column) in FURTHER {
        let asks =
            |matcher: &Matcher| matcher.when.is_some() || matcher.all.iter().any(|(matched, _)| *matched == dimension);
        if policy.budgets.iter().any(|budget| asks(&budget.matcher)) {
            let rows = spend(vec![column])?;
            values.insert(dimension, rows.map(|row| (value(&row, 0), row.totals.requests)).collect());
        }
    }
    Ok(Seen { days: DAYS, calls, values })
}

fn calls(row: &SpendRow) -> SeenCalls {
    SeenCalls {
        endpoint_tag: value(row, 0),
        model: value(row, 1),
        requests: row.totals.requests,
        reasoning_tokens: row.totals.reasoning_tokens,
        cost_nano: row.totals.cost_nano_usd,
    }
}

fn value(row: &SpendRow, at: usize) -> String {
    row.dimensions.get(at).cloned().flatten().unwrap_or_default()
}
