//! Many random schedules, half of them of the kind that finds rare orders (PCT), of more threads than can be explored whole.
//!
//! `PLIMSOLL_SCHEDULES` is how many there are in all; without it few enough for every run of the checks.

use std::sync::Arc;

use plimsoll_models::call::{Attempt, Budget, Denied, Holds};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use shuttle::{check_pct, check_random, thread};

/// How many models share the schedules.
const MODELS: usize = 4;

/// Half of a model's schedules are random, half follow priorities that change at three points.
fn explore(model: impl Fn() + Clone + Send + Sync + 'static) {
    let all = std::env::var("PLIMSOLL_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let half = usize::max(all / MODELS / 2, 1);
    check_random(model.clone(), half);
    check_pct(model, half, 3);
}

fn crowd(size: usize, body: impl Fn(usize) + Send + Sync + 'static) {
    let body = Arc::new(body);
    let threads: Vec<_> = (0..size)
        .map(|index| {
            let body = Arc::clone(&body);
            thread::spawn(move || body(index))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

// Mutations: load and store instead of either compare-and-swap.
#[test]
fn a_crowd_never_holds_more_than_the_ceiling_or_the_lease() {
    explore(|| {
        let (by_ceiling, by_lease) = (Budget::leased(100), Budget::leased(10));
        let (few, fewer) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (one, other) = (Arc::clone(&by_ceiling), Arc::clone(&by_lease));
        let (won_one, won_other) = (Arc::clone(&few), Arc::clone(&fewer));
        crowd(6, move |_| {
            for (budget, ceiling, won) in [(&one, 10, &won_one), (&other, 100, &won_other)] {
                if let Ok(holds) = Holds::take(&[(budget, ceiling)], 3) {
                    won.fetch_add(1, Ordering::Relaxed);
                    holds.doubt();
                }
                assert!(budget.cell.committed() <= 10);
            }
        });
        assert_eq!((few.load(Ordering::Relaxed), fewer.load(Ordering::Relaxed)), (3, 3));
        assert_eq!((by_ceiling.cell.used(), by_ceiling.lease.free()), (9, 91));
        assert_eq!((by_lease.cell.used(), by_lease.lease.free()), (9, 1));
    });
}

// Mutations: `take_free` without swap; `add` with load and store; a grant that is not added.
#[test]
fn granted_is_free_and_held_and_settled_and_returned() {
    explore(|| {
        let budget = Budget::leased(4);
        let (granted, returned) = (Arc::new(AtomicI64::new(4)), Arc::new(AtomicI64::new(0)));
        let (own, give, back) = (Arc::clone(&budget), Arc::clone(&granted), Arc::clone(&returned));
        crowd(6, move |index| match index {
            0 => {
                back.fetch_add(own.lease.take_free(), Ordering::Relaxed);
            }
            _ => {
                let mut taken = Holds::take(&[(&own, 1_000)], 3);
                if let Err(Denied::Lease) = taken {
                    // What the store does for a call that waits: write it down, then bring it.
                    give.fetch_add(5, Ordering::Relaxed);
                    own.lease.grant(5, 0);
                    taken = Holds::take(&[(&own, 1_000)], 3);
                }
                let Ok(holds) = taken else { return };
                match index {
                    1 => drop(holds),
                    2 => holds.doubt(),
                    3 => holds.settle(5),
                    _ => holds.settle(1),
                }
            }
        });
        let spent = budget.cell.used();
        let covered = granted.load(Ordering::Relaxed) - budget.lease.free() - returned.load(Ordering::Relaxed);
        // A cost of 5 on a hold of 3 is debt of 2 that no lease covers.
        assert!(spent - covered == 0 || spent - covered == 2, "{spent} spent, {covered} covered");
        assert_eq!(budget.held(), 0);
    });
}

// Mutations: the roll-back is forgotten; the lease's part is kept on a refusal.
#[test]
fn calls_on_three_budgets_leak_nothing() {
    explore(|| {
        let budgets = [Budget::leased(100), Budget::leased(100), Budget::leased(100)];
        let own = budgets.clone();
        crowd(5, move |index| {
            // The second has room for one call at a time, and loses it for good when one has settled.
            let asks = [(&own[0], 30), (&own[1], 5), (&own[2], 30)];
            let asks = if index % 2 == 0 { &asks[..] } else { &asks[1..] };
            match Holds::take(asks, 4) {
                Ok(holds) if index < 3 => holds.settle(1),
                Ok(holds) => drop(holds),
                Err(denied) => assert!(matches!(denied, Denied::Ceiling(_))),
            }
        });
        for budget in &budgets {
            assert_eq!((budget.held(), budget.lease.free() + budget.cell.used()), (0, 100));
        }
        assert!(budgets[1].cell.used() <= 2 && budgets[0].cell.used() <= budgets[1].cell.used());
    });
}

// Mutation: `Attempt::close` looks at the reservation without taking it out.
#[test]
fn c11_a_crowd_that_closes_the_same_books_writes_one_row() {
    explore(|| {
        let budget = Budget::leased(10);
        let attempt = Arc::new(Mutex::new(Attempt::of(Holds::take(&[(&budget, 10)], 8).unwrap())));
        let own = Arc::clone(&attempt);
        crowd(5, move |index| own.lock().unwrap().close((index > 1).then_some(3)));
        let used = budget.cell.used();
        assert!(used == 3 || used == 8, "{used}");
        assert_eq!((attempt.lock().unwrap().rows, budget.held(), budget.lease.free() + used), (1, 0, 10));
    });
}
