//! One call against the policy: what to do, why, until when. Pure: no clock, no map, no log line.
//!
//! Steps accumulate; per action the strictest of budgets, segment and plan wins; exceptions and `never:` subtract first.
//! Rules in dry run are judged by the same code into a second result that nothing acts on.

mod tally;

use crate::domain::attribution::Attribution;
use crate::domain::clock::Timestamp;
use crate::domain::content::Content;
use crate::domain::standing::Standing;
use crate::domain::tenant::Tenant;

use super::decision::{BudgetState, Ceiling, Decision, State, Step, StepSet};
use super::exception::{Exception, Never, active};
use super::ladder::{Ladder, Scope};
use super::{Mode, Policy};

use tally::{Call, Origin, Tally};

/// What evaluation needs to know about a call.
#[derive(Debug, Clone, Copy)]
pub struct CallFacts<'a> {
    /// The moment of the decision.
    pub now: Timestamp,
    /// Who pays.
    pub tenant: &'a Tenant,
    /// What the call says about itself.
    pub attribution: &'a Attribution,
    /// The provider's name.
    pub provider: &'a str,
    /// The model that is asked for.
    pub model: &'a str,
    /// The client's own limit on output tokens.
    pub cap: Option<u64>,
    /// The thinking budget that the client asks for, in tokens.
    pub thinking_budget: Option<u64>,
    /// Whether hidden reasoning counts toward the model's output, as the price table knows it.
    pub reasoning: bool,
    /// What the request carries.
    pub content: Content,
}

/// Judges a call. `standings` are those of the budgets that [`Policy::counted`] named; others are ignored.
pub fn evaluate(policy: &Policy, facts: &CallFacts<'_>, standings: &[Standing]) -> Decision {
    let segment = policy.segment(facts.tenant);
    let segment_never = segment.map(|segment| segment.never).unwrap_or_default();
    let call = Call::new(facts, policy.is_critical(&facts.attribution.endpoint_tag));
    let excepted = policy.exceptions_for(facts.tenant);
    let mut decision = Decision::default();
    let (mut enforced, mut dry) = (Tally::default(), Tally::default());
    for standing in standings {
        let Some(budget) = policy.budgets.get(standing.budget) else { continue };
        decision.states.push(budget_state(policy, standing, facts.now));
        let exceptions = Exceptions::of(excepted, facts.now, standing.budget, segment_never);
        let judged = judge(&call, &budget.ladder, standing, &exceptions);
        let ceiling = budget.is_exact().then(|| ceiling(&call, &budget.ladder, standing, &exceptions)).flatten();
        match budget.mode {
            Mode::Enforce => {
                enforced = enforced.stricter(judged);
                decision.ceilings.extend(ceiling.map(|at| Ceiling { budget: standing.budget, at }));
            }
            Mode::DryRun => dry = dry.stricter(judged),
        }
    }
    let always = standing_rules(policy, facts, &call, excepted);
    match policy.mode {
        Mode::Enforce => enforced = enforced.stricter(always),
        Mode::DryRun => dry = dry.stricter(always),
    }
    decision.ceilings.sort_unstable_by_key(|ceiling| ceiling.budget);
    let fallback = policy.plan(facts.tenant).and_then(|plan| plan.message.as_ref());
    decision.actions = enforced.actions(&call, fallback);
    decision.would = dry.beyond(&enforced, &call, fallback);
    decision
}

/// Thresholds that a budget has reached, whether or not they act on any call.
pub fn reached(policy: &Policy, budget: usize, standing: &Standing, now: Timestamp) -> StepSet {
    policy.budgets.get(budget).map(|budget| budget.ladder.reached(standing, now)).unwrap_or_default()
}

/// How a budget stands.
pub fn budget_state(policy: &Policy, standing: &Standing, now: Timestamp) -> BudgetState {
    let reached = reached(policy, standing.budget, standing, now);
    let state = if standing.used >= standing.limit {
        State::Exceeded
    } else if reached.contains(Step::Warning) {
        State::Warning
    } else {
        State::Ok
    };
    BudgetState { budget: standing.budget, state, used_percent: used_percent(standing), reached }
}

/// Whole percent, rounded down; a limit of nothing is used up.
fn used_percent(standing: &Standing) -> u32 {
    if standing.limit <= 0 {
        return 100;
    }
    let percent = i128::from(standing.used.max(0)) * 100 / i128::from(standing.limit);
    u32::try_from(percent).unwrap_or(u32::MAX)
}

/// What active exceptions change about one budget.
struct Exceptions<'p> {
    never: Never,
    ladder: Option<&'p Ladder>,
}

impl<'p> Exceptions<'p> {
    fn of(excepted: &'p [Exception], now: Timestamp, budget: usize, segment: Never) -> Self {
        let mut all = Self { never: segment, ladder: None };
        for exception in active(excepted, now).filter(|one| one.concerns(budget)) {
            all.never = all.never.or(exception.never);
            all.ladder = all.ladder.or(exception.ladder.as_ref());
        }
        all
    }
}

/// A budget's actions; with a swapped ladder, per action the gentler of the two.
fn judge<'p>(call: &Call<'p>, ladder: &'p Ladder, standing: &Standing, exceptions: &Exceptions<'p>) -> Tally<'p> {
    let own = climb(call, ladder, standing, exceptions.never);
    match exceptions.ladder {
        Some(other) => own.gentler(climb(call, other, standing, exceptions.never)),
        None => own,
    }
}

/// The actions of every step that is reached and acts on this tenant.
fn climb<'p>(call: &Call<'p>, ladder: &'p Ladder, standing: &Standing, never: Never) -> Tally<'p> {
    let mut tally = Tally::default();
    let reached = ladder.rungs.iter().filter(|rung| rung.at.is_reached(standing, call.now));
    for rung in reached.filter(|rung| rung.rollout.includes(call.tenant)) {
        let origin = Origin::of_rung(rung, standing);
        tally = tally.stricter(Tally::of(&rung.remedies, never, call, origin));
        if let Some(ask) = rung.ask.as_ref().filter(|_| rung.is_overdue(standing, call.now)) {
            tally = tally.stricter(Tally::of(&ask.otherwise, never, call, origin));
        }
    }
    tally
}

/// The amount that a hard budget may never exceed through this call.
fn ceiling(call: &Call<'_>, ladder: &Ladder, standing: &Standing, exceptions: &Exceptions<'_>) -> Option<i64> {
    if exceptions.never.block {
        return None;
    }
    let own = ladder_ceiling(call, ladder, standing)?;
    match exceptions.ladder {
        Some(other) => Some(own.max(ladder_ceiling(call, other, standing)?)),
        None => Some(own),
    }
}

/// The lowest step that blocks everything; a default block counts from when it is in force.
fn ladder_ceiling(call: &Call<'_>, ladder: &Ladder, standing: &Standing) -> Option<i64> {
    let blocking = ladder.rungs.iter().filter(|rung| {
        let overdue = rung.ask.as_ref().filter(|_| rung.is_overdue(standing, call.now));
        rung.blocks_all() || overdue.is_some_and(|ask| ask.otherwise.block == Some(Scope::All))
    });
    let acting = blocking.filter(|rung| rung.rollout.includes(call.tenant));
    acting.map(|rung| rung.at.amount(standing.limit)).min()
}

/// What segment and plan do to every call, whatever was spent.
fn standing_rules<'p>(policy: &'p Policy, facts: &CallFacts<'p>, call: &Call<'p>, excepted: &[Exception]) -> Tally<'p> {
    let unscoped = active(excepted, facts.now).filter(|exception| exception.budget.is_none());
    let excepted = unscoped.fold(Never::default(), |never, exception| never.or(exception.never));
    let mut tally = Tally::default();
    if let Some(segment) = policy.segment(facts.tenant) {
        // Its own gate and limits are not what its own `never` speaks of.
        let origin = Origin::Named(&segment.origin);
        tally = tally.stricter(Tally::of(&segment.remedies, excepted, call, origin));
        let gate = segment.flagship.as_ref();
        if let Some(gate) = gate.filter(|gate| gate.turns_away(facts.model, &facts.attribution.prompt_version)) {
            tally = tally.stricter(Tally::of(&gate.otherwise, excepted, call, origin));
        }
        let excess = segment.excess(&facts.content).filter(|_| !excepted.block);
        tally = tally.stricter(Tally::of_excess(excess, &segment.origin));
    }
    if let Some(plan) = policy.plan(facts.tenant) {
        let never = excepted.or(policy.segment(facts.tenant).map(|segment| segment.never).unwrap_or_default());
        tally = tally.stricter(Tally::of(&plan.remedies, never, call, Origin::Named(&plan.origin)));
    }
    tally
}
