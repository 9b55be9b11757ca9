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

    /// The kinds of token that are priced apart, none of them in another. Parts that contradict the whole are cut down to
    /// it, so that no kind is ever counted below zero.
    pub fn parts(&self) -> Parts {
        let part = |tokens: Option<u64>| tokens.unwrap_or(0);
        // Parts without a whole: the whole is at least their sum.
        let all_input = self.input.unwrap_or_else(|| part(self.cached_input).saturating_add(part(self.cache_write)));
        let written = part(self.cache_write).min(all_input);
        let cache_write_1h = part(self.cache_write_1h).min(written);
        let cached_input = part(self.cached_input).min(all_input - written);
        Parts {
            all_input,
            input: all_input - written - cached_input,
            cached_input,
            cache_write: written - cache_write_1h,
            cache_write_1h,
            output: part(self.output),
        }
    }

    /// Whether the provider said anything at all.
    pub fn is_known(&self) -> bool {
        self.input.is_some() || self.output.is_some()
    }
}

/// Tokens of one call by price; see [`Usage::parts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parts {
    /// All input: what decides whether the call is a long one.
    pub all_input: u64,
    /// Input that was neither read from nor written to a cache.
    pub input: u64,
    /// Input read from the provider's cache.
    pub cached_input: u64,
    /// Input written to the provider's cache for the ordinary time.
    pub cache_write: u64,
    /// Input written to the provider's cache for an hour.
    pub cache_write_1h: u64,
    /// All output.
    pub output: u64,
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
