//! One counter of one unit in one window: what is used, and what is held.
//!
//! The only compare-and-swap loop of the meter is [`Cell::try_hold`]. It decides on one number, `committed`, so two racing
//! calls cannot both take the last dollar. Nothing here waits, allocates or knows what the amounts stand for.

use super::atomic::{AtomicI64, Ordering};

/// A counter in its window.
///
/// Every access is `Relaxed`: a cell publishes no other memory, and read-modify-writes of one atomic have one total order
/// whatever their ordering.
#[derive(Debug, Default)]
pub struct Cell {
    /// What was settled, and what is charged until evidence arrives: the ledger tells them apart.
    used: AtomicI64,
    /// Used plus held. Invariant at rest: held = the sum of live holds.
    committed: AtomicI64,
}

/// Why a hold does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It would fit if the calls in flight held nothing: trying again soon may succeed.
    Held,
    /// It would not fit even then.
    Full,
}

impl Cell {
    /// Takes `amount` if everything committed then stays within `ceiling` (inclusive). A negative amount is refused.
    pub fn try_hold(&self, amount: i64, ceiling: i64) -> Result<(), Refused> {
        if amount < 0 {
            return Err(Refused::Full);
        }
        let mut committed = self.committed.load(Ordering::Relaxed);
        loop {
            let Some(next) = committed.checked_add(amount).filter(|next| *next <= ceiling) else {
                return Err(self.refusal(amount, ceiling));
            };
            match self.committed.compare_exchange_weak(committed, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(seen) => committed = seen,
            }
        }
    }

    /// Why a call that needs `amount` in all does not fit.
    pub(super) fn refusal(&self, amount: i64, ceiling: i64) -> Refused {
        let fits = self.used().checked_add(amount).is_some_and(|sum| sum <= ceiling);
        if fits { Refused::Held } else { Refused::Full }
    }

    /// Replaces a hold by what the call cost. A cost above the hold is posted as debt: it may lift the cell over any ceiling
    /// and is never cut.
    pub fn settle(&self, hold: i64, cost: i64) {
        add(&self.used, cost);
        add(&self.committed, cost.saturating_sub(hold));
    }

    /// Gives a hold back.
    pub fn release(&self, hold: i64) {
        add(&self.committed, hold.saturating_neg());
    }

    /// Posts an amount that was not held: what a call cost, or how far evidence moves what was in doubt.
    pub fn post(&self, cost: i64) {
        self.settle(0, cost);
    }

    /// Posted plus in doubt, never holds: what ladder steps read.
    pub fn used(&self) -> i64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Used plus held.
    pub fn committed(&self) -> i64 {
        self.committed.load(Ordering::Relaxed)
    }
}

/// Adds without wrapping around: a sum beyond `i64` (nine billion dollars) stays at the end of the range, where every
/// further hold is refused.
fn add(cell: &AtomicI64, amount: i64) {
    let before = cell.fetch_add(amount, Ordering::Relaxed);
    if before.checked_add(amount).is_none() {
        cell.store(before.saturating_add(amount), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hold_fits_up_to_the_ceiling_and_not_beyond() {
        let cell = Cell::default();
        assert_eq!(cell.try_hold(60, 100), Ok(()));
        assert_eq!(cell.try_hold(40, 100), Ok(()));
        assert_eq!(cell.try_hold(1, 100), Err(Refused::Held));
        assert_eq!(cell.try_hold(101, 100), Err(Refused::Full));
        cell.settle(60, 60);
        assert_eq!(cell.try_hold(41, 100), Err(Refused::Full));
        cell.release(40);
        assert_eq!(cell.try_hold(40, 100), Ok(()));
    }

    #[test]
    fn a_cost_above_the_hold_is_debt() {
        let cell = Cell::default();
        cell.try_hold(10, 10).unwrap();
        cell.settle(10, 25);
        assert_eq!((cell.used(), cell.committed()), (25, 25));
        assert_eq!(cell.try_hold(0, 10), Err(Refused::Full));
    }

    #[test]
    fn what_is_in_doubt_counts_until_evidence_moves_it() {
        let cell = Cell::default();
        cell.try_hold(10, 10).unwrap();
        cell.settle(10, 10);
        assert_eq!((cell.used(), cell.committed()), (10, 10));
        cell.post(3 - 10);
        assert_eq!((cell.used(), cell.committed()), (3, 3));
        assert_eq!(cell.try_hold(7, 10), Ok(()));
    }

    #[test]
    fn sums_stop_at_the_end_of_the_range() {
        let cell = Cell::default();
        cell.post(i64::MAX);
        cell.post(5);
        assert_eq!((cell.used(), cell.committed()), (i64::MAX, i64::MAX));
        assert_eq!(cell.try_hold(1, i64::MAX), Err(Refused::Full));
        assert_eq!(cell.try_hold(-1, i64::MAX), Err(Refused::Full));
    }

    /// A thousand calls race for room for ten, again and again.
    #[test]
    fn racers_never_take_more_than_the_room() {
        const RACERS: usize = 1_000;
        let barrier = std::sync::Barrier::new(8);
        for round in 0..20 {
            let cell = Cell::default();
            let winners: usize = std::thread::scope(|scope| {
                let runs: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            (0..RACERS / 8).filter(|_| cell.try_hold(7, 70).is_ok()).count()
                        })
                    })
                    .collect();
                runs.into_iter().map(|run| run.join().expect("a racer")).sum()
            });
            assert_eq!(winners, 10, "round {round}");
            assert_eq!(cell.committed(), 70);
        }
    }

    /// The same with one thread per call.
    #[test]
    fn a_thousand_threads_never_take_more_than_the_room() {
        for _ in 0..3 {
            let cell = Cell::default();
            let winners = std::thread::scope(|scope| {
                let runs: Vec<_> = (0..1_000)
                    .map(|index| {
                        let cell = &cell;
                        scope.spawn(move || {
                            let won = cell.try_hold(1, 10).is_ok();
                            if won && index % 3 == 0 {
                                // A call that ends at its hold makes no room.
                                cell.settle(1, 1);
                            }
                            won
                        })
                    })
                    .collect();
                runs.into_iter().map(|run| run.join().expect("a racer")).filter(|won| *won).count()
            });
            assert_eq!(winners, 10);
        }
    }

    proptest! {
        /// Used + held = everything reserved - everything released, and no hold ever crosses the ceiling.
        #[test]
        fn what_is_committed_is_what_was_taken(steps in prop::collection::vec((0_u8..3, 0_i64..50, 0_i64..80), 1..200)) {
            let cell = Cell::default();
            let (mut held, mut posted) = (Vec::new(), 0_i64);
            for (step, hold, cost) in steps {
                match (step, held.pop()) {
                    (0, open) => {
                        held.extend(open);
                        let before = cell.committed();
                        match cell.try_hold(hold, 500) {
                            Ok(()) => held.push(hold),
                            Err(_) => prop_assert!(before + hold > 500),
                        }
                    }
                    (1, Some(open)) => { cell.settle(open, cost); posted += cost; }
                    (_, Some(open)) => cell.release(open),
                    (_, None) => { cell.post(cost); posted += cost; }
                }
                prop_assert_eq!(cell.used(), posted);
                prop_assert_eq!(cell.committed(), posted + held.iter().sum::<i64>());
            }
        }
    }
}
