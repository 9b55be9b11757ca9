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
            rows.flush().map_err(|error| error.to_string())?;
            let read = rows.reader().replay(since, &mut |at, dimensions, amounts| take(at, &dimensions, amounts));
            read.map_err(|error| error.to_string())
        }),
        steps: Box::new(move |since: Timestamp| {
            let entries = steps.transitions(since).map_err(|error| error.to_string())?;
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
        tenants: Box::new(move || tenants.tenants().map_err(|error| error.to_string())),
    }
}
