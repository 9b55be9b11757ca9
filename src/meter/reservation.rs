//! What a call holds and counts, from admission to settlement.
//!
//! A [`Reservation`] carries every window that counts its call, with a hold where a hard budget asks for one. It posts to
//! each window exactly once; dropped without settlement it gives its holds back. It does not know prices or policies.

use std::sync::Arc;

use smallvec::SmallVec;

use super::cell::Refused;
use super::counter::WindowCounter;
use crate::domain::standing::{Amounts, Unit};

/// One budget that counts the call.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The budget's counter in the window of the call.
    pub counter: &'a Arc<WindowCounter>,
    /// What is held, and within what.
    pub hold: Option<Hold>,
}

/// A hold that a hard budget asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The unit of the budget.
    pub unit: Unit,
    /// The most that the call can use.
    pub amount: i64,
    /// What posted, in doubt and held may not exceed together.
    pub ceiling: i64,
}

impl<'a> Ask<'a> {
    /// Counts the call and holds nothing.
    pub fn count(counter: &'a Arc<WindowCounter>) -> Self {
        Self { counter, hold: None }
    }

    /// Counts the call and holds `amount` within `ceiling`.
    pub fn hold(counter: &'a Arc<WindowCounter>, unit: Unit, amount: i64, ceiling: i64) -> Self {
        Self { counter, hold: Some(Hold { unit, amount, ceiling }) }
    }
}

/// A hold that did not fit. Nothing is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The index of the ask.
    pub ask: usize,
    /// Why.
    pub why: Refused,
}

/// A window that counts the call, and what the call holds of it.
#[derive(Debug)]
struct Line {
    counter: Arc<WindowCounter>,
    held: Amounts,
}

impl Line {
    fn release(&mut self) {
        for unit in Unit::ALL {
            let held = std::mem::take(&mut self.held[unit.index()]);
            if held != 0 {
                self.counter.cell(unit).release(held);
            }
        }
    }
}

/// Takes every hold or none. The asks come in one order for all callers (by budget): a racer may be refused because of a hold
/// that is about to be given back, but never admitted too much.
///
/// Budgets that share a counter are counted once; their holds must fit each one's ceiling and are taken once, at the largest.
pub fn reserve(asks: &[Ask<'_>]) -> Result<Reservation, Refusal> {
    let mut reservation = Reservation { lines: SmallVec::new() };
    for (index, ask) in asks.iter().enumerate() {
        // On refusal the reservation is dropped, and gives back in reverse what it has taken.
        reservation.take(ask).map_err(|why| Refusal { ask: index, why })?;
    }
    Ok(reservation)
}

/// Money, tokens and requests held for a call in flight, and the windows that will count it.
#[derive(Debug, Default)]
#[must_use = "a reservation that is dropped gives its holds back"]
pub struct Reservation {
    lines: SmallVec<[Line; 8]>,
}

impl Reservation {
    fn take(&mut self, ask: &Ask<'_>) -> Result<(), Refused> {
        let line = self.line(ask.counter);
        let Some(hold) = ask.hold else { return Ok(()) };
        let (cell, taken) = (line.counter.cell(hold.unit), &mut line.held[hold.unit.index()]);
        let amount = hold.amount.max(0);
        let missing = amount.saturating_sub(*taken).max(0);
        // The whole hold decides whether the call would ever fit, also when a part of it is taken already.
        cell.try_hold(missing, hold.ceiling).map_err(|_| cell.refusal(amount, hold.ceiling))?;
        *taken += missing;
        Ok(())
    }

    fn line(&mut self, counter: &Arc<WindowCounter>) -> &mut Line {
        let known = self.lines.iter().position(|line| Arc::ptr_eq(&line.counter, counter));
        let index = known.unwrap_or_else(|| {
            self.lines.push(Line { counter: Arc::clone(counter), held: [0; 3] });
            self.lines.len() - 1
        });
        &mut self.lines[index]
    }

    /// The call is admitted: a logical request is counted now, whatever becomes of it. Call it once.
    pub fn admit(&mut self, logical: bool) {
        for line in &mut self.lines {
            let held = std::mem::take(&mut line.held[Unit::Requests.index()]);
            line.counter.cell(Unit::Requests).settle(held, i64::from(logical));
        }
    }

    /// The call is over: `actual` money and tokens are posted to every window, in place of what was held. More than was held
    /// is posted as debt. The requests of `actual` are not read: they were counted at admission.
    pub fn settle(mut self, actual: Amounts) {
        self.finish(|line, unit, held| line.counter.cell(unit).settle(held, actual[unit.index()]));
    }

    /// The call is over and nobody knows what it cost: `charged` money and tokens are in doubt in every window.
    pub fn doubt(mut self, charged: Amounts) {
        self.finish(|line, unit, held| line.counter.cell(unit).doubt(held, charged[unit.index()]));
    }

    fn finish(&mut self, post: impl Fn(&Line, Unit, i64)) {
        for line in &mut self.lines {
            for unit in [Unit::Money, Unit::Tokens] {
                let held = std::mem::take(&mut line.held[unit.index()]);
                post(line, unit, held);
            }
        }
    }

    /// What is held in a unit, at most over all windows.
    pub fn held(&self, unit: Unit) -> i64 {
        self.lines.iter().map(|line| line.held[unit.index()]).max().unwrap_or(0)
    }

    /// The windows that count the call.
    pub fn windows(&self) -> impl Iterator<Item = &Arc<WindowCounter>> {
        self.lines.iter().map(|line| &line.counter)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.lines.iter_mut().rev().for_each(Line::release);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::window::Window;

    fn window() -> Arc<WindowCounter> {
        Arc::new(WindowCounter::new(Window::EVER))
    }

    fn money(counter: &WindowCounter) -> (i64, i64) {
        let cell = counter.cell(Unit::Money);
        (cell.used(), cell.committed())
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
    fn a_dropped_call_gives_back_its_holds_and_stays_a_request() {
        let hard = window();
        let mut reservation = reserve(&[Ask::hold(&hard, Unit::Money, 100, 100)]).unwrap();
        reservation.admit(true);
        drop(reservation);
        assert_eq!(money(&hard), (0, 0));
        assert_eq!(hard.cell(Unit::Requests).used(), 1);
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
        assert_eq!(reserve(&asks).unwrap_err(), Refusal { ask: 1, why: Refused::Full });
        assert_eq!((money(&first), money(&second), money(&third)), ((0, 0), (60, 60), (0, 0)));
    }

    #[test]
    fn debt_is_posted_and_doubt_is_charged() {
        let (hard, soft) = (window(), window());
        reserve(&[Ask::hold(&hard, Unit::Money, 10, 10), Ask::count(&soft)]).unwrap().settle([25, 0, 0]);
        assert_eq!((money(&hard), money(&soft)), ((25, 25), (25, 25)));
        reserve(&[Ask::hold(&hard, Unit::Money, 10, 100), Ask::count(&soft)]).unwrap().doubt([10, 4, 0]);
        assert_eq!((money(&hard), money(&soft)), ((35, 35), (35, 35)));
        assert_eq!(soft.cell(Unit::Money).in_doubt(), 10);
        assert_eq!(soft.cell(Unit::Tokens).in_doubt(), 4);
    }

    #[test]
    fn budgets_that_share_a_counter_hold_once_within_both_ceilings() {
        let shared = window();
        let both =
            |low, high| reserve(&[Ask::hold(&shared, Unit::Money, 80, high), Ask::hold(&shared, Unit::Money, 80, low)]);
        assert_eq!(both(79, 200).unwrap_err(), Refusal { ask: 1, why: Refused::Full });
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
            calls in prop::collection::vec((0_u8..3, 0_i64..60, 0_i64..90, any::<bool>()), 1..60),
        ) {
            let (hard, harder, soft) = (window(), window(), window());
            let (mut posted, mut open) = (0, Vec::new());
            for (end, hold, cost, first) in calls {
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
                    Ok(reservation) => match end {
                        0 => drop(reservation),
                        1 => { reservation.settle([cost, 0, 0]); posted += cost; }
                        _ => { reservation.doubt([cost, 0, 0]); posted += cost; }
                    },
                }
            }
            drop(open);
            for counter in [&hard, &harder, &soft] {
                prop_assert_eq!(money(counter), (posted, posted));
            }
        }
    }
}
