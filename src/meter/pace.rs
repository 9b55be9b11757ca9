//! Request rates: one limiter per tenant and rule (GCRA, the burst is the quota).
//!
//! The limiters are governor's and run on the time they are given, not on a clock of their own. A changed quota gets a new
//! limiter with a fresh burst: carrying the old state over would lock the tenant out for as long as the old limiter lived,
//! because governor counts from each limiter's own start. Queueing and answers are the gateway's.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use governor::clock::{Clock, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::domain::clock::Timestamp;
use crate::domain::window::Period;

/// What is left of a rate after a request passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// The quota.
    pub limit: u32,
    /// How many more requests pass at once.
    pub remaining: u32,
    /// Seconds until the whole quota is there again, rounded up.
    pub reset_seconds: u64,
}

/// A request does not pass; it would after so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub Duration);

/// A rule's rate for one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate<'a> {
    /// Names the limiter: `tenant_month.contain`.
    pub rule: &'a str,
    /// Requests per period; also the burst.
    pub requests: u32,
    /// The period.
    pub per: Period,
}

/// The limiters of this node.
#[derive(Debug, Default)]
pub struct Pace {
    tenants: DashMap<Box<str>, Vec<Limiter>>,
}

#[derive(Debug)]
struct Limiter {
    rule: Box<str>,
    requests: u32,
    per: Period,
    inner: Arc<Inner>,
}

impl Limiter {
    fn is_for(&self, rate: Rate<'_>) -> bool {
        &*self.rule == rate.rule && self.requests == rate.requests && self.per == rate.per
    }
}

struct Inner {
    limiter: RateLimiter<NotKeyed, InMemoryState, GivenClock, StateInformationMiddleware>,
    /// The latest check, in microseconds.
    touched: AtomicI64,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("touched", &self.touched).finish_non_exhaustive()
    }
}

impl Pace {
    /// Whether a request of `tenant` passes `rate` at `now`. A pass is counted; a denial is not.
    pub fn check(&self, tenant: &str, rate: Rate<'_>, now: Timestamp) -> Result<Remaining, Wait> {
        let Some(burst) = NonZeroU32::new(rate.requests) else { return Err(Wait(length(rate.per))) };
        let quota = quota(burst, rate.per);
        let verdict = self.limiter(tenant, rate, quota, now).check(quota, now);
        match verdict {
            // A denied request never waits longer than for one cell. If it would, the clock was set back: begin anew.
            Err(Wait(wait)) if wait > quota.replenish_interval().saturating_add(Duration::from_secs(1)) => {
                self.replace(tenant, rate, quota, now).check(quota, now)
            }
            verdict => verdict,
        }
    }

    fn limiter(&self, tenant: &str, rate: Rate<'_>, quota: Quota, now: Timestamp) -> Arc<Inner> {
        let known = self.tenants.get(tenant).and_then(|limiters| {
            limiters.iter().find(|limiter| limiter.is_for(rate)).map(|limiter| Arc::clone(&limiter.inner))
        });
        known.unwrap_or_else(|| self.replace(tenant, rate, quota, now))
    }

    fn replace(&self, tenant: &str, rate: Rate<'_>, quota: Quota, now: Timestamp) -> Arc<Inner> {
        let mut limiters = self.tenants.entry(Box::from(tenant)).or_default();
        // If somebody else was faster: one limiter, one burst.
        if let Some(known) = limiters.iter().find(|limiter| limiter.is_for(rate) && limiter.inner.touched() <= now) {
            return Arc::clone(&known.inner);
        }
        limiters.retain(|limiter| &*limiter.rule != rate.rule);
        let inner = Arc::new(Inner::new(quota, now));
        let limiter = Limiter { rule: Box::from(rate.rule), requests: rate.requests, per: rate.per, inner };
        let inner = Arc::clone(&limiter.inner);
        limiters.push(limiter);
        inner
    }

    /// Drops limiters that are full again: nobody can tell them from new ones.
    pub fn forget_idle(&self, now: Timestamp) {
        self.tenants.retain(|_, limiters| {
            limiters.retain(|limiter| now.since(limiter.inner.touched()) <= length(limiter.per));
            !limiters.is_empty()
        });
    }

    /// How many tenants have a limiter.
    pub fn len(&self) -> usize {
        self.tenants.len()
    }

    /// Whether no tenant has one.
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }
}

impl Inner {
    fn new(quota: Quota, now: Timestamp) -> Self {
        let limiter = at(now, || RateLimiter::direct_with_clock(quota, GivenClock));
        Self { limiter: limiter.with_middleware(), touched: AtomicI64::new(now.micros()) }
    }

    fn check(&self, quota: Quota, now: Timestamp) -> Result<Remaining, Wait> {
        let state = at(now, || self.limiter.check()).map_err(|until| Wait(until.wait_time_from(Given::from(now))))?;
        self.touched.store(now.micros(), Ordering::Relaxed);
        let limit = quota.burst_size().get();
        let remaining = state.remaining_burst_capacity().min(limit);
        let missing = quota.replenish_interval().saturating_mul(limit - remaining);
        let reset_seconds = missing.as_secs() + u64::from(missing.subsec_nanos() > 0);
        Ok(Remaining { limit, remaining, reset_seconds })
    }

    fn touched(&self) -> Timestamp {
        Timestamp::from_micros(self.touched.load(Ordering::Relaxed))
    }
}

fn length(per: Period) -> Duration {
    Duration::from_secs(per.nominal_seconds().unsigned_abs())
}

/// The whole quota may go at once, and comes back evenly over the period.
fn quota(requests: NonZeroU32, per: Period) -> Quota {
    let interval = (length(per) / requests.get()).max(Duration::from_nanos(1));
    Quota::with_period(interval).expect("an interval of at least a nanosecond is not zero").allow_burst(requests)
}

thread_local! {
    /// The moment that the check in progress on this thread was given.
    static NOW: Cell<Given> = const { Cell::new(Given(0)) };
}

/// Runs `check` at a given time. The check is synchronous and stays on its thread, so no other one can see the moment.
fn at<T>(now: Timestamp, check: impl FnOnce() -> T) -> T {
    NOW.set(Given::from(now));
    check()
}

/// A clock that shows what [`at`] was given.
#[derive(Debug, Clone, Copy)]
struct GivenClock;

impl Clock for GivenClock {
    type Instant = Given;

    fn now(&self) -> Given {
        NOW.get()
    }
}

/// Nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Given(u64);

impl From<Timestamp> for Given {
    /// Moments before 1970 and after 2262 do not occur; they are moved to these ends, so that nothing can overflow.
    fn from(now: Timestamp) -> Self {
        let last = i64::MAX.unsigned_abs();
        Self(u64::try_from(now.micros()).unwrap_or(0).saturating_mul(1_000).min(last))
    }
}

impl Add<Nanos> for Given {
    type Output = Self;

    fn add(self, nanos: Nanos) -> Self {
        Self(self.0.saturating_add(nanos.as_u64()))
    }
}

impl Reference for Given {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.saturating_sub(duration.as_u64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_790_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(START + seconds)
    }

    fn rate(rule: &str, requests: u32, per: Period) -> Rate<'_> {
        Rate { rule, requests, per }
    }

    fn passes(pace: &Pace, tenant: &str, requests: u32, now: Timestamp) -> usize {
        (0..requests * 3).filter(|_| pace.check(tenant, rate("r", requests, Period::Minute), now).is_ok()).count()
    }

    #[test]
    fn the_whole_quota_goes_at_once_and_comes_back_evenly() {
        let pace = Pace::default();
        assert_eq!(passes(&pace, "globex", 20, at(0)), 20);
        assert_eq!(pace.check("globex", rate("r", 20, Period::Minute), at(0)), Err(Wait(Duration::from_secs(3))));
        assert_eq!(pace.check("globex", rate("r", 20, Period::Minute), at(2)), Err(Wait(Duration::from_secs(1))));
        assert_eq!(passes(&pace, "globex", 20, at(3)), 1);
        assert_eq!(passes(&pace, "globex", 20, at(63)), 20);
    }

    #[test]
    fn a_pass_says_what_is_left() {
        let pace = Pace::default();
        let left = |now| pace.check("globex", rate("r", 4, Period::Minute), now);
        assert_eq!(left(at(0)), Ok(Remaining { limit: 4, remaining: 3, reset_seconds: 15 }));
        assert_eq!(left(at(0)), Ok(Remaining { limit: 4, remaining: 2, reset_seconds: 30 }));
        assert_eq!(left(at(60)), Ok(Remaining { limit: 4, remaining: 3, reset_seconds: 15 }));
    }

    #[test]
    fn tenants_and_rules_do_not_share() {
        let pace = Pace::default();
        assert_eq!(passes(&pace, "globex", 5, at(0)), 5);
        assert_eq!(passes(&pace, "acme", 5, at(0)), 5);
        assert!(pace.check("globex", rate("other", 5, Period::Minute), at(0)).is_ok());
    }

    #[test]
    fn a_changed_quota_does_not_lock_anybody_out() {
        let pace = Pace::default();
        pace.check("globex", rate("r", 3, Period::Minute), at(0)).unwrap();
        // An hour later the policy is edited: the new quota is there at once.
        assert_eq!(passes(&pace, "globex", 100, at(3_600)), 100);
        assert_eq!(passes(&pace, "globex", 100, at(3_601)), 1);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_lock_anybody_out() {
        let pace = Pace::default();
        assert_eq!(passes(&pace, "globex", 5, at(7_200)), 5);
        assert_eq!(passes(&pace, "globex", 5, at(0)), 5);
        assert_eq!(passes(&pace, "globex", 5, Timestamp::from_micros(i64::MIN)), 5);
        assert_eq!(passes(&pace, "globex", 5, Timestamp::from_micros(i64::MAX)), 5);
    }

    #[test]
    fn a_quota_of_nothing_lets_nothing_pass() {
        assert_eq!(Pace::default().check("t", rate("r", 0, Period::Hour), at(0)), Err(Wait(Duration::from_hours(1))));
        assert!(Pace::default().check("t", rate("r", u32::MAX, Period::Month), at(0)).is_ok());
        assert!(Pace::default().check("t", rate("r", u32::MAX, Period::Minute), at(0)).is_ok());
    }

    #[test]
    fn racers_share_one_burst() {
        let pace = Pace::default();
        let passed: usize = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..8).map(|_| scope.spawn(|| passes(&pace, "globex", 50, at(0)))).collect();
            runs.into_iter().map(|run| run.join().expect("a racer")).sum()
        });
        assert_eq!(passed, 50);
    }

    #[test]
    fn full_limiters_are_forgotten() {
        let pace = Pace::default();
        passes(&pace, "globex", 5, at(0));
        pace.forget_idle(at(30));
        assert_eq!(pace.len(), 1);
        pace.forget_idle(at(61));
        assert!(pace.is_empty());
    }
}
