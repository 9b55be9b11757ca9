//! What an attempt is charged, however it ended: what the provider says, else what was heard and what may be billed beyond it.
//!
//! Never less than the provider may bill as far as anybody here can know, and never an estimate without saying so.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::money::Money;
use crate::domain::price::PriceRow;
use crate::domain::standing::Unit;
use crate::domain::usage::{Basis, Usage};
use crate::ledger::entry::Ending;
use crate::meter::reservation::Reservation;
use crate::wire::Operation;
use crate::wire::tap::Answer as Reading;

use super::settle::Attempt;

/// Output tokens that a provider may have made and billed when its stream is cut, and that were not seen here.
const IN_FLIGHT_TOKENS: u64 = 64;
/// Hidden reasoning that a model makes in a millisecond, at most.
const REASONED_PER_MS: u64 = 1;
/// How often a provider may fill its context or its output for one call: server-side tools take several rounds.
const MOST_ROUNDS: u64 = 16;
/// So many tokens of text are output, whatever the provider counts.
const SPOKEN_FOR_CERTAIN: u64 = 64;

/// What an answer cost.
pub(super) struct Bill {
    pub(super) usage: Usage,
    pub(super) basis: Basis,
    pub(super) cost: Option<Money>,
    pub(super) price: Option<Arc<PriceRow>>,
}

impl Bill {
    /// Nothing was used.
    pub(super) fn free(basis: Basis) -> Self {
        Self { usage: Usage::default(), basis, cost: Some(Money::ZERO), price: None }
    }
}

impl Attempt {
    /// Bills an attempt of which `reading` was read and about `seen_output` tokens of output passed.
    pub(super) fn bill(&self, reading: Option<&Reading>, seen_output: u64) -> Bill {
        match self.call.operation {
            Operation::Free => return Bill::free(Basis::Unmetered),
            Operation::Unmetered => return Bill { cost: None, ..Bill::free(Basis::Unmetered) },
            Operation::Known(dialect) if !dialect.bills() => return Bill::free(Basis::Exact),
            Operation::Known(_) => {}
        }
        let stated = reading.map(|reading| reading.usage).unwrap_or_default();
        if !self.dispatched.get() || (!stated.is_known() && !self.may_be_charged()) {
            return Bill::free(Basis::Exact);
        }
        let price = self.price_of(reading);
        let whole = reading.is_some_and(|reading| reading.complete);
        let heard = self.heard(seen_output, price.as_deref(), whole);
        let (usage, basis) = if let Some(nonsense) =
            reading.and_then(|reading| self.nonsense(reading, heard, price.as_deref()))
        {
            tracing::warn!(request_id = %self.call.id, provider = %self.call.provider.name, stated = ?stated, "a provider states a usage that cannot be; it is estimated");
            (nonsense, Basis::Estimated)
        } else if !stated.is_known() {
            (self.at_least(Usage::default(), heard), Basis::Estimated)
        } else if whole {
            (stated, Basis::Exact)
        } else {
            (self.at_least(stated, heard), Basis::Partial)
        };
        priced(usage, basis, price)
    }

    /// Whether an answer of this status may cost money although it says nothing. No answer at all may.
    fn may_be_charged(&self) -> bool {
        self.first_byte.is_none() || self.call.provider.billing.may_charge(self.status)
    }

    /// Whether the provider answered with something else than a success.
    fn failed(&self) -> bool {
        self.first_byte.is_some() && self.status >= 300
    }

    /// Output tokens of an answer that states none: what passed, and where its end is missing what was on its way, within
    /// the most that the request allows.
    fn heard(&self, seen: u64, price: Option<&PriceRow>, whole: bool) -> u64 {
        if self.failed() || whole {
            return seen;
        }
        // Hidden reasoning does not pass by; it is not made faster than this.
        let elapsed = if price.is_some_and(|price| price.reasoning) { self.left.elapsed() } else { Duration::ZERO };
        let hidden = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).saturating_mul(REASONED_PER_MS);
        let more = seen.saturating_add(IN_FLIGHT_TOKENS).saturating_add(hidden);
        more.min(self.most_output.unwrap_or(u64::MAX)).max(seen)
    }

    /// What to charge instead of a usage that cannot be true: numbers that are none, more output than the model can write or
    /// more input than it can read, no output where much was seen. Overrunning the request's own cap is no nonsense: the
    /// provider ignored it and bills it.
    fn nonsense(&self, reading: &Reading, heard: u64, price: Option<&PriceRow>) -> Option<Usage> {
        let stated = reading.usage;
        if reading.absurd {
            return Some(self.at_least(reading.remains, heard));
        }
        let writes = price.and_then(|price| price.max_output).map(|most| most.saturating_mul(self.choices.max(1)));
        let reads = price.and_then(|price| price.context);
        let wrote = beyond(stated.output, writes).then_some(self.most_output.or(writes)).flatten();
        let read = beyond(stated.input, reads).then_some(reads).flatten();
        let silent = reading.complete && stated.output == Some(0) && heard > SPOKEN_FOR_CERTAIN;
        (wrote.is_some() || read.is_some() || silent).then(|| {
            let input = read.map(|most| most.max(self.input_estimate)).or(stated.input);
            self.at_least(Usage { input, output: wrote.or(stated.output), ..stated }, heard)
        })
    }

    /// An answer that nobody heard to its end may cost more than what was heard. Where money is held for it, all of that stays
    /// charged until somebody knows better; where none is, and the provider bills on, the most that it may cost.
    pub(super) fn in_doubt(
        &self,
        bill: Bill,
        reading: Option<&Reading>,
        reservation: &Reservation,
        ending: Ending,
    ) -> Bill {
        if self.failed() || !matches!(bill.basis, Basis::Estimated | Basis::Partial) {
            return bill;
        }
        let billed_on = !self.heard_out && self.goes_on();
        if !billed_on && ending != Ending::UpstreamFailed {
            return bill;
        }
        let held = [Unit::Money, Unit::Tokens].map(|unit| reservation.held(unit).max(0));
        let is_held = held.iter().any(|held| *held > 0);
        let tokens = u64::try_from(held[1]).unwrap_or(0).saturating_sub(bill.usage.input.unwrap_or(0));
        let most = if billed_on { self.most_output.unwrap_or(0) } else { 0 };
        let output = bill.usage.output.unwrap_or(0).max(most).max(tokens);
        let usage = Usage { output: Some(output), ..bill.usage };
        // What is more than was heard is ours, not the provider's.
        let basis = if usage == bill.usage { bill.basis } else { Basis::Estimated };
        let charged = priced(usage, basis, self.price_of(reading));
        if !is_held {
            return charged;
        }
        Bill { basis: Basis::InDoubt, cost: charged.cost.max(Some(Money::from_nano(held[0]))), ..charged }
    }

    /// Whether the provider answers and bills to the end although the client has gone. A cancel ends streams only: what
    /// comes whole is made before its first byte.
    pub(super) fn goes_on(&self) -> bool {
        self.call.bills() && (self.call.provider.bills_after_cancel || !self.stream)
    }

    /// Prices follow the model that answered; where its name is unknown, the one that was asked for.
    fn price_of(&self, reading: Option<&Reading>) -> Option<Arc<PriceRow>> {
        let answered = reading.and_then(|reading| reading.model.as_deref());
        let (call, accounts) = (&self.call, &self.worker.accounts);
        let price = answered.and_then(|model| accounts.borrow_mut().price(&call.provider, model, &call.snapshot));
        price.or_else(|| self.admission.price.clone())
    }

    /// What was stated, and not less than was sent and heard.
    fn at_least(&self, stated: Usage, heard: u64) -> Usage {
        Usage {
            input: stated.input.or(Some(self.input_estimate)),
            output: Some(stated.output.unwrap_or(0).max(heard)),
            ..stated
        }
    }
}

/// Whether a count is more than all rounds of a call can come to.
fn beyond(stated: Option<u64>, most: Option<u64>) -> bool {
    stated.zip(most).is_some_and(|(stated, most)| stated > most.saturating_mul(MOST_ROUNDS))
}

/// A usage at its price.
fn priced(usage: Usage, basis: Basis, price: Option<Arc<PriceRow>>) -> Bill {
    Bill { usage, basis, cost: price.as_ref().and_then(|price| price.cost(&usage)), price }
}
