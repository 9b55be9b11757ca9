//! `plimsoll prices rerate`: rows of the past at other prices. A row that is worth something else gets a row beside it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::domain::clock::{Clock, SystemClock, Timestamp};
use crate::domain::price::PriceBook;
use crate::invoice::{Measure, PICO_PER_NANO};
use crate::ledger::entry::LedgerEntry;
use crate::ledger::{Evidence, Rerated, Rerating, Tariff};
use crate::policy::glob::Glob;
use crate::wire::Family;

use crate::cli::desk::{Desk, Form, fail};
use crate::cli::output;
use crate::cli::text::{amount, count, difference, many, table};

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
    /// How to write the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

pub(super) fn run(desk: &Desk, wanted: &Arguments) -> ExitCode {
    match rerate(desk, wanted) {
        Ok(result) => {
            output::line(&match wanted.output {
                Form::Text => report(&result, wanted.dry_run),
                Form::Json => serde_json::to_string(&result).unwrap_or_default(),
            });
            ExitCode::from(if wanted.dry_run && result.total.changed > 0 { 3 } else { 0 })
        }
        Err(fault) => fail(&fault),
    }
}

fn rerate(desk: &Desk, wanted: &Arguments) -> Result<Rerating, String> {
    let now = SystemClock.now();
    let time = (day(&wanted.from)?, wanted.until.as_deref().map_or(Ok(now), day)?);
    if time.0 >= time.1 {
        return Err("error: `--from` is not before `--until`".to_owned());
    }
    let evidence = Evidence::of_prices((&wanted.by, &wanted.reason), now).map_err(|fault| format!("error: {fault}"))?;
    let prices = covered(desk.prices.clone(), wanted.prices.as_ref())?;
    let model = Glob::new(&wanted.model);
    let tariff = |row: &LedgerEntry| {
        // The same order as when the row was priced: the model that answered, else the one that was sent.
        let names = [&row.model_answered, &row.model_served, &row.model_requested];
        let mut names = names.into_iter().flatten();
        let price = names.clone().find_map(|name| prices.find(&row.provider, family(&row.dialect), name));
        let meant = price.is_some_and(|price| model.matches(&price.model)) || names.any(|name| model.matches(name));
        let other_tenant = wanted.tenant.as_deref().is_some_and(|tenant| tenant != row.tenant.id.as_str());
        match price {
            _ if other_tenant || !meant => Tariff::Other,
            Some(price) => Tariff::At(Arc::clone(price)),
            None => Tariff::Unknown,
        }
    };
    let rerated = if wanted.dry_run {
        desk.reader()?.rerating(time, &tariff)
    } else {
        let ledger = desk.writer("stop it first; its counters would not learn of new prices")?;
        let rerated = ledger.rerate(time, &tariff, &evidence);
        ledger.close();
        rerated
    };
    rerated.map_err(|error| format!("error: {error}"))
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
    let verb = if dry { "would change" } else { "changed" };
    let rows = many(usize::try_from(result.rows).unwrap_or(usize::MAX), "row");
    let mut text = format!("{rows}, {} {verb}", number(result.total.changed));
    if result.unpriced > 0 {
        let _ = write!(text, ", {} without a price left alone", number(result.unpriced));
    }
    if result.total.changed == 0 {
        return text;
    }
    let mut rows = vec![["model", "rows", "before", "after", "difference"].map(str::to_owned).to_vec()];
    rows.extend(result.models.iter().map(|(model, change)| line(model, change)));
    if result.models.len() > 1 {
        rows.push(line("all", &result.total));
    }
    let _ = write!(text, "\n\n{}", table(&rows, 1));
    text
}

fn number(number: u64) -> String {
    count(i128::from(number))
}

fn line(model: &str, change: &Rerated) -> Vec<String> {
    let (before, after) = (i128::from(change.before_nano_usd), i128::from(change.after_nano_usd));
    let money = |nano: i128| amount(Measure::Money, nano * PICO_PER_NANO);
    let difference = difference(Measure::Money, (after - before) * PICO_PER_NANO);
    vec![model.to_owned(), number(change.changed), money(before), money(after), difference]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rerating_says_what_it_changed() {
        let change = |changed, before_nano_usd, after_nano_usd| Rerated { changed, before_nano_usd, after_nano_usd };
        let mut result = Rerating {
            rows: 1_204,
            unpriced: 3,
            total: change(12, 14_201_880_000_000, 14_080_480_000_000),
            models: [("gpt-4o".to_owned(), change(12, 14_201_880_000_000, 14_080_480_000_000))].into(),
        };
        insta::assert_snapshot!(report(&result, false), @"
        1 204 rows, 12 changed, 3 without a price left alone

        model   rows      before       after  difference
        gpt-4o    12  $14 201.88  $14 080.48    −$121.40
        ");
        result.total = change(13, 14_201_880_000_400, 14_080_480_000_900);
        result.models.insert("gpt-4o-mini".to_owned(), change(1, 400, 900));
        insta::assert_snapshot!(report(&result, true), @"
        1 204 rows, 13 would change, 3 without a price left alone

        model        rows      before       after  difference
        gpt-4o         12  $14 201.88  $14 080.48    −$121.40
        gpt-4o-mini     1       $0.00   $0.000001  +$0.000001
        all            13  $14 201.88  $14 080.48    −$121.40
        ");
        insta::assert_snapshot!(report(&Rerating { rows: 1, ..Rerating::default() }, true), @"1 row, 0 would change");
    }

    #[test]
    fn a_day_is_a_day_in_utc() {
        assert_eq!(day("2026-11-01"), Ok(Timestamp::from_seconds(1_793_491_200)));
        assert!(day("yesterday").is_err());
    }
}
