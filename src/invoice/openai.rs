//! OpenAI: the costs and usage exports of its dashboard.
//!
//! A costs export has a row per day (or other bucket) and grouping: `start_time, end_time, start_time_iso, end_time_iso,
//! amount_value, amount_currency, quantity, quantity_unit, line_item, user_id, api_key_id, project_id, …`. A row without an
//! amount is a day without costs. A usage export has `start_time, end_time, …, num_model_requests, model, input_tokens,
//! input_cached_tokens, output_tokens, …`; its input includes what was cached. OpenAI documents neither file; the fields are
//! those of its API, the order and further columns do not matter.

use crate::diagnostic::{Diagnostic, Place};
use crate::domain::clock::Timestamp;

use super::csv::{Row, Table};
use super::{Invoice, Kind, Measure, Reading, amount, foreign, wrong};

/// Seconds of a bucket that does not say its end.
const DAY: i64 = 86_400;

pub(super) const PROVIDER: &str = "openai";

/// Why a file of totals cannot be compared kind by kind.
pub(super) const UNSPLIT: &str =
    "the export does not say what was billed; group it by line item to compare models and kinds of token";

pub(super) fn costs(table: &Table<'_>) -> Result<Invoice, Vec<Diagnostic>> {
    let mut reading = Reading::of(PROVIDER, "OpenAI costs export (CSV)", Measure::Money);
    let (start, value) = (table.required("start_time")?, table.required("amount_value")?);
    let (end, currency, item) = (table.column("end_time"), table.column("amount_currency"), table.column("line_item"));
    for row in &table.rows {
        bucket(&mut reading, row, start, end);
        let text = row.text(Some(value));
        if text.is_empty() {
            continue;
        }
        let currency_text = row.text(currency);
        if !currency_text.is_empty() && !currency_text.eq_ignore_ascii_case("usd") {
            reading.problems.push(foreign(&row.place(currency), currency_text));
            continue;
        }
        let Some(pico) = amount::scaled(text, amount::DOLLARS) else {
            reading.problems.push(no_amount(&row.place(Some(value)), text));
            continue;
        };
        let (model, kind) = line_item(row.text(item));
        reading.line(model, kind, pico);
    }
    note_unsplit(&mut reading);
    reading.finish(table.source)
}

pub(super) fn usage(table: &Table<'_>) -> Result<Invoice, Vec<Diagnostic>> {
    let mut reading = Reading::of(PROVIDER, "OpenAI usage export (CSV)", Measure::Tokens);
    let start = table.required("start_time")?;
    let (input, output) = (table.required("input_tokens")?, table.required("output_tokens")?);
    let (end, model, cached) = (table.column("end_time"), table.column("model"), table.column("input_cached_tokens"));
    for row in &table.rows {
        bucket(&mut reading, row, start, end);
        let mut tokens = |column: Option<usize>| count(&mut reading, row, column);
        let (all, cached, out) = (tokens(Some(input)), tokens(cached), tokens(Some(output)));
        let model = row.text(model);
        reading.line(model, Kind::Input, all - cached.min(all));
        reading.line(model, Kind::CachedInput, cached);
        reading.line(model, Kind::Output, out);
    }
    reading.invoice.lines.retain(|line| line.amount != 0);
    note_unsplit(&mut reading);
    reading.finish(table.source)
}

fn bucket(reading: &mut Reading, row: &Row<'_>, start: usize, end: Option<usize>) {
    let text = row.text(Some(start));
    let Some(since) = amount::moment(text) else {
        let help = "a bucket starts at seconds since 1970, or at a date such as `2026-10-01`";
        return reading.problems.push(wrong(&row.place(Some(start)), "a time", text, help));
    };
    let until = amount::moment(row.text(end)).unwrap_or(Timestamp::from_seconds(since.seconds() + DAY));
    reading.bucket(since, until);
}

/// A number of tokens; nothing where the cell is empty.
pub(super) fn count(reading: &mut Reading, row: &Row<'_>, column: Option<usize>) -> i128 {
    let text = row.text(column);
    if text.is_empty() {
        return 0;
    }
    amount::scaled(text, 0).filter(|tokens| *tokens >= 0 && !text.contains('.')).unwrap_or_else(|| {
        reading.problems.push(wrong(
            &row.place(column),
            "a number of tokens",
            text,
            "write whole numbers, such as `1200`",
        ));
        0
    })
}

pub(super) fn no_amount(place: &Place, text: &str) -> Diagnostic {
    wrong(place, "an amount", text, "write plain decimals, such as `12.50`: no currency sign, no thousands separator")
}

pub(super) fn note_unsplit(reading: &mut Reading) {
    if reading.invoice.lines.iter().any(|line| line.kind == Kind::Whole && line.model.is_empty()) {
        reading.invoice.notes.push(UNSPLIT.to_owned());
    }
}

/// `gpt-4o-2024-08-06, cached input`; with a tier before (`priority | …`), a modality behind the model (`… audio, input`) and a
/// tariff behind the kind (`…, long context`). What is not of this form is no model's tokens: `web search tool calls`.
pub(super) fn line_item(text: &str) -> (String, Kind) {
    if text.is_empty() {
        return (String::new(), Kind::Whole);
    }
    let mut parts = text.split(',').map(str::trim);
    let head = parts.next().unwrap_or_default();
    let kind = parts.find_map(|part| match part.to_ascii_lowercase().replace('_', " ").trim_end_matches(" tokens") {
        "input" => Some(Kind::Input),
        "cached input" | "input cached" => Some(Kind::CachedInput),
        "cache write" | "cache writes" => Some(Kind::CacheWrite),
        "output" => Some(Kind::Output),
        _ => None,
    });
    let model = head.rsplit('|').next().unwrap_or(head).split_whitespace().next().unwrap_or_default();
    match kind {
        Some(kind) if !model.is_empty() => (model.to_owned(), kind),
        _ => (text.to_owned(), Kind::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_item_names_a_model_and_a_kind_or_neither() {
        let of = |model: &str, kind| (model.to_owned(), kind);
        for (text, expected) in [
            ("gpt-4o-2024-08-06, input", of("gpt-4o-2024-08-06", Kind::Input)),
            ("gpt-4o-2024-08-06, cached input", of("gpt-4o-2024-08-06", Kind::CachedInput)),
            ("gpt-5.6-sol, cache writes", of("gpt-5.6-sol", Kind::CacheWrite)),
            ("priority | gpt-5.6-sol, output, long context", of("gpt-5.6-sol", Kind::Output)),
            ("gpt-audio-mini-2025-12-15 audio, input", of("gpt-audio-mini-2025-12-15", Kind::Input)),
            ("gpt-5-nano, input_tokens", of("gpt-5-nano", Kind::Input)),
            ("web search tool calls", of("web search tool calls", Kind::Other)),
            ("whisper-1, audio", of("whisper-1, audio", Kind::Other)),
            (", input", of(", input", Kind::Other)),
            ("", of("", Kind::Whole)),
        ] {
            assert_eq!(line_item(text), expected, "{text}");
        }
    }
}
