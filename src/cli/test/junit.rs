//! The outcome in the XML of `JUnit`: a suite per file, a case per test.

use std::fmt::Write as _;

use crate::cli::text::many;

use super::{Report, Tested, text};

/// The whole report.
pub(super) fn report(report: &Report) -> String {
    let total = report.passed + report.failed;
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(out, "<testsuites name=\"plimsoll test\" tests=\"{total}\" failures=\"{}\">", report.failed);
    for suite in report.tests.chunk_by(|one, other| one.file == other.file) {
        let Some(first) = suite.first() else { continue };
        let file = escaped(&first.file);
        let failed = suite.iter().filter(|test| !test.passed).count();
        let _ = writeln!(out, "  <testsuite name=\"{file}\" tests=\"{}\" failures=\"{failed}\">", suite.len());
        for test in suite {
            case(&mut out, test);
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>");
    out
}

fn case(out: &mut String, test: &Tested) {
    let (name, file, line) = (escaped(&test.name), escaped(&test.file), test.line);
    let _ = write!(out, "    <testcase name=\"{name}\" classname=\"{file}\" file=\"{file}\" line=\"{line}\"");
    if test.passed {
        out.push_str("/>\n");
        return;
    }
    let failed: Vec<_> = test.cases.iter().zip(1..).filter(|(case, _)| !case.passed).collect();
    let message = format!("{} of {} failed", failed.len(), many(test.cases.len(), "case"));
    let _ = writeln!(out, ">\n      <failure message=\"{message}\">");
    for (case, number) in failed {
        let moment = escaped(&text::moment(case));
        let _ = writeln!(out, "{file}:{} case {number}: {moment}", case.line);
        out.push_str(&escaped(&text::differences(&case.differences, "  ")));
    }
    out.push_str("      </failure>\n    </testcase>\n");
}

/// Text as it may stand in XML. Control characters cannot stand there at all.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(character),
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}
