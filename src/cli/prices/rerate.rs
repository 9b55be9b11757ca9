//! `plimsoll prices rerate`: rows of the past at other prices. A row that is worth something else gets a row beside it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::domain::clock::{Clock, SystemClock, Timestamp};
use crate::domain::price::{PriceBook, PriceRow};
use crate::invoice::Measure;
use crate::ledger::entry::LedgerEntry;
use crate::ledger::{Evidence, Rerating};
use crate::policy::glob::Glob;
use crate::wire::Family;

use crate::cli::desk::{Desk, fail};
use crate::cli::output;
use crate::cli::text::{amount, count, difference};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The first day: `2026-11-01`, in UTC.
    #[arg(long, value_name = "DAY")]
    from: String,
    /// The first day that is left alone again. Without one: up to now.
    #[arg(long, value_name = "DAY")]
    until: Option<String>,
    /// A `prices.yaml` (or a LiteLLM price file) that covers the configuration's prices.
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Only models that fit this pattern, `gpt-4o*`.
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    model: String,
    /// Only this tenant's rows.
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Says what would change and changes nothing; exit code 3 when something would.
    #[arg(long)]
    dry_run: bool,
    /// Why: a provider's letter, a contract.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who says so.
    #[arg(long, value_name = "NAME", default_value = "operator")]
    by: String,
}

pub(super) fn run(desk: Desk, wanted: &Arguments) -> ExitCode {
    match rerate(desk, wanted) {
        Ok(result) => {
            output::line(&report(&result, wanted.dry_run));
            ExitCode::from(if wanted.dry_run && result.changed > 0 { 3 } else { 0 })
        }
        Err(fault) => fail(&fault),
    }
}

fn rerate(desk: Desk, wanted: &Arguments) -> Result<Rerating, String> {
    let now = SystemClock.now();
    let since = day(&wanted.from)?;
    let until = wanted.until.as_deref().map_or(Ok(now), day)?;
    let ledger = desk.writer("stop it first; its counters would not learn of new prices")?;
    let prices = covered(desk.prices, wanted.prices.as_ref())?;
    let model = Glob::new(&wanted.model);
    let find = |row: &LedgerEntry| -> Option<Arc<PriceRow>> {
        if wanted.tenant.as_deref().is_some_and(|tenant| tenant != row.tenant.id.as_str()) {
            return None;
        }
        // The same order as when the row was priced: the model that answered, else the one that was sent.
        let names = [&row.model_answered, &row.model_served, &row.model_requested];
        let family = family(&row.dialect);
        let mut names = names.into_iter().flatten();
        let price = names.find_map(|name| prices.find(&row.provider, family, name))?;
        model.matches(&price.model).then(|| Arc::clone(price))
    };
    let evidence =
        Evidence { spent: 0, actor: Arc::from(wanted.by.as_str()), reason: Arc::from(wanted.reason.as_str()), at: now };
    let result = ledger.rerate((since, until), &find, &evidence, !wanted.dry_run);
    ledger.close();
    result.map_err(|error| format!("error: {error}"))
}

/// The family of a dialect by its name: `openai-chat` is of `openai`.
fn family(dialect: &str) -> &'static str {
    let families = Family::ALL.map(Family::as_str);
    families.into_iter().find(|family| dialect.starts_with(family)).unwrap_or("openai")
}

fn covered(prices: PriceBook, file: Option<&PathBuf>) -> Result<PriceBook, String> {
    let Some(file) = file else { return Ok(prices) };
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| format!("error: `{name}` cannot be read: {error}"))?;
    let short = file.file_name().map_or(name.clone(), |short| short.to_string_lossy().into_owned());
    let json = file.extension().is_some_and(|extension| extension == "json");
    let read = if json { prices.with_litellm_json(&short, &text) } else { prices.with_yaml(&short, &text) };
    read.map_err(|error| format!("error: {name}:{error}"))
}

fn day(text: &str) -> Result<Timestamp, String> {
    let midnight =
        text.parse::<jiff::civil::Date>().ok().and_then(|day| day.to_zoned_datetime(jiff::tz::TimeZone::UTC).ok());
    let midnight = midnight.ok_or_else(|| format!("error: `{text}` is no day: write `2026-11-01`"))?;
    Ok(Timestamp::from_jiff(midnight.timestamp()))
}

fn report(result: &Rerating, dry: bool) -> String {
    let money = |nano: i64| amount(Measure::Money, i128::from(nano) * 1_000);
    let change = (i128::from(result.after) - i128::from(result.before)) * 1_000;
    let verb = if dry { "would change" } else { "changed" };
    let number = |number: u64| count(i128::from(number));
    let mut text = format!("{} rows, {} {verb}", number(result.rows), number(result.changed));
    if result.changed > 0 {
        text = format!(
            "{text}: {} became {} ({})",
            money(result.before),
            money(result.after),
            difference(Measure::Money, change)
        );
    }
    if result.unpriced > 0 {
        text = format!("{text}; {} are left as they are", number(result.unpriced));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rerating_says_what_it_changed() {
        let result =
            Rerating { rows: 1_204, changed: 12, unpriced: 3, before: 14_201_880_000_000, after: 14_080_480_000_000 };
        insta::assert_snapshot!(report(&result, false), @"1 204 rows, 12 changed: $14 201.88 became $14 080.48 (−$121.40); 3 are left as they are");
        insta::assert_snapshot!(report(&Rerating { rows: 5, ..Rerating::default() }, true), @"5 rows, 0 would change");
    }

    #[test]
    fn a_day_is_a_day_in_utc() {
        assert_eq!(day("2026-11-01"), Ok(Timestamp::from_seconds(1_793_491_200)));
        assert!(day("yesterday").is_err());
    }
}
