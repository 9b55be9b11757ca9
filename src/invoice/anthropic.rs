//! Anthropic: the cost and usage exports of its Console.
//!
//! A cost export has `usage_date_utc, model, workspace, api_key, usage_type, context_window, token_type, cost_usd` and, of late,
//! `list_price_usd, cost_type, inference_geo, speed, api_key_id, api_key_status`; models are named as people read them (`Claude
//! Sonnet 4.5`) and every row is rounded to a cent. A usage export has `usage_date_utc, model_version, …,
//! usage_input_tokens_no_cache, usage_input_tokens_cache_write_5m, usage_input_tokens_cache_write_1h,
//! usage_input_tokens_cache_read, usage_output_tokens, …`. The Console's help names both files and specifies neither.

use std::time::Duration;

use crate::diagnostic::Diagnostic;

use super::csv::{Row, Table};
use super::openai::{count, no_amount};
use super::{Invoice, Kind, Measure, Reading, amount, wrong};

pub(super) const PROVIDER: &str = "anthropic";

const DAY: Duration = Duration::from_hours(24);

pub(super) fn costs(table: &Table<'_>) -> Result<Invoice, Vec<Diagnostic>> {
    let mut reading = Reading::of(PROVIDER, "Anthropic cost export (CSV)", Measure::Money);
    let (date, value) = (table.required("usage_date_utc")?, table.required("cost_usd")?);
    let (model, kind) = (table.required("model")?, table.required("token_type")?);
    let (cost_type, usage_type) = (table.column("cost_type"), table.column("usage_type"));
    let mut rounded = true;
    for row in &table.rows {
        day(&mut reading, row, date);
        let text = row.text(Some(value));
        let Some(pico) = amount::scaled(text, amount::DOLLARS) else {
            reading.problems.push(no_amount(&row.place(Some(value)), text));
            continue;
        };
        rounded &= text.split_once('.').is_none_or(|(_, fraction)| fraction.len() <= 2);
        if let Some(kind) = token_kind(row.text(Some(kind))) {
            reading.line(spoken(row.text(Some(model))), kind, pico);
        } else {
            let words = [row.text(cost_type), row.text(Some(kind)), row.text(usage_type)];
            reading.line(words.into_iter().find(|word| !word.is_empty()).unwrap_or("other"), Kind::Other, pico);
        }
    }
    if rounded {
        reading.invoice.notes.extend(cents(reading.invoice.lines.len()));
    }
    reading.finish(table.source)
}

/// What rounding every row to a cent can make of the sum.
fn cents(rows: usize) -> Option<String> {
    let half_cents = rows.checked_mul(5)?;
    (rows > 0).then(|| {
        let (dollars, mills) = (half_cents / 1_000, half_cents % 1_000);
        format!(
            "the export rounds each of its {rows} rows to a cent: up to ${dollars}.{mills:03} of the gap may be that"
        )
    })
}

pub(super) fn usage(table: &Table<'_>) -> Result<Invoice, Vec<Diagnostic>> {
    let mut reading = Reading::of(PROVIDER, "Anthropic usage export (CSV)", Measure::Tokens);
    let (date, model) = (table.required("usage_date_utc")?, table.required("model_version")?);
    let kinds = [
        (table.required("usage_input_tokens_no_cache")?, Kind::Input),
        (table.required("usage_output_tokens")?, Kind::Output),
    ];
    let optional = [
        ("usage_input_tokens_cache_read", Kind::CachedInput),
        ("usage_input_tokens_cache_write_5m", Kind::CacheWrite),
        ("usage_input_tokens_cache_write_1h", Kind::CacheWrite),
    ];
    let optional = optional.into_iter().filter_map(|(name, kind)| Some((table.column(name)?, kind)));
    let kinds: Vec<(usize, Kind)> = kinds.into_iter().chain(optional).collect();
    for row in &table.rows {
        day(&mut reading, row, date);
        for (column, kind) in &kinds {
            let tokens = count(&mut reading, row, Some(*column));
            if tokens != 0 {
                reading.line(spoken(row.text(Some(model))), *kind, tokens);
            }
        }
    }
    reading.finish(table.source)
}

/// Rows of the usage export may name an hour behind the day; the day is what counts.
fn day(reading: &mut Reading, row: &Row<'_>, column: usize) {
    let text = row.text(Some(column));
    let Some(since) = text.get(..10).and_then(amount::moment) else {
        let help = "a row is for a day of UTC, such as `2026-10-01`";
        return reading.problems.push(wrong(&row.place(Some(column)), "a date", text, help));
    };
    reading.bucket(since, since.after(DAY));
}

/// The token types of the export and of the API.
pub(super) fn token_kind(word: &str) -> Option<Kind> {
    match word {
        "input_no_cache" | "uncached_input_tokens" => Some(Kind::Input),
        "input_cache_read" | "cache_read_input_tokens" => Some(Kind::CachedInput),
        "output" | "output_tokens" => Some(Kind::Output),
        _ if word.starts_with("input_cache_write") || word.starts_with("cache_creation") => Some(Kind::CacheWrite),
        _ => None,
    }
}

/// A model's identifier from the name that people read: `Claude Sonnet 4.5` is `claude-sonnet-4-5`.
pub(super) fn spoken(name: &str) -> String {
    let mut id = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_ascii_alphanumeric() {
            id.push(character.to_ascii_lowercase());
        } else if !id.is_empty() && !id.ends_with('-') {
            id.push('-');
        }
    }
    id.truncate(id.trim_end_matches('-').len());
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spoken_names_become_identifiers() {
        for (name, id) in [
            ("Claude Sonnet 4.5", "claude-sonnet-4-5"),
            ("Claude 3.5 Sonnet 2024-10-22", "claude-3-5-sonnet-2024-10-22"),
            ("claude-haiku-4-5-20251001", "claude-haiku-4-5-20251001"),
            (" Claude Opus 5 (preview) ", "claude-opus-5-preview"),
            ("", ""),
        ] {
            assert_eq!(spoken(name), id);
        }
    }

    #[test]
    fn half_a_cent_a_row() {
        assert_eq!(cents(0), None);
        assert!(cents(7).is_some_and(|note| note.contains("$0.035 ")));
        assert!(cents(1_001).is_some_and(|note| note.contains("$5.005 ")));
    }
}
