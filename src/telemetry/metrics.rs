//! The numbers themselves: atomics behind handles that are looked up once. The names are in `scrape.rs`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::scrape::Scrape;

/// Tenants that have a label of their own.
pub const MAX_TENANT_LABELS: usize = 50;

/// The label of all other tenants.
pub const OTHER_TENANTS: &str = "other";

/// What a policy did to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Wrote a cap on output tokens.
    Cap,
    /// Lowered the output so that the hold fits.
    Clamp,
    /// Queued or refused by rate.
    Throttle,
    /// Asked for a cheaper model.
    Route,
    /// Refused.
    Block,
}

/// Whether a rule acts or only says what it would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It acts.
    Enforce,
    /// It only measures.
    DryRun,
}

impl Action {
    pub(super) const ALL: [(Self, &'static str); 5] = [
        (Self::Cap, "cap"),
        (Self::Clamp, "clamp"),
        (Self::Throttle, "throttle"),
        (Self::Route, "route"),
        (Self::Block, "block"),
    ];
}

impl Mode {
    pub(super) const ALL: [(Self, &'static str); 2] = [(Self::Enforce, "enforce"), (Self::DryRun, "dry_run")];
}

/// A number that only grows. `Relaxed` everywhere: no other memory is published by it.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted when a call ends. `None` tokens are unknown and add nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Finished {
    /// The HTTP status that the client got.
    pub status: u16,
    /// All input tokens.
    pub input_tokens: Option<u64>,
    /// The part of the input that came from a provider's cache.
    pub cached_input_tokens: Option<u64>,
    /// The part of the input that was written to a provider's cache.
    pub cache_write_tokens: Option<u64>,
    /// All output tokens.
    pub output_tokens: Option<u64>,
    /// The part of the output that was reasoning.
    pub reasoning_tokens: Option<u64>,
    /// The cost in nano-dollars.
    pub cost_nano_usd: Option<i64>,
    /// Whether the cost is unknown because the model has no price.
    pub unpriced: bool,
}

/// The counters of one tenant label and provider.
#[derive(Debug, Default)]
pub struct Traffic {
    /// By class of status: 1xx to 5xx.
    pub(super) requests: [Count; 5],
    /// In the order of `scrape::TOKEN_TYPES`.
    pub(super) tokens: [Count; 5],
    pub(super) cost_nano_usd: Count,
    pub(super) unpriced: Count,
}

impl Traffic {
    /// Counts a call that ended.
    pub fn finished(&self, call: &Finished) {
        let class = usize::from(call.status / 100).clamp(1, 5) - 1;
        self.requests[class].add(1);
        let tokens = [
            call.input_tokens,
            call.cached_input_tokens,
            call.cache_write_tokens,
            call.output_tokens,
            call.reasoning_tokens,
        ];
        for (count, tokens) in self.tokens.iter().zip(tokens) {
            count.add(tokens.unwrap_or(0));
        }
        self.cost_nano_usd.add(call.cost_nano_usd.and_then(|nano| u64::try_from(nano).ok()).unwrap_or(0));
        self.unpriced.add(u64::from(call.unpriced));
    }
}

/// One budget's counter as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetReading {
    /// The budget's name.
    pub budget: String,
    /// The tenant it counts for; `None` for a shared counter.
    pub tenant: Option<String>,
    /// What is used, in the budget's unit.
    pub used: i64,
    /// The limit, in the same unit.
    pub limit: i64,
    /// 0 `ok`, 1 `warning`, 2 `exceeded`.
    pub state: u8,
}

/// What is only known by looking, at the moment of a scrape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readings {
    /// Every live counter.
    pub budgets: Vec<BudgetReading>,
    /// Ledger rows that were lost.
    pub ledger_dropped: u64,
    /// Ledger rows that wait in the spool for the next start.
    pub ledger_spooled: u64,
    /// The size of the ledger's write-ahead log, in bytes.
    pub ledger_wal_bytes: u64,
    /// Panics that were caught since the process began.
    pub panics: u64,
    /// Calls that stand in line for a rate.
    pub throttle_waiting: u64,
    /// Whether the ledger can be written.
    pub ledger_healthy: bool,
}

type Source = Box<dyn Fn() -> Readings + Send + Sync>;
type ByWatch = BTreeMap<Box<str>, BTreeMap<Box<str>, Count>>;
type ByTenant = HashMap<Box<str>, HashMap<Box<str>, Arc<Traffic>>>;

/// All metrics of this process.
pub struct Metrics {
    registry: Registry,
    pub(super) numbers: Arc<Numbers>,
}

/// The upper ends of the overhead's buckets, in microseconds.
pub(super) const OVERHEAD_BUCKETS_US: [u32; 11] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000];

#[derive(Default)]
pub(super) struct Numbers {
    /// Tenant label, then provider.
    pub(super) traffic: RwLock<ByTenant>,
    pub(super) decisions: [[Count; 2]; 5],
    /// One more bucket than bounds: the last has no upper end.
    pub(super) overhead: [Count; 12],
    pub(super) overhead_sum_us: Count,
    pub(super) attribution_invalid: RwLock<HashMap<Box<str>, Count>>,
    /// Segment, then what it watches: words of the policy.
    pub(super) watches: RwLock<ByWatch>,
    pub(super) reload_successful: AtomicI64,
    pub(super) reload_succeeded_at: AtomicI64,
    pub(super) source: OnceLock<Source>,
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Numbers").finish_non_exhaustive()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let numbers = Arc::new(Numbers::default());
        let mut registry = Registry::with_prefix("plimsoll");
        registry.register_collector(Box::new(Scrape(Arc::clone(&numbers))));
        Self { registry, numbers }
    }
}

impl Metrics {
    /// Gives labels of their own to these tenants while labels are left: the dearest first, so that a restart keeps the
    /// tenants that matter. A label is never taken away again, because counters must not fall.
    pub fn label_tenants<'a>(&self, tenants: impl IntoIterator<Item = &'a str>) {
        let mut traffic = self.numbers.traffic.write().unwrap_or_else(PoisonError::into_inner);
        for tenant in tenants {
            let label = label(&traffic, tenant);
            traffic.entry(label.into()).or_default();
        }
    }

    /// The counters of a tenant and provider. A tenant that comes when all labels are given counts under
    /// [`OTHER_TENANTS`].
    pub fn traffic(&self, tenant: &str, provider: &str) -> Arc<Traffic> {
        let known = self.numbers.traffic.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(traffic) = known.get(label(&known, tenant)).and_then(|providers| providers.get(provider)) {
            return Arc::clone(traffic);
        }
        drop(known);
        let mut traffic = self.numbers.traffic.write().unwrap_or_else(PoisonError::into_inner);
        let label = label(&traffic, tenant);
        Arc::clone(traffic.entry(label.into()).or_default().entry(provider.into()).or_default())
    }

    /// Counts what a policy did, or would have done.
    pub fn decided(&self, action: Action, mode: Mode) {
        self.numbers.decisions[action as usize][mode as usize].add(1);
    }

    /// Counts the time that the gateway itself spent on one call, in microseconds.
    pub fn overhead(&self, micros: u32) {
        let bucket = OVERHEAD_BUCKETS_US.partition_point(|end| *end < micros);
        self.numbers.overhead[bucket].add(1);
        self.numbers.overhead_sum_us.add(u64::from(micros));
    }

    /// Counts a value that was refused for `dimension`, which is one of our own words (`data_mode`).
    pub fn attribution_invalid(&self, dimension: &'static str) {
        let mut counts = self.numbers.attribution_invalid.write().unwrap_or_else(PoisonError::into_inner);
        counts.entry(dimension.into()).or_default().add(1);
    }

    /// Counts a call that went beyond what its tenant's segment watches for.
    pub fn watch_exceeded(&self, segment: &str, watch: &str) {
        let counts = self.numbers.watches.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get(segment).and_then(|of| of.get(watch)) {
            return count.add(1);
        }
        drop(counts);
        let mut counts = self.numbers.watches.write().unwrap_or_else(PoisonError::into_inner);
        counts.entry(segment.into()).or_default().entry(watch.into()).or_default().add(1);
    }

    /// Notes how a load of the policy ended, and when (seconds since the Unix epoch).
    pub fn policy_loaded(&self, successful: bool, at_seconds: i64) {
        self.numbers.reload_successful.store(i64::from(successful), Ordering::Relaxed);
        if successful {
            self.numbers.reload_succeeded_at.store(at_seconds, Ordering::Relaxed);
        }
    }

    /// Says where the standing of budgets and ledger is read at each scrape. Only the first source counts.
    pub fn read_from(&self, source: impl Fn() -> Readings + Send + Sync + 'static) {
        let _ = self.numbers.source.set(Box::new(source));
    }

    /// The text of `/metrics`, in the `OpenMetrics` form ([`Metrics::CONTENT_TYPE`]).
    pub fn render(&self) -> String {
        let mut page = String::new();
        if let Err(error) = text::encode(&mut page, &self.registry) {
            tracing::error!(%error, "the metrics could not be written");
        }
        page
    }

    /// What [`Metrics::render`] is.
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
}

/// The label that a tenant counts under.
pub(super) fn label<'a>(traffic: &ByTenant, tenant: &'a str) -> &'a str {
    let given = traffic.len() - usize::from(traffic.contains_key(OTHER_TENANTS));
    if traffic.contains_key(tenant) || given < MAX_TENANT_LABELS { tenant } else { OTHER_TENANTS }
}
