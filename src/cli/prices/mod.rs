//! `plimsoll prices`: the tariff in force, what it does not cover, and a comparison with a provider's invoice. Offline, and
//! beside a running server.

mod reconcile;
mod rerate;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::domain::clock::{Clock, SystemClock, Timestamp};
use crate::domain::price::PriceBook;
use crate::ledger::Unpriced;

use super::desk::{Desk, Place, fail};
use super::output;
use super::text::many;

/// How far back models without a price are looked for.
const LOOK_BACK: Duration = Duration::from_hours(7 * 24);
/// The most unpriced models that are listed.
const MOST_UNPRICED: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Compare the ledger with a provider's invoice export (CSV or JSON), by model and kind of token.
    Reconcile(reconcile::Arguments),
    /// Price a time that is past anew; what changes is written as rows of its own. The gateway must not run.
    Rerate(rerate::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let desk = match Desk::open(&arguments.place) {
        Ok(desk) => desk,
        Err(fault) => return fail(&fault),
    };
    match &arguments.verb {
        Some(Verb::Reconcile(wanted)) => reconcile::run(&desk, wanted),
        Some(Verb::Rerate(wanted)) => rerate::run(&desk, wanted),
        None => overview(&desk),
    }
}

fn overview(desk: &Desk) -> ExitCode {
    output::line(&tariff(&desk.prices));
    if !desk.ledger.exists() {
        return ExitCode::SUCCESS;
    }
    let now = SystemClock.now().micros();
    let since = Timestamp::from_micros(now.saturating_sub(i64::try_from(LOOK_BACK.as_micros()).unwrap_or(i64::MAX)));
    let unpriced = desk.reader().and_then(|reader| reader.unpriced(since).map_err(|error| format!("error: {error}")));
    match unpriced {
        Ok(unpriced) if unpriced.is_empty() => ExitCode::SUCCESS,
        Ok(unpriced) => {
            output::line(&missing(&unpriced));
            ExitCode::from(1)
        }
        Err(fault) => fail(&fault),
    }
}

/// `312 models  built-in table 2026-11-16   2 overrides (prices.yaml)`
fn tariff(prices: &PriceBook) -> String {
    let built_in = |id: &str| id.starts_with("builtin@");
    let mut models: Vec<(&str, Option<&str>)> =
        prices.rows().map(|row| (&*row.model, row.provider.as_deref())).collect();
    models.sort_unstable();
    models.dedup();
    let mut line = format!("{}  built-in table {}", many(models.len(), "model"), prices.as_of());
    let overrides: Vec<&str> = prices.rows().map(|row| &*row.id).filter(|id| !built_in(id)).collect();
    if !overrides.is_empty() {
        let mut files: Vec<&str> = overrides.iter().map(|id| id.split('@').next().unwrap_or(id)).collect();
        files.sort_unstable();
        files.dedup();
        let _ = write!(line, "   {} ({})", many(overrides.len(), "override"), files.join(", "));
    }
    line
}

fn missing(unpriced: &[Unpriced]) -> String {
    let name = |row: &Unpriced| {
        let attempts = many(usize::try_from(row.attempts).unwrap_or(0), "request");
        format!("{} at {} ({attempts}, metered as tokens, cost unknown)", model(&row.model), row.provider)
    };
    let mut lines = vec![format!("! unpriced in the last 7 days: {}", unpriced.first().map(name).unwrap_or_default())];
    lines.extend(unpriced.iter().skip(1).take(MOST_UNPRICED - 1).map(|row| format!("{:31}{}", "", name(row))));
    if unpriced.len() > MOST_UNPRICED {
        lines.push(format!("{:31}and {} more", "", unpriced.len() - MOST_UNPRICED));
    }
    lines.push("  add them to a file under `prices:` in plimsoll.yaml".to_owned());
    lines.join("\n")
}

fn model(name: &str) -> &str {
    if name.is_empty() { "(no model)" } else { name }
}
