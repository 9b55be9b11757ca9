//! Decide, then reserve: the policy judges the call on what is posted, the hold is priced from that decision, and one
//! compare-and-swap per hard budget takes it.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::domain::money::Money;
use crate::domain::price::PriceRow;
use crate::domain::standing::{Standing, Standings, Unit};
use crate::meter::Meter;
use crate::meter::cell::Refused as Misfit;
use crate::meter::counter::WindowCounter;
use crate::meter::reservation::{self, Ask, Reservation};
use crate::policy::decision::{Actions, Block, Decision};
use crate::policy::evaluate;
use crate::policy::plan::OnNoFit;
use crate::wire::{Operation, Peek};

use super::Gateway;
use super::announce;
use super::call::Call;
use super::refuse::Refused;

/// A clamp writes at least this many output tokens, unless the client asked for fewer.
const SMALLEST_CLAMP: u64 = 256;
/// What bounds an input that the body only refers to, for a model whose context window is not known.
const UNKNOWN_CONTEXT: u64 = 2_000_000;
/// How often a clamp is tried again when other calls take what was free.
const CLAMP_TRIES: usize = 4;

/// A call that may go, with the money it may cost held.
pub(super) struct Admission {
    pub(super) decision: Decision,
    pub(super) counted: Counting,
    pub(super) reservation: Reservation,
    /// The model to ask for.
    pub(super) model_served: Option<Arc<str>>,
    pub(super) price: Option<Arc<PriceRow>>,
    /// The limit on output tokens to write, when the request's own does not stand.
    pub(super) cap: Option<u64>,
    /// `cap` was written so that the hold fits.
    pub(super) clamped: bool,
}

/// The counters of a call, and where they stood.
#[derive(Default)]
pub(super) struct Counting {
    pub(super) standings: Standings,
    pub(super) windows: SmallVec<[Arc<WindowCounter>; 8]>,
}

/// Reads every counter that counts the call.
pub(super) fn count(call: &Call, peek: &Peek<'_>, meter: &Meter) -> Counting {
    let policy = &call.snapshot.policy;
    let dimensions = call.dimensions();
    let mut counting = Counting::default();
    for counted in policy.counted(&call.facts(peek)) {
        let Some(counter) = call.account.counter(counted.budget, &dimensions, &call.snapshot, meter) else { continue };
        let window = counter.window(call.now, || policy.window(counted.budget, call.now));
        counting.standings.push(Standing {
            budget: counted.budget,
            limit: counted.limit,
            used: window.cell(policy.budgets[counted.budget].unit).used(),
            window: window.window(),
            decide_opened: window.decide_opened(),
        });
        counting.windows.push(window);
    }
    counting
}

/// Decides a call and reserves what it may cost.
pub(super) fn admit(call: &Call, peek: &Peek<'_>, gateway: &Gateway) -> Result<Admission, Box<(Refused, Decision)>> {
    let counting = count(call, peek, &gateway.meter);
    announce::crossed(gateway, call, &counting);
    let decision = evaluate(&call.snapshot.policy, &call.facts(peek), &counting.standings);
    if let Some(block) = &decision.actions.block {
        return Err(Box::new((blocked(call, block, &decision, &counting), decision)));
    }
    match reserve(call, peek, &decision, &counting) {
        Ok(held) => Ok(Admission {
            model_served: decision.actions.route.clone().or_else(|| call.model.clone()),
            reservation: held.reservation,
            price: held.price,
            cap: held.clamp.or(decision.actions.cap),
            clamped: held.clamp.is_some(),
            decision,
            counted: counting,
        }),
        Err(refused) => Err(Box::new((refused, decision))),
    }
}

struct Held {
    reservation: Reservation,
    price: Option<Arc<PriceRow>>,
    clamp: Option<u64>,
}

fn reserve(call: &Call, peek: &Peek<'_>, decision: &Decision, counting: &Counting) -> Result<Held, Refused> {
    let model = decision.actions.route.as_ref().or(call.model.as_ref());
    let price = model.and_then(|model| {
        call.snapshot.prices.find(&call.provider.name, call.provider.family.as_str(), model).cloned()
    });
    if decision.ceilings.is_empty() || !can_cost(call.operation) {
        let asks: SmallVec<[Ask<'_>; 8]> = counting.windows.iter().map(Ask::count).collect();
        let reservation = reservation::reserve(&asks).map_err(|_| Refused::internal())?;
        return Ok(Held { reservation, price, clamp: None });
    }
    if matches!(call.operation, Operation::Unmetered) {
        return Err(Refused::unmetered(call));
    }
    let hold = Hold { call, peek, price: price.as_deref(), actions: &decision.actions };
    let wanted = hold.output_cap();
    let full = wanted.map(|cap| hold.take(cap, decision, counting)).transpose()?;
    match full {
        Some(Ok(reservation)) => Ok(Held { reservation, price, clamp: None }),
        _ if call.snapshot.policy.defaults.on_no_fit == OnNoFit::Reject => {
            Err(hold.refusal(wanted.unwrap_or(SMALLEST_CLAMP), decision, counting))
        }
        _ => {
            let (reservation, clamp) = hold.clamp(wanted, decision, counting)?;
            Ok(Held { reservation, price, clamp: Some(clamp) })
        }
    }
}

fn can_cost(operation: Operation) -> bool {
    match operation {
        Operation::Known(dialect) => dialect.bills(),
        Operation::Free => false,
        Operation::Unmetered => true,
    }
}

/// The arithmetic of one call's hold.
struct Hold<'a> {
    call: &'a Call,
    peek: &'a Peek<'a>,
    price: Option<&'a PriceRow>,
    actions: &'a Actions,
}

type Taken = Result<Reservation, (usize, Misfit)>;

impl Hold<'_> {
    /// The output tokens per choice that the request as decided may produce. `None`: nothing bounds them.
    fn output_cap(&self) -> Option<u64> {
        if !self.has_output() {
            return Some(0);
        }
        let model_maximum = self.price.and_then(|price| price.max_output);
        match (self.actions.cap.or(self.peek.cap), model_maximum) {
            (Some(cap), Some(maximum)) => Some(cap.min(maximum)),
            (cap, maximum) => cap.or(maximum),
        }
    }

    /// Embeddings answer with vectors, not tokens.
    fn has_output(&self) -> bool {
        self.price.is_none_or(|price| price.output > 0)
    }

    fn input_bound(&self) -> u64 {
        if self.peek.input_by_reference {
            self.price.and_then(|price| price.context).unwrap_or(UNKNOWN_CONTEXT).max(self.peek.input_bound)
        } else {
            self.peek.input_bound
        }
    }

    /// The hold in a budget's unit for `cap` output tokens per choice.
    fn amount(&self, unit: Unit, cap: u64) -> Result<i64, Refused> {
        let output = cap.saturating_mul(self.peek.choices.max(1));
        match unit {
            Unit::Money => {
                let price = self.price.ok_or_else(|| Refused::unpriced(self.call))?;
                price.bound(self.input_bound(), output).map(Money::nano).ok_or_else(Refused::internal)
            }
            Unit::Tokens => i64::try_from(self.input_bound().saturating_add(output)).map_err(|_| Refused::internal()),
            Unit::Requests => Ok(1),
        }
    }

    fn take(&self, cap: u64, decision: &Decision, counting: &Counting) -> Result<Taken, Refused> {
        let mut asks: SmallVec<[Ask<'_>; 8]> = SmallVec::new();
        for (standing, window) in counting.standings.iter().zip(&counting.windows) {
            let ceiling = decision.ceilings.iter().find(|ceiling| ceiling.budget == standing.budget);
            asks.push(match ceiling {
                None => Ask::count(window),
                Some(ceiling) => {
                    let unit = self.call.snapshot.policy.budgets[ceiling.budget].unit;
                    Ask::hold(window, unit, self.amount(unit, cap)?, ceiling.at)
                }
            });
        }
        Ok(reservation::reserve(&asks).map_err(|refused| (counting.standings[refused.ask].budget, refused.why)))
    }

    /// Lowers the output cap to what still fits.
    fn clamp(
        &self,
        wanted: Option<u64>,
        decision: &Decision,
        counting: &Counting,
    ) -> Result<(Reservation, u64), Refused> {
        let wanted = wanted.unwrap_or(u64::MAX);
        let least = SMALLEST_CLAMP.min(self.peek.cap.unwrap_or(u64::MAX)).min(wanted);
        for _ in 0..CLAMP_TRIES {
            let fitting = self.fitting(decision, counting)?.min(wanted);
            if !self.has_output() || fitting < least || self.starves_thinking(fitting) {
                break;
            }
            if let Ok(reservation) = self.take(fitting, decision, counting)? {
                return Ok((reservation, fitting));
            }
        }
        Err(self.refusal(least, decision, counting))
    }

    /// A cap at or below the thinking budget is an error at the provider, so no clamp goes there.
    fn starves_thinking(&self, cap: u64) -> bool {
        self.peek.thinking_budget.is_some_and(|budget| cap <= budget)
    }

    /// The largest output cap whose hold fits below every ceiling now.
    fn fitting(&self, decision: &Decision, counting: &Counting) -> Result<u64, Refused> {
        let mut fitting = u64::MAX;
        for ceiling in &decision.ceilings {
            let Some(at) = counting.standings.iter().position(|standing| standing.budget == ceiling.budget) else {
                continue;
            };
            let unit = self.call.snapshot.policy.budgets[ceiling.budget].unit;
            let free = ceiling.at.saturating_sub(counting.windows[at].cell(unit).committed());
            fitting = fitting.min(self.largest_cap(unit, free)?);
        }
        Ok(fitting)
    }

    /// The largest cap with `amount(unit, cap) <= free`, by bisection over the monotone hold.
    fn largest_cap(&self, unit: Unit, free: i64) -> Result<u64, Refused> {
        if unit == Unit::Requests {
            return Ok(if free >= 1 { u64::MAX } else { 0 });
        }
        let (mut low, mut high) = (0_u64, 1_u64 << 24);
        if self.amount(unit, high)? <= free {
            return Ok(high);
        }
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.amount(unit, middle)? <= free { low = middle } else { high = middle }
        }
        Ok(low)
    }

    /// The refusal of a call whose hold does not fit (ruling 4): retryable when only the holds of others are in the way.
    fn refusal(&self, cap: u64, decision: &Decision, counting: &Counting) -> Refused {
        match self.take(cap, decision, counting) {
            Err(refused) => refused,
            Ok(Err((_, Misfit::Held)) | Ok(_)) => Refused::reserved(self.call, decision),
            Ok(Err((budget, Misfit::Full))) => {
                let resets_at = counting
                    .standings
                    .iter()
                    .find(|standing| standing.budget == budget)
                    .map_or(self.call.now, |standing| standing.window.end);
                let block = Block { budget, resets_at, status: 429, message: None };
                blocked(self.call, &block, decision, counting)
            }
        }
    }
}

fn blocked(call: &Call, block: &Block, decision: &Decision, counting: &Counting) -> Refused {
    let used_percent =
        decision.states.iter().find(|state| state.budget == block.budget).map(|state| state.used_percent);
    let _ = counting;
    Refused::blocked(call, block, used_percent)
}
