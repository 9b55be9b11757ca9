//! How much is leased at a time, and when a lease goes back.
//!
//! A counter that asks again within a second gets twice as much, one that is quiet gets a few calls' worth, and never more
//! than half of what is left: a crash puts at most that in doubt, and a busy counter asks a few times a second at most.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::standing::Unit;
use crate::meter::counter::WindowCounter;

use super::changes::Grant;
use super::record::Record;

/// A counter that asks again after so short a time gets twice as much.
const BUSY: Duration = Duration::from_secs(1);
/// A counter that has not asked for so long gets a few calls' worth again, and what it has goes back.
const QUIET: Duration = Duration::from_mins(1);
/// How many calls like the one that asks a first lease is good for.
const FIRST_CALLS: u16 = 4;
/// No lease is longer than so many calls like the one that asks.
const MOST_CALLS: u16 = 4_096;

/// A lease that is needed.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Of which counter.
    pub counter: Arc<WindowCounter>,
    /// Of which unit.
    pub unit: Unit,
    /// How much is missing.
    pub need: i64,
    /// What everything committed may not exceed.
    pub ceiling: i64,
}

/// The counters that have leases.
#[derive(Debug, Default)]
pub(super) struct Lender {
    /// By address: a counter that a policy dropped and brought back is another one in memory. The `Arc` keeps it in place.
    lent: HashMap<usize, Lent>,
}

#[derive(Debug)]
struct Lent {
    counter: Arc<WindowCounter>,
    calls: [u16; 3],
    asked: Option<Instant>,
}

impl Lender {
    /// What to ask the store for.
    pub(super) fn grant(&mut self, wanted: &Wanted) -> Grant {
        let lent = self.lent.entry(Arc::as_ptr(&wanted.counter).addr()).or_insert_with(|| Lent {
            counter: Arc::clone(&wanted.counter),
            calls: [FIRST_CALLS; 3],
            asked: None,
        });
        let since = lent.asked.replace(Instant::now()).map(|asked| asked.elapsed());
        let calls = &mut lent.calls[wanted.unit.index()];
        *calls = match since {
            Some(since) if since < BUSY => calls.saturating_mul(2).min(MOST_CALLS),
            Some(since) if since < QUIET => *calls,
            _ => FIRST_CALLS,
        };
        Grant {
            counter: Arc::clone(&wanted.counter),
            unit: wanted.unit,
            need: wanted.need,
            want: wanted.need.saturating_mul(i64::from(*calls)),
            ceiling: wanted.ceiling,
        }
    }

    /// The store has leased so much, durably.
    #[expect(clippy::unused_self, reason = "the other half of `grant`")]
    pub(super) fn granted(&self, wanted: &Wanted, amount: i64) {
        if amount > 0 {
            // A lease that only covers the call that waits for it is the end of a budget: there asking ahead is no use.
            let low = if amount > wanted.need { amount / 2 } else { 0 };
            wanted.counter.lease(wanted.unit).grant(amount, low);
        }
    }

    /// What quiet counters give back.
    pub(super) fn idle(&mut self) -> Vec<Record> {
        let mut back = Vec::new();
        self.lent.retain(|_, lent| {
            let quiet = lent.asked.is_none_or(|asked| asked.elapsed() >= QUIET);
            if quiet {
                back.extend(returns(&lent.counter));
            }
            // While somebody else holds it, calls in flight may still give something back.
            !quiet || Arc::strong_count(&lent.counter) > 1
        });
        back
    }

    /// Everything that is free.
    pub(super) fn all(&mut self) -> Vec<Record> {
        self.lent.drain().flat_map(|(_, lent)| returns(&lent.counter)).collect()
    }
}

fn returns(counter: &Arc<WindowCounter>) -> Vec<Record> {
    let back = Unit::ALL.into_iter().filter_map(|unit| {
        let amount = counter.lease(unit).take_free();
        (amount > 0).then(|| Record::Return { counter: Arc::clone(counter), unit, amount })
    });
    back.collect()
}
