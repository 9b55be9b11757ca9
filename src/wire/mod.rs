//! Provider bytes ⇄ facts, without I/O.
//!
//! A [`Dialect`] reads what a policy needs out of a request ([`Peek`]), edits it by splicing ([`Edits`]), and a [`tap::Tap`]
//! reads the usage out of the answer as it passes. Nothing here builds a tree of a body or changes a byte that no edit names.

pub mod anthropic_messages;
pub mod charge;
pub mod coding;
mod content;
mod echo;
pub mod estimate;
mod fields;
pub mod filter;
pub mod gemini;
pub mod http1;
mod json_tap;
mod octets;
pub mod openai_chat;
pub mod openai_completions;
pub mod openai_embeddings;
pub mod openai_responses;
mod openai_usage;
mod operation;
mod outline;
pub mod refusal;
mod scan;
mod splice;
mod sse;
mod survey;
pub mod tap;
mod want;
mod zstd;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::Method;
use smallvec::SmallVec;

use crate::domain::content::Content;

pub use operation::operation;

/// A family of providers that share paths, credentials and the shape of errors. `dialect:` in `plimsoll.yaml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// OpenAI and everything compatible with it.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// Google Gemini.
    Gemini,
}

/// Where a request goes, below the provider's name.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, beginning with `/`, without the provider's segment: `/v1/chat/completions`.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
}

/// What a request is, judged by method and path alone.
#[derive(Debug, Clone, Copy)]
pub enum Operation {
    /// A known inference path.
    Known(&'static dyn Dialect),
    /// Costs nothing wherever it goes: GET, HEAD, OPTIONS, DELETE, moderations.
    Free,
    /// May cost money and cannot be metered.
    Unmetered,
}

/// One wire format of one inference path.
pub trait Dialect: Send + Sync + fmt::Debug {
    /// The name in the ledger: `openai-chat`.
    fn name(&self) -> &'static str;
    /// The family.
    fn family(&self) -> Family;
    /// Whether calls cost money. Token counting does not.
    fn bills(&self) -> bool {
        true
    }
    /// Whether an answer has output tokens that a cap could bound. Embeddings have none.
    fn has_output(&self) -> bool {
        self.bills()
    }
    /// Reads a request in one pass, borrowing from it. Refuses malformed JSON, and duplicate or case-variant keys of the
    /// fields that are read, so that the bytes that are judged are the bytes that are forwarded.
    fn peek<'a>(&self, target: &Target<'a>, body: &'a [u8]) -> Result<Peek<'a>, Malformed>;
    /// Applies `edits` by splicing. What no edit names stays byte for byte.
    fn rewrite(&self, target: &Target<'_>, body: &Bytes, peek: &Peek<'_>, edits: &Edits<'_>) -> Rewritten;
    /// Looks into a body that was read before for what only some rules ask: images, tools, results of tools.
    fn content(&self, _body: &[u8]) -> Content {
        Content::default()
    }
    /// Whether a request may say which service tier it wants.
    fn takes_service_tier(&self) -> bool {
        false
    }
    /// What a [`tap::Tap`] reads of the answers.
    fn reading(&self) -> &'static tap::Reading;
}

/// How an answer will be framed, as the request asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// One JSON document.
    #[default]
    Json,
    /// Server-sent events.
    Sse,
    /// A JSON array that arrives element by element (Gemini without `alt=sse`).
    JsonArray,
}

/// Whether the client asked for usage in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UsageFlag {
    /// The dialect always reports usage.
    #[default]
    NotNeeded,
    /// The client asked.
    Asked,
    /// The client did not ask (or said `false`): we ask, and take the extra chunk out again.
    NotAsked,
}

/// What a policy needs to know of a request, borrowed from it.
#[derive(Debug, Clone, Default)]
pub struct Peek<'a> {
    /// The model asked for, from the body or the path.
    pub model: Option<Cow<'a, str>>,
    /// How the answer will be framed.
    pub framing: Framing,
    /// The client's limit on output tokens, whichever field it used.
    pub cap: Option<u64>,
    /// The thinking budget of the request, when it has one above zero.
    pub thinking_budget: Option<u64>,
    /// How many answers are asked for (`n`, `best_of`, `candidateCount`, the number of prompts); at least 1.
    pub choices: u64,
    /// An upper bound of the input tokens: a byte of text is at most a token (plus the dialect's additions per message,
    /// tools, thinking and structured output).
    pub input_bound: u64,
    /// The request refers to input that is not in it (previous response, files by reference, cached content, server-side
    /// tools), so that only the model's context window bounds it.
    pub input_by_reference: bool,
    /// The answer comes later, by another request (`background`): it cannot be metered here.
    pub deferred: bool,
    /// A middling estimate of the input tokens, for answers without usage.
    pub input_estimate: u64,
    /// Whether usage must be asked for.
    pub usage_flag: UsageFlag,
    /// Places in the body that `rewrite` needs.
    pub spans: Spans,
}

/// A byte range of a body.
pub type ByteRange = std::ops::Range<usize>;

/// The places of a request that edits touch. Ranges cover values (for the cap: the number).
#[derive(Debug, Clone, Default)]
pub struct Spans {
    /// The value of the model field in the body.
    pub model: Option<ByteRange>,
    /// The values of every output-limit field that is present.
    pub caps: SmallVec<[ByteRange; 2]>,
    /// The value of the thinking budget.
    pub thinking_budget: Option<ByteRange>,
    /// The value of the object into which a missing cap is inserted, when that is not the body itself.
    pub cap_parent: Option<ByteRange>,
    /// The value of `stream_options`.
    pub stream_options: Option<ByteRange>,
    /// The value of `stream_options.include_usage`.
    pub include_usage: Option<ByteRange>,
    /// The value of `service_tier`.
    pub service_tier: Option<ByteRange>,
}

/// What to change in a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Edits<'a> {
    /// Ask for another model.
    pub model: Option<&'a str>,
    /// Write this limit on output tokens.
    pub cap: Option<u64>,
    /// Ask for usage in the stream.
    pub ask_usage: bool,
    /// Ask for this service tier, where the dialect has one.
    pub service_tier: Option<&'a str>,
}

/// A body in one piece, or in several where copying would cost more: then untouched pieces are slices of the original.
pub type Pieces = SmallVec<[Bytes; 1]>;

/// A request after its edits.
#[derive(Debug, Clone)]
pub struct Rewritten {
    /// Another path, when the path names the model.
    pub path: Option<String>,
    /// The body.
    pub body: Pieces,
}

/// Why a request is refused before anything judges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong and what would fix it: a sentence for the caller, without a full stop.
    pub message: String,
    /// The field, when one is to blame.
    pub param: Option<&'static str>,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 3] = [Self::OpenAi, Self::Anthropic, Self::Gemini];

    /// The word in `plimsoll.yaml`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.as_str() == word)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Malformed {}

#[cfg(test)]
mod tests;
