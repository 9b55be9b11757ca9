//! Decide, then reserve: the policy judges the call on what is posted, the hold is priced from that decision, and one
//! compare-and-swap per hard budget takes it.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::domain::money::Money;
use crate::domain::price::PriceRow;
use crate::domain::standing::Unit;
use crate::ledger::{Ledger, Wanted};
use crate::meter::reservation::{self, Ask, Misfit, Reservation};
use crate::policy::budget::Budget;
use crate::policy::decision::{Actions, Block, Decision};
use crate::policy::evaluate;
use crate::policy::plan::{Exposure, OnNoFit, OnUnpricedModel};
use crate::wire::{Operation, Peek};

use super::Gateway;
use super::announce;
use super::call::Call;
use super::counting::{Counting, count};
use super::refuse::Refused;

/// A clamp writes at least this many output tokens, unless the client asked for fewer.
const SMALLEST_CLAMP: u64 = 256;
/// What bounds an input that the body only refers to, for a model whose context window is not known.
const UNKNOWN_CONTEXT: u64 = 2_000_000;
/// What is held at most for a model whose output limit is not known.
const UNKNOWN_OUTPUT: u64 = 32_768;
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

impl Admission {
    /// Asks for more of a lease that runs low, before a call has to wait for it.
    pub(super) fn ask_ahead(&self, call: &Call, ledger: &Ledger) {
        for (standing, window) in self.counted.standings.iter().zip(&self.counted.windows) {
            let unit = call.snapshot.policy.budgets[standing.budget].unit;
            let ceiling = self.decision.ceilings.iter().find(|ceiling| ceiling.budget == standing.budget);
            let Some(ceiling) = ceiling.filter(|_| window.lease(unit).wants_more()) else { continue };
            let need = self.reservation.held(unit).max(1);
            ledger.lease_ahead(Wanted { counter: window.clone(), unit, need, ceiling: ceiling.at });
        }
    }
}

/// Decides a call and reserves what it may cost.
pub(super) fn admit(call: &Call, peek: &Peek<'_>, gateway: &Gateway) -> Result<Box<Admission>, Turned> {
    let counting = count(call, peek, &gateway.meter);
    announce::crossed(gateway, call, &counting, || call.now);
    let mut decision = evaluate(&call.snapshot.policy, &call.facts(peek), &counting.standings);
    if !can_cost(call.operation) {
        // Lists, deletions and token counts are free: no rule is about them.
        decision = Decision { states: decision.states, ..Decision::default() };
    }
    if !has_output(call.operation) {
        (decision.actions.cap, decision.actions.cap_kept_thinking) = (None, false);
    }
    if let Some(block) = &decision.actions.block {
        return Err(Turned::Away(Box::new((blocked(call, block, &decision, false), decision))));
    }
    if let Some(excess) = decision.actions.tool_output {
        return Err(Turned::Away(Box::new((Refused::tool_output(excess), decision))));
    }
    match reserve(call, peek, &mut decision, &counting) {
        Ok(held) => Ok(Box::new(Admission {
            model_served: decision.actions.route.clone().or_else(|| call.model.clone()),
            cap: held.clamp.or_else(|| cap_to_write(peek, &decision, held.price.as_deref())),
            reservation: held.reservation,
            price: held.price,
            clamped: held.clamp.is_some(),
            decision,
            counted: counting,
        })),
        Err(Unheld::Lease(wanted)) => Err(Turned::Lease(wanted)),
        Err(Unheld::Refused(refused)) => Err(Turned::Away(Box::new((refused, decision)))),
    }
}

/// The policy's cap; and for a cheaper model that allows less than the client asked for, what it allows.
fn cap_to_write(peek: &Peek<'_>, decision: &Decision, price: Option<&PriceRow>) -> Option<u64> {
    let allowed = price.and_then(|price| price.max_output).filter(|_| decision.actions.route.is_some());
    let asked = decision.actions.cap.or(peek.cap);
    match (asked, allowed) {
        (Some(asked), Some(allowed)) if asked > allowed => Some(allowed),
        _ => decision.actions.cap,
    }
}

struct Held {
    reservation: Reservation,
    price: Option<Arc<PriceRow>>,
    clamp: Option<u64>,
}

fn reserve(call: &Call, peek: &Peek<'_>, decision: &mut Decision, counting: &Counting) -> Result<Held, Unheld> {
    let model = decision.actions.route.as_ref().or(call.model.as_ref());
    let price = model.and_then(|model| call.price_of(model)).cloned();
    let defaults = &call.snapshot.policy.defaults;
    if price.is_none() && call.bills() && defaults.on_unpriced_model == OnUnpricedModel::Reject {
        return Err(Refused::unpriced(call).into());
    }
    if decision.ceilings.is_empty() || !can_cost(call.operation) {
        let asks: SmallVec<[Ask<'_>; 4]> = counting.windows.iter().chain(&counting.unlimited).map(Ask::count).collect();
        let reservation = reservation::reserve(&asks).map_err(|_| Refused::internal())?;
        return Ok(Held { reservation, price, clamp: None });
    }
    if matches!(call.operation, Operation::Unmetered) || peek.deferred {
        return Err(Refused::unmetered(call).into());
    }
    let Some(row) = &price else { return Err(Refused::unpriced(call).into()) };
    let hold = Hold { call, peek, price: row, actions: &decision.actions };
    let wanted = hold.output_cap();
    let unbounded = wanted.is_none();
    let wanted = wanted.or((defaults.on_no_fit == OnNoFit::Reject).then_some(UNKNOWN_OUTPUT));
    let full = wanted.map(|cap| hold.take(cap, decision, counting));
    let refused = match full {
        Some(Ok(reservation)) => {
            // A model without a known maximum is held to what was reserved for it.
            let clamp = unbounded.then_some(UNKNOWN_OUTPUT);
            return Ok(Held { reservation, price, clamp });
        }
        Some(Err(NoHold::Lease(wanted))) => return Err(Unheld::Lease(wanted)),
        _ if defaults.on_no_fit == OnNoFit::Reject => {
            hold.refusal(wanted.unwrap_or(SMALLEST_CLAMP), decision, counting)?
        }
        _ => match hold.clamp(wanted, decision, counting) {
            Ok((reservation, clamp)) => {
                let first = decision.ceilings.first().map(|ceiling| ceiling.budget);
                decision.actions.budget = decision.actions.budget.or(first);
                return Ok(Held { reservation, price, clamp: Some(clamp) });
            }
            Err(unheld) => unheld?,
        },
    };
    let (refused, block) = refused;
    if let Some(block) = block {
        decision.actions.budget = Some(block.budget);
        decision.actions.block = Some(block);
    }
    Err(refused.into())
}

fn has_output(operation: Operation) -> bool {
    matches!(operation, Operation::Known(dialect) if dialect.has_output())
}

/// Whether a call of this kind can cost money.
pub(super) fn can_cost(operation: Operation) -> bool {
    match operation {
        Operation::Known(dialect) => dialect.bills(),
        Operation::Free => false,
        Operation::Unmetered => true,
    }
}

/// A refusal for want of money, and the block that it is when nothing that comes back would help.
type Blocked = (Refused, Option<Block>);

/// The arithmetic of one call's hold.
struct Hold<'a> {
    call: &'a Call,
    peek: &'a Peek<'a>,
    price: &'a PriceRow,
    actions: &'a Actions,
}

type Taken = Result<Reservation, NoHold>;

/// Why nothing is held.
enum NoHold {
    /// It does not fit into this budget.
    Misfit(usize, Misfit),
    /// It fits, once the store has leased this.
    Lease(Wanted),
}

/// Why a call does not go, or not yet.
pub(super) enum Turned {
    /// It is refused, by this decision.
    Away(Box<(Refused, Decision)>),
    /// It has to be judged again when this is leased.
    Lease(Wanted),
}

/// The same before the decision is added.
enum Unheld {
    Refused(Refused),
    Lease(Wanted),
}

impl From<Refused> for Unheld {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Hold<'_> {
    /// The output tokens per choice that the request as decided may produce. `None`: nothing bounds them.
    fn output_cap(&self) -> Option<u64> {
        if !has_output(self.call.operation) {
            return Some(0);
        }
        match (self.actions.cap.or(self.peek.cap), self.price.max_output) {
            (Some(cap), Some(maximum)) => Some(cap.min(maximum)),
            (cap, maximum) => cap.or(maximum),
        }
    }

    fn input_bound(&self) -> u64 {
        if self.peek.input_by_reference {
            self.price.context.unwrap_or(UNKNOWN_CONTEXT).max(self.peek.input_bound)
        } else {
            self.peek.input_bound
        }
    }

    /// The hold in a budget's unit for `cap` output tokens per choice.
    fn amount(&self, unit: Unit, cap: u64) -> i64 {
        let output = cap.saturating_mul(self.peek.choices.max(1));
        match unit {
            Unit::Money => self.price.bound(self.input_bound(), output).map_or(i64::MAX, Money::nano),
            Unit::Tokens => i64::try_from(self.input_bound().saturating_add(output)).unwrap_or(i64::MAX),
            Unit::Requests => 1,
        }
    }

    fn take(&self, cap: u64, decision: &Decision, counting: &Counting) -> Taken {
        let mut asks: SmallVec<[Ask<'_>; 4]> = SmallVec::new();
        for (standing, window) in counting.standings.iter().zip(&counting.windows) {
            let ceiling = decision.ceilings.iter().find(|ceiling| ceiling.budget == standing.budget);
            asks.push(match ceiling {
                None => Ask::count(window),
                Some(ceiling) => {
                    let unit = self.call.snapshot.policy.budgets[ceiling.budget].unit;
                    Ask::hold(window, unit, self.amount(unit, cap), ceiling.at)
                }
            });
        }
        // They come last: an ask that holds nothing is never refused.
        asks.extend(counting.unlimited.iter().map(Ask::count));
        reservation::reserve(&asks).map_err(|refused| self.misfit(refused, decision, counting))
    }

    fn misfit(&self, refused: reservation::Refusal, decision: &Decision, counting: &Counting) -> NoHold {
        let budget = counting.standings[refused.ask].budget;
        let Misfit::Unleased { missing } = refused.why else { return NoHold::Misfit(budget, refused.why) };
        let ceiling = decision.ceilings.iter().find(|ceiling| ceiling.budget == budget);
        NoHold::Lease(Wanted {
            counter: counting.windows[refused.ask].clone(),
            unit: self.call.snapshot.policy.budgets[budget].unit,
            need: missing,
            ceiling: ceiling.map_or(i64::MAX, |ceiling| ceiling.at),
        })
    }

    /// Writes an output cap of what still fits, above what the request thinks with.
    fn clamp(
        &self,
        wanted: Option<u64>,
        decision: &Decision,
        counting: &Counting,
    ) -> Result<(Reservation, u64), Result<Blocked, Unheld>> {
        let wanted = wanted.unwrap_or(UNKNOWN_OUTPUT);
        let thinking = self.peek.thinking_budget.map_or(0, |budget| budget.saturating_add(1));
        let least = SMALLEST_CLAMP.min(self.peek.cap.unwrap_or(u64::MAX)).min(wanted).max(thinking);
        for _ in 0..CLAMP_TRIES {
            let fitting = self.fitting(decision, counting).min(wanted);
            if fitting < least {
                break;
            }
            match self.take(fitting, decision, counting) {
                Ok(reservation) => return Ok((reservation, fitting)),
                Err(NoHold::Lease(wanted)) => return Err(Err(Unheld::Lease(wanted))),
                Err(NoHold::Misfit(..)) => {}
            }
        }
        Err(self.refusal(least, decision, counting))
    }

    /// The largest output cap whose hold fits below every ceiling now.
    fn fitting(&self, decision: &Decision, counting: &Counting) -> u64 {
        let mut fitting = u64::MAX;
        for ceiling in &decision.ceilings {
            let Some(at) = counting.standings.iter().position(|standing| standing.budget == ceiling.budget) else {
                continue;
            };
            let unit = self.call.snapshot.policy.budgets[ceiling.budget].unit;
            let free = ceiling.at.saturating_sub(counting.windows[at].cell(unit).committed());
            fitting = fitting.min(self.largest_cap(unit, free));
        }
        fitting
    }

    /// The largest cap with `amount(unit, cap) <= free`, by bisection over the monotone hold.
    fn largest_cap(&self, unit: Unit, free: i64) -> u64 {
        if unit == Unit::Requests {
            return if free >= 1 { u64::MAX } else { 0 };
        }
        let (mut low, mut high) = (0_u64, 1_u64 << 24);
        if self.amount(unit, high) <= free {
            return high;
        }
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.amount(unit, middle) <= free { low = middle } else { high = middle }
        }
        low
    }

    /// The refusal of a call whose hold does not fit (ruling 4): retryable when only the holds of others are in the way.
    fn refusal(&self, cap: u64, decision: &Decision, counting: &Counting) -> Result<Blocked, Unheld> {
        let budget = match self.take(cap, decision, counting) {
            Err(NoHold::Misfit(budget, Misfit::Full)) => budget,
            Err(NoHold::Lease(wanted)) => return Err(Unheld::Lease(wanted)),
            Ok(_) | Err(NoHold::Misfit(..)) => return Ok((Refused::reserved(self.call, decision), None)),
        };
        let block = self.block(budget, counting);
        Ok((blocked(self.call, &block, decision, true), Some(block)))
    }

    /// The block that the budget's own ladder speaks of.
    fn block(&self, budget: usize, counting: &Counting) -> Block {
        let policy = &self.call.snapshot.policy;
        let standing = counting.standings.iter().find(|standing| standing.budget == budget);
        let rung = policy.budgets.get(budget).and_then(|budget| budget.ladder.rungs.iter().find(|rung| rung.blocks()));
        let plan = policy.plan(&self.call.account.tenant);
        let message = rung.and_then(|rung| rung.message.clone());
        Block {
            budget,
            resets_at: standing.map_or(self.call.now, |standing| standing.window.end),
            status: rung.map_or(429, |rung| rung.status),
            message: message.or_else(|| plan.and_then(|plan| plan.message.clone())),
        }
    }
}

fn blocked(call: &Call, block: &Block, decision: &Decision, fits_never: bool) -> Refused {
    // How full a shared budget is would tell one customer about others.
    let policy = &call.snapshot.policy;
    let shown = policy.defaults.expose_to_clients.budget != Exposure::Never;
    let own = shown && policy.budgets.get(block.budget).is_some_and(Budget::is_per_tenant);
    let state = decision.states.iter().find(|state| state.budget == block.budget).filter(|_| own);
    Refused::blocked(call, block, state.map(|state| state.used_percent), fits_never)
}
