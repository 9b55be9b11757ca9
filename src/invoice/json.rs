//! The pages of the cost APIs, saved to a file: one, several one after the other, or a list of them.
//!
//! OpenAI's `amount.value` is a JSON number of dollars, Anthropic's `amount` a decimal text of cents. Both are read from the
//! file's own digits, never through a floating-point number.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::diagnostic::{Diagnostic, Place, Source};

use super::anthropic::{spoken, token_kind};
use super::openai::{line_item, no_amount, note_unsplit};
use super::{Invoice, Kind, Measure, Reading, amount, anthropic, foreign, openai, unknown, wrong};

#[derive(Deserialize)]
struct Page<'t> {
    #[serde(borrow)]
    data: Vec<Bucket<'t>>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Bucket<'t> {
    #[serde(borrow, alias = "starting_at")]
    start_time: &'t RawValue,
    #[serde(borrow, alias = "ending_at")]
    end_time: &'t RawValue,
    #[serde(borrow, alias = "result")]
    results: Vec<&'t RawValue>,
}

#[derive(Deserialize)]
struct OpenAi<'t> {
    #[serde(borrow)]
    amount: Dollars<'t>,
    #[serde(borrow, default)]
    line_item: Option<Cow<'t, str>>,
}

#[derive(Deserialize)]
struct Dollars<'t> {
    #[serde(borrow)]
    value: &'t RawValue,
    #[serde(borrow, default)]
    currency: Option<Cow<'t, str>>,
}

#[derive(Deserialize)]
struct Anthropic<'t> {
    #[serde(borrow)]
    amount: &'t RawValue,
    #[serde(borrow, default)]
    currency: Option<Cow<'t, str>>,
    #[serde(borrow, default)]
    model: Option<Cow<'t, str>>,
    #[serde(borrow, default)]
    token_type: Option<Cow<'t, str>>,
    #[serde(borrow, default)]
    cost_type: Option<Cow<'t, str>>,
    #[serde(borrow, default)]
    description: Option<Cow<'t, str>>,
}

pub(super) fn read(source: &Source) -> Result<Invoice, Vec<Diagnostic>> {
    let text = source.text.trim_start_matches('\u{feff}');
    let pages = pages(text).map_err(|error| vec![unreadable(source, text, &error)])?;
    let first = pages.iter().flat_map(|page| &page.data).next();
    let Some(first) = first else { return Err(vec![unknown(source, "the pages hold no bucket")]) };
    // OpenAI's buckets begin at a number of seconds, Anthropic's at a text.
    let is_text = first.start_time.get().starts_with('"');
    let mut reading = if is_text {
        Reading::of(anthropic::PROVIDER, "Anthropic cost report (JSON)", Measure::Money)
    } else {
        Reading::of(openai::PROVIDER, "OpenAI costs (JSON)", Measure::Money)
    };
    let mut taker = Taker { source, reading: &mut reading };
    for bucket in pages.iter().flat_map(|page| &page.data) {
        taker.bucket(bucket);
        for result in &bucket.results {
            if is_text { taker.anthropic(result) } else { taker.openai(result) }
        }
    }
    if pages.last().is_some_and(|page| page.has_more) {
        let note = "the last page says that there is more: days after it are not compared";
        reading.invoice.notes.push(note.to_owned());
    }
    note_unsplit(&mut reading);
    reading.finish(source)
}

fn pages(text: &str) -> Result<Vec<Page<'_>>, serde_json::Error> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text);
    }
    serde_json::Deserializer::from_str(text).into_iter().collect()
}

fn unreadable(source: &Source, text: &str, error: &serde_json::Error) -> Diagnostic {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message);
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let column = line.get(..error.column().saturating_sub(1)).map_or(0, |before| before.chars().count()) + 1;
    let place = Place {
        file: Arc::clone(&source.name),
        line: u32::try_from(error.line().max(1)).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
        length: 1,
    };
    let help = "save the API's answer as it came: `{\"data\": [{…, \"results\": […]}], \"has_more\": …}`";
    Diagnostic::error("E042", message).at(&place, "").help(help)
}

/// Takes results into a reading, and mistakes with their places.
struct Taker<'a> {
    source: &'a Source,
    reading: &'a mut Reading,
}

impl Taker<'_> {
    fn bucket(&mut self, bucket: &Bucket<'_>) {
        let mut moment = |raw: &RawValue| {
            let text = bare(raw);
            let moment = amount::moment(text);
            if moment.is_none() {
                let help = "a bucket has its times as the API gives them";
                self.reading.problems.push(wrong(&place(self.source, raw.get()), "a time", text, help));
            }
            moment
        };
        let (since, until) = (moment(bucket.start_time), moment(bucket.end_time));
        if let (Some(since), Some(until)) = (since, until) {
            self.reading.bucket(since, until);
        }
    }

    fn openai(&mut self, raw: &RawValue) {
        let Some(result) = self.parsed::<OpenAi<'_>>(raw) else { return };
        let Some(pico) = self.amount(result.amount.value, result.amount.currency.as_deref(), amount::DOLLARS) else {
            return;
        };
        let (model, kind) = line_item(result.line_item.as_deref().unwrap_or_default());
        self.reading.line(model, kind, pico);
    }

    fn anthropic(&mut self, raw: &RawValue) {
        let Some(result) = self.parsed::<Anthropic<'_>>(raw) else { return };
        let Some(pico) = self.amount(result.amount, result.currency.as_deref(), amount::CENTS) else { return };
        let kind = result.token_type.as_deref().and_then(token_kind);
        match (&result.model, kind) {
            (Some(model), Some(kind)) => self.reading.line(spoken(model), kind, pico),
            (Some(model), None) => self.reading.line(spoken(model), Kind::Whole, pico),
            (None, _) => match result.cost_type.or(result.description) {
                Some(label) => self.reading.line(label, Kind::Other, pico),
                None => self.reading.line("", Kind::Whole, pico),
            },
        }
    }

    fn parsed<'t, T: Deserialize<'t>>(&mut self, raw: &'t RawValue) -> Option<T> {
        let parsed = serde_json::from_str(raw.get());
        if let Err(error) = &parsed {
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message);
            let fault = Diagnostic::error("E042", format!("a result that is no cost: {message}"));
            let help = "this reads the answers of the costs endpoints, not of the usage endpoints";
            self.reading.problems.push(fault.at(&place(self.source, raw.get()), "").help(help));
        }
        parsed.ok()
    }

    fn amount(&mut self, raw: &RawValue, currency: Option<&str>, places: i64) -> Option<i128> {
        let here = place(self.source, raw.get());
        if let Some(currency) = currency.filter(|currency| !currency.eq_ignore_ascii_case("usd")) {
            self.reading.problems.push(foreign(&here, currency));
            return None;
        }
        let pico = amount::scaled(bare(raw), places);
        if pico.is_none() {
            self.reading.problems.push(no_amount(&here, bare(raw)));
        }
        pico
    }
}

/// A number, or what stands between a text's quotes.
fn bare(raw: &RawValue) -> &str {
    raw.get().trim_matches('"')
}

/// Where a borrowed part of the source stands.
fn place(source: &Source, part: &str) -> Place {
    let offset = part.as_ptr().addr().wrapping_sub(source.text.as_ptr().addr());
    let Some(before) = source.text.get(..offset) else { return source.start() };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let length = part.lines().next().unwrap_or_default().chars().count().max(1);
    Place { file: Arc::clone(&source.name), line: short(line), column: short(column), length: short(length) }
}
