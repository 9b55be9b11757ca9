//! The outcome for people: every test by its name, and of those that failed only the fields that differ.

use std::fmt::Write as _;

use crate::cli::text::many;

use super::{Decided, Differs, Report, Tested, Tried};

/// The whole report.
pub(super) fn report(report: &Report) -> String {
    let mut out = String::new();
    let mut file = "";
    for test in &report.tests {
        if test.file != file {
            file = &test.file;
            let _ = writeln!(out, "{file}");
        }
        describe(&mut out, test);
    }
    let failed = if report.failed > 0 { format!("{} failed, ", report.failed) } else { String::new() };
    let _ = write!(out, "{failed}{} passed   {}", report.passed, coverage(report));
    out
}

fn coverage(report: &Report) -> String {
    let covered = &report.coverage;
    let mut text = format!("coverage: {} of {} exercised", covered.exercised, many(covered.steps, "step"));
    if !covered.never.is_empty() {
        let _ = write!(text, "; never: {}", covered.never.join(", "));
    }
    text
}

fn describe(out: &mut String, test: &Tested) {
    if test.passed {
        let _ = writeln!(out, "  ✓ {} ({})", test.name, many(test.cases.len(), "case"));
        return;
    }
    let _ = writeln!(out, "  ✗ {}", test.name);
    for (number, case) in test.cases.iter().enumerate().filter(|(_, case)| !case.passed) {
        let _ = writeln!(out, "      {}:{}  case {}: {}", test.file, case.line, number + 1, moment(case));
        out.push_str(&differences(&case.differences, "        "));
    }
}

/// `request digest.weekly gpt-4o at 2027-02-01T10:14:00+01:00`.
pub(super) fn moment(case: &Tried) -> String {
    format!("request {} at {}", case.request, case.at)
}

/// Wanted → got, and whose doing it is; a rule behind several fields in a row is named once, after them.
pub(super) fn differences(all: &[Differs], indent: &str) -> String {
    let width = |of: &dyn Fn(&Differs) -> usize, least: usize| all.iter().map(of).max().unwrap_or(0).max(least);
    let (names, wants) = (width(&|one| one.field.chars().count(), 17), width(&|one| one.wanted.chars().count(), 12));
    let mut out = String::new();
    for (at, one) in all.iter().enumerate() {
        let _ = writeln!(out, "{indent}{:names$}  {:wants$}  → {}", one.field, one.wanted, one.got);
        if all.get(at + 1).is_none_or(|next| next.decided_by != one.decided_by) {
            for Decided { rule, file, line } in &one.decided_by {
                let _ = writeln!(out, "{indent}{:names$}  {rule}  ({file}:{line})", "decided by");
            }
        }
    }
    out
}
