//! One budget's books and one call's hold on several of them, in the order in which the product touches its atomics.

use std::sync::Arc;

use crate::cell::{Cell, Refused};
use crate::lease::Lease;

/// A hard budget in one window on one node.
#[derive(Debug, Default)]
pub struct Budget {
    /// What is used and held.
    pub cell: Cell,
    /// What may be held without asking the store.
    pub lease: Lease,
}

impl Budget {
    /// A budget of which the store has leased `amount`.
    pub fn leased(amount: i64) -> Arc<Self> {
        let budget = Self::default();
        budget.lease.grant(amount, 0);
        Arc::new(budget)
    }

    /// What is held. Exact at rest only.
    pub fn held(&self) -> i64 {
        self.cell.committed() - self.cell.used()
    }
}

/// Why a call was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The lease is short: the store has to be asked.
    Lease,
    /// The ceiling is in the way.
    Ceiling(Refused),
}

/// What a call holds. Dropped, it gives everything back, last taken first.
#[derive(Debug, Default)]
pub struct Holds {
    lines: Vec<(Arc<Budget>, i64)>,
}

impl Holds {
    /// Takes `amount` of every budget or of none; each has its ceiling. The order of `asks` is one for all callers.
    pub fn take(asks: &[(&Arc<Budget>, i64)], amount: i64) -> Result<Self, Denied> {
        let mut holds = Self::default();
        for (budget, ceiling) in asks {
            budget.lease.try_take(amount).map_err(|_| Denied::Lease)?;
            if let Err(refused) = budget.cell.try_hold(amount, *ceiling) {
                budget.lease.give_back(amount);
                return Err(Denied::Ceiling(refused));
            }
            holds.lines.push((Arc::clone(budget), amount));
        }
        Ok(holds)
    }

    /// The call is over and cost this much.
    pub fn settle(mut self, cost: i64) {
        for (budget, held) in self.lines.drain(..) {
            budget.cell.settle(held, cost);
            budget.lease.give_back(held - cost);
        }
    }

    /// The call is over and nobody knows what it cost: all that was held stays charged.
    pub fn doubt(mut self) {
        for (budget, held) in self.lines.drain(..) {
            budget.cell.settle(held, held);
        }
    }
}

impl Drop for Holds {
    fn drop(&mut self) {
        for (budget, held) in self.lines.drain(..).rev() {
            budget.cell.release(held);
            budget.lease.give_back(held);
        }
    }
}

/// An attempt's books. The tap, the drain that goes on after the client left, and the drop of a stopping gateway all come to
/// close them; whoever takes the reservation out does.
#[derive(Debug)]
pub struct Attempt {
    reservation: Option<Holds>,
    /// The terminal events that were written.
    pub rows: usize,
}

impl Attempt {
    /// The books of a call that is about to leave.
    pub fn of(holds: Holds) -> Self {
        Self { reservation: Some(holds), rows: 0 }
    }

    /// Closes the books, or does nothing when they are closed. `None`: nobody knows the cost.
    pub fn close(&mut self, cost: Option<i64>) {
        let Some(holds) = self.reservation.take() else { return };
        self.rows += 1;
        match cost {
            Some(cost) => holds.settle(cost),
            None => holds.doubt(),
        }
    }
}
