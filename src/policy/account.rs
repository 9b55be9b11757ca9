//! The account of one call, or of one tenant: every budget, how full it is, what its steps ask for and what became of that,
//! with the line behind each. Words for people; what was decided comes from a [`Trace`].

use serde::Serialize;

use crate::domain::clock::Timestamp;
use crate::domain::standing::Standing;
use crate::domain::tenant::Tenant;

use super::decision::Actions;
use super::describe;
use super::exception::Exception;
use super::hypothesis::Hypothesis;
use super::ladder::Rung;
use super::plan::Endpoint;
use super::trace::{Action, Trace, why_not_counted};
use super::{Mode, Policy, Written, budget_state};

/// The whole account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The budgets, those that count first.
    pub budgets: Vec<Row>,
    /// What plan and segment ask for, whatever was spent.
    pub always: Vec<Row>,
    /// The exceptions of the tenant that are in force.
    pub exceptions: Vec<Line>,
    /// Whether the endpoint is critical, and what that spares it; of calls alone.
    pub floor: Option<Line>,
}

/// One rule's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The budget, `plans.starter` or `segments.rag_heavy`.
    pub rule: String,
    /// Whether it counts the call. Plans and segments count nothing.
    pub counted: bool,
    /// Used share of the limit in whole percent, rounded down.
    pub used_percent: Option<u32>,
    /// The severest step that is reached.
    pub step: Option<&'static str>,
    /// What the steps that are reached ask for; where nothing is counted, why.
    pub asks: String,
    /// What became of that; of a tenant, what comes next.
    pub result: String,
    /// Whether it only would be done.
    pub dry_run: bool,
    /// The step's line, else the rule's.
    pub written: Place,
}

/// A sentence, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The sentence.
    pub text: String,
    /// Where.
    pub written: Option<Place>,
}

/// A file and a line of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

impl From<&Written> for Place {
    fn from(written: &Written) -> Self {
        Self { file: written.file.to_string(), line: written.line }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Account {
    /// Of a call.
    pub fn of_call(policy: &Policy, call: &Hypothesis, trace: &Trace<'_>) -> Self {
        let mut budgets: Vec<Row> =
            (0..trace.standings.len()).filter_map(|at| counted(policy, trace, at, call)).collect();
        let dimensions = call.dimensions(policy);
        for (at, budget) in policy.budgets.iter().enumerate() {
            if trace.standings.iter().any(|standing| standing.budget == at) {
                continue;
            }
            let why = why_not_counted(policy, at, &dimensions);
            let (asks, result) = match why {
                Some(why) => (why, "not counted"),
                None => ("no limit for this tenant: no plan or revenue says one".to_owned(), "counted, not judged"),
            };
            budgets.push(Row { asks, result: result.to_owned(), ..Row::blank(&budget.name, &budget.written) });
        }
        Self {
            budgets,
            always: always(policy, trace, &call.tenant),
            exceptions: exceptions(policy, &call.tenant, call.now),
            floor: Some(floor(policy, &call.attribution.endpoint_tag)),
        }
    }

    /// Of a tenant, whose counters stand like that.
    pub fn of_tenant(policy: &Policy, tenant: &Tenant, standings: &[Standing], now: Timestamp) -> Self {
        let budgets = standings.iter().filter_map(|standing| {
            let budget = policy.budgets.get(standing.budget)?;
            let next = policy.next_steps(standing.budget, budget.ladder.reached(standing, now)).into_iter().next();
            let next = next.map(|(step, at, does)| format!("next: {step} at {at}, {does}"));
            let row = Row::counted(policy, standing, now)?;
            Some(Row { result: next.unwrap_or_default(), ..row })
        });
        Self {
            budgets: budgets.collect(),
            always: rules(policy, tenant, |_, row| row),
            exceptions: exceptions(policy, tenant, now),
            floor: None,
        }
    }
}

impl Row {
    fn blank(rule: &str, written: &Written) -> Self {
        Self {
            rule: rule.to_owned(),
            counted: false,
            used_percent: None,
            step: None,
            asks: String::new(),
            result: String::new(),
            dry_run: false,
            written: Place::from(written),
        }
    }

    fn counted(policy: &Policy, standing: &Standing, now: Timestamp) -> Option<Self> {
        let budget = policy.budgets.get(standing.budget)?;
        let reached: Vec<&Rung> = budget.ladder.rungs.iter().filter(|rung| rung.at.is_reached(standing, now)).collect();
        let acting: Vec<String> = reached
            .iter()
            .filter(|rung| !rung.remedies.is_empty() || rung.ask.is_some())
            .map(|rung| describe::briefly(rung))
            .collect();
        let asks = if acting.is_empty() {
            reached.last().map(|rung| describe::briefly(rung)).unwrap_or_default()
        } else {
            acting.join("; ")
        };
        let written = reached.last().map_or(&budget.written, |rung| &rung.written);
        Some(Self {
            counted: true,
            used_percent: Some(budget_state(policy, standing, now).used_percent),
            step: reached.last().map(|rung| rung.step.as_str()),
            asks,
            dry_run: budget.mode == Mode::DryRun,
            ..Self::blank(&budget.name, written)
        })
    }
}

fn counted(policy: &Policy, trace: &Trace<'_>, at: usize, call: &Hypothesis) -> Option<Row> {
    let standing = trace.standings.get(at)?;
    let row = Row::counted(policy, standing, call.now)?;
    let actions = if row.dry_run { &trace.decision.would } else { &trace.decision.actions };
    Some(Row { result: words(&trace.result(at), actions), ..row })
}

/// `cap 600, → gpt-4o-mini`.
fn words(done: &[Action], actions: &Actions) -> String {
    let word = |action: &Action| match action {
        Action::Cap => match actions.cap {
            Some(cap) if actions.cap_kept_thinking => Some(format!("cap {cap}, raised for thinking")),
            Some(cap) => Some(format!("cap {cap}")),
            None => Some("cap left out for thinking".to_owned()),
        },
        Action::Throttle => actions.throttle.as_ref().map(|rate| describe::rate(rate.requests, rate.per)),
        Action::Route => actions.route.as_ref().map(|model| format!("→ {model}")),
        Action::Block => Some("block".to_owned()),
    };
    done.iter().filter_map(word).collect::<Vec<_>>().join(", ")
}

fn always(policy: &Policy, trace: &Trace<'_>, tenant: &Tenant) -> Vec<Row> {
    let dry = policy.mode == Mode::DryRun;
    let actions = if dry { &trace.decision.would } else { &trace.decision.actions };
    rules(policy, tenant, |rule, row| {
        let decides = |action: &Action| trace.deciders(*action, dry).iter().any(|decider| decider.rule == rule);
        let done: Vec<Action> = Action::ALL.into_iter().filter(decides).collect();
        Row { result: words(&done, actions), ..row }
    })
}

/// Segment and plan, as far as they do something by themselves.
fn rules(policy: &Policy, tenant: &Tenant, finish: impl Fn(&str, Row) -> Row) -> Vec<Row> {
    let segment = policy.segment(tenant).map(|it| (format!("segments.{}", it.name), &it.remedies, &it.written));
    let plan = policy.plan(tenant).map(|it| (format!("plans.{}", it.name), &it.remedies, &it.written));
    let acting = [segment, plan].into_iter().flatten().filter(|(_, remedies, _)| !remedies.is_empty());
    acting
        .map(|(rule, remedies, written)| {
            let asks = describe::brief_remedies(remedies).join("; ");
            finish(&rule, Row { asks, dry_run: policy.mode == Mode::DryRun, ..Row::blank(&rule, written) })
        })
        .collect()
}

fn exceptions(policy: &Policy, tenant: &Tenant, now: Timestamp) -> Vec<Line> {
    let line = |exception: &Exception| Line {
        text: describe::exception(policy, exception),
        written: Some(Place::from(&exception.written)),
    };
    policy.exceptions_of(tenant, now).map(line).collect()
}

/// Whether the endpoint is spared by steps for `non_critical`.
fn floor(policy: &Policy, tag: &str) -> Line {
    let endpoint: Option<&Endpoint> = policy.endpoint(tag);
    let text = match endpoint {
        None => format!("{tag} is not listed, so it counts as critical: steps for non_critical leave it alone"),
        Some(endpoint) if endpoint.critical => format!("{tag} is critical: steps for non_critical leave it alone"),
        Some(_) => format!("{tag} is non_critical: every step may act on it"),
    };
    Line { text, written: endpoint.map(|endpoint| Place::from(&endpoint.written)) }
}
