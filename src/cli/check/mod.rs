//! `plimsoll check`: every mistake of a policy folder in one run, for people, for programs, for code review.

mod expired;
mod form;
mod live;
pub(super) mod paint;
mod summary;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;

use crate::config::Outlook;
use crate::control::folder::Files;
use crate::control::{directory, model_facts, oversubscribed, price_table};
use crate::diagnostic::{self, Diagnostic, Source};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::price::PriceBook;
use crate::policy::advice::{Around, Text, advise};
use crate::policy::{self, ModelFacts};

use super::desk::{USUAL_FILE, USUAL_LEDGER, environment, fail};
use super::files::Folder;
use super::output;

use expired::Today;
use form::Form;
use summary::Summary;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The policies' folder. Without one: that of the configuration, else `policies`.
    folder: Option<PathBuf>,
    /// How findings are written.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
    /// The boot configuration: who may be notified, what models cost, where the ledger is. Without one: `plimsoll.yaml`, when
    /// it is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The ledger whose last seven days are looked at. Without one: the configuration's, else `plimsoll.db`, when it is there.
    #[arg(long, value_name = "PATH")]
    ledger: Option<PathBuf>,
    /// Look at no ledger.
    #[arg(long)]
    offline: bool,
}

/// What was found in a folder.
struct Findings {
    diagnostics: Vec<Diagnostic>,
    sources: Vec<Source>,
    /// What a valid policy holds.
    summary: Option<Summary>,
    /// Remarks on what could not be looked at.
    remarks: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let begun = Instant::now();
    let usual = Path::new(USUAL_FILE);
    let config = arguments.config.as_deref().or_else(|| usual.exists().then_some(usual));
    let outlook = match config.map(|file| Outlook::load(file, &environment)).transpose() {
        Ok(outlook) => outlook,
        Err(broken) => return fail(&paint::painted(&diagnostic::render(&broken.diagnostics, &broken.sources))),
    };
    let folder = arguments.folder.as_deref().or(outlook.as_ref().map(|outlook| outlook.policies.as_path()));
    let folder = folder.unwrap_or(Path::new("policies"));
    let files = match Folder::read(folder) {
        Ok(folder) => folder.files,
        Err(fault) => return fail(&fault),
    };
    let ledger = arguments.ledger(outlook.as_ref());
    let findings = look(&files, outlook.as_ref(), ledger.as_deref());
    let name = match files.policies.as_slice() {
        [only] => only.name.to_string(),
        _ => folder.display().to_string(),
    };
    show(findings, &Shown { name, folder, form: arguments.output, begun })
}

impl Arguments {
    /// The ledger to look at. One that is only usual and not there is not missed.
    fn ledger(&self, outlook: Option<&Outlook>) -> Option<PathBuf> {
        if self.offline {
            return None;
        }
        let usual = outlook.map_or_else(|| PathBuf::from(USUAL_LEDGER), |outlook| outlook.ledger.clone());
        self.ledger.clone().or_else(|| usual.exists().then_some(usual))
    }
}

fn look(files: &Files, outlook: Option<&Outlook>, ledger: Option<&Path>) -> Findings {
    let mut remarks = Vec::new();
    let builtin = PriceBook::builtin();
    let prices = outlook.map_or(&builtin, |outlook| &outlook.prices);
    let facts = |model: &str| -> Option<ModelFacts> { model_facts(prices, model) };
    let now = SystemClock.now();
    let surroundings = policy::Surroundings {
        prices: &facts,
        price_table: &price_table(prices),
        notify_targets: outlook.map_or(&[], |outlook| &outlook.notify_targets),
        now,
    };
    let compiled = policy::compile(&files.policies, &surroundings);
    let mut diagnostics = compiled.diagnostics;
    if outlook.is_none() {
        let before = diagnostics.len();
        // Who may be told stands in the configuration alone.
        diagnostics.retain(|one| one.code != "W133");
        if diagnostics.len() < before {
            remarks
                .push("notify targets were not checked: name the boot configuration with `--config FILE`".to_owned());
        }
    }
    let (directory, rows) = directory(files, compiled.policy.as_ref());
    diagnostics.extend(rows);
    let text = Text::of(&files.policies);
    if let Some(policy) = &compiled.policy {
        diagnostics.extend(oversubscribed(policy, &directory, now));
        let seen = ledger.and_then(|ledger| match live::seen(ledger, policy, now) {
            Ok(seen) => Some(seen),
            Err(error) => {
                let name = ledger.display();
                remarks.push(format!(
                    "warnings from live knowledge are left out, the ledger `{name}` cannot be read: {error}"
                ));
                None
            }
        });
        let today = Today { policy, text: &text, ledger, now };
        today.note(&mut diagnostics, |name| directory.tenant(name));
        let tenants: Vec<_> = directory.iter().collect();
        diagnostics.extend(advise(&text, &Around { policy, prices: &facts, tenants: &tenants, seen: seen.as_ref() }));
    }
    diagnostic::sort(&mut diagnostics);
    let summary = compiled.policy.as_ref().map(|policy| Summary::of(policy, &text, &directory, now));
    Findings { diagnostics, sources: files.sources(), summary, remarks }
}

/// How findings are shown.
struct Shown<'a> {
    name: String,
    folder: &'a Path,
    form: Form,
    begun: Instant,
}

/// Exit code 0 with warnings too, 1 with an error.
fn show(findings: Findings, shown: &Shown<'_>) -> ExitCode {
    let failed = diagnostic::has_errors(&findings.diagnostics);
    if shown.form == Form::Text {
        as_text(&findings, shown);
    } else {
        // Programs look for files from where they are, not from the folder.
        let path = |name: &str| Arc::from(shown.folder.join(name).display().to_string());
        let diagnostics: Vec<_> = findings.diagnostics.into_iter().map(|one| one.renamed(&path)).collect();
        output::raw(&form::written(shown.form, &diagnostics, findings.summary.as_ref()));
    }
    if failed { ExitCode::from(1) } else { ExitCode::SUCCESS }
}

fn as_text(findings: &Findings, shown: &Shown<'_>) {
    if !findings.diagnostics.is_empty() {
        output::note(&paint::painted(&diagnostic::render(&findings.diagnostics, &findings.sources)));
    }
    for remark in &findings.remarks {
        output::note(&format!("note: {remark}"));
    }
    match &findings.summary {
        Some(summary) if !diagnostic::has_errors(&findings.diagnostics) => {
            let taken = shown.begun.elapsed().as_millis();
            output::line(&format!("{} ok: {}  ({taken} ms)", shown.name, summary.line(findings.diagnostics.len())));
        }
        _ => output::note(&summary::failure(&shown.name, &findings.diagnostics)),
    }
}
