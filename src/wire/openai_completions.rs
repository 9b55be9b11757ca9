//! OpenAI's legacy completions, `POST /v1/completions`, which vLLM and llama.cpp speak too.

use bytes::Bytes;

use super::fields::Names;
use super::openai_chat::{OpenAiChat, read_caps, read_stream};
use super::splice::{self, Writes};
use super::survey::{Plan, Survey};
use super::tap::Reading;
use super::{Dialect, Edits, Family, Malformed, Peek, Rewritten, Target};

/// OpenAI completions.
#[derive(Debug, Clone, Copy)]
pub struct OpenAiCompletions;

static PLAN: Plan = Plan {
    names: Names {
        names: &["model", "prompt", "max_tokens", "n", "best_of", "stream", "stream_options", "response_format"],
        snake: false,
    },
    messages: &["prompt"],
    refers: |_| false,
};

impl Dialect for OpenAiCompletions {
    fn name(&self) -> &'static str {
        "openai-completions"
    }

    fn family(&self) -> Family {
        Family::OpenAi
    }

    fn peek<'a>(&self, _: &Target<'a>, body: &'a [u8]) -> Result<Peek<'a>, Malformed> {
        let mut survey = Survey::new(body, &PLAN);
        survey.read()?;
        let fields = &survey.fields;
        let mut peek = Peek { model: fields.text("model")?, ..Peek::default() };
        peek.spans.model = fields.present("model").map(|field| field.range.clone());
        let prompts = if survey.token_ids { 1 } else { survey.messages.max(1) };
        peek.choices = fields.choices("n")?.max(fields.choices("best_of")?).saturating_mul(prompts);
        read_caps(fields, &["max_tokens"], &mut peek)?;
        read_stream(fields, &mut peek)?;
        survey.measure(&mut peek, fields.any(&["response_format"]), false);
        Ok(peek)
    }

    fn rewrite(&self, _: &Target<'_>, body: &Bytes, peek: &Peek<'_>, edits: &Edits<'_>) -> Rewritten {
        let cap = Some("max_tokens");
        let edits = Edits { service_tier: None, ..*edits };
        splice::rewrite(body, peek, &edits, Writes { cap, cap_parent: None, least_cap: 0, model_prefix: "" })
    }

    fn reading(&self) -> &'static Reading {
        OpenAiChat.reading()
    }
}
