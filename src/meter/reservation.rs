//! What a call holds and counts, from admission to settlement.
//!
//! A [`Reservation`] carries every window that counts its call, with a hold where a hard budget asks for one. It posts to
//! each window exactly once; dropped without settlement it leaves no trace. It does not know prices or policies.

use std::sync::Arc;

use smallvec::SmallVec;

use super::cell;
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
    pub why: Misfit,
}

/// Why a hold does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// It would fit if the calls in flight held nothing: trying again soon may succeed.
    Held,
    /// It would not fit even then.
    Full,
    /// It fits below the ceiling, and the store has not leased so much yet.
    Unleased {
        /// How much more must be leased.
        missing: i64,
    },
}

impl From<cell::Refused> for Misfit {
    fn from(refused: cell::Refused) -> Self {
        match refused {
            cell::Refused::Held => Self::Held,
            cell::Refused::Full => Self::Full,
        }
    }
}

/// A window that counted a call, and how much of that a lease had covered.
#[derive(Debug, Clone)]
pub struct Posting {
    /// The counter.
    pub counter: Arc<WindowCounter>,
    /// The part of what was posted that came out of the lease. The rest was never held: a call outside the promise of a
    /// hard budget, or debt.
    pub covered: Amounts,
}

/// Every window that counted a call.
pub type Postings = SmallVec<[Posting; 4]>;

/// Counts a call that has ended in one more window, unless it counted there: a later policy brought it.
///
/// A counter that a policy dropped and brought back is another one in memory, which has to be told, and the same one in the
/// ledger; so it takes the place of the first.
pub fn count_also(postings: &mut Postings, counter: &Arc<WindowCounter>, amounts: Amounts, in_doubt: bool) {
    if postings.iter().any(|known| Arc::ptr_eq(&known.counter, counter)) {
        return;
    }
    for unit in Unit::ALL {
        // That a request was made is never in doubt.
        counter.cell(unit).count(amounts[unit.index()], in_doubt && unit != Unit::Requests);
    }
    match postings.iter_mut().find(|known| known.counter.is_same(counter)) {
        Some(known) => known.counter = Arc::clone(counter),
        None => postings.push(Posting { counter: Arc::clone(counter), covered: [0; 3] }),
    }
}

/// A window that counts the call, and what the call holds of it.
#[derive(Debug)]
struct Line {
    counter: Arc<WindowCounter>,
    held: Amounts,
    covered: Amounts,
    /// Requests that were counted at admission.
    requests: i64,
}

impl Line {
    fn release(&mut self) {
        for unit in Unit::ALL {
            let held = std::mem::take(&mut self.held[unit.index()]);
            if held != 0 {
                self.counter.cell(unit).release(held);
                self.counter.lease(unit).give_back(held);
            }
        }
        // The call was admitted as a request and never left: no row will say so.
        let requests = std::mem::take(&mut self.requests);
        if requests != 0 {
            self.counter.cell(Unit::Requests).post(-requests);
            self.counter.lease(Unit::Requests).give_back(self.covered[Unit::Requests.index()]);
        }
    }

    /// Ends the hold of a unit: `post` does it in the cell, and what was not spent goes back to the lease.
    fn close(&mut self, unit: Unit, spent: i64, post: impl Fn(&cell::Cell, i64)) {
        let held = std::mem::take(&mut self.held[unit.index()]);
        post(self.counter.cell(unit), held);
        let covered = spent.clamp(0, held);
        self.covered[unit.index()] = covered;
        if held > covered {
            self.counter.lease(unit).give_back(held - covered);
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
    fn take(&mut self, ask: &Ask<'_>) -> Result<(), Misfit> {
        let line = self.line(ask.counter);
        let Some(hold) = ask.hold else { return Ok(()) };
        let (cell, taken) = (line.counter.cell(hold.unit), &mut line.held[hold.unit.index()]);
        let amount = hold.amount.max(0);
        let missing = amount.saturating_sub(*taken).max(0);
        // The whole hold decides whether the call would ever fit, also when a part of it is taken already.
        let misfit = || Misfit::from(cell.refusal(amount, hold.ceiling));
        let lease = line.counter.lease(hold.unit);
        if let Err(short) = lease.try_take(missing) {
            let fits = cell.committed().checked_add(missing).is_some_and(|sum| sum <= hold.ceiling);
            return Err(if fits { Misfit::Unleased { missing: short } } else { misfit() });
        }
        cell.try_hold(missing, hold.ceiling).map_err(|_| {
            lease.give_back(missing);
            misfit()
        })?;
        *taken += missing;
        Ok(())
    }

    fn line(&mut self, counter: &Arc<WindowCounter>) -> &mut Line {
        let known = self.lines.iter().position(|line| Arc::ptr_eq(&line.counter, counter));
        let index = known.unwrap_or_else(|| {
            self.lines.push(Line { counter: Arc::clone(counter), held: [0; 3], covered: [0; 3], requests: 0 });
            self.lines.len() - 1
        });
        &mut self.lines[index]
    }

    /// The call is admitted: a logical request is counted now, unless the reservation is dropped. Call it once.
    pub fn admit(&mut self, logical: bool) {
        for line in &mut self.lines {
            let requests = i64::from(logical);
            line.close(Unit::Requests, requests, |cell, held| cell.settle(held, requests));
            line.requests = requests;
        }
    }

    /// The call is over: `actual` money and tokens are posted to every window, in place of what was held. More than was held
    /// is posted as debt. The requests of `actual` are not read: they were counted at admission.
    pub fn settle(mut self, actual: Amounts) -> Postings {
        self.finish(actual, cell::Cell::settle)
    }

    /// The call is over and nobody knows what it cost: `charged` money and tokens are in doubt in every window.
    pub fn doubt(mut self, charged: Amounts) -> Postings {
        self.finish(charged, cell::Cell::doubt)
    }

    fn finish(&mut self, amounts: Amounts, post: impl Fn(&cell::Cell, i64, i64)) -> Postings {
        for line in &mut self.lines {
            for unit in [Unit::Money, Unit::Tokens] {
                let amount = amounts[unit.index()];
                line.close(unit, amount, |cell, held| post(cell, held, amount));
            }
        }
        self.lines.drain(..).map(|line| Posting { counter: line.counter, covered: line.covered }).collect()
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
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::window::Window;

    /// A counter with more leased than any limit here.
    fn window() -> Arc<WindowCounter> {
        let counter = WindowCounter::new(Window::EVER);
        for unit in Unit::ALL {
            counter.lease(unit).grant(LEASED, 0);
        }
        Arc::new(counter)
    }

    const LEASED: i64 = 1_000_000;

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
            calls in prop::collection::vec((0_u8..3, 0_i64..60, 0_i64..90, any::<bool>()), 1..60),
        ) {
            let (hard, harder, soft) = (window(), window(), window());
            let (mut posted, mut open) = (0, Vec::new());
            let mut covered = HashMap::new();
            let mut tally = |postings: Postings| {
                for Posting { counter, covered: part } in postings {
                    *covered.entry(Arc::as_ptr(&counter)).or_insert(0) += part[0];
                }
            };
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
                        1 => { tally(reservation.settle([cost, 0, 0])); posted += cost; }
                        _ => { tally(reservation.doubt([cost, 0, 0])); posted += cost; }
                    },
                }
            }
            drop(open);
            for counter in [&hard, &harder, &soft] {
                prop_assert_eq!(money(counter), (posted, posted));
                // What a lease covered is spent of it, and everything else is free again.
                prop_assert_eq!(counter.lease(Unit::Money).free(), LEASED - covered.get(&Arc::as_ptr(counter)).unwrap_or(&0));
            }
        }
    }
}
