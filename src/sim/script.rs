//! What a scripted provider does: how long it thinks, how fast it talks, how much it says, and how it fails.
//!
//! A prompt can overrule the script for its own call with marks such as `[[tokens=900]]`: `tokens`, `reasoning`, `cached`
//! (counts), `status` (an HTTP error), `cut`, `reset`, `stall` (after so many body bytes) and `delay` (milliseconds to the first
//! token).

use std::ops::RangeInclusive;
use std::time::Duration;

/// The behaviour of a [`Provider`](super::Provider).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Decides the words and lengths of all answers, and the ids in them.
    pub seed: u64,
    /// Output tokens of one answer, hidden reasoning included; drawn per call where the range is wide.
    pub answer_tokens: RangeInclusive<u64>,
    /// The part of an answer's tokens that reasoning models (o-series, GPT-5) hide.
    pub reasoning_tokens: u64,
    /// Time until the head of the answer is sent.
    pub first_token_delay: Duration,
    /// Time for each further token.
    pub token_delay: Duration,
    /// Tokens in one event of a stream; 0 counts as 1.
    pub tokens_per_event: u64,
    /// The credential that callers must show; `None` takes any.
    pub key: Option<String>,
    /// Whether a call that the client gave up is billed in full, as some providers do, or up to what was sent.
    pub bills_after_cancel: bool,
    /// How every call fails that no mark, canned answer or single fault speaks for.
    pub fault: Option<Fault>,
    /// Chat completions get one fixed answer, nothing of it is measured per token and no request is kept.
    pub prebuilt: bool,
}

impl Default for Script {
    /// Answers at once: 64 tokens, one per event.
    fn default() -> Self {
        Self {
            seed: 1,
            answer_tokens: 64..=64,
            reasoning_tokens: 0,
            first_token_delay: Duration::ZERO,
            token_delay: Duration::ZERO,
            tokens_per_event: 1,
            key: None,
            bills_after_cancel: true,
            fault: None,
            prebuilt: false,
        }
    }
}

impl Script {
    /// Delays and lengths like those of a mid-size model on a usual day: 350 ms to the first token, 12 ms for each further one.
    pub fn realistic() -> Self {
        Self {
            answer_tokens: 80..=420,
            reasoning_tokens: 48,
            first_token_delay: Duration::from_millis(350),
            token_delay: Duration::from_millis(12),
            tokens_per_event: 4,
            ..Self::default()
        }
    }

    /// For load tests: chat completions answer a fixed body of about 2 kB, or a burst of 64 events, with as little work as
    /// possible. Caps are not honoured and [`Provider::requests`](super::Provider::requests) stays empty.
    pub fn fast() -> Self {
        Self { prebuilt: true, ..Self::default() }
    }
}

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An error answer in the dialect's own shape, not billed.
    Status {
        /// The HTTP status, such as 429, 500 or 529.
        status: u16,
        /// Seconds in the `retry-after` header.
        retry_after: Option<u64>,
    },
    /// The connection ends in the middle of the body.
    Cut {
        /// Body bytes that are still sent.
        after: usize,
        /// Ends with a TCP reset rather than a FIN.
        reset: bool,
    },
    /// The body stops and the connection stays open.
    Stall {
        /// Body bytes that are still sent.
        after: usize,
    },
}
