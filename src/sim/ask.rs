//! What a request asks for, read from its JSON the lenient way that a provider's front door reads it.

use std::collections::BTreeMap;

use serde_json::Value;

/// Keys whose text is not prompt.
const NOT_PROMPT: [&str; 8] = ["role", "type", "id", "url", "data", "mimeType", "media_type", "cache_control"];
const MARKS: [&str; 8] = ["tokens", "reasoning", "cached", "status", "cut", "reset", "stall", "delay"];

/// The facts of one request that shape its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) model: String,
    pub(super) streamed: bool,
    /// Chat and completions: usage in the stream was asked for.
    pub(super) usage_wanted: bool,
    /// Most output tokens of one choice.
    pub(super) cap: Option<u64>,
    pub(super) choices: u64,
    pub(super) input: u64,
    pub(super) marks: Marks,
    /// Embeddings: how many vectors, how long, and whether as base64.
    pub(super) vectors: usize,
    pub(super) dimensions: Option<u64>,
    pub(super) base64: bool,
}

/// `[[name=number]]` in a prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks(BTreeMap<&'static str, u64>);

impl Marks {
    pub(super) fn of(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    fn read(&mut self, text: &str) {
        for part in text.split("[[").skip(1) {
            let Some((mark, _)) = part.split_once("]]") else { continue };
            let Some((name, number)) = mark.split_once('=') else { continue };
            let known = MARKS.into_iter().find(|known| *known == name.trim());
            if let (Some(known), Ok(number)) = (known, number.trim().parse()) {
                self.0.insert(known, number);
            }
        }
    }
}

impl Ask {
    /// Reads the model and the prompt found under `keys`.
    pub(super) fn read(body: &Value, keys: &[&str]) -> Self {
        let mut prompt = Prompt::default();
        let mut messages = 0;
        for value in keys.iter().filter_map(|key| body.get(key)) {
            messages += value.as_array().map_or(1, Vec::len);
            prompt.walk(value);
        }
        let framing = u64::try_from(messages).unwrap_or(0).saturating_mul(4);
        Self {
            model: text(body, "model").to_owned(),
            streamed: flag(body, "stream"),
            choices: 1,
            input: prompt.tokens().saturating_add(framing),
            marks: prompt.marks,
            vectors: 1,
            ..Self::default()
        }
    }

    /// Tokens of the prompt alone, without what frames its messages.
    pub(super) fn bare_tokens(value: &Value) -> u64 {
        let mut prompt = Prompt::default();
        prompt.walk(value);
        prompt.tokens()
    }

    /// The part of the input that is read from the cache.
    pub(super) fn cached(&self) -> u64 {
        self.marks.of("cached").unwrap_or(0).min(self.input)
    }
}

#[derive(Debug, Default)]
struct Prompt {
    bytes: u64,
    given: u64,
    marks: Marks,
}

impl Prompt {
    fn walk(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                self.bytes = self.bytes.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
                self.marks.read(text);
            }
            Value::Number(_) => self.given = self.given.saturating_add(1),
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            Value::Object(fields) => fields
                .iter()
                .filter(|(key, _)| !NOT_PROMPT.contains(&key.as_str()))
                .for_each(|(_, field)| self.walk(field)),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Four bytes of text are one token; numbers are tokens that the caller has made itself.
    fn tokens(&self) -> u64 {
        self.bytes.div_ceil(4).saturating_add(self.given)
    }
}

/// A text field, or nothing.
pub(super) fn text<'a>(body: &'a Value, key: &str) -> &'a str {
    body.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A boolean field; false where it is absent.
pub(super) fn flag(body: &Value, key: &str) -> bool {
    body.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// A whole number under the first of `keys` that is there.
pub(super) fn number(body: &Value, keys: &[&str]) -> Option<u64> {
    keys.iter().find_map(|key| body.get(key)).and_then(Value::as_u64)
}

/// How many choices are asked for; at most eight are given.
pub(super) fn choices(body: &Value, keys: &[&str]) -> u64 {
    number(body, keys).unwrap_or(1).clamp(1, 8)
}
