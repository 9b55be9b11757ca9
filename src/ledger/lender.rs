//! How much is leased at a time, and when a lease goes back.
//!
//! A counter that asks again within a second gets twice as much, one that is quiet gets a few calls' worth, and never more
//! than half of what is left: a crash puts at most that in doubt, and a busy counter asks a few times a second at most.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
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
const FIRST_CALLS: i64 = 4;
/// No lease is doubled more often: 4,096 calls.
const MOST_DOUBLINGS: u8 = 10;

/// A lease that is needed.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Of which counter.
    pub counter: WindowCounter,
    /// Of which unit.
    pub unit: Unit,
    /// How much is missing.
    pub need: i64,
    /// What everything committed may not exceed.
    pub ceiling: i64,
}

/// The counters that have leases. There may be a hundred thousand, so little is kept of each.
#[derive(Debug)]
pub(super) struct Lender {
    began: Instant,
    lent: HashMap<Located, Lent>,
}

/// A counter by its address: one that a policy dropped and brought back is another one in memory.
#[derive(Debug)]
struct Located(WindowCounter);

impl PartialEq for Located {
    fn eq(&self, other: &Self) -> bool {
        self.0.is(&other.0)
    }
}

impl Eq for Located {}

impl Hash for Located {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.address().hash(state);
    }
}

#[derive(Debug)]
struct Lent {
    /// How often each unit's lease was doubled.
    doublings: [u8; 3],
    /// When it asked last, in tenths of a second since the lender began.
    asked: u32,
}

impl Lent {
    fn new(now: u32) -> Self {
        Self { doublings: [0; 3], asked: now }
    }

    fn quiet_for(&self, now: u32) -> Duration {
        Duration::from_millis(u64::from(now.saturating_sub(self.asked)) * 100)
    }

    fn asks_again(&mut self, unit: Unit, now: u32) {
        let quiet = self.quiet_for(now);
        let doublings = &mut self.doublings[unit.index()];
        if quiet < BUSY {
            *doublings = (*doublings + 1).min(MOST_DOUBLINGS);
        } else if quiet >= QUIET {
            *doublings = 0;
        }
        self.asked = now;
    }
}

impl Default for Lender {
    fn default() -> Self {
        Self { began: Instant::now(), lent: HashMap::new() }
    }
}

impl Lender {
    /// What to ask the store for.
    pub(super) fn grant(&mut self, wanted: &Wanted) -> Grant {
        let now = self.now();
        let known = self.lent.entry(Located(wanted.counter.clone()));
        let lent = known.and_modify(|lent| lent.asks_again(wanted.unit, now)).or_insert_with(|| Lent::new(now));
        let calls = FIRST_CALLS << lent.doublings[wanted.unit.index()];
        Grant {
            counter: wanted.counter.clone(),
            unit: wanted.unit,
            need: wanted.need,
            want: wanted.need.saturating_mul(calls),
            ceiling: wanted.ceiling,
        }
    }

    /// Tenths of a second since it began.
    fn now(&self) -> u32 {
        u32::try_from(self.began.elapsed().as_millis() / 100).unwrap_or(u32::MAX)
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
        let now = self.now();
        self.lent.retain(|Located(counter), lent| {
            let quiet = lent.quiet_for(now) >= QUIET;
            if quiet {
                back.extend(returns(counter));
            }
            // While somebody else holds it, calls in flight may still give something back.
            !quiet || counter.is_shared()
        });
        back
    }

    /// Everything that is free.
    pub(super) fn all(&mut self) -> Vec<Record> {
        self.lent.drain().flat_map(|(Located(counter), _)| returns(&counter)).collect()
    }
}

fn returns(counter: &WindowCounter) -> Vec<Record> {
    let back = Unit::ALL.into_iter().filter_map(|unit| {
        let amount = counter.lease(unit).take_free();
        (amount > 0).then(|| Record::Return { counter: counter.clone(), unit, amount })
    });
    back.collect()
}
