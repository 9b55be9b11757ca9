//! The ledger's past, as control asks for it.

use std::sync::Arc;

use crate::control::{CountersOf, History, PastCounter, PastStep, Seed};
use crate::domain::clock::Timestamp;
use crate::ledger::entry::{Ending, LedgerEntry};
use crate::ledger::{self, Ledger, LedgerError, Rules};
use crate::policy::decision::Step;

/// Control's questions and orders, answered by the ledger.
pub(super) fn history(ledger: &Ledger) -> History {
    let handle = || ledger.clone();
    let reader = || ledger.reader();
    let (complete, counters, remainders, rows) = (reader(), reader(), reader(), reader());
    let (steps, tenants, buckets) = (reader(), reader(), reader());
    let (begin, seeded, retire) = (handle(), handle(), handle());
    History {
        complete: Box::new(move || complete.complete_identities().map_err(words)),
        counters: Box::new(move |now| {
            let mut open = Vec::new();
            counters.counters_open_at(now, &mut |counter| open.push(past_counter(counter))).map_err(words)?;
            Ok(open)
        }),
        buckets: Box::new(move |identity, ring, now| {
            let mut found = Vec::new();
            let mut take = |counter| found.push(past_counter(counter));
            let since = ring.since(now);
            let read = if ring.keeps() {
                buckets.counters_of_keys_since(identity, since, &mut take)
            } else {
                buckets.counters_since(identity, since, &mut take)
            };
            read.map_err(words)?;
            Ok(found)
        }),
        remainders: Box::new(move || {
            let found = remainders.remainders().map_err(words)?;
            Ok(found.into_iter().map(past_counter).collect())
        }),
        begin: Box::new(move |snapshot, counters, identities| {
            begin.begin(Rules { snapshot, counters: of_rows(counters) }, identities).map_err(words)
        }),
        replay: Box::new(move |since, last, take| {
            let mut each = |at, dimensions: crate::domain::standing::Dimensions<'_>, amounts, in_doubt| {
                take(at, &dimensions, amounts, in_doubt);
            };
            rows.replay(since, last, &mut each).map_err(words)
        }),
        seeded: Box::new(move |seeds, identities, since| {
            let seeds =
                seeds.into_iter().map(|Seed { counter, posted, in_doubt }| ledger::Seed { counter, posted, in_doubt });
            seeded.seeded(seeds.collect(), identities, since).map_err(words)
        }),
        retire: Box::new(move |identities| retire.retire(identities)),
        steps: Box::new(move |since: Timestamp| {
            let entries = steps.transitions(since).map_err(words)?;
            let past = entries.into_iter().filter_map(|entry| {
                let step = Step::parse(&entry.step)?;
                Some(PastStep {
                    budget: entry.budget,
                    key: entry.key,
                    window_start: entry.window_start,
                    step,
                    at: entry.at,
                })
            });
            Ok(past.collect())
        }),
        tenants: Box::new(move || tenants.tenants().map_err(words)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn words(error: LedgerError) -> String {
    error.to_string()
}

fn past_counter(counter: ledger::StoredCounter) -> PastCounter {
    PastCounter { name: counter.name, window: counter.window, posted: counter.posted, in_doubt: counter.in_doubt }
}

/// Refusals count nowhere, and a correction names its counters itself.
fn of_rows(counters: CountersOf) -> Arc<ledger::CountersOf> {
    Arc::new(move |entry: &LedgerEntry| {
        let counts = entry.ending != Ending::Refused && entry.correction.is_none();
        if counts { counters(entry.admitted_at, &entry.dimensions()) } else { Vec::new() }
    })
}
