//! The law of sums: whatever was appended and however it is asked for, the sums are those by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::domain::attribution::{Attribution, DataMode};
use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::usage::{Basis, Usage};
use crate::ledger::entry::{Ending, LedgerEntry};
use crate::ledger::{Column, Ledger, SpendQuery, SpendTotals};

use super::{entry, place, write};

/// What the property varies in an attempt.
type Sketch = (u8, u8, bool, bool, Option<i64>, Option<u32>, u8, i64);

fn sketched(number: usize, sketch: &Sketch) -> LedgerEntry {
    let (name, tag, demo, logical, cost, input, kind, second) = *sketch;
    let base = entry(&format!("req_{number}"), &format!("tenant_{}", name % 3), cost);
    LedgerEntry {
        admitted_at: Timestamp::from_seconds(second),
        attribution: Arc::new(Attribution {
            endpoint_tag: Arc::from(format!("tag.{}", tag % 3)),
            data_mode: if demo { DataMode::Demo } else { DataMode::Real },
            user_id: (tag % 2 == 0).then(|| Arc::from(format!("user_{}", tag % 5))),
            ..Attribution::default()
        }),
        logical,
        usage: Usage { input: input.map(u64::from), ..Usage::default() },
        basis: [Basis::Exact, Basis::Estimated, Basis::InDoubt, Basis::Partial][usize::from(kind % 4)],
        ending: if kind > 200 { Ending::Refused } else { Ending::Complete },
        status: if kind > 200 { 429 } else { 200 },
        ..base
    }
}

fn dimension(entry: &LedgerEntry, column: Column) -> Option<String> {
    match column {
        Column::TenantId => Some(entry.tenant.id.to_string()),
        Column::EndpointTag => Some(entry.attribution.endpoint_tag.to_string()),
        Column::DataMode => Some(entry.attribution.data_mode.to_string()),
        Column::UserId => entry.attribution.user_id.as_deref().map(str::to_owned),
        Column::Status => Some(entry.status.to_string()),
        Column::Basis => Some(entry.basis.to_string()),
        other => unreachable!("{other:?} is not varied here"),
    }
}

const VARIED: [Column; 6] =
    [Column::TenantId, Column::EndpointTag, Column::DataMode, Column::UserId, Column::Status, Column::Basis];

/// The same sums by hand.
fn by_hand(entries: &[LedgerEntry], query: &SpendQuery) -> BTreeMap<Vec<Option<String>>, SpendTotals> {
    let mut sums: BTreeMap<_, SpendTotals> = BTreeMap::new();
    if query.by.is_empty() {
        sums.insert(Vec::new(), SpendTotals::default());
    }
    for entry in entries {
        let in_time = query.since.is_none_or(|since| since <= entry.admitted_at)
            && query.until.is_none_or(|until| entry.admitted_at < until);
        let matches =
            query.filters.iter().all(|(column, value)| dimension(entry, *column).unwrap_or_default() == *value);
        if !in_time || !matches {
            continue;
        }
        let sum = sums.entry(query.by.iter().map(|column| dimension(entry, *column)).collect()).or_default();
        let cost = entry.cost.map_or(0, Money::nano);
        if entry.ending != Ending::Refused {
            sum.requests += i64::from(entry.logical);
            sum.attempts += 1;
            sum.unpriced_requests += i64::from(entry.cost.is_none());
        }
        sum.input_tokens += i64::try_from(entry.usage.input.unwrap_or(0)).expect("a small number");
        sum.output_tokens += i64::try_from(entry.usage.output.unwrap_or(0)).expect("a small number");
        match entry.basis {
            Basis::InDoubt => sum.in_doubt_nano_usd += cost,
            basis => {
                sum.cost_nano_usd += cost;
                sum.estimated_nano_usd += if basis == Basis::Estimated { cost } else { 0 };
            }
        }
    }
    sums
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Law: whatever was appended and however it is asked for, the sums are the sums.
    #[test]
    fn spend_adds_up(
        sketches in prop::collection::vec(any::<Sketch>().prop_map(|mut sketch| {
            sketch.4 = sketch.4.map(|cost| cost % 1_000_000_000_000);
            sketch.7 = sketch.7.rem_euclid(1_000);
            sketch
        }), 0..40),
        by in prop::sample::subsequence(VARIED.to_vec(), 0..=6),
        since in prop::option::of(0_i64..1_000),
        until in prop::option::of(0_i64..1_000),
        filter in prop::option::of((prop::sample::select(VARIED.to_vec()), any::<prop::sample::Index>())),
    ) {
        let entries: Vec<_> = sketches.iter().enumerate().map(|(number, sketch)| sketched(number, sketch)).collect();
        let filters = filter
            .filter(|_| !entries.is_empty())
            .map(|(column, index)| (column, dimension(index.get(&entries), column).unwrap_or_default()));
        let query = SpendQuery {
            by,
            since: since.map(Timestamp::from_seconds),
            until: until.map(Timestamp::from_seconds),
            filters: filters.into_iter().collect(),
        };
        let place = place();
        let ledger = Ledger::open(&place.path).expect("a new ledger");
        write(&ledger, entries.iter().cloned());
        let rows = ledger.reader().spend(&query).expect("sums");
        prop_assert!(rows.windows(2).all(|pair| pair[0].totals.cost_nano_usd >= pair[1].totals.cost_nano_usd));
        let found: BTreeMap<_, _> = rows.into_iter().map(|row| (row.dimensions, row.totals)).collect();
        prop_assert_eq!(found, by_hand(&entries, &query));
    }
}
