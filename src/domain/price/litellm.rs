//! LiteLLM's `model_prices_and_context_window.json`: dollars per token, one object per model.
//!
//! Rows without a price per token (images, seconds of audio, pages) are left out: such models stay unpriced.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::book::PriceTable;
use super::decimal::scaled;
use super::{LongContext, PriceError, PriceRow, Rates, placeless};

/// $1 per token is 10^12 pico-dollars.
const PLACES: i32 = 12;
/// The key that only shows the format, with words where numbers stand.
const SAMPLE: &str = "sample_spec";
/// The input lengths beyond which LiteLLM knows other prices.
const LONG: [(u64, &str); 4] = [
    (128_000, "_above_128k_tokens"),
    (200_000, "_above_200k_tokens"),
    (256_000, "_above_256k_tokens"),
    (272_000, "_above_272k_tokens"),
];

type Fields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// Reads a LiteLLM price file. `name` becomes part of each row's id.
pub(super) fn read(name: &str, text: &str) -> Result<PriceTable, PriceError> {
    let models: Fields<'_> = serde_json::from_str(text).map_err(|error| PriceError {
        line: error.line(),
        column: error.column(),
        message: format!("not a LiteLLM price file: {}", placeless(&error.to_string())),
    })?;
    let mut table = PriceTable::default();
    for (key, value) in models.into_iter().filter(|(key, _)| key != SAMPLE) {
        let fields = serde_json::from_str::<Fields<'_>>(value.get())
            .map_err(|_| at(text, value, format!("`{key}` is not an object of prices")))?;
        let entry = Entry { key: &key, fields, text };
        if let Some(row) = entry.row(name)? {
            table.add(row, &[]);
        }
    }
    Ok(table)
}

struct Entry<'a> {
    key: &'a str,
    fields: Fields<'a>,
    text: &'a str,
}

impl Entry<'_> {
    fn row(&self, source: &str) -> Result<Option<PriceRow>, PriceError> {
        let Some(ordinary) = self.rates("", None)? else { return Ok(None) };
        let (provider, model) = self.provider_and_model();
        Ok(Some(PriceRow {
            id: Arc::from(format!("{source}/{}", self.key)),
            model: Arc::from(model),
            provider: provider.map(Arc::from),
            input: ordinary.input,
            cached_input: ordinary.cached_input,
            cache_write: ordinary.cache_write,
            cache_write_1h: ordinary.cache_write_1h,
            output: ordinary.output,
            long: self.long(ordinary)?,
            context: self.tokens("max_input_tokens"),
            max_output: self.tokens("max_output_tokens"),
            reasoning: self.says("supports_reasoning") == Some(true),
            tools: self.says("supports_function_calling"),
            vision: self.says("supports_vision"),
        }))
    }

    /// The prices whose names end in `suffix`. Long requests inherit what is not named from the `ordinary` ones.
    fn rates(&self, suffix: &str, ordinary: Option<Rates>) -> Result<Option<Rates>, PriceError> {
        let price = |name: &str| self.price(&format!("{name}{suffix}"));
        let Some(input) = price("input_cost_per_token")? else { return Ok(None) };
        let output = match price("output_cost_per_token")?.or(ordinary.map(|rates| rates.output)) {
            Some(output) => output,
            None if self.answers_without_tokens() => 0,
            None => return Ok(None),
        };
        let cache_write = price("cache_creation_input_token_cost")?;
        let cache_write = cache_write.or(ordinary.map(|rates| rates.cache_write)).unwrap_or(0).max(input);
        let hour = price("cache_creation_input_token_cost_above_1hr")?;
        let hour = hour.or(ordinary.map(|rates| rates.cache_write_1h)).unwrap_or(0).max(cache_write);
        let cached_input = price("cache_read_input_token_cost")?.unwrap_or(input);
        Ok(Some(Rates { input, cached_input, cache_write, cache_write_1h: hour, output }))
    }

    fn long(&self, ordinary: Rates) -> Result<Option<LongContext>, PriceError> {
        for (above, suffix) in LONG {
            if let Some(rates) = self.rates(suffix, Some(ordinary))? {
                return Ok(Some(LongContext { above, rates }));
            }
        }
        Ok(None)
    }

    /// Embeddings and rerankers have no output price because they have no output.
    fn answers_without_tokens(&self) -> bool {
        self.fields.get("mode").is_some_and(|mode| matches!(mode.get(), r#""embedding""# | r#""rerank""#))
    }

    fn price(&self, name: &str) -> Result<Option<u64>, PriceError> {
        let Some(value) = self.fields.get(name).filter(|value| value.get() != "null") else { return Ok(None) };
        // The text may be quoted; the number in it is read the same way.
        let number = scaled(value.get().trim_matches('"'), PLACES);
        number.map(|number| Some(number.value)).ok_or_else(|| {
            let message = format!("`{name}` of `{}` is not a price of zero or more: `{}`", self.key, value.get());
            at(self.text, value, message)
        })
    }

    /// What is said about an ability. Silence says nothing.
    fn says(&self, name: &str) -> Option<bool> {
        self.fields.get(name).and_then(|value| value.get().parse().ok())
    }

    fn tokens(&self, name: &str) -> Option<u64> {
        scaled(self.fields.get(name)?.get(), 0).map(|number| number.value)
    }

    /// `azure/gpt-4o` of the provider `azure` is its `gpt-4o`; a key without that prefix is the model's name.
    fn provider_and_model(&self) -> (Option<String>, &str) {
        let declared = self.fields.get("litellm_provider");
        let declared = declared.and_then(|value| serde_json::from_str::<String>(value.get()).ok());
        match (declared, self.key.split_once('/')) {
            (Some(declared), Some((head, model))) if declared.starts_with(head) => (Some(head.to_owned()), model),
            (Some(declared), _) => (Some(declared), self.key),
            (None, Some((head, model))) => (Some(head.to_owned()), model),
            (None, None) => (None, self.key),
        }
    }
}

/// The place of `value`, which is a piece of `text`.
fn at(text: &str, value: &RawValue, message: String) -> PriceError {
    let offset = (value.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    let before = text.get(..offset).unwrap_or_default();
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
    PriceError { line, column, message }
}
