//! What a test expects, and what the policy says instead. Both are texts in one form, so that equal means equal.

use crate::diagnostic::Diagnostic;
use crate::policy::amount;
use crate::policy::decision::{Actions, State, Step, ToolOutput};
use crate::policy::hypothesis::Hypothesis;
use crate::policy::hypothesis::read::{Reader, suggest};
use crate::policy::reader::{Fields, Problems, expect_bool, expect_integer, expect_list, expect_str, expect_word};
use crate::policy::trace::{Action, Decider, Trace};
use crate::policy::tree::Node;
use crate::policy::{Policy, describe};

use super::Difference;

/// What stands for an action that is not taken, and for a list without members.
const NONE: &str = "none";

/// One field, and what it should be.
#[derive(Debug, Clone)]
pub(super) struct Want {
    field: Field,
    wanted: String,
}

/// What can be expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// Something of the actions in force, or of those of rules in dry run.
    Of { what: What, dry: bool },
    /// How a budget stands, by its index.
    State(usize),
    /// The severest step that a budget's counter has reached.
    Reached(usize),
    /// The budgets that count the call.
    Counted,
    /// The budgets that an exception of the tenant is about.
    Exceptions,
}

/// A part of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Unchanged,
    Model,
    Cap,
    Throttle,
    Block,
    Status,
    Message,
    Step,
    Budget,
    By,
}

/// The keys about actions; under `would:` they are about rules in dry run.
const PARTS: [(&str, What); 10] = [
    ("unchanged", What::Unchanged),
    ("model", What::Model),
    ("cap_output_tokens", What::Cap),
    ("throttle", What::Throttle),
    ("block", What::Block),
    ("status", What::Status),
    ("message", What::Message),
    ("step", What::Step),
    ("budget", What::Budget),
    ("by", What::By),
];

/// Reads `expect:`.
pub(super) fn wants(node: &Node, reader: &Reader<'_>, problems: &mut Problems) -> Vec<Want> {
    let Some(mut fields) = Fields::of(node, "`expect`", problems) else { return Vec::new() };
    let mut wants = parts(&mut fields, false, reader, problems);
    if let Some(mut dry) = fields.value("would").and_then(|node| Fields::of(node, "`would`", problems)) {
        wants.extend(parts(&mut dry, true, reader, problems));
        dry.finish("not a part of an outcome", problems);
    }
    let states = [State::Ok, State::Warning, State::Exceeded].map(|state| (state.as_str(), state));
    for (budget, node) in reader.by_budget("state", &mut fields, problems) {
        let state = expect_word(node, "`state`", &states, problems).map_or("", State::as_str);
        wants.push(Want { field: Field::State(budget), wanted: state.to_owned() });
    }
    for (budget, node) in reader.by_budget("reached", &mut fields, problems) {
        wants.extend(step(node, problems).map(|wanted| Want { field: Field::Reached(budget), wanted }));
    }
    for (name, field) in [("counted", Field::Counted), ("exceptions", Field::Exceptions)] {
        if let Some(node) = fields.value(name) {
            wants.extend(budgets(node, name, reader, problems).map(|wanted| Want { field, wanted }));
        }
    }
    fields.finish("not a part of an outcome", problems);
    wants
}

fn parts(fields: &mut Fields<'_>, dry: bool, reader: &Reader<'_>, problems: &mut Problems) -> Vec<Want> {
    let mut wants = Vec::new();
    for (name, what) in PARTS {
        let Some(node) = fields.value(name) else { continue };
        let wanted = part(what, name, node, reader, problems);
        wants.extend(wanted.map(|wanted| Want { field: Field::Of { what, dry }, wanted }));
    }
    wants
}

fn part(what: What, name: &str, node: &Node, reader: &Reader<'_>, problems: &mut Problems) -> Option<String> {
    let called = format!("`{name}`");
    let written = expect_str(node, &called, problems)?;
    match what {
        What::Unchanged | What::Block => expect_bool(node, &called, problems).map(|it| it.to_string()),
        _ if written == NONE => Some(NONE.to_owned()),
        What::Cap | What::Status => expect_integer(node, &called, problems).map(|it| it.to_string()),
        What::Throttle => match amount::rate(written) {
            Ok((requests, per)) => Some(describe::rate(requests, per)),
            Err(fault) => {
                problems.push(fault.at(&node.place));
                None
            }
        },
        What::Step => step(node, problems),
        What::Budget => budget(node, written, reader, problems),
        What::Model | What::Message | What::By => Some(written.to_owned()),
    }
}

/// A step's word, or `none`.
fn step(node: &Node, problems: &mut Problems) -> Option<String> {
    let steps = Step::ALL.map(|step| (step.as_str(), step.as_str()));
    let words: Vec<(&str, &str)> = steps.into_iter().chain([(NONE, NONE)]).collect();
    expect_word(node, "a step", &words, problems).map(str::to_owned)
}

fn budget(node: &Node, name: &str, reader: &Reader<'_>, problems: &mut Problems) -> Option<String> {
    if reader.policy.budget_named(name).is_some() {
        return Some(name.to_owned());
    }
    let names: Vec<&str> = reader.policy.budgets.iter().map(|budget| &*budget.name).collect();
    let fault = Diagnostic::error("E131", format!("budget `{name}` is not defined")).at(&node.place, "used here");
    problems.push(suggest(fault, name, &names));
    None
}

/// A list of budgets, or `none`.
fn budgets(node: &Node, name: &str, reader: &Reader<'_>, problems: &mut Problems) -> Option<String> {
    let mut names = Vec::new();
    for item in expect_list(node, &format!("`{name}`"), problems)? {
        let text = expect_str(item, &format!("`{name}`"), problems)?;
        if text != NONE {
            names.push(budget(item, text, reader, problems)?);
        }
    }
    Some(listed(names))
}

fn listed(mut names: Vec<String>) -> String {
    names.sort();
    names.dedup();
    if names.is_empty() { NONE.to_owned() } else { names.join(", ") }
}

fn or_none(text: Option<impl ToString>) -> String {
    text.map_or_else(|| NONE.to_owned(), |text| text.to_string())
}

impl Want {
    /// What is said instead. `None`: it is as expected.
    pub(super) fn difference(&self, policy: &Policy, trace: &Trace<'_>, call: &Hypothesis) -> Option<Difference> {
        let got = self.field.actual(policy, trace, call);
        if got == self.wanted {
            return None;
        }
        Some(Difference {
            field: self.field.name(policy),
            wanted: self.wanted.clone(),
            got,
            decided_by: self.field.deciders(trace),
        })
    }
}

impl Field {
    fn name(self, policy: &Policy) -> String {
        let budget = |at: usize| policy.budgets.get(at).map_or("", |budget| &budget.name);
        match self {
            Self::Of { what, dry } => {
                let name = PARTS.iter().find(|(_, part)| *part == what).map_or("", |(name, _)| name);
                format!("{}{name}", if dry { "would." } else { "" })
            }
            Self::State(at) => format!("state.{}", budget(at)),
            Self::Reached(at) => format!("reached.{}", budget(at)),
            Self::Counted => "counted".to_owned(),
            Self::Exceptions => "exceptions".to_owned(),
        }
    }

    fn actual(self, policy: &Policy, trace: &Trace<'_>, call: &Hypothesis) -> String {
        let name = |at: usize| policy.budgets.get(at).map(|budget| budget.name.to_string());
        let state = |at: usize| trace.decision.states.iter().find(|state| state.budget == at);
        match self {
            Self::Of { what, dry: false } => what.of(&trace.decision.actions, policy, &call.model),
            Self::Of { what, dry: true } => {
                let served = trace.decision.actions.route.as_ref().unwrap_or(&call.model);
                what.of(&trace.decision.would, policy, served)
            }
            Self::State(at) => state(at).map_or("not counted", |state| state.state.as_str()).to_owned(),
            Self::Reached(at) => match state(at) {
                Some(state) => or_none(state.reached.iter().last()),
                None => "not counted".to_owned(),
            },
            Self::Counted => {
                listed(policy.counted(&call.facts()).iter().filter_map(|counted| name(counted.budget)).collect())
            }
            Self::Exceptions => {
                let exceptions: Vec<_> = policy.exceptions_of(&call.tenant, call.now).collect();
                let counted = policy.counted(&call.facts()).into_iter().map(|counted| counted.budget);
                let excepted = counted.filter(|budget| exceptions.iter().any(|one| one.concerns(*budget)));
                listed(excepted.filter_map(name).collect())
            }
        }
    }

    /// The rules behind what is said: behind each action there is, where it is about all of them.
    fn deciders(self, trace: &Trace<'_>) -> Vec<Decider> {
        let Self::Of { what, dry } = self else { return Vec::new() };
        let actions = match what {
            What::Model => vec![Action::Route],
            What::Cap => vec![Action::Cap],
            What::Throttle => vec![Action::Throttle],
            What::Block | What::Status | What::Message => vec![Action::Block],
            What::Unchanged | What::Step | What::Budget | What::By => Action::ALL.to_vec(),
        };
        let mut deciders: Vec<Decider> = Vec::new();
        for decider in actions.into_iter().flat_map(|action| trace.deciders(action, dry)) {
            if !deciders.iter().any(|known| known.rule == decider.rule) {
                deciders.push(decider);
            }
        }
        deciders
    }
}

impl What {
    fn of(self, actions: &Actions, policy: &Policy, model: &str) -> String {
        match self {
            Self::Unchanged => actions.is_empty().to_string(),
            Self::Model => actions.route.as_deref().unwrap_or(model).to_owned(),
            Self::Cap => or_none(actions.cap),
            Self::Throttle => or_none(actions.throttle.as_ref().map(|rate| describe::rate(rate.requests, rate.per))),
            Self::Block => Action::Block.is_in(actions).to_string(),
            // A request that carries too much is a bad request, once no budget refuses it.
            Self::Status => {
                or_none(actions.block.as_ref().map(|block| block.status).or_else(|| actions.tool_output.map(|_| 400)))
            }
            Self::Message => match (&actions.block, actions.tool_output) {
                (Some(block), _) => or_none(block.message.as_ref()),
                (None, excess) => or_none(excess.map(ToolOutput::message)),
            },
            Self::Step => or_none(actions.step),
            Self::Budget => or_none(actions.budget.and_then(|at| policy.budgets.get(at)).map(|budget| &budget.name)),
            Self::By => or_none(actions.by.as_ref()),
        }
    }
}
