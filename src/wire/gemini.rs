//! Google Gemini: `POST /v1beta/models/{model}:generateContent` and its siblings for streams, embeddings and token counts.
//!
//! Model and framing stand in the path and query. Bodies are protobuf JSON: every field has a `camelCase` and a
//! `snake_case` spelling, and mixtures are legal. Another model means another path; a `batchEmbedContents` request names its model in
//! every element as well and is therefore not rewritten to another model.

use std::borrow::Cow;

use bytes::Bytes;

use super::content::{self, Shape};
use super::fields::{Fields, Names, wrong};
use super::openai_chat::read_caps;
use super::operation::gemini_call;
use super::outline::{Absurd, Counts};
use super::scan::Kind;
use super::splice::{self, Writes};
use super::survey::{Place, Plan, Survey, is_any, is_remote};
use super::tap::{Reading, Reported, sum};
use super::want::{Slot, Want};
use super::{Dialect, Edits, Family, Framing, Malformed, Peek, Rewritten, Target};
use crate::domain::content::Content;
use crate::domain::usage::Usage;

static PLAN: Plan = Plan {
    names: Names {
        names: &["contents", "generationConfig", "tools", "cachedContent", "model", "content", "requests"],
        snake: true,
    },
    messages: &["contents", "requests"],
    refers,
};

/// Results of tools are not counted here: there is no limit on them in this dialect.
static SHAPE: Shape = Shape {
    list: "contents",
    tools: &["tools"],
    depth: usize::MAX - 1,
    kind: "",
    is_result: |_| false,
    payload: "",
    images: &[],
    image_keys: &["inlineData", "inline_data", "fileData", "file_data"],
};

static GENERATION: Names = Names {
    names: &[
        "maxOutputTokens",
        "candidateCount",
        "thinkingConfig",
        "responseSchema",
        "responseJsonSchema",
        "responseMimeType",
    ],
    snake: true,
};

static THINKING: Names = Names { names: &["thinkingBudget", "thinkingLevel"], snake: true };

static READING: Reading = Reading {
    wants: Want::Members(&[
        ("usageMetadata", Want::Slot(Slot::Usage)),
        ("modelVersion", Want::Slot(Slot::Model)),
        ("error", Want::Slot(Slot::Error)),
        (
            "candidates",
            Want::Elements(&Want::Members(&[
                ("finishReason", Want::Slot(Slot::Finish)),
                ("content", Want::Members(&[("parts", Want::Text)])),
            ])),
        ),
        ("promptFeedback", Want::Members(&[("blockReason", Want::Slot(Slot::Finish))])),
    ]),
    usage: normalise,
};

macro_rules! dialect {
    ($(#[$doc:meta])* $type:ident, $name:literal, $bills:literal, $peek:ident, $rewrite:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $type;

        impl Dialect for $type {
            fn name(&self) -> &'static str {
                $name
            }
            fn family(&self) -> Family {
                Family::Gemini
            }
            fn bills(&self) -> bool {
                $bills
            }
            fn has_output(&self) -> bool {
                $bills && $name != "gemini-embed"
            }
            fn peek<'a>(&self, target: &Target<'a>, body: &'a [u8]) -> Result<Peek<'a>, Malformed> {
                $peek(target, body)
            }
            fn rewrite(&self, target: &Target<'_>, body: &Bytes, peek: &Peek<'_>, edits: &Edits<'_>) -> Rewritten {
                $rewrite(target, body, peek, edits)
            }
            fn content(&self, body: &[u8]) -> Content {
                content::look(body, &SHAPE)
            }
            fn reading(&self) -> &'static Reading {
                &READING
            }
        }
    };
}

dialect!(
    /// `:generateContent`.
    GeminiGenerate, "gemini-generate", true, peek_generate, rewrite_generate
);
dialect!(
    /// `:streamGenerateContent`, as server-sent events with `alt=sse` and as a JSON array without.
    GeminiStream, "gemini-stream", true, peek_stream, rewrite_generate
);
dialect!(
    /// `:embedContent` and `:batchEmbedContents`.
    GeminiEmbed, "gemini-embed", true, peek_embed, rewrite_path
);
dialect!(
    /// `:countTokens`.
    GeminiCountTokens, "gemini-count-tokens", false, peek_embed, rewrite_path
);

fn peek_stream<'a>(target: &Target<'a>, body: &'a [u8]) -> Result<Peek<'a>, Malformed> {
    let mut peek = peek_generate(target, body)?;
    let sse =
        target.query.unwrap_or_default().split('&').any(|pair| matches!(pair, "alt=sse" | "$alt=sse" | "%24alt=sse"));
    peek.framing = if sse { Framing::Sse } else { Framing::JsonArray };
    Ok(peek)
}

fn peek_generate<'a>(target: &Target<'a>, body: &'a [u8]) -> Result<Peek<'a>, Malformed> {
    let mut survey = Survey::new(body, &PLAN);
    survey.read()?;
    let fields = &survey.fields;
    let mut peek = Peek { model: model(target), choices: 1, ..Peek::default() };
    let mut extras = fields.any(&["tools"]);
    if let Some(config) = fields.object("generationConfig", GENERATION)? {
        read_caps(&config, &["maxOutputTokens"], &mut peek)?;
        peek.choices = config.choices("candidateCount")?;
        read_thinking(&config, &mut peek)?;
        extras |= config.any(&["thinkingConfig", "responseSchema", "responseJsonSchema", "responseMimeType"]);
    }
    peek.spans.cap_parent = fields.present("generationConfig").map(|field| field.range.clone());
    survey.measure(&mut peek, extras, fields.any(&["cachedContent"]));
    Ok(peek)
}

fn peek_embed<'a>(target: &Target<'a>, body: &'a [u8]) -> Result<Peek<'a>, Malformed> {
    let mut survey = Survey::new(body, &PLAN);
    survey.read()?;
    let mut peek = Peek { model: model(target), choices: 1, ..Peek::default() };
    peek.spans.model = survey.fields.field("model").map(|field| field.range.clone());
    survey.measure(&mut peek, survey.fields.any(&["tools"]), survey.fields.any(&["cachedContent"]));
    Ok(peek)
}

/// `-1` (the model decides) and `0` (off) are no budget.
fn read_thinking(config: &Fields<'_>, peek: &mut Peek<'_>) -> Result<(), Malformed> {
    let Some(thinking) = config.object("thinkingConfig", THINKING)? else { return Ok(()) };
    let Some(field) = thinking.field("thinkingBudget") else { return Ok(()) };
    if thinking.raw(field) == "-1" {
        return Ok(());
    }
    let budget =
        thinking.tokens("thinkingBudget").map_err(|_| wrong("thinkingBudget", "a whole number of tokens, 0 or -1"))?;
    peek.thinking_budget = budget.filter(|budget| *budget > 0);
    peek.spans.thinking_budget = Some(field.range.clone());
    Ok(())
}

fn model<'a>(target: &Target<'a>) -> Option<Cow<'a, str>> {
    gemini_call(target.path).map(|(model, _)| Cow::Borrowed(model))
}

fn rewrite_generate(target: &Target<'_>, body: &Bytes, peek: &Peek<'_>, edits: &Edits<'_>) -> Rewritten {
    let writes = Writes {
        cap: Some("maxOutputTokens"),
        cap_parent: Some("generationConfig"),
        least_cap: 0,
        model_prefix: "models/",
    };
    let inside = splice::rewrite(body, peek, &Edits { ask_usage: false, service_tier: None, ..*edits }, writes);
    Rewritten { path: other_path(target, edits), ..inside }
}

fn rewrite_path(target: &Target<'_>, body: &Bytes, peek: &Peek<'_>, edits: &Edits<'_>) -> Rewritten {
    let edits = Edits { cap: None, ..*edits };
    if target.path.ends_with(":batchEmbedContents") {
        return rewrite_generate(target, body, peek, &Edits { model: None, ..edits });
    }
    rewrite_generate(target, body, peek, &edits)
}

/// The path for another model; the caller keeps the query.
fn other_path(target: &Target<'_>, edits: &Edits<'_>) -> Option<String> {
    let wanted = edits.model?;
    let (model, verb) = gemini_call(target.path)?;
    let version = target.path.strip_suffix(verb)?.strip_suffix(':')?.strip_suffix(model)?;
    Some(format!("{version}{wanted}:{verb}"))
}

fn refers(place: &Place<'_>) -> bool {
    if place.depth == 3 && place.parent == b"tools" {
        return !is_any(place.key, &["functionDeclarations", "function_declarations"]);
    }
    place.kind == Kind::String && is_any(place.key, &["fileUri", "file_uri"]) && is_remote(&place.text())
}

/// Total input = prompt (cached inside) + results of tools; total output = candidates + thoughts. The last object counts
/// whole: numbers may fall from chunk to chunk.
fn normalise(reported: &Reported<'_>) -> Result<Usage, Absurd> {
    let usage = Counts::of(reported.usage);
    let reasoning = usage.count(&["thoughtsTokenCount"])?;
    Ok(Usage {
        input: sum([usage.count(&["promptTokenCount"])?, usage.count(&["toolUsePromptTokenCount"])?]),
        cached_input: usage.count(&["cachedContentTokenCount"])?,
        cache_write: None,
        cache_write_1h: None,
        output: sum([usage.count(&["candidatesTokenCount"])?, reasoning]),
        reasoning,
    })
}
