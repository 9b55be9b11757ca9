//! One call on its way up: what is known of it before the policy is asked.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::Snapshot;
use crate::domain::attribution::Attribution;
use crate::domain::clock::Timestamp;
use crate::domain::content::Content;
use crate::domain::price::PriceRow;
use crate::domain::standing::Dimensions;
use crate::domain::tenant::Tenant;
use crate::policy::{CallFacts, Policy};
use crate::wire::estimate::BYTES_PER_TOKEN;
use crate::wire::{Operation, Peek};

use super::account::{Account, Place};
use super::upstream::Provider;

/// A call whose caller is known. It keeps the snapshot that it began with to its end, unless it stands in line: then that of its turn.
pub(super) struct Call {
    pub(super) id: Arc<str>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) account: Rc<Account>,
    pub(super) attribution: Arc<Attribution>,
    pub(super) key_name: Option<Arc<str>>,
    pub(super) provider: Arc<Provider>,
    pub(super) operation: Operation,
    /// The path below the provider.
    pub(super) path: Arc<str>,
    pub(super) model: Option<Arc<str>>,
    /// The price of the model that was asked for.
    pub(super) price: Option<Arc<PriceRow>>,
    /// What the request carries, as far as a rule asks.
    pub(super) content: Content,
    /// How many attempts came before, when the client's SDK says so at all.
    pub(super) retries: Option<u32>,
    pub(super) arrived: Instant,
    /// The moment that it is judged at: when its body was there, or when its turn came.
    pub(super) now: Timestamp,
    /// How long it stood in line for a rate, in vain or not; `None`: it did not.
    pub(super) queued: Option<Duration>,
    /// Held to the end of the answer.
    pub(super) _place: Place,
}

impl Call {
    /// The call as the policy judges it.
    pub(super) fn facts<'a>(&'a self, peek: &Peek<'_>) -> CallFacts<'a> {
        CallFacts {
            now: self.now,
            tenant: &self.account.tenant,
            attribution: &self.attribution,
            provider: &self.provider.name,
            model: self.model.as_deref().unwrap_or_default(),
            cap: peek.cap,
            thinking_budget: peek.thinking_budget,
            reasoning: self.price.as_ref().is_some_and(|price| price.reasoning),
            content: self.content,
        }
    }

    /// The price of a model at the call's provider. The one that was asked for is known already.
    pub(super) fn price_of(&self, model: &str) -> Option<&Arc<PriceRow>> {
        if self.model.as_deref() == Some(model) {
            return self.price.as_ref();
        }
        self.snapshot.prices.find(&self.provider.name, self.provider.family.as_str(), model)
    }

    /// How long we have had work with it until a moment. To wait for a turn is the policy's will and no work of ours.
    pub(super) fn overhead(&self, until: Instant) -> Duration {
        until.saturating_duration_since(self.arrived).saturating_sub(self.queued.unwrap_or_default())
    }

    /// The call's dimensions, as budgets match and count by them.
    pub(super) fn dimensions(&self) -> Dimensions<'_> {
        let model = self.model.as_deref().unwrap_or_default();
        self.snapshot.policy.dimensions(&self.account.tenant, &self.attribution, &self.provider.name, model)
    }

    /// The dialect's name, or `other` for what is not an inference path.
    pub(super) fn dialect_name(&self) -> &'static str {
        match self.operation {
            Operation::Known(dialect) => dialect.name(),
            Operation::Free | Operation::Unmetered => "other",
        }
    }

    /// Whether an answer to this call can cost money that we can count.
    pub(super) fn bills(&self) -> bool {
        matches!(self.operation, Operation::Known(dialect) if dialect.bills())
    }
}

/// Bytes of text that make a token at least, where a request must certainly fit a window. Few texts have shorter tokens.
const BYTES_PER_TOKEN_AT_LEAST: u64 = 2;

/// What a request carries. The body is looked into a second time only when a rule for this tenant asks.
pub(super) fn content(policy: &Policy, tenant: &Tenant, operation: Operation, peek: &Peek<'_>, body: &[u8]) -> Content {
    let Operation::Known(dialect) = operation else { return Content::default() };
    let seen = if policy.looks_at_content(tenant) { dialect.content(body) } else { Content::default() };
    let generous = peek.input_estimate.saturating_mul(BYTES_PER_TOKEN / BYTES_PER_TOKEN_AT_LEAST);
    let input = (!peek.input_by_reference).then(|| generous.min(peek.input_bound));
    Content { input, takes_tier: dialect.takes_service_tier(), ..seen }
}
