//! What a reservation owes its windows, whatever becomes of its call.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// A counter with more leased than any limit here.
fn window() -> WindowCounter {
    let counter = WindowCounter::new(Window::EVER);
    for unit in Unit::ALL {
        counter.lease(unit).grant(LEASED, 0);
    }
    counter
}

const LEASED: i64 = 1_000_000;

fn money(counter: &WindowCounter) -> (i64, i64) {
    let cell = counter.cell(Unit::Money);
    (cell.used(), cell.committed())
}

#[test]
fn c4_the_self_test_of_a_start_passes() {
    assert!(holds_the_line());
}

#[test]
fn a_settled_call_is_counted_once_everywhere() {
    let (hard, soft) = (window(), window());
    let mut reservation =
        reserve(&[Ask::hold(&hard, Unit::Money, 100, 100), Ask::count(&soft), Ask::count(&soft)]).unwrap();
    assert_eq!((money(&hard), money(&soft)), ((0, 100), (0, 0)));
    reservation.admit(true);
    assert_eq!((reservation.held(Unit::Money), reservation.windows().count()), (100, 2));
    reservation.settle([30, 7, 99]);
    for counter in [&hard, &soft] {
        assert_eq!(money(counter), (30, 30));
        assert_eq!(counter.cell(Unit::Tokens).used(), 7);
        assert_eq!(counter.cell(Unit::Requests).used(), 1);
    }
}

#[test]
fn a_dropped_call_leaves_no_trace() {
    let hard = window();
    let mut reservation = reserve(&[Ask::hold(&hard, Unit::Money, 100, 100)]).unwrap();
    reservation.admit(true);
    assert_eq!(hard.cell(Unit::Requests).used(), 1);
    drop(reservation);
    assert_eq!(money(&hard), (0, 0));
    assert_eq!(hard.cell(Unit::Requests).committed(), 0);
    assert_eq!(Unit::ALL.map(|unit| hard.lease(unit).free()), [LEASED; 3]);
}

#[test]
fn a_retry_is_no_new_request() {
    let quota = window();
    let mut reservation = reserve(&[Ask::hold(&quota, Unit::Requests, 1, 1)]).unwrap();
    reservation.admit(false);
    reservation.settle([0; 3]);
    assert_eq!(quota.cell(Unit::Requests).committed(), 0);
}

#[test]
fn a_refusal_names_the_ask_and_leaves_nothing() {
    let (first, second, third) = (window(), window(), window());
    second.cell(Unit::Money).post(60);
    let asks = [
        Ask::hold(&first, Unit::Money, 50, 100),
        Ask::hold(&second, Unit::Money, 50, 100),
        Ask::hold(&third, Unit::Money, 50, 100),
    ];
    assert_eq!(reserve(&asks).unwrap_err(), Refusal { ask: 1, why: Misfit::Full });
    assert_eq!((money(&first), money(&second), money(&third)), ((0, 0), (60, 60), (0, 0)));
}

#[test]
fn debt_is_posted_too() {
    let (hard, soft) = (window(), window());
    reserve(&[Ask::hold(&hard, Unit::Money, 10, 10), Ask::count(&soft)]).unwrap().settle([25, 0, 0]);
    assert_eq!((money(&hard), money(&soft)), ((25, 25), (25, 25)));
    reserve(&[Ask::hold(&hard, Unit::Money, 10, 100), Ask::count(&soft)]).unwrap().settle([10, 4, 0]);
    assert_eq!((money(&hard), money(&soft)), ((35, 35), (35, 35)));
    assert_eq!(soft.cell(Unit::Tokens).used(), 4);
}

#[test]
fn budgets_that_share_a_counter_hold_once_within_both_ceilings() {
    let shared = window();
    let both =
        |low, high| reserve(&[Ask::hold(&shared, Unit::Money, 80, high), Ask::hold(&shared, Unit::Money, 80, low)]);
    assert_eq!(both(79, 200).unwrap_err(), Refusal { ask: 1, why: Misfit::Full });
    assert_eq!(money(&shared), (0, 0));
    let reservation = both(80, 200).unwrap();
    assert_eq!(money(&shared), (0, 80));
    reservation.settle([80, 0, 0]);
    assert_eq!(money(&shared), (80, 80));
}

proptest! {
    /// Whatever happens to calls, nothing stays held and every window has counted exactly what was settled.
    #[test]
    fn holds_come_to_nothing_and_posts_add_up(
        calls in prop::collection::vec((any::<bool>(), 0_i64..60, 0_i64..90, any::<bool>()), 1..60),
    ) {
        let (hard, harder, soft) = (window(), window(), window());
        let (mut posted, mut open) = (0, Vec::new());
        let mut covered = HashMap::new();
        let mut tally = |postings: Postings| {
            for Posting { counter, covered: part } in postings {
                *covered.entry(counter.address()).or_insert(0) += part[0];
            }
        };
        for (dropped, hold, cost, first) in calls {
            let asks = [
                Ask::count(&soft),
                Ask::hold(&hard, Unit::Money, hold, 500),
                Ask::hold(&harder, Unit::Money, hold, 300),
            ];
            let before = (money(&hard).1, money(&harder).1);
            match reserve(&asks) {
                Err(refusal) => {
                    prop_assert!(refusal.ask > 0);
                    prop_assert_eq!((money(&hard).1, money(&harder).1), before);
                }
                Ok(reservation) if first => open.push(reservation),
                Ok(reservation) if dropped => drop(reservation),
                Ok(reservation) => {
                    tally(reservation.settle([cost, 0, 0]));
                    posted += cost;
                }
            }
        }
        drop(open);
        for counter in [&hard, &harder, &soft] {
            prop_assert_eq!(money(counter), (posted, posted));
            // What a lease covered is spent of it, and everything else is free again.
            prop_assert_eq!(counter.lease(Unit::Money).free(), LEASED - covered.get(&counter.address()).unwrap_or(&0));
        }
    }
}
