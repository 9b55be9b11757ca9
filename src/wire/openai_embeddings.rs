//! OpenAI embeddings, `POST /v1/embeddings`. There is no output and so no limit on it.

use bytes::Bytes;

use super::fields::Names;
use super::openai_chat::OpenAiChat;
use super::splice::{self, Writes};
use super::survey::{Plan, Survey};
use super::tap::Reading;
use super::{Dialect, Edits, Family, Malformed, Peek, Rewritten, Target};

/// OpenAI embeddings.
#[derive(Debug, Clone, Copy)]
pub struct OpenAiEmbeddings;

static PLAN: Plan =
    Plan { names: Names { names: &["model", "input"], snake: false }, messages: &["input"], refers: |_| false };

impl Dialect for OpenAiEmbeddings {
    fn name(&self) -> &'static str {
        "openai-embeddings"
    }

    fn has_output(&self) -> bool {
        false
    }

    fn family(&self) -> Family {
        Family::OpenAi
    }

    fn peek<'a>(&self, _: &Target<'a>, body: &'a [u8]) -> Result<Peek<'a>, Malformed> {
        let mut survey = Survey::new(body, &PLAN);
        survey.read()?;
        let mut peek = Peek { model: survey.fields.text("model")?, choices: 1, ..Peek::default() };
        peek.spans.model = survey.fields.present("model").map(|field| field.range.clone());
        survey.measure(&mut peek, false, false);
        Ok(peek)
    }

    fn rewrite(&self, _: &Target<'_>, body: &Bytes, peek: &Peek<'_>, edits: &Edits<'_>) -> Rewritten {
        let edits = Edits { cap: None, ask_usage: false, service_tier: None, ..*edits };
        splice::rewrite(body, peek, &edits, Writes { cap: None, cap_parent: None, least_cap: 0, model_prefix: "" })
    }

    fn reading(&self) -> &'static Reading {
        OpenAiChat.reading()
    }
}
