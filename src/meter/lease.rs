//! What this node may still spend of one hard counter without asking the store.
//!
//! The store wrote every lease down before it came here. A hold is taken from the free part first, so whatever a call in flight
//! may cost is durable before the call leaves; after a crash what was leased and not settled is in doubt. At every moment
//! leased in the store = free + held + settled here and not yet written there. It never waits and knows no limit: that is
//! the cell's part.

use super::atomic::{AtomicI64, Ordering};

/// The free part of what the store has leased.
///
/// `Relaxed` suffices for the same reason as in the cell: one atomic has one order of changes, and nothing else is published
/// through it. That the grant is durable is ordered by the channel that brings it.
#[derive(Debug, Default)]
pub struct Lease {
    free: AtomicI64,
    /// Below this much free it is time to ask for more; 0 while that was done, or is no use.
    low: AtomicI64,
}

impl Lease {
    /// Takes `amount` for a hold, or says how much is missing. A negative amount takes nothing.
    pub fn try_take(&self, amount: i64) -> Result<(), i64> {
        let amount = amount.max(0);
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            if free < amount {
                return Err(amount - free.max(0));
            }
            match self.free.compare_exchange_weak(free, free - amount, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(seen) => free = seen,
            }
        }
    }

    /// A hold ended and this part of it was not spent.
    pub fn give_back(&self, amount: i64) {
        self.add(amount.max(0));
    }

    /// The store has durably leased so much more; below `low` free, it is time for the next.
    pub fn grant(&self, amount: i64, low: i64) {
        self.add(amount.max(0));
        self.low.store(low, Ordering::Relaxed);
    }

    /// Whether to ask for more before somebody has to wait for it: one caller is told so between two grants.
    pub fn wants_more(&self) -> bool {
        let low = self.low.load(Ordering::Relaxed);
        low > 0 && self.free() < low && self.low.swap(0, Ordering::Relaxed) > 0
    }

    /// Takes everything that is free, to be returned to the store.
    pub fn take_free(&self) -> i64 {
        self.free.swap(0, Ordering::Relaxed).max(0)
    }

    /// What is free.
    pub fn free(&self) -> i64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Grants are bounded by the limits of budgets, so the sum stays far inside the range.
    fn add(&self, amount: i64) {
        self.free.fetch_add(amount, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_takes_what_is_leased_and_nothing_more() {
        let lease = Lease::default();
        assert_eq!(lease.try_take(5), Err(5));
        lease.grant(8, 0);
        assert_eq!(lease.try_take(5), Ok(()));
        assert_eq!(lease.try_take(5), Err(2));
        lease.give_back(2);
        assert_eq!(lease.try_take(5), Ok(()));
        assert_eq!(lease.free(), 0);
    }

    #[test]
    fn one_caller_asks_for_more_between_two_grants() {
        let lease = Lease::default();
        assert!(!lease.wants_more());
        lease.grant(8, 4);
        assert!(!lease.wants_more());
        lease.try_take(5).unwrap();
        assert!(lease.wants_more());
        assert!(!lease.wants_more());
        lease.grant(1, 8);
        assert!(lease.wants_more());
    }

    #[test]
    fn what_is_returned_cannot_be_taken_any_more() {
        let lease = Lease::default();
        lease.grant(8, 0);
        assert_eq!(lease.take_free(), 8);
        assert_eq!((lease.take_free(), lease.try_take(1)), (0, Err(1)));
        assert_eq!(lease.try_take(-3), Ok(()));
    }
}
