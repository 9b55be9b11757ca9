//! `prices.yaml`: dollars per million tokens. Unknown keys, signs and amounts finer than a pico-dollar per token are refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_yaml::Spanned;

use super::book::PriceTable;
use super::decimal::scaled;
use super::{LongContext, PriceError, PriceRow, Rates, placeless};

/// $1 per million tokens is 10^6 pico-dollars per token.
const PLACES: i32 = 6;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    version: Spanned<u64>,
    #[serde(default)]
    as_of: Option<String>,
    models: BTreeMap<String, RawRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRow {
    provider: Option<String>,
    input: Spanned<String>,
    cached_input: Option<Spanned<String>>,
    cache_write: Option<Spanned<String>>,
    cache_write_1h: Option<Spanned<String>>,
    output: Spanned<String>,
    long: Option<RawLong>,
    context: Option<u64>,
    max_output: Option<u64>,
    #[serde(default)]
    reasoning: bool,
    tools: Option<bool>,
    vision: Option<bool>,
    #[serde(default)]
    aliases: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLong {
    above: u64,
    input: Spanned<String>,
    cached_input: Option<Spanned<String>>,
    cache_write: Option<Spanned<String>>,
    cache_write_1h: Option<Spanned<String>>,
    output: Spanned<String>,
}

/// Reads a price file. `name` becomes part of each row's id.
pub(super) fn read(name: &str, text: &str) -> Result<PriceTable, PriceError> {
    let raw: RawTable = serde_yaml::from_str(text).map_err(|error| syntax(&error))?;
    if raw.version.value != 1 {
        let message = format!("`version: {}` is not known; write `version: 1`", raw.version.value);
        return Err(at(&raw.version, message));
    }
    let as_of = raw.as_of.unwrap_or_default();
    let source = if as_of.is_empty() { name.to_owned() } else { format!("{name}@{as_of}") };
    let mut table = PriceTable::dated(as_of);
    for (model, raw) in raw.models {
        table.add(row(&source, &model, &raw)?, &raw.aliases);
    }
    Ok(table)
}

fn row(source: &str, model: &str, raw: &RawRow) -> Result<PriceRow, PriceError> {
    let parts = [&raw.cached_input, &raw.cache_write, &raw.cache_write_1h];
    let ordinary = rates(&raw.input, parts, &raw.output)?;
    let long = match &raw.long {
        None => None,
        Some(long) => {
            let parts = [&long.cached_input, &long.cache_write, &long.cache_write_1h];
            Some(LongContext { above: long.above, rates: rates(&long.input, parts, &long.output)? })
        }
    };
    Ok(PriceRow {
        id: Arc::from(format!("{source}/{model}")),
        model: Arc::from(model),
        provider: raw.provider.as_deref().map(Arc::from),
        input: ordinary.input,
        cached_input: ordinary.cached_input,
        cache_write: ordinary.cache_write,
        cache_write_1h: ordinary.cache_write_1h,
        output: ordinary.output,
        long,
        context: raw.context,
        max_output: raw.max_output,
        reasoning: raw.reasoning,
        tools: raw.tools,
        vision: raw.vision,
    })
}

/// What is not written costs as much as what it stands closest to, never less.
fn rates(
    input: &Spanned<String>,
    [cached, write, write_1h]: [&Option<Spanned<String>>; 3],
    output: &Spanned<String>,
) -> Result<Rates, PriceError> {
    let input = price(input)?;
    let or = |part: &Option<Spanned<String>>, otherwise: u64| part.as_ref().map_or(Ok(otherwise), price);
    let cache_write = or(write, input)?;
    Ok(Rates {
        input,
        cached_input: or(cached, input)?,
        cache_write,
        cache_write_1h: or(write_1h, cache_write)?,
        output: price(output)?,
    })
}

fn price(text: &Spanned<String>) -> Result<u64, PriceError> {
    let written = text.value.trim();
    match scaled(written, PLACES) {
        Some(number) if number.exact => Ok(number.value),
        Some(_) => {
            Err(at(text, format!("`{written}` has more than six decimals; prices are dollars per million tokens")))
        }
        None => Err(at(text, format!("`{written}` is not a price; write dollars per million tokens, like `2.50`"))),
    }
}

fn at<T>(place: &Spanned<T>, message: String) -> PriceError {
    let place = place.referenced;
    PriceError { line: number(place.line()), column: number(place.column()), message }
}

fn syntax(error: &serde_yaml::Error) -> PriceError {
    let (line, column) = error.location().map_or((0, 0), |place| (number(place.line()), number(place.column())));
    let text = error.without_snippet().to_string();
    PriceError { line, column, message: placeless(&text) }
}

fn number(place: u64) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}
