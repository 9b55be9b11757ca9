//! Every interleaving, and every value that a relaxed load may see, of two or three threads on the meter's atomics.

use loom::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use plimsoll_models::call::{Attempt, Budget, Denied, Holds};
use plimsoll_models::cell::{Cell, Refused};
use plimsoll_models::lease::Lease;

/// Runs a model with a bound on involuntary switches: three threads would take hours without one.
fn bounded(switches: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(model);
}

fn spawn<T: 'static>(shared: &Arc<T>, body: impl FnOnce(&T) + 'static) -> thread::JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || body(&shared))
}

// Mutation: load and store instead of the compare-and-swap in `Cell::try_hold`.
#[test]
fn a_hold_never_passes_the_ceiling() {
    bounded(4, || {
        let cell = Arc::new(Cell::default());
        let won = Arc::new(AtomicUsize::new(0));
        let racer = |cell: &Arc<Cell>| {
            let won = Arc::clone(&won);
            spawn(cell, move |cell| {
                if cell.try_hold(4, 10).is_ok() {
                    won.fetch_add(1, Ordering::SeqCst);
                }
                assert!(cell.committed() <= 10);
            })
        };
        let racers = [racer(&cell), racer(&cell)];
        let mine = usize::from(cell.try_hold(4, 10).is_ok());
        racers.into_iter().for_each(|racer| racer.join().unwrap());
        assert_eq!(won.load(Ordering::SeqCst) + mine, 2, "two of three fit");
        assert_eq!(cell.committed(), 8);
    });
}

// Mutation: load and store instead of the compare-and-swap in `Lease::try_take`.
#[test]
fn a_hold_never_takes_more_than_was_leased() {
    bounded(4, || {
        let lease = Arc::new(Lease::default());
        lease.grant(10, 0);
        let taken = Arc::new(AtomicI64::new(0));
        let racer = |lease: &Arc<Lease>| {
            let taken = Arc::clone(&taken);
            spawn(lease, move |lease| match lease.try_take(4) {
                Ok(()) => {
                    taken.fetch_add(4, Ordering::SeqCst);
                }
                Err(missing) => assert!((1..=4).contains(&missing)),
            })
        };
        let racers = [racer(&lease), racer(&lease)];
        let mine = if lease.try_take(4).is_ok() { 4 } else { 0 };
        racers.into_iter().for_each(|racer| racer.join().unwrap());
        assert_eq!(taken.load(Ordering::SeqCst) + mine, 8, "two of three fit");
        assert_eq!(lease.free(), 2);
    });
}

// Mutations: `take_free` reads and then stores 0 instead of swapping; `add` loads and stores.
#[test]
fn racing_take_return_and_grant_lose_and_make_nothing() {
    loom::model(|| {
        let lease = Arc::new(Lease::default());
        lease.grant(5, 0);
        let settled = Arc::new(AtomicI64::new(0));
        let caller = {
            let settled = Arc::clone(&settled);
            spawn(&lease, move |lease| {
                // A call that holds 3 and costs 1.
                if lease.try_take(3).is_ok() {
                    lease.give_back(2);
                    settled.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let writer = spawn(&lease, |lease| lease.grant(4, 0));
        let returned = lease.take_free();
        caller.join().unwrap();
        writer.join().unwrap();
        assert_eq!(9, lease.free() + settled.load(Ordering::SeqCst) + returned, "granted = free + settled + returned");
        assert_eq!(lease.take_free() + returned + settled.load(Ordering::SeqCst), 9);
    });
}

// Mutation: `wants_more` stores 0 instead of swapping.
#[test]
fn one_caller_asks_ahead_between_two_grants() {
    bounded(4, || {
        let lease = Arc::new(Lease::default());
        lease.grant(9, 4);
        lease.try_take(6).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let caller = |lease: &Arc<Lease>| {
            let asked = Arc::clone(&asked);
            spawn(lease, move |lease| {
                asked.fetch_add(usize::from(lease.wants_more()), Ordering::SeqCst);
            })
        };
        let callers = [caller(&lease), caller(&lease)];
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    });
}

// Mutation: `settle` adds `cost` without taking `hold` off `committed`; `add` loads and stores.
#[test]
fn a_settlement_races_a_release_and_a_new_hold() {
    bounded(3, || {
        let cell = Arc::new(Cell::default());
        cell.try_hold(6, 10).unwrap();
        cell.try_hold(4, 10).unwrap();
        let settling = spawn(&cell, |cell| cell.settle(6, 5));
        let releasing = spawn(&cell, |cell| cell.release(4));
        // 10 are held before, 5 are posted after: a hold of 5 may be refused, but never as one that would not fit.
        let held = match cell.try_hold(5, 10) {
            Ok(()) => 5,
            Err(Refused::Held) => 0,
            Err(Refused::Full) => panic!("5 of 10 were free of postings at all times"),
        };
        settling.join().unwrap();
        releasing.join().unwrap();
        assert_eq!((cell.used(), cell.committed()), (5, 5 + held));
        assert_eq!(cell.try_hold(5 - held, 10), Ok(()), "what was free at rest was not free");
    });
}

// Mutation: `post` leaves `committed` alone.
#[test]
fn doubt_and_its_evidence_race_a_new_hold() {
    bounded(3, || {
        let cell = Arc::new(Cell::default());
        cell.try_hold(6, 10).unwrap();
        cell.post(2);
        let doubting = spawn(&cell, |cell| {
            cell.settle(6, 6);
            cell.post(1 - 6);
        });
        let won = cell.try_hold(7, 10).is_ok();
        doubting.join().unwrap();
        assert_eq!(cell.used(), 3);
        assert_eq!(cell.committed(), if won { 10 } else { 3 });
    });
}

/// Two budgets. Of the second, calls that ask for 5 fit one at a time.
type Two = (std::sync::Arc<Budget>, std::sync::Arc<Budget>);

fn two() -> Arc<Two> {
    Arc::new((Budget::leased(20), Budget::leased(20)))
}

fn both(budgets: &Two) -> [(&std::sync::Arc<Budget>, i64); 2] {
    [(&budgets.0, 10), (&budgets.1, 5)]
}

// Mutations: `Holds::drop` releases nothing; `Holds::take` keeps the lease's part when the ceiling refuses.
#[test]
fn a_call_on_two_budgets_leaks_nothing_when_the_second_refuses() {
    bounded(3, || {
        let budgets = two();
        let call = |budgets: &Two| {
            if let Ok(holds) = Holds::take(&both(budgets), 5) {
                holds.settle(5);
            }
        };
        let other = spawn(&budgets, call);
        call(&budgets);
        other.join().unwrap();
        // Whoever meets the second budget first gets in; the other one is refused there and gives the first one back.
        for budget in [&budgets.0, &budgets.1] {
            assert_eq!((budget.cell.used(), budget.held(), budget.lease.free()), (5, 0, 15));
        }
    });
}

// Mutation: as above.
#[test]
fn a_false_refusal_in_the_gap_of_a_roll_back_is_allowed_and_more_is_not() {
    bounded(3, || {
        let budgets = two();
        budgets.1.cell.post(5);
        let failing = spawn(&budgets, |budgets| {
            assert!(matches!(Holds::take(&both(budgets), 6), Err(Denied::Ceiling(_))));
        });
        // Needs the first budget only, of which the failing call holds 6 of 10 for a moment.
        let won = Holds::take(&[(&budgets.0, 10)], 5).map(|holds| holds.settle(5)).is_ok();
        failing.join().unwrap();
        let posted = if won { 5 } else { 0 };
        assert_eq!((budgets.0.cell.committed(), budgets.0.lease.free()), (posted, 20 - posted));
        assert_eq!((budgets.1.cell.committed(), budgets.1.lease.free()), (5, 20));
        assert!(Holds::take(&[(&budgets.0, 10)], 5).is_ok(), "at rest the room is there");
    });
}

// Mutation: `Attempt::close` looks at the reservation without taking it out.
#[test]
fn c11_settlements_that_race_make_one_terminal_event() {
    bounded(3, || {
        let budget = Budget::leased(10);
        let attempt = Attempt::of(Holds::take(&[(&budget, 10)], 8).unwrap());
        // The product has one owner (`&mut self`), which moves; the lock gives the model's threads the same.
        let attempt = Arc::new(Mutex::new(attempt));
        let drain = spawn(&attempt, |attempt| attempt.lock().unwrap().close(Some(3)));
        let stop = spawn(&attempt, |attempt| attempt.lock().unwrap().close(None));
        // A call that fits only if the hold is gone, and not if it is given back twice.
        let next = Holds::take(&[(&budget, 10)], 7);
        drain.join().unwrap();
        stop.join().unwrap();
        assert_eq!(attempt.lock().unwrap().rows, 1, "one row");
        drop(next);
        let used = budget.cell.used();
        assert!(used == 3 || used == 8, "{used}");
        assert_eq!((budget.held(), budget.lease.free() + used), (0, 10));
    });
}
