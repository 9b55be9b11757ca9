//! Answers and refusals between a dialect that words them and the server that sends them.

use std::time::Duration;

use bytes::Bytes;

use super::answer::Dice;
use super::body::Piece;

/// What a dialect says.
#[derive(Debug)]
pub(super) enum Reply {
    /// A JSON document.
    Whole(String),
    /// A stream with its content type.
    Stream(&'static str, Vec<Piece>),
    /// Free of charge: token counts, model lists, embeddings of nothing.
    Free(String),
}

/// A request that is turned away. Each dialect has its own words for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
    /// The field that is wrong, where one is.
    pub(super) field: Option<&'static str>,
    pub(super) code: Option<&'static str>,
    /// Seconds.
    pub(super) retry_after: Option<u64>,
}

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), field: None, code: None, retry_after: None }
    }

    pub(super) fn field(field: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { field: Some(field), code: Some(code), ..Self::new(400, message) }
    }

    /// The error that a script asks for.
    pub(super) fn scripted(status: u16, retry_after: Option<u64>) -> Self {
        let message = match status {
            429 => "Rate limit reached for requests. Please try again later.",
            529 => "Overloaded",
            503 => "The engine is currently overloaded, please try again later.",
            500..=599 => "The server had an error while processing your request. Sorry about that!",
            404 => "The model does not exist or you do not have access to it.",
            401 => "Incorrect API key provided.",
            _ => "The request was rejected.",
        };
        Self { retry_after, ..Self::new(status, message) }
    }
}

/// Writes a stream at the pace of a script.
#[derive(Debug)]
pub(super) struct Talk {
    pieces: Vec<Piece>,
    token_delay: Duration,
    dice: Dice,
    /// Hidden tokens that the next words carry along.
    hidden: u64,
}

impl Talk {
    pub(super) fn new(token_delay: Duration, seed: u64, hidden: u64) -> Self {
        Self { pieces: Vec::new(), token_delay, dice: Dice::new(seed), hidden }
    }

    /// Framing that carries no token.
    pub(super) fn frame(&mut self, bytes: String) {
        self.pieces.push(Piece { bytes: Bytes::from(bytes), ..Piece::default() });
    }

    /// Words; the delay of each piece differs by up to a quarter.
    pub(super) fn say(&mut self, bytes: String, tokens: u64) {
        let tokens = tokens.saturating_add(std::mem::take(&mut self.hidden));
        let percent = u32::try_from(self.dice.between(75, 125)).unwrap_or(100);
        let wait = pace(self.token_delay, tokens).saturating_mul(percent) / 100;
        self.pieces.push(Piece { wait, bytes: Bytes::from(bytes), tokens });
    }

    pub(super) fn end(self) -> Vec<Piece> {
        self.pieces
    }
}

/// The time that so many tokens take.
pub(super) fn pace(token_delay: Duration, tokens: u64) -> Duration {
    token_delay.saturating_mul(u32::try_from(tokens).unwrap_or(u32::MAX))
}
