//! `plimsoll prices reconcile FILE`: what the ledger charged beside what the provider billed.
//!
//! Rows of the ledger carry one cost. What each kind of token cost is computed again from the row's own price row (as the
//! ledger keeps it, else as the tables have it), exactly; it differs from the row's cost by its rounding, less than a nano-dollar. What a row charged beyond its tokens (a hold in
//! doubt, a correction, a price row that is not known any more) is shown as not itemised.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::diagnostic::{self, Source};
use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::price::{PriceBook, PriceRow};
use crate::invoice::{self, Gap, Invoice, Kind, Measure, PICO_PER_NANO, Reconciliation, Sum};
use crate::ledger::{Consumption, LedgerReader};

use super::text::{amount, difference, many, percent, spoken, table};
use super::{Desk, Form, fail, model};
use crate::cli::output;

/// The most price rows that are listed.
const MOST_LISTED: usize = 5;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The export: OpenAI's or Anthropic's costs or usage, CSV or JSON.
    file: PathBuf,
    /// The provider's name in plimsoll.yaml, where it is not `openai` or `anthropic`.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// How to write the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

pub(super) fn run(desk: &Desk, wanted: &Arguments) -> ExitCode {
    match compared(desk, wanted) {
        Ok((invoice, account, result)) => {
            match wanted.output {
                Form::Text => output::line(&report(&invoice, &account, &result)),
                Form::Json => output::line(&machine(&invoice, &account, &result)),
            }
            ExitCode::SUCCESS
        }
        Err(fault) => fail(&fault),
    }
}

fn compared(desk: &Desk, wanted: &Arguments) -> Result<(Invoice, Account, Reconciliation), String> {
    let name = wanted.file.display().to_string();
    let bytes = std::fs::read(&wanted.file).map_err(|error| format!("error: `{name}` cannot be read: {error}"))?;
    let text = String::from_utf8_lossy(&bytes);
    if matches!(text, Cow::Owned(_)) && !bytes.starts_with(b"PK") {
        return Err(format!("error: `{name}` is not UTF-8; export it as CSV or JSON in UTF-8"));
    }
    let source = Source::new(&name, &text);
    let invoice = invoice::read(&source).map_err(|problems| diagnostic::render(&problems, &[source]))?;
    let reader = desk.reader()?;
    let provider = wanted.provider.as_deref().unwrap_or(invoice.provider);
    let account = Account::read(&reader, &invoice, provider, &desk.prices)?;
    let known = |model: &str| {
        let row = desk.prices.find(provider, invoice.provider, model);
        row.map_or_else(|| model.to_owned(), |row| row.model.to_string())
    };
    let result = invoice::reconcile(&invoice, &account.sums(), &known);
    Ok((invoice, account, result))
}

/// What the ledger has for the invoice's days.
#[derive(Debug, Default)]
pub(super) struct Account {
    provider: String,
    sums: BTreeMap<String, BTreeMap<Kind, i128>>,
    rows: u64,
    /// What the rows say themselves, in nano-dollars.
    charged: i128,
    in_doubt: i128,
    estimated: i128,
    /// Rows without a price, which cost an unknown amount.
    unpriced: usize,
    /// Price rows that no table has any more, with their rows and what those charged.
    forgotten: BTreeMap<String, (usize, i128)>,
}

impl Account {
    pub(super) fn read(
        reader: &LedgerReader,
        invoice: &Invoice,
        provider: &str,
        prices: &PriceBook,
    ) -> Result<Self, String> {
        let unreadable = |error| format!("error: the ledger cannot be read: {error}");
        let pinned = reader.price_rows().map_err(unreadable)?;
        let mut by_id: HashMap<&str, Vec<&PriceRow>> = HashMap::new();
        for row in pinned.iter().chain(prices.rows().map(|row| &**row)) {
            by_id.entry(&*row.id).or_default().push(row);
        }
        let mut account = Self { provider: provider.to_owned(), ..Self::default() };
        reader
            .consumption(provider, (invoice.since, invoice.until), &mut |row| {
                let prices = row.price_row.and_then(|id| by_id.get(id)).map_or(&[][..], Vec::as_slice);
                account.take(row, price_of(row, prices), invoice.measure);
            })
            .map_err(unreadable)?;
        if account.rows == 0 {
            let providers = reader.providers().map_err(unreadable)?;
            let others: Vec<&String> = providers.iter().filter(|name| *name != provider).collect();
            if !others.is_empty() && !providers.iter().any(|name| name == provider) {
                let names: Vec<String> = others.into_iter().map(|name| format!("`{name}`")).collect();
                return Err(format!(
                    "error: the ledger has no rows of `{provider}`, only of {}; say which with `--provider NAME`",
                    names.join(", ")
                ));
            }
        }
        Ok(account)
    }

    fn take(&mut self, row: &Consumption<'_>, price: Option<&PriceRow>, measure: Measure) {
        self.rows += 1;
        let charged = i128::from(row.cost.unwrap_or(Money::ZERO).nano());
        self.charged += charged;
        match row.basis {
            "in_doubt" => self.in_doubt += charged,
            "estimated" => self.estimated += charged,
            _ => {}
        }
        self.unpriced += usize::from(row.cost.is_none() && row.usage.is_known());
        if let (Some(id), None) = (row.price_row, price) {
            let known = self.forgotten.entry(id.to_owned()).or_default();
            *known = (known.0 + 1, known.1 + charged);
        }
        let parts = row.usage.parts();
        let rates = price.filter(|_| row.cost.is_some()).map(|price| price.rates(parts.all_input));
        let kinds = [
            (Kind::Input, parts.input, rates.map(|rates| rates.input)),
            (Kind::CachedInput, parts.cached_input, rates.map(|rates| rates.cached_input)),
            (Kind::CacheWrite, parts.cache_write, rates.map(|rates| rates.cache_write)),
            (Kind::CacheWrite, parts.cache_write_1h, rates.map(|rates| rates.cache_write_1h)),
            (Kind::Output, parts.output, rates.map(|rates| rates.output)),
        ];
        let mut itemised = 0;
        for (kind, tokens, rate) in kinds {
            let pico = i128::from(tokens) * i128::from(rate.unwrap_or(0));
            itemised += pico;
            self.add(row.model, kind, if measure == Measure::Money { pico } else { i128::from(tokens) });
        }
        let beyond = charged * PICO_PER_NANO - itemised;
        // Less than a nano-dollar is the row's rounding.
        if measure == Measure::Money && beyond.abs() >= PICO_PER_NANO {
            self.add(row.model, Kind::Unitemised, beyond);
        }
    }

    fn add(&mut self, model: &str, kind: Kind, amount: i128) {
        if amount == 0 {
            return;
        }
        let kinds = match self.sums.get_mut(model) {
            Some(kinds) => kinds,
            None => self.sums.entry(model.to_owned()).or_default(),
        };
        *kinds.entry(kind).or_default() += amount;
    }

    fn sums(&self) -> Vec<Sum> {
        let of = |(model, kinds): (&String, &BTreeMap<Kind, i128>)| {
            let sum = |(kind, amount): (&Kind, &i128)| Sum { model: model.clone(), kind: *kind, amount: *amount };
            kinds.iter().map(sum).collect::<Vec<_>>()
        };
        self.sums.iter().flat_map(of).collect()
    }

    /// What the reader should know of the ledger's side, a line each.
    fn notes(&self, measure: Measure) -> Vec<String> {
        let dollars = |nano: i128| amount(Measure::Money, nano * PICO_PER_NANO);
        let mut notes = Vec::new();
        if self.rows == 0 {
            notes.push(format!("the ledger has no rows of `{}` in these days", self.provider));
        }
        if self.unpriced > 0 {
            let (are, count) = if self.unpriced == 1 { ("is", "counts") } else { ("are", "count") };
            let rows = many(self.unpriced, "row");
            notes.push(format!(
                "{rows} of the ledger {are} unpriced and {count} as nothing here; see `plimsoll prices`"
            ));
        }
        if measure == Measure::Tokens {
            return notes;
        }
        for (id, (rows, nano)) in self.forgotten.iter().take(MOST_LISTED) {
            let rows = many(*rows, "row");
            notes.push(format!("price row `{id}` is not known any more: {rows}, {}, not itemised", dollars(*nano)));
        }
        if self.forgotten.len() > MOST_LISTED {
            notes.push(format!("and {} more price rows", self.forgotten.len() - MOST_LISTED));
        }
        if self.estimated != 0 {
            notes.push(format!("{} of the ledger is estimated: the provider did not say", dollars(self.estimated)));
        }
        if self.in_doubt != 0 {
            notes.push(format!("{} of the ledger is in doubt; see `plimsoll ledger in-doubt`", dollars(self.in_doubt)));
        }
        notes
    }
}

/// The price that a row was priced with: of several with one id, the one that makes the row's cost.
fn price_of<'p>(row: &Consumption<'_>, prices: &[&'p PriceRow]) -> Option<&'p PriceRow> {
    let exact = prices.iter().find(|price| price.cost(&row.usage) == row.cost).filter(|_| prices.len() > 1);
    exact.or(prices.first()).copied()
}

pub(super) fn report(invoice: &Invoice, account: &Account, result: &Reconciliation) -> String {
    let measure = result.measure;
    let mut head = format!(
        "ledger {}   invoice {}   {}",
        spoken(measure, result.ledger),
        spoken(measure, result.invoice),
        percent(result.ledger, result.invoice)
    );
    match result.largest() {
        Some(gap) => drop(write!(head, "   largest gap: {} ({})", subject(gap), difference(measure, gap.difference()))),
        None => head.push_str("   no gap"),
    }
    let days = format!("{}, {}, {}", invoice.format, days(invoice), many(invoice.lines.len(), "line"));
    let mut rows = vec![["model", "kind", "ledger", "invoice", "gap", ""].map(str::to_owned).to_vec()];
    let mut last = None;
    for gap in &result.gaps {
        let name = if last == Some(&gap.model) { "" } else { label(gap) };
        last = Some(&gap.model);
        rows.push(vec![
            name.to_owned(),
            gap.kind.as_str().to_owned(),
            amount(measure, gap.ledger),
            amount(measure, gap.invoice),
            difference(measure, gap.difference()),
            percent(gap.ledger, gap.invoice),
        ]);
    }
    let mut text = format!("{head}\n{days}\n");
    if !result.gaps.is_empty() {
        let _ = write!(text, "\n{}\n", table(&rows, 2));
    }
    let notes: Vec<String> = invoice.notes.iter().cloned().chain(account.notes(measure)).collect();
    if !notes.is_empty() {
        let _ = write!(text, "\n! {}", notes.join("\n! "));
    }
    text.trim_end().to_owned()
}

/// `cached input on gpt-4o`
fn subject(gap: &Gap) -> String {
    match gap.kind {
        Kind::Whole if gap.model.is_empty() => "everything".to_owned(),
        Kind::Whole | Kind::Other => label(gap).to_owned(),
        kind => format!("{} on {}", kind.as_str(), label(gap)),
    }
}

fn label(gap: &Gap) -> &str {
    if gap.model.is_empty() && gap.kind == Kind::Whole { "(all models)" } else { model(&gap.model) }
}

/// The invoice's days of UTC, both included.
fn days(invoice: &Invoice) -> String {
    let day = |micros: i64| Timestamp::from_micros(micros).to_string().chars().take(10).collect::<String>();
    let (first, last) = (day(invoice.since.micros()), day(invoice.until.micros() - 1));
    if first == last { format!("{first} UTC") } else { format!("{first} to {last} UTC") }
}

/// The comparison as JSON: money in nano-dollars, rounded once per figure.
pub(super) fn machine(invoice: &Invoice, account: &Account, result: &Reconciliation) -> String {
    let unit = match result.measure {
        Measure::Money => "nano_usd",
        Measure::Tokens => "tokens",
    };
    let figure = |amount: i128| match result.measure {
        Measure::Money => (amount + amount.signum() * PICO_PER_NANO / 2) / PICO_PER_NANO,
        Measure::Tokens => amount,
    };
    let number = |amount: i128| i64::try_from(figure(amount)).unwrap_or(i64::MAX);
    let gap = |gap: &Gap| {
        json!({
            "model": (!gap.model.is_empty()).then_some(&gap.model),
            "kind": gap.kind.as_str().replace(' ', "_"),
            "ledger": number(gap.ledger),
            "invoice": number(gap.invoice),
            "gap": number(gap.difference()),
        })
    };
    let forgotten = account.forgotten.iter().map(|(id, (rows, nano))| {
        json!({ "price_row": id, "rows": rows, "cost_nano_usd": i64::try_from(*nano).unwrap_or(i64::MAX) })
    });
    json!({
        "format": invoice.format,
        "provider": account.provider,
        "since": invoice.since.to_string(),
        "until": invoice.until.to_string(),
        "unit": unit,
        "ledger": number(result.ledger),
        "invoice": number(result.invoice),
        "gap": number(result.ledger - result.invoice),
        "largest": result.largest().map(gap),
        "gaps": result.gaps.iter().map(gap).collect::<Vec<_>>(),
        "rows": account.rows,
        "charged_nano_usd": i64::try_from(account.charged).unwrap_or(i64::MAX),
        "estimated_nano_usd": i64::try_from(account.estimated).unwrap_or(i64::MAX),
        "in_doubt_nano_usd": i64::try_from(account.in_doubt).unwrap_or(i64::MAX),
        "unpriced_rows": account.unpriced,
        "unknown_price_rows": forgotten.collect::<Vec<_>>(),
        "notes": invoice.notes,
    })
    .to_string()
}
