//! Each rule with its keys. What a rule holds is taken apart field by field, so that a new one cannot be forgotten here.

use crate::policy::Policy;
use crate::policy::amount::PlannedPer;
use crate::policy::budget::{Budget, Limit, Matcher};
use crate::policy::decision::Throttle;
use crate::policy::describe::{in_words, quantity, rate};
use crate::policy::exception::{Exception, Never, WhenExpired};
use crate::policy::glob::Glob;
use crate::policy::ladder::{Ask, Cap, Ladder, NotifyTarget, Remedies, Rung, Scope, Scoped, percent};
use crate::policy::plan::{Endpoint, Plan};
use crate::policy::route::{Route, RouteRule};
use crate::policy::segment::{Flagship, Segment};
use crate::policy::watch::Watch;

use super::yaml::Yaml;
use super::{Keys, amounts};
use crate::domain::standing::Unit;

pub(super) fn plan(plan: &Plan) -> Yaml {
    let Plan { name: _, origin: _, llm_budget, counted_in, target_margin, remedies, upgrade_url, message, written: _ } =
        plan;
    let mut keys = Keys::default();
    let limit = llm_budget.zip(*counted_in).map(|(amount, (unit, span))| amounts::limit(amount, unit, span));
    keys.put_some("llm_budget", limit.map(Yaml::Word));
    keys.put_some("target_margin", target_margin.map(percent).map(Yaml::Word));
    actions(remedies, &mut keys);
    keys.put_some("upgrade_url", upgrade_url.as_ref().map(Yaml::text));
    keys.put_some("message", message.as_ref().map(Yaml::text));
    Yaml::Map(keys.0)
}

pub(super) fn segment(segment: &Segment) -> Yaml {
    let Segment { name: _, origin: _, remedies, never: spared, flagship, max_tool_output, watch, written: _ } = segment;
    let mut keys = Keys::default();
    actions(remedies, &mut keys);
    keys.put_some("never", never(*spared));
    if let Some(Flagship { models, prompts, otherwise }) = flagship {
        let mut gate = Keys::default();
        gate.put("allow", patterns(models));
        gate.put("promptVersion", patterns(prompts));
        keys.put("flagship", Yaml::Map(gate.0));
        let mut others = Keys::default();
        actions(otherwise, &mut others);
        keys.put("otherwise", Yaml::Map(others.0));
    }
    let limits = |tokens| Yaml::Map(vec![("max_tool_output_tokens".to_owned(), Yaml::word(tokens))]);
    keys.put_some("limits", max_tool_output.map(limits));
    keys.put_some("watch", watch.as_ref().map(|watch| self::watch(watch)));
    Yaml::Map(keys.0)
}

fn watch(watch: &Watch) -> Yaml {
    let bounds = watch.bounds().map(|(measure, bound)| (measure.as_str().to_owned(), Yaml::Word(bound)));
    Yaml::Map(bounds.collect())
}

pub(super) fn endpoint(endpoint: &Endpoint) -> Yaml {
    let Endpoint { pattern: _, critical, planned_cost, owner, written: _ } = endpoint;
    let mut keys = Keys::default();
    keys.put("critical", Yaml::word(critical));
    let planned = planned_cost.map(|(cost, per)| match per {
        PlannedPer::Request => format!("{}/request", quantity(cost.nano(), Unit::Money)),
        PlannedPer::Workflow => format!("{}/workflow", quantity(cost.nano(), Unit::Money)),
    });
    keys.put_some("planned_cost", planned.map(Yaml::Word));
    keys.put_some("owner", owner.as_ref().map(Yaml::text));
    Yaml::Map(keys.0)
}

pub(super) fn route(route: &Route) -> Yaml {
    let Route { name: _, rules, allow_more_expensive, written: _ } = route;
    let mut keys = Keys::default();
    keys.put_some("allow_more_expensive", allow_more_expensive.then(|| Yaml::word(true)));
    for rules in rules.chunk_by(|one, other| one.from == other.from) {
        let mut targets: Vec<Yaml> = rules.iter().map(target).collect();
        let only = if targets.len() == 1 { targets.pop() } else { None };
        keys.put_some(rules.first().map_or("", |rule| &rule.from), Some(only.unwrap_or(Yaml::List(targets))));
    }
    Yaml::Open(keys.0)
}

/// What else is known of the target comes from the price table.
fn target(rule: &RouteRule) -> Yaml {
    let RouteRule { from: _, to, service_tier, cost: _, abilities: _, context_before: _ } = rule;
    let Some(tier) = service_tier else { return Yaml::text(to) };
    Yaml::Map(vec![("model".to_owned(), Yaml::text(to)), ("service_tier".to_owned(), Yaml::text(tier))])
}

pub(super) fn budget(policy: &Policy, budget: &Budget) -> Yaml {
    let Budget {
        name: _,
        per,
        span,
        unit,
        mode,
        hard: _,
        ladder: climbed,
        own_steps,
        grace,
        identity: _,
        matcher: counted,
        limit,
        within,
        review_by,
        written: _,
    } = budget;
    let mut keys = Keys::default();
    let words = || Yaml::words(per.iter().map(|dimension| dimension.as_str()));
    keys.put_some("per", (!per.is_empty()).then(words));
    keys.put_some("match", (*counted != Matcher::default()).then(|| matcher(counted)));
    let limit = match limit {
        Limit::Own(amount) => amounts::limit(*amount, *unit, *span),
        Limit::Plan => "plan.llm_budget".to_owned(),
    };
    keys.put("limit", Yaml::Word(limit));
    keys.put("escalation", own_steps.as_ref().map_or_else(|| Yaml::text(&climbed.name), ladder));
    // One that only follows the policy goes on following it.
    keys.put_some("mode", (*mode != policy.mode).then(|| Yaml::word(mode.as_str())));
    let parent = within.as_ref().and_then(|within| policy.budgets.get(within.parent));
    keys.put_some("within", parent.map(|parent| Yaml::text(&parent.name)));
    keys.put_some("grace", grace.map(percent).map(Yaml::Word));
    keys.put_some("review_by", review_by.map(Yaml::word));
    Yaml::Open(keys.0)
}

/// `match`, and what stands under its `not`.
fn matcher(matcher: &Matcher) -> Yaml {
    let Matcher { all, when, not } = matcher;
    let mut keys = Keys::default();
    for (dimension, globs) in all {
        keys.put(dimension.as_str(), patterns(globs));
    }
    keys.put_some("when", when.as_ref().map(|when| Yaml::text(when.to_string())));
    keys.put_some("not", not.as_ref().map(|not| self::matcher(not)));
    Yaml::Map(keys.0)
}

pub(super) fn ladder(ladder: &Ladder) -> Yaml {
    let Ladder { name: _, rungs } = ladder;
    Yaml::Open(rungs.iter().map(|rung| (rung.step.as_str().to_owned(), self::rung(rung))).collect())
}

fn rung(rung: &Rung) -> Yaml {
    let Rung { step: _, at, notify, remedies, ask, rollout, status, message, written: _ } = rung;
    let mut keys = Keys::default();
    keys.put("at", Yaml::word(at));
    keys.put_some("notify", some_targets(notify));
    actions(remedies, &mut keys);
    keys.put_some("status", (*status != 429).then(|| Yaml::word(status)));
    keys.put_some("message", message.as_ref().map(Yaml::text));
    let share = (!rollout.is_all()).then(|| format!("{} of tenants", percent(rollout.share())));
    keys.put_some("rollout", share.map(Yaml::Word));
    if let Some(Ask { whom, choices, within, otherwise }) = ask {
        keys.put("ask", Yaml::text(whom.as_str()));
        keys.put_some("choices", (!choices.is_empty()).then(|| Yaml::words(choices)));
        keys.put("within", Yaml::Word(in_words(*within)));
        let mut answer = Keys::default();
        actions(otherwise, &mut answer);
        keys.put("otherwise", Yaml::Map(answer.0));
    }
    Yaml::Map(keys.0)
}

pub(super) fn exception(policy: &Policy, exception: &Exception) -> Yaml {
    let Exception {
        tenant,
        budget,
        limit,
        ladder,
        never: spared,
        reason,
        approved_by,
        ticket,
        expires,
        until: _,
        when_expired,
        written: _,
    } = exception;
    let budget = budget.and_then(|budget| policy.budgets.get(budget));
    let mut keys = Keys::default();
    keys.put("tenantId", Yaml::text(tenant));
    keys.put_some("budget", budget.map(|budget| Yaml::text(&budget.name)));
    let limit = limit.zip(budget).map(|(limit, budget)| amounts::limit(limit, budget.unit, budget.span));
    keys.put_some("limit", limit.map(Yaml::Word));
    keys.put_some("escalation", ladder.as_ref().map(|ladder| Yaml::text(&ladder.name)));
    keys.put_some("never", never(*spared));
    keys.put("reason", Yaml::text(reason));
    keys.put("approved_by", one_or_more(approved_by.iter().map(Yaml::text).collect()));
    keys.put_some("ticket", ticket.as_ref().map(Yaml::text));
    keys.put("expires", Yaml::word(expires));
    if let Some(WhenExpired { notify, before }) = when_expired {
        let mut ending = Keys::default();
        ending.put("notify", targets(notify));
        ending.put_some("before", before.map(in_words).map(Yaml::Word));
        keys.put("when_expired", Yaml::Map(ending.0));
    }
    Yaml::Open(keys.0)
}

/// The actions of a step, a plan or a segment.
fn actions(remedies: &Remedies, keys: &mut Keys) {
    let Remedies { cap, throttle, route, block } = remedies;
    keys.put_some("cap_output_tokens", cap.as_ref().map(self::cap));
    keys.put_some("throttle", throttle.as_ref().map(self::throttle));
    keys.put_some("route", route.as_ref().map(|routes| bare(scoped(routes, |route| Yaml::text(&route.name)))));
    let word = |scope| match scope {
        Scope::All => "all",
        Scope::NonCritical => "non_critical",
    };
    keys.put_some("block", block.map(word).map(Yaml::word));
}

fn cap(cap: &Cap) -> Yaml {
    let Cap { tokens, reasoning } = cap;
    let mut keys = scoped(tokens, |tokens| Yaml::word(tokens));
    keys.put_some("reasoning_models", reasoning.map(Yaml::word));
    bare(keys)
}

/// Both scopes share the time that a call may wait.
fn throttle(rates: &Scoped<Throttle>) -> Yaml {
    let mut keys = scoped(rates, |Throttle { rule: _, requests, per, queue: _ }| Yaml::Word(rate(*requests, *per)));
    let queue = rates.all.iter().chain(&rates.non_critical).find_map(|rate| rate.queue);
    keys.put_some("queue", queue.map(in_words).map(Yaml::Word));
    bare(keys)
}

fn scoped<T>(values: &Scoped<T>, show: impl Fn(&T) -> Yaml) -> Keys {
    let Scoped { all, non_critical } = values;
    let mut keys = Keys::default();
    keys.put_some("all", all.as_ref().map(&show));
    keys.put_some("non_critical", non_critical.as_ref().map(&show));
    keys
}

/// A value for every call needs no braces.
fn bare(mut keys: Keys) -> Yaml {
    match keys.0.pop() {
        Some((key, value)) if key == "all" => value,
        last => Yaml::Map(keys.0.into_iter().chain(last).collect()),
    }
}

fn never(never: Never) -> Option<Yaml> {
    let Never { cap, throttle, route, block } = never;
    let words = [("cap_output_tokens", cap), ("throttle", throttle), ("route", route), ("block", block)];
    let said: Vec<&str> = words.into_iter().filter(|(_, said)| *said).map(|(word, _)| word).collect();
    (!said.is_empty()).then(|| Yaml::words(said))
}

fn patterns(globs: &[Glob]) -> Yaml {
    one_or_more(globs.iter().map(|glob| Yaml::text(glob.as_str())).collect())
}

pub(super) fn some_targets(targets: &[NotifyTarget]) -> Option<Yaml> {
    (!targets.is_empty()).then(|| self::targets(targets))
}

fn targets(targets: &[NotifyTarget]) -> Yaml {
    Yaml::texts(targets.iter().map(NotifyTarget::as_str))
}

/// One item stands for a list of one.
fn one_or_more(mut items: Vec<Yaml>) -> Yaml {
    match items.pop() {
        Some(only) if items.is_empty() => only,
        last => Yaml::List(items.into_iter().chain(last).collect()),
    }
}
