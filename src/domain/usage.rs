//! What a call used, in tokens, on one footing for every provider.

use std::fmt;

/// Tokens of one call. `None` means that the provider did not say; it never means zero.
///
/// `input` includes cached and cache-write tokens and `output` includes reasoning, whatever the provider's own
/// convention is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// All input tokens, cache reads and writes among them.
    pub input: Option<u64>,
    /// The part of `input` that was read from the provider's cache.
    pub cached_input: Option<u64>,
    /// The part of `input` that was written to the provider's cache.
    pub cache_write: Option<u64>,
    /// The part of `cache_write` that is kept for an hour (Anthropic prices it apart).
    pub cache_write_1h: Option<u64>,
    /// All output tokens, hidden reasoning among them.
    pub output: Option<u64>,
    /// The part of `output` that was reasoning.
    pub reasoning: Option<u64>,
}

impl Usage {
    /// Total input plus total output: what a limit in tokens counts.
    pub fn total(&self) -> u64 {
        self.input.unwrap_or(0).saturating_add(self.output.unwrap_or(0))
    }

    /// Whether the provider said anything at all.
    pub fn is_known(&self) -> bool {
        self.input.is_some() || self.output.is_some()
    }
}

/// How a row's cost is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basis {
    /// The provider's own final usage.
    Exact,
    /// The provider's usage up to where the answer was cut.
    Partial,
    /// Our estimate: the provider said nothing.
    Estimated,
    /// Charged until evidence arrives.
    InDoubt,
    /// Forwarded without metering.
    Unmetered,
}

impl Basis {
    /// The word in the ledger and in the admin API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Partial => "partial",
            Self::Estimated => "estimated",
            Self::InDoubt => "in_doubt",
            Self::Unmetered => "unmetered",
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
