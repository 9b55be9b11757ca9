//! `plimsoll test`: the tests beside the policies, under a clock that stands still.
//!
//! Exit codes: 0 every test passed, 1 one failed, 2 policies or tests cannot be read.

mod junit;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::control::folder::Files;
use crate::diagnostic;
use crate::domain::clock::{Clock, SystemClock, Timestamp};
use crate::domain::window::rfc3339;
use crate::policy::Policy;
use crate::policy::hypothesis::read::Reader;
use crate::policy::suite::{Case, Coverage, Difference, Suite, Test};

use super::desk::fail;
use super::files::Folder;
use super::output;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The policies' folder. Its tests are the files `*_test.yaml`.
    #[arg(default_value = "policies")]
    folder: PathBuf,
    /// How to write the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// XML as `JUnit` has it, for CI.
    Junit,
}

/// How everything went.
#[derive(Debug, Serialize)]
struct Report {
    passed: usize,
    failed: usize,
    tests: Vec<Tested>,
    coverage: Covered,
}

/// How one test went.
#[derive(Debug, Serialize)]
struct Tested {
    file: String,
    line: u32,
    name: String,
    passed: bool,
    cases: Vec<Tried>,
}

/// How one case went.
#[derive(Debug, Serialize)]
struct Tried {
    line: u32,
    /// The endpoint's tag, and the model.
    request: String,
    /// RFC 3339, in the policy's time zone.
    at: String,
    passed: bool,
    differences: Vec<Differs>,
}

/// A field that is not as it was expected.
#[derive(Debug, Serialize)]
struct Differs {
    field: String,
    wanted: String,
    got: String,
    decided_by: Vec<Decided>,
}

/// A rule behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Decided {
    rule: String,
    file: String,
    line: u32,
}

#[derive(Debug, Serialize)]
struct Covered {
    steps: usize,
    exercised: usize,
    never: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match tested(arguments) {
        Err(fault) => fail(&fault),
        Ok(report) => {
            output::line(&match arguments.output {
                Form::Text => text::report(&report),
                Form::Json => serde_json::to_string(&report).unwrap_or_default(),
                Form::Junit => junit::report(&report),
            });
            ExitCode::from(u8::from(report.failed > 0))
        }
    }
}

fn tested(arguments: &Arguments) -> Result<Report, String> {
    let folder = Folder::read(&arguments.folder)?;
    let policy = folder.valid_policy(SystemClock.now())?;
    let sources = Files::tests(&arguments.folder).map_err(|diagnostic| diagnostic.one_line())?;
    if sources.is_empty() {
        return Err(format!("error: `{}` holds no tests (*_test.yaml)", arguments.folder.display()));
    }
    let models = |name: &str| folder.model(name);
    // What finance changes in `tenants.csv` must not change what a test says.
    let reader = Reader { policy: &policy, models: &models, tenants: &|_| None };
    let (mut suites, mut mistakes) = (Vec::new(), Vec::new());
    for source in &sources {
        match Suite::read(source, &reader) {
            Ok(suite) => suites.push(suite),
            Err(found) => mistakes.extend(found),
        }
    }
    if !mistakes.is_empty() {
        return Err(diagnostic::render(&mistakes, &sources));
    }
    let mut run = Run { folder: &folder, policies: BTreeMap::new(), coverage: Coverage::default() };
    run.coverage.expect(&policy);
    let mut tests = Vec::new();
    for suite in &suites {
        for test in &suite.tests {
            tests.push(run.test(&suite.file, test)?);
        }
    }
    Ok(run.report(tests))
}

/// The policies of a run, by the moments at which its calls come: exceptions are in force by the clock.
struct Run<'f> {
    folder: &'f Folder,
    policies: BTreeMap<Timestamp, Policy>,
    coverage: Coverage,
}

impl Run<'_> {
    fn test(&mut self, file: &str, test: &Test) -> Result<Tested, String> {
        let cases: Vec<Tried> = test.cases.iter().map(|case| self.case(case)).collect::<Result<_, _>>()?;
        Ok(Tested {
            file: file.to_owned(),
            line: test.written.line,
            name: test.name.to_string(),
            passed: cases.iter().all(|case| case.passed),
            cases,
        })
    }

    fn case(&mut self, case: &Case) -> Result<Tried, String> {
        let at = case.at();
        if !self.policies.contains_key(&at) {
            let policy = self.folder.valid_policy(at)?;
            self.coverage.expect(&policy);
            self.policies.insert(at, policy);
        }
        let Some(policy) = self.policies.get(&at) else { return Err("error: no policy".to_owned()) };
        let differences: Vec<Differs> = case.run(policy, &mut self.coverage).into_iter().map(Differs::from).collect();
        Ok(Tried {
            line: case.written.line,
            request: format!("{} {}", case.call.attribution.endpoint_tag, case.call.model).trim_end().to_owned(),
            at: rfc3339(at, &policy.zone),
            passed: differences.is_empty(),
            differences,
        })
    }

    fn report(self, tests: Vec<Tested>) -> Report {
        let failed = tests.iter().filter(|test| !test.passed).count();
        let never: Vec<String> = self.coverage.never().into_iter().map(str::to_owned).collect();
        let steps = self.coverage.steps.len();
        let coverage = Covered { steps, exercised: steps - never.len(), never };
        Report { passed: tests.len() - failed, failed, tests, coverage }
    }
}

impl From<Difference> for Differs {
    fn from(difference: Difference) -> Self {
        let Difference { field, wanted, got, decided_by } = difference;
        let decided_by = decided_by.into_iter().map(|decider| Decided {
            rule: decider.rule,
            file: decider.written.file.to_string(),
            line: decider.written.line,
        });
        Self { field, wanted, got, decided_by: decided_by.collect() }
    }
}
