//! The permanent record of one attempt.

use std::sync::Arc;

use crate::domain::attribution::Attribution;
use crate::domain::clock::Timestamp;
use crate::domain::money::Money;
use crate::domain::price::PriceRow;
use crate::domain::standing::{Amounts, Dimensions};
use crate::domain::tenant::Tenant;
use crate::domain::usage::{Basis, Usage};
use crate::meter::reservation::Postings;

/// One upstream attempt, or one refusal of ours, as the ledger keeps it for good.
#[derive(Debug, Clone)]
pub struct LedgerEntry {
    /// Unique per attempt; the same as `request_id` for a first attempt.
    pub attempt_id: Arc<str>,
    /// What the client saw as `plimsoll-request-id`.
    pub request_id: Arc<str>,
    /// When the call was admitted. Decides the window it counts in.
    pub admitted_at: Timestamp,
    /// Who pays, with the directory's facts at admission.
    pub tenant: Arc<Tenant>,
    /// The telemetry dimensions.
    pub attribution: Arc<Attribution>,
    /// The gateway key's name, when there was one.
    pub key_name: Option<Arc<str>>,
    /// The provider's name.
    pub provider: Arc<str>,
    /// The dialect's name (`openai-chat`), or the path for what is not metered.
    pub dialect: Arc<str>,
    /// The path below the provider, without its query.
    pub path: Arc<str>,
    /// The model that the client asked for.
    pub model_requested: Option<Arc<str>>,
    /// The model that was sent upstream.
    pub model_served: Option<Arc<str>>,
    /// The model that answered, as the provider names it.
    pub model_answered: Option<Arc<str>>,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// Whether this attempt begins a logical request (a retry of the same request does not).
    pub logical: bool,
    /// Tokens.
    pub usage: Usage,
    /// How the cost is known.
    pub basis: Basis,
    /// The price that was used, pinned when the call was admitted. `None`: the model is unpriced.
    pub price: Option<Arc<PriceRow>>,
    /// The cost. `None` when the model is unpriced and tokens were used: never 0 for unknown.
    pub cost: Option<Money>,
    /// The HTTP status that the client got.
    pub status: u16,
    /// How the attempt ended.
    pub ending: Ending,
    /// `plimsoll-decision` as it was sent; empty when nothing was done.
    pub decision: Arc<str>,
    /// `plimsoll-would` as it was sent.
    pub would: Arc<str>,
    /// The policy revision: `r42 9f3c1ae`.
    pub policy: Arc<str>,
    /// Microseconds the gateway itself spent before the request left.
    pub overhead_us: u32,
    /// Microseconds from the request's departure to the first byte of the answer.
    pub first_byte_us: Option<u32>,
    /// Microseconds from the call's arrival to the end of the answer.
    pub duration_us: u64,
    /// The counters that counted it already.
    pub postings: Postings,
    /// The number of the policy snapshot that those counters belong to. The writer adds the counters that later ones brought.
    pub snapshot: u64,
    /// What this row corrects, when it is no attempt of its own.
    pub correction: Option<Correction>,
}

/// Why a row of the past is worth another amount now. Nothing is ever changed in place: a correction is a row beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    /// The `attempt_id` of the row that is corrected.
    pub adjusts: Arc<str>,
    /// Who said so.
    pub actor: Arc<str>,
    /// On what evidence.
    pub reason: Arc<str>,
    /// When.
    pub at: Timestamp,
}

impl LedgerEntry {
    /// The row's dimensions, as budgets match and count by them.
    pub fn dimensions(&self) -> Dimensions<'_> {
        let from = &*self.attribution;
        Dimensions {
            tenant_id: self.tenant.id.as_str(),
            plan: self.tenant.plan.as_deref(),
            segment: self.tenant.segment.as_deref(),
            endpoint_tag: &from.endpoint_tag,
            prompt_version: &from.prompt_version,
            data_mode: from.data_mode.as_str(),
            environment: from.environment.as_str(),
            user_id: from.user_id.as_deref(),
            workflow_id: from.workflow_id.as_deref(),
            provider: &self.provider,
            model: self.model_requested.as_deref().unwrap_or_default(),
        }
    }

    /// What counters count of it: its cost (0 when unknown), its tokens, and 1 for a logical request that was not refused.
    pub fn amounts(&self) -> Amounts {
        let counts = self.logical && self.ending != Ending::Refused;
        [self.cost.map_or(0, Money::nano), tokens(&self.usage), i64::from(counts)]
    }
}

/// Total tokens as counters and columns hold them: each side at most 2⁶³−1, and so their sum.
pub fn tokens(usage: &Usage) -> i64 {
    let side = |count: Option<u64>| count.map_or(0, |count| i64::try_from(count).unwrap_or(i64::MAX));
    side(usage.input).saturating_add(side(usage.output))
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The provider's answer arrived whole.
    Complete,
    /// The provider answered with an error.
    ProviderError,
    /// The client went away.
    ClientGone,
    /// The provider's answer was cut, or never came.
    UpstreamFailed,
    /// We refused the call; nothing was sent.
    Refused,
    /// No attempt: it corrects the row of one.
    Adjustment,
    /// We gave the kept answer of an earlier call again; nothing was sent.
    Replayed,
}

impl Ending {
    /// The word in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ProviderError => "provider_error",
            Self::ClientGone => "client_gone",
            Self::UpstreamFailed => "upstream_failed",
            Self::Refused => "refused",
            Self::Adjustment => "adjustment",
            Self::Replayed => "replayed",
        }
    }
}

/// A budget's counter reached a step for the first time in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitionEntry {
    /// The budget's name.
    pub budget: Arc<str>,
    /// The values of its `per` dimensions, joined by U+001F.
    pub key: Arc<str>,
    /// The start of the window.
    pub window_start: Timestamp,
    /// The step's word.
    pub step: Arc<str>,
    /// When.
    pub at: Timestamp,
}
