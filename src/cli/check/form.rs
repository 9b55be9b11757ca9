//! Findings for programs: one JSON object, workflow commands of GitHub, a SARIF log. Every finding is in them; only people are
//! shown the first twenty.

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::cli::explain::codes;
use crate::diagnostic::{self, Diagnostic, Severity};

use super::summary::{Summary, count};

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Form {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// Workflow commands of GitHub Actions.
    Github,
    /// A SARIF 2.1.0 log.
    Sarif,
}

pub(super) fn written(form: Form, diagnostics: &[Diagnostic], summary: Option<&Summary>) -> String {
    let log = match form {
        Form::Text => return diagnostic::render(diagnostics, &[]),
        Form::Github => return diagnostic::github(diagnostics),
        Form::Json => object(diagnostics, summary),
        Form::Sarif => diagnostic::sarif(diagnostics, &codes::title, env!("CARGO_PKG_VERSION")),
    };
    format!("{log:#}\n")
}

/// The stable form: keys are added to it and never change their meaning while `version` stays.
fn object(diagnostics: &[Diagnostic], summary: Option<&Summary>) -> Value {
    json!({
        "version": 1,
        "ok": !diagnostic::has_errors(diagnostics),
        "errors": count(diagnostics, Severity::Error),
        "warnings": count(diagnostics, Severity::Warning),
        "policy": summary.map(Summary::json),
        "diagnostics": diagnostics,
    })
}
