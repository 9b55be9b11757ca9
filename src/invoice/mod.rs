//! A provider's own account of a period, read from its exports, and compared with the ledger's.
//!
//! Amounts are integers: pico-dollars (10⁻¹² USD) or tokens. Nothing here guesses: a column that is missing, an amount that is
//! no number and a currency that is not the ledger's are mistakes with a place, and what an export does not split by model or
//! kind is compared unsplit.
//!
//! The CSV exports are specified by nobody: their columns are those of exports that others published, and were not checked
//! against an account.
//!
//! | export | where its names come from |
//! |---|---|
//! | OpenAI, `GET /v1/organization/costs` | <https://developers.openai.com/api/reference/typescript/resources/admin/subresources/organization/subresources/usage>; the form of `line_item` from answers quoted in public repositories |
//! | OpenAI, costs export of the dashboard (CSV) | not documented by OpenAI; the header of exports in public repositories |
//! | OpenAI, completions usage export of the dashboard (CSV) | the same, and the fields of `GET /v1/organization/usage/completions` |
//! | Anthropic, `GET /v1/organizations/cost_report` | <https://platform.claude.com/docs/en/api/admin/cost_report/retrieve> |
//! | Anthropic, cost export of the Console (CSV) | named, not specified, in <https://support.anthropic.com/en/articles/9534590-cost-and-usage-reporting-in-console>; the header of exports in public repositories |
//! | Anthropic, usage export of the Console (CSV) | the same |

mod amount;
mod anthropic;
mod compare;
mod csv;
mod json;
mod openai;
#[cfg(test)]
mod tests;

use crate::diagnostic::{Diagnostic, Place, Source};
use crate::domain::clock::Timestamp;

pub use compare::{Gap, Reconciliation, Sum, reconcile};

/// Pico-dollars in a nano-dollar.
pub const PICO_PER_NANO: i128 = 1_000;

/// What an invoice counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Pico-dollars.
    Money,
    /// Tokens.
    Tokens,
}

/// What an amount is for. Kinds of tokens exclude each other: `Input` is neither read from nor written to a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Input tokens at the ordinary price.
    Input,
    /// Input tokens read from the provider's cache.
    CachedInput,
    /// Input tokens written to the provider's cache.
    CacheWrite,
    /// Output tokens, reasoning among them.
    Output,
    /// All of a model, or of everything: the export does not say more.
    Whole,
    /// Charged by the ledger for other reasons than tokens that it can price: holds in doubt, corrections, and rows whose
    /// price is not known any more.
    Unitemised,
    /// Billed by the provider for something that is not tokens of a model: tool calls, storage.
    Other,
}

impl Kind {
    /// The words in tables and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CachedInput => "cached input",
            Self::CacheWrite => "cache write",
            Self::Output => "output",
            Self::Whole => "all tokens",
            Self::Unitemised => "not itemised",
            Self::Other => "not tokens",
        }
    }
}

/// One amount of an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The model as the export names it; for [`Kind::Other`] what was billed; empty: everything.
    pub model: String,
    /// What of it.
    pub kind: Kind,
    /// In the invoice's measure. Credits are negative.
    pub amount: i128,
}

/// A provider's account of a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// The provider's usual name: `openai`, `anthropic`.
    pub provider: &'static str,
    /// What was read: `OpenAI costs export (CSV)`.
    pub format: &'static str,
    /// What it counts.
    pub measure: Measure,
    /// The beginning of the first bucket.
    pub since: Timestamp,
    /// The end of the last bucket.
    pub until: Timestamp,
    /// The amounts, in the file's order.
    pub lines: Vec<Line>,
    /// What the reader of a comparison should know.
    pub notes: Vec<String>,
}

/// Reads an export of any known format, or says every mistake of the file.
pub fn read(source: &Source) -> Result<Invoice, Vec<Diagnostic>> {
    let text = source.text.trim_start_matches('\u{feff}').trim_start();
    match text.as_bytes() {
        [] => Err(vec![unknown(source, "the file is empty")]),
        [b'P', b'K', ..] => Err(vec![unknown(source, "this is a spreadsheet or an archive")]),
        [b'{' | b'[', ..] => json::read(source),
        _ => read_csv(source),
    }
}

fn read_csv(source: &Source) -> Result<Invoice, Vec<Diagnostic>> {
    let table = csv::Table::read(source)?;
    let known = ["amount_value", "usage_date_utc", "num_model_requests"];
    if known.iter().any(|name| table.has(name)) && !table.uneven.is_empty() {
        Err(table.uneven)
    } else if table.has("amount_value") {
        openai::costs(&table)
    } else if table.has("usage_date_utc") && table.has("cost_usd") {
        anthropic::costs(&table)
    } else if table.has("usage_date_utc") {
        anthropic::usage(&table)
    } else if table.has("num_model_requests") {
        openai::usage(&table)
    } else {
        let columns = format!("these columns are of no export that is known: {}", table.columns());
        Err(vec![unknown(source, &columns)])
    }
}

fn unknown(source: &Source, what: &str) -> Diagnostic {
    let help = "export the costs as CSV in the provider's dashboard, grouped by line item or by token type, or save the answer \
                of OpenAI's `/v1/organization/costs` (`group_by[]=line_item`) or Anthropic's `/v1/organizations/cost_report` \
                (`group_by[]=description`)";
    Diagnostic::error("E041", what).at(&source.start(), "not a known export").help(help)
}

/// A value that cannot be what its column says.
fn wrong(place: &Place, what: &str, text: &str, help: &str) -> Diagnostic {
    let shown: String = text.chars().take(40).collect();
    Diagnostic::error("E043", format!("`{shown}` is not {what}")).at(place, "").help(help)
}

/// Amounts in another currency would need a rate that nobody gave.
fn foreign(place: &Place, currency: &str) -> Diagnostic {
    let shown: String = currency.chars().take(10).collect();
    Diagnostic::error("E044", format!("an amount in `{shown}`, and the ledger is in USD"))
        .at(place, "")
        .help("export the costs in USD")
}

/// Gathers what a file says, line by line, and every mistake on the way.
struct Reading {
    invoice: Invoice,
    problems: Vec<Diagnostic>,
}

impl Reading {
    fn of(provider: &'static str, format: &'static str, measure: Measure) -> Self {
        let (since, until) = (Timestamp::from_micros(i64::MAX), Timestamp::from_micros(i64::MIN));
        let invoice = Invoice { provider, format, measure, since, until, lines: Vec::new(), notes: Vec::new() };
        Self { invoice, problems: Vec::new() }
    }

    fn bucket(&mut self, since: Timestamp, until: Timestamp) {
        self.invoice.since = self.invoice.since.min(since);
        self.invoice.until = self.invoice.until.max(until);
    }

    /// An amount that names no model is one of everything.
    fn line(&mut self, model: impl Into<String>, kind: Kind, amount: i128) {
        let model = model.into();
        let kind = if model.is_empty() { Kind::Whole } else { kind };
        self.invoice.lines.push(Line { model, kind, amount });
    }

    fn finish(mut self, source: &Source) -> Result<Invoice, Vec<Diagnostic>> {
        if self.problems.is_empty() && self.invoice.since >= self.invoice.until {
            self.problems.push(unknown(source, "the export holds no day"));
        }
        if self.problems.is_empty() { Ok(self.invoice) } else { Err(self.problems) }
    }
}
