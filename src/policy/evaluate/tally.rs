//! The actions of some rules put together: stricter over rules, gentler over the two ladders of an exception.
//!
//! A tally borrows from the policy; texts are shared only when it becomes [`Actions`].

use std::sync::Arc;

use crate::domain::clock::Timestamp;
use crate::domain::content::Content;
use crate::domain::model::is_release_of;
use crate::domain::standing::Standing;
use crate::policy::decision::{Actions, Block, Step, Throttle, ToolOutput};
use crate::policy::exception::Never;
use crate::policy::ladder::{Remedies, Rung, Scope};
use crate::policy::route::{Asked, RouteRule};

use super::CallFacts;

/// Tokens of answer that a thinking request keeps beside its thinking budget.
const ANSWER_TOKENS: u64 = 1_024;

/// The facts of a call that actions depend on.
pub(super) struct Call<'a> {
    pub(super) now: Timestamp,
    pub(super) tenant: &'a str,
    model: &'a str,
    critical: bool,
    reasoning: bool,
    cap: Option<u64>,
    thinking_floor: Option<u64>,
    content: Content,
}

impl<'a> Call<'a> {
    pub(super) fn new(facts: &CallFacts<'a>, critical: bool) -> Self {
        Self {
            now: facts.now,
            tenant: facts.tenant.id.as_str(),
            model: facts.model,
            critical,
            reasoning: facts.reasoning || facts.thinking_budget.is_some(),
            cap: facts.cap,
            thinking_floor: facts.thinking_budget.map(|budget| budget.saturating_add(ANSWER_TOKENS)),
            content: facts.content,
        }
    }

    fn asked(&self) -> Asked<'_> {
        Asked { model: self.model, cap: self.cap, content: &self.content }
    }

    /// A cap as it can be written: never below what a thinking request needs.
    fn legal(&self, cap: u64) -> u64 {
        cap.max(self.thinking_floor.unwrap_or(0))
    }

    /// Whether the client's own cap is above it, or there is none.
    fn is_lowered_by(&self, cap: u64) -> bool {
        self.cap.is_none_or(|own| own > cap)
    }
}

/// Which rule asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin<'p> {
    /// A step of a budget.
    Rung(Reason<'p>),
    /// A plan or segment.
    Named(&'p Arc<str>),
}

/// A step of a budget behind some action.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reason<'p> {
    rung: &'p Rung,
    budget: usize,
    resets_at: Timestamp,
}

impl Reason<'_> {
    /// The severest step names the decision; of equals the one that resets last, then the first budget.
    fn severity(&self) -> (Step, Timestamp, std::cmp::Reverse<usize>) {
        (self.rung.step, self.resets_at, std::cmp::Reverse(self.budget))
    }

    /// Of several refusals the one that resets last is named.
    fn lateness(&self) -> (Timestamp, Step, std::cmp::Reverse<usize>) {
        (self.resets_at, self.rung.step, std::cmp::Reverse(self.budget))
    }
}

impl<'p> Origin<'p> {
    pub(super) fn of_rung(rung: &'p Rung, standing: &Standing) -> Self {
        Self::Rung(Reason { rung, budget: standing.budget, resets_at: standing.window.end })
    }
}

/// Actions put together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally<'p> {
    cap: Option<u64>,
    throttle: Option<&'p Throttle>,
    route: Option<&'p RouteRule>,
    block: Option<Reason<'p>>,
    tool_output: Option<ToolOutput>,
    reason: Option<Reason<'p>>,
    by: Option<&'p Arc<str>>,
}

impl<'p> Tally<'p> {
    /// What one rule does to a call, after subtraction and floors.
    pub(super) fn of(remedies: &'p Remedies, never: Never, call: &Call<'p>, origin: Origin<'p>) -> Self {
        let mut tally = Self::default();
        if remedies.is_empty() {
            return tally;
        }
        let cap = remedies.cap.as_ref().filter(|_| !never.cap);
        tally.cap =
            cap.and_then(|cap| cap.for_call(call.critical, call.reasoning)).filter(|cap| call.is_lowered_by(*cap));
        let rates = remedies.throttle.as_ref().filter(|_| !never.throttle);
        tally.throttle = rates.and_then(|rates| rates.values(call.critical).min_by_key(|rate| strictness(rate)));
        let routes = remedies.route.as_ref().filter(|_| !never.route);
        let rules = routes.into_iter().flat_map(|routes| routes.values(call.critical));
        tally.route = rules.filter_map(|route| route.rule(&call.asked())).min_by_key(|rule| cheapness(rule));
        let blocks = !never.block
            && match remedies.block {
                Some(Scope::All) => true,
                Some(Scope::NonCritical) => !call.critical,
                None => false,
            };
        if tally.cap.is_none() && tally.throttle.is_none() && tally.route.is_none() && !blocks {
            return tally;
        }
        match origin {
            Origin::Rung(reason) => {
                tally.reason = Some(reason);
                tally.block = Some(reason).filter(|_| blocks);
            }
            Origin::Named(name) => tally.by = Some(name),
        }
        tally
    }

    /// The refusal of what a request carries, by a plan or segment.
    pub(super) fn of_excess(excess: Option<ToolOutput>, origin: &'p Arc<str>) -> Self {
        Self { tool_output: excess, by: excess.map(|_| origin), ..Self::default() }
    }

    /// Both rules apply: per action the stricter.
    pub(super) fn stricter(self, other: Self) -> Self {
        Self {
            cap: either(self.cap, other.cap, u64::min),
            throttle: either(self.throttle, other.throttle, |a, b| least(a, b, strictness)),
            route: either(self.route, other.route, |a, b| least(a, b, cheapness)),
            block: either(self.block, other.block, |a, b| if b.lateness() > a.lateness() { b } else { a }),
            tool_output: self.tool_output.or(other.tool_output),
            reason: either(self.reason, other.reason, |a, b| if b.severity() > a.severity() { b } else { a }),
            by: self.by.or(other.by),
        }
    }

    /// One of the rules applies, whichever is gentler per action. What only one of them does is not done.
    pub(super) fn gentler(self, other: Self) -> Self {
        let both = Self {
            cap: self.cap.zip(other.cap).map(|(a, b)| a.max(b)),
            throttle: self.throttle.zip(other.throttle).map(|(a, b)| most(a, b, strictness)),
            route: self.route.zip(other.route).map(|(a, b)| most(a, b, cheapness)),
            block: self.block.zip(other.block).map(|(own, _)| own),
            tool_output: None,
            reason: self.reason.zip(other.reason).map(|(a, b)| if b.severity() < a.severity() { b } else { a }),
            by: None,
        };
        let nothing = both.cap.is_none() && both.throttle.is_none() && both.route.is_none() && both.block.is_none();
        if nothing { Self::default() } else { both }
    }

    /// The actions as they are carried out.
    pub(super) fn actions(&self, call: &Call<'_>, fallback: Option<&Arc<str>>) -> Actions {
        Actions {
            step: self.reason.map(|reason| reason.rung.step),
            budget: self.reason.map(|reason| reason.budget),
            by: self.by.cloned(),
            cap: self.cap.map(|cap| call.legal(cap)).filter(|cap| call.is_lowered_by(*cap)),
            cap_kept_thinking: self.cap.is_some_and(|cap| call.legal(cap) > cap),
            throttle: self.throttle.cloned(),
            route: self.route.filter(|rule| !is_release_of(call.model, &rule.to)).map(|rule| Arc::clone(&rule.to)),
            service_tier: self.route.and_then(|rule| rule.service_tier.clone()),
            block: self.block.map(|reason| Block {
                budget: reason.budget,
                resets_at: reason.resets_at,
                status: reason.rung.status,
                message: reason.rung.message.as_ref().or(fallback).cloned(),
            }),
            tool_output: self.tool_output,
        }
    }

    /// What these rules in dry run would change about `enforced`, if they were enforced beside it.
    pub(super) fn beyond(&self, enforced: &Self, call: &Call<'_>, fallback: Option<&Arc<str>>) -> Actions {
        if self.reason.is_none() && self.by.is_none() {
            return Actions::default();
        }
        let now = enforced.actions(call, fallback);
        let full = enforced.stricter(*self).actions(call, fallback);
        let own = self.actions(call, fallback);
        let would = Actions {
            cap: full.cap.filter(|_| full.cap != now.cap),
            cap_kept_thinking: full.cap_kept_thinking && !now.cap_kept_thinking,
            throttle: full.throttle.filter(|rate| Some(rate) != now.throttle.as_ref()),
            route: full.route.filter(|route| Some(route) != now.route.as_ref()),
            service_tier: full.service_tier.filter(|tier| Some(tier) != now.service_tier.as_ref()),
            block: own.block.filter(|_| now.block.is_none()),
            tool_output: own.tool_output.filter(|_| now.tool_output.is_none()),
            ..own
        };
        if would.is_empty() { Actions::default() } else { would }
    }
}

fn either<T: Copy>(one: Option<T>, other: Option<T>, choose: impl Fn(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(choose(one, other)),
        (one, other) => one.or(other),
    }
}

fn least<'a, T, K: Ord>(one: &'a T, other: &'a T, key: impl Fn(&'a T) -> K) -> &'a T {
    if key(other) < key(one) { other } else { one }
}

fn most<'a, T, K: Ord>(one: &'a T, other: &'a T, key: impl Fn(&'a T) -> K) -> &'a T {
    if key(other) > key(one) { other } else { one }
}

/// Lowest rate first: requests per 10 million seconds, then the name, so that the order of rules changes nothing.
fn strictness(rate: &Throttle) -> (u64, &str) {
    let seconds = rate.per.nominal_seconds().unsigned_abs().max(1);
    (u64::from(rate.requests) * 1_000_000_000 / seconds, &rate.rule)
}

/// Cheapest served model first, unpriced ones last; a tier is cheaper than none; then the name.
fn cheapness(rule: &RouteRule) -> (bool, u64, bool, &str) {
    (rule.cost.is_none(), rule.cost.unwrap_or(0), rule.service_tier.is_none(), &rule.to)
}
