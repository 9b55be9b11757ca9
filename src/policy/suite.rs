//! Tests of a policy: given counters, when a call comes, then this is done.
//!
//! A suite is one `*_test.yaml`. Its clock stands still, and what it expects is compared with what
//! [`evaluate`](super::evaluate) says, field by field; nothing that a test does not name is compared.

mod expect;
mod read;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Source};
use crate::domain::clock::Timestamp;

use super::hypothesis::read::{Reader, Usages};
use super::hypothesis::{Hypothesis, standings};
use super::ladder::Ladder;
use super::trace::{Decider, Trace};
use super::{Policy, Written};

use expect::Want;

/// One file of tests.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The file's name.
    pub file: Arc<str>,
    /// The tests, in the order of the file.
    pub tests: Vec<Test>,
}

/// One test: a tenant as it stands, and what becomes of its calls.
#[derive(Debug, Clone)]
pub struct Test {
    /// What is claimed.
    pub name: Arc<str>,
    /// Where it is written.
    pub written: Written,
    /// The calls.
    pub cases: Vec<Case>,
}

/// One call, and what is expected of it.
#[derive(Debug, Clone)]
pub struct Case {
    /// Where it is written.
    pub written: Written,
    /// The call.
    pub call: Hypothesis,
    usages: Usages,
    wants: Vec<Want>,
}

/// A field that is not as it was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field: `model`, `would.cap_output_tokens`.
    pub field: String,
    /// What the test wants.
    pub wanted: String,
    /// What the policy says.
    pub got: String,
    /// The rules behind what the policy says; empty when no rule is.
    pub decided_by: Vec<Decider>,
}

impl Suite {
    /// Reads a file against the policy that it tests, or reports every mistake in it.
    pub fn read(source: &Source, reader: &Reader<'_>) -> Result<Self, Vec<Diagnostic>> {
        read::suite(source, reader)
    }
}

impl Case {
    /// When the call comes.
    pub fn at(&self) -> Timestamp {
        self.call.now
    }

    /// What is not as it was expected. Steps that were reached are noted.
    pub fn run(&self, policy: &Policy, coverage: &mut Coverage) -> Vec<Difference> {
        let facts = self.call.facts();
        let usage = |budget: usize| self.usages.get(&budget).copied().unwrap_or_default();
        let standings = standings(policy, &facts, usage);
        let trace = Trace::of(policy, facts, &standings);
        coverage.note(policy, &trace, &self.call);
        let mut differences = self.without_limit(policy);
        differences.extend(self.wants.iter().filter_map(|want| want.difference(policy, &trace, &self.call)));
        differences
    }

    /// A share of a limit that there is not says nothing.
    fn without_limit(&self, policy: &Policy) -> Vec<Difference> {
        let unlimited =
            self.usages.keys().filter(|budget| policy.limit(**budget, &self.call.tenant, self.at()).is_none());
        let name =
            |budget: &usize| policy.budgets.get(*budget).map(|budget| budget.name.to_string()).unwrap_or_default();
        let difference = |budget: &usize| Difference {
            field: format!("used.{}", name(budget)),
            wanted: "a limit".to_owned(),
            got: format!("no limit for {}: its plan or revenue does not say one", self.call.tenant.id),
            decided_by: Vec::new(),
        };
        unlimited.map(difference).collect()
    }
}

/// Which steps the tests have reached, of those that there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// `standard.contain`: every step of a ladder in use.
    pub steps: BTreeSet<String>,
    /// Those that some call reached.
    pub exercised: BTreeSet<String>,
}

impl Coverage {
    /// Adds the steps of a policy.
    pub fn expect(&mut self, policy: &Policy) {
        let own = policy.budgets.iter().map(|budget| &budget.ladder);
        let swapped = policy.exceptions.iter().filter_map(|exception| exception.ladder.as_ref());
        for ladder in own.chain(swapped) {
            self.steps.extend(ladder.rungs.iter().map(|rung| format!("{}.{}", ladder.name, rung.step)));
        }
    }

    /// The steps that no call reached.
    pub fn never(&self) -> Vec<&str> {
        self.steps.difference(&self.exercised).map(String::as_str).collect()
    }

    fn note(&mut self, policy: &Policy, trace: &Trace<'_>, call: &Hypothesis) {
        for standing in &trace.standings {
            let Some(budget) = policy.budgets.get(standing.budget) else { continue };
            let exceptions = policy.exceptions_of(&call.tenant, call.now).filter(|one| one.concerns(standing.budget));
            let swapped: Vec<&Ladder> = exceptions.filter_map(|one| one.ladder.as_ref()).collect();
            for ladder in std::iter::once(&budget.ladder).chain(swapped) {
                let reached = ladder.reached(standing, call.now).iter();
                self.exercised.extend(reached.map(|step| format!("{}.{step}", ladder.name)));
            }
        }
    }
}
