//! The counters that count a call, and where they stand.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::domain::clock::Timestamp;
use crate::domain::standing::{Counted, CountedBudgets, Dimensions, Standing, Standings};
use crate::domain::window::Ring;
use crate::meter::Meter;
use crate::meter::counter::{Counter, WindowCounter};
use crate::policy::budget::Budget;
use crate::wire::Peek;

use super::call::Call;

/// The counters of a call, and where they stood.
#[derive(Default)]
pub(super) struct Counting {
    pub(super) standings: Standings,
    /// The windows of `standings`, in their order; of rings, the bucket of the call.
    pub(super) windows: SmallVec<[WindowCounter; 4]>,
    /// Windows of budgets that have no limit for this tenant and count nevertheless.
    pub(super) unlimited: SmallVec<[WindowCounter; 2]>,
    /// The counters of those standings that are sums of buckets, by their place among them.
    rings: SmallVec<[(usize, Arc<Counter>, Ring); 1]>,
}

impl Counting {
    /// The counter of a standing that is a sum of buckets.
    pub(super) fn ring(&self, standing: usize) -> Option<(&Counter, Ring)> {
        self.rings.iter().find(|(at, ..)| *at == standing).map(|(_, counter, ring)| (&**counter, *ring))
    }
}

/// Reads every counter that counts the call.
pub(super) fn count(call: &Call, peek: &Peek<'_>, meter: &Meter) -> Counting {
    let policy = &call.snapshot.policy;
    let dimensions = call.dimensions();
    let mut counting = Counting::default();
    let all = policy.counted(&call.facts(peek));
    let at = moment(call, &all, &dimensions, meter);
    for counted in all {
        let Some(counter) = call.account.counter(counted.budget, &dimensions, &call.snapshot, meter) else { continue };
        let budget = &policy.budgets[counted.budget];
        let ring = budget.span.ring();
        let window = match ring {
            Some(ring) => counter.bucket(at, ring),
            None => counter.window(call.now, || policy.window(counted.budget, call.now)),
        };
        let Some(limit) = counted.limit else {
            counting.unlimited.push(window);
            continue;
        };
        let standing = match ring {
            Some(ring) => ring_standing(&counter, (counted.budget, budget, limit), ring, call.now),
            None => Standing {
                budget: counted.budget,
                limit,
                used: window.cell(budget.unit).used(),
                window: window.window(),
                decide_opened: window.decide_opened(),
            },
        };
        if let Some(ring) = ring {
            counting.rings.push((counting.standings.len(), counter, ring));
        }
        counting.standings.push(standing);
        counting.windows.push(window);
    }
    counting
}

/// The moment that buckets count the call at. Where another core has opened the next calendar window already, that window counts
/// it and its row says so: buckets must not say otherwise.
fn moment(call: &Call, all: &CountedBudgets, dimensions: &Dimensions<'_>, meter: &Meter) -> Timestamp {
    let policy = &call.snapshot.policy;
    let is_ring = |counted: &&Counted| policy.budgets[counted.budget].span.ring().is_some();
    if !all.iter().any(|counted| is_ring(&counted)) {
        return call.now;
    }
    let calendars = all.iter().filter(|counted| !is_ring(counted));
    let starts = calendars.filter_map(|counted| {
        let counter = call.account.counter(counted.budget, dimensions, &call.snapshot, meter)?;
        Some(counter.window(call.now, || policy.window(counted.budget, call.now)).window().start)
    });
    starts.fold(call.now, Ord::max)
}

/// Where a counter that is a sum of buckets stands. Nobody is ever asked about it.
pub(super) fn ring_standing(
    counter: &Counter,
    (index, budget, limit): (usize, &Budget, i64),
    ring: Ring,
    now: Timestamp,
) -> Standing {
    let (used, window) = counter.ring_standing(now, ring, (budget.unit, limit));
    Standing { budget: index, limit, used, window, decide_opened: None }
}
