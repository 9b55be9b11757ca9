//! OpenAI Responses, `POST /v1/responses`. Usage comes unasked, in the terminal event; `stream_options` is never touched.
//!
//! A background job (`background: true`) answers without usage at once and is billed later; its answer reads as unknown.

use bytes::Bytes;

use super::content::{self, Shape};
use super::fields::Names;
use super::openai_chat::read_caps;
use super::openai_usage;
use super::scan::Kind;
use super::splice::{self, Writes};
use super::survey::{Place, Plan, Survey, is_any, is_remote};
use super::tap::Reading;
use super::want::{Slot, Want};
use super::{Dialect, Edits, Family, Framing, Malformed, Peek, Rewritten, Target};
use crate::domain::content::Content;

/// OpenAI Responses.
#[derive(Debug, Clone, Copy)]
pub struct OpenAiResponses;

/// The smallest limit that the API takes: below it, it answers 400.
const LEAST_CAP: u64 = 16;

static PLAN: Plan = Plan {
    names: Names {
        names: &[
            "model",
            "input",
            "max_output_tokens",
            "stream",
            "previous_response_id",
            "conversation",
            "prompt",
            "tools",
            "text",
            "reasoning",
            "plugins",
            "background",
            "service_tier",
        ],
        snake: false,
    },
    messages: &["input"],
    refers,
};

static SHAPE: Shape = Shape {
    list: "input",
    tools: &["tools"],
    depth: 2,
    kind: "type",
    is_result: |kind| kind.ends_with(b"_call_output"),
    payload: "output",
    images: &["input_image"],
    image_keys: &[],
};

static READING: Reading = Reading {
    wants: Want::Members(&[
        ("type", Want::Slot(Slot::Kind)),
        ("usage", Want::Slot(Slot::Usage)),
        ("model", Want::Slot(Slot::Model)),
        ("service_tier", Want::Slot(Slot::Tier)),
        ("status", Want::Slot(Slot::Finish)),
        ("error", Want::Slot(Slot::Error)),
        (
            "response",
            Want::Members(&[
                ("usage", Want::Slot(Slot::Usage)),
                ("model", Want::Slot(Slot::Model)),
                ("service_tier", Want::Slot(Slot::Tier)),
                ("status", Want::Slot(Slot::Finish)),
                ("error", Want::Slot(Slot::Error)),
            ]),
        ),
        ("delta", Want::Text),
        ("output", Want::Text),
    ]),
    usage: openai_usage::normalise,
};

impl Dialect for OpenAiResponses {
    fn name(&self) -> &'static str {
        "openai-responses"
    }

    fn family(&self) -> Family {
        Family::OpenAi
    }

    fn peek<'a>(&self, _: &Target<'a>, body: &'a [u8]) -> Result<Peek<'a>, Malformed> {
        let mut survey = Survey::new(body, &PLAN);
        survey.read()?;
        let fields = &survey.fields;
        let mut peek = Peek { model: fields.text("model")?, choices: 1, ..Peek::default() };
        peek.spans.model = fields.present("model").map(|field| field.range.clone());
        read_caps(fields, &["max_output_tokens"], &mut peek)?;
        if fields.flag("stream")? {
            peek.framing = Framing::Sse;
        }
        peek.spans.service_tier = fields.present("service_tier").map(|field| field.range.clone());
        peek.deferred = fields.flag("background")?;
        let by_reference = fields.any(&["previous_response_id", "conversation", "prompt", "plugins"]);
        survey.measure(&mut peek, fields.any(&["tools", "text", "reasoning"]), by_reference);
        Ok(peek)
    }

    fn rewrite(&self, _: &Target<'_>, body: &Bytes, peek: &Peek<'_>, edits: &Edits<'_>) -> Rewritten {
        let edits = Edits { ask_usage: false, ..*edits };
        let cap = Some("max_output_tokens");
        splice::rewrite(body, peek, &edits, Writes { cap, cap_parent: None, least_cap: LEAST_CAP, model_prefix: "" })
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

fn refers(place: &Place<'_>) -> bool {
    if place.kind != Kind::String {
        return false;
    }
    match place.key {
        b"type" if place.depth == 3 && place.parent == b"tools" => {
            !is_any(&place.text(), &["function", "custom", "local_shell", "apply_patch"])
        }
        b"type" if place.depth == 3 && place.parent == b"input" => *place.text() == *b"item_reference",
        key if is_any(key, &["file_id"]) => !place.text().is_empty(),
        key if is_any(key, &["image_url", "file_url"]) => is_remote(&place.text()),
        _ => false,
    }
}
