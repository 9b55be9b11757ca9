//! Who asked for what: one call's decision taken apart by asking [`evaluate`] again with fewer budgets.
//!
//! Nothing is decided here. With no budget at all, `evaluate` says what plan and segment ask for; with one, what that budget
//! asks for, exceptions and floors applied. Whoever asks alone for what the whole decision says has decided it.

use std::sync::Arc;

use crate::domain::standing::{Dimensions, Standing};
use crate::domain::tenant::Tenant;

use super::budget::Matcher;
use super::decision::{Actions, Decision};
use super::ladder::{Ladder, Remedies, Rung, Scope};
use super::segment::Segment;
use super::{CallFacts, Mode, Policy, Written, evaluate, identity};

/// The actions that a decision may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A limit on output tokens.
    Cap,
    /// A rate.
    Throttle,
    /// A cheaper model.
    Route,
    /// A refusal, by a step or because a result of a tool is too long.
    Block,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 4] = [Self::Cap, Self::Throttle, Self::Route, Self::Block];

    /// Whether two sets of actions hold the same of this kind, and hold it at all.
    fn is_same(self, one: &Actions, other: &Actions) -> bool {
        match self {
            Self::Cap => one.cap == other.cap && self.is_in(one) && self.is_in(other),
            Self::Throttle => one.throttle == other.throttle && self.is_in(one),
            Self::Route => one.route == other.route && self.is_in(one),
            Self::Block => {
                (one.block.is_some() && other.block.is_some())
                    || (one.tool_output.is_some() && one.tool_output == other.tool_output)
            }
        }
    }

    /// Whether a set of actions holds one of this kind.
    pub fn is_in(self, actions: &Actions) -> bool {
        match self {
            Self::Cap => actions.cap.is_some() || actions.cap_kept_thinking,
            Self::Throttle => actions.throttle.is_some(),
            Self::Route => actions.route.is_some(),
            Self::Block => actions.block.is_some() || actions.tool_output.is_some(),
        }
    }
}

/// A rule behind an action: `budgets.tenant_month › standard.degrade`, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decider {
    /// The rule.
    pub rule: String,
    /// Where.
    pub written: Written,
}

/// One call, judged whole and budget by budget.
#[derive(Debug)]
pub struct Trace<'p> {
    policy: &'p Policy,
    facts: CallFacts<'p>,
    /// The budgets that counted the call.
    pub standings: Vec<Standing>,
    /// The decision.
    pub decision: Decision,
    always: Decision,
    alone: Vec<Decision>,
}

impl<'p> Trace<'p> {
    /// Judges a call whose counters stand like that.
    pub fn of(policy: &'p Policy, facts: CallFacts<'p>, standings: &[Standing]) -> Self {
        let alone = standings.iter().map(|standing| evaluate(policy, &facts, std::slice::from_ref(standing)));
        Self {
            policy,
            facts,
            standings: standings.to_vec(),
            decision: evaluate(policy, &facts, standings),
            always: evaluate(policy, &facts, &[]),
            alone: alone.collect(),
        }
    }

    /// What a counted budget adds to the decision, or to what it would be: those of its own actions that are the
    /// decision's. `at` is the place of its standing.
    pub fn result(&self, at: usize) -> Vec<Action> {
        let Some((standing, alone)) = self.standings.get(at).zip(self.alone.get(at)) else { return Vec::new() };
        let (own, always, whole) = match self.mode(standing.budget) {
            Mode::Enforce => (&alone.actions, &self.always.actions, &self.decision.actions),
            Mode::DryRun => (&alone.would, &self.always.would, &self.decision.would),
        };
        let decides = |action: &Action| action.is_same(own, whole) && !action.is_same(own, always);
        Action::ALL.into_iter().filter(decides).collect()
    }

    /// The mode in which a budget's steps are judged.
    pub fn mode(&self, budget: usize) -> Mode {
        self.policy.budgets.get(budget).map_or(Mode::DryRun, |budget| budget.mode)
    }

    /// The rules behind one action of the decision; of what would be done when `dry`. Empty when it is not done.
    pub fn deciders(&self, action: Action, dry: bool) -> Vec<Decider> {
        let mode = if dry { Mode::DryRun } else { Mode::Enforce };
        let mut deciders = Vec::new();
        for (at, standing) in self.standings.iter().enumerate() {
            if self.mode(standing.budget) == mode && self.result(at).contains(&action) {
                deciders.extend(self.rung_behind(action, standing));
            }
        }
        let (always, whole) = match mode {
            Mode::Enforce => (&self.always.actions, &self.decision.actions),
            Mode::DryRun => (&self.always.would, &self.decision.would),
        };
        if action.is_same(always, whole) {
            deciders.extend(self.standing_rules(action, mode));
        }
        deciders
    }

    /// The severest step of a counted budget that was reached, with the ladder that it belongs to.
    pub fn severest(&self, standing: &Standing) -> Option<&'p Rung> {
        let ladder = &self.policy.budgets.get(standing.budget)?.ladder;
        ladder.rungs.iter().rfind(|rung| rung.at.is_reached(standing, self.facts.now))
    }

    /// The step of the budget's own ladder, else of its exception's, that asks for such an action; the severest of several.
    fn rung_behind(&self, action: Action, standing: &Standing) -> Option<Decider> {
        let budget = self.policy.budgets.get(standing.budget)?;
        let now = self.facts.now;
        let exceptions = self.policy.exceptions_of(self.facts.tenant, now).filter(|one| one.concerns(standing.budget));
        let ladders: Vec<&Ladder> =
            std::iter::once(&budget.ladder).chain(exceptions.filter_map(|one| one.ladder.as_ref())).collect();
        ladders.into_iter().find_map(|ladder| {
            let acts = |rung: &&Rung| {
                rung.at.is_reached(standing, now)
                    && rung.rollout.includes(self.facts.tenant.id.as_str())
                    && self.is_asked_by(action, rung, standing)
            };
            let rung = ladder.rungs.iter().rfind(acts)?;
            let rule = format!("budgets.{} › {}.{}", budget.name, ladder.name, rung.step);
            Some(Decider { rule, written: rung.written.clone() })
        })
    }

    /// Whether a step that is reached asks for such an action of this call.
    fn is_asked_by(&self, action: Action, rung: &Rung, standing: &Standing) -> bool {
        let otherwise = rung.ask.as_ref().filter(|_| rung.is_overdue(standing, self.facts.now));
        let otherwise = otherwise.map(|ask| &ask.otherwise);
        [Some(&rung.remedies), otherwise].into_iter().flatten().any(|remedies| self.holds(action, remedies))
    }

    fn holds(&self, action: Action, remedies: &Remedies) -> bool {
        let critical = self.policy.is_critical(&self.facts.attribution.endpoint_tag);
        let reasons = self.facts.reasoning || self.facts.thinking_budget.is_some();
        match action {
            Action::Cap => remedies.cap.as_ref().is_some_and(|cap| cap.for_call(critical, reasons).is_some()),
            Action::Throttle => remedies.throttle.as_ref().is_some_and(|rates| rates.values(critical).next().is_some()),
            Action::Route => remedies.route.as_ref().is_some_and(|routes| routes.values(critical).next().is_some()),
            Action::Block => remedies.block == Some(Scope::All) || (remedies.block.is_some() && !critical),
        }
    }

    /// Segment and plan, as far as they say something about such an action.
    fn standing_rules(&self, action: Action, mode: Mode) -> Vec<Decider> {
        if self.policy.mode != mode {
            return Vec::new();
        }
        let segment = self.policy.segment(self.facts.tenant).filter(|segment| self.is_of_segment(action, segment));
        let plan = self.policy.plan(self.facts.tenant).filter(|plan| self.holds(action, &plan.remedies));
        let segment = segment.map(|it| (&it.name, "segments", &it.written));
        let plan = plan.map(|it| (&it.name, "plans", &it.written));
        let mut rules: Vec<_> = [segment, plan].into_iter().flatten().collect();
        if rules.len() > 1 {
            // The segment stands first.
            rules.swap(0, usize::from(self.is_of_the_plan(action, mode)));
            rules.truncate(1);
        }
        let decider = |(name, section, written): (&Arc<str>, &str, &Written)| Decider {
            rule: format!("{section}.{name}"),
            written: written.clone(),
        };
        rules.into_iter().map(decider).collect()
    }

    /// Whether a segment asks for such an action of this call: always, by its gate, or by a limit of its own.
    fn is_of_segment(&self, action: Action, segment: &Segment) -> bool {
        let prompt = &self.facts.attribution.prompt_version;
        let gate = segment.flagship.as_ref().filter(|gate| gate.turns_away(self.facts.model, prompt));
        self.holds(action, &segment.remedies)
            || gate.is_some_and(|gate| self.holds(action, &gate.otherwise))
            || (action == Action::Block && segment.excess(&self.facts.content).is_some())
    }

    /// Whether the plan alone asks for what always applies.
    fn is_of_the_plan(&self, action: Action, mode: Mode) -> bool {
        let tenant = Tenant { segment: None, ..self.facts.tenant.clone() };
        let plan = evaluate(self.policy, &CallFacts { tenant: &tenant, ..self.facts }, &[]);
        match mode {
            Mode::Enforce => action.is_same(&plan.actions, &self.always.actions),
            Mode::DryRun => action.is_same(&plan.would, &self.always.would),
        }
    }
}

/// Why a budget does not count a call: `plan is growth, not starter`. `None`: it counts it.
pub fn why_not_counted(policy: &Policy, budget: usize, dimensions: &Dimensions<'_>) -> Option<String> {
    if policy.counts(budget, dimensions) {
        return None;
    }
    let budget = policy.budgets.get(budget)?;
    if identity::lacks_workflow(&budget.per, dimensions) {
        return Some("no workflowId".to_owned());
    }
    Some(misfit(&budget.matcher, dimensions))
}

/// The first condition that does not fit.
fn misfit(matcher: &Matcher, dimensions: &Dimensions<'_>) -> String {
    for (dimension, patterns) in &matcher.all {
        let only = Matcher { all: vec![(*dimension, patterns.clone())], ..Matcher::default() };
        if !only.fits(dimensions) {
            let value = match dimension.of(dimensions) {
                "" => "absent",
                value => value,
            };
            let wanted: Vec<&str> = patterns.iter().map(super::glob::Glob::as_str).collect();
            return format!("{} is {value}, not {}", dimension.as_str(), wanted.join(" or "));
        }
    }
    let left_out = matcher.not.as_ref().filter(|not| not.fits(dimensions));
    if left_out.is_none()
        && let Some(when) = &matcher.when
    {
        return format!("`when` is false: {when}");
    }
    let excluded = matcher.not.iter().flat_map(|not| &not.all);
    let values = excluded.map(|(dimension, _)| format!("{} is {}", dimension.as_str(), dimension.of(dimensions)));
    let mut values: Vec<String> = values.collect();
    values.extend(left_out.and_then(|not| not.when.as_ref()).map(|when| format!("`when` is true: {when}")));
    if values.is_empty() { "its `match` does not fit".to_owned() } else { format!("left out: {}", values.join(", ")) }
}
