//! `plimsoll check`: every mistake of a policy folder in one run.

use std::path::Path;
use std::process::ExitCode;

use crate::control::folder::Files;
use crate::control::{directory, model_facts, oversubscribed, price_table};
use crate::diagnostic::{self, Severity};
use crate::domain::clock::{Clock, SystemClock};
use crate::domain::price::PriceBook;
use crate::policy;

use super::output;

pub(super) fn run(folder: &Path) -> ExitCode {
    let files = match Files::read(folder) {
        Ok(files) if files.policies.is_empty() => {
            output::note(&format!("error: `{}` holds no policy (*.yaml)", folder.display()));
            return ExitCode::from(2);
        }
        Ok(files) => files,
        Err(diagnostic) => {
            output::note(&diagnostic.one_line());
            return ExitCode::from(2);
        }
    };
    let prices = PriceBook::builtin();
    let facts = |model: &str| model_facts(&prices, model);
    let price_table = price_table(&prices);
    let now = SystemClock.now();
    let surroundings = policy::Surroundings { prices: &facts, price_table: &price_table, notify_targets: &[], now };
    let compiled = policy::compile(&files.policies, &surroundings);
    let mut diagnostics = compiled.diagnostics;
    let (tenants, found) = directory(&files, compiled.policy.as_ref());
    diagnostics.extend(found);
    if let Some(policy) = &compiled.policy {
        diagnostics.extend(oversubscribed(policy, &tenants, now));
    }
    if !diagnostics.is_empty() {
        output::note(&diagnostic::render(&diagnostics, &files.sources()));
    }
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return ExitCode::from(1);
    }
    let budgets = compiled.policy.as_ref().map_or(0, |policy| policy.budgets.len());
    let warnings = diagnostics.len();
    output::line(&format!("{} ok: {}, {}", folder.display(), many(budgets, "budget"), many(warnings, "warning")));
    ExitCode::SUCCESS
}

fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
