//! What a call holds and counts, from admission to settlement.
//!
//! A [`Reservation`] carries every window that counts its call, with a hold where a hard budget asks for one. It posts to
//! each window exactly once; dropped without settlement it leaves no trace. It does not know prices or policies.

use smallvec::SmallVec;

use super::cell;
use super::counter::WindowCounter;
use crate::domain::standing::{Amounts, Unit};
use crate::domain::window::Window;

/// One budget that counts the call.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The budget's counter in the window of the call.
    pub counter: &'a WindowCounter,
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
    pub fn count(counter: &'a WindowCounter) -> Self {
        Self { counter, hold: None }
    }

    /// Counts the call and holds `amount` within `ceiling`.
    pub fn hold(counter: &'a WindowCounter, unit: Unit, amount: i64, ceiling: i64) -> Self {
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
    pub counter: WindowCounter,
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
pub fn count_also(postings: &mut Postings, counter: &WindowCounter, amounts: Amounts) {
    if postings.iter().any(|known| known.counter.is(counter)) {
        return;
    }
    for unit in Unit::ALL {
        counter.cell(unit).post(amounts[unit.index()]);
    }
    match postings.iter_mut().find(|known| known.counter.is_same(counter)) {
        Some(known) => known.counter = counter.clone(),
        None => postings.push(Posting { counter: counter.clone(), covered: [0; 3] }),
    }
}

/// A window that counts the call, and what the call holds of it.
#[derive(Debug)]
struct Line {
    counter: WindowCounter,
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
            let covered = self.covered[Unit::Requests.index()];
            if covered != 0 {
                self.counter.lease(Unit::Requests).give_back(covered);
            }
        }
    }

    /// Ends the hold of a unit: what was not spent goes back to the lease.
    fn close(&mut self, unit: Unit, spent: i64) {
        let held = std::mem::take(&mut self.held[unit.index()]);
        self.counter.cell(unit).settle(held, spent);
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

/// Whether a budget with room for one call admits one and refuses the second: asked at every start, before anything is
/// admitted.
pub fn holds_the_line() -> bool {
    let counter = WindowCounter::new(Window::EVER);
    counter.lease(Unit::Requests).grant(2, 0);
    let ask = [Ask::hold(&counter, Unit::Requests, 1, 1)];
    let first = reserve(&ask);
    first.is_ok() && reserve(&ask).is_err()
}

/// Money, tokens and requests held for a call in flight, and the windows that will count it.
#[derive(Debug, Default)]
#[must_use = "a reservation that is dropped gives its holds back"]
pub struct Reservation {
    lines: SmallVec<[Line; 4]>,
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

    fn line(&mut self, counter: &WindowCounter) -> &mut Line {
        let known = self.lines.iter().position(|line| line.counter.is(counter));
        let index = known.unwrap_or_else(|| {
            self.lines.push(Line { counter: counter.clone(), held: [0; 3], covered: [0; 3], requests: 0 });
            self.lines.len() - 1
        });
        &mut self.lines[index]
    }

    /// The call is admitted: a logical request is counted now, unless the reservation is dropped. Call it once.
    pub fn admit(&mut self, logical: bool) {
        for line in &mut self.lines {
            let requests = i64::from(logical);
            line.close(Unit::Requests, requests);
            line.requests = requests;
        }
    }

    /// The call is over: `actual` money and tokens are posted to every window, in place of what was held. More than was held
    /// is posted as debt. What is charged because nobody knows the cost is posted like what is known. The requests of `actual`
    /// are not read: they were counted at admission.
    pub fn settle(mut self, actual: Amounts) -> Postings {
        for line in &mut self.lines {
            for unit in [Unit::Money, Unit::Tokens] {
                line.close(unit, actual[unit.index()]);
            }
        }
        self.lines.drain(..).map(|line| Posting { counter: line.counter, covered: line.covered }).collect()
    }

    /// What is held in a unit, at most over all windows.
    pub fn held(&self, unit: Unit) -> i64 {
        self.lines.iter().map(|line| line.held[unit.index()]).max().unwrap_or(0)
    }

    /// The windows that count the call.
    pub fn windows(&self) -> impl Iterator<Item = &WindowCounter> {
        self.lines.iter().map(|line| &line.counter)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.lines.iter_mut().rev().for_each(Line::release);
    }
}

#[cfg(test)]
mod tests;
