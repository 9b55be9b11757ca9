//! Ladders: what is done from which share of a limit on.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::clock::Timestamp;
use crate::domain::standing::Standing;

use super::Written;
use super::amount::WHOLE;
use super::decision::{Step, StepSet, Throttle};
use super::rollout::Rollout;
use super::route::Route;

/// Whether critical endpoints are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every call.
    All,
    /// Calls of endpoints that are not critical.
    NonCritical,
}

/// A value for every call, one for calls of non-critical endpoints, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scoped<T> {
    /// For every call.
    pub all: Option<T>,
    /// For calls of endpoints that are not critical.
    pub non_critical: Option<T>,
}

impl<T> Scoped<T> {
    /// A value for every call.
    pub fn everywhere(value: T) -> Self {
        Self { all: Some(value), non_critical: None }
    }

    /// The values that apply.
    pub fn values(&self, critical: bool) -> impl Iterator<Item = &T> {
        self.all.iter().chain(self.non_critical.iter().filter(move |_| !critical))
    }

    /// The same scopes around other values.
    pub(crate) fn map<U>(&self, change: impl Fn(&T) -> U) -> Scoped<U> {
        Scoped { all: self.all.as_ref().map(&change), non_critical: self.non_critical.as_ref().map(&change) }
    }
}

/// A cap on output tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    /// Tokens.
    pub tokens: Scoped<u64>,
    /// Tokens for models that reason, instead of the others.
    pub reasoning: Option<u64>,
}

impl<T> Scoped<T> {
    /// Whether only calls that are not critical are meant.
    fn spares_critical(&self) -> bool {
        self.all.is_none() && self.non_critical.is_some()
    }
}

impl Cap {
    /// The lowest cap that applies.
    pub fn for_call(&self, critical: bool, reasoning: bool) -> Option<u64> {
        match self.reasoning {
            Some(tokens) if reasoning && !(critical && self.tokens.spares_critical()) => Some(tokens),
            _ => self.tokens.values(critical).min().copied(),
        }
    }
}

/// What is done to calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remedies {
    /// A cap on output tokens.
    pub cap: Option<Cap>,
    /// A rate per tenant.
    pub throttle: Option<Scoped<Throttle>>,
    /// Cheaper models.
    pub route: Option<Scoped<Arc<Route>>>,
    /// A refusal.
    pub block: Option<Scope>,
}

impl Remedies {
    /// Whether nothing is done.
    pub fn is_empty(&self) -> bool {
        self.cap.is_none() && self.throttle.is_none() && self.route.is_none() && self.block.is_none()
    }

    fn named(&self, rule: &Arc<str>) -> Self {
        let throttle = self.throttle.as_ref();
        let throttle = throttle.map(|rates| rates.map(|rate| Throttle { rule: Arc::clone(rule), ..rate.clone() }));
        Self { throttle, ..self.clone() }
    }
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotifyTarget {
    /// The owner of the tenant's account.
    AccountOwner,
    /// A target by its name in `plimsoll.yaml`; `log` is built in.
    Named(Arc<str>),
}

impl NotifyTarget {
    /// The word in a policy.
    pub fn as_str(&self) -> &str {
        match self {
            Self::AccountOwner => "account_owner",
            Self::Named(name) => name,
        }
    }
}

/// A question to a person, with what happens when nobody answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Who is asked.
    pub whom: NotifyTarget,
    /// The answers on offer; empty for the usual ones.
    pub choices: Vec<Arc<str>>,
    /// How long there is to answer, from the moment the step is reached.
    pub within: Duration,
    /// What applies from the deadline to the end of the window.
    pub otherwise: Remedies,
}

/// When a step is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// Whether it is about the end of the window instead of now.
    pub forecast: bool,
    /// Parts per million of the limit.
    pub share: u64,
}

impl Threshold {
    /// Whether a standing has reached it: used ≥ limit × share, without rounding.
    ///
    /// A forecast is used ÷ elapsed share of the window, from a fifth of the window on; before that it is never reached, and
    /// neither is it where no share of the window can have passed: it is rolling, or a workflow's.
    pub fn is_reached(self, standing: &Standing, now: Timestamp) -> bool {
        let used = i128::from(standing.used);
        let bar = i128::from(standing.limit) * i128::from(self.share);
        if !self.forecast {
            return used * i128::from(WHOLE) >= bar;
        }
        if !standing.window.has_length() {
            return false;
        }
        let millis = |duration: Duration| i128::try_from(duration.as_millis()).unwrap_or(i128::MAX);
        let length = millis(standing.window.end.since(standing.window.start));
        let elapsed = millis(now.since(standing.window.start)).min(length);
        elapsed.saturating_mul(5) >= length
            && (used * i128::from(WHOLE)).saturating_mul(length) >= bar.saturating_mul(elapsed)
    }

    /// The amount at which it is reached, rounded down.
    pub fn amount(self, limit: i64) -> i64 {
        let amount = i128::from(limit) * i128::from(self.share) / i128::from(WHOLE);
        i64::try_from(amount).unwrap_or(i64::MAX)
    }
}

impl std::fmt::Display for Threshold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.forecast { "forecast " } else { "" })?;
        f.write_str(&percent(self.share))
    }
}

/// `112.5%`.
pub(crate) fn percent(share: u64) -> String {
    let (whole, rest) = (share / 10_000, share % 10_000);
    if rest == 0 {
        return format!("{whole}%");
    }
    let decimals = format!("{rest:04}");
    format!("{whole}.{}%", decimals.trim_end_matches('0'))
}

/// One step of a ladder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    /// Which step.
    pub step: Step,
    /// When it is reached, a grace included.
    pub at: Threshold,
    /// Who is told when it is reached.
    pub notify: Vec<NotifyTarget>,
    /// What is done from then on.
    pub remedies: Remedies,
    /// Who is asked.
    pub ask: Option<Ask>,
    /// The tenants that it acts on; the others are only told.
    pub rollout: Rollout,
    /// The status of a refusal.
    pub status: u16,
    /// The words of a refusal.
    pub message: Option<Arc<str>>,
    /// Where it is written.
    pub written: Written,
}

impl Rung {
    /// Whether it blocks, at once or by default.
    pub fn blocks(&self) -> bool {
        self.remedies.block.is_some() || self.ask.as_ref().is_some_and(|ask| ask.otherwise.block.is_some())
    }

    /// Whether it refuses every call as soon as it is reached.
    pub fn blocks_all(&self) -> bool {
        self.remedies.block == Some(Scope::All)
    }

    /// Whether the answer of a person is overdue.
    pub fn is_overdue(&self, standing: &Standing, now: Timestamp) -> bool {
        let Some(ask) = &self.ask else { return false };
        standing.decide_opened.is_some_and(|opened| opened.after(ask.within) <= now)
    }
}

/// The steps, mildest first, each at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    /// Its name: that of the escalation, or of the budget that it is written in.
    pub name: Arc<str>,
    /// The steps.
    pub rungs: Vec<Rung>,
}

impl Ladder {
    /// The steps that are reached now.
    pub fn reached(&self, standing: &Standing, now: Timestamp) -> StepSet {
        self.rungs
            .iter()
            .filter(|rung| rung.at.is_reached(standing, now))
            .fold(StepSet::default(), |steps, rung| steps.with(rung.step))
    }

    /// The rung of a step.
    pub fn rung(&self, step: Step) -> Option<&Rung> {
        self.rungs.iter().find(|rung| rung.step == step)
    }

    /// Whether some step refuses every call as soon as it is reached.
    pub fn blocks_all(&self) -> bool {
        self.rungs.iter().any(Rung::blocks_all)
    }

    /// The same ladder for one budget: throttles are named after it, and blocking steps wait for its grace.
    pub(crate) fn of_budget(&self, prefix: &str, grace: Option<u64>) -> Self {
        let rungs = self.rungs.iter().map(|rung| {
            let rule: Arc<str> = Arc::from(format!("{prefix}.{}", rung.step));
            let mut rung = rung.clone();
            rung.remedies = rung.remedies.named(&rule);
            if let Some(ask) = &mut rung.ask {
                ask.otherwise = ask.otherwise.named(&rule);
            }
            if let Some(grace) = grace.filter(|_| rung.blocks()) {
                rung.at.share = rung.at.share.max(WHOLE + grace);
            }
            rung
        });
        Self { name: Arc::clone(&self.name), rungs: rungs.collect() }
    }
}
