//! Anthropic messages, `POST /v1/messages`, and the free `count_tokens` beside it.
//!
//! Usage comes twice in a stream: `message_start` has the input and a first count of the output, `message_delta` overrides it
//! field by field and is cumulative. They are never added.

use bytes::Bytes;

use super::content::{self, Shape};
use super::fields::Names;
use super::openai_chat::read_caps;
use super::outline::{Absurd, Counts, Written};
use super::scan::Kind;
use super::splice::{self, Writes};
use super::survey::{Place, Plan, Survey, is_any};
use super::tap::{Reading, Reported, sum};
use super::want::{Slot, Want};
use super::{Dialect, Edits, Family, Framing, Malformed, Peek, Rewritten, Target};
use crate::domain::content::Content;
use crate::domain::usage::Usage;

/// Anthropic messages.
#[derive(Debug, Clone, Copy)]
pub struct AnthropicMessages;

/// Anthropic token counting.
#[derive(Debug, Clone, Copy)]
pub struct AnthropicCountTokens;

static PLAN: Plan = Plan {
    names: Names {
        names: &[
            "model",
            "messages",
            "max_tokens",
            "stream",
            "thinking",
            "tools",
            "mcp_servers",
            "container",
            "output_config",
            "output_format",
        ],
        snake: false,
    },
    messages: &["messages"],
    refers,
};

static SHAPE: Shape = Shape {
    list: "messages",
    tools: &["tools"],
    depth: 4,
    kind: "type",
    is_result: |kind| kind == b"tool_result",
    payload: "content",
    images: &["image"],
    image_keys: &[],
};

static THINKING: Names = Names { names: &["type", "budget_tokens"], snake: false };

static READING: Reading = Reading {
    wants: Want::Members(&[
        ("type", Want::Slot(Slot::Kind)),
        ("usage", Want::Slot(Slot::Usage)),
        ("model", Want::Slot(Slot::Model)),
        ("stop_reason", Want::Slot(Slot::Finish)),
        ("error", Want::Slot(Slot::Error)),
        ("message", Want::Members(&[("usage", Want::Slot(Slot::SideUsage)), ("model", Want::Slot(Slot::Model))])),
        (
            "delta",
            Want::Members(&[
                ("stop_reason", Want::Slot(Slot::Finish)),
                ("text", Want::Text),
                ("thinking", Want::Text),
                ("partial_json", Want::Text),
            ]),
        ),
        ("content", Want::Text),
    ]),
    usage: normalise,
};

static SILENT: Reading =
    Reading { wants: Want::Members(&[("error", Want::Slot(Slot::Error))]), usage: |_| Ok(Usage::default()) };

impl Dialect for AnthropicMessages {
    fn name(&self) -> &'static str {
        "anthropic-messages"
    }

    fn family(&self) -> Family {
        Family::Anthropic
    }

    fn peek<'a>(&self, _: &Target<'a>, body: &'a [u8]) -> Result<Peek<'a>, Malformed> {
        let mut survey = Survey::new(body, &PLAN);
        survey.read()?;
        let fields = &survey.fields;
        let mut peek = Peek { model: fields.text("model")?, choices: 1, ..Peek::default() };
        peek.spans.model = fields.present("model").map(|field| field.range.clone());
        read_caps(fields, &["max_tokens"], &mut peek)?;
        if fields.flag("stream")? {
            peek.framing = Framing::Sse;
        }
        if let Some(thinking) = fields.object("thinking", THINKING)? {
            peek.thinking_budget = thinking.tokens("budget_tokens")?.filter(|budget| *budget > 0);
            peek.spans.thinking_budget = thinking.field("budget_tokens").map(|field| field.range.clone());
        }
        let extras = fields.any(&["tools", "thinking", "output_config", "output_format"]);
        survey.measure(&mut peek, extras, fields.any(&["mcp_servers", "container"]));
        Ok(peek)
    }

    fn rewrite(&self, _: &Target<'_>, body: &Bytes, peek: &Peek<'_>, edits: &Edits<'_>) -> Rewritten {
        let edits = Edits { ask_usage: false, service_tier: None, ..*edits };
        let cap = Some("max_tokens");
        splice::rewrite(body, peek, &edits, Writes { cap, cap_parent: None, least_cap: 0, model_prefix: "" })
    }

    fn content(&self, body: &[u8]) -> Content {
        content::look(body, &SHAPE)
    }

    fn reading(&self) -> &'static Reading {
        &READING
    }
}

impl Dialect for AnthropicCountTokens {
    fn name(&self) -> &'static str {
        "anthropic-count-tokens"
    }

    fn family(&self) -> Family {
        Family::Anthropic
    }

    fn bills(&self) -> bool {
        false
    }

    fn peek<'a>(&self, target: &Target<'a>, body: &'a [u8]) -> Result<Peek<'a>, Malformed> {
        AnthropicMessages.peek(target, body)
    }

    fn rewrite(&self, target: &Target<'_>, body: &Bytes, peek: &Peek<'_>, edits: &Edits<'_>) -> Rewritten {
        AnthropicMessages.rewrite(target, body, peek, &Edits { cap: None, ..*edits })
    }

    fn reading(&self) -> &'static Reading {
        &SILENT
    }
}

/// Tools whose `type` says that the client runs them; other types run at the provider and bring input of their own.
fn is_client_tool(kind: &[u8]) -> bool {
    kind == b"custom"
        || ["bash_", "text_editor_", "computer_", "memory_"].iter().any(|own| kind.starts_with(own.as_bytes()))
}

fn refers(place: &Place<'_>) -> bool {
    if place.kind != Kind::String {
        return false;
    }
    match place.key {
        b"type" if place.depth == 3 && place.parent == b"tools" => !is_client_tool(&place.text()),
        b"url" => place.parent == b"source",
        key if is_any(key, &["file_id"]) => !place.text().is_empty(),
        _ => false,
    }
}

/// Total input = uncached + cache reads + cache writes; output includes thinking. Iterations outside the top level
/// (compaction, advisor) are billed too, so that their sum counts where it is larger.
fn normalise(reported: &Reported<'_>) -> Result<Usage, Absurd> {
    let merged = Counts { last: reported.usage, first: reported.side };
    let top = one(&merged)?;
    let mut all = Usage::default();
    for iteration in merged.get("iterations").into_iter().flat_map(Written::elements) {
        all = add(all, one(&Counts::of(Some(iteration)))?);
    }
    Ok(if all.total() > top.total() { all } else { top })
}

fn one(usage: &Counts<'_>) -> Result<Usage, Absurd> {
    let cached_input = usage.count(&["cache_read_input_tokens"])?;
    let cache_write = usage.count(&["cache_creation_input_tokens"])?;
    let fresh = usage.count(&["input_tokens"])?;
    Ok(Usage {
        input: fresh.and_then(|_| sum([fresh, cached_input, cache_write])),
        cached_input,
        cache_write,
        cache_write_1h: usage.count(&["cache_creation", "ephemeral_1h_input_tokens"])?,
        output: usage.count(&["output_tokens"])?,
        reasoning: usage.count(&["output_tokens_details", "thinking_tokens"])?,
    })
}

fn add(a: Usage, b: Usage) -> Usage {
    Usage {
        input: sum([a.input, b.input]),
        cached_input: sum([a.cached_input, b.cached_input]),
        cache_write: sum([a.cache_write, b.cache_write]),
        cache_write_1h: sum([a.cache_write_1h, b.cache_write_1h]),
        output: sum([a.output, b.output]),
        reasoning: sum([a.reasoning, b.reasoning]),
    }
}
