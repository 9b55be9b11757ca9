//! OpenAI chat completions, `POST /v1/chat/completions`, and everything compatible with it.
//!
//! Where a client names no limit, `max_completion_tokens` is written: `max_tokens` is refused by reasoning models. Some
//! compatible servers know `max_tokens` only and then ignore the limit; their clients should send one.

use bytes::Bytes;
use smallvec::SmallVec;

use super::content::{self, Shape};
use super::fields::{Fields, Names};
use super::openai_usage;
use super::scan::Kind;
use super::splice::{self, Writes};
use super::survey::{Place, Plan, Survey, is_any, is_remote};
use super::tap::Reading;
use super::want::{Slot, Want};
use super::{Dialect, Edits, Family, Framing, Malformed, Peek, Rewritten, Target, UsageFlag};
use crate::domain::content::Content;

/// OpenAI chat completions.
#[derive(Debug, Clone, Copy)]
pub struct OpenAiChat;

static PLAN: Plan = Plan {
    names: Names {
        names: &[
            "model",
            "messages",
            "max_tokens",
            "max_completion_tokens",
            "n",
            "stream",
            "stream_options",
            "tools",
            "functions",
            "response_format",
            "reasoning_effort",
            "reasoning",
            "thinking",
            "web_search_options",
            "plugins",
            "service_tier",
        ],
        snake: false,
    },
    messages: &["messages"],
    refers,
};

static SHAPE: Shape = Shape {
    list: "messages",
    tools: &["tools", "functions"],
    depth: 2,
    kind: "role",
    is_result: |role| matches!(role, b"tool" | b"function"),
    payload: "content",
    images: &["image_url"],
    image_keys: &[],
};

static STREAM_OPTIONS: Names = Names { names: &["include_usage"], snake: false };

static READING: Reading = Reading {
    wants: Want::Members(&[
        ("usage", Want::Slot(Slot::Usage)),
        ("x_groq", Want::Members(&[("usage", Want::Slot(Slot::SideUsage))])),
        ("model", Want::Slot(Slot::Model)),
        ("service_tier", Want::Slot(Slot::Tier)),
        ("error", Want::Slot(Slot::Error)),
        (
            "choices",
            Want::Elements(&Want::Members(&[
                ("finish_reason", Want::Slot(Slot::Finish)),
                ("text", Want::Text),
                (
                    "delta",
                    Want::Members(&[
                        ("content", Want::Text),
                        ("refusal", Want::Text),
                        ("reasoning", Want::Text),
                        ("reasoning_content", Want::Text),
                        ("function_call", Want::Text),
                        ("tool_calls", Want::Text),
                    ]),
                ),
                ("message", Want::Text),
            ])),
        ),
    ]),
    usage: openai_usage::normalise,
};

impl Dialect for OpenAiChat {
    fn name(&self) -> &'static str {
        "openai-chat"
    }

    fn family(&self) -> Family {
        Family::OpenAi
    }

    fn peek<'a>(&self, _: &Target<'a>, body: &'a [u8]) -> Result<Peek<'a>, Malformed> {
        let mut survey = Survey::new(body, &PLAN);
        survey.read()?;
        let fields = &survey.fields;
        let mut peek = Peek { model: fields.text("model")?, choices: fields.choices("n")?, ..Peek::default() };
        peek.spans.model = fields.present("model").map(|field| field.range.clone());
        read_caps(fields, &["max_completion_tokens", "max_tokens"], &mut peek)?;
        read_stream(fields, &mut peek)?;
        peek.spans.service_tier = fields.present("service_tier").map(|field| field.range.clone());
        let extras = ["tools", "functions", "response_format", "reasoning_effort", "reasoning", "thinking"];
        survey.measure(
            &mut peek,
            fields.any(&extras),
            fields.field("web_search_options").is_some() || fields.any(&["plugins"]),
        );
        Ok(peek)
    }

    fn rewrite(&self, _: &Target<'_>, body: &Bytes, peek: &Peek<'_>, edits: &Edits<'_>) -> Rewritten {
        let cap = Some("max_completion_tokens");
        splice::rewrite(body, peek, edits, Writes { cap, cap_parent: None, least_cap: 0, model_prefix: "" })
    }

    fn content(&self, body: &[u8]) -> Content {
        content::look(body, &SHAPE)
    }

    fn takes_service_tier(&self) -> bool {
        true
    }

    fn reading(&self) -> &'static Reading {
        &READING
    }
}

/// Reads the fields that may hold the limit. Of two limits the higher one counts, since servers disagree; a null one is a
/// place to write when there is no other.
pub(crate) fn read_caps(fields: &Fields<'_>, names: &[&'static str], peek: &mut Peek<'_>) -> Result<(), Malformed> {
    let mut spans = SmallVec::new();
    for name in names {
        if let (Some(cap), Some(field)) = (fields.tokens(name)?, fields.field(name)) {
            peek.cap = peek.cap.max(Some(cap));
            spans.push(field.range.clone());
        }
    }
    if spans.is_empty() {
        spans.extend(names.iter().find_map(|name| fields.present(name)).map(|field| field.range.clone()));
    }
    peek.spans.caps = spans;
    Ok(())
}

/// Reads `stream` and `stream_options.include_usage`.
pub(crate) fn read_stream(fields: &Fields<'_>, peek: &mut Peek<'_>) -> Result<(), Malformed> {
    peek.spans.stream_options = fields.present("stream_options").map(|field| field.range.clone());
    let options = fields.object("stream_options", STREAM_OPTIONS)?;
    let mut asked = false;
    if let Some(options) = options {
        asked = options.flag("include_usage")?;
        peek.spans.include_usage = options.present("include_usage").map(|field| field.range.clone());
    }
    if fields.flag("stream")? {
        peek.framing = Framing::Sse;
        peek.usage_flag = if asked { UsageFlag::Asked } else { UsageFlag::NotAsked };
    }
    Ok(())
}

fn refers(place: &Place<'_>) -> bool {
    if place.kind != Kind::String {
        return false;
    }
    match place.key {
        b"type" if place.depth == 3 && place.parent == b"tools" => !is_any(&place.text(), &["function", "custom"]),
        b"id" => place.parent == b"audio",
        b"url" => is_any(place.parent, &["image_url", "video_url", "audio_url", "file"]) && is_remote(&place.text()),
        key if is_any(key, &["file_id"]) => !place.text().is_empty(),
        key if is_any(key, &["image_url", "file_url"]) => is_remote(&place.text()),
        _ => false,
    }
}
