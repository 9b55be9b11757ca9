//! The ledger's past, as control asks for it.

use crate::control::{History, PastStep};
use crate::domain::clock::Timestamp;
use crate::ledger::Ledger;
use crate::policy::decision::Step;

/// Everything is flushed before it is read, so that rows on their way are counted too.
pub(super) fn history(ledger: &Ledger) -> History {
    let (rows, steps, tenants) = (ledger.clone(), ledger.reader(), ledger.reader());
    History {
        replay: Box::new(move |since, take| {
            let read = rows.flush().and_then(|()| {
                rows.reader().replay(since, &mut |at, dimensions, amounts| take(at, &dimensions, amounts))
            });
            if let Err(error) = read {
                tracing::error!(%error, "counters could not be rebuilt from the ledger");
            }
        }),
        steps: Box::new(move |since: Timestamp| {
            let entries = steps.transitions(since).unwrap_or_else(|error| {
                tracing::error!(%error, "the steps reached so far could not be read from the ledger");
                Vec::new()
            });
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
            past.collect()
        }),
        tenants: Box::new(move || {
            tenants.tenants().unwrap_or_else(|error| {
                tracing::error!(%error, "the admin API's tenants could not be read");
                Vec::new()
            })
        }),
    }
}
