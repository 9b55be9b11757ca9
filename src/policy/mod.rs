//! The policy: what each tenant may spend, and what happens from which share on.
//!
//! Texts become one immutable [`Policy`] or a list of every mistake ([`compile`]); [`evaluate`] is the one pure function
//! that judges a call, for serving, testing, planning and simulating alike. Nothing here reads a file, asks the time or
//! waits.

pub mod account;
pub mod advice;
pub mod amount;
mod audience;
pub mod budget;
pub mod codes;
mod compile;
pub mod condition;
pub mod coverage;
pub mod decision;
mod describe;
pub mod difference;
mod evaluate;
pub mod exception;
pub mod exchange;
mod family;
pub mod glob;
pub mod hypothesis;
pub mod identity;
pub mod impact;
pub mod ladder;
pub mod past;
pub mod plan;
pub mod print;
pub mod reader;
pub mod rollout;
pub mod route;
pub mod schema;
pub mod segment;
mod shortlist;
pub mod suite;
pub mod trace;
pub mod tree;
pub mod watch;
mod written;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use smallvec::SmallVec;

use crate::domain::attribution::Attribution;
use crate::domain::clock::Timestamp;
use crate::domain::standing::{Counted, CountedBudgets, Dimensions};
use crate::domain::tenant::Tenant;
use crate::domain::window::Window;

use budget::{Budget, Limit};
use decision::{BudgetState, Step, StepSet};
use exception::Exception;
use exchange::Exchange;
use ladder::{Ladder, NotifyTarget};
use plan::{Defaults, Endpoint, Plan};
use route::Route;
use segment::Segment;
use shortlist::Shortlist;

pub use compile::{Compiled, ModelFacts, Surroundings, compile};
pub use describe::{in_words, quantity};
pub use evaluate::{CallFacts, budget_state, evaluate, reached};
pub use written::Written;

/// Separates the values of a counter's key.
pub const KEY_SEPARATOR: char = '\u{1f}';

/// Whether rules act or are only reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Rules act.
    Enforce,
    /// Rules are measured and reported.
    DryRun,
}

impl Mode {
    /// The word in a policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::DryRun => "dry_run",
        }
    }
}

/// A compiled policy: immutable, valid by construction.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The mode of every rule that does not say otherwise.
    pub mode: Mode,
    /// The currency of revenue, and the rates of all currencies that the policy is written in.
    pub exchange: Exchange,
    /// Where calendar periods begin.
    pub zone: TimeZone,
    /// What happens where nothing else is said.
    pub defaults: Defaults,
    /// The budgets, sorted by name; their index is how other modules name them.
    pub budgets: Vec<Budget>,
    /// The exceptions that had not expired when the policy was compiled, sorted by tenant.
    pub exceptions: Vec<Exception>,
    shortlist: Shortlist,
    plans: BTreeMap<Arc<str>, Plan>,
    segments: BTreeMap<Arc<str>, Segment>,
    endpoints: Vec<Endpoint>,
    routes: BTreeMap<Arc<str>, Arc<Route>>,
    /// The escalations as they are written, those that nothing names among them. Budgets hold their own.
    escalations: BTreeMap<Arc<str>, Ladder>,
    /// Whether some route looks at what a request carries.
    routes_look: bool,
    not_in_force: Vec<String>,
}

impl Policy {
    /// The policy of no file at all: everything is metered, nothing is enforced.
    pub fn empty() -> Self {
        Self {
            mode: Mode::DryRun,
            exchange: Exchange::default(),
            zone: TimeZone::UTC,
            defaults: Defaults::default(),
            budgets: Vec::new(),
            exceptions: Vec::new(),
            shortlist: Shortlist::default(),
            plans: BTreeMap::new(),
            segments: BTreeMap::new(),
            endpoints: Vec::new(),
            routes: BTreeMap::new(),
            escalations: BTreeMap::new(),
            routes_look: false,
            not_in_force: Vec::new(),
        }
    }

    /// Whether another policy says the same about every call, wherever in its files. What is not in force says nothing.
    pub fn means_the_same(&self, other: &Self) -> bool {
        let Self {
            mode,
            exchange,
            zone,
            defaults,
            budgets,
            exceptions,
            // Made of the budgets.
            shortlist: _,
            plans,
            segments,
            endpoints,
            routes,
            escalations,
            routes_look,
            not_in_force: _,
        } = self;
        (mode, exchange, zone) == (&other.mode, &other.exchange, &other.zone)
            && *defaults == other.defaults
            && *budgets == other.budgets
            && *exceptions == other.exceptions
            && *plans == other.plans
            && *segments == other.segments
            && *endpoints == other.endpoints
            && *routes == other.routes
            && *escalations == other.escalations
            && *routes_look == other.routes_look
    }

    /// What was read and checked, and has no effect yet.
    pub fn not_in_force(&self) -> Vec<String> {
        self.not_in_force.clone()
    }

    /// Which calls are outside the promise of a hard budget, one sentence each: they are counted and never refused, so
    /// they can push spend past its limit.
    pub fn outside_promise(&self) -> Vec<String> {
        describe::outside_promise(self)
    }

    /// The names of the plans.
    pub fn plan_names(&self) -> Vec<&str> {
        self.plans.keys().map(AsRef::as_ref).collect()
    }

    /// The names of the segments.
    pub fn segment_names(&self) -> Vec<&str> {
        self.segments.keys().map(AsRef::as_ref).collect()
    }

    /// The routes by name.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values()
    }

    /// The endpoint patterns, the most specific first.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The tenant's plan; `defaults.plan` when it has none or one that is not defined.
    pub fn plan(&self, tenant: &Tenant) -> Option<&Plan> {
        let own = tenant.plan.as_ref().and_then(|name| self.plans.get(name));
        own.or_else(|| self.plans.get(self.defaults.plan.as_ref()?))
    }

    /// The tenant's segment, when it is defined.
    pub fn segment(&self, tenant: &Tenant) -> Option<&Segment> {
        self.segments.get(tenant.segment.as_ref()?)
    }

    /// Whether a rule for this tenant asks for what only a second look into a request tells.
    pub fn looks_at_content(&self, tenant: &Tenant) -> bool {
        self.routes_look || self.segment(tenant).is_some_and(Segment::looks_at_content)
    }

    /// Where the tenant can buy more: its own link, else its plan's.
    pub fn upgrade_url<'a>(&'a self, tenant: &'a Tenant) -> Option<&'a Arc<str>> {
        tenant.upgrade_url.as_ref().or_else(|| self.plan(tenant)?.upgrade_url.as_ref())
    }

    /// The pattern that a tag falls under: the most specific one.
    pub fn endpoint(&self, tag: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.pattern.matches(tag))
    }

    /// Whether a tag is critical. What is not listed is.
    pub fn is_critical(&self, tag: &str) -> bool {
        self.endpoint(tag).is_none_or(|endpoint| endpoint.critical)
    }

    /// The dimensions of a call, with the plan that applies to its tenant.
    pub fn dimensions<'a>(
        &'a self,
        tenant: &'a Tenant,
        attribution: &'a Attribution,
        provider: &'a str,
        model: &'a str,
    ) -> Dimensions<'a> {
        Dimensions {
            tenant_id: tenant.id.as_str(),
            plan: self.plan(tenant).map(|plan| plan.name.as_ref()),
            segment: tenant.segment.as_deref(),
            endpoint_tag: &attribution.endpoint_tag,
            prompt_version: &attribution.prompt_version,
            data_mode: attribution.data_mode.as_str(),
            environment: attribution.environment.as_str(),
            user_id: attribution.user_id.as_deref(),
            workflow_id: attribution.workflow_id.as_deref(),
            provider,
            model,
        }
    }

    /// The budgets that count a call, with the limit in force for its tenant, sorted by index. An exception can raise a
    /// limit and never lowers it.
    pub fn counted(&self, call: &CallFacts<'_>) -> CountedBudgets {
        let dimensions = self.dimensions(call.tenant, call.attribution, call.provider, call.model);
        let exceptions = self.exceptions_for(call.tenant);
        let limit = |budget| self.limit_beside(budget, call.tenant, exceptions, call.now);
        let counting = self.counting(&dimensions).into_iter();
        counting.map(|budget| Counted { budget, limit: limit(budget) }).collect()
    }

    /// The budgets that count a call of these dimensions, sorted by index.
    pub fn counting(&self, dimensions: &Dimensions<'_>) -> SmallVec<[usize; 16]> {
        let mut counting = SmallVec::new();
        self.shortlist.each(dimensions, |budget| {
            if self.counts(budget, dimensions) {
                counting.push(budget);
            }
        });
        if !self.shortlist.in_order() {
            counting.sort_unstable();
            counting.dedup();
        }
        counting
    }

    /// Whether a budget's `match` fits, and it is not per workflow without one.
    pub fn counts(&self, budget: usize, dimensions: &Dimensions<'_>) -> bool {
        let Some(budget) = self.budgets.get(budget) else { return false };
        identity::counts(&budget.matcher, &budget.per, dimensions)
    }

    /// The limit of a budget for a tenant, exceptions included, in the budget's unit.
    pub fn limit(&self, budget: usize, tenant: &Tenant, now: Timestamp) -> Option<i64> {
        self.limit_beside(budget, tenant, self.exceptions_for(tenant), now)
    }

    fn limit_beside(&self, budget: usize, tenant: &Tenant, exceptions: &[Exception], now: Timestamp) -> Option<i64> {
        let own = match self.budgets.get(budget)?.limit {
            Limit::Own(amount) => amount.of(tenant.revenue)?,
            Limit::Plan => self.plan(tenant)?.llm_budget?.of(tenant.revenue)?,
        };
        let raised = exception::active(exceptions, now).filter(|exception| exception.budget == Some(budget));
        let raised = raised.filter_map(|exception| exception.limit?.of(tenant.revenue)).max();
        Some(raised.map_or(own, |raised| raised.max(own)))
    }

    /// The exceptions for a tenant that are active now.
    pub fn exceptions_of<'a>(&'a self, tenant: &Tenant, now: Timestamp) -> impl Iterator<Item = &'a Exception> {
        exception::active(self.exceptions_for(tenant), now)
    }

    /// The exceptions for a tenant, of which some may be over. They are sorted by tenant: every call asks.
    fn exceptions_for(&self, tenant: &Tenant) -> &[Exception] {
        let id = tenant.id.as_str();
        let first = self.exceptions.partition_point(|exception| *exception.tenant < *id);
        let from = self.exceptions.get(first..).unwrap_or_default();
        let own = from.iter().take_while(|exception| *exception.tenant == *id).count();
        from.get(..own).unwrap_or_default()
    }

    /// The name of a call's counter: the values of `per`, joined by [`KEY_SEPARATOR`]; empty for a shared counter.
    /// `None` when the budget is per workflow and the call belongs to none.
    pub fn counter_key(&self, budget: usize, dimensions: &Dimensions<'_>) -> Option<String> {
        let per = &self.budgets.get(budget)?.per;
        (!identity::lacks_workflow(per, dimensions)).then(|| identity::key(per, dimensions))
    }

    /// The first moment that counts in a budget at `now`.
    pub fn counts_from(&self, budget: usize, now: Timestamp) -> Timestamp {
        let ring = self.budgets.get(budget).and_then(|budget| budget.span.ring());
        ring.map_or_else(|| self.window(budget, now).start, |ring| ring.start(now))
    }

    /// The window of a budget that holds `now`; where usage is a sum of buckets, the bucket.
    pub fn window(&self, budget: usize, now: Timestamp) -> Window {
        self.budgets.get(budget).map_or(Window::EVER, |budget| identity::window(budget.span, &self.zone, now))
    }

    /// The time whose rows count at `now`: the calendar window, or everything since the first bucket that counts.
    pub fn counting_time(&self, budget: usize, now: Timestamp) -> Window {
        match self.budgets.get(budget).and_then(|budget| budget.span.ring()) {
            Some(ring) => Window { start: ring.start(now), end: Window::EVER.end },
            None => self.window(budget, now),
        }
    }

    /// Who is told when a budget reaches a step.
    pub fn notify_targets(&self, budget: usize, step: Step) -> &[NotifyTarget] {
        let rung = self.budgets.get(budget).and_then(|budget| budget.ladder.rung(step));
        rung.map_or(&[], |rung| &rung.notify)
    }

    /// What a step of a budget does, in words: `cap 600 output tokens; 20 requests/min on non_critical`.
    pub fn describe(&self, budget: usize, step: Step) -> String {
        let rung = self.budgets.get(budget).and_then(|budget| budget.ladder.rung(step));
        rung.map(describe::rung).unwrap_or_default()
    }

    /// The steps of a budget that are not reached yet, with their threshold and what they do, mildest first.
    pub fn next_steps(&self, budget: usize, reached: StepSet) -> Vec<(Step, String, String)> {
        let Some(budget) = self.budgets.get(budget) else { return Vec::new() };
        let ahead = budget.ladder.rungs.iter().filter(|rung| !reached.contains(rung.step));
        ahead.map(|rung| (rung.step, rung.at.to_string(), describe::rung(rung))).collect()
    }

    /// The budget of that name.
    pub fn budget_named(&self, name: &str) -> Option<usize> {
        self.budgets.binary_search_by(|budget| (*budget.name).cmp(name)).ok()
    }
}

/// How each counted budget stands, without a call to judge.
pub fn states(
    policy: &Policy,
    standings: &[crate::domain::standing::Standing],
    now: Timestamp,
) -> SmallVec<[BudgetState; 4]> {
    standings.iter().map(|standing| budget_state(policy, standing, now)).collect()
}
